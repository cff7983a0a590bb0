"""The original captions of a clip as they are now, when they were edited after its captions were written."""

from collections.abc import Sequence

from ..tables import CAPTIONS, Row, caption_id, digest

ORIGINAL = "original"


def with_originals(clip: Row, captions: Sequence[Row]) -> list[Row]:
    """The captions of a clip, of which the original ones are those that its file has now.

    A row that was scored is kept as it is. One for a new text has the id that the stage `captions` would give it,
    no scores, and neither a run nor a time of writing, since none wrote it: the same dataset is published again as
    the same bytes.

    Args:
        clip: of `current.clips`.
        captions: rows of the clip; without any it is not captioned yet, and stays so.
    """
    if not captions:
        return []
    texts = [text for text in dict.fromkeys(text.strip() for text in clip.get("captions") or []) if text]
    kept = [row for row in captions if row["level"] != ORIGINAL or row["text"] in texts]
    known = {row["text"] for row in kept if row["level"] == ORIGINAL}
    return kept + [_row(clip["clip_id"], text) for text in texts if text not in known]


def _row(clip_id: str, text: str) -> Row:
    row: Row = dict.fromkeys(CAPTIONS.names)
    row |= {"clip_id": clip_id, "level": ORIGINAL, "text": text, "backend": ORIGINAL, "status": "success"}
    row["revision"] = digest(ORIGINAL, text)  # as the stage `captions` has it
    return row | {"caption_id": caption_id(row)}
