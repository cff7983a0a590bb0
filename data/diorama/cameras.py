"""The camera at each frame, and where the world falls on the picture.

The field of view spans the shorter side of the frame, so the central square of any frame shows the same thing and
wider or taller frames show more around it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .motions import Clock
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
    """The camera's pose at each frame. Moves play over the whole clip, whatever its length."""
    count = len(time.share)
    device = time.share.device
    target = torch.tensor(camera.target, device=device).expand(count, 3)
    position = target.clone()
    position[:, 1] = camera.height
    position[:, 2] += camera.distance
    focal = 1 / math.tan(math.radians(camera.field_of_view) / 2)
    return CameraPath(position, look(position, target), focal, camera.move == "static")


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
