"""Reading a Diorama caption back into facts, so that captions can be scored against the scene exactly."""

import re
from functools import cache
from typing import NamedTuple

from ..data.diorama.captions import (
    BACKGROUND_WORDS,
    CAMERA_WORDS,
    COLOUR_WORDS,
    DIRECTION_WORDS,
    FLOOR_WORDS,
    KIND_WORDS,
    SIZE_WORDS,
    SPEED_WORDS,
    TIME_WORDS,
    VERBS,
)

# What the report scores, by the names of `kinema.data.diorama.facts`; a place is a floor.
SCORED = ("object", "colour", "motion", "direction", "camera", "floor")


class _Phrases(NamedTuple):
    pattern: re.Pattern[str]
    value: dict[str, str]  # phrase to attribute value


@cache
def _tables() -> dict[str, _Phrases]:
    """The caption writer's own phrases, in the order in which they must be read and struck out."""
    plain = {
        "camera": CAMERA_WORDS,
        "floor": FLOOR_WORDS,
        "background": BACKGROUND_WORDS,
        "time_of_day": TIME_WORDS,
    }
    verbs = {
        action: tuple(_normal(form.format(to="", colour="")) for pair in pairs for form in pair)
        for action, pairs in VERBS.items()
        if action != "change colour"
    }
    after = {
        "motion": verbs,
        "direction": DIRECTION_WORDS,
        "speed": SPEED_WORDS,
        "size": SIZE_WORDS,
        "colour": COLOUR_WORDS,
        "object": KIND_WORDS,
    }
    return {name: _compile(table) for name, table in {**plain, **after}.items()}


def _compile(table: dict) -> _Phrases:
    value = {_normal(phrase): str(key) for key, phrases in table.items() for phrase in phrases if phrase}
    longest_first = sorted(value, key=len, reverse=True)
    return _Phrases(re.compile(rf"\b({'|'.join(map(re.escape, longest_first))})\b"), value)


@cache
def _colour_change() -> re.Pattern[str]:
    verbs = [form.split("{")[0].strip() for pair in VERBS["change colour"] for form in pair]
    colours = [word for options in COLOUR_WORDS.values() for word in options]
    return re.compile(rf"\b(?:{'|'.join(verbs)}) ({'|'.join(colours)})\b")


def _normal(text: str) -> str:
    return " ".join(re.findall(r"[a-z]+", text.lower()))


def read_facts(caption: str) -> dict[str, str]:
    """The attributes a caption states, of the first object it names; what it leaves out is "".

    Keys are those of `kinema.data.diorama.facts`: object, colour, size, motion, direction, speed, colour_to,
    floor, background, time_of_day, camera.
    """
    text = _normal(caption)
    found: dict[str, str] = {}
    for name, phrases in _tables().items():
        if name == "motion":
            change = _colour_change().search(text)
            found["colour_to"] = _tables()["colour"].value[change.group(1)] if change else ""
            if change:
                found["motion"] = "change colour"
                text = text[: change.start()] + " " + text[change.end() :]
                continue
        match = phrases.pattern.search(text)
        found[name] = phrases.value[match.group(1)] if match else ""
        if match:
            text = text[: match.start()] + " | " + text[match.end() :]
    return found


def attribute_accuracy(captions: list[str], facts: list[dict[str, object]]) -> dict[str, float]:
    """The share of captions that state each attribute exactly, and "all" for those that state all of them.

    A direction counts only where the scene has one.
    """
    right: dict[str, list[bool]] = {name: [] for name in (*SCORED, "all")}
    for caption, truth in zip(captions, facts, strict=True):
        said = read_facts(caption)
        hits = {name: said[name] == truth[name] for name in SCORED if name != "direction" or truth[name]}
        for name, hit in hits.items():
            right[name].append(hit)
        right["all"].append(all(hits.values()))
    return {name: sum(hits) / len(hits) for name, hits in right.items() if hits}
