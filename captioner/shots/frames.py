"""Frames of a clip, at their right times: what every stage that looks at pixels reads them with."""

import bisect
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ...data.video_io import FrameTime, Still, VideoRangeError, frame_times, iter_stills, probe
from ...data.video_read import GRACE
from ...data.video_times import evenly
from ..ingest.unchanged import unchanged

WORTH_A_JUMP = 48  # frames; jumping over fewer costs more than decoding them


@dataclass(frozen=True)
class ClipFrames:
    """Some frames of a clip."""

    frames: np.ndarray  # uint8 (T, H, W, 3)
    times: np.ndarray  # float64 (T,), seconds from the file's first frame
    pts: list[int]  # the same in the stream's own clock and time base
    fps: float  # rate of these frames; of one alone, the clip's


def read_clip(row: Mapping[str, Any], count: int, *, max_side: int | None = None) -> ClipFrames:
    """Read frames of a clip, evenly spaced in time from its first to its last.

    Args:
        row: of the `shots` table: path, start_s, end_s (None: to the end) and crop decide; bytes and mtime_ns, if
            they are known, tell whether the file is still the same.
        count: of frames; a clip that has fewer gives all it has, each once.
        max_side: pixels; a larger picture is made smaller, its aspect kept.

    Raises:
        VideoError: the file cannot be read or was changed; `VideoRangeError` if the range holds no frame.
    """
    known = clip_times(row)
    return read_frames(row, known, evenly(known, count), max_side=max_side)


def clip_times(row: Mapping[str, Any]) -> list[FrameTime]:
    """When the frames of a clip are shown; arguments and errors are those of `read_clip`."""
    start, end = row.get("start_s") or 0.0, row.get("end_s")
    with unchanged(row):
        known = frame_times(row["path"], start=start, end=end)
    if not known:
        raise VideoRangeError(row["path"], start, f"no frame is shown from {start:.3f} s to {end} s")
    return known


def read_frames(
    row: Mapping[str, Any], known: list[FrameTime], chosen: list[FrameTime], *, max_side: int | None = None
) -> ClipFrames:
    """Read chosen frames of a clip, in order, among those that `clip_times` knows; otherwise as `read_clip`."""
    path, start, end = row["path"], row.get("start_s") or 0.0, row.get("end_s")
    frames, times, pts = [], [], []
    with unchanged(row):
        info = probe(path)
        size, box = fitted(info.width, info.height, row.get("crop"), max_side)
        x, y, width, height = box
        for run in _runs(known, chosen):
            for still in _decoded(path, run, end):
                frames.append(still.pixels(size)[y : y + height, x : x + width])
                times.append(still.time)
                pts.append(still.pts)
    if not frames:
        raise VideoRangeError(path, start, f"no frame can be decoded from {start:.3f} s to {end} s")
    span = times[-1] - times[0]
    fps = (len(times) - 1) / span if span > 0 else float(row.get("fps") or info.fps or 1.0)
    return ClipFrames(np.stack(frames), np.array(times), pts, fps)


def fitted(
    width: int, height: int, crop: Any = None, max_side: int | None = None
) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """How to make a picture small and cut it: scale first, since that is done while it is decoded.

    Args:
        width, height: of the whole picture, pixels.
        crop: x, y, width, height in it; None: all.
        max_side: of the result, pixels; None: as it is.

    Returns:
        (height, width) to scale the whole to, and (x, y, width, height) to cut out of that.
    """
    x, y, w, h = crop if crop is not None else (0, 0, width, height)
    scale = min(1.0, max_side / max(w, h)) if max_side else 1.0
    size = max(1, round(height * scale)), max(1, round(width * scale))
    box_width, box_height = max(1, round(w * scale)), max(1, round(h * scale))
    left = min(round(x * scale), max(0, size[1] - box_width))
    top = min(round(y * scale), max(0, size[0] - box_height))
    return size, (left, top, box_width, box_height)


def _runs(times: list[FrameTime], chosen: list[FrameTime]) -> Iterator[list[FrameTime]]:
    """The chosen frames in runs that are decoded in one go; between two runs it pays to jump to a keyframe."""
    keyframes = [frame.time for frame in times if frame.keyframe]
    at = [frame.time for frame in times]
    run = chosen[:1]
    for before, frame in pairwise(chosen):
        behind = bisect.bisect_right(keyframes, frame.time)
        start = keyframes[behind - 1] if behind else -1.0
        if bisect.bisect_left(at, start) - bisect.bisect_left(at, before.time) > WORTH_A_JUMP:
            yield run
            run = []
        run.append(frame)
    yield run


def _decoded(path: Any, wanted: list[FrameTime], end: float | None) -> Iterator[Still]:
    """The frames that are shown from the wanted times on, each once."""
    index, still = 0, None
    with closing(iter_stills(path, start=wanted[0].time, end=end)) as stills:
        for still in stills:
            used = still.time >= wanted[index].time - GRACE
            while index < len(wanted) and still.time >= wanted[index].time - GRACE:
                index += 1
            if used:
                yield still
            if index == len(wanted):
                return
