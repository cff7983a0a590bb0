"""The things of the world: each kind's shape as a few parts, its paints, and its size.

A kind lives in its own coordinates: origin at the centre of its bounding box, y up, facing +x. `parts` returns
one distance per part; part i is painted with slot i unless `paint` says otherwise by position. A slot is
("main", factor), the scene's colour made darker (< 1) or mixed with white (> 1), or a fixed sRGB colour.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from . import solids as s
from .scene import Kind

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


@dataclass(frozen=True)
class Shape:
    """How a kind is built and drawn."""

    half: tuple[float, float, float]  # half sides of its bounding box
    slots: tuple[Slot, ...]
    parts: Callable[[Tensor, Tensor, Tensor, Tensor], list[Tensor]]  # (x, y, z, phase) -> distances
    paint: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor] | None = None  # (x, y, z, phase, slot)
    convex: bool = False  # casts no shadow on itself
    radius: float = 0.5  # of rolling


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


def _swap(slot: Tensor, where: Tensor, to: int) -> Tensor:
    return torch.where(where, torch.full_like(slot, to), slot)


def _ball(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    return [s.sphere(x, y, z, 0.5)]


def _ball_paint(x: Tensor, y: Tensor, z: Tensor, phase: Tensor, slot: Tensor) -> Tensor:
    gore = torch.floor(torch.atan2(y, x) * (6 / math.tau)).remainder(2) == 0  # a beach ball in two shades
    return _swap(slot, gore, 1)


def _cube(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    return [s.box(x, y, z, 0.45, 0.45, 0.45, 0.04)]


def _cylinder(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    return [s.cylinder(x, y, z, 0.4, 0.5, 0.03)]


def _cylinder_paint(x: Tensor, y: Tensor, z: Tensor, phase: Tensor, slot: Tensor) -> Tensor:
    end = (y.abs() > 0.485) & (s.length2(x, z) < 0.3)
    stave = torch.floor(torch.atan2(z, x) * (8 / math.tau)).remainder(2) == 0
    return _swap(_swap(slot, stave & (y.abs() < 0.485), 1), end, 2)


def _cone(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    return [s.cone(x, y, z, 0.45, 0.5)]


def _pyramid(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    return [s.pyramid(x, y, z, 0.52, 0.45)]


def _ring(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    return [s.torus(x, y, z, 0.37, 0.13)]


def _ring_paint(x: Tensor, y: Tensor, z: Tensor, phase: Tensor, slot: Tensor) -> Tensor:
    return _swap(slot, torch.floor(torch.atan2(y, x) * (8 / math.tau)).remainder(2) == 0, 1)


def _star(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    return [s.extrude(s.star_profile(x, y + 0.045, 0.56, 0.27), z, 0.15, 0.04)]


def _heart(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    scale = 0.9
    return [s.extrude(s.heart_profile(x / scale, (y + 0.49) / scale) * scale, z, 0.17, 0.08)]


def _car(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    body = s.box(x, y + 0.06, z, 0.74, 0.17, 0.33, 0.09)
    slope = 0.35 * (y - 0.2)  # the cabin narrows upwards
    cabin = s.box(x + 0.06, y - 0.18, z.abs() + slope.clamp(min=0), 0.40, 0.20, 0.29, 0.09)
    wx, wz = x.abs() - 0.44, z.abs() - 0.28
    wheels = s.extrude(s.length2(wx, y + 0.22) - 0.17, wz, 0.08, 0.02)
    return [s.union(body, cabin, 0.05), wheels]


def _car_paint(x: Tensor, y: Tensor, z: Tensor, phase: Tensor, slot: Tensor) -> Tensor:
    body = slot == 0
    high = (y > 0.14) & (y < 0.31)
    side = high & (z.abs() > 0.2) & ((x + 0.06).abs() < 0.33) & ((x + 0.06).abs() > 0.03)
    front = high & ((x + 0.06).abs() > 0.34) & (z.abs() < 0.2)
    lamp = (x > 0.68) & (s.length2(y + 0.04, z.abs() - 0.22) < 0.07)
    tail = (x < -0.70) & (s.length2(y + 0.04, z.abs() - 0.22) < 0.06)
    wx = x.abs() - 0.44
    spoke = torch.floor((torch.atan2(y + 0.22, wx) + phase) * (6 / math.tau)).remainder(2) == 0
    hub = (slot == 1) & (s.length2(wx, y + 0.22) < 0.10) & spoke & (z.abs() > 0.3)
    slot = _swap(slot, body & (side | front), 2)
    slot = _swap(slot, body & lamp, 3)
    slot = _swap(slot, body & tail, 4)
    return _swap(slot, hub, 5)


def _duck(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    az = z.abs()
    body = s.ellipsoid(x + 0.08, y + 0.19, z, 0.44, 0.28, 0.31)
    tail = s.ellipsoid(x + 0.47, y + 0.03, z, 0.12, 0.11, 0.12)
    head = s.sphere(x - 0.22, y - 0.22, z, 0.235)
    neck = s.capsule(x - 0.19, y - 0.02, z, 0.15, 0.08)
    figure = s.union(s.union(s.union(body, tail, 0.15), neck, 0.12), head, 0.05)
    wing = s.ellipsoid(x + 0.12, y + 0.14, az - 0.28, 0.24, 0.14, 0.07)
    beak = s.ellipsoid(x - 0.46, y - 0.18, z, 0.15, 0.05, 0.10)
    eye = s.sphere(x - 0.34, y - 0.30, az - 0.145, 0.05)
    return [figure, wing, beak, eye]


def _tree(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    trunk = s.cylinder(x, y + 0.5, z, 0.10, 0.2)
    low = s.cone(x, y + 0.14, z, 0.48, 0.28)
    middle = s.cone(x, y - 0.14, z, 0.39, 0.25)
    top = s.cone(x, y - 0.43, z, 0.29, 0.24)
    return [torch.minimum(low, top), trunk, middle]


def _house(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    walls = s.box(x, y + 0.17, z, 0.46, 0.36, 0.38)
    slope = ((y - 0.17) * 0.8 + z.abs() * 0.6) - 0.285  # a gable roof, ridge along x
    roof = torch.maximum(torch.maximum(slope, 0.15 - y), x.abs() - 0.54)
    chimney = s.box(x + 0.25, y - 0.36, z - 0.16, 0.07, 0.17, 0.07)
    return [walls, roof, chimney]


def _house_paint(x: Tensor, y: Tensor, z: Tensor, phase: Tensor, slot: Tensor) -> Tensor:
    wall = slot == 0
    face = z.abs() > 0.37
    door = wall & face & ((x + 0.02).abs() < 0.10) & (y < -0.12)
    window = wall & face & ((x.abs() - 0.29).abs() < 0.09) & ((y + 0.14).abs() < 0.11)
    gable = wall & (x.abs() > 0.45) & (z.abs() < 0.11) & ((y + 0.14).abs() < 0.11)
    return _swap(_swap(slot, door, 3), window | gable, 4)


SHAPES: dict[Kind, Shape] = {
    "ball": Shape((0.5, 0.5, 0.5), (MAIN, TINT), _ball, _ball_paint, convex=True),
    "cube": Shape((0.45, 0.45, 0.45), (MAIN,), _cube, convex=True),
    "cylinder": Shape((0.4, 0.5, 0.4), (MAIN, TINT, SHADE), _cylinder, _cylinder_paint, convex=True, radius=0.4),
    "cone": Shape((0.45, 0.5, 0.45), (MAIN,), _cone, convex=True),
    "pyramid": Shape((0.52, 0.45, 0.52), (MAIN,), _pyramid, convex=True),
    "ring": Shape((0.5, 0.5, 0.13), (MAIN, TINT), _ring, _ring_paint),
    "star": Shape((0.54, 0.52, 0.15), (MAIN,), _star),
    "heart": Shape((0.55, 0.5, 0.17), (MAIN,), _heart),
    "car": Shape((0.75, 0.39, 0.37), (MAIN, RUBBER, GLASS, LAMP, (0.7, 0.05, 0.05), CREAM), _car, _car_paint),
    "duck": Shape((0.62, 0.47, 0.36), (MAIN, SHADE, BEAK, INK), _duck),
    "tree": Shape((0.48, 0.7, 0.48), (MAIN, WOOD, SHADE), _tree),
    "house": Shape(
        (0.55, 0.54, 0.46), (MAIN, (0.45, 0.20, 0.16), (0.5, 0.3, 0.25), WOOD, GLASS), _house, _house_paint
    ),
}
