"""The measures see what true clips show, and each trick on a clip moves its own attribute and no other."""

import numpy as np
import pytest

from kinema.data.diorama import facts, render, sample_scene
from kinema.eval.exam import true_clips
from kinema.eval.foreground import MOST_CELLS, _Colours, _connected, find_object, to_lab
from kinema.eval.pixels import Measurement, measure, shrink
from kinema.eval.prompts import load_prompts

PROMPTS = load_prompts()
SHAPE = (9, 48, 48)


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    return true_clips(PROMPTS, [np.empty((*SHAPE, 3), np.uint8)] * len(PROMPTS), fps=4.0)


@pytest.fixture(scope="module")
def words(clips) -> list[dict[str, str]]:
    return [measure(clip).words for clip in clips]


def accuracy(attribute: str, words: list[dict[str, str]]) -> float:
    asking = [(p.asked[attribute], w[attribute]) for p, w in zip(PROMPTS, words) if attribute in p.asked]
    return float(np.mean([asked == measured for asked, measured in asking]))


@pytest.mark.parametrize(
    ("attribute", "least"),
    [("object", 1), ("colour", 0.9), ("moving", 0.95), ("direction", 0.95), ("time", 0.95), ("floor", 0.95)],
)
def test_true_clips_show_what_their_prompts_ask(attribute, least, words):
    assert accuracy(attribute, words) >= least


def altered(clips, words, trick, count=8) -> list[tuple[dict[str, str], dict[str, str]]]:
    """(before, after) of the first prompts, the most varied ones."""
    return [(words[n], measure(trick(clips[n])).words) for n in range(count)]


def changed(pairs, attribute: str) -> float:
    return float(np.mean([before[attribute] != after[attribute] for before, after in pairs]))


def test_turned_colours_move_the_colour_and_not_the_motion(clips, words):
    pairs = altered(clips, words, lambda clip: np.ascontiguousarray(clip[..., [1, 2, 0]]))
    coloured = [pair for pair in pairs if pair[0]["colour"] not in ("black", "gray", "white")]
    assert len(coloured) >= 5 and changed(coloured, "colour") == 1
    assert changed(pairs, "direction") == changed(pairs, "moving") == changed(pairs, "object") == 0


def test_a_clip_played_backwards_turns_its_direction_and_nothing_else(clips, words):
    back = {"left": "right", "right": "left", "up": "down", "down": "up"}
    pairs = altered(clips, words, lambda clip: clip[::-1].copy())
    going = [(before["direction"], after["direction"]) for before, after in pairs if before["direction"] in back]
    assert len(going) >= 6 and all(after == back[before] for before, after in going)
    for attribute in ("object", "colour", "moving", "time", "floor"):
        assert changed(pairs, attribute) == 0


def test_a_mirrored_clip_swaps_left_and_right_alone(clips, words):
    mirror = {"left": "right", "right": "left"}
    for before, after in altered(clips, words, lambda clip: clip[:, :, ::-1].copy()):
        assert after == before | {"direction": mirror.get(before["direction"], before["direction"])}


def test_a_frozen_clip_loses_its_motion_and_nothing_else(clips, words):
    pairs = altered(clips, words, lambda clip: clip[[len(clip) // 2]].repeat(len(clip), 0))
    assert all(after["moving"] == "still" and after["direction"] == "none" for _, after in pairs)
    for attribute in ("object", "colour", "time", "floor"):
        assert changed(pairs, attribute) == 0


def test_noise_and_flicker_are_not_motion(clips):
    rng = np.random.default_rng(0)
    still = next(clip for prompt, clip in zip(PROMPTS, clips) if prompt.motion == "stand")
    noisy = still + rng.normal(0, 4, still.shape) + rng.normal(0, 3, (len(still), 1, 1, 1))
    measured = measure(noisy.clip(0, 255).astype(np.uint8))
    assert measured.words == measure(still).words and measured.motion < 1


def test_an_empty_stage_has_no_object():
    def empty(index: int) -> Measurement:
        scene = sample_scene(77, index, difficulty=(0, 0))
        away = scene.objects[0].model_copy(update={"position": (500.0, 0.0, -500.0)})
        scene = scene.model_copy(update={"objects": (away,)})
        clip = render(scene, height=48, width=48, num_frames=3, fps=8, supersample=1).frames.numpy()
        return measure(clip)

    found = [empty(index) for index in range(8)]
    assert sum(measured.present for measured in found) <= 1
    gone = next(measured for measured in found if not measured.present)
    assert gone.words["colour"] == gone.words["direction"] == "none" and gone.words["moving"] == "still"
    flat = measure(np.full((3, 32, 32, 3), 90, np.uint8))
    assert not flat.present and flat.area == 0


@pytest.mark.parametrize("height, width, frames", [(64, 96, 5), (192, 128, 5), (48, 48, 70)])
def test_the_measures_hold_at_any_shape(height, width, frames):
    scene = next(
        scene
        for scene in (sample_scene(78, index, difficulty=(0, 0)) for index in range(200))
        if facts(scene)["direction"] == "left" and facts(scene)["colour"] == "blue"
    )
    clip = render(scene, height=height, width=width, num_frames=frames, fps=frames / 2, supersample=1)
    measured = measure(clip.frames.numpy())
    assert (measured.colour, measured.direction) == ("blue", "left")


def test_the_object_is_found_where_it_is():
    overlaps = []
    for index in range(6):
        clip = render(
            sample_scene(79, index, difficulty=(0, 0)), height=48, width=48, num_frames=5, fps=4, supersample=2
        )
        found, true = find_object(clip.frames.numpy()).mask, clip.object_ids.numpy() > 0
        overlaps.append((found & true).sum() / (found | true).sum())
    assert np.mean(overlaps) > 0.7 and min(overlaps) > 0.4


def test_regions_are_those_of_a_flood_fill():
    mask = np.random.default_rng(3).random((4, 9, 11)) < 0.35
    labels = _connected(mask)
    assert ((labels > 0) == mask).all()
    steps = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (0, 1, -1)]
    steps += [(-t, -y, -x) for t, y, x in steps]
    left = set(map(tuple, np.argwhere(mask)))
    while left:
        region, front = set(), {left.pop()}
        while front:
            region |= front
            front = {(t + a, y + b, x + c) for t, y, x in front for a, b, c in steps} & left
            left -= front
        assert len({labels[place] for place in region}) == 1
        assert (labels == labels[region.pop()]).sum() == len(region) + 1


def test_noise_of_every_colour_is_measured_in_little_memory():
    noise = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), dtype=np.uint8)
    colours = _Colours(to_lab(noise))
    assert colours._number <= MOST_CELLS and colours._object_kernel.nbytes < 2**28
    assert measure(noise).words["direction"] == "none"


def test_lab_has_its_published_values():
    known = {
        (255, 255, 255): (100, 0, 0),
        (255, 0, 0): (53.24, 80.09, 67.20),
        (0, 0, 255): (32.30, 79.19, -107.86),
    }
    for rgb, lab in known.items():
        assert to_lab(np.array(rgb, np.uint8)) == pytest.approx(lab, abs=0.05)


def test_shrinking_keeps_shape_and_ends():
    clip = np.random.default_rng(0).integers(0, 256, (100, 120, 200, 3), dtype=np.uint8)
    assert shrink(clip).shape == (33, 64, 107, 3)
    assert shrink(clip[:5, :96, :96]).shape == (5, 96, 96, 3)


@pytest.mark.parametrize(
    "bad", [np.zeros((5, 32, 32, 3)), np.zeros((32, 32, 3), np.uint8), np.zeros((5, 8, 32, 3), np.uint8)]
)
def test_other_frames_are_refused(bad):
    with pytest.raises(ValueError, match="uint8"):
        measure(bad)
    with pytest.raises(ValueError, match="at least 2"):
        measure(np.zeros((1, 32, 32, 3), np.uint8))
