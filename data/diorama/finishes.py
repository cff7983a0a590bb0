"""Materials and patterns of objects: which paint a surface point has, and how it answers light.

A `Finish` belongs to a body, which may stand for
objects of several clips (see `lighting`): whatever differs between them is a table with a row per frame. Objects
that are matte and plain have no finish, and cost nothing here.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from .motions import Pose
from .objects import SHAPES
from .patterns import SECOND, grounds, main_coloured, pattern_mask
from .scene import MATERIALS, PATTERNS, Colour, Kind, Material, Pattern, Scene, SceneObject
from .tracing import take

CREAM, DARK = (0.99, 0.97, 0.92), (0.10, 0.10, 0.13)
SECOND_PAINTS: dict[Colour, tuple[float, float, float]] = {  # stored values
    "red": CREAM, "orange": CREAM, "green": CREAM, "blue": CREAM, "purple": CREAM, "brown": CREAM, "black": CREAM,
    "cyan": CREAM, "pink": CREAM, "white": DARK, "gray": DARK, "yellow": (0.24, 0.14, 0.08),
}  # fmt: skip
GLOWS: dict[Colour, float] = {"brown": 0.70, "gray": 0.74, "black": 0.30}  # stored peak of a lamp; others reach 1

CURVED: frozenset[Kind] = frozenset({"ball", "egg", "capsule", "ring", "duck", "snowman", "mushroom"})
SIDES: dict[Kind, tuple[float, tuple[float, float, float]]] = {  # middle and half sides of what is painted
    "house": (-0.17, (0.46, 0.36, 0.38)), "boat": (-0.46, (0.74, 0.14, 0.30)),
}  # fmt: skip


@dataclass(frozen=True)
class Finish:
    """The patterns and materials of a body. F frames."""

    kind: Kind
    material: Tensor  # (F,) int64, numbers in MATERIALS
    pattern: Tensor  # (F,) int64, numbers in PATTERNS
    second: Tensor  # (F, 3) linear colour of the second paint
    gain: Tensor  # (F,) how much brighter than its paint it is where it glows
    materials: frozenset[Material]  # all that occur
    patterns: frozenset[Pattern]


def body_finish(kind: Kind, things: list[SceneObject | None], poses: list[Pose], mains: Tensor) -> Finish | None:
    """The finish of a body, or None if all it stands for is matte and plain.

    Args: things: one per clip, None where it is absent; poses: likewise; mains (F, 3): the linear main colour of
    each frame.
    """
    materials: list[Material] = [thing.material if thing else "matte" for thing in things]
    patterns: list[Pattern] = [thing.pattern if thing else "plain" for thing in things]
    if set(materials) == {"matte"} and set(patterns) == {"plain"}:
        return None
    device, frames = mains.device, len(poses[0].blend)
    second, peak = [], []
    for thing, pose in zip(things, poses, strict=True):
        colour: Colour = thing.colour if thing else "white"
        target = pose.colour_to or colour
        one, two = (torch.tensor(SECOND_PAINTS[c], device=device) ** 2 for c in (colour, target))
        second.append(torch.lerp(one.expand(frames, 3), two.expand(frames, 3), pose.blend[:, None]))
        peak.append(_peak(colour, pose))
    numbers = torch.tensor([MATERIALS.index(word) for word in materials], device=device)
    codes = torch.tensor([PATTERNS.index(word) for word in patterns], device=device)
    return Finish(
        kind=kind,
        material=numbers.repeat_interleave(frames),
        pattern=codes.repeat_interleave(frames),
        second=torch.cat(second),
        gain=torch.cat(peak) ** 2 / mains.amax(1).clamp(min=1e-3),
        materials=frozenset(materials),
        patterns=frozenset(patterns),
    )


def _peak(colour: Colour, pose: Pose) -> Tensor:
    """Stored value (T,) of a lamp's strongest channel."""
    start, end = GLOWS.get(colour, 1.0), GLOWS.get(pose.colour_to or colour, 1.0)
    return start + (end - start) * pose.blend


def paint_pattern(
    finish: Finish, palette: Tensor, frame: Tensor, points: Tensor, normal: Tensor, slot: Tensor
) -> tuple[Tensor, Tensor]:
    """Paints (M, 3), linear, and slots (M,) of points (3, M) with normals (3, M) in the body's axes.

    Args: palette (F, slots, 3); frame, slot (M,). Points in the second paint get SECOND added to their slot.
    """
    number = take(finish.pattern, frame)
    under = torch.tensor(grounds(finish.kind)[0], device=slot.device)[slot]
    slot = torch.where(number > 0, under, slot)
    marked = torch.zeros_like(number, dtype=torch.bool)
    for pattern in finish.patterns - {"plain"}:
        marked |= pattern_mask(finish.kind, pattern, points, normal) & (number == PATTERNS.index(pattern))
    marked &= main_coloured(finish.kind, slot)
    paint = torch.where(marked[:, None], finish.second.index_select(0, frame), palette[frame, slot])
    return paint, slot + SECOND * marked


@dataclass(frozen=True)
class Light:
    """What reaches M points of a body; vectors (3, M) in its axes, unit."""

    eye: Tensor  # towards the camera
    sun: Tensor
    up: Tensor
    open_sun: Tensor  # (M,) share of the sun that nothing hides
    near_floor: Tensor  # (M, 1) dims what lies close to the floor
    sunlight: Tensor  # (M, 3) linear
    skylight: Tensor  # (M, 3)
    bounce: Tensor  # (M, 3) of the floor
    horizon: Tensor  # (M, 3)


def polish(
    finish: Finish, frame: Tensor, points: Tensor, normal: Tensor, slot: Tensor, paint: Tensor, matte: Tensor,
    light: Light,
) -> Tensor:  # fmt: skip
    """The colours (M, 3) of points whose matte colours are given, after their material."""
    number, main = take(finish.material, frame), main_coloured(finish.kind, slot)
    colour = matte
    for material in finish.materials - {"matte"}:
        where = number == MATERIALS.index(material)
        if material == "glowing":
            shade = _glowing(paint * take(finish.gain, frame)[:, None], normal, light)
            shade = torch.where(main[:, None], shade, torch.maximum(matte, 0.55 * paint))
        else:
            bulge = 0.8 if material == "shiny" else 1.1
            rounded = normal if finish.kind in CURVED else _bulged(finish.kind, points, normal, bulge)
            shade = (_shiny if material == "shiny" else _metallic)(paint, matte, rounded, light)
            where = where if material == "shiny" else where & main
        colour = torch.where(where[:, None], shade, colour)
    return colour


def _bulged(kind: Kind, points: Tensor, normal: Tensor, amount: float) -> Tensor:
    """Normals of a surface that swells a little: so flat sides too show a bit of mirrored scenery."""
    middle, half = SIDES.get(kind, (0.0, SHAPES[kind].half))
    offset = torch.tensor((0.0, middle, 0.0), device=points.device)[:, None]
    swollen = normal + amount * (points - offset) / torch.tensor(half, device=points.device)[:, None]
    return swollen / swollen.norm(dim=0).clamp(min=1e-6)


def _glint(normal: Tensor, light: Light, low: float, high: float) -> Tensor:
    """The sun's crisp image (M, 1), 0 to 1."""
    half = light.sun + light.eye
    half = half / half.norm(dim=0).clamp(min=1e-6)
    spot = (((normal * half).sum(0) - low) / (high - low)).clamp(0, 1)
    return (spot * spot * (3 - 2 * spot) * light.open_sun)[:, None]


def _mirrored(normal: Tensor, light: Light) -> tuple[Tensor, Tensor]:
    """How far up the mirrored ray goes, -1 to 1 (M,), and the cosine of the angle of view (M,)."""
    facing = (normal * light.eye).sum(0)
    upward = 2 * facing * (normal * light.up).sum(0) - (light.eye * light.up).sum(0)
    return upward, facing.clamp(0, 1)


def _shiny(paint: Tensor, matte: Tensor, normal: Tensor, light: Light) -> Tensor:
    """Lacquer: a clear coat that mirrors sky and floor at flat angles (after Schlick), and the sun."""
    upward, facing = _mirrored(normal, light)
    sky = light.horizon * (1.1 - 0.35 * upward.clamp(min=0)[:, None])
    scenery = torch.lerp(light.bounce * 0.6, sky, (upward * 14 + 0.5).clamp(0, 1)[:, None])
    share = (0.09 + 0.85 * (1 - facing) ** 4).clamp(max=0.6)[:, None]
    deep = 0.92 - 0.27 * paint.mean(1, keepdim=True)  # or the sun's image would not show on white
    colour = torch.lerp(matte * deep, scenery, share)
    white = (light.sunlight + 0.35).clamp(max=1.0)
    return torch.lerp(colour, white, _glint(normal, light, 0.945, 0.97))


# A polished scenery, by how far up it lies: floor, dark towards the horizon, bright low sky, darker high sky and a
# bright top.
RAMP = (
    (-1.0, 1.10), (-0.45, 0.95), (-0.30, 0.75), (-0.16, 0.06), (0.04, 0.05), (0.09, 1.70), (0.34, 2.00),
    (0.46, 0.80), (0.56, 0.10), (0.72, 0.10), (0.80, 1.30), (1.0, 1.60),
)  # fmt: skip


def _metallic(paint: Tensor, matte: Tensor, normal: Tensor, light: Light) -> Tensor:
    """A coloured mirror: it has no colour of its own but tints what it mirrors."""
    upward, _ = _mirrored(normal, light)
    tone = torch.full_like(upward, RAMP[0][1])
    for (start, low), (end, high) in pairwise(RAMP):
        tone = torch.where(
            upward > start, low + (high - low) * ((upward - start) / (end - start)).clamp(max=1), tone
        )
    level = (light.skylight + 0.6 * light.sunlight).mean(1, keepdim=True) * light.near_floor
    tone = tone[:, None] * level
    mirrored = (0.05 + 0.95 * paint) * tone + 0.30 * (tone - 1.0).clamp(min=0) + 0.05 * light.bounce
    return torch.lerp(mirrored, light.sunlight.clamp(min=0.6, max=1.0), 0.85 * _glint(normal, light, 0.955, 0.98))


def _glowing(lamp: Tensor, normal: Tensor, light: Light) -> Tensor:
    """A lamp's own light: the same by day and night, paler in the middle."""
    facing = (normal * light.eye).sum(0).clamp(0, 1)[:, None]
    return lamp * (0.80 + 0.30 * facing) + 0.13 * facing**2 * lamp.amax(1, keepdim=True)


def glows(scenes: list[Scene], poses: list[list[Pose]], mains: list[list[Tensor]]) -> Tensor:
    """Stored colours (F, K, 4) of the light around each frame's objects, alpha 0 where one does not glow.

    Args: poses, mains: per scene and object, its poses and its linear main colour (T, 3).
    """
    frames, most = len(mains[0][0]), max(len(scene.objects) for scene in scenes)
    table = torch.zeros(len(scenes), frames, most, 4, device=mains[0][0].device)
    for number, scene in enumerate(scenes):
        for place, thing in enumerate(scene.objects):
            if thing.material == "glowing":
                colour = mains[number][place].sqrt()
                peak = _peak(thing.colour, poses[number][place])[:, None]
                table[number, :, place, :3] = colour * (peak / colour.amax(1, keepdim=True).clamp(min=1e-3))
                table[number, :, place, 3] = 1
    return table.flatten(0, 1)


def add_halos(colour: Tensor, ident: Tensor, table: Tensor) -> Tensor:
    """Pictures (F, H, W, 3), stored values, with light around what glows (see `glows`). ident (F, H, W)."""
    height, width = ident.shape[1:]
    side = min(height, width)
    for place in range(table.shape[1]):
        shown = (ident == place + 1) & (table[:, place, 3] > 0)[:, None, None]
        rows = shown.flatten(1).any(1).nonzero().squeeze(1)
        if not len(rows):
            continue
        mask = shown[rows].float()
        near, wide = (_blurred(mask, share * side) for share in (0.028, 0.075))
        rim = (
            mask * max_pool2d(1 - mask[:, None], 3, stride=1, padding=1)[:, 0]
        )  # may show some of the dark behind
        alpha = (1.1 * near + 0.9 * wide).clamp(max=0.85) * (1 - mask) + 0.6 * rim
        alpha = alpha * torch.where((ident[rows] > 0) & (mask == 0), 0.4, 1.0)  # other things catch less of it
        lit = torch.lerp(colour[rows], table[rows, place, None, None, :3], alpha[..., None])
        colour = colour.index_copy(0, rows, lit)
    return colour


def _blurred(mask: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of pictures (F, H, W) that are 0 outside."""

    def kernel(length: int) -> Tensor:
        at = torch.arange(length, device=mask.device, dtype=torch.float32)
        return torch.exp(-((at[:, None] - at[None]) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(math.tau))

    if sigma < 0.3:
        return mask
    return kernel(mask.shape[1]) @ mask @ kernel(mask.shape[2])
