"""The facts of a clip: what can be seen in it, field by field, before anyone writes prose about it.

Models answer in prose, fences and half-right types; `parse_facts` takes the JSON out of that and puts types right,
and never adds a fact.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ...data.diorama.words import COLOUR_WORDS, DIRECTION_WORDS, FLOOR_WORDS, KIND_WORDS, TIME_WORDS, VERBS

NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7}
NUMBERS |= {"eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "dozen": 12}

# How models say that there is nothing to say.
_NOTHING = frozenset(("", "none", "null", "n/a", "na", "unknown", "not visible", "not applicable", "nothing", "-"))
_FUNCTION_WORDS = frozenset((
    "a", "an", "and", "are", "as", "at", "be", "been", "behind", "being", "below", "beside", "between", "by",
    "down", "during", "for", "from", "has", "have", "he", "her", "his", "if", "in", "inside", "into", "is",
    "it", "its", "near", "next", "no", "not", "of", "off", "on", "onto", "or", "out", "outside", "over",
    "she", "so", "some", "that", "the", "their", "them", "there", "these", "they", "this", "those", "through",
    "to", "toward", "towards", "under", "up", "upon", "was", "were", "what", "when", "where", "which",
    "while", "who", "whose", "with", "within", "without",
))  # fmt: skip


class FactsError(ValueError):
    """An answer from which no facts can be read; the message says why."""


def _text(value: Any) -> Any:
    """A string of what a model gave for one: a list is joined, an object is its values."""
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(_plain, value)))
    if isinstance(value, Mapping):
        return " ".join(filter(None, map(_plain, value.values())))
    if isinstance(value, str):
        words = " ".join(value.split())
        return "" if words.lower().strip(".") in _NOTHING else words
    return value  # pydantic refuses it


def _plain(value: Any) -> str:
    text = _text(value)
    if not isinstance(text, str):
        raise ValueError(f"{value!r} is not a text")
    return text


def _texts(value: Any) -> Any:
    """A list of strings of what a model gave for one."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        value = list(value.values())
    elif not isinstance(value, list | tuple):
        value = [value]
    flat = [each for item in value for each in (item if isinstance(item, list) else [item])]
    return [text for text in map(_plain, flat) if text]


def _count(value: Any) -> Any:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in NUMBERS:
            return NUMBERS[word]
        return int(word) if word.isdecimal() else None  # "several": not a number that can be held against a text
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return None if isinstance(value, bool) or (isinstance(value, int) and value < 1) else value


Text = Annotated[str, BeforeValidator(_text)]
Texts = Annotated[list[str], BeforeValidator(_texts)]


class Subject(BaseModel):
    """A thing or person, or several alike."""

    model_config = ConfigDict(extra="ignore")

    name: Text
    count: Annotated[int | None, BeforeValidator(_count)] = None  # None: not stated
    attributes: Texts = []


def _subjects(value: Any) -> Any:
    if value is None:
        return []
    if isinstance(value, str | Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    named = [{"name": each} if isinstance(each, str) else each for each in value]
    return [each for each in named if not isinstance(each, Mapping) or _text(each.get("name"))]


class Facts(BaseModel):
    """What a clip shows. Empty means that nothing was stated, not that there is nothing."""

    model_config = ConfigDict(extra="ignore")

    subjects: Annotated[list[Subject], BeforeValidator(_subjects)] = []
    actions: Texts = []
    relations: Texts = []
    setting: Text = ""
    camera: Text = ""
    lighting: Text = ""
    style: Text = ""
    on_screen_text: Texts = Field(default=[])


FIELDS = tuple(Facts.model_fields)


def parse_facts(raw: str | Mapping[str, Any]) -> Facts:
    """The facts of a model's answer.

    The JSON may stand in prose, in a fence or behind a chain of thought. A string where a list belongs becomes a
    list of one, a list where a string belongs is joined, "none" is nothing; unknown fields are left out.

    Raises:
        FactsError: there is no object with the fields of `Facts`, a field cannot be read, or all are empty.
    """
    found = raw if isinstance(raw, Mapping) else find_object(raw, FIELDS)
    try:
        facts = Facts.model_validate(dict(found))
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise FactsError("the answer's " + "; ".join(wrong)) from None
    if not any(facts.model_dump().values()):
        raise FactsError("the answer states no fact: all its fields are empty")
    return facts


def find_object(raw: str, fields: tuple[str, ...]) -> dict[str, Any]:
    """The JSON object in a text that has most of the fields; the last of several such.

    Raises:
        FactsError: there is none, or it is cut off.
    """
    text = re.sub(r"<think>.*?</think>", " ", raw, flags=re.DOTALL)
    # A comma before a closing bracket is no JSON, but common. Strings keep theirs if the strict reading works.
    for candidate in (text, re.sub(r",(\s*[}\]])", r"\1", text)):
        objects = [each for each in _objects(candidate, fields) if _shared(each, fields)]
        if objects:
            return max(reversed(objects), key=lambda each: _shared(each, fields))
    if "{" not in text:
        raise FactsError(f"the answer holds no JSON object: {_short(text)}")
    start = text[text.find("{") :]
    try:
        json.JSONDecoder().raw_decode(start)
    except (json.JSONDecodeError, RecursionError):
        raise FactsError(f"the answer's JSON cannot be read, or is cut off: {_short(start)}") from None
    raise FactsError(f"the answer's JSON has none of the fields {', '.join(fields)}: {_short(start)}")


def _objects(text: str, fields: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The outermost JSON objects of a text; those inside others that have none of the fields, too."""
    at = 0
    while (at := text.find("{", at)) >= 0:
        try:
            value, end = json.JSONDecoder().raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError):
            at += 1
            continue
        yield value
        at = end if _shared(value, fields) else at + 1


def _shared(value: Mapping[str, Any], fields: tuple[str, ...]) -> int:
    return len(set(value).intersection(fields))


def _short(text: str, limit: int = 120) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= limit else text[:limit] + "…")


def to_json(facts: Facts) -> str:
    """The facts as one line of JSON, fields in order."""
    return json.dumps(facts.model_dump(), ensure_ascii=False)


def to_text(facts: Facts) -> str:
    """The facts as one line for a reader: "2 red car; drives left; snow; camera pan left"."""
    things = [
        " ".join([str(thing.count)] * ((thing.count or 1) > 1) + [*thing.attributes, thing.name])
        for thing in facts.subjects
    ]
    parts = [", ".join(each) for each in (things, facts.actions, facts.relations)]
    parts += [facts.setting, facts.lighting, facts.style, f"camera {facts.camera}" if facts.camera else ""]
    parts += [f'text "{text}"' for text in facts.on_screen_text]
    return "; ".join(filter(None, parts))


def entities(facts: Facts) -> set[str]:
    """All content words of the facts, lower case; numbers as digits and as words."""
    texts = [text for thing in facts.subjects for text in (thing.name, *thing.attributes)]
    texts += [*facts.actions, *facts.relations, *facts.on_screen_text]
    texts += [facts.setting, facts.camera, facts.lighting, facts.style]
    words = set(re.findall(r"[^\W_]+(?:'[^\W_]+)?", " ".join(texts).lower())) - _FUNCTION_WORDS
    counts = {thing.count for thing in facts.subjects if thing.count and thing.count > 1}
    words |= {str(count) for count in counts} | {word for word, count in NUMBERS.items() if count in counts}
    return words


def _alternatives(words: Iterable[str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


_THING = re.compile(
    rf"(?:(?P<colour>{_alternatives(COLOUR_WORDS)}) )?(?P<kind>{_alternatives(KIND_WORDS)})"
    rf"(?: (?P<action>{_alternatives(VERBS)}))?(?: (?P<direction>{_alternatives(filter(None, DIRECTION_WORDS))}))?"
)


def facts_of_diorama(text: str) -> Facts:
    """The facts that our captioner writes at its level "facts" (`kinema.conditioner.corpus.fact_text`).

    "red car drive left, blue cube stand, snow, night, camera static".

    Raises:
        FactsError: a part of it is not of that form.
    """
    things: dict[tuple[str, str], int] = {}
    actions: dict[str, None] = {}
    facts: dict[str, Any] = {}
    for part in map(str.strip, text.split(",")):
        if part.startswith("camera "):
            facts["camera"] = part.removeprefix("camera ")
        elif part in FLOOR_WORDS:
            facts["setting"] = part
        elif part in TIME_WORDS:
            facts["lighting"] = part
        elif match := _THING.fullmatch(part):
            name = (match["kind"], match["colour"] or "")
            things[name] = things.get(name, 0) + 1
            act = [match["kind"], match["action"], match["direction"]]
            if match["action"]:
                actions[" ".join(filter(None, act))] = None
        else:
            raise FactsError(f"{part!r} in {text!r} is none of the facts that our captioner writes")
    if not things:
        raise FactsError(f"{text!r} names no thing")
    subjects = [
        Subject(name=kind, count=count, attributes=[colour] if colour else [])
        for (kind, colour), count in things.items()
    ]
    return Facts(subjects=subjects, actions=list(actions), **facts)
