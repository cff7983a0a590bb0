"""One thing after another, and what two objects do together."""

import itertools
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.data.diorama import VOCABULARY, Scene, captions, heldout_pairs, render, sample_scene, timed_captions
from kinema.data.diorama.cameras import camera_path, project
from kinema.data.diorama.captions import COLOUR_WORDS
from kinema.data.diorama.directing import (
    EVENT_SIZES,
    GOERS,
    SCREENS,
    follows,
    half_width,
    stage_event,
    stage_halves,
)
from kinema.data.diorama.draws import Draws
from kinema.data.diorama.events import scene_poses
from kinema.data.diorama.motions import Clock, Pose, clock
from kinema.data.diorama.objects import SHAPES
from kinema.data.diorama.scene import (
    EVENTS,
    KINDS,
    MATERIALS,
    PATTERNS,
    STYLES,
    TRAVEL,
    Event,
    Motion,
    SceneObject,
)
from kinema.data.diorama.sight import in_sight
from kinema.data.diorama.stage import actions_of, draw_thing
from kinema.data.diorama.words import EVENT_VERBS, STYLE_WORDS

PROPERTY = settings(max_examples=40, deadline=None)
CLOCKS = {"two seconds": (321, 160.0), "short": (161, 400.0), "long": (321, 60.0)}  # frames, frames per second
numbers = st.integers(0, 10**6)


def film(filming: str = "two seconds") -> Clock:
    return clock(*CLOCKS[filming])


def turns(number: int, kind=None, action=None, then=None) -> Scene:
    """A scene of one object that does one thing after another."""
    draws = Draws("turns", number)
    kind = kind or draws.choice(KINDS)
    action = action or draws.choice(list(actions_of(kind)))
    then = then or draws.choice([a for a in actions_of(kind) if a != action or a in TRAVEL])
    thing = draw_thing(draws, kind, "red", draws.choice(("small", "medium", "large")), "stand", (0.0, 0.0, 0.0))
    thing, second = stage_halves(draws, thing, action, then)
    floor = "water" if "sail" in (action, then) else "grass"
    return Scene(seed=0, index=number, level=3, objects=(thing,), second_motions=(second,), floor=floor)


def pair(number: int, event: Event, **directions: str) -> Scene:
    """A scene of two objects that do something together."""
    draws = Draws("pair", event, number)
    kind = draws.choice(GOERS)
    able = GOERS if event in ("chase", "meet") else SCREENS if event == "pass behind" else KINDS
    other = draws.choice([k for k in able if k != kind])
    sizes = draws.weighted(EVENT_SIZES[event])
    first = draw_thing(draws, kind, "red", sizes[0], "stand", (0.0, 0.0, 0.0))
    first = first.model_copy(update={"motion": Motion(speed=draws.choice(("slow", "normal", "fast")))})
    second = draw_thing(draws, other, "blue", sizes[1], "stand", (0.0, 0.0, 0.0))
    things, record, camera = stage_event(draws, event, first, second, **directions)  # type: ignore[arg-type]
    return Scene(seed=0, index=number, level=3, objects=things, pair_events=(record,), camera=camera)


def gap(scene: Scene, poses: list[Pose]) -> torch.Tensor:
    """(T,) free space between the outlines of two objects on a line from left to right."""
    first, second = scene.objects
    return (poses[0].centre[:, 0] - poses[1].centre[:, 0]).abs() - half_width(first) - half_width(second)


def picture_gap(scene: Scene, poses: list[Pose], time: Clock) -> torch.Tensor:
    """(T,) free space between two objects on the picture, in half pictures."""
    path = camera_path(scene.camera, time)
    spots, depth = project(path, torch.stack([pose.centre for pose in poses]))
    widths = torch.tensor([[half_width(thing)] for thing in scene.objects]) * path.focal / depth
    return (spots[0, :, 0] - spots[1, :, 0]).abs() - widths.sum(0)


@PROPERTY
@given(numbers, st.sampled_from(list(CLOCKS)))
def test_nothing_jumps_between_the_halves(number: int, filming: str):
    scene, time = turns(number), film(filming)
    pose = scene_poses(scene, time)[0]
    step = pose.centre.diff(dim=0).norm(dim=-1)
    middle = len(step) // 2
    fastest = 5.0 * max(1.0, time.span / float(time.seconds[-1]))  # units per second; a bounce lands at about 3
    assert float(step.amax()) < fastest * float(time.seconds[1])
    assert float(step[middle - 1 : middle + 1].amax()) < fastest * float(time.seconds[1])
    assert float(pose.scale.diff().abs().amax()) < 0.05
    assert float(pose.blend.diff().abs().amax()) < 0.05
    assert float((pose.rotation[1:] - pose.rotation[:-1]).abs().amax()) < 0.15
    lowest = pose.centre[:, 1] - pose.scale * min(SHAPES[scene.objects[0].kind].half[1], 0.3)
    assert float(lowest.amin()) > -0.2 * scene.objects[0].scale


@PROPERTY
@given(numbers, st.sampled_from(list(CLOCKS)))
def test_one_way_motions_finish_within_their_half(number: int, filming: str):
    time = film(filming)
    middle = len(time.share) // 2
    for action, then in itertools.product(("rise", "fall", "grow", "shrink", "change colour"), repeat=2):
        if action == then:
            continue
        scene = turns(number, "star", action, then)
        pose = scene_poses(scene, time)[0]
        thing, second = scene.objects[0], scene.second_motions[0]
        assert second is not None
        base = SHAPES["star"].half[1] * pose.scale
        lift = pose.centre[:, 1] - base
        first_ends = {"rise": thing.motion.height, "fall": 0.0}.get(
            action, second.height if then == "fall" else 0.0
        )
        assert float(lift[middle]) == pytest.approx(first_ends, abs=0.01) or (action, then) == ("fall", "rise")
        assert float(lift[-1]) == pytest.approx(
            {"rise": first_ends + second.height, "fall": 0.0}.get(then, first_ends), abs=0.01
        )
        assert float(pose.blend[-1]) == ("change colour" in (action, then))
        assert float(pose.blend[middle]) == (action == "change colour")
        if "grow" in (action, then) and "shrink" not in (action, then):
            assert float(pose.scale[-1]) == pytest.approx(thing.scale) and float(pose.scale[0]) < 0.5 * thing.scale


def test_each_half_goes_its_way_and_what_lasts_is_kept():
    time, middle = film(), 160
    for first, second in itertools.product(("left", "right"), repeat=2):
        draws = Draws(first, second)
        thing = draw_thing(draws, "capsule", "red", "medium", "stand", (0.0, 0.0, 0.0))
        thing, motion = stage_halves(draws, thing, "slide", "hop", direction=first, then_direction=second)  # type: ignore
        scene = Scene(seed=0, index=0, level=3, objects=(thing,), second_motions=(motion,))
        x = scene_poses(scene, time)[0].centre[:, 0].diff()
        assert bool((x[:middle].sign() == (1 if first == "right" else -1)).all())
        assert bool((x[middle:].sign() == (1 if second == "right" else -1)).all())
    turned = scene_poses(turns(0, "cube", "change colour", "slide"), time)[0]
    assert turned.colour_to is not None and bool((turned.blend[middle:] == 1).all())
    shrunk = scene_poses(turns(0, "cube", "shrink", "slide"), time)[0].scale
    assert bool((shrunk[middle:] == shrunk[-1]).all()) and float(shrunk[0]) > 2 * float(shrunk[-1])


@PROPERTY
@given(numbers, st.sampled_from(EVENTS), st.sampled_from(list(CLOCKS)))
def test_events_run_smoothly_at_any_length_and_stay_in_the_picture(number: int, event: Event, filming: str):
    scene, time = pair(number, event), film(filming)
    poses = scene_poses(scene, time)
    for thing, pose in zip(scene.objects, poses, strict=True):
        step = pose.centre.diff(dim=0)
        assert float(step.norm(dim=-1).amax()) < 18 * float(time.share[1])  # units in a clip
        assert float((pose.centre[:, 1] - SHAPES[thing.kind].radius * pose.scale).amin()) > -1.0
    spots, _ = project(camera_path(scene.camera, time), torch.stack([pose.centre for pose in poses]))
    assert bool((spots.abs() < 1).all())


@PROPERTY
@given(numbers, st.sampled_from(["left", "right"]), st.sampled_from(list(CLOCKS)))
def test_events_happen_in_their_order(number: int, direction: str, filming: str):
    time, side = film(filming), 1 if direction == "right" else -1
    half = len(time.share) // 2

    def told(event: Event) -> tuple[Scene, list[Pose], torch.Tensor]:
        scene = pair(number, event, direction=direction)
        poses = scene_poses(scene, time)
        return scene, poses, side * (poses[0].centre[:, 0] - poses[1].centre[:, 0])

    for event in ("pass behind", "pass in front of"):
        scene, poses, ahead = told(event)
        assert bool((ahead.diff() > 0).all()) and float(ahead[0]) < 0 < float(ahead[-1])
        space = picture_gap(scene, poses, time)
        assert float(space[0]) > 0.01 and float(space[-1]) > 0.01 and float(space[half]) < -0.1
        deeper = poses[0].centre[:, 2] - poses[1].centre[:, 2]
        assert bool((deeper < 0).all() if event == "pass behind" else (deeper > 0).all())
    scene, poses, ahead = told("chase")
    assert bool((ahead < 0).all()) and float(gap(scene, poses).amin()) > 0
    assert all(bool((side * pose.centre[:, 0].diff() > 0).all()) for pose in poses)
    scene, poses, ahead = told("meet")
    space = gap(scene, poses)
    assert bool((space.diff() < 1e-5).all()) and 0 < float(space[-1]) < 0.2 < 0.8 < float(space[0])
    late = int(0.92 * len(space))
    assert float(space[late:].max() - space[late:].min()) < 1e-5 and float(space[half]) > float(space[-1]) + 0.3
    scene, poses, ahead = told("collide")
    space, pushed = gap(scene, poses), side * (poses[1].centre[:, 0] - poses[1].centre[0, 0])
    assert bool((ahead < 0).all()) and float(space[0]) > 0.8
    assert float(space[half]) == pytest.approx(0, abs=1e-3) and float(space.amin()) > -1e-3
    assert float(pushed[half].abs()) < 1e-5 and float(pushed[-1]) > 0.3 and bool((pushed.diff() > -1e-5).all())
    assert float((poses[0].centre[half:, 0] - poses[0].centre[-1, 0]).abs().amax()) < 1e-5


@PROPERTY
@given(numbers, st.sampled_from(list(CLOCKS)))
def test_an_orbit_goes_once_round_behind_and_in_front(number: int, filming: str):
    scene, time = pair(number, "orbit"), film(filming)
    poses = scene_poses(scene, time)
    away = (poses[0].centre - poses[1].centre)[:, ::2]
    angle = torch.atan2(away[:, 1], away[:, 0])
    turned = ((angle.diff() + torch.pi) % (2 * torch.pi) - torch.pi).sum()
    sense = 1 if scene.pair_events[0].turn == "clockwise" else -1
    assert float(turned) == pytest.approx(sense * 2 * torch.pi, abs=1e-2)
    assert float(away.norm(dim=-1).amin()) > half_width(scene.objects[1])
    assert float(away[:, 1].amin()) < -0.5 < 0.5 < float(away[:, 1].amax())


@pytest.mark.parametrize("event", ["pass behind", "pass in front of"])
def test_what_passes_is_seen_hidden_and_seen_again(event):
    order = 0 if event == "pass behind" else 1
    for scene in [each for each in (pair(number, event) for number in range(6)) if in_sight(each)][:4]:
        shown = render(scene, height=32, width=32, num_frames=9, fps=4, supersample=1).tracks.visibility[order]
        assert float(shown[0]) > 0.85 and float(shown[-1]) > 0.85 and float(shown.amin()) < 0.65


def test_staged_events_are_in_sight_and_the_same_again():
    scenes = [pair(number, event) for event in EVENTS for number in range(12)]
    assert scenes == [pair(number, event) for event in EVENTS for number in range(12)]
    assert sum(map(in_sight, scenes)) >= 0.95 * len(scenes)


def test_what_cannot_go_is_refused():
    things = [draw_thing(Draws(0), kind, "red", "medium", "stand", (0.0, 0.0, 0.0)) for kind in ("house", "ball")]
    with pytest.raises(ValueError, match="house cannot travel"):
        stage_event(Draws(0), "collide", things[0], things[1])
    with pytest.raises(ValueError, match="left or right"):
        stage_event(Draws(0), "meet", things[1], things[0], "away")


@pytest.mark.parametrize(
    ("action", "then", "reads"),
    [("roll", "bounce", True), ("rise", "fall", True), ("roll", "fall", False), ("stand", "stand", False),
     ("hop", "hop", True), ("rise", "roll", False), ("fly", "fall", True)],
)  # fmt: skip
def test_which_motions_follow_each_other(action, then, reads):
    assert follows(action, then) is reads


@PROPERTY
@given(numbers)
def test_both_halves_and_events_are_told_in_known_words(number: int):
    draws = Draws("told", number)
    finish = {"material": draws.choice(MATERIALS)} if draws.chance(0.5) else {"pattern": draws.choice(PATTERNS)}
    event = draws.choice(EVENTS)
    for scene in (turns(number), pair(number, event)):
        things = (scene.objects[0].model_copy(update=finish), *scene.objects[1:])
        scene = scene.model_copy(update={"objects": things, "style": draws.choice(STYLES)})
        assert Scene.from_json(scene.to_json()) == scene
        told = captions(scene, number)
        for text in told.values():
            assert set(re.findall("[a-z]+", text.lower())) <= set(VOCABULARY)
            assert scene.style == "realistic" or any(phrase in text.lower() for phrase in STYLE_WORDS[scene.style])
            if scene.pair_events:
                assert any(verb in text for verbs in EVENT_VERBS[event] for verb in verbs)
            else:
                assert "then" in text or "after that" in text
        halves = timed_captions(scene, number)
        assert [(part.start, part.end) for part in halves] == (
            [(0, 0.5), (0.5, 1)] if scene.second_motions else []
        )
        assert all(set(re.findall("[a-z]+", part.text)) <= set(VOCABULARY) for part in halves)


def test_a_colour_turned_to_is_the_colour_of_the_second_half():
    thing = SceneObject(kind="ball", colour="red", size="large", scale=1.4, position=(0, 0, 0))
    thing, second = stage_halves(Draws(1), thing, "change colour", "bounce", colour_to="blue")
    scene = Scene(seed=0, index=0, level=3, objects=(thing,), second_motions=(second,))
    first, last = (set(part.text.split()) for part in timed_captions(scene))
    assert first >= {"red", "blue"} and "blue" in last and "red" not in last
    frames = render(scene, height=16, width=16, num_frames=5, fps=2).frames.float()
    assert float(frames[0, 8, 8, 0]) > float(frames[0, 8, 8, 2])
    assert float(frames[-1, 7, 8, 2]) > float(frames[-1, 7, 8, 0])


def test_a_second_motion_and_a_colour_turned_to_can_be_held_out():
    thing = SceneObject(kind="ball", colour="red", size="large", scale=1.4, position=(0, 0, 0))
    for second, held in (
        (Motion(action="grow"), [("ball", "grow")]),
        (Motion(action="change colour", colour_to="purple"), [("ball", "purple")]),
        (Motion(action="bounce"), []),
    ):
        scene = Scene(seed=0, index=0, level=3, objects=(thing,), second_motions=(second,))
        assert heldout_pairs(scene) == held


@settings(max_examples=25, deadline=None)
@given(numbers, st.sampled_from([2, 3]), st.sampled_from(["train", "heldout"]))
def test_sampled_stories_hold_together(number: int, level: int, split):
    scene = sample_scene(8, number, split=split, difficulty=(level, level))
    assert in_sight(scene)
    assert not (scene.pair_events and any(scene.second_motions))
    assert bool(scene.timed_captions) == any(scene.second_motions)
    if scene.pair_events:
        first, second = scene.objects
        assert first.kind != second.kind and first.colour != second.colour
        assert (scene.floor == "water") == ("sail" in (first.motion.action, second.motion.action))
    for thing, then in zip(scene.objects, scene.second_motions, strict=False):
        if then:
            assert follows(thing.motion.action, then.action)
            assert (thing.motion.action, thing.motion.direction) != (then.action, then.direction)
            words = {word for options in COLOUR_WORDS.values() for word in options}
            assert not then.colour_to or set(captions(scene)["dense"].lower().replace(".", " ").split()) & words
