"""Colours by the words that a caption would use.

Each of the 32³ coarse colours gets the word of the nearest example in OKLab (Ottosson 2020), a space in which
equal distances look equally different. Examples rather than borders: everyone can read and mend them.
"""

from functools import lru_cache

import numpy as np

BITS = 5  # of each channel; 8 levels are not told apart
LIGHTNESS = 0.7  # weight of a difference in lightness against one in colour: shading keeps a thing's colour word
COLOURS = (
    "red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown", "black", "grey", "white",
)  # fmt: skip
EXAMPLES: dict[str, tuple[str, ...]] = {  # sRGB
    "red": ("ff0000", "d01010", "a01010", "e04040", "800c0c", "c8302c"),
    "orange": ("ff8c00", "f07818", "ffa500", "e08020", "ff7f50", "d2691e"),
    "yellow": ("ffff00", "ffd700", "e8d020", "f8e860", "c8b400", "fff090"),
    "green": (
        "00ff00", "008000", "20c040", "60a040", "004d00", "80e080", "9acd32", "556b2f", "2e8b57", "305a30",
        "90b070",
    ),
    "cyan": ("00ffff", "20d0d0", "008b8b", "40e0d0", "90f0f0", "30a8b0"),
    "blue": ("0000ff", "1030c0", "000080", "4070e0", "1e90ff", "87ceeb", "3060a0", "6495ed", "a8d0f0", "203060"),
    "purple": ("800080", "8020c0", "6a0dad", "9370db", "4b0082", "b060d0", "a000ff", "503060"),
    "pink": ("ffc0cb", "ff69b4", "ff90c0", "e060a0", "ff1493", "f8a8c0", "ff00ff"),
    "brown": ("8b4513", "6b4423", "a0622d", "5c3a1e", "7b5030", "a52a2a", "40280f", "9c7850", "b08860", "d2b48c"),
    "black": ("000000", "101010", "1c1c1c", "0a0a14", "140c08", "081008"),
    "grey": ("808080", "606060", "a0a0a0", "404040", "b8b8b8", "707880", "807870"),
    "white": ("ffffff", "f0f0f0", "e0e0e0", "f8f4ec", "ecf2f8"),
}  # fmt: skip


def oklab(rgb: np.ndarray) -> np.ndarray:
    """sRGB (..., 3) in [0, 1] as OKLab (..., 3): lightness 0 to 1, then green to red and blue to yellow."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.array(
        [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    return np.cbrt(cones) @ np.array(
        [
            [0.2104542553, 1.9779984951, 0.0259040371],
            [0.7936177850, -2.4285922050, 0.7827717662],
            [-0.0040720468, 0.4505937099, -0.8086757660],
        ]
    )


def colour_shares(frames: np.ndarray) -> dict[str, float]:
    """The share of the pixels of uint8 (..., 3) that each colour word has; they add up to 1."""
    coarse = (frames >> (8 - BITS)).astype(np.int32)
    index = (coarse[..., 0] << 2 * BITS) | (coarse[..., 1] << BITS) | coarse[..., 2]
    counts = np.bincount(_words()[index.ravel()], minlength=len(COLOURS))
    return {word: float(share) for word, share in zip(COLOURS, counts / counts.sum())}


@lru_cache(maxsize=1)
def _words() -> np.ndarray:
    """For each coarse colour the place of its word in COLOURS."""
    levels = (np.arange(1 << BITS) + 0.5) / (1 << BITS)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    examples = [(COLOURS.index(word), bytes.fromhex(code)) for word, codes in EXAMPLES.items() for code in codes]
    weight = np.array([LIGHTNESS, 1, 1])
    known = oklab(np.array([list(code) for _, code in examples]) / 255) * weight
    nearest = ((oklab(grid)[:, None] * weight - known) ** 2).sum(-1).argmin(1)
    return np.array([word for word, _ in examples])[nearest].astype(np.uint8)
