"""Given pixels back in their places, without a seam to what was made beside them.

The autoencoder gives back given pixels almost, not exactly. Putting the exact ones in their place makes a step
where they end: there the made frames still carry the autoencoder's small error and the given ones do not. So the
difference at the given side is carried over to the made side and fades out: over one latent group in time, and
over a few pixels in space.

What then remains of a step between a given and a made frame is mostly motion, and stays. Only where it is larger
than every step inside the clip, the excess is shared out over that group.
"""

import torch
from torch.nn.functional import avg_pool2d

from .canvas import Canvas

REACH = 4  # pixels that a difference reaches into a mask
CHANGE = 0.15  # of [0, 1]: what has changed by this much since the given frame no longer takes its difference


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
    total, weight = _fade_in_time(made, difference, keep, temporal_stride)
    if not bool(whole.all()):
        beside, beside_weight = _fade_in_space(difference, keep, reach)
        total, weight = total + beside, weight + beside_weight
    faded = torch.where(keep, given, made + total / weight.clamp(min=1)).clamp(0, 1)
    return torch.where(keep, given, _without_jumps(faded, keep, temporal_stride))


def _without_jumps(frames: torch.Tensor, keep: torch.Tensor, spread: int) -> torch.Tensor:
    """Share out what a step between a wholly kept and a wholly made frame has above the largest step inside.

    First the mean of each colour, then the whole picture.

    Args:
        frames: (B, T, 3, H, W).
        keep: (1, T, 1, H, W) bool.
        spread: made frames that take a share; the nearest takes all of the excess, the next less.
    """
    given, new = keep.flatten(2).all(-1)[0].tolist(), (~keep).flatten(2).all(-1)[0].tolist()
    seams = [t for t in range(len(given) - 1) if (given[t] and new[t + 1]) or (new[t] and given[t + 1])]
    inside = [t for t in range(len(given) - 1) if t not in seams]
    if not seams or not inside:
        return frames
    for axes, whole in (((-2, -1), False), ((-3, -2, -1), True)):
        frames = frames.clone()
        steps = frames.diff(dim=1) if whole else frames.diff(dim=1).mean(axes, keepdim=True)  # (B, T - 1, 3, …)
        sizes = steps.abs().mean(axes, keepdim=True)
        largest = sizes[:, inside].amax(dim=1)
        for seam in seams:
            share = (1 - largest / sizes[:, seam].clamp(min=1e-8)).clamp(min=0)
            way, nearest = (-1, seam + 1) if given[seam] else (1, seam)
            excess = way * share * steps[:, seam]
            for number in range(spread):
                frame = nearest - way * number
                if not 0 <= frame < len(new) or not new[frame]:
                    break
                frames[:, frame] += (1 - number / spread) * excess
    return frames.clamp(0, 1)


def _fade_in_time(
    made: torch.Tensor, difference: torch.Tensor, keep: torch.Tensor, frames: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted sum of the differences of the nearest kept frame before and after, and the sum of weights.

    The weight falls in equal steps from 1 at the kept frame to 0 at the `frames` + 1st frame from it, and to 0
    where the picture has changed by `CHANGE` since: what has moved on would leave its outline behind.
    """
    total = torch.zeros_like(difference)
    weights = torch.zeros(len(made), *keep.shape[1:], device=made.device)
    for order in (range(difference.shape[1]), range(difference.shape[1] - 1, -1, -1)):
        carried = torch.zeros_like(difference[:, 0])
        shown, weight = made[:, 0], torch.zeros(keep[:, 0].shape, device=made.device)
        for frame in order:
            kept = keep[:, frame]
            carried = torch.where(kept, difference[:, frame], carried)
            shown = torch.where(kept, made[:, frame], shown)
            same = (1 - (made[:, frame] - shown).abs().mean(1, keepdim=True) / CHANGE).clamp(min=0)
            weight = torch.where(kept, 1.0, (weight - 1 / (frames + 1)).clamp(min=0))
            total[:, frame] += torch.where(kept, 0, weight * same * carried)
            weights[:, frame] += torch.where(kept, 0, weight * same)
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
