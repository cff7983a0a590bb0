"""Sphere tracing of objects (Hart, "Sphere tracing", 1996), with soft shadows.

Every object is traced alone, in its own coordinates, over only the rays that pass its bounding box; nearest wins.
All frames of a clip go in one batch, so a ray carries its frame's number.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .motions import Pose
from .shapes import Shape, distance

SURFACE = 2e-3  # a ray this near a surface, in an object's own units, has hit it
STEPS = (3, 4, 4, 5, 6, 8, 10)  # of marching, between which finished rays are dropped
SHADOW_STEPS = 10
SOFTNESS = 9.0  # of shadows; larger is crisper


@dataclass(frozen=True)
class Body:
    """An object ready to be traced."""

    shape: Shape
    pose: Pose
    reach: Tensor  # (T,) radius of its bounding sphere, units; 0 where it is absent
    palette: Tensor  # (T, slots, 3) linear colours


def take(values: Tensor, index: Tensor) -> Tensor:
    """values[..., index]; several times faster on a CPU than indexing."""
    return values.index_select(-1, index)


def columns(table: Tensor, frame: Tensor) -> Tensor:
    """Rows of a table (F, D) for each ray's frame, as columns (D, N)."""
    return table.t().contiguous().index_select(1, frame)


def into_body(body: Body, frame: Tensor, vectors: Tensor) -> Tensor:
    """World directions (3, N) to the body's axes, lengths kept."""
    rotation = columns(body.pose.rotation.flatten(1), frame)  # (9, N), row-major
    return torch.stack(
        [rotation[i] * vectors[0] + rotation[3 + i] * vectors[1] + rotation[6 + i] * vectors[2] for i in range(3)]
    )


def _within(body: Body, radius: Tensor) -> Tensor:
    """Squared radius (T,), or minus infinity where the body is absent: nothing is within it."""
    return torch.where(body.reach > 0, radius**2, -torch.inf)


def box_span(half: Tensor, start: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays (3, N) enter and leave the box of half sides (3,): near > far if they miss."""
    inverse = 1 / torch.where(ray.abs() < 1e-6, torch.full_like(ray, 1e-6), ray)
    middle, width = -start * inverse, (half[:, None] * inverse).abs_()
    return (middle - width).amax(0), (middle + width).amin(0)


def first_hits(body: Body, frame: Tensor, origin: Tensor, rays: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays first meet the body.

    Args: frame (N,) int64; origin (T, 3) of each frame's rays; rays (3, N) unit.
    Returns: indices (M,) of rays that hit; distance (M,) in units; the points (3, M) in the body's coordinates.
    """
    pose = body.pose
    away = pose.centre - origin  # (T, 3)
    to = columns(away, frame)
    along = (to * rays).sum(0)
    room = take(_within(body, body.reach) - (away**2).sum(-1), frame) + along * along
    index = ((room > 0) & (along > 0)).nonzero().squeeze(1)
    frame, ray = take(frame, index), take(rays, index)
    scale = take(pose.scale, frame)
    ray = into_body(body, frame, ray)
    start = -into_body(body, frame, take(to, index)) / scale
    half = torch.tensor(body.shape.half, device=rays.device) + body.shape.slack
    near, far = box_span(half, start, ray)
    near = near.clamp_(min=0)
    inside = (near < far).nonzero().squeeze(1)
    index, frame = take(index, inside), take(frame, inside)
    start, ray, far = take(start, inside), take(ray, inside), take(far, inside)
    state = torch.cat([start, ray, take(pose.phase, frame)[None], far[None]])
    travelled, live = take(near, inside), torch.arange(len(inside), device=rays.device)
    found: list[tuple[Tensor, Tensor]] = []
    for steps in STEPS:
        if not len(live):
            break
        gap = travelled
        for _ in range(steps):
            x, y, z = torch.addcmul(state[:3], state[3:6], travelled).unbind(0)
            gap = distance(body.shape, x, y, z, state[6])
            travelled = travelled + gap
        hit = gap.abs() < SURFACE
        going = ~hit & (travelled < state[7])
        done = hit.nonzero().squeeze(1)
        found.append((take(live, done), take(travelled, done)))
        keep = going.nonzero().squeeze(1)
        state, travelled, live = take(state, keep), take(travelled, keep), take(live, keep)
    if not found:
        return index, near[:0], start[:, :0]
    which, travelled = torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found])
    points = torch.addcmul(take(start, which), take(ray, which), travelled)
    return take(index, which), travelled * take(pose.scale, take(frame, which)), points


def normals(shape: Shape, points: Tensor, phase: Tensor) -> Tensor:
    """Outward unit normals (3, M) in the shape's axes, by differences at a tetrahedron's corners."""
    signs = torch.tensor([[1.0, -1, -1, 1], [-1, -1, 1, 1], [-1, 1, -1, 1]], device=points.device)
    step = 4e-3
    corners = (points[:, None, :] + step * signs[:, :, None]).flatten(1)
    gap = distance(shape, corners[0], corners[1], corners[2], phase.repeat(4)).view(4, -1)
    slope = signs @ gap
    return slope / slope.norm(dim=0).clamp_(min=1e-9)


def light_reaching(body: Body, frame: Tensor, points: Tensor, sun: Tensor, bias: float = 0.0) -> Tensor:
    """Share (N,) of light from direction `sun` (3, N) that passes the body on its way to world points (3, N)."""
    pose = body.pose
    to = columns(pose.centre, frame) - points
    along = (to * sun).sum(0)
    room = take(_within(body, 1.15 * body.reach), frame) - (to * to).sum(0) + along * along
    index = ((room > 0) & (along > -take(body.reach, frame))).nonzero().squeeze(1)
    share = torch.ones_like(along)
    frame = take(frame, index)
    scale = take(pose.scale, frame)
    ray = into_body(body, frame, take(sun, index))
    start = -into_body(body, frame, take(to, index)) / scale
    margin = 0.09
    half = torch.tensor(body.shape.half, device=points.device) + margin
    near, far = box_span(half, start, ray)
    near = near.clamp_(min=bias)
    inside = (near < far).nonzero().squeeze(1)
    index, start, ray = take(index, inside), take(start, inside), take(ray, inside)
    travelled, far, phase = take(near, inside), take(far, inside), take(pose.phase, take(frame, inside))
    least = torch.ones_like(travelled)
    for _ in range(SHADOW_STEPS):
        x, y, z = torch.addcmul(start, ray, travelled).unbind(0)
        gap = distance(body.shape, x, y, z, phase)
        least = torch.minimum(least, torch.where(travelled < far, SOFTNESS * gap / (travelled + 0.35), least))
        travelled = travelled + gap.clamp(min=0.03)
    least = least.clamp_(0, 1)
    share[index] = least * least * (3 - 2 * least)
    return share


def ambient_reaching(body: Body, frame: Tensor, points: Tensor) -> Tensor:
    """Share (N,) of sky light that reaches world points (3, N) beside the body: the dark line under things."""
    pose = body.pose
    to = columns(pose.centre, frame) - points
    index = ((to * to).sum(0) < take(_within(body, body.reach + 0.25), frame)).nonzero().squeeze(1)
    share = torch.ones(points.shape[1], device=points.device)
    frame = take(frame, index)
    local = -into_body(body, frame, take(to, index)) / take(pose.scale, frame)
    gap = distance(body.shape, local[0], local[1], local[2], take(pose.phase, frame))
    share[index] = 0.35 + 0.65 * (gap * 2.8).clamp_(0, 1).sqrt_()
    return share
