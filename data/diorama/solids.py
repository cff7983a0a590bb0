"""Signed distance functions of simple solids.

Each takes coordinates as 1-D tensors and returns the distance to the surface, negative inside, or a lower bound
of it. Formulas follow the well-known catalogue of Inigo Quilez, "Distance functions" (iquilezles.org).
"""

import math

import torch
from torch import Tensor


def length2(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean length of (a, b)."""
    return torch.addcmul(a * a, b, b).sqrt_()


def length3(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Euclidean length of (a, b, c)."""
    return torch.addcmul(torch.addcmul(a * a, b, b), c, c).sqrt_()


def sphere(x: Tensor, y: Tensor, z: Tensor, radius: float) -> Tensor:
    """A ball about the origin."""
    return length3(x, y, z).sub_(radius)


def ellipsoid(x: Tensor, y: Tensor, z: Tensor, a: float, b: float, c: float) -> Tensor:
    """Half axes a, b, c; a first-order bound of the distance."""
    k0 = length3(x / a, y / b, z / c)
    k1 = length3(x / (a * a), y / (b * b), z / (c * c))
    return k0 * (k0 - 1) / k1.clamp_(min=1e-4)


def box(x: Tensor, y: Tensor, z: Tensor, a: float, b: float, c: float, rounding: float = 0.0) -> Tensor:
    """Half sides a, b, c, with edges rounded by `rounding`."""
    qx, qy, qz = x.abs().sub_(a - rounding), y.abs().sub_(b - rounding), z.abs().sub_(c - rounding)
    inside = torch.maximum(torch.maximum(qx, qy), qz).clamp_(max=0)
    return length3(qx.clamp_(min=0), qy.clamp_(min=0), qz.clamp_(min=0)).add_(inside).sub_(rounding)


def extrude(profile: Tensor, depth: Tensor, half: float, rounding: float = 0.0) -> Tensor:
    """A flat shape's distance `profile` made solid along `depth`, half thickness `half`."""
    a, b = profile + rounding, depth.abs().sub_(half - rounding)
    inside = torch.maximum(a, b).clamp_(max=0)
    return length2(a.clamp_(min=0), b.clamp_(min=0)).add_(inside).sub_(rounding)


def cylinder(x: Tensor, y: Tensor, z: Tensor, radius: float, half: float, rounding: float = 0.0) -> Tensor:
    """Axis y; half height `half`."""
    return extrude(length2(x, z).sub_(radius), y, half, rounding)


def cone(x: Tensor, y: Tensor, z: Tensor, radius: float, half: float) -> Tensor:
    """Base of `radius` at y = -half, tip at y = half; a bound."""
    norm = math.hypot(2 * half, radius)
    side = (length2(x, z) * (2 * half) + (y - half) * radius) / norm
    return torch.maximum(side, -half - y)


def pyramid(x: Tensor, y: Tensor, z: Tensor, side: float, half: float) -> Tensor:
    """Square base of half side `side` at y = -half, tip at y = half; a bound."""
    norm = math.hypot(2 * half, side)
    face = (torch.maximum(x.abs(), z.abs()) * (2 * half) + (y - half) * side) / norm
    return torch.maximum(face, -half - y)


def torus(x: Tensor, y: Tensor, z: Tensor, major: float, minor: float) -> Tensor:
    """Axis z."""
    return length2(length2(x, y).sub_(major), z).sub_(minor)


def capsule(x: Tensor, y: Tensor, z: Tensor, radius: float, half: float) -> Tensor:
    """Axis y; `half` is half the length of the straight part."""
    return length3(x, y - y.clamp(-half, half), z).sub_(radius)


def union(a: Tensor, b: Tensor, blend: float = 0.0) -> Tensor:
    """Both solids; with `blend` > 0 their seam is filled over about that width (polynomial smooth minimum)."""
    if blend == 0:
        return torch.minimum(a, b)
    h = (blend - (a - b).abs()).clamp_(min=0).div_(blend)
    return torch.minimum(a, b) - h * h * (blend / 4)


def star_profile(x: Tensor, y: Tensor, outer: float, inner: float) -> Tensor:
    """Flat five-pointed star, one point up, of outer and inner radius."""
    sector = math.tau / 5
    angle = torch.atan2(x, y)
    angle = (angle - sector * torch.round(angle / sector)).abs_()
    radius = length2(x, y)
    px, py = radius * angle.sin(), radius * angle.cos()
    # The edge runs from the tip (0, outer) to the notch at half a sector.
    ax, ay = 0.0, outer
    bx, by = inner * math.sin(sector / 2), inner * math.cos(sector / 2)
    ex, ey = bx - ax, by - ay
    qx, qy = px - ax, py - ay
    along = ((qx * ex + qy * ey) / (ex * ex + ey * ey)).clamp_(0, 1)
    distance = length2(qx - along * ex, qy - along * ey)
    return distance * torch.sign(qy * ex - qx * ey)


def heart_profile(x: Tensor, y: Tensor) -> Tensor:
    """Flat heart, tip at (0, 0), about 1.2 wide and 1.1 high (Quilez, "Heart - exact")."""
    x = x.abs()
    lobe = length2(x - 0.25, y - 0.75).sub_(math.sqrt(2) / 4)
    diagonal = (x + y).clamp_(min=0).mul_(0.5)
    low = torch.minimum(length2(x, y - 1), length2(x - diagonal, y - diagonal)) * torch.sign(x - y)
    return torch.where(y + x > 1, lobe, low)
