"""Does a clip show what a prompt asks? The pixel judge's reading held against the prompt's facts.

Which thing of the clip is which object of the prompt is decided first, by kind and colour alike, so that a blue
ball where a red one was asked is still the ball. Where a prompt has one object, the most visible thing is it.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..data.diorama.scene import (
    BACKGROUNDS,
    COLOURS,
    FLOORS,
    KINDS,
    MATERIALS,
    MOVES,
    PATTERNS,
    STYLES,
    TIMES_OF_DAY,
)
from .judge.reading import DIRECTIONS, SIZES, SPEEDS, Reading, Thing
from .questions import MOTIONS, AskedObject, ExamPrompt

LEAST_MATCH = 0.05  # of kind and colour: below it a thing is not taken for an asked object of several
NEAR = 0.35  # of two things' mean width: a gap at which they have met or run into each other
GONE = 0.06  # of the picture's width: the least way that counts as going
DEEPER = 0.02  # of the picture's height: a difference of where things stand that counts as behind or before
BESIDE = 0.08  # of the picture's width: how far off sideways counts as beside

# Prompts ask for the ends of a scale only: slow or fast, small or large.
ENDS = np.array([1.0, 0.0, 1.0])
UPPER = np.array([0.0, 1.0, 1.0])  # of sizes at the simple levels, where nothing is small
# What the networks saw most in training they expect too much: matte and plain things, and things that go nowhere.
# These weights of the first word were chosen on the development prompts' true clips.
RARE = np.array([0.2, 1.0, 1.0, 1.0])
GOING = np.array([0.1, 1.0, 1.0, 1.0, 1.0])


def answer(reading: Reading, prompt: ExamPrompt) -> dict[str, bool]:
    """For each attribute that the prompt asks, whether the clip shows it. A thing that is missing answers no."""
    words = said(reading, prompt)
    verdicts = {name: words.get(name) == word for name, word in prompt.asked.items()}
    for name in ("relation", "event"):  # several may hold
        if name in verdicts:
            asked, found = prompt.asked[name].split(" + "), words[name].split(" + ")
            verdicts[name] = all(word in some.split(", ") for word, some in zip(asked, found, strict=True))
    return verdicts


def match(reading: Reading, asked: Sequence[AskedObject]) -> list[Thing | None]:
    """The thing that stands for each asked object; None where there is none."""
    if not reading.things:
        return [None] * len(asked)
    if len(asked) == 1:
        return [reading.things[0]]
    scores = np.array([[_likeness(thing, one) for thing in reading.things] for one in asked])
    rows, columns = linear_sum_assignment(-scores)
    pairs = {int(r): int(c) for r, c in zip(rows, columns) if scores[r, c] > LEAST_MATCH}
    return [reading.things[pairs[n]] if n in pairs else None for n in range(len(asked))]


def _likeness(thing: Thing, asked: AskedObject) -> float:
    kind = float(thing.kind[KINDS.index(asked.kind)])
    return kind + (0.8 * float(thing.colour[COLOURS.index(asked.colour)]) if asked.colour else 0.0)


def said(reading: Reading, prompt: ExamPrompt) -> dict[str, str]:
    """The words that the clip shows for what the prompt asks, joined as in `ExamPrompt.asked`."""
    found = match(reading, prompt.objects)
    first = found[0]
    things = list(zip(found, prompt.objects))
    words = {
        "count": str(reading.count),
        "camera": _word(MOVES, reading.camera),
        "floor": _word(FLOORS, reading.floor),
        "background": _word(BACKGROUNDS, reading.background),
        "time": _word(TIMES_OF_DAY, reading.time),
        "style": _word(STYLES, reading.style),
        "object": " + ".join("nothing" if thing is None else _word(KINDS, thing.kind) for thing in found),
        "colour": " + ".join(
            "nothing" if thing is None else colours(thing, one) for thing, one in things if one.colour
        ),
        "relation": " + ".join(
            "nothing" if thing is None or first is None else ", ".join(relations(first, thing))
            for thing, one in things
            if one.relation
        ),
        "event": ", ".join(sorted(events(first, found[-1]))) if prompt.event else "",
    }
    if first is not None:
        turns = prompt.objects[0].then is not None
        words |= {
            "motion": _word(MOTIONS, first.halves[0] if turns else first.motion),
            "then": _word(MOTIONS, first.halves[1]),
            "direction": _word(DIRECTIONS, (first.half_directions[0] if turns else first.direction) * GOING),
            "speed": _word(SPEEDS, first.speed * ENDS),
            "size": _word(SIZES, first.size * (ENDS if prompt.level is None else UPPER)),
            "material": _word(MATERIALS, first.material * RARE),
            "pattern": _word(PATTERNS, first.pattern * RARE),
        }
    return {name: words.get(name, "nothing") or "none" for name in prompt.asked}


def colours(thing: Thing, asked: AskedObject) -> str:
    """The thing's colour; where a change of colour is asked, the first and the last, "cyan to brown"."""
    first = _word(COLOURS, thing.colour)
    return f"{first} to {_word(COLOURS, thing.last_colour)}" if asked.colour_to else first


def relations(first: Thing, other: Thing) -> list[str]:
    """Where the other stands, as seen from the first; "behind" and "right of" may hold at once.

    Judged in the middle of the clip. Things on one floor stand lower in the picture the nearer they are; a thing
    that bounces or rises stands where it is lowest.
    """
    middle = slice(len(first.area) // 4, max(len(first.area) // 4 + 1, 3 * len(first.area) // 4))
    seen = [thing.boxes[middle] if (thing.area[middle] > 0).any() else thing.boxes for thing in (first, other)]
    one, two = (np.nanmedian(boxes, 0) for boxes in seen)
    across = (two[0] + two[2] - one[0] - one[2]) / 2
    foot, other_foot = (float(np.nanquantile(thing.boxes[:, 3], 0.85)) for thing in (first, other))
    deeper = other_foot - foot  # positive: lower in the picture, nearer
    overlap = min(one[2], two[2]) - max(one[0], two[0])
    resting = abs(two[3] - one[1]) < 0.25 * (one[3] - one[1]) + 0.04
    if overlap > 0.4 * min(one[2] - one[0], two[2] - two[0]) and resting:
        return ["on top of"]
    found = []
    if abs(across) > BESIDE and abs(across) > abs(deeper):
        found.append("left of" if across < 0 else "right of")
    if abs(deeper) > DEEPER:
        found.append("behind" if deeper < 0 else "in front of")
    return found


def events(first: Thing | None, second: Thing | None) -> set[str]:
    """What the first does with the second, of the pair events; none if either is missing.

    | event            | what is looked for                                                              |
    |------------------|---------------------------------------------------------------------------------|
    | pass behind      | from one side of the second to the other, less of the first seen on the way      |
    | pass in front of | the same, less of the second seen on the way                                      |
    | orbit            | to the other side and back again                                                  |
    | chase            | both go the same way all the time, the first after the second                     |
    | meet             | both go towards each other and end side by side                                   |
    | collide          | the first comes to the second, which moves off the same way only then             |
    """
    if first is None or second is None:
        return set()
    one, two = _filled(first.centres[:, 0]), _filled(second.centres[:, 0])
    length = len(one)
    early, late = slice(0, max(1, length // 5)), slice(-max(1, length // 5), None)
    middle = slice(length // 3, max(length // 3 + 1, 2 * length // 3))
    apart = one - two  # positive: the first is to the right
    before, after = (float(np.median(apart[part])) for part in (early, late))
    went, went_second = (float(np.median(x[late]) - np.median(x[early])) for x in (one, two))
    width = float(np.nanmedian(second.boxes[:, 2] - second.boxes[:, 0]))
    found: set[str] = set()
    if before * after < 0 and min(abs(before), abs(after)) > 0.4 * width and abs(went_second) < 0.5 * abs(went):
        first_seen, second_seen = (_least(thing.area, middle) for thing in (first, second))
        found.add("pass behind" if first_seen < second_seen else "pass in front of")
    half = apart[length // 2 - length // 6 : length // 2 + length // 6 + 1]
    if before * after > 0 and before * float(np.median(half)) < 0 and abs(went_second) < GONE:
        found.add("orbit")
    if min(abs(went), abs(went_second)) > GONE and went * went_second > 0 and (apart * went < 0).all():
        steps = np.median(two[length // 4 : length // 2]) - np.median(two[early])
        if abs(steps) > 0.15 * abs(went_second):
            found.add("chase")
    gap = _gap(first, second, late)
    if (
        went * went_second < 0
        and min(abs(went), abs(went_second)) > GONE
        and before * after > 0
        and gap < NEAR * width
    ):
        found.add("meet")
    at = length // 2
    came, stayed = one[at] - np.median(one[early]), two[at - 1] - np.median(two[early])
    pushed = float(np.median(two[late])) - two[at - 1]
    if came * pushed > 0 and abs(came) > GONE and abs(pushed) > GONE and abs(stayed) < 0.45 * abs(pushed):
        found |= {"collide"} if before * came < 0 and after * came < 0 else set()
    if "collide" in found:
        found.discard("chase")
    return found


def _filled(values: np.ndarray) -> np.ndarray:
    """Gaps bridged by straight lines."""
    there = ~np.isnan(values)
    return np.interp(np.arange(len(values)), there.nonzero()[0], values[there])


def _least(area: np.ndarray, middle: slice) -> float:
    """How little of a thing is seen on the way, as a share of what is seen of it otherwise."""
    return float(area[middle].min() / max(np.median(area[area > 0]), 1e-6))


def _gap(first: Thing, second: Thing, part: slice) -> float:
    """The free space between two things' boxes, in picture widths; negative where they overlap."""
    one, two = (
        np.nanmedian(t.boxes[part], 0) if (t.area[part] > 0).any() else np.full(4, np.nan) for t in (first, second)
    )
    gap = max(two[0] - one[2], one[0] - two[2])
    return float(gap) if np.isfinite(gap) else 1.0


def _word(words: Sequence[str], values: np.ndarray) -> str:
    return words[int(values.argmax())]


__all__ = ["answer", "colours", "events", "match", "relations", "said"]
