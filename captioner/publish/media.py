"""Makes the clips' video files: cut, with the bars cropped away, or left where they are.

A cut clip is H.264 without sound, since nothing here listens; references to whole files keep theirs. Its frames
are those of the source, each once, at its rate. Where those are unevenly spaced (variable frame rate), the clip
has an even rate instead, and shows at every moment what the source showed then.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...data.video_io import VideoError, VideoWriteError, iter_video, probe, write_video
from ..engine.commits import StageTable, explained_if_full
from ..ingest.current import clips
from ..ingest.unchanged import UnreachableError, check_unchanged, unchanged
from ..settings import CaptionSettings, DatasetSettings
from ..shots.frames import clip_times
from ..stage import Stage, Work
from ..tables import FILTERED, MEDIA, Row

UNEVEN = 2e-3  # seconds; many containers round times to milliseconds
MOST_FPS = 60.0  # of clips whose frames are unevenly spaced
CLIPS = "stages/media/clips"  # in the dataset; where clips wait that go into shards
MADE = re.compile(r"[0-9a-f]{32}\.mp4|shard-\d{6}\.tar")  # names of files that this stage or shards made


def inputs(dataset: Path, settings: CaptionSettings) -> Iterator[Row]:
    """The clips that are kept. Before the first of them, what was made with other settings is removed."""
    if not StageTable(dataset, "media", MEDIA).parts():
        for path in [*(dataset / "media").glob("*"), *(dataset / CLIPS).glob("*")]:
            if MADE.fullmatch(path.name):
                path.unlink()
    verdicts = StageTable(dataset, "filters", FILTERED).rows(["clip_id", "status"])
    kept = {row["clip_id"] for row in verdicts if row["status"] == "kept"}
    for row in clips(dataset):
        if row["clip_id"] in kept:
            kept.remove(row["clip_id"])
            yield row


def worker(dataset: Path, settings: CaptionSettings) -> Work:
    """A function that makes the files of clips."""

    def work(rows: list[Row]) -> list[Row]:
        return [_made(row, dataset, settings.dataset) for row in rows]

    return work


def clip_path(clip_id: str, settings: DatasetSettings) -> str:
    """Where a cut clip is written, in the dataset's folder; clips for shards wait among the stages' work."""
    folder = CLIPS if settings.media == "webdataset" else "media"
    return f"{folder}/{clip_id}.mp4"


def _made(row: Row, dataset: Path, settings: DatasetSettings) -> Row:
    made = dict.fromkeys(MEDIA.names) | {"clip_id": row["clip_id"], "status": "ok"}
    if settings.media == "reference":
        try:
            check_unchanged(row)
            reason = None if Path(row["path"]).is_file() else f"{row['path']}: no such file"
        except UnreachableError:
            raise
        except VideoError as error:
            reason = str(error)
        same = {name: row[name] for name in ("path", "width", "height", "fps", "num_frames")}
        return made | same | {"status": "quarantined" if reason else "ok", "reason": reason}
    made["path"] = clip_path(row["clip_id"], settings)
    target = dataset / made["path"]
    try:
        if not target.is_file():  # else a killed run wrote it, whole, and did not come to say so
            with explained_if_full(dataset):
                cut_clip(row, target, crf=settings.crf, max_side=settings.max_side)
        info = probe(target)
    except UnreachableError:
        raise
    except VideoError as error:
        cause = error.__cause__
        if isinstance(error, VideoWriteError) and isinstance(cause, OSError):  # the disk's fault, not the clip's
            with explained_if_full(dataset):
                raise cause from error
        return made | {"path": None, "status": "quarantined", "reason": str(error)}
    size = {"width": info.width, "height": info.height, "fps": info.fps, "num_frames": info.frames}
    return made | size | {"bytes": target.stat().st_size}


def cut_clip(row: Row, target: Path, *, crf: float, max_side: int | None = None) -> None:
    """Write one clip, whole or not at all.

    Args:
        row: of the `shots` table: path, start_s, end_s, fps and crop decide.
        target: the file.
        crf: quality, see `write_video`.
        max_side: pixels; a larger picture is made smaller, its aspect kept.

    Raises:
        VideoError: the source cannot be decoded or was changed; `UnreachableError` if it cannot be read now;
            `VideoWriteError` if the clip cannot be written.
    """
    start, end = row["start_s"] or 0.0, row["end_s"]
    fps, even = frame_rate([frame.time for frame in clip_times(row)], row["fps"], end)
    size = None
    if max_side and max_side < max(row["width"], row["height"]):
        scale = max_side / max(row["width"], row["height"])
        size = (max(1, round(row["height"] * scale)), max(1, round(row["width"] * scale)))
    rate = None if even else fps

    def pictures() -> Iterator[np.ndarray]:
        with unchanged(row):  # inside of what is written: then a clip of a changed file never appears
            for _, pixels in iter_video(row["path"], start=start, end=end, fps=rate, size=size, crop=row["crop"]):
                yield pixels

    write_video(target, pictures(), fps, crf=crf)


def frame_rate(times: Sequence[float], stated: float | None, end: float | None) -> tuple[float, bool]:
    """Frames per second of a cut clip, and whether the source's frames are evenly spaced at that rate.

    Args:
        times: of the source's frames, seconds.
        stated: the rate the source claims.
        end: of the clip, seconds.
    """
    if len(times) == 1:  # one picture, shown for as long
        shown = (end - times[0]) if end is not None and end > times[0] else 0.0
        return (1 / shown if shown > 1e-3 else stated or 25.0), True
    gaps = np.diff(times)
    average, usual = (len(times) - 1) / (times[-1] - times[0]), float(np.median(gaps))
    if np.abs(gaps - usual).max() <= UNEVEN:
        exact = stated is not None and abs(average / stated - 1) < 2e-3
        return (stated if exact and stated else average), True
    return min(MOST_FPS, max(average, 1 / usual)), False


STAGE = Stage(
    name="media",
    schema=MEDIA,
    key="clip_id",
    inputs=inputs,
    worker=worker,
    runs_in="processes",
    follows=("ingest", "shots"),
)

__all__ = ["STAGE", "clip_path", "cut_clip", "frame_rate"]
