"""The caption reader against the caption writer."""

import re
from functools import cache

import pytest

from kinema.conditioner.attributes import SCORED, attribute_accuracy, read_facts
from kinema.data.diorama import captions, facts, sample_scene
from kinema.data.diorama.captions import (
    BACKGROUND_WORDS,
    CAMERA_WORDS,
    FLOOR_WORDS,
    OVER_WORDS,
    SIZE_WORDS,
    TIME_WORDS,
)

SCENES, WORDINGS = 120, 4  # for each difficulty and split; of each scene
ALWAYS = {  # what captions state of every scene, by level; "" where the scene has none
    "short": {"object", "colour", "direction", "colour_to"},
    "medium": {"object", "colour", "direction", "colour_to", "motion", "floor", "time_of_day"},
}


@cache
def told(difficulty, split="train"):
    """(facts, captions) of scenes of one difficulty, each in several wordings."""
    level = (difficulty, difficulty)
    scenes = [sample_scene(3, index, split=split, difficulty=level) for index in range(SCENES)]
    return [(facts(scene), captions(scene, wording)) for scene in scenes for wording in range(WORDINGS)]


def stated(name, value, caption):
    """Whether one of the writer's phrases for the value stands in a caption, as its own words."""
    tables = {
        "size": [SIZE_WORDS],
        "floor": [FLOOR_WORDS, OVER_WORDS],
        "background": [BACKGROUND_WORDS],
        "time_of_day": [TIME_WORDS],
        "camera": [CAMERA_WORDS],
    }
    phrases = [phrase for table in tables[name] if value for phrase in table[value]]
    spaced = [f" {' '.join(re.findall('[a-z]+', text.lower()))} " for text in (caption, *phrases)]
    return any(phrase in spaced[0] for phrase in spaced[1:])


@pytest.mark.parametrize("split", ["train", "heldout"])
@pytest.mark.parametrize("difficulty", [0, 1, 2, 3])
def test_dense_captions_are_read_back_exactly(difficulty, split):
    truths, written = zip(*((truth, each["dense"]) for truth, each in told(difficulty, split)))
    for truth, caption in zip(truths, written):
        said = read_facts(caption)
        truth = truth | ({"speed": ""} if truth["speed"] == "normal" else {})  # which has no words
        assert said == {name: truth[name] for name in said}, caption
    assert attribute_accuracy(list(written), list(truths)) == {name: 1.0 for name in (*SCORED, "all")}


@pytest.mark.parametrize("level", ["short", "medium"])
@pytest.mark.parametrize("difficulty", [0, 1, 2, 3])
def test_all_that_shorter_captions_state_is_read_and_nothing_else(difficulty, level):
    for truth, written in told(difficulty):
        caption = written[level]
        said = read_facts(caption)
        for name, value in said.items():
            assert value in ("", truth[name]), (name, caption)
        untold = (
            ("motion", "direction") if truth["event"] and (level == "short" or truth["event"] == "orbit") else ()
        )
        for name in ALWAYS[level]:
            assert said[name] == truth[name] or name in untold, (name, caption)
        for name in ("size", "floor", "background", "time_of_day", "camera"):
            assert bool(said[name]) == stated(name, truth[name], caption), (name, caption)
        # Of a row that stands, "three stars in a row" is the one wording without a verb; what does something to
        # another need not say how it goes.
        row = truth["motion"] == "stand" and " in a row" in caption
        assert said["motion"] or row or truth["event"], caption


def test_one_object_does_not_lend_its_words_to_another():
    said = read_facts("A red cube grows over green grass. A blue star spins clockwise fast on its left.")
    assert (said["object"], said["colour"], said["motion"], said["floor"]) == ("cube", "red", "grow", "grass")
    assert said["direction"] == said["speed"] == said["camera"] == ""


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
