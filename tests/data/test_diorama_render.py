"""Pixels, tracks and physics of rendered scenes."""

import importlib
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.data.diorama import DioramaDataset, Scene, render, render_many, sample_scene
from kinema.data.diorama.motions import GRAVITY, clock, fall_height, fall_start, object_pose
from kinema.data.diorama.objects import SHAPES
from kinema.data.diorama.scene import KINDS, TRAVEL, Camera, Motion, SceneObject
from kinema.data.diorama.shapes import distance

SMALL: dict[str, Any] = {"height": 32, "width": 32, "num_frames": 5, "fps": 2.0}


def one(
    kind="ball", colour="red", *, floor="grass", time_of_day="day", position=(0.0, 0.0, 0.0), **motion
) -> Scene:
    thing = SceneObject(
        kind=kind, colour=colour, size="large", scale=1.4, position=(0, 0, 0), motion=Motion(**motion)
    )
    return Scene(seed=0, index=0, level=0, objects=(thing,), floor=floor, time_of_day=time_of_day)


def test_shapes_and_types():
    clip = render(sample_scene(0, 0, difficulty=(3, 3)), height=24, width=40, num_frames=3, fps=4)
    count = len(sample_scene(0, 0, difficulty=(3, 3)).objects)
    assert clip.frames.shape == (3, 24, 40, 3) and clip.frames.dtype == torch.uint8
    assert clip.object_ids.shape == (3, 24, 40) and int(clip.object_ids.max()) <= count
    assert clip.tracks.centres.shape == (count, 3, 2) and clip.tracks.visibility.shape == (count, 3)
    assert clip.cameras.position.shape == (3, 3) and clip.cameras.rotation.shape == (3, 3, 3)


@pytest.mark.parametrize("level", [0, 3])
def test_equal_arguments_give_equal_pixels(level):
    scene = sample_scene(3, 11, difficulty=(level, level))
    assert torch.equal(render(scene, **SMALL).frames, render(Scene.from_json(scene.to_json()), **SMALL).frames)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 3), st.sampled_from(["train", "heldout"]))
def test_every_object_is_seen(index: int, level: int, split):
    scene = sample_scene(2, index, split=split, difficulty=(level, level))
    clip = render(scene, **SMALL, supersample=1)
    area, shown = clip.tracks.area, clip.tracks.visibility
    if scene.pair_events:  # one may hide the other for a while
        assert bool((shown[:, [0, -1]] > 0.5).all()), "an object is hidden or out of frame at an end"
        assert float(area.amax(1).amin()) > 0.003
    else:
        assert bool((shown[0] > 0.3).all()), "the subject is hidden or out of frame"
        assert float(area[0].amax()) > 0.008
        assert bool(((shown > 0.2).float().mean(1) >= 0.6).all())
    for number in range(len(scene.objects)):
        assert float((clip.object_ids == number + 1).float().mean()) == pytest.approx(
            float(area[number].mean()), abs=1e-6
        )


def test_a_large_object_fills_a_third_of_the_frame():
    heights = []
    for index in range(12):
        clip = render(
            sample_scene(4, index, difficulty=(0, 0)), height=48, width=48, num_frames=1, fps=8, supersample=1
        )
        heights.append(float((clip.object_ids[0] > 0).any(1).float().mean()))
    assert 0.26 < sum(heights) / len(heights) < 0.5


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 3))
def test_tracks_go_the_way_the_scene_says(index: int, level: int):
    scene = sample_scene(6, index, difficulty=(level, level))
    clip = render(scene, **SMALL, supersample=1)
    motion, track = scene.objects[0].motion, clip.tracks.centres[0]
    if scene.camera.move != "static" or scene.pair_events or any(scene.second_motions):
        return  # for those see test_diorama_events
    if motion.direction in ("left", "right"):
        steps = track[:, 0].diff() * (1 if motion.direction == "right" else -1)
        assert bool((steps > 0.2).all())
    if motion.action == "rise":
        assert float(track[-1, 1] - track[0, 1]) < -1.5
    if motion.action == "fall":
        assert float(track[-1, 1] - track[0, 1]) > 1.5


@pytest.mark.parametrize("direction", ["left", "right"])
def test_the_picture_moves_with_the_track(direction):
    scene = one("car", action="drive", direction=direction, rate=0.7)
    clip = render(scene, **SMALL)
    seen = clip.object_ids == 1
    columns = torch.arange(32) + 0.5
    means = (seen.float().sum(1) * columns).sum(-1) / seen.sum((1, 2))
    assert torch.allclose(means, clip.tracks.centres[0, :, 0], atol=1.5)


def test_what_falls_obeys_gravity():
    time = clock(60, 30.0)
    drop = 1.6
    scene = one(action="fall", height=drop)
    height = object_pose(scene.objects[0], time).centre[:, 1] - 0.5 * 1.4
    begin = fall_start(time.span, drop)
    free = (time.progress > begin) & (height > 0.05) & (time.progress < begin + (2 * drop / GRAVITY) ** 0.5)
    t = time.progress[free].double()
    powers = torch.stack([t**2, t, torch.ones_like(t)], 1)
    fit = torch.linalg.lstsq(powers, height[free].double()).solution
    assert float(fit[0]) == pytest.approx(-GRAVITY / 2, rel=0.01)
    assert float((powers @ fit - height[free]).abs().amax()) < 1e-3
    assert float(height[-1]) == pytest.approx(0, abs=1e-4)
    assert float(fall_height(torch.tensor([0.0]), drop)) == pytest.approx(drop)


def test_what_bounces_obeys_gravity_between_touches():
    time = clock(90, 60.0)
    height = object_pose(one(action="bounce", height=1.1).objects[0], time).centre[:, 1].double() - 0.7
    bend = height.diff().diff() * 60**2
    touching = bend > 0  # the floor's push
    assert float(bend[~touching].mean()) == pytest.approx(-GRAVITY, rel=0.02)
    assert 0 < int(touching.sum()) <= 4
    assert float(height.amin()) >= -1e-4 and float(height.amax()) == pytest.approx(1.1, rel=0.01)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 3))
def test_nothing_sinks_into_the_floor(index: int, level: int):
    scene = sample_scene(9, index, difficulty=(level, level))
    for thing in scene.objects:
        pose = object_pose(thing, clock(9, 4.0))
        if thing.motion.action not in ("roll", "waddle", "sail", "fly", "swing"):
            assert bool((pose.centre[:, 1] >= SHAPES[thing.kind].half[1] * pose.scale - 1e-4).all())


def test_a_rolling_ball_turns_by_the_way_it_goes():
    thing = one(action="roll", direction="right", rate=0.7).objects[0]
    pose = object_pose(thing, clock(9, 4.0))
    way = pose.centre[:, 0] - pose.centre[0, 0]
    turned = pose.rotation @ pose.rotation[0].T
    angle = torch.atan2(turned[:, 1, 0], turned[:, 0, 0])
    assert torch.allclose(angle, -way / 0.7, atol=1e-4)  # clockwise as seen by the viewer


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_fill_their_boxes_and_march_safely(kind):
    shape = SHAPES[kind]
    half = torch.tensor(shape.half)
    generator = torch.Generator().manual_seed(0)
    points = (torch.rand(20000, 3, generator=generator) * 2 - 1) * (half + 0.1)
    phase = torch.full((len(points),), 1.57)  # in mid-stride, engine on
    gap = distance(shape, *points.unbind(1), phase)
    inside = points[gap < 0]
    assert len(inside) > 300
    assert bool((inside.abs() <= half + shape.slack + 0.005).all()), "the shape sticks out of its box"
    assert bool((inside.abs().amax(0) > half - 0.12).all()), "the box is too large"
    # From any outside point a step of the stated distance must not jump through the surface.
    outside = points[gap > 0.02][:4000]
    step = torch.nn.functional.normalize(torch.randn(len(outside), 3, generator=generator), dim=1)
    reach = distance(shape, *outside.unbind(1), phase[: len(outside)])
    landed = distance(shape, *(outside + 0.9 * reach[:, None] * step).unbind(1), phase[: len(outside)])
    assert float((landed < -0.01).float().mean()) < 0.01


@pytest.mark.parametrize("floor", ["snow", "grass", "wood"])
def test_night_is_darker_than_day_but_colours_stay(floor):
    day, night = (
        render(one("cube", time_of_day=time, floor=floor), height=32, width=32, num_frames=1, fps=8)
        for time in ("day", "night")
    )
    assert float(night.frames.float().mean()) < 0.6 * float(day.frames.float().mean())
    red = night.frames[night.object_ids == 1].float().mean(0)
    assert red[0] > 3 * red[1] and red[0] > 60


def test_the_scene_is_the_same_at_any_size_and_rate():
    scene = one("car", action="drive", direction="left", rate=0.6)
    coarse = render(scene, height=32, width=32, num_frames=5, fps=2.0, supersample=1)
    fine = render(scene, height=32, width=32, num_frames=9, fps=4.0, supersample=1)
    assert torch.equal(coarse.frames, fine.frames[::2])
    large = render(scene, height=64, width=64, num_frames=5, fps=2.0, supersample=1)
    assert torch.allclose(large.tracks.centres, 2 * coarse.tracks.centres, atol=1e-3)
    wide = render(scene, height=32, width=64, num_frames=5, fps=2.0, supersample=1)
    assert torch.equal(wide.object_ids[:, :, 16:48], coarse.object_ids)


def test_still_water_is_not_still():
    clip = render(one("ball", floor="water", action="stand"), **SMALL)
    assert not torch.equal(clip.frames[0], clip.frames[-1])


@pytest.mark.parametrize("move", ["pan left", "tilt up", "orbit right", "dolly in", "crane up", "handheld"])
def test_camera_moves_are_seen(move):
    amount = {"pan": 20, "tilt": 12, "orbit": 50, "dolly": 2.5, "crane": 1.5, "handheld": 0.02}[move.split()[0]]
    scene = one("cube").model_copy(update={"camera": Camera(move=move, amount=amount)})
    clip = render(scene, **SMALL)
    centre, area = clip.tracks.centres[0], clip.tracks.area[0]
    if move == "pan left":
        assert float(centre[-1, 0] - centre[0, 0]) > 8
    elif move == "tilt up":
        assert float(centre[-1, 1] - centre[0, 1]) > 5
    elif move == "orbit right":
        assert float(clip.cameras.position[-1, 0] - clip.cameras.position[0, 0]) > 3
    elif move == "dolly in":
        assert float(area[-1]) > 2 * float(area[0])
    elif move == "crane up":
        assert float(clip.cameras.position[-1, 1] - clip.cameras.position[0, 1]) == pytest.approx(1.5)
    else:
        assert 0.3 < float(centre.std(0).amax()) < 6


def test_edges_are_smooth_only_with_supersampling():
    scene = one("ball", "white", floor="grass")
    hard, soft = (render(scene, height=32, width=32, num_frames=1, fps=8, supersample=s).frames[0] for s in (1, 3))
    changed = (hard.int() - soft.int()).abs().amax(-1) > 8
    assert 0.01 < float(changed.float().mean()) < 0.2


def test_clips_rendered_together_equal_clips_rendered_alone(monkeypatch):
    scenes = [sample_scene(0, index) for index in (0, 1, 5)]
    alone = render_many(scenes, **SMALL)
    module = importlib.import_module("kinema.data.diorama.render")
    monkeypatch.setitem(module.BATCH_PIXELS, "cpu", 10**6)
    for one, other in zip(alone, render_many(scenes, **SMALL)):
        assert torch.equal(one.object_ids, other.object_ids)
        assert int((one.frames.int() - other.frames.int()).abs().amax()) <= 1
        assert torch.allclose(one.tracks.centres, other.tracks.centres)
        assert torch.allclose(one.tracks.visibility, other.tracks.visibility)


def test_a_bad_size_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        render(sample_scene(0, 0), height=0, width=8, num_frames=1, fps=8)


def test_dataset_items():
    dataset = DioramaDataset(
        seed=1,
        difficulty=(0, 1),
        height=16,
        width=24,
        num_frames=3,
        num_clips=6,
        supersample=1,
        fps_choices=(4.0, 8.0),
    )
    dataset = pickle.loads(pickle.dumps(dataset))
    assert len(dataset) == 6
    rates = set()
    for index in range(6):
        item = dataset[index]
        rates.add(item["fps"])
        assert item["index"] == index and item["pixel_values"].shape == (3, 3, 16, 24)
        scene = Scene.from_json(item["scene"])
        again = render(scene, height=16, width=24, num_frames=3, fps=item["fps"], supersample=1)
        assert torch.equal(again.frames.permute(3, 0, 1, 2), item["pixel_values"])
    assert rates == {4.0, 8.0}
    with pytest.raises(IndexError):
        dataset[6]


def test_workers_make_the_same_clips():
    dataset = DioramaDataset(difficulty=(0, 0), height=16, width=16, num_frames=2, num_clips=4, supersample=1)
    loader = torch.utils.data.DataLoader(dataset, batch_size=2, num_workers=1)
    clips = torch.cat([batch["pixel_values"] for batch in loader])
    assert torch.equal(clips, torch.stack([dataset[i]["pixel_values"] for i in range(4)]))


def test_travel_finishes_within_long_clips():
    """However long the clip, what travels stays in sight."""
    for index in range(20):
        scene = sample_scene(8, index, difficulty=(0, 3))
        if scene.objects[0].motion.action in TRAVEL and scene.camera.move == "static":
            clip = render(scene, height=16, width=16, num_frames=3, fps=0.2, supersample=1)
            assert bool((clip.tracks.area[0] > 0).all())


def test_a_callers_autocast_does_not_change_a_pixel():
    scene = sample_scene(0, 1, difficulty=(0, 0))
    shape = {"height": 24, "width": 24, "num_frames": 2, "fps": 2.0}
    plain = render(scene, **shape).frames
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(render(scene, **shape).frames, plain)
