"""From a scene to pixels: frames, object numbers, tracks and camera poses.

from kinema.data.diorama import render, sample_scene
clip = render(sample_scene(0, 7), height=64, width=64, num_frames=17, fps=8)
clip.frames  # (17, 64, 64, 3) uint8
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .cameras import CameraPath, camera_path, pixel_rays, project
from .motions import clock, object_pose
from .objects import SHAPES
from .scene import Colour, Scene, SceneObject
from .shading import FLOORS, LIGHTS, backdrop, linear, sun_direction
from .shapes import Slot, slots_at
from .tracing import Body, ambient_reaching, first_hits, into_body, light_reaching, normals

PIGMENTS: dict[Colour, tuple[float, float, float]] = {  # stored values
    "red": (0.86, 0.09, 0.09), "orange": (0.98, 0.52, 0.06), "yellow": (0.99, 0.87, 0.12),
    "green": (0.12, 0.66, 0.20), "cyan": (0.12, 0.82, 0.86), "blue": (0.12, 0.28, 0.90),
    "purple": (0.53, 0.16, 0.76), "pink": (0.99, 0.50, 0.72), "brown": (0.46, 0.26, 0.12),
    "black": (0.09, 0.09, 0.10), "white": (0.97, 0.97, 0.97), "gray": (0.53, 0.53, 0.55),
}  # fmt: skip


@dataclass(frozen=True)
class Tracks:
    """Where each object is on the picture. K objects, T frames."""

    centres: Tensor  # (K, T, 2) float: x, y in pixels from the top left corner, of the bounding box's centre
    visibility: Tensor  # (K, T) float: share of the object's pixels in the frame that nothing hides; 0 if none
    area: Tensor  # (K, T) float: share of the frame that the object covers, hidden parts left out


@dataclass(frozen=True)
class Rendering:
    """A clip and its ground truth."""

    frames: Tensor  # (T, H, W, 3) uint8
    object_ids: Tensor  # (T, H, W) uint8: 0 none, k + 1 for scene.objects[k], at pixel centres
    tracks: Tracks
    cameras: CameraPath


@dataclass(frozen=True)
class Trace:
    """What N rays see."""

    colour: Tensor  # (N, 3) linear
    ident: Tensor  # (N,) uint8
    part: Tensor  # (N,) uint8: backdrop layer or 4 + paint slot
    own: list[Tensor]  # per object: indices of the rays that meet it, hidden or not


def palette(slots: tuple[Slot, ...], colour: Colour, device: torch.device | str) -> Tensor:
    """Linear colours (slots, 3) of a kind's paints in an object's colour."""
    rows = []
    for slot in slots:
        if slot[0] == "main":
            main, factor = linear(PIGMENTS[colour], device), float(slot[1])
            lift = 0.35 if colour == "black" else 1.0
            rows.append(main * factor if factor <= 1 else main + (1 - main) * (factor - 1) * lift)
        else:
            rows.append(linear(slot, device))  # type: ignore[arg-type]
    return torch.stack(rows)


def build_body(thing: SceneObject, time, device: torch.device | str) -> Body:
    """Pose and paint of an object at every frame."""
    shape, pose = SHAPES[thing.kind], object_pose(thing, time)
    reach = pose.scale * (sum(h * h for h in shape.half) ** 0.5 + shape.slack)
    colours = palette(shape.slots, thing.colour, device).expand(len(pose.scale), -1, 3)
    if thing.motion.colour_to:
        target = palette(shape.slots, thing.motion.colour_to, device)
        colours = torch.lerp(colours, target.expand_as(colours), pose.blend[:, None, None])
    return Body(shape, pose, reach, colours)


def trace(
    scene: Scene, bodies: list[Body], origin: Tensor, frame: Tensor, rays: Tensor,
    base: Tensor, depth: Tensor, layer: Tensor,
) -> Trace:  # fmt: skip
    """Objects over a backdrop.

    Args: origin (T, 3); frame (N,) int64; rays (3, N); base (N, 3), depth (N,), layer (N,): the backdrop of each
    ray (see `shading.backdrop`).
    """
    device = rays.device
    sun = sun_direction(scene, device)
    colour, near = base.clone(), depth.clone()
    ident, part = torch.zeros_like(layer), layer.clone()
    hits = []
    for number, body in enumerate(bodies):
        index, distance, points = first_hits(body, frame, origin, rays)
        closer = distance < near[index]
        hits.append((index, points))
        front = index[closer]
        near[front] = distance[closer]
        ident[front] = number + 1

    lit = (ident == 0) & (layer == 2)
    _shade_floor(scene, bodies, origin, frame, rays, near, lit, sun, colour)
    for number, (index, points) in enumerate(hits):
        shown = (ident[index] == number + 1).nonzero().squeeze(1)
        index = index[shown]
        if len(index):
            shade, slot = _shade_object(
                scene, bodies, number, frame[index], rays[:, index], points[:, shown], near[index], origin, sun
            )
            colour[index] = shade
            part[index] = (slot + 4).to(torch.uint8)
    return Trace(colour, ident, part, [h[0] for h in hits])


def _shade_floor(scene, bodies, origin, frame, rays, depth, lit, sun, colour) -> None:
    """Darkens floor rays, in place, where objects keep the light away."""
    light, device = LIGHTS[scene.time_of_day], rays.device
    direct = torch.tensor(light.sun, device=device) * sun[1]
    ambient = torch.tensor(light.ambient, device=device)
    share = direct / (direct + ambient)
    index = (lit & (depth < 14)).nonzero().squeeze(1)
    frames = frame[index]
    points = origin.t()[:, frames] + depth[index] * rays[:, index]
    sunlight, skylight = torch.ones_like(points[0]), torch.ones_like(points[0])
    for body in bodies:
        sunlight = torch.minimum(sunlight, light_reaching(body, frames, points, sun))
        skylight = torch.minimum(skylight, ambient_reaching(body, frames, points))
    changed = ((sunlight < 1) | (skylight < 1)).nonzero().squeeze(1)
    factor = share * sunlight[changed, None] + (1 - share) * skylight[changed, None]
    where = index[changed]
    colour[where] = colour[where] * factor


def _shade_object(scene, bodies, number, frame, rays, points, depth, origin, sun):
    """Linear colours (M, 3) and paint slots (M,) of points (3, M) on object `number`."""
    body, light, device = bodies[number], LIGHTS[scene.time_of_day], rays.device
    phase = body.pose.phase[frame]
    normal = normals(body, points, phase)
    slot = slots_at(body.shape, points[0], points[1], points[2], phase)
    pigment = body.palette[frame, slot]
    count = len(frame)
    sun_local = into_body(body, frame, sun[:, None].expand(3, count))
    up_local = into_body(body, frame, torch.tensor([[0.0], [1.0], [0.0]], device=device).expand(3, count))
    eye_local = -into_body(body, frame, rays)
    facing = (normal * sun_local).sum(0).clamp_(0, 1)
    upward = (normal * up_local).sum(0)
    world = origin.t()[:, frame] + depth * rays
    sunlight = torch.ones_like(facing)
    for other, caster in enumerate(bodies):
        if other != number:
            sunlight = torch.minimum(sunlight, light_reaching(caster, frame, world, sun))
        elif not body.shape.convex:
            sunlight = torch.minimum(sunlight, light_reaching(caster, frame, world, sun, bias=0.08))
    ground = sum(linear(c, device) for c in FLOORS[scene.floor]) * 0.5
    bounce = ground * (torch.tensor(light.sun, device=device) * 0.35 + torch.tensor(light.ambient, device=device))
    sky = torch.tensor(light.object_ambient, device=device)
    mix = (0.5 + 0.5 * upward).unsqueeze(1)
    near_floor = (world[1] * 2.5).clamp_(0, 1).mul_(0.35).add_(0.65).unsqueeze(1)
    ambient = torch.lerp(0.6 * bounce + 0.25 * sky, sky, mix) * near_floor
    direct = torch.tensor(light.object_sun, device=device) * (facing * sunlight).unsqueeze(1)
    half = sun_local + eye_local
    half = half / half.norm(dim=0).clamp_(min=1e-6)
    gloss = (normal * half).sum(0).clamp_(0, 1) ** 32
    rim = (1 - (normal * eye_local).sum(0).clamp_(0, 1)) ** 3
    shine = (0.16 * gloss * sunlight).unsqueeze(1) * torch.tensor(light.object_sun, device=device)
    shine = shine + (0.10 * rim * (0.6 + 0.4 * upward)).unsqueeze(1) * linear(light.horizon, device)
    return pigment * (ambient + direct * 1.12) + shine, slot


def render(
    scene: Scene, *, height: int, width: int, num_frames: int, fps: float,
    device: torch.device | str = "cpu", supersample: int = 2,
) -> Rendering:  # fmt: skip
    """The scene as a clip of any size, length (num_frames / fps seconds) and rate.

    Pixels at edges get supersample² rays, others one; 1 turns anti-aliasing of objects off. Equal arguments give
    equal bytes on one device.
    """
    if min(height, width, num_frames, supersample) < 1 or fps <= 0:
        raise ValueError(
            "height, width, num_frames and supersample must be at least 1 and fps above 0; "
            f"got {height}, {width}, {num_frames}, {supersample} and {fps}"
        )
    with torch.inference_mode():
        return _render(scene, height, width, num_frames, fps, torch.device(device), supersample)


def _render(scene, height, width, num_frames, fps, device, side) -> Rendering:
    time = clock(num_frames, fps, device)
    path = camera_path(scene.camera, time)
    bodies = [build_body(thing, time, device) for thing in scene.objects]
    pixels = height * width
    angle = 2 / min(height, width) / path.focal
    frame = torch.arange(num_frames, device=device).repeat_interleave(pixels)
    still = path.still and scene.floor != "water"  # the backdrop is the same in every frame

    rays = pixel_rays(path, height, width)
    if not still:
        rays = rays.expand(num_frames, -1, -1)
    origin = path.position[:1] if path.still else path.position.repeat_interleave(pixels, 0)
    seconds = 0.0 if still else time.seconds[frame]
    base, depth, layer = backdrop(scene, origin, rays.reshape(-1, 3), angle, seconds)
    fine: tuple[Tensor, ...] = ()
    if still:
        if side > 1:
            fine_rays = pixel_rays(path, height, width, side)[0]
            fine = (fine_rays, *backdrop(scene, origin, fine_rays, angle / side))
            base = fine[1].view(pixels, side * side, 3).mean(1)
        base, depth, layer = base.repeat(num_frames, 1), depth.repeat(num_frames), layer.repeat(num_frames)
    flat = rays.expand(num_frames, -1, -1).reshape(-1, 3).t().contiguous()
    seen = trace(scene, bodies, path.position, frame, flat, base, depth, layer)
    colour = seen.colour.clamp_(0, 1).sqrt_()
    if side > 1:
        edge = _edges(colour, seen, num_frames, height, width).nonzero().squeeze(1)
        colour[edge] = _refine(scene, bodies, path, time.seconds, edge, fine, height, width, side, angle)
    frames = (colour * 255 + 0.5).to(torch.uint8).view(num_frames, height, width, 3)
    ident = seen.ident.view(num_frames, height, width)
    return Rendering(frames, ident, _tracks(bodies, path, seen, frame, height, width), path)


def _edges(colour: Tensor, seen: Trace, frames: int, height: int, width: int) -> Tensor:
    """Mask (N,) of pixels whose neighbour shows another thing, or the same object in another light."""
    label = (seen.ident.to(torch.int16) * 32 + seen.part.to(torch.int16)).view(frames, height, width)
    thing = (seen.ident > 0).view(frames, height, width)
    tone = colour.view(frames, height, width, 3)
    mask = torch.zeros_like(thing)
    for axis, size in ((1, height), (2, width)):
        a, b = (slice(0, size - 1), slice(1, size))
        one = (slice(None), a) if axis == 1 else (slice(None), slice(None), a)
        two = (slice(None), b) if axis == 1 else (slice(None), slice(None), b)
        differs = label[one] != label[two]
        crease = ((tone[one] - tone[two]).abs().amax(-1) > 0.09) & thing[one] & thing[two]
        differs |= crease
        mask[one] |= differs
        mask[two] |= differs
    return mask.view(-1)


def _refine(scene, bodies, path: CameraPath, seconds, edge, fine, height, width, side, angle) -> Tensor:
    """Stored colours (M, 3) of the given pixels (flat frame-major numbers), from side² rays each."""
    pixels, many = height * width, side * side
    frame = (edge // pixels).repeat_interleave(many)
    sample = ((edge % pixels)[:, None] * many + torch.arange(many, device=edge.device)).view(-1)
    if fine:
        rays, base, depth, layer = (part[sample] for part in fine)
    else:
        every = pixel_rays(path, height, width, side)
        rays = every[frame if len(every) > 1 else 0, sample]
        base, depth, layer = backdrop(scene, path.position[frame], rays, angle / side, seconds[frame])
    seen = trace(scene, bodies, path.position, frame, rays.t().contiguous(), base, depth, layer)
    return seen.colour.clamp_(0, 1).view(-1, many, 3).mean(1).sqrt_()


def _tracks(bodies, path, seen: Trace, frame, height, width) -> Tracks:
    centres, visibility, area = [], [], []
    count = len(path.position)
    for number, body in enumerate(bodies):
        spot, _ = project(path, body.pose.centre)
        half = min(height, width) / 2
        centres.append(torch.stack([width / 2 + spot[:, 0] * half, height / 2 - spot[:, 1] * half], -1))
        own = torch.bincount(frame[seen.own[number]], minlength=count).float()
        shown = torch.bincount(frame[seen.ident == number + 1], minlength=count).float()
        visibility.append(torch.where(own > 0, shown / own.clamp(min=1), own))
        area.append(shown / (height * width))
    return Tracks(torch.stack(centres), torch.stack(visibility), torch.stack(area))
