"""What a prompt tells of a Diorama scene, read by the phrases of its captions."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ...data.diorama import words as tables
from ...data.diorama.scene import COLOURLESS

WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+")
_OF_CAMERA = (
    "is does not still move moves pan pans turn turns tilt tilts look looks pull pulls orbit orbits circle "
    "circles rise rises crane cranes sink sinks follow follows track tracks shake shakes handheld shaky left "
    "right up down in back closer to the it and"
)
_CUES = {
    "floor": "grass sand snow wood wooden tiles floor stone concrete road water",
    "time": "day sunny daylight sunset evening night dawn morning",
    "direction": "left right clockwise counterclockwise toward towards away distance",
    "verb": "move moves moving still standing stand rest resting fly",
    "style": "sepia cartoon sketch pixel",
}


def article(follows: str, like: str = "a") -> str:
    """ "a" or "an", as the next word wants it; with a capital letter if `like` has one."""
    found = "an" if follows[0].lower() in "aeiou" else "a"
    return found.capitalize() if like[0].isupper() else found


@dataclass(frozen=True)
class Tag:
    """Some words of a prompt, and what they tell."""

    kind: str  # "kind", "colour", "verb", "floor" …
    value: str  # such as "car", "red", "drive", "grass"; "" where it cannot be said
    first: int  # of its words, and one behind its last
    end: int


class Said:
    """What a prompt tells."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = list(WORD.finditer(text))
        self.lower = [match.group().lower() for match in self.words]
        self.tags = list(_tags(self.lower))
        self.things = [tag for tag in self.tags if tag.kind == "kind"]
        self.colourless = any(tag.kind == "style" and tag.value in COLOURLESS for tag in self.tags)

    def has(self, *kinds: str) -> bool:
        """Whether something of these kinds is told."""
        return any(tag.kind in kinds for tag in self.tags)

    def values(self, kind: str) -> list[str]:
        """What is told of a kind."""
        return [tag.value for tag in self.tags if tag.kind == kind]

    def insert(self, place: int, words: str) -> str:
        """The text with words before its word number `place`; an article in front is made to fit."""
        if place < len(self.words):
            at = self.words[place].start()
            head, tail = self.text[:at], f"{words} {self.text[at:]}"
        else:
            at = self.words[-1].end() if self.words else 0
            head, tail = self.text[:at].rstrip() + (" " if at else ""), words + self.text[at:]
        if place and self.lower[place - 1] in ("a", "an"):
            before = self.words[place - 1]
            head = head[: before.start()] + article(words, before.group()) + head[before.end() :]
        return head + tail

    def after(self, place: int, words: str) -> str:
        """The text with words behind its word number `place`."""
        at = self.words[place].end()
        return f"{self.text[:at]} {words}{self.text[at:]}"

    def adjectives(self, thing: Tag) -> list[Tag]:
        """What stands before a thing, without a gap."""
        found, place = [], thing.first
        for tag in reversed([tag for tag in self.tags if tag.end <= thing.first]):
            if tag.end != place or tag.kind not in ("colour", "size", "finish", "number"):
                break
            found, place = [tag, *found], tag.first
        return found

    def several(self, thing: Tag) -> bool:
        """Whether there is more than one of a thing."""
        numbers = any(tag.kind == "number" for tag in self.adjectives(thing))
        return numbers or self.lower[thing.end - 1] not in tables.KIND_WORDS[thing.value]

    def end_of_clause(self, stops: tuple[str, ...]) -> int:
        """The last word of the subject's clause, before any phrase of these kinds: captions have them later."""
        start = self.things[0].end
        for place in range(start, len(self.words)):
            if any(tag.first == place and tag.kind in stops for tag in self.tags):
                return place - 1
            between = self.text[self.words[place - 1].end() : self.words[place].start()]
            if re.search(r"[.;!?]", between) or ("," in between and self.lower[place] not in ("then", "and")):
                return place - 1
        return len(self.words) - 1


def told_by(word: str) -> str:
    """What kind of thing a single word tells; "": none."""
    return _phrases().get((word.lower(),), ("", ""))[0]


def _tags(words: list[str]) -> Iterator[Tag]:
    """What each stretch of words tells, the longest known phrase first; some tell nothing."""
    phrases, place = _phrases(), 0
    longest, of_camera = max(map(len, phrases)), _OF_CAMERA.split()
    while place < len(words):
        if words[place] == "camera":
            end = place + 1
            while end < len(words) and words[end] in of_camera:
                end += 1
            yield Tag("camera", "", place, end)
            place = end
            continue
        for length in range(min(longest, len(words) - place), 0, -1):
            if found := phrases.get(tuple(words[place : place + length])):
                yield Tag(*found, place, place + length)
                place += length
                break
        else:
            place += 1


@cache
def _phrases() -> dict[tuple[str, ...], tuple[str, str]]:
    """Every phrase of captions, as words, and what it tells."""
    found: dict[tuple[str, ...], tuple[str, str]] = {}

    def add(phrase: str, kind: str, value: str) -> None:
        if words := tuple(WORD.findall(phrase.lower())):
            found[words] = (kind, value)

    for kind, cues in _CUES.items():
        for word in cues.split():
            add(word, kind, "")
    named: list[tuple[str, Mapping[Any, tuple[str, ...]]]] = [
        ("colour", tables.COLOUR_WORDS), ("size", tables.SIZE_WORDS), ("background", tables.BACKGROUND_WORDS),
        ("direction", tables.DIRECTION_WORDS), ("time", tables.TIME_WORDS), ("style", tables.STYLE_WORDS),
        ("finish", tables.MATERIAL_WORDS), ("finish", tables.PATTERN_WORDS), ("floor", tables.FLOOR_WORDS),
        ("floor", tables.OVER_WORDS),
    ]  # fmt: skip
    for kind, table in named:
        for value, options in table.items():
            for phrase in options:
                add(phrase, kind, value)
                if kind == "floor":
                    add(phrase.split(" ", 1)[1], kind, value)
    for value, options in tables.KIND_WORDS.items():
        for word in options:
            add(word, "kind", value)
            add(tables.plural(word), "kind", value)
    for options in tables.NUMBER_WORDS.values():
        add(options[0], "number", options[0])
    verbs = [*tables.VERBS.items(), *((key[1], pairs) for key, pairs in tables.VERBS_OF.items())]
    for action, pairs in verbs:
        for present, participle in pairs:
            for form in (present, participle, tables.plural_verb(present)):
                for colour in tables.COLOUR_WORDS if "{colour}" in form else ("",):
                    add(form.format(to="", colour=colour), "verb", action)
    for event, pairs in tables.EVENT_VERBS.items():
        for pair in pairs:
            for form in pair:
                add(form, "event", event)
    return found
