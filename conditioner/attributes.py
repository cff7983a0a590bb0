"""Reading a Diorama caption back into facts, so that captions can be scored against the scene exactly.

What is looked for is made of the caption writer's own tables, so a wording added there is read here.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from ..data.diorama.captions import (
    BACKGROUND_WORDS,
    CAMERA_WORDS,
    COLOUR_WORDS,
    DIRECTION_WORDS,
    FLOOR_WORDS,
    KIND_WORDS,
    MATERIAL_WORDS,
    OVER_WORDS,
    PATTERN_WORDS,
    SIZE_WORDS,
    SPEED_WORDS,
    TIME_WORDS,
    VERBS,
    VERBS_OF,
    _plural,
    _plural_verb,
)

# What the report scores, by the names of `kinema.data.diorama.facts`; a place is a floor.
SCORED = ("object", "colour", "motion", "direction", "camera", "floor")


@cache
def _wordings() -> dict[str, dict[str, str]]:
    """For each attribute, every wording the caption writer has, and the value it stands for."""
    pairs = [*VERBS.items(), *((action, pairs) for (_, action), pairs in VERBS_OF.items())]
    return {
        "camera": _values(CAMERA_WORDS),
        "time_of_day": _values(TIME_WORDS),
        "background": _values(BACKGROUND_WORDS),
        "floor": _values(FLOOR_WORDS) | _values(OVER_WORDS),
        "size": _values(SIZE_WORDS),
        "colour": _values(COLOUR_WORDS),
        "object": _values(KIND_WORDS) | _values({kind: map(_plural, words) for kind, words in KIND_WORDS.items()}),
        "motion": {verb: action for action, forms in pairs for pair in forms for verb in _verbs(*pair)},
        "direction": _values(DIRECTION_WORDS),
        "speed": _values(SPEED_WORDS),
    }


def _values(words: Mapping[Any, Iterable[str]]) -> dict[str, str]:
    return {_normal(phrase): value for value, phrases in words.items() for phrase in phrases if phrase}


def _verbs(present: str, participle: str) -> set[str]:
    """A verb's forms for one and for several, without a direction and with each colour it can take."""
    colours = [word for words in COLOUR_WORDS.values() for word in words]
    forms = (present, _plural_verb(present), participle)
    return {_normal(form.format(to="", colour=colour)) for form in forms for colour in colours}


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """Patterns with groups named after attributes, in reading order: what one matches the next do not see.

    Where and how it is filmed comes first, for its phrases hold words that mean something else alone ("under the
    stars", "the camera rises"). Direction and speed must follow the verb, so as not to be taken from another
    object's clause ("on its left").
    """
    one = {
        name: f"(?P<{name}>{'|'.join(sorted(phrases, key=len, reverse=True))})"
        for name, phrases in _wordings().items()
    }
    finish = "|".join(
        word for table in (MATERIAL_WORDS, PATTERN_WORDS) for words in table.values() for word in words
    )
    return tuple(
        re.compile(rf"\b{pattern}\b")
        for pattern in (
            one["camera"],
            one["time_of_day"],
            one["background"],
            one["floor"],
            f"(?:{one['size']} )?(?:(?:{finish}) )?(?:{one['colour']} )?{one['object']}",
            f"{one['motion']}(?: {one['direction']})?(?: {one['speed']})?",
        )
    )


def _normal(text: str) -> str:
    return " ".join(re.findall(r"[a-z]+", text.lower()))


def read_facts(caption: str) -> dict[str, str]:
    """The attributes a caption states, of the first object (or row of objects) it names; what it leaves out is "".

    Keys are those of `kinema.data.diorama.facts`: object, colour, size, motion, direction, speed, colour_to,
    floor, background, time_of_day, camera.
    """
    text, wordings = _normal(caption), _wordings()
    found = dict.fromkeys((*wordings, "colour_to"), "")
    for pattern in _patterns():
        match = pattern.search(text)
        if match is None:
            continue
        said = {name: phrase for name, phrase in match.groupdict().items() if phrase}
        found |= {name: wordings[name][phrase] for name, phrase in said.items()}
        if found["motion"] == "change colour":
            found["colour_to"] = wordings["colour"][said["motion"].split()[-1]]
        text = f"{text[: match.start()]} | {text[match.end() :]}"
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
