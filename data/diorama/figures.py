"""The ten composed things."""

import math

import torch
from torch import Tensor

from . import solids as s
from .scene import Kind
from .shapes import BEAK, CREAM, GLASS, INK, LAMP, MAIN, RUBBER, SHADE, STEEL, WOOD, Shape, Slot, repaint

ROOF: Slot = (0.45, 0.20, 0.16)
CHIMNEY: Slot = (0.50, 0.30, 0.25)
TAIL_LAMP: Slot = (0.70, 0.05, 0.05)
BULB: Slot = (0.85, 0.15, 0.15)


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
    slot = repaint(slot, body & (side | front), 2)
    slot = repaint(slot, body & lamp, 3)
    slot = repaint(slot, body & tail, 4)
    return repaint(slot, hub, 5)


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
    return repaint(repaint(slot, door, 3), window | gable, 4)


def _boat(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    hull = torch.maximum(s.ellipsoid(x, y + 0.22, z, 0.74, 0.36, 0.30), y + 0.24)
    mast = s.cylinder(x, y - 0.14, z, 0.03, 0.42)
    # The main sail behind the mast and the jib before it: right triangles standing on their booms.
    sail = torch.maximum(torch.maximum(x + 0.05, -0.12 - y), ((y - 0.52) * 0.5 - (x + 0.05) * 0.64) / 0.81)
    jib = torch.maximum(torch.maximum(0.06 - x, -0.12 - y), ((y - 0.40) * 0.40 + (x - 0.06) * 0.52) / 0.66)
    return [hull, mast, s.extrude(torch.minimum(sail, jib), z, 0.025)]


def _boat_paint(x: Tensor, y: Tensor, z: Tensor, phase: Tensor, slot: Tensor) -> Tensor:
    deck = (slot == 0) & (y > -0.255) & (x.abs() < 0.6) & (z.abs() < 0.22)
    stripe = (slot == 2) & ((y - 0.08).abs() < 0.06)
    return repaint(repaint(slot, deck, 1), stripe, 0)


def _rocket(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    out = s.length2(x, z)
    body = torch.maximum(s.ellipsoid(x, y + 0.02, z, 0.24, 0.64, 0.24), -0.42 - y)
    edge = ((out - 0.18) * 0.8 + (y + 0.30) * 0.6).clamp(min=-1)  # fins slope down and out
    fin = torch.maximum(torch.maximum(edge - 0.12, -0.60 - y), out - 0.40)
    fins = torch.maximum(fin, torch.minimum(x.abs(), z.abs()) - 0.03)
    nozzle = s.cylinder(x, y + 0.46, z, 0.11, 0.06)
    length = 0.05 + 0.2 * phase.clamp(0, 1)
    flame = s.ellipsoid(x, y + 0.52, z, 0.09, 0.14, 0.09)
    flame = torch.where(phase > 0, torch.maximum(flame, -0.52 - length - y), torch.full_like(x, 9.0))
    return [body, fins, nozzle, flame]


def _rocket_paint(x: Tensor, y: Tensor, z: Tensor, phase: Tensor, slot: Tensor) -> Tensor:
    body = slot == 0
    side = torch.maximum(x.abs(), z.abs())  # a porthole on each side
    port = s.length2(y - 0.16, torch.minimum(x.abs(), z.abs()))
    slot = repaint(slot, body & (y > 0.40), 1)
    slot = repaint(slot, body & (port < 0.115) & (side > 0.1), 2)
    return repaint(slot, body & (port < 0.08) & (side > 0.1), 4)


def _snowman(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    az = z.abs()
    low, middle = s.sphere(x, y + 0.38, z, 0.36), s.sphere(x, y - 0.06, z, 0.27)
    head = s.sphere(x, y - 0.40, z, 0.20)
    eyes = s.sphere(x - 0.17, y - 0.45, az - 0.075, 0.032)
    buttons = torch.minimum(s.sphere(x - 0.255, y - 0.14, z, 0.035), s.sphere(x - 0.265, y - 0.0, z, 0.035))
    nose = s.ellipsoid(x - 0.26, y - 0.39, z, 0.13, 0.04, 0.04)
    brim = s.cylinder(x, y - 0.57, z, 0.20, 0.02)
    hat = s.cylinder(x, y - 0.66, z, 0.13, 0.09)
    figure = s.union(s.union(low, middle, 0.05), head, 0.04)
    ink = torch.minimum(torch.minimum(eyes, buttons), torch.minimum(brim, hat))
    return [figure, ink, nose]


def _snowman_paint(x: Tensor, y: Tensor, z: Tensor, phase: Tensor, slot: Tensor) -> Tensor:
    return repaint(slot, (slot == 0) & ((y - 0.235).abs() < 0.045), 3)  # the scarf


def _robot(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    swing = torch.sin(phase) * torch.sign(z) * 0.45  # legs and arms swing in turn
    az = z.abs()
    body = s.box(x, y - 0.02, z, 0.17, 0.22, 0.24, 0.04)
    leg = s.box(x - swing * (-0.18 - y).clamp(min=0), y + 0.42, az - 0.12, 0.075, 0.26, 0.075, 0.03)
    arm = s.box(x + swing * (0.18 - y).clamp(min=0), y - 0.0, az - 0.32, 0.055, 0.22, 0.055, 0.03)
    head = s.box(x, y - 0.40, z, 0.15, 0.13, 0.18, 0.04)
    eyes = s.sphere(x - 0.14, y - 0.42, az - 0.075, 0.045)
    rod = s.cylinder(x, y - 0.57, z, 0.015, 0.06)
    bulb = s.sphere(x, y - 0.64, z, 0.045)
    limbs = torch.minimum(torch.minimum(leg, arm), torch.minimum(head, rod)) * 0.9
    return [body, limbs, eyes, bulb]


def _robot_paint(x: Tensor, y: Tensor, z: Tensor, phase: Tensor, slot: Tensor) -> Tensor:
    panel = (slot == 0) & (x > 0.15) & (z.abs() < 0.13) & ((y - 0.06).abs() < 0.08)
    mouth = (slot == 1) & (x > 0.13) & (z.abs() < 0.09) & ((y - 0.325).abs() < 0.022)
    arms = (slot == 1) & (y < 0.24) & (z.abs() > 0.26)
    head = (slot == 1) & ((y - 0.40).abs() < 0.14)
    slot = repaint(slot, arms, 5)
    slot = repaint(slot, head, 5)
    return repaint(repaint(slot, panel, 4), mouth, 4)


def _mushroom(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    stem = s.union(s.capsule(x, y + 0.2, z, 0.15, 0.16), s.ellipsoid(x, y + 0.42, z, 0.22, 0.12, 0.22), 0.08)
    dome = torch.maximum(s.ellipsoid(x, y - 0.0, z, 0.52, 0.52, 0.52), 0.02 - y)
    return [s.union(dome, s.torus(x, z, y - 0.04, 0.44, 0.07), 0.06), torch.maximum(stem, -0.52 - y)]


def _mushroom_paint(x: Tensor, y: Tensor, z: Tensor, phase: Tensor, slot: Tensor) -> Tensor:
    ring = math.tau / 5
    turn = torch.atan2(z, x)
    near = turn - ring * torch.round(turn / ring)
    out = s.length2(x, z)
    low = s.length2(near * out, (y - 0.22) * 1.1) < 0.105
    turn = turn + ring / 2
    near = turn - ring * torch.round(turn / ring)
    high = s.length2(near * out, (y - 0.42) * 1.4) < 0.075
    return repaint(slot, (slot == 0) & (y > 0.08) & (low | high | (out < 0.08)), 2)


def _airplane(x: Tensor, y: Tensor, z: Tensor, phase: Tensor) -> list[Tensor]:
    az = z.abs()
    hull = s.ellipsoid(x, y, z, 0.78, 0.18, 0.17)
    wing = s.box(x - 0.08 + 0.3 * az, y + 0.05, z, 0.17, 0.03, 0.76, 0.02)
    tail = s.box(x + 0.60 + 0.3 * az, y - 0.05, z, 0.10, 0.02, 0.27, 0.02)
    fin = s.box(x + 0.60 + 0.45 * (y - 0.1), y - 0.16, z, 0.10, 0.17, 0.02, 0.015)
    engine = s.ellipsoid(x - 0.10, y + 0.12, az - 0.33, 0.16, 0.07, 0.07)
    return [hull, torch.minimum(torch.minimum(wing, tail) * 0.95, fin * 0.9), engine]


def _airplane_paint(x: Tensor, y: Tensor, z: Tensor, phase: Tensor, slot: Tensor) -> Tensor:
    hull = slot == 0
    ports = hull & ((y - 0.05).abs() < 0.04) & (x.abs() < 0.42) & ((x / 0.14).remainder(1.0) < 0.55)
    cockpit = hull & (y > 0.04) & (x > 0.50) & (x < 0.64)
    return repaint(slot, ports | cockpit, 3)


FIGURES: dict[Kind, Shape] = {
    "car": Shape((0.75, 0.39, 0.37), (MAIN, RUBBER, GLASS, LAMP, TAIL_LAMP, CREAM), _car, _car_paint),
    "boat": Shape((0.74, 0.58, 0.30), (MAIN, WOOD, CREAM), _boat, _boat_paint),
    "duck": Shape((0.62, 0.47, 0.36), (MAIN, SHADE, BEAK, INK), _duck),
    "tree": Shape((0.48, 0.7, 0.48), (MAIN, WOOD, SHADE), _tree),
    "house": Shape(
        (0.55, 0.54, 0.46), (MAIN, (0.45, 0.20, 0.16), (0.5, 0.3, 0.25), WOOD, GLASS), _house, _house_paint
    ),
    "rocket": Shape((0.40, 0.61, 0.40), (MAIN, SHADE, STEEL, BEAK, GLASS), _rocket, _rocket_paint, slack=0.2),
    "snowman": Shape((0.38, 0.75, 0.36), (MAIN, INK, BEAK, SHADE), _snowman, _snowman_paint),
    "robot": Shape((0.36, 0.68, 0.38), (MAIN, STEEL, LAMP, BULB, INK, SHADE), _robot, _robot_paint),
    "mushroom": Shape((0.53, 0.52, 0.53), (MAIN, CREAM, CREAM), _mushroom, _mushroom_paint),
    "airplane": Shape((0.79, 0.33, 0.78), (MAIN, SHADE, STEEL, GLASS), _airplane, _airplane_paint),
}
