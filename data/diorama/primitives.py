"""The twelve simple solids."""

import math

import torch
from torch import Tensor

from . import solids as s
from .scene import Kind
from .shapes import MAIN, SHADE, TINT, Shape, repaint


def _ball(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    return [s.sphere(x, y, z, 0.5)]


def _ball_paint(x: Tensor, y: Tensor, z: Tensor, phase: Tensor, slot: Tensor) -> Tensor:
    gore = torch.floor(torch.atan2(y, x) * (6 / math.tau)).remainder(2) == 0  # a beach ball in two shades
    return repaint(slot, gore, 1)


def _cube(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    return [s.box(x, y, z, 0.45, 0.45, 0.45, 0.04)]


def _cylinder(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    return [s.cylinder(x, y, z, 0.4, 0.5, 0.03)]


def _cylinder_paint(x: Tensor, y: Tensor, z: Tensor, phase: Tensor, slot: Tensor) -> Tensor:
    end = (y.abs() > 0.485) & (s.length2(x, z) < 0.3)
    stave = torch.floor(torch.atan2(z, x) * (8 / math.tau)).remainder(2) == 0
    return repaint(repaint(slot, stave & (y.abs() < 0.485), 1), end, 2)


def _cone(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    return [s.cone(x, y, z, 0.45, 0.5)]


def _pyramid(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    return [s.pyramid(x, y, z, 0.52, 0.45)]


def _ring(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    return [s.torus(x, y, z, 0.37, 0.13)]


def _ring_paint(x: Tensor, y: Tensor, z: Tensor, phase: Tensor, slot: Tensor) -> Tensor:
    return repaint(slot, torch.floor(torch.atan2(y, x) * (8 / math.tau)).remainder(2) == 0, 1)


def _star(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    return [s.extrude(s.star_profile(x, y + 0.045, 0.56, 0.27), z, 0.15, 0.04)]


def _heart(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    scale = 0.9
    return [s.extrude(s.heart_profile(x / scale, (y + 0.49) / scale) * scale, z, 0.17, 0.08)]


def _brick(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    return [s.box(x, y, z, 0.62, 0.27, 0.30, 0.03)]


def _capsule(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    return [s.capsule(x, y, z, 0.27, 0.25)]


def _capsule_paint(x: Tensor, y: Tensor, z: Tensor, phase: Tensor, slot: Tensor) -> Tensor:
    return repaint(slot, y < 0, 1)


def _diamond(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    side = math.tau / 8  # eight facets round the vertical
    angle = torch.atan2(z, x)
    out = s.length2(x, z) * torch.cos(angle - side * torch.round(angle / side))
    crown = ((out - 0.5) * 0.28 + (y - 0.15) * 0.22) / math.hypot(0.28, 0.22)
    pavilion = (out * 0.65 - (y + 0.5) * 0.5) / math.hypot(0.65, 0.5)
    return [torch.maximum(torch.maximum(crown, pavilion), y - 0.43)]


def _egg(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    # A cone between two spheres, rounded by them (Quilez, "Round cone - exact").
    big, small, height = 0.39, 0.28, 0.33
    low = y + 0.11
    slope = (big - small) / height
    rise = math.sqrt(1 - slope * slope)
    out = s.length2(x, z)
    along = low * rise - out * slope
    side = out * rise + low * slope - big
    bottom, top = s.length2(out, low) - big, s.length2(out, low - height) - small
    return [torch.where(along < 0, bottom, torch.where(along > rise * height, top, side))]


PRIMITIVES: dict[Kind, Shape] = {
    "ball": Shape((0.5, 0.5, 0.5), (MAIN, TINT), _ball, _ball_paint, convex=True),
    "cube": Shape((0.45, 0.45, 0.45), (MAIN,), _cube, convex=True),
    "brick": Shape((0.62, 0.27, 0.30), (MAIN,), _brick, convex=True),
    "cylinder": Shape((0.4, 0.5, 0.4), (MAIN, TINT, SHADE), _cylinder, _cylinder_paint, convex=True, radius=0.4),
    "cone": Shape((0.45, 0.5, 0.45), (MAIN,), _cone, convex=True),
    "pyramid": Shape((0.52, 0.45, 0.52), (MAIN,), _pyramid, convex=True),
    "ring": Shape((0.5, 0.5, 0.13), (MAIN, TINT), _ring, _ring_paint),
    "capsule": Shape((0.27, 0.52, 0.27), (MAIN, TINT), _capsule, _capsule_paint, convex=True, radius=0.27),
    "diamond": Shape((0.5, 0.5, 0.5), (MAIN,), _diamond, convex=True),
    "egg": Shape((0.39, 0.5, 0.39), (MAIN,), _egg, convex=True),
    "star": Shape((0.54, 0.52, 0.15), (MAIN,), _star),
    "heart": Shape((0.55, 0.5, 0.17), (MAIN,), _heart),
}
