"""Sky, skyline and floor: everything that is not an object. Colours are linear light, 0 to about 1.

Linear light is the square of the stored value (gamma 2), close to sRGB and cheap.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .scene import Scene, TimeOfDay

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """A time of day. Sky colours are stored values (gamma 2), light colours are linear."""

    zenith: Triple
    horizon: Triple
    sun: Triple  # direct light on the world
    ambient: Triple  # light from the sky
    object_sun: Triple  # direct light on objects: less tinted, so that their colours stay recognisable
    object_ambient: Triple
    elevation: float  # of the sun or moon, degrees
    haze: float  # how much the far floor takes the horizon's colour
    stars: bool = False


LIGHTS: dict[TimeOfDay, Light] = {
    "day": Light(
        (0.25, 0.52, 0.90), (0.74, 0.87, 0.97), (0.80, 0.77, 0.70), (0.32, 0.36, 0.42),
        (0.80, 0.78, 0.74), (0.42, 0.44, 0.47), 43, 0.75,
    ),
    "sunset": Light(
        (0.36, 0.33, 0.62), (0.99, 0.62, 0.34), (0.80, 0.48, 0.26), (0.26, 0.20, 0.24),
        (0.80, 0.69, 0.58), (0.37, 0.34, 0.36), 24, 0.8,
    ),
    "dawn": Light(
        (0.50, 0.62, 0.85), (0.98, 0.80, 0.80), (0.58, 0.48, 0.48), (0.30, 0.30, 0.37),
        (0.66, 0.61, 0.60), (0.38, 0.38, 0.41), 30, 0.8,
    ),
    "night": Light(
        (0.03, 0.05, 0.16), (0.13, 0.19, 0.38), (0.12, 0.15, 0.24), (0.05, 0.065, 0.12),
        (0.48, 0.50, 0.55), (0.21, 0.22, 0.26), 45, 0.8, True,
    ),
}  # fmt: skip

FLOORS: dict[str, tuple[Triple, Triple]] = {  # two stored tones that each floor varies between
    "grass": ((0.30, 0.52, 0.20), (0.44, 0.64, 0.27)),
    "sand": ((0.78, 0.66, 0.44), (0.88, 0.77, 0.56)),
    "snow": ((0.84, 0.88, 0.95), (0.96, 0.97, 1.00)),
    "wood": ((0.46, 0.29, 0.15), (0.74, 0.53, 0.33)),
    "checkered": ((0.30, 0.32, 0.38), (0.88, 0.87, 0.84)),
    "stone": ((0.50, 0.50, 0.52), (0.62, 0.62, 0.63)),
    "road": ((0.25, 0.25, 0.27), (0.33, 0.33, 0.35)),
    "water": ((0.10, 0.34, 0.52), (0.22, 0.52, 0.68)),
}


def linear(colour: Triple, device: torch.device | str = "cpu") -> Tensor:
    """A stored colour as linear light (3,)."""
    return torch.tensor(colour, device=device) ** 2


def sun_direction(scene: Scene, device: torch.device | str = "cpu") -> Tensor:
    """Unit vector (3,) towards the sun or moon; it stands behind the camera to one side."""
    elevation = math.radians(LIGHTS[scene.time_of_day].elevation)
    azimuth = math.radians(scene.sun_azimuth)
    flat = math.cos(elevation)
    return torch.tensor([flat * math.sin(azimuth), math.sin(elevation), flat * math.cos(azimuth)], device=device)


def hashed(x: Tensor, y: Tensor, seed: int) -> Tensor:
    """A number in [0, 1) for each whole-number pair."""
    h = (
        x.to(torch.int32) * 374761393 + y.to(torch.int32) * 668265263 + ((seed % 65521) * 974711 & 0x7FFFFFFF)
    ) & 0x7FFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0x7FFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFF).to(torch.float32) * (1 / 65536)


def noise(x: Tensor, y: Tensor, seed: int) -> Tensor:
    """Smooth value noise of unit cells, in [0, 1]."""
    x0, y0 = x.floor(), y.floor()
    u, v = x - x0, y - y0
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    low = torch.lerp(hashed(x0, y0, seed), hashed(x0 + 1, y0, seed), u)
    high = torch.lerp(hashed(x0, y0 + 1, seed), hashed(x0 + 1, y0 + 1, seed), u)
    return torch.lerp(low, high, v)


def _checks(x: Tensor, y: Tensor, footprint: Tensor) -> Tensor:
    """Unit checks in [0, 1], averaged over the footprint (Quilez, "Filtering procedural textures")."""

    def wave(a: Tensor) -> Tensor:
        w = footprint.clamp(min=1e-3)

        def triangle(b: Tensor) -> Tensor:
            return (((b * 0.5).remainder(1.0)) - 0.5).abs()

        return 2 * (triangle(a - 0.5 * w) - triangle(a + 0.5 * w)) / w

    return 0.5 - 0.5 * wave(x) * wave(y)


def floor_tone(scene: Scene, x: Tensor, z: Tensor, footprint: Tensor, seconds: Tensor | float) -> Tensor:
    """Position of floor points between the floor's two tones, in [0, 1]. `footprint`: pixel size there."""
    seed = scene.texture_seed

    def layer(size_x: float, size_z: float, salt: int) -> Tensor:
        fade = (1 - footprint / (0.9 * min(size_x, size_z))).clamp_(0, 1)
        return (noise(x / size_x, z / size_z, seed + salt) - 0.5) * fade

    if scene.floor == "checkered":
        return _checks(x / 0.8 + 0.5, z / 0.8, footprint / 0.8)
    if scene.floor == "wood":
        plank = (z / 0.45).floor()
        seam = ((z / 0.45).remainder(1.0) < 0.07).float() * (1 - footprint / 0.2).clamp(0, 1)
        return 0.5 + (hashed(plank, plank, seed) - 0.5) * 0.5 + 0.5 * layer(1.4, 0.09, 1) - 0.8 * seam
    if scene.floor == "water":
        drift = 0.25 * seconds
        waves = noise(x / 0.9 + drift, z / 0.3 - 0.6 * drift, seed) + noise(
            x / 0.6 - drift, z / 0.2 + drift, seed + 1
        )
        return 0.5 + (0.65 * waves - 0.65) * (1 - footprint / 0.5).clamp(0, 1)
    if scene.floor == "sand":
        return 0.5 + 0.5 * layer(1.2, 0.35, 1) + 0.35 * layer(0.12, 0.12, 2)
    if scene.floor == "snow":
        return 0.7 + 0.7 * layer(1.6, 0.9, 1) + 0.2 * layer(0.1, 0.1, 2)
    return 0.5 + 0.6 * layer(0.9, 0.7, 1) + 0.7 * layer(0.13, 0.17, 2)


def skyline(scene: Scene, azimuth: Tensor, rise: Tensor, pixel: float) -> tuple[Tensor, Tensor, Tensor]:
    """The background at directions given by azimuth (radians) and rise (tangent of elevation).

    Returns its height there, as a tangent; its shade in [0, 1]; and how much it glows or is snowy, in [0, 1].
    """
    seed, none = scene.texture_seed, torch.zeros_like(azimuth)
    if scene.background == "hills":
        swell = 0.10 * noise(azimuth * 3.5, none, seed) + 0.02 * noise(azimuth * 9, none, seed + 1)
        return 0.05 + swell, none + 0.5, none
    if scene.background == "mountains":
        a = azimuth * 4
        ridge = 1 - (a.remainder(1.0) - 0.5).abs() * 2  # peaks at half cells, of different heights
        height = 0.05 + ridge * (0.08 + 0.12 * hashed(a.floor(), a.floor(), seed))
        shade = (a.remainder(1.0) > 0.5).float() * 0.5 + 0.25  # one flank of each peak is in the light
        cap = (rise > 0.115 + 0.02 * noise(azimuth * 40, none, seed + 3)).float() * 0.6
        return height + 0.03 * noise(azimuth * 25, none, seed + 2), shade, cap
    block = (azimuth * 16).floor()
    height = 0.05 + 0.17 * hashed(block, none, seed)
    column, row = (azimuth * 64).floor(), (rise * 55).floor()
    pane = ((azimuth * 64).remainder(1.0) - 0.5).abs() < 0.3
    pane &= ((rise * 55).remainder(1.0) - 0.5).abs() < 0.3
    lit = pane & (hashed(column, row, seed + 4) > 0.5) & (rise < height - 0.012)
    return height, hashed(block, none + 1, seed), lit.float() * max(0.0, 1 - pixel / 0.02)


SKYLINE_TONES: dict[str, tuple[Triple, Triple]] = {
    "hills": ((0.36, 0.56, 0.36), (0.45, 0.64, 0.42)),
    "mountains": ((0.42, 0.46, 0.56), (0.60, 0.63, 0.72)),
    "city": ((0.44, 0.47, 0.55), (0.60, 0.62, 0.68)),
}


def _road(scene: Scene, asphalt: Tensor, x: Tensor, z: Tensor, footprint: Tensor) -> Tensor:
    """Asphalt along x with lane marks, and grass beside it."""

    def within(value: Tensor, half: float) -> Tensor:
        """1 inside ±half, 0 outside, blurred over the footprint."""
        return ((half - value.abs()) / footprint.clamp(min=0.01) + 0.5).clamp(0, 1).unsqueeze(-1)

    low, high = (linear(c, x.device) for c in FLOORS["grass"])
    grass = torch.lerp(
        low, high, (0.5 + 0.5 * (noise(x / 0.7, z / 0.6, scene.texture_seed + 3) - 0.5)).unsqueeze(-1)
    )
    paint = torch.tensor([0.75, 0.75, 0.72], device=x.device)
    dash = within((x / 1.2).remainder(1.0) * 1.2 - 0.6, 0.35) * within(z + 0.75, 0.05)
    edge = within((z + 0.75).abs() - 1.5, 0.05)
    return torch.lerp(torch.lerp(grass, asphalt, within(z + 0.75, 1.65)), paint, torch.maximum(dash, edge))


def backdrop(
    scene: Scene, origin: Tensor, rays: Tensor, pixel: float, seconds: Tensor | float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """What rays see without objects.

    Args: origin (N, 3) or (1, 3); rays (N, 3) unit; pixel: angle of one ray's footprint, radians; seconds: time,
    for all rays or each (N,); only water needs it.
    Returns: linear colour (N, 3); distance to the floor (N,), infinite off it; layer (N,) uint8: 0 sky,
    1 skyline, 2 floor.
    """
    light, device = LIGHTS[scene.time_of_day], rays.device
    dx, dy, dz = rays.unbind(-1)
    height = origin[:, 1].expand_as(dy)
    on_floor = dy < -1e-4
    depth = torch.where(on_floor, height / (-dy).clamp(min=1e-4), torch.full_like(dy, torch.inf))
    layer = on_floor.to(torch.uint8) * 2

    horizon, zenith = linear(light.horizon, device), linear(light.zenith, device)
    rise = (dy.clamp(min=0) * 2.2).clamp(max=1).sqrt()
    colour = torch.lerp(horizon, zenith, rise.unsqueeze(-1))

    above = (~on_floor).nonzero().squeeze(1)
    if len(above):
        colour[above] = _sky_details(scene, colour[above], rays[above], pixel)
    if scene.background != "plain" and len(above):
        ax, ay, az = rays[above].unbind(-1)
        rise = ay / torch.sqrt(ax * ax + az * az)
        top, shade, accent = skyline(scene, torch.atan2(ax, -az), rise, pixel)
        hit = rise < top
        low, high = (linear(c, device) for c in SKYLINE_TONES[scene.background])
        lit = torch.tensor(light.sun, device=device) * 0.7 + torch.tensor(light.ambient, device=device)
        solid = torch.lerp(torch.lerp(low, high, shade.unsqueeze(-1)) * lit, horizon, 0.35)
        if scene.background == "city":  # windows: dark by day, lit by night
            bright = torch.tensor([0.80, 0.62, 0.25], device=device) if light.stars else solid * 0.6
            solid = torch.lerp(solid, bright.expand_as(solid), 0.8 * accent.unsqueeze(-1))
        else:
            solid = torch.lerp(solid, torch.tensor([0.85, 0.88, 0.95], device=device) * lit, accent.unsqueeze(-1))
        colour[above] = torch.where(hit.unsqueeze(-1), solid, colour[above])
        layer[above] = hit.to(torch.uint8)

    below = on_floor.nonzero().squeeze(1)
    if len(below):
        far = depth[below]
        start = origin[below] if len(origin) > 1 else origin
        x, z = start[:, 0] + far * dx[below], start[:, 2] + far * dz[below]
        footprint = pixel * far / (-dy[below]).clamp(min=0.05)
        when = seconds[below] if isinstance(seconds, Tensor) and seconds.ndim else seconds
        tone = floor_tone(scene, x, z, footprint, when).clamp_(0, 1).unsqueeze(-1)
        low, high = (linear(c, device) for c in FLOORS[scene.floor])
        ground = torch.lerp(low, high, tone)
        if scene.floor == "road":
            ground = _road(scene, ground, x, z, footprint)
        sun_up = math.sin(math.radians(light.elevation))
        lit = torch.tensor(light.sun, device=device) * sun_up + torch.tensor(light.ambient, device=device)
        if scene.floor == "water":  # it keeps its blue in coloured light
            lit = torch.lerp(lit, lit.mean().expand(3), 0.7)
        ground = ground * lit
        if scene.floor == "water":  # the sky in it, more at a flat angle (Schlick)
            ground = torch.lerp(ground, horizon, 0.04 + 0.4 * (1 + dy[below, None]) ** 5)
        haze = light.haze if scene.background == "plain" else 0.35
        fade = haze * (1 - torch.exp(-((far / 28) ** 2)))
        colour[below] = torch.lerp(ground, horizon, fade.unsqueeze(-1))
    return colour, depth, layer


def _sky_details(scene: Scene, colour: Tensor, rays: Tensor, pixel: float) -> Tensor:
    """Clouds by day, stars by night."""
    dx, dy, dz = rays.unbind(-1)
    light, device = LIGHTS[scene.time_of_day], rays.device
    if light.stars:
        cell = 0.035
        u, v = torch.atan2(dx, -dz) / cell, dy / cell
        iu, iv = u.floor(), v.floor()
        there = hashed(iu, iv, scene.texture_seed + 5) > 0.9
        cx = 0.25 + 0.5 * hashed(iu, iv, scene.texture_seed + 6)
        cy = 0.25 + 0.5 * hashed(iu, iv, scene.texture_seed + 7)
        size = max(0.16, 0.5 * pixel / cell)
        glow = (1 - ((u - iu - cx) ** 2 + (v - iv - cy) ** 2) / size**2).clamp_(0, 1) * there
        if scene.moon:
            colour = _moon(scene.moon, colour, rays, pixel)
        return colour + glow.unsqueeze(-1) * torch.tensor([0.75, 0.78, 0.85], device=device)
    u, v = dx / (dy + 0.12), -dz / (dy + 0.12)
    seed = scene.texture_seed
    cover = 0.65 * noise(u * 1.1, v * 1.1, seed + 8) + 0.35 * noise(u * 2.7, v * 2.7, seed + 9)
    cover = ((cover - 0.52) * 3.5).clamp_(0, 0.8) * (dy * 8).clamp(0, 1)
    bright = torch.tensor(light.sun, device=device) * 0.55 + torch.tensor([0.42, 0.42, 0.44], device=device)
    return torch.lerp(colour, bright, cover.unsqueeze(-1))


def _moon(place: tuple[float, float], colour: Tensor, rays: Tensor, pixel: float) -> Tensor:
    """A disc of 3 degrees with a halo, at (azimuth, elevation) degrees."""
    azimuth, elevation = map(math.radians, place)
    flat = math.cos(elevation)
    centre = torch.tensor(
        [flat * math.sin(azimuth), math.sin(elevation), -flat * math.cos(azimuth)], device=rays.device
    )
    off = (rays - centre).norm(dim=-1)
    disc = ((0.05 - off) / max(pixel, 1e-3) + 0.5).clamp(0, 1).unsqueeze(-1)
    halo = 0.10 * torch.exp(-((off / 0.12) ** 2)).unsqueeze(-1)
    tone = torch.tensor([0.92, 0.90, 0.80], device=rays.device)
    return torch.lerp(colour + halo * tone, tone, disc)
