"""One thing after another: an object that does its motion in the clip's first half and another in the second.

The halves meet at the middle of the clip, where the object is at its `position`, on the floor, turned by its
`yaw`: each motion is reckoned from there, backwards or forwards, so that nothing jumps. What lasts is kept: a size
grown or shrunk to, a colour turned to, a height risen to (until it falls or lands), a cylinder laid on its side to
roll. A second motion that is a fall begins in the air: at the height risen or flown to, else the whole first half
happens at the height of the fall. A second motion that grows begins small.

One-way motions finish within their half, whatever its length (see `motions` for clips of other lengths). Phases
are not used: periodic motions are at rest at the switch.
"""

import math

import torch
from torch import Tensor

from .motions import (
    AFLOAT,
    FACING_YAW,
    GRAVITY,
    SWING_ANGLE,
    SWING_CLEARANCE,
    Clock,
    Pose,
    about_x,
    about_y,
    about_z,
    ease,
    gait,
    heading,
    hop_height,
)
from .objects import SHAPES
from .scene import TRAVEL, Action, Kind, Motion, SceneObject

# These turn to where they go.
FACED: frozenset[Kind] = frozenset({"car", "duck", "boat", "robot", "snowman", "airplane"})
LEAST = 0.45  # scale of what is to grow or has shrunk, as a share of its own
TURNING = 0.3  # share of its half that turning round, or rising to a pendulum's height, takes
LANDED = 0.9  # share of its half by which a fall is over
HOVERING: frozenset[Action] = frozenset({"rise", "fly"})  # leave an object in the air
# These happen at the height the object is at.
STAYING: frozenset[Action] = frozenset({"stand", "spin", "grow", "shrink", "change colour", "fly"})


def halves_pose(thing: SceneObject, second: Motion, time: Clock) -> Pose:
    """The placement at each frame of an object that does `thing.motion`, then `second`."""
    first = thing.motion.model_copy(update={"phase": 0.0})
    second = second.model_copy(update={"phase": 0.0})
    duration = time.seconds[-1] - time.seconds[0]
    half = time.span / 2
    early, late = time.progress.clamp(max=0), time.progress.clamp(min=0)  # motion time from the middle
    true_time = (time.share - 0.5) * duration
    true_early, true_late = true_time.clamp(max=0), true_time.clamp(min=0)

    scale = thing.scale * _scale(first, second, early, late, half)
    x, _, z = (torch.zeros_like(early) + p for p in thing.position)
    turn, lift_early, phase = _own(thing, first, early, true_early, scale)
    landing = _falling_time(_level(thing, first, second), half) if second.action in ("bounce", "hop") else 0.0
    true_landed = (true_late - landing * duration / time.span).clamp(min=0)
    turn_late, lift_late, phase_late = _own(thing, second, late, true_landed, scale)
    turn, phase = turn @ turn_late, torch.where(time.progress > 0, phase_late, phase)
    for motion, now, true_now in ((first, early, true_early), (second, late, true_late)):
        if motion.action in TRAVEL:
            dx, dz = heading(motion.direction)
            x, z = x + dx * motion.rate * now, z + dz * motion.rate * now
        elif motion.action == "swing":
            angle = _swing(motion, true_now)
            x, turn = x + motion.height * torch.sin(angle), turn @ about_z(angle)

    yaw = _yaw(thing, first, second, late, true_early, true_late, half)
    lean = _lean(thing, first, second, late, half)
    turn = turn @ about_x(lean)
    tall, wide = SHAPES[thing.kind].half[1], SHAPES[thing.kind].radius
    upright = (tall * lean.cos() + wide * lean.sin()) * scale
    carried = _base(thing, first, second) + torch.where(
        time.progress > 0,
        _carried_late(thing, first, second, late, half),
        _carried_early(thing, first, second, early, half),
    )
    afloat = AFLOAT * scale * float("sail" in (first.action, second.action))
    lift = carried + lift_early + lift_late - afloat
    blend = _blend(first, early + half, half) + _blend(second, late, half)
    colour_to = second.colour_to or first.colour_to
    centre = torch.stack([x, upright + lift, z], -1)
    return Pose(centre, about_y(yaw) @ turn, scale, phase, blend.clamp(max=1), colour_to)


def _own(
    thing: SceneObject, motion: Motion, now: Tensor, true_now: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Rotation, lift off the floor and phase of moving parts by periodic and travelling motions."""
    still = torch.eye(3, device=now.device).expand(len(now), 3, 3)
    if motion.action in TRAVEL:
        way = motion.rate * now
        going = gait(thing, motion, way, true_now, scale)
        lift = going.lift + AFLOAT * thing.scale if motion.action == "sail" else going.lift
        turn = going.turn
        if motion.action == "roll":
            forwards = math.cos(math.radians(_rolling_yaw(thing.yaw) - FACING_YAW[motion.direction]))
            turn = turn if forwards > 0 else turn.mT
        return turn, lift, going.phase
    if motion.action == "bounce":
        return still, hop_height(true_now, motion.height)[0], now * 0
    if motion.action == "swing":
        return still, motion.height * (1 - torch.cos(_swing(motion, true_now))), now * 0
    flame = float(motion.action == "rise" and thing.kind == "rocket")
    return still, now * 0, now * 0 + flame


def _swing(motion: Motion, true_now: Tensor) -> Tensor:
    """Angle of a pendulum; `rate` (swings to and fro per second), where given, is what fits into half a clip."""
    pace = math.tau * motion.rate if motion.rate else math.sqrt(GRAVITY / motion.height)
    return SWING_ANGLE * torch.sin(pace * true_now)


def _scale(first: Motion, second: Motion, early: Tensor, late: Tensor, half: float) -> Tensor:
    """Scale as a share of the object's own."""
    up, down = ease((early + half) / half), ease(late / half)
    middle = LEAST if first.action == "shrink" or (second.action == "grow" and first.action != "grow") else 1.0
    start = {"grow": LEAST, "shrink": 1.0}.get(first.action, middle)
    end = {"grow": 1.0, "shrink": LEAST * middle}.get(second.action, middle)
    return start + (middle - start) * up + (end - middle) * down


def _blend(motion: Motion, now: Tensor, half: float) -> Tensor:
    return ease((now / half - 0.2) / 0.6) if motion.action == "change colour" else now * 0


def _base(thing: SceneObject, first: Motion, second: Motion) -> float:
    """Height above the floor of what the object stands on; of what flies, `position` tells its height instead."""
    return 0.0 if "fly" in (first.action, second.action) else thing.position[1]


def _level(thing: SceneObject, first: Motion, second: Motion) -> float:
    """Height at the switch, above what the object stands on."""
    if first.action == "fly":
        return thing.position[1]
    ready = second.height if second.action == "fall" and first.action != "rise" else 0.0
    return ready + {"rise": first.height, "swing": SWING_CLEARANCE}.get(first.action, 0.0)


def _falling_time(level: float, half: float) -> float:
    """Of a fall under gravity; less only if it would not land within the half."""
    return min(math.sqrt(2 * level / GRAVITY), LANDED * half)


def _dropped(level: float, since: Tensor, half: float) -> Tensor:
    """Height of what fell from `level` at time 0."""
    return (level * (1 - (since.clamp(min=0) / max(_falling_time(level, half), 1e-6)) ** 2)).clamp(min=0)


def _wait(level: float, half: float) -> float:
    """Time before a fall begins: part of what is left over, the rest is for lying there."""
    return 0.3 * (LANDED * half - _falling_time(level, half))


def _carried_early(thing: SceneObject, first: Motion, second: Motion, early: Tensor, half: float) -> Tensor:
    """Height by one-way motions in the first half."""
    since = early + half
    if first.action == "rise":
        return first.height * ease(since / half)
    height = early * 0 + _level(thing, first, second)
    return height + _dropped(first.height, since - _wait(first.height, half), half) * (first.action == "fall")


def _carried_late(thing: SceneObject, first: Motion, second: Motion, late: Tensor, half: float) -> Tensor:
    """Height by one-way motions in the second half, from that at the switch."""
    level = _level(thing, first, second)
    if second.action == "rise":
        return level + second.height * ease(late / half)
    if second.action == "fall":
        return _dropped(level, late - _wait(level, half), half)
    if second.action == "fly" and first.action not in HOVERING:
        return level + (thing.position[1] - level) * ease(late / half)
    if second.action == "swing" and first.action not in HOVERING:
        return level + (SWING_CLEARANCE - level) * ease(late / (TURNING * half))
    if first.action in HOVERING and second.action in STAYING | {"swing"}:
        return level + late * 0
    return _dropped(level, late, half)


def _rolling_yaw(yaw: float) -> float:
    """The nearest turn to `yaw` in which a wheel rolls left or right."""
    return 180.0 * round(yaw / 180)


def _yaw(
    thing: SceneObject,
    first: Motion,
    second: Motion,
    late: Tensor,
    true_early: Tensor,
    true_late: Tensor,
    half: float,
) -> Tensor:
    """Turn about the vertical, radians: spinning, and turning to where the second motion goes."""
    target = thing.yaw
    if second.action == "roll":
        target = _rolling_yaw(thing.yaw)
    elif second.action in TRAVEL and thing.kind in FACED:
        target = FACING_YAW[second.direction]
    change = (target - thing.yaw + 180) % 360 - 180
    yaw = math.radians(thing.yaw) + math.radians(change) * ease(late / (TURNING * half))
    for motion, now in ((first, true_early), (second, true_late)):
        if motion.action == "spin":
            way = 1 if motion.direction == "counterclockwise" else -1
            yaw = yaw + way * math.tau * motion.rate * now
    return yaw


def _lean(thing: SceneObject, first: Motion, second: Motion, late: Tensor, half: float) -> Tensor:
    """A cylinder's angle from upright, radians: it lies down to roll, and stays so."""
    if thing.kind != "cylinder" or "roll" not in (first.action, second.action):
        return late * 0
    lying = late * 0 + 1 if first.action == "roll" else ease(late / (TURNING * half))
    return lying * (math.pi / 2)
