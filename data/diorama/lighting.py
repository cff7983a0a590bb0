"""Objects over a backdrop: which one a ray sees, and the light on it.

Works on many clips at once: "frame" numbers run over the frames of all clips, and whatever differs between clips
(light, camera, objects) is a table with a row per frame.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .events import scene_poses
from .finishes import Finish, body_finish, glows, paint_pattern, polish
from .finishes import Light as Incident
from .motions import Clock, Pose
from .objects import SHAPES
from .scene import Colour, Kind, Scene, SceneObject
from .shading import FLOORS, LIGHTS, linear, sun_direction
from .shapes import Slot, slots_at
from .tracing import Body, ambient_reaching, columns, first_hits, into_body, light_reaching, normals, take

PIGMENTS: dict[Colour, tuple[float, float, float]] = {  # stored values
    "red": (0.86, 0.09, 0.09), "orange": (0.98, 0.52, 0.06), "yellow": (0.99, 0.87, 0.12),
    "green": (0.12, 0.66, 0.20), "cyan": (0.12, 0.82, 0.86), "blue": (0.12, 0.28, 0.90),
    "purple": (0.53, 0.16, 0.76), "pink": (0.99, 0.50, 0.72), "brown": (0.46, 0.26, 0.12),
    "black": (0.09, 0.09, 0.10), "white": (0.97, 0.97, 0.97), "gray": (0.53, 0.53, 0.55),
}  # fmt: skip
FAR = 14.0  # units from the camera beyond which the floor shows no shadows


@dataclass(frozen=True)
class World:
    """All clips' frames as tables of F rows, colours linear."""

    origin: Tensor  # (F, 3) camera position
    sun: Tensor  # (F, 3) unit vector towards it
    floor_sun: Tensor  # (F, 3) sunlight on the floor
    floor_sky: Tensor  # (F, 3) light of the sky on the floor
    sunlight: Tensor  # (F, 3) on objects
    skylight: Tensor  # (F, 3) on objects
    bounce: Tensor  # (F, 3) light that the floor throws back
    horizon: Tensor  # (F, 3) colour of the sky low down
    bodies: list[tuple[int, Body]]  # with its number among its scene's objects
    finishes: list[Finish | None]  # of each body; None where all it stands for is matte and plain
    glow: Tensor | None  # (F, K, 4) of halos, see `finishes.glows`; None if nothing glows


@dataclass(frozen=True)
class Trace:
    """What N rays see."""

    colour: Tensor  # (N, 3) linear
    ident: Tensor  # (N,) uint8: 0 none, k + 1 for object k of the ray's scene
    part: Tensor  # (N,) uint8: backdrop layer or 4 + paint slot
    own: list[tuple[int, Tensor]]  # per body: its number, and the rays (M,) that meet it, hidden or not


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


def _colours(thing: SceneObject, pose: Pose) -> Tensor:
    """Linear colours (T, slots, 3) over a clip."""
    slots, device = SHAPES[thing.kind].slots, pose.scale.device
    colours = palette(slots, thing.colour, device).expand(len(pose.scale), -1, 3)
    if pose.colour_to:
        target = palette(slots, pose.colour_to, device).expand_as(colours)
        colours = torch.lerp(colours, target, pose.blend[:, None, None])
    return colours


def _gather_bodies(
    scenes: list[Scene], poses: list[list[Pose]]
) -> tuple[list[tuple[int, Body]], list[Finish | None]]:
    """One body for each kind at each place in the scenes' lists; it is absent from other scenes' frames."""
    where: dict[tuple[int, Kind], dict[int, SceneObject]] = {}
    for number, scene in enumerate(scenes):
        for place, thing in enumerate(scene.objects):
            where.setdefault((place, thing.kind), {})[number] = thing
    bodies, finishes = [], []
    for (place, kind), things in where.items():
        shape = SHAPES[kind]
        sample = poses[next(iter(things))][place]
        zero = torch.zeros_like(sample.scale)
        blank = Pose(zero[:, None].expand(-1, 3), torch.zeros_like(sample.rotation), zero + 1, zero, zero)
        own = [poses[n][place] if n in things else blank for n in range(len(scenes))]
        ball = math.hypot(*shape.half) + shape.slack
        reach = [pose.scale * ball if n in things else zero for n, pose in enumerate(own)]
        unpainted = torch.zeros(len(zero), len(shape.slots), 3, device=zero.device)
        paints = [_colours(things[n], pose) if n in things else unpainted for n, pose in enumerate(own)]
        paint = torch.cat(paints)
        wearers = [things.get(n) for n in range(len(scenes))]
        finishes.append(body_finish(kind, wearers, own, paint[:, 0]))
        pose = Pose(
            torch.cat([p.centre for p in own]),
            torch.cat([p.rotation for p in own]),
            torch.cat([p.scale for p in own]),
            torch.cat([p.phase for p in own]),
            torch.cat([p.blend for p in own]),
        )
        bodies.append((place, Body(shape, pose, torch.cat(reach), paint)))
    return bodies, finishes


def _glow(scenes: list[Scene], poses: list[list[Pose]]) -> Tensor | None:
    """The light around glowing objects (see `finishes.glows`); None if there are none."""
    if not any(thing.material == "glowing" for scene in scenes for thing in scene.objects):
        return None
    pairs = [zip(scene.objects, own, strict=True) for scene, own in zip(scenes, poses, strict=True)]
    return glows(scenes, poses, [[_colours(thing, pose)[:, 0] for thing, pose in pair] for pair in pairs])


def build_world(scenes: list[Scene], time: Clock, origin: Tensor) -> tuple[World, list[list[Pose]]]:
    """The tables of scenes filmed on one clock, cameras at origin (F, 3); and every object's poses by scene."""
    device, frames = origin.device, len(time.seconds)
    poses = [scene_poses(scene, time) for scene in scenes]

    def table(rows: list[Tensor]) -> Tensor:
        return torch.stack(rows).repeat_interleave(frames, 0)

    lights = [LIGHTS[scene.time_of_day] for scene in scenes]
    suns = [sun_direction(scene, device) for scene in scenes]
    floors = [linear(a, device) * 0.5 + linear(b, device) * 0.5 for a, b in (FLOORS[s.floor] for s in scenes)]
    direct = [torch.tensor(light.sun, device=device) for light in lights]
    ambient = [torch.tensor(light.ambient, device=device) for light in lights]
    bodies, finishes = _gather_bodies(scenes, poses)
    world = World(
        origin=origin,
        sun=table(suns),
        floor_sun=table([light * sun[1] for light, sun in zip(direct, suns, strict=True)]),
        floor_sky=table(ambient),
        sunlight=table([torch.tensor(light.object_sun, device=device) for light in lights]),
        skylight=table([torch.tensor(light.object_ambient, device=device) for light in lights]),
        bounce=table([f * (d * 0.35 + a) for f, d, a in zip(floors, direct, ambient, strict=True)]),
        horizon=table([linear(light.horizon, device) for light in lights]),
        bodies=bodies,
        finishes=finishes,
        glow=_glow(scenes, poses),
    )
    return world, poses


def trace(world: World, frame: Tensor, rays: Tensor, base: Tensor, depth: Tensor, layer: Tensor) -> Trace:
    """Objects over a backdrop.

    Args: frame (N,) int64; rays (3, N) unit; base (N, 3), depth (N,), layer (N,): the backdrop of each ray (see
    `shading.backdrop`).
    """
    colour, near = base.clone(), depth.clone()
    ident, part = torch.zeros_like(layer), layer.clone()
    hits = []
    for place, body in world.bodies:
        index, distance, points = first_hits(body, frame, world.origin, rays)
        closer = distance < near[index]
        hits.append((index, points))
        front = index[closer]
        near[front] = distance[closer]
        ident[front] = place + 1

    _shade_floor(world, frame, rays, near, (ident == 0) & (layer == 2), colour)
    for number, (index, points) in enumerate(hits):
        place = world.bodies[number][0]
        shown = (ident[index] == place + 1).nonzero().squeeze(1)
        index = index[shown]
        if len(index):
            facts = take(frame, index), take(rays, index), take(points, shown), take(near, index)
            shade, slot = _shade_object(world, number, *facts)
            colour[index] = shade
            part[index] = (slot + 4).to(torch.uint8)
    own = [(place, hit[0]) for (place, _), hit in zip(world.bodies, hits, strict=True)]
    return Trace(colour, ident, part, own)


def _shade_floor(world: World, frame: Tensor, rays: Tensor, depth: Tensor, lit: Tensor, colour: Tensor) -> None:
    """Darkens floor rays, in place, where objects keep the light away."""
    index = (lit & (depth < FAR)).nonzero().squeeze(1)
    frame = take(frame, index)
    points = columns(world.origin, frame) + take(depth, index) * take(rays, index)
    sun = columns(world.sun, frame)
    sunlight, skylight = torch.ones_like(points[0]), torch.ones_like(points[0])
    for _, body in world.bodies:
        sunlight = torch.minimum(sunlight, light_reaching(body, frame, points, sun))
        skylight = torch.minimum(skylight, ambient_reaching(body, frame, points))
    changed = ((sunlight < 1) | (skylight < 1)).nonzero().squeeze(1)
    frame, where = frame[changed], index[changed]
    direct, ambient = world.floor_sun.index_select(0, frame), world.floor_sky.index_select(0, frame)
    share = direct / (direct + ambient)
    factor = share * sunlight[changed, None] + (1 - share) * skylight[changed, None]
    colour[where] = colour[where] * factor


def _shade_object(
    world: World, number: int, frame: Tensor, rays: Tensor, points: Tensor, depth: Tensor
) -> tuple[Tensor, Tensor]:
    """Linear colours (M, 3) and paint slots (M,) of points (3, M), in its own axes, on body `number`."""
    body = world.bodies[number][1]
    phase = take(body.pose.phase, frame)
    normal = normals(body.shape, points, phase)
    slot = slots_at(body.shape, points[0], points[1], points[2], phase)
    finish = world.finishes[number]
    if finish:
        paint, slot = paint_pattern(finish, body.palette, frame, points, normal, slot)
    else:
        paint = body.palette[frame, slot]
    sun = columns(world.sun, frame)
    sun_local = into_body(body, frame, sun)
    upright = torch.tensor([[0.0], [1.0], [0.0]], device=rays.device).expand(3, len(frame))
    eye_local = -into_body(body, frame, rays)
    facing = (normal * sun_local).sum(0).clamp_(0, 1)
    up_local = into_body(body, frame, upright)
    upward = (normal * up_local).sum(0)
    place = columns(world.origin, frame) + depth * rays
    open_sun = torch.ones_like(facing)
    for other, (_, caster) in enumerate(world.bodies):
        if other != number:
            open_sun = torch.minimum(open_sun, light_reaching(caster, frame, place, sun))
        elif not body.shape.convex:
            open_sun = torch.minimum(open_sun, light_reaching(caster, frame, place, sun, bias=0.08))
    sky, sunlight = world.skylight.index_select(0, frame), world.sunlight.index_select(0, frame)
    mix = (0.5 + 0.5 * upward).unsqueeze(1)
    near_floor = (place[1] * 2.5).clamp_(0, 1).mul_(0.35).add_(0.65).unsqueeze(1)
    ambient = torch.lerp(0.6 * world.bounce.index_select(0, frame) + 0.25 * sky, sky, mix) * near_floor
    direct = sunlight * (facing * open_sun).unsqueeze(1)
    half = sun_local + eye_local
    half = half / half.norm(dim=0).clamp_(min=1e-6)
    gloss = (normal * half).sum(0).clamp_(0, 1) ** 32
    rim = (1 - (normal * eye_local).sum(0).clamp_(0, 1)) ** 3
    shine = (0.16 * gloss * open_sun).unsqueeze(1) * sunlight
    shine = shine + (0.10 * rim * (0.6 + 0.4 * upward)).unsqueeze(1) * world.horizon.index_select(0, frame)
    colour = paint * (ambient + direct * 1.12) + shine
    if finish and finish.materials != {"matte"}:
        bounce, horizon = world.bounce.index_select(0, frame), world.horizon.index_select(0, frame)
        light = Incident(eye_local, sun_local, up_local, open_sun, near_floor, sunlight, sky, bounce, horizon)
        colour = polish(finish, frame, points, normal, slot, paint, colour, light)
    return colour, slot
