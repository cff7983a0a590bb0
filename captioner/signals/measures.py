"""What single frames tell: how still, black, sharp and bright a clip is, and its colours.

Pure functions over frames, uint8 (T, H, W, 3).
"""

import cv2
import numpy as np

from .colours import colour_shares

SAME = 8.0  # levels of 255; a step between frames that changes less, even in its liveliest part, is none
LIVELIEST = 0.995  # share of the picture that may change less; what moves is often small
DARK = 0.1  # of full brightness; a pixel below is black
DARK_SHARE = 0.98  # of the picture; so much black makes a black frame
BLUR_TAPS = 9  # pixels
BLUR_SIDE = 640  # pixels of the long side that sharpness is measured at
WORTH_NAMING = 0.02  # share of the picture; a colour with less is not named


def static_share(frames: np.ndarray) -> float | None:
    """Share of the steps from frame to frame in which nothing changes, 0 to 1; None of a single frame.

    Each frame is smoothed first, so that a codec's noise is no change. A step counts as still if 99.5 % of the
    pixels change by less than `SAME` levels: a small thing that moves is enough for it not to.
    """
    if len(frames) < 2:
        return None
    smooth = np.stack([cv2.blur(grey(frame), (5, 5)) for frame in frames]).astype(np.int16)
    steps = np.abs(np.diff(smooth, axis=0)).reshape(len(frames) - 1, -1)
    return float((np.quantile(steps, LIVELIEST, axis=1) < SAME).mean())


def black_share(frames: np.ndarray) -> float:
    """Share of the frames that are black, 0 to 1: 98 % of the pixels below 10 %, as in FFmpeg's `blackdetect`."""
    dark = np.stack([grey(frame) for frame in frames]).reshape(len(frames), -1) < DARK * 255
    return float((dark.mean(axis=1) >= DARK_SHARE).mean())


def brightness(frames: np.ndarray) -> float:
    """Mean brightness, 0 to 1, of the luma of BT.601."""
    return float(np.mean([grey(frame).mean() for frame in frames]) / 255)


def sharpness(frames: np.ndarray) -> float:
    """How much of the differences between neighbouring pixels a blur would take away, 0 (blurred) to 1.

    Crété-Roffet et al., "The blur effect" (2007): a picture that is blurred already loses little by another blur.
    It does not depend on contrast or on how much of the picture has edges. Larger pictures are made smaller first,
    so that sizes compare; smaller ones are not made larger. The median over frames; a plain picture has 0.
    """
    return float(np.median([_sharpness(_within(grey(frame), BLUR_SIDE)) for frame in frames]))


def colour_words(frames: np.ndarray) -> list[str]:
    """The words for the colours that fill at least 2 % of the picture, the most common first."""
    shares = colour_shares(frames)
    ordered = sorted(shares, key=lambda word: (-shares[word], word))
    return [word for word in ordered if shares[word] >= WORTH_NAMING]


def grey(frame: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) in grey, uint8 (H, W)."""
    return cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)


def smaller(frames: np.ndarray, max_side: int) -> np.ndarray:
    """Frames whose long side is at most `max_side` pixels; aspect kept, averaged over areas."""
    return np.stack([_within(frame, max_side) for frame in frames])


def _within(picture: np.ndarray, max_side: int) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _sharpness(picture: np.ndarray) -> float:
    picture = picture.astype(np.float32)
    kept = total = 0.0
    for axis in (0, 1):
        taps = (1, BLUR_TAPS) if axis == 0 else (BLUR_TAPS, 1)
        sharp = np.maximum(np.abs(np.diff(picture, axis=axis)) - 1, 0)  # one level is how pixels are rounded
        blurred = np.abs(np.diff(cv2.blur(picture, taps), axis=axis))
        total += float(sharp.sum())
        kept += float(np.minimum(sharp, blurred).sum())
    return 1 - kept / total if total > 0 else 0.0
