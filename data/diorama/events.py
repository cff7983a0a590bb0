"""Where all of a scene's objects are: what two do together, and what each does alone or in turn.

Pair events play over the whole clip, whatever its length, as the camera's moves do: `motion.rate` of an object in
an event is its speed in a clip of two seconds. `position` is the middle of its way.

| event            | the first                                         | the second                              |
|------------------|---------------------------------------------------|-----------------------------------------|
| pass behind      | travels sideways, behind the second at mid-clip   | stands                                  |
| pass in front of | travels sideways, before the second at mid-clip   | stands                                  |
| chase            | travels after the second                          | travels the same way                    |
| meet             | travels towards the second, stops beside it       | travels towards the first, stops        |
| collide          | travels into the second at mid-clip, stops        | is pushed the same way, comes to rest   |
| orbit            | goes once round the second                        | stands                                  |

To place a pair so that its event can be seen, see `directing.stage_event`.
"""

import math

import torch
from torch import Tensor

from .halves import halves_pose
from .motions import GRAVITY, Clock, Pose, about_x, about_y, about_z, gait, heading, object_pose
from .objects import SHAPES
from .scene import PairEvent, Scene, SceneObject

EVENT_SECONDS = 2.0  # of the clip for which rates are true
SLOWING, STOPPED = 0.7, 0.9  # shares of the clip at which those who meet slow down and stand
IMPACT = 0.5  # share of the clip at which a collision happens
PUSHED = 0.4  # share of the clip that the push takes
ROLLING = frozenset({"ball", "ring"})  # roll when pushed; all else slides


def scene_poses(scene: Scene, time: Clock) -> list[Pose]:
    """The placement of every object of a scene at each frame."""
    poses = []
    for number, thing in enumerate(scene.objects):
        second = scene.second_motions[number] if number < len(scene.second_motions) else None
        poses.append(halves_pose(thing, second, time) if second else object_pose(thing, time))
    for event in scene.pair_events:
        first, second = scene.objects[event.first], scene.objects[event.second]
        poses[event.first], poses[event.second] = event_poses(event, first, second, time)
    return poses


def event_poses(event: PairEvent, first: SceneObject, second: SceneObject, time: Clock) -> tuple[Pose, Pose]:
    """The placements of the two objects of a pair event."""
    share = time.share
    if event.event == "orbit":
        return _circling(event, first, second, time), object_pose(second, time)
    if event.event == "collide":
        going = (share / IMPACT).clamp(max=1)
        return _going(first, going, time, IMPACT), _pushed(event, first, second, time)
    if event.event == "meet":
        pace = 1 / (0.5 * (SLOWING + STOPPED))
        braking = (share - SLOWING).clamp(0, STOPPED - SLOWING)
        going = pace * (share.clamp(max=SLOWING) + braking - braking**2 / (2 * (STOPPED - SLOWING)))
        return _going(first, going, time, STOPPED), _going(second, going, time, STOPPED)
    if event.event == "chase":
        return _going(first, share, time), _going(second, share, time)
    return _going(first, share, time), object_pose(second, time)


def _going(thing: SceneObject, done: Tensor, time: Clock, until: float | None = None) -> Pose:
    """Travel along its way, of which the share `done` (T,) is behind it; it stops at the clip's share `until`."""
    way = EVENT_SECONDS * thing.motion.rate * (done - 0.5)
    dx, dz = heading(thing.motion.direction)
    x, z = thing.position[0] + dx * way, thing.position[2] + dz * way
    hops = None
    if until is not None and thing.motion.action == "hop":
        period = 2 * math.sqrt(2 * thing.motion.height / GRAVITY)
        hops = done * max(1, round(EVENT_SECONDS * until / period))
    return _gone(thing, x, z, torch.full_like(x, math.radians(thing.yaw)), way, time, hops)


def _gone(
    thing: SceneObject, x: Tensor, z: Tensor, yaw: Tensor, way: Tensor, time: Clock, hops: Tensor | None = None
) -> Pose:
    """An object that has gone `way` (T,) to x, z; `hops` (T,), where given, counts its hops."""
    shape, one = SHAPES[thing.kind], torch.ones_like(x)
    going = gait(thing, thing.motion, way, time.seconds)
    turn, half, lift = going.turn, shape.half[1], going.lift
    if thing.motion.action == "roll":
        half = shape.radius
        turn = turn @ about_x(one * (math.pi / 2)) if thing.kind == "cylinder" else turn
    if hops is not None:
        within = hops.remainder(1.0)
        lift = 4 * thing.motion.height * within * (1 - within)
    centre = torch.stack([x, thing.position[1] + half * thing.scale + lift, z], -1)
    return Pose(centre, about_y(yaw) @ turn, one * thing.scale, going.phase, one * 0)


def _circling(event: PairEvent, first: SceneObject, second: SceneObject, time: Clock) -> Pose:
    """Once round the second, facing where it goes."""
    sense = 1.0 if event.turn == "clockwise" else -1.0  # z points to the viewer, so seen from above it points down
    swept = math.tau * time.share
    angle = math.radians(event.angle) + sense * swept
    x = second.position[0] + event.amount * angle.cos()
    z = second.position[2] + event.amount * angle.sin()
    yaw = torch.atan2(-sense * angle.cos(), -sense * angle.sin())
    return _gone(first, x, z, yaw, event.amount * swept, time)


def _pushed(event: PairEvent, first: SceneObject, second: SceneObject, time: Clock) -> Pose:
    """What is pushed `event.amount` the way the first came, and comes to rest by friction."""
    pose = object_pose(second, time)
    left = 1 - ((time.share - IMPACT) / PUSHED).clamp(0, 1)
    way = event.amount * (1 - left**2)
    dx, dz = heading(first.motion.direction)
    step = torch.stack([dx * way, way * 0, dz * way], -1)
    rotation = pose.rotation
    if second.kind in ROLLING:
        rotation = about_z(-dx * way / (SHAPES[second.kind].radius * second.scale)) @ rotation
    return Pose(pose.centre + step, rotation, pose.scale, pose.phase, pose.blend, pose.colour_to)
