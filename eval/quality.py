"""How clips look whatever was asked: how near their features are to true clips', how sharp, steady and varied.

Plain numbers of clips and of feature arrays; `measures` puts them beside true clips and adds intervals.
"""

import numpy as np
import torch
import torch.nn.functional as F

LUMA = (0.2126, 0.7152, 0.0722)  # Rec. ITU-R BT.709
MOST_AXES = 32
CLIPS_PER_AXIS = 8
STILL_SHARE = 0.5  # of the pixels, the stillest, are what should be still


def leading_axes(truth: np.ndarray, clips: int) -> np.ndarray:
    """The directions in which true clips' features vary most, in which `frechet_distance` compares covariances.

    Args:
        truth: features of true clips, (N, D).
        clips: how many clips each side of a distance has; a covariance of d directions gets 8 d clips, so d is at
            most clips // 8, and at most 32.

    Returns:
        (D, d), orthonormal; d is at least 1.
    """
    count = max(1, min(MOST_AXES, clips // CLIPS_PER_AXIS, truth.shape[1], len(truth) - 1))
    return np.linalg.svd(truth - truth.mean(0), full_matrices=False)[2][:count].T


def frechet_distance(one: np.ndarray, other: np.ndarray, axes: np.ndarray | None = None) -> float:
    """Squared Fréchet distance of two Gaussians fitted to features.

        |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½)

    (Dowson & Landau 1982; for images' features Heusel et al. 2017, for clips' Unterthiner et al. 2018.) A few
    hundred clips do not determine a covariance of hundreds of features. With `axes` only its block along these
    directions is taken as it is; the remaining variance, t, is taken as spread evenly, as in probabilistic
    principal components (Tipping & Bishop 1999), and adds (t1^½ - t2^½)². Means are compared in all directions.

    The distance grows as clips get fewer; compare only distances of the same number of clips.

    Args:
        one, other: (N, D) and (M, D), at least 2 clips each.
        axes: (D, d), orthonormal, see `leading_axes`; None takes the full covariances.

    Raises:
        ValueError: arrays of other shapes, or a single clip.
    """
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1] or min(len(one), len(other)) < 2:
        raise ValueError(f"features are {one.shape} and {other.shape}; it needs (N, D) and (M, D), N and M >= 2")
    one, other = one.astype(np.float64), other.astype(np.float64)
    apart = float(((one.mean(0) - other.mean(0)) ** 2).sum())
    total = [float(side.var(0, ddof=1).sum()) for side in (one, other)]
    shown = [side if axes is None else side @ axes for side in (one, other)]
    first, second = (np.atleast_2d(np.cov(side, rowvar=False)) for side in shown)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    common = float(np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(min=0)).sum())
    within = float(np.trace(first) + np.trace(second)) - 2 * common
    rest = [max(whole - float(np.trace(block)), 0.0) for whole, block in zip(total, (first, second))]
    return max(apart + within + (rest[0] ** 0.5 - rest[1] ** 0.5) ** 2, 0.0)


def resized(frames: np.ndarray, side: int) -> np.ndarray:
    """uint8 (T, H, W, 3) as float32 (T, h, w, 3), 0 to 255, with a shorter side of `side` pixels, anti-aliased."""
    if min(frames.shape[1:3]) == side:
        return frames.astype(np.float32)
    scale = side / min(frames.shape[1:3])
    size = [max(1, round(length * scale)) for length in frames.shape[1:3]]
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
    return pixels.permute(0, 2, 3, 1).numpy()


def sharpness(frames: np.ndarray) -> float:
    """Mean squared gradient of the luma over the luma's variance in the picture.

    By Parseval that is the mean squared spatial frequency, weighted by power: blur lowers it, contrast leaves it
    alone; noise and ringing raise it. (The gradient's energy as a measure of focus: Tenenbaum 1970; Pertuz et al.
    2013 compare such measures.) It depends on what is shown, so compare clips of the same prompt and size.

    Args:
        frames: (T, H, W, 3), 0 to 255.
    """
    luma = frames.astype(np.float32) @ np.array(LUMA, np.float32) / 255
    down, across = np.diff(luma, axis=1), np.diff(luma, axis=2)
    energy = float((down**2).mean() + (across**2).mean())
    variance = float(luma.var(axis=(1, 2)).mean())
    return (energy + 1e-8) / (variance + 1e-5)  # a blank picture is not sharp


def flicker(frames: np.ndarray) -> float:
    """Mean size of the second difference in time, |x(t+1) - 2 x(t) + x(t-1)|, of the stiller half of the pixels.

    Steady change (a slow fade, a shadow that moves on) has none; brightness that goes up and down has twice its
    step. The stiller half: pixels whose own mean is lowest, so that what moves is left out.

    Args:
        frames: (T, H, W, 3), 0 to 255, T >= 3.

    Returns:
        In levels of 255, the mean of red, green and blue.

    Raises:
        ValueError: fewer than 3 frames.
    """
    if len(frames) < 3:
        raise ValueError(f"the clip has {len(frames)} frames; flicker needs at least 3")
    second = np.abs(np.diff(frames.astype(np.float32), n=2, axis=0)).mean(axis=(0, 3)).ravel()
    still = max(1, round(STILL_SHARE * len(second)))
    return float(np.partition(second, still - 1)[:still].mean())


def mean_distance(features: np.ndarray) -> float:
    """Mean Euclidean distance between the rows of (N, D), over all pairs.

    Raises:
        ValueError: fewer than 2 rows.
    """
    if len(features) < 2:
        raise ValueError(f"{len(features)} clips have no pairs; diversity needs at least 2 of a prompt")
    one, other = np.triu_indices(len(features), 1)
    return float(np.linalg.norm(features[one].astype(np.float64) - features[other], axis=1).mean())
