"""Patterns, in an object's own coordinates, so that they roll and spin with it.

They cover its main-coloured parts, where the named colour keeps more than half of the surface. They are as coarse
as a picture of 64 pixels needs: three or four periods across an object.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from .objects import SHAPES
from .scene import PATTERNS, Kind, Pattern
from .shapes import Shape, Slot, distance, slots_at
from .tracing import normals

PERIOD, STRIPE = 0.31, 0.39  # of stripes, in own units (kinds are about one unit across), and the second's share
LONG: frozenset[Kind] = frozenset({"car", "boat", "brick", "airplane"})  # striped mostly across their length
CHECK = 0.225  # side of a check
AROUND: dict[Kind, int] = {  # round kinds, with how many checks go round them
    "ball": 12, "egg": 10, "capsule": 8, "cylinder": 10, "cone": 10, "diamond": 8, "tree": 10, "snowman": 10,
    "rocket": 6, "mushroom": 12,
}  # fmt: skip
MARGIN = 0.035  # checks of the second paint are smaller by this share of a side, all round
SPACING, SPOT = 0.37, 0.40  # of spots, own units, and their radius as a share of it
SLIM: frozenset[Kind] = frozenset({"car", "boat", "airplane", "rocket", "ring", "robot"})  # have smaller spots
SMALL: dict[Kind, float] = {"robot": 0.7}  # size of stripes and checks where painted parts are small
WORN: dict[Kind, tuple[int, ...]] = {"mushroom": (2,)}  # slots of an own pattern, which another one replaces
SECOND = 16  # added to the paint slot of points in the second paint


@lru_cache(maxsize=64)
def grounds(kind: Kind) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Per paint slot: the slot painted under a pattern, without lighter patches; and whether it is main."""
    slots = SHAPES[kind].slots
    under = tuple(0 if n in WORN.get(kind, ()) or _lighter(slot) else n for n, slot in enumerate(slots))
    return under, tuple(slots[n][0] == "main" for n in under)


def _lighter(slot: Slot) -> bool:
    return slot[0] == "main" and float(slot[1]) > 1


def main_coloured(kind: Kind, slot: Tensor) -> Tensor:
    """Which paint slots (M,) take the named colour and its finish."""
    return torch.tensor(grounds(kind)[1], device=slot.device)[slot % SECOND]


def pattern_mask(kind: Kind, pattern: Pattern, points: Tensor, normal: Tensor) -> Tensor:
    """Which surface points (3, M), with unit normals (3, M), a pattern gives the second paint: (M,) bool."""
    if pattern == "striped":
        across = (0.80, 0.52, 0.30) if kind in LONG else (0.42, 0.86, 0.28)
        along = across[0] * points[0] + across[1] * points[1] + across[2] * points[2]
        return (along / (PERIOD * SMALL.get(kind, 1))).remainder(1) < STRIPE
    if pattern == "spotted":
        spots = spot_centres(kind).to(points.device)
        return torch.cdist(points.t(), spots, compute_mode="donot_use_mm_for_euclid_dist").amin(
            1
        ) < SPOT * _spacing(kind)
    if pattern == "checkered":
        u, v = _unrolled(kind, points, normal)
        cell = (u.floor() + v.floor()).remainder(2) == 0
        for w in (u, v):
            cell &= (w.remainder(1) - 0.5).abs() < 0.5 - MARGIN
        return cell
    raise ValueError(f"no pattern called {pattern!r}; there are {PATTERNS}")


def _unrolled(kind: Kind, points: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """Surface coordinates in checks: round and up round kinds, else on the box face that the normal points to."""
    x, y, z = points.unbind(0)
    if kind == "ring":
        tube = torch.atan2(z, torch.hypot(x, y) - 0.37)
        return torch.atan2(y, x) * (12 / math.tau), tube * (4 / math.tau) + 0.5
    if kind in AROUND:
        up = torch.asin((2 * y).clamp(-1, 1)) * 0.5 if kind == "ball" else y
        return torch.atan2(z, x) * (AROUND[kind] / math.tau), up / CHECK
    axis = normal.abs().argmax(0)
    u, v = torch.where(axis == 0, z, x), torch.where(axis == 1, z, y)
    side = CHECK * SMALL.get(kind, 1)
    return u / side, v / side


def _spacing(kind: Kind) -> float:
    return 0.78 * SPACING if kind in SLIM else SPACING


@lru_cache(maxsize=64)
def spot_centres(kind: Kind) -> Tensor:
    """Points (K, 3) evenly spread, up to SPACING apart, on a kind's main-coloured surface, on the CPU.

    Random surface points, thinned by taking the farthest from all taken before (Gonzalez, "Clustering to minimize
    the maximum intercluster distance", 1985).
    """
    shape = SHAPES[kind]
    points = _surface(shape)
    slot = slots_at(shape, points[0], points[1], points[2], torch.zeros_like(points[0]))
    under = torch.tensor(grounds(kind)[0])[slot]
    points = points.t()[main_coloured(kind, under)]
    start = points[(points @ torch.tensor([0.3, 0.4, 0.86])).argmax()][None]
    chosen, gap = [start], (points - start).norm(dim=1)
    while float(gap.max()) > _spacing(kind):
        chosen.append(points[gap.argmax()][None])
        gap = torch.minimum(gap, (points - chosen[-1]).norm(dim=1))
    return torch.cat(chosen)


def _surface(shape: Shape) -> Tensor:
    """Some thousand points (3, N) on a shape's surface."""
    generator = torch.Generator().manual_seed(0)
    points = (torch.rand(3, 12000, generator=generator) * 2 - 1) * torch.tensor(shape.half)[:, None]
    phase = torch.zeros_like(points[0])
    for _ in range(12):
        gap = distance(shape, points[0], points[1], points[2], phase)
        points = points - 0.8 * gap * normals(shape, points, phase)
    gap = distance(shape, points[0], points[1], points[2], phase)
    return points[:, gap.abs() < 0.01]
