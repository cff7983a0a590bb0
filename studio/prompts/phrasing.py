"""Prompts made into whole captions of Diorama, by the words and the grammar of its captions; offline.

What somebody said stays as it is said. What a caption has besides is added where captions have it: colour, motion
and direction, floor, time of day, camera. It is drawn with the prompt as the seed, of what such things do in
training clips, in words that the model knows.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import cast

from ...data.diorama import words as tables
from ...data.diorama.draws import Draws
from ...data.diorama.rules import HELDOUT_COLOURS, HELDOUT_FLOORS, HELDOUT_MOTIONS
from ...data.diorama.scene import TRAVEL, Action, Kind
from ...data.diorama.stage import FLOATING, TRAVELS, actions_of
from .near_words import nearest_word
from .phrases import WORD, Said, Tag, article, told_by

ROUNDS = 12  # of additions at most: each fills one gap
SPINS = frozenset({"spin"})
STAGED = ("spin", "bounce", "rise", "fall", "hop", "grow", "shrink")  # what is added to things that do not travel
CLASHES = {  # colours that are hard to see there
    "grass": ("green",), "snow": ("white", "gray"), "sand": ("yellow", "orange", "brown"),
    "wood": ("brown", "orange"),
    "stone": ("gray",), "road": ("gray", "black"), "water": ("blue", "cyan"), "night": ("black", "purple"),
}  # fmt: skip
_ARTICLES = ("a", "an", "the")
_LEADING = re.compile(r"\b(?:a|an|the)\s+(?:\0\s*)+(?=(\w*))", re.IGNORECASE)  # an article before a hole
_NAMED = frozenset({"kind", "colour", "size", "finish", "number"})  # what can stand behind an article


class Grammar:
    """The phrases of captions that a model knows every word of.

    Args:
        vocabulary: its words.
    """

    def __init__(self, vocabulary: Iterable[str]) -> None:
        self.vocabulary = frozenset(vocabulary)

    @property
    def speaks(self) -> bool:
        """Whether these are words of Diorama's captions: then its grammar can add to prompts."""
        return bool(self.kinds) and self.vocabulary <= frozenset(tables.VOCABULARY)

    @cached_property
    def kinds(self) -> dict[str, tuple[str, ...]]:
        """The things that can be named."""
        return self.known(tables.KIND_WORDS)

    def known(self, table: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        """The entries of a table that can be said."""
        found = {name: tuple(p for p in phrases if self.has(p)) for name, phrases in table.items()}
        return {name: phrases for name, phrases in found.items() if phrases}

    def has(self, phrase: str) -> bool:
        """Whether every word of a phrase is known."""
        return self.vocabulary.issuperset(WORD.findall(phrase.lower()))

    def verbs(self, kind: str, action: str, to: str, several: bool = False) -> list[str]:
        """How it is said that a thing does something, in a direction."""
        pairs = tables.VERBS_OF.get((kind, cast(Action, action)), tables.VERBS[cast(Action, action)])
        said = [present.format(to=to, colour="").strip() for present, _ in pairs]
        said = [tables.plural_verb(each) for each in said] if several else said
        return [each for each in said if self.has(each)]


def replace_unknown(text: str, unknown: Iterable[str], vocabulary: Iterable[str]) -> tuple[str, list[str]]:
    """The text with its unknown words replaced by the nearest known ones, or left out; and what was done."""
    known, gone, changes = frozenset(vocabulary), set(unknown), []
    if not gone:
        return text, changes
    stands_in = {word: nearest_word(word, known, tables.VOCABULARY) for word in dict.fromkeys(gone)}
    for word in dict.fromkeys(match.group() for match in WORD.finditer(text.lower())):
        if word in stands_in:
            near = stands_in[word]
            done = (
                f"“{near}” stands in, the nearest that it knows"
                if near
                else "it is left out: nothing known is near"
            )
            changes.append(f"the model does not know “{word}”; {done}")

    def other(match: re.Match[str]) -> str:
        near = stands_in.get(match.group().lower(), match.group())
        if near != match.group() and re.search(
            r"\d[^\W\d]|[^\W\d]\d", text[max(0, match.start() - 1) : match.end() + 1]
        ):
            near = None  # part of such as "4k"
        return "\0" if near is None else near

    return _tidied(WORD.sub(other, text)), changes


def _tidied(text: str) -> str:
    """Without the holes (NUL) of words left out, and what only led to them."""
    text = _LEADING.sub(lambda m: m.group() if told_by(m.group(1)) in _NAMED else "\0 ", text)
    text = re.sub(r"[\"'“”‘’()\[\]{}-]*\0[\"'“”‘’()\[\]{}-]*", " ", text)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s+([.,;!?])", r"\1", text)
    text = re.sub(r"([.,;!?])(?:[.,;!?])+", r"\1", text)
    text = re.sub(r"\b(a|an) (?=(\w))", lambda m: article(m.group(2), m.group(1)) + " ", text, flags=re.IGNORECASE)
    return re.sub(r"^(?:(?:of|and|with|then)\b\s*|[\s.,;!?]+)+", "", text, flags=re.IGNORECASE).rstrip(" ,;")


def complete(text: str, grammar: Grammar) -> tuple[str, list[str]]:
    """The text with what a whole caption has besides; and what was added."""
    changes, seed = [], text
    for number in range(ROUNDS):
        added = _fill_one(text, grammar, Draws("improve", seed, number))
        if added is None:
            break
        text, change = added
        changes.append(change)
    return text, changes


def _fill_one(text: str, grammar: Grammar, draws: Draws) -> tuple[str, str] | None:
    """Fill the first gap; None: there is none that these words can fill."""
    said = Said(text)
    for fill in (_thing, _colour, _deed, _direction, _place, _time, _camera):
        if (added := fill(said, grammar, draws)) is not None:
            return added
    return None


def _thing(said: Said, grammar: Grammar, draws: Draws) -> tuple[str, str] | None:
    subject = _missing_subject(said)
    if said.things and subject is None:
        return None
    actions, floors, colours = said.values("verb"), said.values("floor"), said.values("colour")
    able = [
        kind for kind in grammar.kinds
        if all(action in _can(kind) for action in actions if action)
        and not any((kind, each) in HELDOUT_COLOURS for each in colours)
        and not any((kind, each) in HELDOUT_MOTIONS for each in actions)
        and not any((kind, each) in HELDOUT_FLOORS for each in floors)
        and ("water" not in floors or kind in FLOATING) and (actions or TRAVELS[cast(Kind, kind)])
    ]  # fmt: skip
    kind = draws.choice(able or list(grammar.kinds))
    noun = draws.choice(grammar.kinds[kind])
    numbers = [tag for tag in said.tags if tag.kind == "number"]
    plural = tables.plural(noun)
    noun = plural if numbers and plural in grammar.vocabulary else noun
    adjectives = [tag for tag in said.tags if tag.kind in _NAMED]
    change = f"added a thing to see: “{noun}”"
    if said.things and subject is not None:
        return said.insert(subject.first, f"{article(noun)} {noun}"), change
    if not adjectives:
        start = said.words[0].start() if said.words else 0
        rest = said.text[start:]
        return f"{said.text[:start]}{article(noun)} {noun} {rest}".strip(), change
    first = last = adjectives[0]
    for tag in adjectives[1:]:
        if tag.first != last.end:
            break
        last = tag
    text = said.after(last.end - 1, noun)
    before = said.lower[first.first - 1] if first.first else ""
    if first.kind != "number" and before not in _ARTICLES:
        at = said.words[first.first].start()
        text = f"{text[:at]}{article(said.lower[first.first])} {text[at:]}"
    return text, change


def _missing_subject(said: Said) -> Tag | None:
    """The verb that something does which is not named before it."""
    verb = next((tag for tag in said.tags if tag.kind in ("verb", "event")), None)
    if verb is None or said.lower[verb.first].endswith("ing") or any(tag.end <= verb.first for tag in said.things):
        return None
    return verb


def _colour(said: Said, grammar: Grammar, draws: Draws) -> tuple[str, str] | None:
    spoken = said.values("colour")
    told = {tag.value for tag in said.things if any(a.kind == "colour" for a in said.adjectives(tag))}
    if said.colourless or len(spoken) >= len({tag.value for tag in said.things}):
        return None
    thing = next((tag for tag in said.things if tag.value not in told), None)
    if thing is None:
        return None
    clashes = [each for place in said.values("floor") + said.values("time") for each in CLASHES.get(place, ())]
    known = grammar.known(tables.COLOUR_WORDS)
    free = [name for name in known if name not in said.lower]
    able = [name for name in free if name not in clashes and (thing.value, name) not in HELDOUT_COLOURS]
    if not free:
        return None
    colour = draws.choice(known[draws.choice(able or free)])
    return said.insert(thing.first, colour), f"added a colour: “{colour}”"


def _deed(said: Said, grammar: Grammar, draws: Draws) -> tuple[str, str] | None:
    if said.has("verb", "event"):
        return None
    thing, direction = said.things[0], said.has("direction")
    options = next(filter(None, (_deeds(said, grammar, ways, direction) for ways in _ways(thing.value))), {})
    if not options:
        return None
    deed, change = draws.weighted(options), "added what it does: “{}”"
    if said.lower[thing.end : thing.end + 1] in (["is"], ["are"]):  # "the ball is red and …"
        told = next((tag for tag in said.tags if tag.first == thing.end + 1), None)
        deed = f"and {deed}"
        if told is None or not grammar.has("and"):
            return None
        return said.after(told.end - 1, deed), change.format(deed)
    return said.after(thing.end - 1, deed), change.format(deed)


def _ways(kind: str) -> Iterator[tuple[str, ...]]:
    """What a thing is made to do: how it gets about, else what it can do where it is."""
    yield TRAVELS[cast(Kind, kind)]
    yield tuple(action for action in STAGED if action in _can(kind))
    yield ("stand",)


def _can(kind: str) -> Mapping[str, float]:
    return {**actions_of(cast(Kind, kind))}


def _deeds(said: Said, grammar: Grammar, ways: tuple[str, ...], directed: bool) -> dict[str, float]:
    """Phrases for what the first thing does, with weights."""
    thing, on_water = said.things[0], "water" in said.values("floor")
    several, options = said.several(thing), {}
    for action in ways:
        if (thing.value, action) in HELDOUT_MOTIONS or (on_water and action in TRAVEL and action != "sail"):
            continue
        to = [""] if directed or action not in TRAVEL | SPINS else _directions(action, grammar)
        phrases = [phrase for each in to for phrase in grammar.verbs(thing.value, action, each, several)]
        options |= {phrase: 1 / len(phrases) for phrase in phrases}
    return options


def _directions(action: str, grammar: Grammar) -> list[str]:
    names = ("clockwise", "counterclockwise") if action in SPINS else ("left", "right")
    known = grammar.known({name: tables.DIRECTION_WORDS[name] for name in names})  # pyright: ignore[reportArgumentType]
    return [phrase for phrases in known.values() for phrase in phrases]


def _direction(said: Said, grammar: Grammar, draws: Draws) -> tuple[str, str] | None:
    if said.has("direction", "event"):
        return None
    verb = next((tag for tag in said.tags if tag.kind == "verb"), None)
    if verb is None or verb.value not in TRAVEL | SPINS:
        return None
    follows = said.lower[verb.end] if verb.end < len(said.lower) else ""
    if follows in ("to", "into", "up", "down", "over", "through", "around", "from", "behind"):
        return None
    if not (known := _directions(verb.value, grammar)):
        return None
    way = draws.choice(known)
    return said.after(verb.end - 1, way), f"added which way: “{way}”"


def _place(said: Said, grammar: Grammar, draws: Draws) -> tuple[str, str] | None:
    if said.has("floor"):
        return None
    kinds, actions = [tag.value for tag in said.things], said.values("verb")
    flies = "fly" in actions
    known = grammar.known(tables.OVER_WORDS if flies else tables.FLOOR_WORDS)
    afloat = "sail" in actions or "boat" in kinds
    right = [floor for floor in known if (floor == "water") == afloat] or [*known]
    able = [
        floor for floor in right
        if not any((kind, floor) in HELDOUT_FLOORS for kind in kinds)
        and not set(CLASHES.get(floor, ())).intersection(said.values("colour"))
    ] or right  # fmt: skip
    phrases = [p for floor in able for p in known[floor] if not (said.colourless and "green" in p)]
    if not phrases:
        return None
    place = draws.choice(phrases)
    return said.after(
        said.end_of_clause(("background", "time", "style", "camera")), place
    ), f"added where: “{place}”"


def _time(said: Said, grammar: Grammar, draws: Draws) -> tuple[str, str] | None:
    if said.colourless or said.has("time"):
        return None
    dark = set(CLASHES["night"]).intersection(said.values("colour"))
    known = {name: each for name, each in grammar.known(tables.TIME_WORDS).items() if name != "night" or not dark}
    if not known:
        return None
    time = draws.choice(known[draws.choice(list(known))])
    return said.after(said.end_of_clause(("style", "camera")), time), f"added the time of day: “{time}”"


def _camera(said: Said, grammar: Grammar, draws: Draws) -> tuple[str, str] | None:
    phrases = grammar.known({"static": tables.CAMERA_WORDS["static"]})
    if said.has("camera") or not phrases:
        return None
    camera = draws.choice(phrases["static"])
    text = said.text.rstrip().rstrip(",;:")
    text += " " if text.endswith((".", "!", "?")) else ". "
    return text + camera, f"added the camera: “{camera}”"
