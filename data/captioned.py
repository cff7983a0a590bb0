"""A dataset that `kinema caption` published, as a source of training clips.

    DATASET/clips.parquet       one row a clip: its video, and whether it is kept
    DATASET/captions.parquet    one row a caption, good and bad
    DATASET/reviews/*.parquet   what people made of captions since: accepted, rejected, edited

Trained on is what may be: clips that are kept, with the original captions and those that passed their checks. What
a person said last of a caption goes before all checks: rejected, it is never used; accepted or edited, always.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from .blend import ORIGINAL
from .manifest import ManifestError

CLIPS, CAPTIONS, REVIEWS = "clips.parquet", "captions.parquet", "reviews"
_CLIP_COLUMNS = ("clip_id", "source_uri", "source_sha256", "video.path", "start_s", "end_s", "fps", "width",
                 "height", "num_frames", "crop", "status")  # fmt: skip
_CAPTION_COLUMNS = ("caption_id", "clip_id", "level", "text", "parent_id", "backend", "status", "clip_mean",
                    "review_status", "created_at")  # fmt: skip

Caption = Mapping[str, Any]


def is_captioned(folder: Path) -> bool:
    """Whether a folder is a published dataset."""
    return (folder / CLIPS).is_file() and (folder / CAPTIONS).is_file()


def is_unfinished(folder: Path) -> bool:
    """Whether a folder is a dataset that was begun and not published yet."""
    return (folder / "stages").is_dir() and (folder / "config.yaml").is_file() and not is_captioned(folder)


def captioned_rows(folder: Path, *, out_of_domain: bool = False) -> list[dict[str, Any]]:
    """A manifest row for every clip that is kept, in the order of the table.

    Beside a manifest's columns it has "captions_by_level", "crop_box" (x, y, width, height in the file's picture),
    what it was "cut_from", and for a clip without usable captions the reason, "uncaptioned".

    Args:
        folder: of the dataset.
        out_of_domain: also take what our captioner wrote of clips that it was not trained for.

    Raises:
        ManifestError: a table that cannot be read, or without the columns of its kind.
    """
    captions = defaultdict(list)
    for path in [folder / CAPTIONS, *review_files(folder)]:
        for row in _read(path, _CAPTION_COLUMNS):
            captions[row["clip_id"]].append(row)
    rows = []
    for clip in _read(folder / CLIPS, _CLIP_COLUMNS):
        if clip["status"] != "kept":
            continue
        found = captions.pop(clip["clip_id"], [])
        row = _clip_row(clip) | {"captions_by_level": usable_captions(found, out_of_domain=out_of_domain)}
        if not row["captions_by_level"]:
            row["uncaptioned"] = _why_none(found)
        rows.append(row)
    return rows


def usable_captions(captions: Sequence[Caption], *, out_of_domain: bool = False) -> dict[str, str]:
    """The captions of one clip that may be trained on, by level.

    Of several at one level a person's goes first, the latest of them, then the one most similar to the clip; but
    all original ones are kept, as "original", "original 2", ….

    Args:
        captions: rows of the `captions` table and of reviews.
        out_of_domain: as for `captioned_rows`.
    """
    by_machine = [row for row in captions if row["backend"] != "human"]
    said = latest_reviews(captions)
    best: dict[str, tuple[Any, str]] = {}
    originals = []
    for row in sorted(by_machine, key=lambda row: row["caption_id"]):
        review = said.pop(row["caption_id"], None)
        passed = row["status"] == "success" or (out_of_domain and row["status"] == "out_of_domain")
        text = (review or row)["text"] or row["text"]
        if row["level"] == ORIGINAL:
            if text and (review is None or review["review_status"] != "rejected"):
                originals.append(text)
        elif review is not None:
            _offer(best, review | {"level": row["level"], "text": text})
        elif passed and text:
            rank = (0, row["clip_mean"] if row["clip_mean"] is not None else -1.0, row["caption_id"])
            best[row["level"]] = max(best.get(row["level"], (rank, text)), (rank, text))
    for review in said.values():  # written by a person from nothing
        if review["level"] != ORIGINAL:
            _offer(best, review)
        elif review["text"] and review["review_status"] != "rejected":
            originals.append(review["text"])
    found = {level: best[level][1] for level in ("short", "medium", "dense") if level in best}
    names = [ORIGINAL if k == 0 else f"{ORIGINAL} {k + 1}" for k in range(len(originals))]
    return found | dict(zip(names, originals))


def _offer(best: dict[str, tuple[Any, str]], review: Caption) -> None:
    """Let a person's caption take its level, unless it is rejected or a later one has it."""
    if review["review_status"] != "rejected" and review["text"]:
        offer = ((1, review["created_at"], review["caption_id"]), review["text"])
        there = best.get(review["level"])
        if there is None or there[0] < offer[0]:
            best[review["level"]] = offer


def latest_reviews(captions: Iterable[Caption], *, taken_back: bool = False) -> dict[str, dict[str, Any]]:
    """What a person said last, by id of the caption it was first said of (an edit can be edited again).

    Args:
        taken_back: also give the rows that take back what was said, in its place.
    """
    human = {row["caption_id"]: row for row in captions if row["backend"] == "human"}
    latest: dict[str, dict[str, Any]] = {}
    for row in sorted(human.values(), key=lambda row: (row["created_at"], row["caption_id"])):
        root, seen = row["caption_id"], set()
        while root in human and human[root]["parent_id"] and root not in seen:
            seen.add(root)
            root = human[root]["parent_id"]
        latest[root] = dict(row)
    # Without a verdict a row takes back what was said before: as if nobody had said anything.
    return {
        root: row
        for root, row in latest.items()
        if taken_back or row["review_status"] or root == row["caption_id"]
    }


def review_files(folder: Path) -> list[Path]:
    """The tables of reviews, in order of their names."""
    return sorted(path for path in (folder / REVIEWS).glob("*.parquet") if not path.name.startswith("."))


def _clip_row(clip: Mapping[str, Any]) -> dict[str, Any]:
    path = (clip["video"] or {}).get("path") or ""
    row = {
        "id": clip["clip_id"],
        "path": path,
        "width": clip["width"],
        "height": clip["height"],
        "cut_from": clip["source_sha256"] or clip["source_uri"],
    }
    if Path(path).is_absolute():  # a part of a whole file
        return row | {"start": clip["start_s"], "end": clip["end_s"], "crop_box": clip["crop"]}
    return row | {"duration": clip["num_frames"] / clip["fps"] if clip["num_frames"] and clip["fps"] else None}


def _why_none(captions: Sequence[Caption]) -> str:
    said = latest_reviews(captions)
    statuses = {
        "rejected" if said.get(row["caption_id"], row)["review_status"] == "rejected" else row["status"]
        for row in captions
        if row["level"] != "structured" and row["backend"] != "human"
    }
    return f"captions that are all {' or '.join(sorted(statuses))}" if statuses else "no caption"


def _read(path: Path, columns: Iterable[str]) -> Iterable[dict[str, Any]]:
    try:
        with pq.ParquetFile(path) as file:
            there = set(file.schema_arrow.names)
            missing = [name for name in columns if name.split(".")[0] not in there]
            if missing:
                raise ManifestError(
                    f"{path} has no column {', '.join(missing)}; it is no table of `kinema caption`. Publish the "
                    f"dataset anew: kinema caption dataset {path.parent}"
                )
            for batch in file.iter_batches(4096, columns=list(columns)):
                yield from batch.to_pylist()
    except (OSError, ValueError) as error:
        if isinstance(error, ManifestError):
            raise
        raise ManifestError(f"{path} cannot be read: {error}") from error
