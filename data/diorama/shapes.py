"""What a kind of thing is made of: parts, paints and a bounding box.

A kind lives in its own coordinates: origin at the centre of its bounding box, y up, facing +x. `parts` returns
one distance per part; part i is painted with slot i unless `paint` says otherwise by position. A slot is
("main", factor), the scene's colour made darker (< 1) or mixed with white (> 1), or a fixed stored colour.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Slot = tuple[str, float] | tuple[float, float, float]
MAIN: Slot = ("main", 1.0)
SHADE: Slot = ("main", 0.78)
TINT: Slot = ("main", 1.16)
INK: Slot = (0.07, 0.07, 0.09)
RUBBER: Slot = (0.14, 0.14, 0.16)
GLASS: Slot = (0.55, 0.78, 0.92)
CREAM: Slot = (0.97, 0.95, 0.88)
LAMP: Slot = (1.0, 0.93, 0.55)
WOOD: Slot = (0.42, 0.27, 0.15)
BEAK: Slot = (0.98, 0.62, 0.10)
STEEL: Slot = (0.66, 0.68, 0.72)


@dataclass(frozen=True)
class Shape:
    """How a kind is built and drawn."""

    half: tuple[float, float, float]  # half sides of its bounding box
    slots: tuple[Slot, ...]
    parts: Callable[[Tensor, Tensor, Tensor, Tensor], list[Tensor]]  # (x, y, z, phase) -> distances
    paint: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor] | None = None  # (x, y, z, phase, slot)
    convex: bool = False  # casts no shadow on itself
    radius: float = 0.5  # of rolling
    slack: float = 0.03  # how far parts may reach outside the box


def distance(shape: Shape, x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> Tensor:
    """Signed distance (N,) to the whole shape."""
    parts = shape.parts(x, y, z, phase)
    total = parts[0]
    for part in parts[1:]:
        total = torch.minimum(total, part)
    return total


def slots_at(shape: Shape, x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> Tensor:
    """Paint slot (N,) int64 of surface points."""
    parts = shape.parts(x, y, z, phase)
    slot = torch.stack(parts).argmin(0) if len(parts) > 1 else torch.zeros_like(x, dtype=torch.int64)
    return shape.paint(x, y, z, phase, slot) if shape.paint else slot


def repaint(slot: Tensor, where: Tensor, to: int) -> Tensor:
    """`slot` with `to` in the places of the mask."""
    return torch.where(where, torch.full_like(slot, to), slot)
