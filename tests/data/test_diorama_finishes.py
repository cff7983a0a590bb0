"""Materials, patterns and styles: what they change, and what they leave alone."""

import importlib
from functools import cache
from typing import Any

import pytest
import torch

from kinema.data.diorama import Scene, render, render_many
from kinema.data.diorama.objects import SHAPES
from kinema.data.diorama.patterns import SECOND, grounds, main_coloured, pattern_mask, spot_centres
from kinema.data.diorama.scene import COLOURLESS, KINDS, MATERIALS, PATTERNS, STYLES, Motion, SceneObject
from kinema.data.diorama.shapes import distance, slots_at
from kinema.data.diorama.tracing import normals

STILL: dict[str, Any] = {"height": 64, "width": 64, "num_frames": 1, "fps": 8.0}
SMALL: dict[str, Any] = {"height": 32, "width": 48, "num_frames": 3, "fps": 2.0}
PATTERNED = [p for p in PATTERNS if p != "plain"]
POLISHED = [m for m in MATERIALS if m != "matte"]
DRAWN = [s for s in STYLES if s != "realistic"]


def one(kind="ball", colour="red", *, material="matte", pattern="plain", style="realistic", time="day", **motion):
    thing = SceneObject(
        kind=kind, colour=colour, size="large", scale=1.4, position=(0, 0, 0), yaw=20, material=material,
        pattern=pattern, motion=Motion(**motion),
    )  # fmt: skip
    return Scene(seed=0, index=0, level=0, objects=(thing,), style=style, time_of_day=time)


@cache
def surface(kind) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (3, N) spread over a kind's main-coloured surface, with normals."""
    shape = SHAPES[kind]
    generator = torch.Generator().manual_seed(1)
    points = (torch.rand(3, 20000, generator=generator) * 2 - 1) * torch.tensor(shape.half)[:, None]
    phase = torch.zeros(20000)
    for _ in range(12):
        points = points - 0.8 * distance(shape, *points, phase) * normals(shape, points, phase)
    points = points[:, distance(shape, *points, phase).abs() < 0.005]
    slot = slots_at(shape, *points, phase[: points.shape[1]])
    points = points[:, main_coloured(kind, torch.tensor(grounds(kind)[0])[slot])]
    return points, normals(shape, points, phase[: points.shape[1]])


@pytest.mark.parametrize("pattern", PATTERNED)
@pytest.mark.parametrize("kind", KINDS)
def test_the_named_colour_keeps_most_of_the_surface(kind, pattern):
    points, normal = surface(kind)
    share = float(pattern_mask(kind, pattern, points, normal).float().mean())
    assert 0.15 < share < 0.45


@pytest.mark.parametrize("kind", KINDS)
def test_spots_are_spread_over_the_surface(kind):
    spots, points = spot_centres(kind), surface(kind)[0].t()
    apart = torch.cdist(spots, spots) + 9 * torch.eye(len(spots))
    assert float(torch.cdist(points, spots).amin(1).amax()) < 0.45, "a bare patch"
    assert float(apart.amin()) > 0.25, "spots run together"


def test_slots_leave_room_for_the_second_paint():
    assert max(len(shape.slots) for shape in SHAPES.values()) + 4 <= SECOND  # see the labels in `render`


@pytest.mark.parametrize("pattern", PATTERNED)
@pytest.mark.parametrize(
    ("kind", "colour"), [("ball", "red"), ("cube", "blue"), ("car", "yellow"), ("egg", "white")]
)
def test_patterns_change_only_their_object(kind, colour, pattern):
    plain, marked = (render(one(kind, colour, pattern=p), **STILL, supersample=1) for p in ("plain", pattern))
    assert torch.equal(plain.object_ids, marked.object_ids)
    change = (plain.frames.int() - marked.frames.int()).abs().amax(-1)
    inside = plain.object_ids > 0
    assert int(change[~inside].amax()) == 0
    assert 0.1 < float((change[inside] > 90).float().mean()) < 0.5


@pytest.mark.parametrize("pattern", PATTERNED)
@pytest.mark.parametrize("action", ["roll", "spin"])
def test_patterns_move_with_the_object(action, pattern):
    """The surface point that a pixel sees rolls away; a pattern fixed in the picture would stay."""
    motion = {"action": action, "rate": 0.5, "direction": "right" if action == "roll" else "clockwise"}
    clip = render(one(pattern=pattern, **motion), height=48, width=48, num_frames=5, fps=4, supersample=1)
    centre = clip.tracks.centres[0].round().long()
    patches = [clip.frames[t, y - 6 : y + 6, x - 6 : x + 6].int() for t, (x, y) in enumerate(centre.tolist())]
    changed = (patches[1] - patches[2]).abs().amax(-1) > 60
    assert float(changed.float().mean()) > 0.15


@pytest.mark.parametrize("kind", ["ball", "cube", "house", "airplane"])
@pytest.mark.parametrize("material", POLISHED)
def test_materials_leave_the_geometry_alone(kind, material):
    matte, other = (render(one(kind, material=m), **STILL) for m in ("matte", material))
    assert torch.equal(matte.object_ids, other.object_ids)
    inside = matte.object_ids > 0
    change = (matte.frames.int() - other.frames.int()).abs().amax(-1)
    assert float(change[inside].float().mean()) > 12
    if material != "glowing":
        assert float((change[~inside] > 0).float().mean()) < 0.1, "only at its border"


def brightness(clip) -> torch.Tensor:
    return clip.frames.float() @ torch.tensor([0.299, 0.587, 0.114])


@pytest.mark.parametrize("colour", ["red", "blue", "green", "yellow", "white", "brown", "gray"])
def test_what_glows_is_bright_at_night_and_lights_its_surroundings(colour):
    matte, lamp = (render(one("cube", colour, material=m, time="night"), **STILL) for m in ("matte", "glowing"))
    inside = lamp.object_ids > 0
    assert float(brightness(lamp)[inside].mean()) > 1.2 * float(brightness(matte)[inside].mean())
    assert float(brightness(lamp)[inside].mean()) > 1.5 * float(brightness(lamp)[~inside].mean())
    y = int(inside[0].nonzero()[:, 0].float().mean())
    right = int(inside[0, y].nonzero().amax()) + 3
    gain = (lamp.frames[0, y, right].int() - matte.frames[0, y, right].int()).amax()
    assert int(gain) > 15, "no halo"
    assert int((lamp.frames[0, 2, 2].int() - matte.frames[0, 2, 2].int()).abs().amax()) <= 2, "far away"


def test_day_does_not_change_a_lamp():
    day, night = (render(one("ball", "green", material="glowing", time=t), **STILL) for t in ("day", "night"))
    middle = (slice(0, 1), slice(28, 34), slice(28, 34))
    assert int((day.frames[middle].int() - night.frames[middle].int()).abs().amax()) <= 2


@pytest.mark.parametrize("colour", ["red", "blue", "white", "black"])
def test_a_shiny_ball_has_a_crisp_highlight(colour):
    clip = render(one("ball", colour, material="shiny"), **STILL)
    light = brightness(clip)[clip.object_ids > 0]
    assert float(light.amax()) > 225
    assert 0.005 < float((light > 220).float().mean()) < 0.25


def test_metal_mirrors_light_and_dark():
    matte, metal = (render(one("ball", "green", material=m), **STILL) for m in ("matte", "metallic"))
    inside = (matte.object_ids > 0)[0]
    assert float(brightness(metal)[0][inside].std()) > 1.5 * float(brightness(matte)[0][inside].std())


@pytest.mark.parametrize("style", DRAWN)
@pytest.mark.parametrize("time", ["day", "night"])
def test_styles_keep_the_truth_and_do_not_flicker(style, time):
    real, drawn = (render(one("car", style=s, time=time), **SMALL) for s in ("realistic", style))
    assert torch.equal(real.object_ids, drawn.object_ids)
    assert torch.equal(drawn.frames[0], drawn.frames[1])
    assert float((real.frames.int() - drawn.frames.int()).abs().float().mean()) > 3


@pytest.mark.parametrize("style", sorted(COLOURLESS))
def test_colours_are_gone(style):
    first, second = (render(one("cube", c, style=style), **STILL).frames.float() for c in ("red", "green"))
    for frames in (first, second):
        red, green, blue = frames.unbind(-1)
        if style == "sepia":  # one hue throughout
            assert float((green - 0.84 / 1.04 * red).abs().amax()) < 3
            assert float((blue - 0.60 / 1.04 * red).abs().amax()) < 3
        else:
            assert float((frames.amax(-1) - frames.amin(-1)).amax()) < 8


@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 70), (20, 33)])
def test_pixel_art_has_blocks_and_few_colours(height, width):
    frame = render(
        one("duck", "yellow", style="pixel art"), height=height, width=width, num_frames=1, fps=8
    ).frames[0]
    size = round(min(height, width) / 16)
    corners = frame[::size, ::size]
    assert torch.equal(corners.repeat_interleave(size, 0).repeat_interleave(size, 1)[:height, :width], frame)
    assert len(corners.flatten(0, 1).unique(dim=0)) <= 48


def test_a_cartoon_has_dark_outlines():
    clip = render(one("ball", "yellow", style="cartoon"), **STILL)
    inside = clip.object_ids[0] > 0
    near = torch.nn.functional.max_pool2d(inside[None].float(), 3, 1, 1)[0] > 0
    assert float(brightness(clip)[0][near & ~inside].amax()) < 40


@pytest.mark.parametrize("style", DRAWN)
@pytest.mark.parametrize("size", [(1, 1), (2, 7), (9, 4)])
def test_tiny_pictures_have_styles_and_halos_too(style, size):
    clip = render(
        one(style=style, material="glowing"), height=size[0], width=size[1], num_frames=2, fps=8, supersample=1
    )
    assert clip.frames.shape == (2, *size, 3)


def test_a_lamp_that_changes_colour():
    scene = one("ball", "black", material="glowing", action="change colour", colour_to="white", time="night")
    clip = render(scene, height=32, width=32, num_frames=3, fps=2)
    inside = clip.object_ids[0] > 0
    assert float(brightness(clip)[2][inside].mean()) > 2 * float(brightness(clip)[0][inside].mean())


def test_mixed_scenes_rendered_together_equal_scenes_rendered_alone(monkeypatch):
    scenes = [one("ball", "blue")]
    scenes += [one("ball", material=material) for material in POLISHED]
    scenes += [one("ball", "green", pattern=p, action="roll", rate=0.6, direction="left") for p in PATTERNED]
    scenes += [one("cube", style=style, pattern="striped") for style in DRAWN]
    scenes += [one("car", "white", material="shiny", pattern="checkered", style="cartoon")]
    alone = [render(scene, **SMALL) for scene in scenes]
    module = importlib.import_module("kinema.data.diorama.render")
    monkeypatch.setitem(module.BATCH_PIXELS, "cpu", 10**6)
    for single, other in zip(alone, render_many(scenes, **SMALL), strict=True):
        assert torch.equal(single.object_ids, other.object_ids)
        change = (single.frames.int() - other.frames.int()).abs()
        assert float((change > 1).float().mean()) < 0.001  # rounding may tip a pixel over a step of a palette
    again = [render(scene, **SMALL) for scene in scenes]
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(alone, again, strict=True))
