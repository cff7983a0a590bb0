"""The camera at each frame, and where the world falls on the picture.

The field of view spans the shorter side of the frame, so the central square of any frame shows the same thing and
wider or taller frames show more around it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .motions import Clock, about_x, about_y
from .scene import Camera


@dataclass(frozen=True)
class CameraPath:
    """Camera poses: a world point p is at rotation[t].T @ (p - position[t]), looking along -z."""

    position: Tensor  # (T, 3) world units
    rotation: Tensor  # (T, 3, 3) columns: the camera's right, up and back in the world
    focal: float  # in half shorter sides: a point at x / -z = 1 / focal is at the edge of the central square
    still: bool  # the same pose at every frame


def look(position: Tensor, target: Tensor) -> Tensor:
    """Rotations (T, 3, 3) that look from `position` to `target`, upright."""
    back = torch.nn.functional.normalize(position - target, dim=-1)
    up = torch.tensor([0.0, 1.0, 0.0], device=position.device).expand_as(back)
    right = torch.nn.functional.normalize(torch.linalg.cross(up, back), dim=-1)
    return torch.stack([right, torch.linalg.cross(back, right), back], -1)


def camera_path(camera: Camera, time: Clock) -> CameraPath:
    """The camera's pose at each frame.

    Moves play over the whole clip, whatever its length, except that "track" keeps pace with what it follows and
    the handheld sway runs in true seconds.
    """
    share, device = time.share - 0.5, time.share.device  # -0.5 … 0.5
    target = torch.tensor(camera.target, device=device).repeat(len(share), 1)
    distance, height = camera.distance + share * 0, camera.height + share * 0
    azimuth = yaw = pitch = share * 0  # radians
    verb, _, side = camera.move.partition(" ")
    swept = math.radians(camera.amount) * share
    if verb == "pan":
        yaw = swept if side == "left" else -swept
    elif verb == "tilt":
        pitch = swept if side == "up" else -swept
    elif verb == "dolly":
        distance = distance - camera.amount * share * (1 if side == "in" else -1)
    elif verb == "orbit":
        azimuth = -swept if side == "left" else swept
    elif verb == "crane":
        height = height + camera.amount * share * (1 if side == "up" else -1)
    elif verb == "track":
        target[:, 0] += camera.amount * time.progress
    elif verb == "handheld":
        yaw, pitch = (camera.amount * _sway(time.seconds, camera.phase + p) for p in (0.0, 0.37))
        height = height + 2 * camera.amount * _sway(time.seconds, camera.phase + 0.71)

    position = target.clone()
    position[:, 0] += distance * torch.sin(azimuth)
    position[:, 1] = height
    position[:, 2] += distance * torch.cos(azimuth)
    rotation = look(position, target)
    if verb in ("pan", "tilt", "handheld"):
        rotation = about_y(yaw) @ rotation @ about_x(pitch)
    focal = 1 / math.tan(math.radians(camera.field_of_view) / 2)
    return CameraPath(position, rotation, focal, camera.move == "static")


def _sway(seconds: Tensor, phase: float) -> Tensor:
    """An unsteady hand: three tones between 0.5 and 2.3 Hz, about -1 to 1."""
    tones = ((0.53, 0.5), (1.27, 0.35), (2.29, 0.2))
    return sum((a * torch.sin(math.tau * (f * seconds + phase * 7 * f)) for f, a in tones), seconds * 0)


def project(path: CameraPath, points: Tensor) -> tuple[Tensor, Tensor]:
    """World points (..., T, 3) to picture coordinates (..., T, 2) and depth (..., T).

    Coordinates are in half shorter sides from the picture's centre, x right and y up; depth is in units and
    negative behind the camera.
    """
    local = torch.einsum("tji,...tj->...ti", path.rotation, points - path.position)
    depth = -local[..., 2]
    return local[..., :2] * path.focal / depth.abs().clamp(min=1e-3).unsqueeze(-1), depth


def pixel_rays(path: CameraPath, height: int, width: int, side: int = 1) -> Tensor:
    """Unit world directions (T or 1, H * W * side², 3): `side`² rays in each pixel, pixels row by row.

    A still camera yields one set.
    """
    device = path.position.device
    scale = 2 / min(height, width) / path.focal
    offset = (torch.arange(side, device=device) + 0.5) / side
    rows = torch.arange(height, device=device)[:, None] + offset - height / 2
    columns = torch.arange(width, device=device)[:, None] + offset - width / 2
    x = (columns * scale)[None, :, None, :].expand(height, width, side, side)
    y = (-rows * scale)[:, None, :, None].expand(height, width, side, side)
    rays = torch.nn.functional.normalize(torch.stack([x, y, -torch.ones_like(x)], -1).reshape(-1, 3), dim=-1)
    rotation = path.rotation[:1] if path.still else path.rotation
    return torch.einsum("tij,nj->tni", rotation, rays)
