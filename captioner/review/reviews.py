"""What people say of captions: accepted, rejected, edited. `kinema caption review` without its screen.

Every action is one new small file, DATASET/reviews/*.parquet, that appears whole and is never changed: two people
who review at once lose nothing, and each sees what the other did. A row says of the caption `parent_id` what it is
now; the latest one counts. Undoing adds a row that says what counted before, and one without a verdict takes all
back. `data.captioned` reads the same files when a model is trained.
"""

import threading
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from ...data.captioned import CAPTIONS as CAPTIONS_FILE
from ...data.captioned import CLIPS as CLIPS_FILE
from ...data.captioned import REVIEWS, latest_reviews, review_files
from ...data.files import atomic_path
from ..engine.commits import CaptionError, explained_if_full
from ..tables import CAPTIONS, Row, caption_id

Verdict = Literal["accepted", "rejected", "edited"]
PROSE = ("original", "short", "medium", "dense")  # levels that are reviewed; facts are shown
ANY = ""  # of a filter: no condition
_COLUMNS = ("caption_id", "clip_id", "level", "text", "structured", "backend", "model", "status", "error",
            "clip_mean", "clip_min", "repetition", "parent_id", "review_status", "created_at")  # fmt: skip


@dataclass(frozen=True)
class Filter:
    """Which captions are looked at; all conditions hold together."""

    level: str = ANY
    status: str = ANY  # as the checks left it
    backend: str = ANY
    below: float | None = None  # clip_mean; captions without a score are not below anything
    contains: str = ANY  # in the text as it is now, whatever the case
    unreviewed: bool = False
    kept: bool = True  # only of clips that the filters kept


@dataclass(frozen=True)
class Now:
    """What counts of a caption at this moment."""

    text: str
    verdict: Verdict | None = None  # None: nobody said anything, or it was taken back
    reviewer: str = ""
    review_id: str = ""  # caption_id of the row that says so


@dataclass(frozen=True)
class Action:
    """What was done at once, and what counted before: enough to undo it."""

    verdict: Verdict | None
    before: dict[str, Now]  # by caption_id of what was reviewed
    written: dict[str, str]  # caption_id of the review that was written, likewise
    file: Path


class Reviews:
    """The captions of a published dataset, and what was said of them. Threads may share it.

    Captions are held in memory without their frames and clips, about 1 kB each.

    Args:
        dataset: its folder.
        reviewer: name in the rows that are written.

    Raises:
        CaptionError: the dataset is not published.
    """

    def __init__(self, dataset: Path, reviewer: str) -> None:
        if not (dataset / CAPTIONS_FILE).is_file() or not (dataset / CLIPS_FILE).is_file():
            raise CaptionError(
                f"{dataset} has no {CLIPS_FILE} and {CAPTIONS_FILE} yet; `kinema caption dataset {dataset}` "
                "publishes what there is"
            )
        if not reviewer.strip():
            raise CaptionError("a review needs a name to be signed with; give --reviewer NAME")
        self.dataset, self.reviewer = dataset, reviewer.strip()
        columns = [name for name in pq.read_schema(dataset / CLIPS_FILE).names if name != "video"]
        with pq.ParquetFile(dataset / CLIPS_FILE) as file:
            rows = file.read(columns=[*columns, "video.path"]).to_pylist()
        self.clips: dict[str, Row] = {row["clip_id"]: row for row in rows}
        rows = pq.read_table(dataset / CAPTIONS_FILE, columns=list(_COLUMNS)).to_pylist()
        order = {clip: place for place, clip in enumerate(self.clips)}
        rows = [row for row in rows if row["clip_id"] in order]
        rows.sort(key=lambda row: (order[row["clip_id"]], _place(row), row["caption_id"]))
        self.captions: dict[str, Row] = {row["caption_id"]: row for row in rows if row["level"] in PROSE}
        self.facts: dict[str, Row] = {row["clip_id"]: row for row in rows if row["level"] == "structured"}
        self.of_clip: dict[str, list[str]] = {}
        for name, row in self.captions.items():
            self.of_clip.setdefault(row["clip_id"], []).append(name)
        self._read: set[str] = set()
        self._human: dict[str, Row] = {}
        self._latest: dict[str, Row] = {}
        self._lock = threading.RLock()
        self.refresh()

    def refresh(self) -> int:
        """Read what others wrote since; returns how many rows are new."""
        with self._lock:
            new = [path for path in review_files(self.dataset) if path.name not in self._read]
            rows = [row for path in new for row in pq.ParquetFile(path).read().to_pylist()]
            self._take(rows, [path.name for path in new])
            return len(rows)

    def _take(self, rows: Iterable[Row], names: Iterable[str]) -> None:
        self._read.update(names)
        fresh = {row["caption_id"]: row for row in rows if row["backend"] == "human"}
        if fresh:
            self._human |= fresh
            self._latest = latest_reviews(self._human.values(), taken_back=True)

    def now(self, caption: str) -> Now:
        """What counts of a caption."""
        row, said = self.captions[caption], self._latest.get(caption)
        if said is None or not said["review_status"]:
            return Now(row["text"] or "")
        return Now(
            said["text"] or row["text"] or "", said["review_status"], said["model"] or "", said["caption_id"]
        )

    def queue(self, wanted: Filter | None = None) -> list[str]:
        """Ids of the captions that a filter lets pass, clip by clip, short before dense."""
        wanted, part = wanted or Filter(), (wanted.contains if wanted else "").casefold()
        found = []
        for name, row in self.captions.items():
            if wanted.level and row["level"] != wanted.level:
                continue
            if wanted.status and row["status"] != wanted.status:
                continue
            if wanted.backend and row["backend"] != wanted.backend:
                continue
            if wanted.kept and self.clips[row["clip_id"]]["status"] != "kept":
                continue
            score = row["clip_mean"]
            if wanted.below is not None and (score is None or not score < wanted.below):
                continue
            if wanted.unreviewed or part:
                now = self.now(name)
                if (wanted.unreviewed and now.verdict) or part not in now.text.casefold():
                    continue
            found.append(name)
        return found

    def choices(self, column: str) -> list[str]:
        """The values that a column of the captions has."""
        return sorted({row[column] for row in self.captions.values() if row[column]})

    def counts(self) -> dict[str, int]:
        """Captions by verdict; "" counts those without one."""
        found = {"": 0, "accepted": 0, "rejected": 0, "edited": 0}
        for name in self.captions:
            found[self.now(name).verdict or ""] += 1
        return found

    def say(self, captions: Sequence[str], verdict: Verdict, text: str | None = None, *, by: str = "") -> Action:
        """Give a verdict on captions: one file for all of them.

        Args:
            text: of an edit, which is of one caption; others keep the text they have now.
            by: who says it; "": the reviewer.

        Raises:
            ValueError: an edit without a text or of several captions, no caption, or an unknown one.
        """
        if verdict == "edited" and (len(captions) != 1 or not (text or "").strip()):
            raise ValueError("an edit is of one caption, and has a text; reject a caption that says nothing true")
        with self._lock:
            self.refresh()
            states = {}
            for name in captions:
                now = self.now(name)
                kept = (text or "").strip() if verdict == "edited" else now.text
                states[name] = Now(kept, verdict)
            return self._write(states, verdict, by)

    def undo(self, action: Action, *, by: str = "") -> tuple[Action | None, int]:
        """Say again what counted before an action, of those captions that nobody reviewed since.

        Returns:
            What was done, None if nothing was left to undo; and how many captions were left alone.
        """
        with self._lock:
            self.refresh()
            mine = {
                name: before
                for name, before in action.before.items()
                if self._latest.get(name, {}).get("caption_id") == action.written[name]
            }
            done = self._write(mine, None, by) if mine else None
            return done, len(action.before) - len(mine)

    def _write(self, states: dict[str, Now], verdict: Verdict | None, by: str = "") -> Action:
        """One file with a row for each caption; a state without a verdict takes back what was said."""
        if not states:
            raise ValueError("there is no caption to review")
        at = datetime.now(UTC)
        at = at.replace(microsecond=at.microsecond // 1000 * 1000)  # the column's
        for name in states:  # later than all that was said of them, whoever's clock is wrong
            said = self._latest.get(name)
            if said is not None and said["created_at"] >= at:
                at = said["created_at"] + timedelta(milliseconds=1)
        before, written, rows = {}, {}, []
        for name, state in states.items():
            row, said = self.captions[name], self._latest.get(name)
            before[name] = self.now(name)
            new = dict.fromkeys(CAPTIONS.names) | {
                "clip_id": row["clip_id"],
                "level": row["level"],
                "text": state.text,
                "parent_id": said["caption_id"] if said is not None else name,
                "backend": "human",
                "model": by or self.reviewer,
                "revision": uuid.uuid4().hex,  # so that saying a thing twice makes two rows
                "frame_pts": [],
                "status": "success",
                "review_status": state.verdict,
                "created_at": at,
            }
            new["caption_id"] = written[name] = caption_id(new)
            rows.append(new)
        path = self.dataset / REVIEWS / f"{at:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:12]}.parquet"
        with explained_if_full(self.dataset), atomic_path(path) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, CAPTIONS), temporary, compression="zstd")
        self._take(rows, [path.name])
        return Action(verdict, before, written, path)


def _place(row: Row) -> int:
    return PROSE.index(row["level"]) if row["level"] in PROSE else len(PROSE)


def facts_text(row: Row | None) -> str:
    """The facts of a clip, a line a field; "" without any."""
    if row is None or not row["structured"]:
        return row["text"] or "" if row else ""
    from ..captions.facts import parse_facts, to_text

    return to_text(parse_facts(row["structured"])).replace("; ", "\n")


def describe(clip: Row) -> list[tuple[str, Any]]:
    """What is known of a clip, as pairs of a name and a value that is not empty."""
    scores = clip.get("scores") or {}
    told = [
        ("clip", clip["clip_id"][:12]),
        ("from", clip["source_uri"]),
        ("time", f"{clip['start_s'] or 0:.2f} to {clip['end_s']:.2f} s" if clip["end_s"] is not None else None),
        ("picture", f"{clip['width']} × {clip['height']}, {clip['fps'] or 0:.4g} frames a second"),
        ("status", clip["status"]),
        ("rejected for", ", ".join(clip["reject_reasons"] or [])),
    ]
    for name, value in scores.items():
        if isinstance(value, list):
            value = ", ".join(value)
        told.append((name.replace("_", " "), f"{value:.3g}" if isinstance(value, float) else value))
    return [(name, value) for name, value in told if value not in (None, "")]
