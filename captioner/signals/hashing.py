"""A perceptual hash of a clip, which outlives another encoding, size or frame rate."""

import cv2
import numpy as np
from scipy.fft import dctn

MOMENTS, SIDE = 16, 32  # frames and pixels of the small cube that is transformed
LOW = 8  # spatial frequencies on each axis, of the mean picture: 64 bits
SLOW = [  # (temporal, vertical, horizontal) frequencies of what changes, the lowest first: 64 bits
    frequency
    for frequency in sorted(np.ndindex(4, 6, 6), key=lambda f: (1.5 * f[0] + f[1] + f[2], f))
    if frequency[0] > 0
][:64]
FAINT = 0.001  # of full brightness; weaker frequencies are noise, and have no bit
HASH_BITS = 128


def clip_hash(frames: np.ndarray) -> str:
    """Perceptual hash, 128 bits as 32 hex digits: equal or nearly so for copies of a clip.

    A three-dimensional cosine transform as of Coskun, Sankur and Memon, "Spatio-temporal transform based video
    hashing" (2006), of 16 small grey pictures: 64 bits say which low frequencies of the mean picture are above
    their median, as in pHash, and 64 bits which low frequencies of its changes are positive, so that another
    moment of the same scene has another hash if something goes on there.

    Args:
        frames: uint8 (T, H, W, 3), evenly spaced in time from the clip's first to its last.
    """
    chosen = np.linspace(0, len(frames) - 1, MOMENTS).round().astype(int)
    cube = np.stack([_small(frames[k]) for k in chosen])
    # "ortho" makes the coefficients those of unit vectors; over the root of the count, shares of full brightness.
    waves = np.asarray(dctn(cube, norm="ortho")) / np.sqrt(cube.size)
    still = waves[0, :LOW, :LOW].ravel()
    moving = np.array([waves[frequency] for frequency in SLOW])
    bits = np.concatenate([still - np.median(still[1:]) > FAINT, moving > FAINT])
    return np.packbits(bits).tobytes().hex()


def hash_words(hashes: list[str]) -> np.ndarray:
    """Hashes as uint64 (N, 2), whose differing bits `np.bitwise_count(a ^ b)` counts."""
    data = np.frombuffer(bytes.fromhex("".join(hashes)), dtype=">u8").astype(np.uint64)
    return data.reshape(-1, HASH_BITS // 64)


def _small(frame: np.ndarray) -> np.ndarray:
    small = cv2.resize(np.ascontiguousarray(frame), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float64) / 255
