"""How the background moves: an affine map from each frame to the next, fitted robustly to what is no object.

Gauss-Newton on brightness differences (Lucas and Kanade 1981; Baker and Matthews 2004, eq. 10), coarse to fine,
with Tukey's biweight (Beaton and Tukey 1974) against shadows, reflections and whatever the labeller missed. The
upper and the lower part of the picture are fitted apart, since the far moves otherwise than the near.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

LEVELS = (4, 2, 1)  # shrinking of each level of the pyramid
ROUNDS = (6, 5, 3)  # of Gauss-Newton at each level
UPPER, LOWER = 0.42, 0.36  # the upper part ends, and the lower part begins, at these shares of the height
DAMPING = 2e-3  # pulls directions that the picture does not show to no motion


def background_flow(frames: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Affine motion of the background between neighbouring frames.

    Args:
        frames: (T, 3, H, W) in [-1, 1].
        inside: (T, H, W) probability that a pixel belongs to a thing.

    Returns:
        maps (2, T - 1, 2, 3) of the upper and the lower part: a point (x, y) of a frame, in half shorter sides
        from the picture's centre (x right, y down), moves by map @ (x, y, 1) until the next frame. And how
        sharply each is defined, (2, T - 1): the share of brightness variation that the map explains, 0 to 1.
    """
    gray = frames.mean(1)
    free = (F.max_pool2d(inside[:, None], 5, stride=1, padding=2)[:, 0] < 0.4).float()
    height = gray.shape[1]
    rows = (torch.arange(height, device=gray.device) + 0.5) / height
    parts = torch.stack([(rows < UPPER).float(), (rows > LOWER).float()])  # (2, H)
    first, second = gray[:-1].repeat(2, 1, 1), gray[1:].repeat(2, 1, 1)
    mask = rearrange(parts[:, None, :, None] * (free[:-1] * free[1:]), "p t h w -> (p t) h w")
    maps = torch.zeros(len(first), 2, 3, device=gray.device)
    shown = torch.zeros(len(first), device=gray.device)
    for shrink, rounds in zip(LEVELS, ROUNDS):
        one, two, where = (F.avg_pool2d(x[:, None], shrink)[:, 0] for x in (first, second, mask))
        maps, shown = _fit(one, two, where, maps, rounds)
    return maps.unflatten(0, (2, -1)), shown.unflatten(0, (2, -1))


def _fit(first: Tensor, second: Tensor, mask: Tensor, maps: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
    """Rounds of Gauss-Newton at one level of the pyramid; the warp is applied to the second frame."""
    height, width = first.shape[-2:]
    half = min(height, width) / 2
    y, x = torch.meshgrid(
        (torch.arange(height, device=first.device) + 0.5 - height / 2) / half,
        (torch.arange(width, device=first.device) + 0.5 - width / 2) / half,
        indexing="ij",
    )
    place = torch.stack([x, y, torch.ones_like(x)], -1).view(-1, 3)  # (N, 3)
    flat = mask.flatten(1) * (mask.flatten(1) > 0.9)
    here = first.flatten(1)
    slope_x, slope_y = _slopes(second, half)
    aspect = torch.tensor([half / (width / 2), half / (height / 2)], device=first.device)
    shown = torch.zeros(len(first), device=first.device)
    for _ in range(rounds):
        moved = place[None, :, :2] + place @ maps.transpose(1, 2)  # (B, N, 2)
        grid = (moved * aspect).view(-1, height, width, 2)
        stack = torch.stack([second, slope_x, slope_y], 1)
        there, along, down = (
            F.grid_sample(stack, grid, padding_mode="border", align_corners=False).flatten(2).unbind(1)
        )
        seen = flat * (grid.abs() < 1).all(-1).flatten(1)
        error = (here - there) * seen
        spread = 1.4826 * _median(error.abs(), seen) + 0.01
        weight = (1 - (error / (4.7 * spread[:, None])) ** 2).clamp(min=0) ** 2 * seen
        jacobian = torch.cat([along[..., None] * place, down[..., None] * place], -1)  # (B, N, 6)
        weighted = jacobian * weight[..., None]
        hessian = weighted.transpose(1, 2) @ jacobian
        scale = weight.sum(1).clamp(min=1)
        hessian = hessian + DAMPING * scale[:, None, None] * torch.eye(6, device=first.device)
        pull = torch.einsum("bnd,bn->bd", weighted, error) - DAMPING * scale[:, None] * maps.flatten(1)
        step = torch.linalg.solve(hessian, pull)
        maps = maps + step.view(-1, 2, 3).clamp(-0.2, 0.2)
        mean = (here * weight).sum(1) / scale
        variation = (((here - mean[:, None]) ** 2) * weight).sum(1)
        shown = 1 - (error**2 * weight).sum(1) / variation.clamp(min=1e-6)
    return maps, shown.clamp(0, 1)


def _slopes(images: Tensor, half: float) -> tuple[Tensor, Tensor]:
    """Brightness per half shorter side, rightwards and downwards."""
    padded = F.pad(images[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    return (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) * half / 2, (
        padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    ) * half / 2


def _median(values: Tensor, seen: Tensor) -> Tensor:
    """The median of each row (B, N) over what is seen."""
    kept = values.masked_fill(seen == 0, torch.nan)
    return kept.nanmedian(1).values.nan_to_num(0.0)
