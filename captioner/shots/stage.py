"""From files to clips: cut where shots change, cut long shots in pieces, find the picture between black bars."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import groupby, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from ...data.video_io import VideoDamageError, VideoError, VideoRangeError, iter_stills, probe
from ..engine.ordering import in_order
from ..ingest.current import range_key
from ..ingest.stage import sources
from ..ingest.unchanged import UnreachableError, check_readable, unchanged
from ..settings import CaptionSettings, ShotSettings
from ..stage import Stage, Work
from ..tables import SHOTS, SOURCES, Row, clip_id, digest
from .detectors import DETECT_SIDE, Transition, load_network, open_detector
from .frames import fitted, read_clip
from .letterbox import Lines, bars_share, crop_of, find_crop, lit_lines

LOOK_EVERY = 0.5  # seconds; so often is a frame looked at for bars
LOOKS = 3  # frames of a shot that must have been looked at; else some more are read
SLACK = 1e-6  # seconds, of rounding


class Seen(NamedTuple):
    """What one pass over a file found."""

    times: np.ndarray  # float64: when each frame is shown, seconds, and at last when the last one ends
    pts: list[int]  # the same in units of time_base, in the stream's own clock
    time_base: str
    width: int  # pixels, as displayed
    height: int
    codec: str
    transitions: list[Transition]
    lines: list[tuple[int, Lines]]  # number of a frame, and how much of its lines is lit
    damage: VideoError | None  # why it ends early


def inputs(dataset: Path, settings: CaptionSettings) -> Iterator[Row]:
    """The usable parts of files, each content once, with the captions of the first file of it that has any.

    Two sorts on disk: one brings files of one content together, the other puts contents in the order of the files.
    """
    (folder := dataset / "stages").mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".shots") as name:
        rows = (row for row in sources(dataset) if row["status"] == "ok")
        together = in_order(rows, SOURCES, lambda row: (range_key(row), *_place(row)), Path(name))
        for row in in_order(_distinct(together), SOURCES, _place, Path(name)):
            yield row | {"range_key": range_key(row)}


def _distinct(rows: Iterable[Row]) -> Iterator[Row]:
    for _, same in groupby(rows, key=range_key):
        first: Row = {}
        for row in same:
            first = first or row
            first["captions"] = first["captions"] or row["captions"]
        yield first


def _place(row: Row) -> tuple[str, str]:
    return row["source_uri"], row["source_key"] or ""


def worker(dataset: Path, settings: CaptionSettings) -> Work:
    """A function that cuts files into clips."""
    network = None
    if settings.shots.detector == "transnetv2":
        import torch  # takes seconds; the other detectors do without

        network = load_network(settings.run.device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def work(rows: list[Row]) -> list[Row]:
        return [clip for row in rows for clip in clips_of(row, settings.shots, network)]

    return work


def clips_of(row: Row, settings: ShotSettings, network: Any = None) -> list[Row]:
    """The clips of one file, or part of one.

    A file that is damaged from some time on gives the clips before that, and a quarantined row for the rest.

    Raises:
        UnreachableError: it cannot be read now, whatever it holds.
    """
    try:
        with unchanged(row):
            seen = look(row, settings, network)
            if seen.damage is not None:
                check_readable(row)
    except UnreachableError:
        raise
    except VideoError as error:
        return [_unusable(row, row.get("start_s") or 0.0, error.cause)]
    clips = []
    for begin, end in plan(seen.times, seen.transitions, settings, damaged=seen.damage is not None):
        clip = _clip(row, seen, begin, end)
        if settings.letterbox:
            lines = [line for number, line in seen.lines if begin <= number < end]
            try:
                crop = crop_of(lines) if len(lines) >= LOOKS else find_crop(read_clip(clip, LOOKS + 2).frames)
            except UnreachableError:
                raise
            except VideoError as error:
                clips.append(_unusable(row, clip["start_s"], error.cause))
                continue
            if crop is not None:
                clip["letterbox"] = bars_share(crop, clip["width"], clip["height"])
                clip |= {"crop": list(crop), "width": crop[2], "height": crop[3]}
        clip["clip_id"] = clip_id(row["source_sha256"], clip["start_pts"], clip["end_pts"], clip["crop"])
        clips.append(clip)
    if seen.damage is not None:
        clips.append(_unusable(row, float(seen.times[-1]), seen.damage.cause))
    return clips


def look(row: Row, settings: ShotSettings, network: Any = None) -> Seen:
    """Decode a file, or the asked-for part of it, once, and find all that is to be known of it.

    Raises:
        VideoError: nothing of it can be read.
    """
    path, start, end = row["path"], row.get("start_s") or 0.0, row.get("end_s")
    info = probe(path)
    detector = open_detector(settings, network)
    size = detector.size or fitted(info.width, info.height, None, DETECT_SIDE)[0]
    stills: list[tuple[float, int]] = []
    lines: list[tuple[int, Lines]] = []
    last, damage, due = None, None, 0.0
    try:
        with closing(iter_stills(path, start=start, end=end)) as decoded:
            for still in decoded:
                if settings.detector != "none":
                    detector.see(still.pixels(size))
                if settings.letterbox and still.time >= due:
                    lines.append((len(stills), lit_lines(still.pixels(None))))
                    due = still.time + LOOK_EVERY
                stills.append((still.time, still.pts))
                last = still
    except VideoDamageError as error:
        damage = error
    if last is None:
        raise damage or VideoRangeError(path, start, "it has no frame in the asked-for part")
    stills.append((last.time + last.duration, last.pts + round(last.duration / last.time_base)))
    times, pts = zip(*stills)
    return Seen(
        np.array(times), list(pts), str(last.time_base), info.width, info.height, info.codec,
        detector.transitions(), lines, damage,
    )  # fmt: skip


def plan(
    times: np.ndarray, transitions: Iterable[Transition], settings: ShotSettings, *, damaged: bool = False
) -> list[tuple[int, int]]:
    """Which frames become clips.

    A shot loses `margin_seconds` at the sides that are cuts, but never more than a third of it. One that is longer
    than `max_seconds` becomes equal pieces; where those would be shorter than `min_seconds`, one piece fewer of
    `max_seconds` each, and what is left over is left out.

    Args:
        times: when each frame is shown, increasing, and at last when the last one ends; seconds.
        transitions: in order and apart.
        damaged: the last frame is not where the shot ends.

    Returns:
        (first frame, frame after the last) of each clip, in order and apart.
    """
    count = len(times) - 1
    clips: list[tuple[int, int]] = []
    begin = 0
    for transition in [*transitions, Transition(count, count)]:
        cut_before, cut_behind = begin > 0, transition.end < count or damaged
        if transition.end > begin:
            shot = _without_margins(times, begin, transition.end, settings.margin_seconds, cut_before, cut_behind)
            clips += _pieces(times, *shot, settings.min_seconds, settings.max_seconds)
        begin = transition.begin
    return clips


def _without_margins(
    times: np.ndarray, begin: int, end: int, margin: float, before: bool, behind: bool
) -> tuple[int, int]:
    margin = min(margin, (times[end] - times[begin]) / 3)
    first, last = begin, end
    if before:
        first = int(np.searchsorted(times, times[begin] + margin - SLACK))
    if behind:
        last = int(np.searchsorted(times, times[end] - margin + SLACK, side="right")) - 1
    return (first, last) if first < last else (begin, end)  # a few long frames: leave them


def _pieces(times: np.ndarray, begin: int, end: int, least: float, most: float) -> list[tuple[int, int]]:
    """[begin, end) in pieces of at most `most` seconds; a single frame that is shown for longer is one piece."""
    whole = times[end] - times[begin]
    number = max(1, int(np.ceil((whole - SLACK) / most)))
    while number > 1:
        edges = [_nearest(times, times[begin] + whole * k / number, begin, end) for k in range(number + 1)]
        pieces = [(a, b) for a, b in pairwise(edges) if b > a]
        lengths = [times[b] - times[a] for a, b in pieces]
        if min(lengths) < least - SLACK or number > end - begin:
            return _full_pieces(times, begin, end, least, most)
        if all(length <= most + SLACK or b - a == 1 for length, (a, b) in zip(lengths, pieces)):
            return pieces
        number += 1  # frames' own times made one a little too long
    return [(begin, end)]


def _full_pieces(times: np.ndarray, begin: int, end: int, least: float, most: float) -> list[tuple[int, int]]:
    """As many frames a piece as fit; what is left at the end is one if it is long enough, or all there is."""
    pieces = []
    while begin < end:
        fitting = int(np.searchsorted(times, times[begin] + most + SLACK, side="right")) - 1
        behind = min(end, max(begin + 1, fitting))
        pieces.append((begin, behind))
        begin = behind
    first, last = pieces[-1]
    return pieces[:-1] if len(pieces) > 1 and times[last] - times[first] < least - SLACK else pieces


def _nearest(times: np.ndarray, target: float, begin: int, end: int) -> int:
    """Which of the times from `begin` to `end`, both included, is nearest to the target."""
    return begin + int(np.abs(times[begin : end + 1] - target).argmin())


def _clip(row: Row, seen: Seen, begin: int, end: int) -> Row:
    start_s, end_s = float(seen.times[begin]), float(seen.times[end])
    return _of_source(row) | {
        "start_s": start_s,
        "end_s": end_s,
        "start_pts": seen.pts[begin],
        "end_pts": seen.pts[end],
        "time_base": seen.time_base,
        "fps": round((end - begin) / (end_s - start_s), 6),
        "width": seen.width,
        "height": seen.height,
        "num_frames": end - begin,
        "codec": seen.codec,
        "crop": None,
        "letterbox": 0.0,
        "status": "ok",
        "reason": None,
    }


def failed(row: Row, reason: str) -> list[Row]:
    """The row of a file whose decoder crashed or hung."""
    return [_unusable(row, row.get("start_s") or 0.0, reason)]


def _unusable(row: Row, start: float, reason: str) -> Row:
    """A row for what cannot be read, from `start` on; its id is of the place in the file."""
    name = digest("unusable", row["source_sha256"], round(start, 3), row.get("end_s"))
    told = {"start_s": start, "end_s": row.get("end_s"), "status": "quarantined", "reason": reason}
    return _of_source(row) | told | {"clip_id": name}


def _of_source(row: Row) -> Row:
    names = ("source_uri", "source_sha256", "path", "bytes", "mtime_ns", "license", "captions")
    return {name: row.get(name) for name in names}


def tell(rows: list[Row], settings: CaptionSettings) -> dict[str, float]:
    """How many rows are no clips."""
    return {"rejects": sum(row["status"] != "ok" for row in rows)}


STAGE = Stage(
    "shots", SHOTS, "range_key", inputs, worker, runs_in="processes", batch_size=1, failed=failed, tell=tell
)
