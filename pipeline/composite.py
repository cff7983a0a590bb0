"""Given pixels back in their places, without a seam to what was made beside them.

The autoencoder gives back given pixels almost, not exactly. Putting the exact ones in their place makes a step
where they end: there the made frames still carry the autoencoder's small error and the given ones do not. So the
difference at the given side is carried over to the made side and fades out: over one latent group in time, and
over a few pixels in space.
"""

import torch
from torch.nn.functional import avg_pool2d

from .canvas import Canvas

REACH = 4  # pixels that a difference reaches into a mask


def composite(pixels: torch.Tensor, canvas: Canvas, temporal_stride: int) -> torch.Tensor:
    """Decoded pixels as frames, with what the canvas has given in its place.

    Args:
        pixels: (B, 3, T, H, W) in [-1, 1].
        canvas: its `given` and `keep`; where it has none, frames are as decoded.
        temporal_stride: pixel frames per latent frame.

    Returns:
        float32 (B, T, 3, H, W) in [0, 1].
    """
    made = (pixels.float() * 0.5 + 0.5).clamp(0, 1).transpose(1, 2)
    if canvas.given is None or canvas.keep is None:
        return made
    return put_back(made, canvas.given.to(made.device), canvas.keep.to(made.device), temporal_stride)


def put_back(
    made: torch.Tensor, given: torch.Tensor, keep: torch.Tensor, temporal_stride: int, reach: int = REACH
) -> torch.Tensor:
    """Put the kept pixels in their places and fade their difference out round them.

    Args:
        made: (B, T, 3, H, W) in [0, 1], as decoded.
        given: (B or 1, T, 3, H, W) float32 in [0, 1].
        keep: (1, T, 1, H, W) bool.
        temporal_stride: frames over which a difference fades, before and after.
        reach: pixels over which it fades beside a kept region of the same frame.

    Returns:
        float32 (B, T, 3, H, W): exactly `given` where `keep` is true.
    """
    difference = (given - made) * keep
    whole = keep.flatten(2).all(-1) | ~keep.flatten(2).any(-1)  # frames without a border inside
    total, weight = _fade_in_time(difference, keep, temporal_stride)
    if not bool(whole.all()):
        beside, beside_weight = _fade_in_space(difference, keep, reach)
        total, weight = total + beside, weight + beside_weight
    faded = (made + total / weight.clamp(min=1)).clamp(0, 1)
    return torch.where(keep, given, faded)


def _fade_in_time(difference: torch.Tensor, keep: torch.Tensor, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted sum of the differences of the nearest kept frame before and after, and the sum of weights.

    The weight falls in equal steps from 1 at the kept frame to 0 at the `frames` + 1st frame from it.
    """
    total = torch.zeros_like(difference)
    weights = torch.zeros(keep.shape, device=difference.device)
    for order in (range(difference.shape[1]), range(difference.shape[1] - 1, -1, -1)):
        carried = torch.zeros_like(difference[:, 0])
        weight = torch.zeros_like(weights[:, 0])
        for frame in order:
            kept = keep[:, frame]
            carried = torch.where(kept, difference[:, frame], carried)
            weight = torch.where(kept, 1.0, (weight - 1 / (frames + 1)).clamp(min=0))
            total[:, frame] += torch.where(kept, 0, weight * carried)
            weights[:, frame] += torch.where(kept, 0, weight)
    return total, weights


def _fade_in_space(difference: torch.Tensor, keep: torch.Tensor, reach: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same within each frame: rings round the kept pixels, each the mean of its neighbours nearer to them."""
    batch, frames = difference.shape[:2]
    value, covered = difference.flatten(0, 1), keep.flatten(0, 1).float()
    weight = torch.zeros_like(covered)
    for ring in range(1, reach + 1):
        count = avg_pool2d(covered, 3, 1, 1)
        mean = avg_pool2d(value, 3, 1, 1).unflatten(0, (batch, frames)) / count.clamp(min=1e-6)
        new = (count > 0) & (covered == 0)
        value = torch.where(new, mean, value.unflatten(0, (batch, frames))).flatten(0, 1)
        weight = torch.where(new, 1 - ring / (reach + 1), weight)
        covered = torch.where(new, 1.0, covered)
    weight = weight.unflatten(0, (1, frames))
    return weight * value.unflatten(0, (batch, frames)), weight
