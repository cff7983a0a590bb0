"""Black bars: where the picture really is.

A bar is told from a dark scene by its edge: a straight line across most of the picture, on both sides alike, on
the one side of which next to nothing is ever lit and all is equally black, on the other side most of it is lit at
some time. What is dark throughout, or darkens gradually, has no such line, and is left whole. Text in a bar
(subtitles, a station's mark) does not hide it, as long as it covers less than half of a line.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

DARK = 24  # of 255; black is 0, or 16 where a player's range was mistaken, and compression adds some
LIT = 65  # per cent of a line that is lit in the picture, at its edge
PARTLY = 40  # per cent of the longest line that is lit in a picture with bars on all four sides
TEXT = 50  # per cent of a line of a bar that text may cover
CLEAN = 3  # per cent that is lit in most lines of a bar
EDGE = 4  # pixels within which bar becomes picture
FLAT = 8  # of 255; the black of a bar's lines differs by no more
BLEED = 2  # lines of a bar, next to the picture, that compression lets it bleed into
LEAST = 0.01  # of the side; a thinner bar is not worth a crop
MOST = 0.45  # of the side; one bar covers no more
UNEVEN = 0.03  # of the side; by so much may the two bars of a pair differ


class Lines(NamedTuple):
    """How much of each line of a frame is lit, and how bright its unlit part is."""

    rows: np.ndarray  # float32 (2, H): per cent, and brightness of 255
    columns: np.ndarray  # float32 (2, W)


def lit_lines(frame: np.ndarray) -> Lines:
    """What `crop_of` needs of one frame, uint8 (H, W, 3)."""
    brightness = np.maximum(np.maximum(frame[..., 0], frame[..., 1]), frame[..., 2])
    lit = brightness > DARK
    unlit = np.where(lit, 0, brightness)

    def lines(axis: int) -> np.ndarray:
        share = lit.mean(axis=axis, dtype=np.float32)
        level = unlit.sum(axis=axis, dtype=np.float32) / np.maximum((1 - share) * frame.shape[axis], 1)
        return np.stack([100 * share, level])

    return Lines(lines(1), lines(0))


def find_crop(frames: np.ndarray) -> tuple[int, int, int, int] | None:
    """The picture without its black bars.

    Args:
        frames: uint8 (T, H, W, 3): some of a shot, from all over it.

    Returns:
        x, y, width and height in pixels, all even, or None if there are no bars.
    """
    return crop_of([lit_lines(frame) for frame in frames])


def crop_of(lines: Sequence[Lines]) -> tuple[int, int, int, int] | None:
    """As `find_crop`, of frames that are gone."""
    top, bottom = _bars(np.stack([line.rows for line in lines]))
    left, right = _bars(np.stack([line.columns for line in lines]))
    height, width = lines[0].rows.shape[1], lines[0].columns.shape[1]
    if top + bottom + left + right == 0:
        return None
    x, y = left + left % 2, top + top % 2
    box_width, box_height = width - right - x, height - bottom - y
    return x, y, box_width - box_width % 2, box_height - box_height % 2


def bars_share(crop: Sequence[int] | None, width: int, height: int) -> float:
    """Share of the picture that is bars, 0 to 1."""
    return 0.0 if crop is None else 1 - crop[2] * crop[3] / (width * height)


def _bars(lines: np.ndarray) -> tuple[int, int]:
    """Thickness of the bars before and behind the picture, pixels; of (T, 2, lines)."""
    length = lines.shape[2]
    # One frame of five or more may be an exception: a flash, or what is left of the shot before.
    lit, level = np.sort(lines, axis=0)[-2 if len(lines) >= 5 else -1]
    if PARTLY <= lit.max() < 100:  # bars on the other two sides shorten every line
        lit = lit * 100 / lit.max()
    first, last = _edge(lit, level), _edge(lit[::-1], level[::-1])
    if not first or not last or abs(first - last) > max(2, UNEVEN * length):
        return 0, 0
    return first, last


def _edge(lit: np.ndarray, level: np.ndarray) -> int:
    """Thickness of the bar at the beginning, 0 if there is none."""
    within = np.flatnonzero(lit > TEXT)
    thickness = int(within[0]) if len(within) else 0
    if not max(2, LEAST * len(lit)) <= thickness <= MOST * len(lit):
        return 0
    if np.median(lit[:thickness]) > CLEAN or lit[thickness : thickness + EDGE].max() < LIT:
        return 0
    pure = level[: max(2, thickness - BLEED)]
    return thickness if pure.max() - pure.min() <= FLAT else 0
