"""True clips obey; each way to disobey moves its own measure."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.data.diorama import render
from kinema.data.diorama.cameras import camera_path, project
from kinema.data.diorama.events import scene_poses
from kinema.data.diorama.motions import GRAVITY, clock
from kinema.data.diorama.objects import SHAPES
from kinema.data.diorama.scene import COLOURS, KINDS
from kinema.eval.judge.reading import Reading, Thing
from kinema.eval.measures import measures
from kinema.eval.physics import (
    Hiding,
    asks_bouncing,
    asks_falling,
    asks_hiding,
    bouncing,
    falling,
    hiding,
)  # fmt: skip
from kinema.eval.questions import ExamPrompt, load_prompts
from kinema.eval.staging import stage
from kinema.eval.store import Clip

FRAMES, FPS = 17, 8.0
STEP = 1 / FPS
TIMES = np.arange(FRAMES) * STEP
PROBES = load_prompts("probe")
BOUNCES = [prompt for prompt in PROBES if asks_bouncing(prompt)]
FALLS = [prompt for prompt in PROBES if asks_falling(prompt)]


def sure(words, word: str) -> np.ndarray:
    values = np.full(len(words), 0.01)
    values[words.index(word)] = 1
    return values / values.sum()


def make_thing(kind="ball", colour="red", *, centres=None, area=None, height=0.2) -> Thing:
    """A thing with a track; it is seen where its area is above 0."""
    centres = np.full((FRAMES, 2), 0.5) if centres is None else np.asarray(centres, float)
    area = np.full(len(centres), 0.03) if area is None else np.asarray(area, float)
    half = np.array([height / 2, height / 2])
    boxes = np.concatenate([centres - half, centres + half], 1)
    boxes[area == 0], no = np.nan, np.zeros
    return Thing(
        kind=sure(KINDS, kind), colour=sure(COLOURS, colour), last_colour=sure(COLOURS, colour), material=no(4),
        pattern=no(4), hue=colour, centres=np.where(area[:, None] > 0, centres, np.nan), boxes=boxes, area=area,
        motion=no(11), halves=no((2, 11)), direction=no(5), half_directions=no((2, 5)), speed=no(3), size=no(3),
    )  # fmt: skip


def make_reading(*things: Thing) -> Reading:
    no = np.zeros
    return Reading(things, no(13), no(8), no(4), no(4), no(6), FRAMES / FPS)


def with_heights(y) -> Thing:
    """A thing at given places down the picture."""
    return make_thing(centres=np.stack([np.full(len(y), 0.5), y], 1))


def filmed(prompt: ExamPrompt, seed: int = 0) -> Thing:
    """The first object of a true clip, tracked exactly, without making a picture."""
    scene = stage(prompt, seed)
    time = clock(FRAMES, FPS)
    path, pose, thing = camera_path(scene.camera, time), scene_poses(scene, time)[0], scene.objects[0]
    up = torch.tensor([0.0, SHAPES[thing.kind].half[1] * thing.scale, 0.0])
    middle, top = project(path, torch.stack([pose.centre, pose.centre + up]))[0].numpy() / 2
    height = float(np.abs(top - middle)[:, 1].mean()) * 2
    return make_thing(
        thing.kind, thing.colour, centres=np.stack([0.5 + middle[:, 0], 0.5 - middle[:, 1]], 1), height=height
    )


def event_prompt(event: str, first: dict, second: dict) -> ExamPrompt:
    record = {"id": f"x-{event}-{first['kind']}", "tier": "P", "text": event, "event": event}
    return ExamPrompt.model_validate(record | {"objects": [first, second | {"motion": "stand"}]})


EVENTS = [
    event_prompt("pass behind", {"kind": "ball", "colour": "red", "motion": "roll", "direction": "left"},
                 {"kind": "cube", "colour": "blue"}),
    event_prompt("pass behind", {"kind": "cube", "colour": "green", "motion": "slide", "direction": "right"},
                 {"kind": "pyramid", "colour": "yellow"}),
    event_prompt("orbit", {"kind": "ball", "colour": "orange"}, {"kind": "cube", "colour": "purple"}),
    event_prompt("orbit", {"kind": "egg", "colour": "white"}, {"kind": "cylinder", "colour": "red"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def hidings() -> list[tuple[ExamPrompt, Reading]]:
    """True clips of things that are hidden, read exactly from the renderer's object numbers."""
    found = []
    for prompt in EVENTS:
        scene = stage(prompt, 0)
        clip = render(scene, height=32, width=32, num_frames=FRAMES, fps=FPS, supersample=1)
        things = []
        for place, thing in enumerate(scene.objects):
            mask = clip.object_ids.numpy() == place + 1
            centres = clip.tracks.centres[place].numpy() / 32
            things.append(make_thing(thing.kind, thing.colour, centres=centres, area=mask.mean((1, 2))))
            for frame in mask.any((1, 2)).nonzero()[0]:
                rows, columns = mask[frame].nonzero()
                box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                things[-1].boxes[frame] = np.array(box) / 32
        found.append((prompt, make_reading(*things)))
    return found


def hidden_at(thing: Thing) -> int:
    return int(thing.area[2:-2].argmin()) + 2


def cut(thing: Thing, where: slice) -> Thing:
    """The thing seen in these frames alone."""
    kept = np.zeros(len(thing.area), bool)
    kept[where] = True
    return replace(
        thing, area=np.where(kept, thing.area, 0), centres=np.where(kept[:, None], thing.centres, np.nan),
        boxes=np.where(kept[:, None], thing.boxes, np.nan),
    )  # fmt: skip


def broken(thing: Thing) -> tuple[Thing, Thing]:
    """The same thing as two tracks, before and after it is hidden."""
    at = hidden_at(thing)
    return cut(thing, slice(0, at)), cut(thing, slice(at + 1, None))


def test_true_things_come_out_as_they_went_in(hidings):
    for prompt, reading in hidings:
        assert asks_hiding(prompt) and hiding(reading, prompt) == Hiding(True, True, True), prompt.id
        first, second = reading.things
        assert hiding(make_reading(second, *broken(first)), prompt) == Hiding(True, True, True)


def test_another_colour_kind_or_number_after_hiding_is_seen(hidings):
    green, star = sure(COLOURS, "pink"), sure(KINDS, "star")
    for prompt, reading in hidings:
        first, second = reading.things
        before, after = broken(first)
        recoloured = make_reading(replace(first, last_colour=green), second)
        assert hiding(recoloured, prompt) == Hiding(True, True, False)
        for other in (replace(after, last_colour=green, colour=green), replace(after, kind=star)):
            assert hiding(make_reading(second, before, other), prompt) == Hiding(True, True, False)
        more = make_reading(first, second, cut(make_thing("cone", "gray"), slice(11, None)))
        assert hiding(more, prompt) == Hiding(True, True, False)


def test_what_does_not_come_out_or_is_never_hidden_is_seen(hidings):
    for prompt, reading in hidings:
        first, second = reading.things
        gone = make_reading(second, cut(first, slice(0, hidden_at(first))))
        assert hiding(gone, prompt) == Hiding(True, False, False)
        plain = np.full(FRAMES, first.area.max())
        assert hiding(make_reading(replace(first, area=plain), second), prompt) == Hiding(False, False, False)
        assert (
            hiding(make_reading(second), prompt) == hiding(make_reading(), prompt) == Hiding(False, False, False)
        )
    prompt, reading = hidings[0]
    away = replace(reading.things[1], boxes=reading.things[1].boxes + 5)  # it vanishes in the open
    assert not hiding(make_reading(reading.things[0], away), prompt).hidden


@pytest.mark.parametrize("prompt", BOUNCES[::2], ids=lambda prompt: prompt.id)
def test_true_bounces_are_parabolas_of_one_height(prompt):
    found = bouncing(filmed(prompt))
    assert found and found.misfit < 0.03 and found.unevenness is not None and found.unevenness < 0.04


def bounces(height: float, period: float, phase: float, keeps: float = 1.0, power: int = 2) -> np.ndarray:
    """Places of a thing that bounces at y = 0.8, each height the share `keeps` of the last."""
    turns = TIMES / period + phase
    within = 2 * (turns % 1) - 1
    return 0.8 - height * keeps ** np.floor(turns) * (1 - np.abs(within) ** power)


@given(st.floats(0.15, 0.5), st.floats(0.55, 0.9), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_bounces_of_any_height_and_phase_fit(height, period, phase):
    true = bouncing(with_heights(bounces(height, period, phase)))
    assert true and true.misfit < 0.02
    straight = bouncing(with_heights(bounces(height, period, phase, power=1)))
    assert straight is None or straight.misfit > 2 * true.misfit + 0.01
    assert true.unevenness is None or true.unevenness < 0.03
    lossy = bouncing(with_heights(bounces(height, period, phase, keeps=0.7)))
    assert lossy is None or lossy.unevenness is None or lossy.unevenness > 0.08


@pytest.mark.parametrize("prompt", FALLS[::2], ids=lambda prompt: prompt.id)
def test_true_falls_have_dioramas_gravity(prompt):
    scene = stage(prompt, 0)
    found = falling(filmed(prompt), STEP)
    height = 2 * SHAPES[scene.objects[0].kind].half[1] * scene.objects[0].scale
    assert found and found.evidence > 0.8 and found.gravity == pytest.approx(GRAVITY / height, rel=0.12)


def falls(gravity: float, start: float, drop: float, power: int = 2) -> np.ndarray:
    """Places of a thing released at a time; with power 1 it goes down at a constant speed, as long."""
    seconds = (2 * drop / gravity) ** 0.5
    return 0.2 + drop * (np.clip((TIMES - start) / seconds, 0, 1) ** power)


@given(st.floats(1.2, 2.5), st.floats(0.1, 0.6), st.floats(0.4, 0.6))
@settings(max_examples=40, deadline=None)
def test_gravity_is_told_from_a_constant_speed(gravity, start, drop):
    true = falling(with_heights(falls(gravity, start, drop)), STEP)
    steady = falling(with_heights(falls(gravity, start, drop, power=1)), STEP)
    assert true and true.evidence > 0.85 and true.gravity == pytest.approx(gravity / 0.2, rel=0.1)
    assert steady and steady.evidence < 0.15
    weak = falling(with_heights(falls(gravity / 2, start, drop)), STEP)
    assert weak and weak.gravity == pytest.approx(true.gravity / 2, rel=0.1)


def test_what_stays_neither_bounces_nor_falls():
    still = make_thing(centres=np.full((FRAMES, 2), 0.5) + np.random.default_rng(0).normal(0, 0.004, (FRAMES, 2)))
    lost = make_thing(area=np.eye(FRAMES)[0] * 0.03)
    for thing in (still, lost):
        assert bouncing(thing) is None and falling(thing, STEP) is None
    rising = with_heights(falls(2, 0.2, 0.5)[::-1])
    assert falling(rising, STEP) is None


SEEDS = (0, 1)


def sit(prompts, read) -> dict[tuple[str, int], tuple[Clip, Reading]]:
    grey = Clip(np.full((FRAMES, 16, 16, 3), 90, np.uint8), FPS)
    return {(prompt.id, seed): (grey, read(prompt, seed)) for prompt in prompts for seed in SEEDS}


@pytest.fixture(scope="module")
def truth(hidings):
    prompts = [*BOUNCES[:4], *FALLS[:4], *EVENTS]
    readings = {prompt.id: reading for prompt, reading in hidings}
    clips = sit(prompts, lambda p, seed: readings.get(p.id) or make_reading(filmed(p, seed)))
    return prompts, clips


PHYSICS = (
    "object permanence",
    "unchanged once hidden",
    "bounce arcs",
    "bounce heights",
    "falls speed up",
    "gravity",
)


def test_true_clips_stand_at_the_floor(truth):
    prompts, clips = truth
    found = measures(clips, clips, prompts, draws=50)
    for name in PHYSICS[:-1]:
        assert found[name]["value"] == found[name]["floor"] and found[name]["low"] <= found[name]["value"]
        assert set(found[name]) == {"value", "floor", "low", "high", "unit", "meaning"}
    assert found["object permanence"]["value"] == 1 and found["falls speed up"]["value"] > 0.85
    assert found["gravity"]["value"] == 1 and 1 <= found["gravity"]["floor"] < 1.6


def test_each_fault_moves_its_own_measure(truth):
    prompts, clips = truth

    def altered(wanted, change) -> dict[str, float]:
        asks = {prompt.id: wanted(prompt) for prompt in prompts}
        faulty = {
            key: (clip, make_reading(*map(change, reading.things)) if asks[key[0]] else reading)
            for key, (clip, reading) in clips.items()
        }
        before, after = (measures(each, clips, prompts, draws=10) for each in (clips, faulty))
        return {
            name: (after[name]["value"] - before[name]["value"])
            for name in PHYSICS
            if after[name]["value"] != before[name]["value"]
        }

    other = altered(asks_hiding, lambda thing: replace(thing, last_colour=sure(COLOURS, "gray")))
    assert other == {"object permanence": -1, "unchanged once hidden": -1}

    steady = altered(asks_falling, lambda thing: with_heights(falls(2, 0.3, 0.5, power=1)))
    assert set(steady) == {"falls speed up", "gravity"} and steady["falls speed up"] < -0.7

    lossy = altered(asks_bouncing, lambda thing: with_heights(bounces(0.4, 0.6, 0.3, keeps=0.7)))
    assert set(lossy) == {"bounce arcs", "bounce heights"} and lossy["bounce heights"] > 0.1


def test_too_few_clips_are_told(truth):
    prompts, clips = truth
    frozen = {key: (clip, make_reading(make_thing())) for key, (clip, _) in clips.items()}
    found = measures(frozen, clips, prompts, draws=10)
    for name in PHYSICS[1:]:
        assert found[name]["value"] is None and "0 of 8 clips could be measured" in found[name]["meaning"], name
    assert found["object permanence"]["value"] == 0 and found["bounce arcs"]["floor"] is not None
