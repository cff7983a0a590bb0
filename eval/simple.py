"""Makes the lists of levels 0 and 1 of Diorama, lists/simple-dev.jsonl and lists/simple-test.jsonl.

    python -m kinema.eval.simple

Models that were trained on these levels alone sit them in place of the exam. The lists are frozen: the command
writes what is there already, and a test holds it to that. Each has 92 prompts of tier A and 68 of tier B, which
makes at least 50 prompts, and with four clips each 200 clips, of every attribute that these levels have:

| attribute                     | tiers | asked by                                                            |
|-------------------------------|-------|---------------------------------------------------------------------|
| object, colour, motion        | A, B  | every prompt                                                        |
| direction                     | A, B  | 50 of a tier go left or right; 42 and 18 do what has no direction   |
| floor, background, time, size | A, B  | most; every prompt states at least two of the first three           |
| speed                         | A     | what goes or spins, slow or fast                                    |

There is nothing else to ask: the camera is always still, there is one thing, plain, matte and never small. Words
are used evenly. Texts have the words of the corpus's captions in an order that captions never have. The two lists
share no text and no combination of object, colour, motion and direction; true clips are staged anew, so that
neither shares a scene with training.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..data.diorama.draws import Draws
from ..data.diorama.rules import HELDOUT_COLOURS, HELDOUT_FLOORS, HELDOUT_MOTIONS
from ..data.diorama.scene import BACKGROUNDS, COLOURS, TIMES_OF_DAY
from ..data.diorama.simple import FIRST_KINDS, GOES, actions_of
from ..data.diorama.words import (
    BACKGROUND_WORDS,
    COLOUR_WORDS,
    DIRECTION_WORDS,
    FLOOR_WORDS,
    KIND_WORDS,
    SIZE_WORDS,
    SPEED_WORDS,
    TIME_WORDS,
    VERBS,
)
from .questions import LISTS, ExamPrompt, heldout_facts

T = TypeVar("T")
FLOORS = ("grass", "sand", "snow", "wood", "checkered", "stone")
STAYS = ("stand", "bounce", "fall", "spin", "rise", "grow", "shrink")
GO = 50  # prompts of a tier that go left or right
EACH = 6  # of tier A for each motion that stays
PAIRS = {"motion": 10, "colour": 8}  # of tier B, of what stays, held out for its motion or its colour
GO_PAIRS = {"floor": 36, "colour": 8, "motion": 6}  # of tier B, of what goes
SAID = {"size": {"A": 52, "B": 50}, "speed": {"A": 52, "B": 0}, "all of the scene": {"A": 0, "B": 17}}
Key = tuple[str, str, str, str]  # object, colour, motion, direction


class Even:
    """Picks options as evenly as it can; of those used least, one at random."""

    def __init__(self, draws: Draws) -> None:
        self.draws = draws
        self.used: dict[str, Counter[Any]] = {}

    def pick(self, name: str, options: Sequence[T]) -> T:
        """One of the options; `name` tells what is counted."""
        used = self.used.setdefault(name, Counter())
        least = min(used[option] for option in options)
        found = self.draws.choice([option for option in options if used[option] == least])
        used[found] += 1
        return found


def make(name: str, taken: set[Key] | None = None) -> list[ExamPrompt]:
    """The list "simple-dev" or "simple-test".

    Args:
        name: of the list.
        taken: object, colour, motion and direction of prompts elsewhere; those of this list are added.
    """
    taken = set() if taken is None else taken
    prompts = []
    for tier in ("A", "B"):
        draws = Draws("simple list", name, tier)
        even, slots = Even(draws), _slots(tier)
        stated = {what: _some(draws, len(slots), count[tier]) for what, count in SAID.items()}
        movers = [n for n, (action, _) in enumerate(slots) if action in ("go", "spin")]
        fast = dict(zip(movers, _some(draws, len(movers), SAID["speed"][tier])))
        for place in _shuffled(draws, range(len(slots))):
            facts = _facts(even, *slots[place], taken)
            if stated["size"][place]:
                facts["size"] = even.pick("size", ("medium", "large"))
            if fast.get(place):
                facts["speed"] = even.pick("speed", ("slow", "fast"))
            scene = {"floor": facts.pop("floor", None)}
            if not stated["all of the scene"][place]:
                open_ = ("background", "time") if scene["floor"] else ("floor", "background", "time")
                unsaid = even.pick("unsaid", open_)
            else:
                unsaid = ""
            if unsaid != "floor" and not scene["floor"]:
                fitting = [f for f in FLOORS if tier == "B" or (facts["kind"], f) not in HELDOUT_FLOORS]
                scene["floor"] = even.pick("floor", fitting)
            if unsaid != "background":
                scene["background"] = even.pick("background", BACKGROUNDS)
            if unsaid != "time":
                scene["time"] = even.pick("time", TIMES_OF_DAY)
            values = {"tier": tier, "level": 1, "objects": [facts], **{k: v for k, v in scene.items() if v}}
            number = 1 + sum(prompt.tier == tier for prompt in prompts)
            values |= {"id": f"s{name.removeprefix('simple-')[0]}{tier.lower()}{number:02d}"}
            prompts.append(ExamPrompt.model_validate(values | {"text": _text(draws, facts, scene)}))
    return prompts


def _slots(tier: str) -> list[tuple[str, str]]:
    """What the thing does ("go", or a motion that stays; "" is open), and for what it is held out."""
    if tier == "A":
        return [("go", "")] * GO + [(action, "") for action in STAYS for _ in range(EACH)]
    goes = [("go", why) for why, count in GO_PAIRS.items() for _ in range(count)]
    return goes + [("", why) for why, count in PAIRS.items() for _ in range(count)]


def _facts(even: Even, action: str, why: str, taken: set[Key]) -> dict[str, Any]:
    """Object, colour, motion and direction of a prompt, and its floor where that is what is held out."""
    goes = action == "go"
    options: list[tuple[str, str, str, str]] = []  # kind, motion, colour, floor; "" is not decided yet
    for kind in FIRST_KINDS:
        motions = [m for m in actions_of(kind, 1) if (m == GOES.get(kind)) == goes and action in ("go", "", m)]
        for motion in motions:
            held = (kind, motion) in HELDOUT_MOTIONS
            if held != (why == "motion"):
                continue
            colours = [c for c in COLOURS if ((kind, c) in HELDOUT_COLOURS) == (why == "colour")]
            floors = [f for f in FLOORS if (kind, f) in HELDOUT_FLOORS] if why == "floor" else [""]
            options += [(kind, motion, colour, floor) for colour in colours for floor in floors]
    ways = ("left", "right") if goes else ("",)
    free = [o for o in options if any((o[0], o[2], o[1], way) not in taken for way in ways)]
    kind = even.pick("kind", sorted({o[0] for o in free}))
    motion = even.pick("motion", sorted({o[1] for o in free if o[0] == kind}))
    colour = even.pick("colour", sorted({o[2] for o in free if o[:2] == (kind, motion)}))
    floor = next(o[3] for o in free if o[:3] == (kind, motion, colour))
    way = even.pick("way", [way for way in ways if (kind, colour, motion, way) not in taken])
    taken.add((kind, colour, motion, way))
    facts = {"kind": kind, "colour": colour, "motion": motion, "direction": way, "floor": floor}
    return {name: word for name, word in facts.items() if word}


def _text(draws: Draws, facts: dict[str, Any], scene: dict[str, Any]) -> str:
    """A prompt's words: of the scene, some stand before what is done, or the thing has no "a"."""
    verb = draws.choice(VERBS[facts["motion"]])
    to = draws.choice(DIRECTION_WORDS[facts.get("direction", "")])
    pace = f" {draws.choice(SPEED_WORDS[facts['speed']])}" if "speed" in facts else ""
    does, doing = (f"{form.format(to=to).strip()}{pace}" for form in verb)
    words = [draws.choice(SIZE_WORDS[facts["size"]])] if "size" in facts else []
    thing = " ".join(
        [*words, draws.choice(COLOUR_WORDS[facts["colour"]]), draws.choice(KIND_WORDS[facts["kind"]])]
    )
    one = ("an " if thing[0] in "aeiou" else "a ") + thing
    tables = {"floor": FLOOR_WORDS, "background": BACKGROUND_WORDS, "time": TIME_WORDS}
    said = [draws.choice(tables[name][scene[name]]) for name in tables if scene.get(name)]
    first, *rest = _shuffled(draws, said)
    text = draws.choice(
        (
            f"{first}, {one} {does} {' '.join(rest)}",
            f"{first}: {one} {doing}, {', '.join(rest)}",
            f"{', '.join([first, *rest])}, {thing} {doing}",
            f"{thing} {first}, {doing}, {' '.join(rest)}",
            f"{one} {first} {does}, {' '.join(rest)}",
            f"the {thing} {does} {first}, {', '.join(rest)}",
            f"there is {one} {first}. It {does}, {', '.join(rest)}",
        )
    )
    return text[0].upper() + text[1:] + "." if draws.chance(0.5) else text


def _some(draws: Draws, count: int, chosen: int) -> list[bool]:
    """`count` answers, of which `chosen` at random places are yes."""
    return _shuffled(draws, [number < chosen for number in range(count)])


def _shuffled(draws: Draws, items: Sequence[T]) -> list[T]:
    return [item for _, _, item in sorted((draws.uniform(), place, item) for place, item in enumerate(items))]


def both() -> dict[str, list[ExamPrompt]]:
    """The two lists, by name; they share no combination of object, colour, motion and direction."""
    taken: set[Key] = set()
    return {name: make(name, taken) for name in ("simple-dev", "simple-test")}


def write(folder: Path = LISTS) -> list[Path]:
    """Write the lists into a folder; returns their paths."""
    paths = []
    for name, prompts in both().items():
        wrong = [prompt.id for prompt in prompts if (prompt.tier == "B") != bool(heldout_facts(prompt))]
        if wrong:
            raise ValueError(f"{name}: prompts in a wrong tier: {', '.join(wrong)}")
        lines = [p.model_dump_json(exclude_none=True, exclude_defaults=True) for p in prompts]
        paths.append(folder / f"{name}.jsonl")
        paths[-1].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return paths


if __name__ == "__main__":
    sys.stdout.write("".join(f"{path}\n" for path in write()))
