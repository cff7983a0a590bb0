"""Can the described things be seen? Decided from geometry, before any pixel exists.

Each object is a disc on the picture, as wide as its bounding box. Scenes whose subject leaves the central square,
is hidden, or touches another object are refused. The check films two seconds and two and a half, the longest
that one-way motions take (see `motions`), so it holds for any clip, however it is filmed.
"""

import torch
from torch import Tensor

from .cameras import camera_path, project
from .motions import Clock, clock, object_pose
from .objects import SHAPES
from .scene import Scene

EDGE = 0.92  # centres stay within this share of the central square
SMALLEST = 0.15  # least radius of a subject, in half frames
CLOCKS: tuple[Clock, ...] = (clock(9, 4.0), clock(6, 2.0))


def in_sight(scene: Scene) -> bool:
    """Whether the subject is in view throughout, every other object most of the time, and none overlap."""
    return all(_in_sight(scene, time) for time in CLOCKS)


def _in_sight(scene: Scene, time: Clock) -> bool:
    path = camera_path(scene.camera, time)
    poses = [object_pose(thing, time) for thing in scene.objects]
    centres = torch.stack([pose.centre for pose in poses])  # (K, T, 3)
    spots, depth = project(path, centres)
    if bool((depth < 1.0).any()):
        return False
    halves = torch.tensor([SHAPES[thing.kind].half for thing in scene.objects])  # (K, 3)
    scales = torch.stack([pose.scale for pose in poses])  # (K, T)
    flat = halves[:, ::2].amax(1, keepdim=True)
    radius = (flat * halves[:, 1:2]).sqrt() * scales * path.focal / depth
    inside = (spots.abs() < EDGE).all(-1)  # (K, T)
    hidden = _hidden(spots, radius, depth)
    if not bool(inside[0].all()) or bool((hidden[0] > 0.45).any()) or float(radius[0].amax()) < SMALLEST:
        return False
    if not bool(((inside[1:] & (hidden[1:] < 0.6)).float().mean(1) > 0.7).all()):
        return False
    return not _touching(centres, flat * scales, halves[:, 1:2] * scales)


def _hidden(spots: Tensor, radius: Tensor, depth: Tensor) -> Tensor:
    """About how much of each disc (K, T) nearer discs cover, 0 to 1."""
    apart = (spots[:, None] - spots[None]).norm(dim=-1)  # (K, K, T): of k by j
    overlap = ((radius[:, None] + radius[None] - apart) / (2 * radius[:, None])).clamp(0, 1)
    overlap = overlap * (radius[None] / radius[:, None]).clamp(max=1)
    return torch.where(depth[None] < depth[:, None] - 1e-3, overlap, overlap * 0).amax(1)


def _touching(centres: Tensor, flat: Tensor, tall: Tensor) -> bool:
    """Whether two objects overlap: their upright cylinders of radius `flat` and half height `tall` (K, T) do."""
    for first in range(len(centres)):
        for second in range(first + 1, len(centres)):
            gap = centres[first] - centres[second]
            beside = gap[:, ::2].norm(dim=-1) > 0.95 * (flat[first] + flat[second])
            above = gap[:, 1].abs() > 0.97 * (tall[first] + tall[second])
            if not bool((beside | above).all()):
                return True
    return False
