"""Can the described things be seen? Decided from geometry, before any pixel exists.

Each object is a disc on the picture, as wide as its bounding box. Scenes whose subject leaves the central square,
is hidden, or touches another object are refused. The check films two seconds and two and a half, the longest
that one-way motions take (see `motions`), so it holds for any clip, however it is filmed. Of a pair event, both
objects must stay within the square, be clear of each other at both ends of the clip, and what passes must cover or
be covered in between.
"""

import torch
from torch import Tensor

from .cameras import camera_path, project
from .events import scene_poses
from .motions import Clock, clock
from .objects import SHAPES
from .scene import PairEvent, Scene

EDGE = 0.92  # centres stay within this share of the central square
SMALLEST = 0.15  # least radius of a subject, in half frames
SMALLEST_OF_TWO = 0.1  # likewise of a pair event, which is filmed from further away
CLEAR, COVERED = 0.15, 0.6  # share of an object hidden at an event's ends at most, and by a passing one at least
CLOCKS: tuple[Clock, ...] = (clock(9, 4.0), clock(6, 2.0))


def in_sight(scene: Scene) -> bool:
    """Whether the subject is in view throughout, every other object most of the time, and none overlap."""
    return all(_in_sight(scene, time) for time in CLOCKS)


def _in_sight(scene: Scene, time: Clock) -> bool:
    path = camera_path(scene.camera, time)
    poses = scene_poses(scene, time)
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
    least = SMALLEST_OF_TWO if scene.pair_events else SMALLEST
    if not bool(inside[0].all()) or float(radius[0].amax()) < least:
        return False
    pairs = {(event.first, event.second) for event in scene.pair_events}
    shown = (inside & (hidden < 0.6)).float().mean(1) > 0.7
    if not pairs and bool((hidden[0] > 0.45).any()):
        return False
    if not all(_event_shows(event, inside, hidden) for event in scene.pair_events):
        return False
    if not all(bool(shown[k]) for k in range(1, len(shown)) if not any(k in pair for pair in pairs)):
        return False
    return not _touching(centres, flat * scales, halves[:, 1:2] * scales, pairs)


def _event_shows(event: PairEvent, inside: Tensor, hidden: Tensor) -> bool:
    """Whether both objects are in the picture, clear of each other at the ends, and one hidden if it shall be."""
    both = [event.first, event.second]
    if not bool(inside[both].all()) or bool((hidden[both][:, [0, -1]] > CLEAR).any()):
        return False
    if event.event in ("pass behind", "pass in front of"):
        return float(hidden[event.first if event.event == "pass behind" else event.second].amax()) > COVERED
    return event.event == "orbit" or not bool((hidden[both] > 0.45).any())


def _hidden(spots: Tensor, radius: Tensor, depth: Tensor) -> Tensor:
    """About how much of each disc (K, T) nearer discs cover, 0 to 1."""
    apart = (spots[:, None] - spots[None]).norm(dim=-1)  # (K, K, T): of k by j
    overlap = ((radius[:, None] + radius[None] - apart) / (2 * radius[:, None])).clamp(0, 1)
    overlap = overlap * (radius[None] / radius[:, None]).clamp(max=1)
    return torch.where(depth[None] < depth[:, None] - 1e-3, overlap, overlap * 0).amax(1)


def _touching(centres: Tensor, flat: Tensor, tall: Tensor, pairs: set[tuple[int, int]]) -> bool:
    """Whether two objects overlap: their upright cylinders of radius `flat` and half height `tall` (K, T) do.

    `pairs` of an event are staged closer, by their true outlines.
    """
    for first in range(len(centres)):
        for second in range(first + 1, len(centres)):
            if (first, second) in pairs or (second, first) in pairs:
                continue
            gap = centres[first] - centres[second]
            beside = gap[:, ::2].norm(dim=-1) > 0.95 * (flat[first] + flat[second])
            above = gap[:, 1].abs() > 0.97 * (tall[first] + tall[second])
            if not bool((beside | above).all()):
                return True
    return False
