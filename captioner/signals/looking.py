"""The frames of a clip that the signals look at: some evenly spaced, and to each of a few a near neighbour."""

import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data.video_io import FrameTime
from ...data.video_times import evenly
from ..shots.frames import clip_times, read_frames

DETAIL = 640  # pixels of the long side that sharpness and text are looked at in
PAIRS = 8  # of neighbours, for motion
APART = 0.1  # seconds between neighbours, as near as the frame rate allows


@dataclass(frozen=True)
class Look:
    """What is looked at of a clip."""

    frames: np.ndarray  # uint8 (T, H, W, 3), all that were read, in order
    times: np.ndarray  # float64 (T,), seconds
    spaced: list[int]  # places of those evenly spaced in time
    near: list[tuple[int, int]]  # places of neighbours


def look_at(row: Mapping[str, Any], num_frames: int) -> Look:
    """Read what is looked at of a clip.

    Args:
        row: of the `shots` table.
        num_frames: evenly spaced.

    Raises:
        VideoError: the file cannot be read.
    """
    known = clip_times(row)
    at = [frame.time for frame in known]
    spaced = evenly(known, num_frames)
    pairs = []
    for first in evenly([frame for frame in known if frame.time < at[-1] - APART / 2] or known[:1], PAIRS):
        later = range(bisect.bisect_right(at, first.time), len(at))
        if later:
            pairs.append((first, known[min(later, key=lambda k: abs(at[k] - first.time - APART))]))
    chosen = sorted({*spaced, *(frame for pair in pairs for frame in pair)})
    clip = read_frames(row, known, chosen, max_side=DETAIL)

    def place(frame: FrameTime) -> int:  # some files decode to other times than their packets tell
        return int(np.abs(clip.times - frame.time).argmin())

    near = dict.fromkeys((place(a), place(b)) for a, b in pairs)
    return Look(
        clip.frames,
        clip.times,
        list(dict.fromkeys(place(frame) for frame in spaced)),
        [(a, b) for a, b in near if a < b],
    )
