"""The caption reader against the caption writer."""

import pytest

from kinema.conditioner.attributes import SCORED, attribute_accuracy, read_facts
from kinema.data.diorama import captions, facts, sample_scene


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_dense_captions_are_read_back_exactly(split):
    for index in range(150):
        scene = sample_scene(3, index, split=split, difficulty=(0, 1))
        truth, said = facts(scene), read_facts(captions(scene, index)["dense"])
        for name in (*SCORED, "background", "time_of_day", "colour_to"):
            assert said[name] == truth[name], (name, captions(scene, index)["dense"])


def test_what_shorter_captions_state_is_true():
    for index in range(150):
        scene = sample_scene(4, index, difficulty=(0, 1))
        truth, written = facts(scene), captions(scene, index)
        for level in ("short", "medium"):
            for name, value in read_facts(written[level]).items():
                assert value in ("", truth[name]), (name, written[level])


def test_accuracy_counts_each_attribute_and_directions_only_where_there_are_any():
    common = {"camera": "static"}
    truths = [
        common | {"object": "ball", "colour": "red", "motion": "roll", "direction": "left", "floor": "snow"},
        common | {"object": "car", "colour": "gray", "motion": "stand", "direction": "", "floor": "sand"},
    ]
    said = [
        "A red sphere rolls to the right on snow. The camera is still.",
        "It is at night, on the sand. A grey car rests. The camera does not move.",
    ]
    right = {name: 1.0 for name in SCORED} | {"direction": 0.0, "all": 0.5}
    assert attribute_accuracy(said, truths) == right
    assert attribute_accuracy(["", ""], truths) == {name: 0.0 for name in right}
