"""The exam's prompts: what each says, and what it asks for in Diorama's terms.

The lists stand in lists/*.jsonl, one prompt a line:

| list        | prompts | for                                                                                  |
|-------------|---------|--------------------------------------------------------------------------------------|
| test        | 400     | the exam; frozen: it never changes                                                   |
| dev         | 200     | choosing settings and finding faults; nothing is reported from it                    |
| probe       | 210     | the headline: one question at a time on a plain stage, worded by the corpus's grammar |
| quick       | 24      | a first look, and what CI runs: one object, within the world of the smallest presets |
| simple-test | 160     | the exam of models that know levels 0 and 1 of Diorama alone (`simple`)              |
| simple-dev  | 160     | to it what dev is to test                                                            |

Tiers: A, one object in other wording than the corpus's; B, compositions held out of training; C, several objects
with relations, counts and events, and one thing after another; P, probes.

A fact that a prompt does not state is absent from its record and is not asked. `ExamPrompt.asked` is what the
judges answer.
"""

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..data.diorama.rules import HELDOUT_COLOURS, HELDOUT_FLOORS, HELDOUT_MOTIONS
from ..data.diorama.scene import (
    COLOURLESS,
    Action,
    Background,
    Colour,
    Direction,
    Floor,
    Kind,
    Move,
    TimeOfDay,
)  # fmt: skip
from ..data.diorama.simple import FIRST_KINDS, SIMPLE_KINDS
from ..data.diorama.simple import actions_of as simple_actions_of
from ..data.diorama.stage import FLAT_TOPPED, FLOATING, actions_of

LISTS = Path(__file__).with_name("lists")
NAMES = ("test", "dev", "probe", "quick", "simple-test", "simple-dev")
SIDEWAYS = ("left", "right")
GOING = ("roll", "slide", "drive", "sail", "fly", "waddle")

# What the judges can tell apart. "roll", "slide" and the like differ by what moves, not by how.
MOTIONS = (
    "stand", "travel", "hop", "bounce", "fall", "spin", "rise", "grow", "shrink", "swing", "change colour",
)  # fmt: skip
ATTRIBUTES = (
    "object", "colour", "size", "material", "pattern", "count", "relation", "event", "motion", "then", "direction",
    "speed", "camera", "floor", "background", "time", "style",
)  # fmt: skip

# Stated by too few prompts of a tier (under 50) for marks of 200 clips, so not asked there.
RARELY_STATED = {"C": ("size", "speed", "camera", "background")}


def motion_word(action: str) -> str:
    """The judges' word for an action of Diorama."""
    return "travel" if action in GOING else action


class Fact(BaseModel):
    """Part of a prompt's record; unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AskedObject(Fact):
    """One object, or a row of alike ones, as a prompt describes it."""

    kind: Kind
    colour: Colour | None = None
    size: Literal["small", "medium", "large"] | None = None  # medium: of prompts with a level alone
    material: Literal["shiny", "metallic", "glowing"] | None = None
    pattern: Literal["striped", "spotted", "checkered"] | None = None
    count: int | None = Field(default=None, ge=1, le=4)  # 2 to 4: a row
    motion: Action | None = None
    direction: Direction | None = None  # left, right, towards or away, of travel
    speed: Literal["slow", "fast"] | None = None
    colour_to: Colour | None = None  # of "change colour"
    then: Action | None = None  # what it does in the clip's second half
    then_direction: Direction | None = None
    relation: Literal["left of", "right of", "behind", "in front of", "on top of"] | None = (
        None  # to the first one
    )

    @property
    def colours(self) -> str:
        """Its colour; "cyan to brown" if it changes."""
        return f"{self.colour} to {self.colour_to}" if self.colour_to else str(self.colour)


class ExamPrompt(Fact):
    """A prompt and what it asks for."""

    id: str
    tier: Literal["A", "B", "C", "P"]
    text: str
    objects: tuple[AskedObject, ...] = Field(min_length=1, max_length=3)
    event: Literal["pass behind", "pass in front of", "chase", "meet", "collide", "orbit"] | None = None
    floor: Floor | None = None
    background: Background | None = None
    time: TimeOfDay | None = None
    camera: Move | None = None
    style: Literal["cartoon", "black and white", "sepia", "pixel art", "sketch"] | None = None
    level: Literal[0, 1] | None = None  # of Diorama: what the prompt leaves open is as it is at this level
    focus: tuple[str, ...] = ()  # of a probe: the attributes it counts for; () all that it asks

    @cached_property
    def asked(self) -> dict[str, str]:
        """Attribute to the asked words. Several objects' words are joined by " + "; all must be right."""
        first, things = self.objects[0], self.objects
        words: dict[str, str | None] = {
            "object": " + ".join(thing.kind for thing in things),
            "colour": " + ".join(thing.colours for thing in things if thing.colour) or None,
            "size": first.size,
            "material": first.material,
            "pattern": first.pattern,
            "count": str(first.count) if first.count else (str(len(things)) if len(things) > 1 else None),
            "relation": " + ".join(thing.relation for thing in things if thing.relation) or None,
            "event": self.event,
            "motion": motion_word(first.motion) if first.motion else None,
            "then": motion_word(first.then) if first.then else None,
            "direction": first.direction,
            "speed": first.speed,
            "camera": self.camera,
            "floor": self.floor,
            "background": self.background,
            "time": self.time,
            "style": self.style,
        }
        if self.event == "orbit":
            words["motion"] = words["direction"] = None
        left_out = RARELY_STATED.get(self.tier, ())
        return {
            name: word
            for name, word in words.items()
            if word and name not in left_out and (not self.focus or name in self.focus)
        }


def heldout_facts(prompt: ExamPrompt) -> list[tuple[str, str]]:
    """The compositions in a prompt that training never shows together."""
    found: list[tuple[str, str]] = []
    for thing in prompt.objects:
        found += [
            (thing.kind, c) for c in (thing.colour, thing.colour_to) if c and (thing.kind, c) in HELDOUT_COLOURS
        ]
        found += [(thing.kind, a) for a in (thing.motion, thing.then) if a and (thing.kind, a) in HELDOUT_MOTIONS]
        if prompt.floor and (thing.kind, prompt.floor) in HELDOUT_FLOORS:
            found.append((thing.kind, prompt.floor))
    return found


def problems(prompt: ExamPrompt) -> list[str]:
    """Why no Diorama scene can show the prompt, or why it stands in the wrong tier; [] if all is well."""
    found: list[str] = []
    first, things = prompt.objects[0], prompt.objects
    for thing in things:
        for action in (thing.motion, thing.then):
            if action and action not in actions_of(thing.kind):
                found.append(f"a {thing.kind} cannot {action}; it can {', '.join(actions_of(thing.kind))}")
        for action, to in ((thing.motion, thing.direction), (thing.then, thing.then_direction)):
            ways = _ways(action)
            if to and to not in ways:
                found.append(f"{action} has no direction {to}; it has {ways}")
        if thing.speed and not _ways(thing.motion) and thing.motion != "spin":
            found.append(f"{thing.motion} has no speed")
        if (thing.motion == "change colour") != (thing.colour_to is not None) and thing.then != "change colour":
            found.append("colour_to goes with change colour")
        if thing.then and thing.then == thing.motion and thing.direction == thing.then_direction:
            found.append("both halves are the same")
        if "sail" in (thing.motion, thing.then) and prompt.floor not in (None, "water"):
            found.append("sailing needs water")
        if thing.material and thing.pattern:
            found.append("a material and a pattern at once")
        if prompt.style in COLOURLESS and (thing.colour or thing.colour_to):
            found.append(f"{prompt.style} has no colours")
        if prompt.floor == "water" and thing.kind not in FLOATING and thing.motion != "fly":
            found.append(f"a {thing.kind} does not float")
    if prompt.style in COLOURLESS and prompt.time:
        found.append(f"{prompt.style} has no time of day")
    if first.relation or any((thing.count or 1) > 1 for thing in things[1:]):
        found.append("the first object has no relation, the others no count")
    if len(things) > 1 and (first.count or 1) > 1:
        found.append("a row stands alone")
    if len({thing.kind for thing in things}) < len(things):
        found.append("objects are of different kinds")
    colours = [thing.colour for thing in things if thing.colour]
    if len(set(colours)) < len(colours):
        found.append("objects are of different colours")
    relations = [thing.relation for thing in things[1:] if thing.relation]
    if len(set(relations)) < len(relations):
        found.append("two objects in the same relation")
    if "on top of" in relations and (first.kind not in FLAT_TOPPED or first.motion not in (None, "stand")):
        found.append(f"only {', '.join(FLAT_TOPPED)} that stand can carry something")
    if {"left of", "right of"} & set(relations) and _ways(first.motion) and not prompt.event:
        found.append("left of and right of need a subject that stays")
    if prompt.camera == "track" and first.direction not in SIDEWAYS:
        found.append("track needs a subject that goes left or right")
    found += _event_problems(prompt) + _level_problems(prompt)
    held = heldout_facts(prompt)
    if (prompt.tier == "B") != bool(held) and prompt.tier != "P":
        found.append(f"tier {prompt.tier} and held-out pairs {held}")
    if prompt.tier in "ABP" and len(things) > 1 and prompt.tier != "P":
        found.append(f"tier {prompt.tier} has one object")
    return found


def _ways(action: str | None) -> tuple[str, ...]:
    """The directions that an action can have."""
    if action in ("roll", "fly"):
        return SIDEWAYS
    return (*SIDEWAYS, "towards", "away") if action in (*GOING, "hop") else ()


def _event_problems(prompt: ExamPrompt) -> list[str]:
    first, event = prompt.objects[0], prompt.event
    if not event:
        return []
    if len(prompt.objects) != 2 or any(thing.then or thing.relation for thing in prompt.objects):
        return ["an event has two objects, without relation and second motion"]
    second = prompt.objects[1]
    goes, stays = first.direction in SIDEWAYS and _ways(first.motion), second.motion in (None, "stand")
    if event == "orbit":
        return [] if stays and first.motion is None else ["orbit: the first has no other motion, the second stays"]
    if event in ("pass behind", "pass in front of", "collide"):
        return [] if goes and stays else [f"{event}: the first goes left or right, the second stays"]
    opposite = {"left": "right", "right": "left"}
    wanted = first.direction if event == "chase" else opposite.get(first.direction or "")
    right = goes and _ways(second.motion) and second.direction == wanted
    return (
        [] if right else [f"{event}: both go sideways, in {'one' if event == 'chase' else 'opposite'} direction"]
    )


def _level_problems(prompt: ExamPrompt) -> list[str]:
    """What a prompt with a level asks that Diorama does not show at that level."""
    level, first, found = prompt.level, prompt.objects[0], list[str]()
    if level is None:
        return ["medium is asked at a level of Diorama alone"] if first.size == "medium" else []
    kinds, sizes = (SIMPLE_KINDS, ("large",)) if level == 0 else (FIRST_KINDS, ("medium", "large"))
    skies, times = ("plain",), ("day", "sunset", "night")
    floors = ("grass", "sand", "snow", "wood")
    if level == 1:
        skies, times = (*skies, "hills", "mountains", "city"), (*times, "dawn")
        floors = (*floors, "checkered", "stone")
    of_each = (
        (first.kind, kinds), (first.size, sizes), (prompt.floor, floors), (prompt.background, skies),
        (prompt.time, times), (prompt.camera, ("static",)), (first.direction, SIDEWAYS),
        (first.motion, tuple(simple_actions_of(first.kind, level))),
    )  # fmt: skip
    found += [f"level {level} has no {word}; it has {', '.join(words)}" for word, words in of_each
              if word is not None and word not in words]  # fmt: skip
    more = (first.material, first.pattern, first.count, first.then, prompt.style, prompt.event)
    if len(prompt.objects) > 1 or any(more):
        found.append(f"level {level} has one plain object with one motion, drawn realistically")
    return found


def load_prompts(source: str | Path = "test", count: int | None = None) -> list[ExamPrompt]:
    """A list of prompts.

    Args:
        source: one of `NAMES`, or a file in the same format.
        count: only the first so many.

    Raises:
        FileNotFoundError: no such list or file.
        ValueError: a line that is no prompt, that asks nothing or repeats an id, named with its number; no prompt
            at all, or fewer than asked for.
    """
    path = LISTS / f"{source}.jsonl" if source in NAMES else Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"{source} is neither a list of prompts (full, {', '.join(NAMES)}) nor a file")
    prompts = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            prompt = ExamPrompt.model_validate_json(line)
        except ValidationError as error:
            where = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ValueError(f"{path}, line {number} is no prompt: {where}") from None
        if not prompt.asked:
            raise ValueError(f"{path}, line {number}: {prompt.id} states none of its focus, {list(prompt.focus)}")
        if any(prompt.id == other.id for other in prompts):
            raise ValueError(f"{path}, line {number} is a second {prompt.id}; each prompt needs an id of its own")
        prompts.append(prompt)
    if not prompts:
        raise ValueError(f"{path} holds no prompt; it needs one a line, as {LISTS / 'dev.jsonl'} has them")
    if count is not None and not 1 <= count <= len(prompts):
        raise ValueError(f"{count} prompts were asked for; {path} has {len(prompts)}")
    return prompts[:count]


def clip_seed(prompt: ExamPrompt, sitting: int) -> int:
    """The seed of a prompt's clip in a sitting, 0, 1, …: the same whatever other prompts are asked."""
    return int.from_bytes(hashlib.blake2b(f"{prompt.id}/{sitting}".encode(), digest_size=4).digest(), "big") >> 1


def digest(prompts: Iterable[ExamPrompt]) -> str:
    """A short name for exactly these prompts and facts, in this order."""
    lines = [json.dumps(prompt.model_dump(exclude_none=True), sort_keys=True) for prompt in prompts]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
