"""Where an object is, and how it is turned, scaled and coloured, at each frame.

Time. Motion runs in seconds, so a change of frame rate films the same motion more finely. One-way motions
(travel, fall, rise, grow …) must finish within the clip: for clips of `SHORTEST` to `LONGEST` seconds they run in
true seconds about the clip's middle; shorter or longer clips play them as time-lapse or slow motion. Periodic
motions (bounce, spin, swing …) always run in true seconds.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .objects import SHAPES
from .scene import TRAVEL, Colour, Motion, SceneObject

GRAVITY = 6.0  # units / s²
SHORTEST, LONGEST = 1.5, 2.5  # seconds of clip for which one-way motions keep true time
SWING_ANGLE = 0.55  # radians to either side
SWING_CLEARANCE = 0.3  # units above the floor at its lowest
AFLOAT = 0.16  # of its scale that what sails sits below the water
FACING_YAW = {"left": 180.0, "right": 0.0, "towards": 270.0, "away": 90.0}


@dataclass(frozen=True)
class Clock:
    """Times of a clip's frames."""

    seconds: Tensor  # (T,) true time
    progress: Tensor  # (T,) motion time, seconds from the clip's middle
    share: Tensor  # (T,) 0 at the first frame, 1 at the last
    span: float  # motion time from first frame to last


def clock(num_frames: int, fps: float, device: torch.device | str = "cpu") -> Clock:
    """Frame times; a single frame is a still from the middle of a two-second clip."""
    if num_frames == 1:
        one = torch.ones(1, device=device)
        return Clock(one, one * 0, one * 0.5, 2.0)
    frames = torch.arange(num_frames, dtype=torch.float32, device=device)
    duration = (num_frames - 1) / fps
    span = min(max(duration, SHORTEST), LONGEST)
    share = frames / (num_frames - 1)
    return Clock(frames / fps, (share - 0.5) * span, share, span)


@dataclass(frozen=True)
class Pose:
    """An object's placement at each frame."""

    centre: Tensor  # (T, 3) of its bounding box
    rotation: Tensor  # (T, 3, 3) own axes to world axes
    scale: Tensor  # (T,) units per own unit
    phase: Tensor  # (T,) of moving parts, radians
    blend: Tensor  # (T,) 0: its colour, 1: colour_to
    colour_to: Colour | None = None


def about_y(angle: Tensor) -> Tensor:
    """(T,) radians to (T, 3, 3): counterclockwise seen from above."""
    c, s, o, i = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([c, o, s, o, i, o, -s, o, c], -1).view(-1, 3, 3)


def about_x(angle: Tensor) -> Tensor:
    """(T,) radians to (T, 3, 3)."""
    c, s, o, i = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([i, o, o, o, c, -s, o, s, c], -1).view(-1, 3, 3)


def about_z(angle: Tensor) -> Tensor:
    """(T,) radians to (T, 3, 3): counterclockwise seen by the viewer."""
    c, s, o, i = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([c, -s, o, s, c, o, o, o, i], -1).view(-1, 3, 3)


def heading(direction: str) -> tuple[float, float]:
    """Unit step (x, z) of a direction of travel; (0, 0) of none, which a circling object has."""
    return {"left": (-1.0, 0.0), "right": (1.0, 0.0), "towards": (0.0, 1.0), "away": (0.0, -1.0)}.get(
        direction, (0.0, 0.0)
    )


def hop_height(time: Tensor, apex: float, phase: float = 0.0) -> tuple[Tensor, Tensor]:
    """Height of something that leaves the floor again and again under gravity, and its share of the arc."""
    period = 2 * math.sqrt(2 * apex / GRAVITY)
    within = (time / period + phase).remainder(1.0)
    return 4 * apex * within * (1 - within), within


def fall_height(time: Tensor, drop: float) -> Tensor:
    """Free fall from `drop` starting at time 0, then one rebound of a tenth of the drop; 0 after that."""
    landing = math.sqrt(2 * drop / GRAVITY)
    falling = drop - 0.5 * GRAVITY * time.clamp(min=0) ** 2
    speed = math.sqrt(2 * GRAVITY * 0.1 * drop)
    after = time - landing
    rebound = (speed * after - 0.5 * GRAVITY * after**2).clamp(min=0)
    return torch.where(after < 0, falling, rebound)


def fall_start(span: float, drop: float) -> float:
    """Motion time (from the clip's middle) at which a fall begins: most of what is left over is rest after it."""
    return -0.5 * span + 0.25 * max(span - math.sqrt(2 * drop / GRAVITY), 0.0)


def ease(x: Tensor) -> Tensor:
    """0 to 1 with zero slope at both ends."""
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


@dataclass(frozen=True)
class Gait:
    """What an object's going does to it besides moving it."""

    turn: Tensor  # (T, 3, 3) rotation in the frame whose +x is the way it goes
    lift: Tensor  # (T,) units off the floor
    phase: Tensor  # (T,) of moving parts, radians


def gait(thing: SceneObject, motion: Motion, way: Tensor, seconds: Tensor, scale: Tensor | None = None) -> Gait:
    """Rolling, swaying and hopping along `way` (T,) units at `seconds` (T,); `scale` (T,) replaces its own."""
    one = torch.ones_like(way)
    turn = torch.eye(3, device=way.device).expand(len(way), 3, 3)
    lift, size = way * 0, thing.scale if scale is None else scale
    if motion.action == "roll":
        turn = about_z(-way / (SHAPES[thing.kind].radius * size))
    elif motion.action == "waddle":
        sway = torch.sin(math.tau * (way / 0.55 + motion.phase))
        turn = about_x(0.16 * sway)
        lift = 0.05 * thing.scale * sway.abs()
    elif motion.action == "hop":
        lift, _ = hop_height(seconds, motion.height, motion.phase)
    elif motion.action == "sail":
        swell = math.tau * (0.45 * seconds + motion.phase)
        lift = 0.04 * torch.sin(swell) - AFLOAT * thing.scale  # it sits in the water
        turn = about_z(0.06 * torch.sin(swell + 1)) @ about_x(0.05 * torch.sin(0.7 * swell))
    elif motion.action == "fly":
        swell = math.tau * (0.4 * seconds + motion.phase)
        lift = 0.05 * torch.sin(swell)
        turn = about_x(0.10 * torch.sin(swell + 1))
    return Gait(turn, lift, one * way / (0.17 * size))


def object_pose(thing: SceneObject, time: Clock) -> Pose:
    """The object's placement at each frame by its own motion alone (`events.scene_poses`: by all of a scene)."""
    shape, motion = SHAPES[thing.kind], thing.motion
    zero, one = torch.zeros_like(time.progress), torch.ones_like(time.progress)
    x, base, z = (zero + p for p in thing.position)
    yaw = zero + math.radians(thing.yaw)
    scale, phase, blend = one * thing.scale, zero, zero
    turn = torch.eye(3, device=zero.device).expand(len(zero), 3, 3)
    half = shape.half[1] * thing.scale + zero
    spin_time = time.seconds * math.tau * motion.rate
    lift = zero

    if motion.action in TRAVEL:
        dx, dz = heading(motion.direction)
        way = motion.rate * time.progress
        x, z = x + dx * way, z + dz * way
        going = gait(thing, motion, way, time.seconds)
        turn, lift, phase = going.turn, going.lift, going.phase
        if motion.action == "roll":
            half = zero + shape.radius * thing.scale
            if thing.kind == "cylinder":
                turn = turn @ about_x(one * (math.pi / 2))
    elif motion.action == "swing":  # a pendulum whose own length sets its period
        angle = SWING_ANGLE * torch.sin(
            time.seconds * math.sqrt(GRAVITY / motion.height) + math.tau * motion.phase
        )
        x = x + motion.height * torch.sin(angle)
        lift = SWING_CLEARANCE + motion.height * (1 - torch.cos(angle))
        turn = about_z(angle)
    elif motion.action == "change colour":
        blend = ease((time.share - 0.25) / 0.5)
    elif motion.action == "bounce":
        lift, _ = hop_height(time.seconds, motion.height, motion.phase)
    elif motion.action == "fall":
        lift = fall_height(time.progress - fall_start(time.span, motion.height), motion.height)
    elif motion.action == "rise":
        phase = one if thing.kind == "rocket" else zero  # its flame
        lift = motion.height * ease((time.progress / time.span + 0.5) * 1.15 - 0.08)
    elif motion.action == "spin":
        yaw = yaw + (spin_time if motion.direction == "counterclockwise" else -spin_time)
    elif motion.action in ("grow", "shrink"):
        share = ease((time.progress / time.span + 0.5) * 1.15 - 0.08)
        share = 1 - share if motion.action == "shrink" else share
        scale = thing.scale * (0.35 + 0.65 * share)
        half = shape.half[1] * scale
    centre = torch.stack([x, base + half + lift, z], -1)
    return Pose(centre, about_y(yaw) @ turn, scale, phase, blend, motion.colour_to)
