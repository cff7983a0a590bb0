"""From scenes to pixels: frames, object numbers, tracks and camera poses.

    clip = render(sample_scene(0, 7), height=64, width=64, num_frames=17, fps=8)
    clip.frames  # (17, 64, 64, 3) uint8

One thread of a CPU makes about 500 frames a second of a simple scene at 64 × 64, 250 with anti-aliasing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .cameras import CameraPath, camera_path, pixel_rays, project
from .finishes import add_halos
from .lighting import Trace, World, build_world, trace
from .motions import Clock, Pose, clock
from .scene import Scene
from .shading import backdrop
from .styles import stylise

BATCH_PIXELS = {"cpu": 1, "cuda": 4_000_000}  # per pass; on a CPU each clip is a pass, which fits its caches


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
class _Film:
    """What all clips of a pass share."""

    height: int
    width: int
    side: int  # rays per pixel side at edges
    time: Clock

    @property
    def pixels(self) -> int:
        return self.height * self.width

    def angle(self, path: CameraPath) -> float:
        """Of a pixel, radians."""
        return 2 / min(self.height, self.width) / path.focal


@dataclass(frozen=True)
class _View:
    """One scene without its objects."""

    scene: Scene
    path: CameraPath
    rays: Tensor  # (T * H * W, 3) unit, of pixel centres
    base: Tensor  # (T * H * W, 3) linear colour
    depth: Tensor  # (T * H * W,) of the floor
    layer: Tensor  # (T * H * W,) uint8
    fine: (
        tuple[Tensor, Tensor, Tensor, Tensor] | None
    )  # rays, base, depth, layer of every sub-pixel, if all frames share


def render(
    scene: Scene, *, height: int, width: int, num_frames: int, fps: float,
    device: torch.device | str = "cpu", supersample: int = 2,
) -> Rendering:  # fmt: skip
    """The scene as a clip of any size, length (num_frames / fps seconds) and rate.

    Pixels at edges get supersample² rays, others one; 1 turns anti-aliasing of objects off. Equal arguments give
    equal bytes on one device. Raises ValueError for sizes below 1.
    """
    return render_many(
        [scene], height=height, width=width, num_frames=num_frames, fps=fps, device=device, supersample=supersample
    )[0]


def render_many(
    scenes: Sequence[Scene], *, height: int, width: int, num_frames: int, fps: float,
    device: torch.device | str = "cpu", supersample: int = 2,
) -> list[Rendering]:  # fmt: skip
    """`render` for each scene; on a GPU many clips go in one pass."""
    if min(height, width, num_frames, supersample) < 1 or fps <= 0:
        raise ValueError(
            "height, width, num_frames and supersample must be at least 1 and fps above 0; "
            f"got {height}, {width}, {num_frames}, {supersample} and {fps}"
        )
    device = torch.device(device)
    room = BATCH_PIXELS.get(device.type, BATCH_PIXELS["cuda"])
    step = max(1, room // (height * width * num_frames))
    # a caller's autocast (a validation that renders as it goes) must not reach the geometry
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        film = _Film(height, width, supersample, clock(num_frames, fps, device))
        passes = [_render(list(scenes[i : i + step]), film) for i in range(0, len(scenes), step)]
    return [clip for each in passes for clip in each]


def _render(scenes: list[Scene], film: _Film) -> list[Rendering]:
    views = [_view(scene, film) for scene in scenes]
    world, poses = build_world(scenes, film.time, torch.cat([view.path.position for view in views]))
    count = len(world.origin)
    frame = torch.arange(count, device=world.origin.device).repeat_interleave(film.pixels)
    rays = _joined([view.rays for view in views]).t().contiguous()
    base, depth, layer = (_joined([getattr(v, name) for v in views]) for name in ("base", "depth", "layer"))
    seen = trace(world, frame, rays, base, depth, layer)
    colour = seen.colour.clamp_(0, 1).sqrt_()
    if film.side > 1:
        edge = _edges(colour, seen, count, film).nonzero().squeeze(1)
        colour[edge] = _refine(world, views, edge, film)
    shape = (len(scenes), -1, film.height, film.width)
    colour, idents = colour.view(*shape, 3), seen.ident.view(shape)
    if world.glow is not None:
        colour = add_halos(colour.flatten(0, 1), idents.flatten(0, 1), world.glow).view(*shape, 3)
    for number, scene in enumerate(scenes):
        if scene.style != "realistic":
            colour[number] = stylise(colour[number], idents[number], scene.style, scene.time_of_day)
    frames = (colour * 255 + 0.5).to(torch.uint8)
    tracks = _tracks(views, poses, seen, frame, film)
    return [Rendering(*parts) for parts in zip(frames, idents, tracks, (v.path for v in views), strict=True)]


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _view(scene: Scene, film: _Film) -> _View:
    time, count = film.time, len(film.time.seconds)
    path = camera_path(scene.camera, time)
    still = path.still and scene.floor != "water"  # the backdrop is the same in every frame
    rays = pixel_rays(path, film.height, film.width)
    if still:
        base, depth, layer = backdrop(scene, path.position[:1], rays[0], film.angle(path))
        fine = None
        if film.side > 1:
            fine_rays = pixel_rays(path, film.height, film.width, film.side)[0]
            fine = (fine_rays, *backdrop(scene, path.position[:1], fine_rays, film.angle(path) / film.side))
            base = fine[1].view(film.pixels, -1, 3).mean(1)
        rays = rays.expand(count, -1, -1).reshape(-1, 3)
        return _View(scene, path, rays, base.repeat(count, 1), depth.repeat(count), layer.repeat(count), fine)
    rays = rays.expand(count, -1, -1).reshape(-1, 3)
    origin = path.position[:1] if path.still else path.position.repeat_interleave(film.pixels, 0)
    seconds = time.seconds.repeat_interleave(film.pixels)
    return _View(scene, path, rays, *backdrop(scene, origin, rays, film.angle(path), seconds), None)


def _edges(colour: Tensor, seen: Trace, frames: int, film: _Film) -> Tensor:
    """Mask (N,) of pixels whose neighbour shows another thing, or the same object in another light."""
    shape = (frames, film.height, film.width)
    label = (seen.ident.to(torch.int16) * 32 + seen.part.to(torch.int16)).view(shape)
    thing = (seen.ident > 0).view(shape)
    tone = colour.view(*shape, 3)
    mask = torch.zeros_like(thing)
    for axis in (1, 2):
        one = (slice(None),) * axis + (slice(0, shape[axis] - 1),)
        two = (slice(None),) * axis + (slice(1, shape[axis]),)
        crease = ((tone[one] - tone[two]).abs().amax(-1) > 0.09) & thing[one] & thing[two]
        differs = (label[one] != label[two]) | crease
        mask[one] |= differs
        mask[two] |= differs
    return mask.view(-1)


def _refine(world: World, views: list[_View], edge: Tensor, film: _Film) -> Tensor:
    """Stored colours (M, 3) of the given pixels (numbered over all frames, ascending), from side² rays each."""
    many, clip = film.side**2, film.pixels * len(film.time.seconds)
    bounds = torch.arange(len(views) + 1, device=edge.device) * clip
    starts = torch.searchsorted(edge, bounds).tolist()
    parts = [
        _fine_backdrop(view, edge[start:end] - number * clip, film)
        for number, (view, start, end) in enumerate(zip(views, starts[:-1], starts[1:], strict=True))
    ]
    rays, base, depth, layer = (_joined([part[i] for part in parts]) for i in range(4))
    frame = (edge // film.pixels).repeat_interleave(many)
    seen = trace(world, frame, rays.t().contiguous(), base, depth, layer)
    return seen.colour.clamp_(0, 1).view(-1, many, 3).mean(1).sqrt_()


def _fine_backdrop(view: _View, edge: Tensor, film: _Film) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rays, colour, depth and layer of the sub-pixels of one clip's pixels (numbered over its frames)."""
    many = film.side**2
    frame = (edge // film.pixels).repeat_interleave(many)
    sample = ((edge % film.pixels)[:, None] * many + torch.arange(many, device=edge.device)).view(-1)
    if view.fine:
        return tuple(part[sample] for part in view.fine)  # type: ignore[return-value]
    path = view.path
    every = pixel_rays(path, film.height, film.width, film.side)
    rays = every[0, sample] if path.still else every[frame, sample]
    angle = film.angle(path) / film.side
    return (rays, *backdrop(view.scene, path.position[frame], rays, angle, film.time.seconds[frame]))


def _tracks(views: list[_View], poses: list[list[Pose]], seen: Trace, frame: Tensor, film: _Film) -> list[Tracks]:
    per_clip = len(film.time.seconds)
    count = len(views) * per_clip
    places = max(len(p) for p in poses)
    own = torch.zeros(places, count, device=frame.device)
    for place, index in seen.own:
        own[place] += torch.bincount(frame[index], minlength=count)
    shown = [torch.bincount(frame[seen.ident == place + 1], minlength=count).float() for place in range(places)]
    half = min(film.height, film.width) / 2
    tracks = []
    for number, view in enumerate(views):
        things, span = len(poses[number]), slice(number * per_clip, (number + 1) * per_clip)
        spots, _ = project(view.path, torch.stack([pose.centre for pose in poses[number]]))
        centres = torch.stack([film.width / 2 + spots[..., 0] * half, film.height / 2 - spots[..., 1] * half], -1)
        whole, visible = own[:things, span], torch.stack(shown[:things])[:, span]
        tracks.append(Tracks(centres, visible / whole.clamp(min=1), visible / film.pixels))
    return tracks
