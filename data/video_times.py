"""When a file's frames are shown, read from its packets: no picture is decoded but the first.

A file of an hour tells its times in a moment, so that the frames wanted can be chosen before any is decoded.
"""

import bisect
import math
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from av.error import FFmpegError

from .video_probe import VideoDamageError, describe, open_video
from .video_read import GRACE, SEEK_FROM, iter_stills

REORDER = 32  # packets; frames are stored at most so many packets after the place their time gives them


class FrameTime(NamedTuple):
    """When one frame is shown."""

    time: float  # seconds from the file's first frame
    pts: int  # the same in the stream's own clock and time base
    keyframe: bool  # decoding can start at it


def frame_times(path: str | Path, *, start: float = 0.0, end: float | None = None) -> list[FrameTime]:
    """The times of the frames shown in [start, end), in order.

    Args:
        path: a video file.
        start: seconds from the first frame.
        end: seconds, exclusive; None: to the end.

    Raises:
        VideoOpenError: missing, not a video, or its first frame cannot be decoded.
        VideoDamageError: the file breaks off before `end`.
    """
    known = _from_packets(Path(path), start, math.inf if end is None else end)
    if known is None:  # a stream whose packets carry no times: the decoder counts them
        known = [FrameTime(still.time, still.pts, False) for still in iter_stills(path, start=start, end=end)]
    return known


def _from_packets(path: Path, start: float, end: float) -> list[FrameTime] | None:
    with open_video(path) as (container, stream):
        base: Fraction = stream.time_base
        first = next(iter_stills(path), None)
        if first is None:
            return []
        origin = first.pts
        found: list[FrameTime] = []
        if start >= SEEK_FROM:
            container.seek(origin + int(start / base), stream=stream)
        late, begun = 0, False
        try:
            for packet in container.demux(stream):
                if packet.size == 0 or packet.is_discard:
                    continue
                if packet.pts is None:
                    return None
                time = float((packet.pts - origin) * base)
                if not begun and time > start + GRACE and start >= SEEK_FROM:
                    return None  # the seek went too far
                begun = True
                late = late + 1 if time >= end - GRACE else 0
                if late > REORDER:
                    break
                if start - GRACE <= time < end - GRACE and packet.pts >= origin:
                    found.append(FrameTime(time, packet.pts, packet.is_keyframe))
        except FFmpegError as error:
            known = found[-1].time if found else start
            raise VideoDamageError(path, known, f"the data is damaged or cut off ({describe(error)})") from None
    return sorted(found)


def evenly(times: list[FrameTime], count: int) -> list[FrameTime]:
    """At most `count` different frames, evenly spaced in time from the first to the last."""
    if count >= len(times):
        return list(times)
    if count == 1:
        return [times[len(times) // 2]]
    at = [frame.time for frame in times]
    chosen: list[int] = []
    for k in range(count):
        target = at[0] + (at[-1] - at[0]) * k / (count - 1)
        index = bisect.bisect_left(at, target - GRACE)
        if 0 < index < len(at) and target - at[index - 1] < at[index] - target:
            index -= 1
        index = max(index, chosen[-1] + 1 if chosen else 0)  # frames are spread unevenly: the next one
        chosen.append(min(index, len(at) - (count - k)))  # and leave one for every frame yet to be chosen
    return [times[index] for index in chosen]
