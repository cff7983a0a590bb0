"""An object's colour by a rule that nothing was trained for: the cross-check of the labeller's colours.

Thresholds were set on Diorama's level 0 (corpus 9001).
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ...data.diorama.scene import TIMES_OF_DAY

# Hues are degrees in the Lab plane: each name holds up to the edge at its place.
HUES = ("pink", "red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
HUE_EDGES = (10.0, 48.0, 78.0, 112.0, 172.0, 250.0, 305.0, 328.0)
LEAST_CHROMA = 13.0  # a paler pixel has no hue
COLOURED_SHARE = 0.4  # of the object's pixels that have a hue: fewer, and it is black, gray or white
BROWN_CHROMA = 45.0  # orange hues paler than this are brown
BLACK_BELOW = {"night": 32.0}  # lightness
WHITE_ABOVE = {"night": 49.0}
BLACK_BELOW_BY_DAY, WHITE_ABOVE_BY_DAY = 39.0, 69.0


def hue_word(pixels: Tensor, masks: Sequence[np.ndarray | None], time: int) -> str:
    """The colour under masks, one of Diorama's 12 words; "none" if nothing is under them.

    Every pixel with a hue votes for its name with its chroma as weight; a thing with few such pixels is black,
    gray or white by its median lightness, which is judged by the time of day's light.

    Args:
        pixels: (T, 3, H, W) in [-1, 1].
        masks: (H, W) for some of the first frames; None where the thing is not seen.
        time: number of the time of day in scene.TIMES_OF_DAY.
    """
    stored = ((pixels + 1) * 127.5).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)
    core = [stored[n][_without_edge(mask)] for n, mask in enumerate(masks) if mask is not None]
    whole = [stored[n][mask] for n, mask in enumerate(masks) if mask is not None]
    chosen = np.concatenate(core or [np.zeros((0, 3), np.uint8)])
    if len(chosen) <= 20:
        chosen = np.concatenate(whole or [np.zeros((0, 3), np.uint8)])
    return colour_word(to_lab(chosen), TIMES_OF_DAY[time]) if len(chosen) else "none"


def colour_word(lab: np.ndarray, time: str = "day") -> str:
    """The colour of Lab pixels (N, 3), N > 0, in the light of a time of day."""
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    coloured = chroma > LEAST_CHROMA
    if coloured.mean() <= COLOURED_SHARE:
        lightness = np.median(lab[~coloured, 0])
        if lightness < BLACK_BELOW.get(time, BLACK_BELOW_BY_DAY):
            return "black"
        return "white" if lightness > WHITE_ABOVE.get(time, WHITE_ABOVE_BY_DAY) else "gray"
    hue = np.degrees(np.arctan2(lab[coloured, 2], lab[coloured, 1])) % 360
    names = np.array([HUES.index(name) for name in HUES])[np.searchsorted(HUE_EDGES, hue)]
    word = HUES[np.bincount(names, chroma[coloured]).argmax()]
    if word == "orange" and np.median(chroma[coloured][names == HUES.index("orange")]) < BROWN_CHROMA:
        return "brown"
    return word


def to_lab(frames: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of sRGB values: uint8 (…, 3) to float32 (…, 3). IEC 61966-2-1, CIE 15:2004."""
    stored = np.arange(256, dtype=np.float32) / 255
    table = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4).astype(np.float32)
    matrix = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = table[frames] @ (matrix / np.array([[0.95047], [1.0], [1.08883]])).T.astype(np.float32)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def _without_edge(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask (H, W) whose four neighbours are in it too: edges are blends with the surroundings."""
    core = np.zeros_like(mask)
    beside = mask[1:-1, :-2] & mask[1:-1, 2:]
    core[1:-1, 1:-1] = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & beside
    return core
