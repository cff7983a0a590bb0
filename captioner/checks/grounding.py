"""Does a caption say only what its facts say?

A rewrite that adds an entity is the worst kind of caption: fluent, and false. So every word that could claim
something must be grounded in the facts: by its own stem, by a word of the same meaning (`lexicon`), by following
from them (`implied`), or as a wording that Diorama has for a value. Colours, numbers and left and right must match
exactly, colours and numbers at the thing they are said of, directions at their verb. A long text may have a verb
or two that no table knows; beyond that, what they do not know is a false alarm, which costs one more attempt.
Texts that are not English have no tables here, and are not checked.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple

from ...data.diorama.words import (
    BACKGROUND_WORDS,
    COLOUR_WORDS,
    EVENT_VERBS,
    FLOOR_WORDS,
    KIND_WORDS,
    MATERIAL_WORDS,
    PATTERN_WORDS,
    RELATION_WORDS,
    SIZE_WORDS,
    SPEED_WORDS,
    STYLE_WORDS,
    TIME_WORDS,
)
from .implied import PROSE_WORDS, implied
from .lexicon import (
    CAMERA_MOVES,
    FILLER_WORDS,
    FUNCTION_WORDS,
    LONGEST,
    NUMBERS,
    STRICT_DIRECTIONS,
    WAYS,
    WIDER,
    Phrase,
    meanings,
    phrases,
    stems,
    words_in,
)

COLOURS: dict[str, str] = {word: value for value, words in COLOUR_WORDS.items() for word in words} | {
    "violet": "purple", "turquoise": "cyan", "teal": "cyan", "aqua": "cyan", "magenta": "pink", "crimson": "red",
    "scarlet": "red", "navy": "blue", "tan": "brown", "beige": "brown", "golden": "yellow", "gold": "yellow",
    "silver": "gray", "maroon": "red", "lime": "green", "olive": "green",
}  # fmt: skip
ENGLISH = 0.12  # share of function words; English prose has 0.3 to 0.5, another language next to none
# After these a colour no longer belongs to the noun that comes.
_BREAKS = frozenset((
    "a", "an", "the", "on", "in", "at", "with", "of", "over", "under", "and", "or", "is", "are", "to", "by", "it",
    "behind", "near", "from", "into", "then", "while", ",", ".", ";",
))  # fmt: skip
# What our captioner's facts leave out: what happens second, and where other things stand.
_UNTOLD = (
    re.compile(
        r"(?:,? and|,) (?:then|after that)\b[^.,]*?(?=\b(?:on|over|with|during|at|in|under|before|as)\b|[.,]|$)",
        re.IGNORECASE,
    ),
    re.compile(r"\b(?:to the (?:left|right) of|on its (?:left|right)\b)", re.IGNORECASE),
)
_PRONOUNS = frozenset(("it", "he", "she", "they", "who", "which", "that"))
_NO_VERBS = frozenset((
    "building", "painting", "ceiling", "railing", "clothing", "wedding", "drawing", "string", "bedding", "awning",
    "lightning", "evening", "morning", "flooring", "parking", "spring", "pudding", "sibling", "king", "viking",
    "landing", "earring", "icing", "stocking", "dressing", "carving", "crossing", "duckling", "seabed", "hundred",
))  # fmt: skip
_BEFORE_VERBS = frozenset(("is", "are", "while", "as", "and", ",", "then", "be", "being", "before", "after"))
_BETWEEN = frozenset(("to", "the", "around", "slowly", "quickly"))  # a verb and its direction
_VAGUE = FUNCTION_WORDS | FILLER_WORDS
VERBS_ALLOWED = 0.05  # share of a text's words: 1 of 20, 2 of 40
_SPEEDS = frozenset(("slow", "quick", "normal"))
_ACROSS = re.compile(r"\b(left|right) to (?:the )?(left|right)\b")


class Known(NamedTuple):
    """What the facts say, ready to be asked."""

    words: frozenset[str]  # stems, synonyms, wider words and Diorama's values
    numbers: frozenset[int]
    things: dict[str, tuple[frozenset[str], frozenset[int]]]  # head noun: its colours and its numbers
    moves: tuple[frozenset[str], ...]  # words of each action, relation and of the camera
    across: frozenset[str]  # "left", "right": where from something is said to cross the picture
    implied: frozenset[str]  # words that follow from the facts
    silent: frozenset[str]  # words about what these facts never tell; they cannot be checked
    diorama: bool


def ungrounded(text: str, facts: Any) -> list[str]:
    """What the caption claims and the facts do not have, in words; [] if all is grounded.

    Args:
        facts: `Facts`, or a mapping of their fields. Facts without any word ground nothing and check nothing.
    """
    known = what_is_known(facts)
    tokens = re.findall(r"[^\W_]+(?:['’][^\W_]+)?|[,.;!?]", text.lower())
    words = [token for token in tokens if token[0].isalnum()]
    if not known.words or not words or sum(word in FUNCTION_WORDS for word in words) < ENGLISH * len(words):
        return []
    if known.diorama:  # these facts are of what happens first
        for pattern in _UNTOLD:
            text = pattern.sub(" ", text)
        tokens = re.findall(r"[^\W_]+(?:['’][^\W_]+)?|[,.;!?]", text.lower())
    unknown = list(_unknown(tokens, known))
    verbs = [at for at, _ in unknown if at >= 0 and _is_verb(tokens, at, known)]
    allowed = verbs if len(verbs) <= VERBS_ALLOWED * len(words) else []
    missing = [problem for at, problem in unknown if at not in allowed]
    found = [*missing, *_misplaced(tokens, known), *_misdirected(tokens, known)]
    return list(dict.fromkeys(found))


def what_is_known(facts: Any) -> Known:
    """The words, numbers, colours and directions of facts."""
    stated = facts.model_dump() if hasattr(facts, "model_dump") else dict(facts or {})
    return _known(json.dumps(stated, sort_keys=True, default=str))


@cache
def _diorama_words(*names: str) -> frozenset[str]:
    tables: dict[str, Mapping[Any, Any]] = {
        "kind": KIND_WORDS, "colour": COLOUR_WORDS, "floor": FLOOR_WORDS, "time": TIME_WORDS, "size": SIZE_WORDS,
        "speed": SPEED_WORDS, "background": BACKGROUND_WORDS, "relation": RELATION_WORDS, "style": STYLE_WORDS,
        "material": MATERIAL_WORDS, "pattern": PATTERN_WORDS,
    }  # fmt: skip
    if names == ("event",):
        said = [form for pairs in EVENT_VERBS.values() for pair in pairs for form in pair]
    else:
        said = [phrase for name in names for options in tables[name].values() for phrase in options]
    return frozenset(word for phrase in said for word in words_in(phrase))


def _is_of_our_captioner(stated: Mapping[str, Any]) -> bool:
    """Whether these are facts as our captioner writes them: things with a colour, floor, time, camera."""
    kinds, colours = set(KIND_WORDS), set(COLOUR_WORDS)
    return (
        bool(stated.get("subjects"))
        and all(s.get("name") in kinds and set(s.get("attributes") or []) <= colours for s in stated["subjects"])
        and (stated.get("setting") or "grass") in FLOOR_WORDS
        and (stated.get("lighting") or "day") in TIME_WORDS
        and not stated.get("relations")
        and not stated.get("style")
    )


@lru_cache(maxsize=64)  # the same facts are asked once a caption
def _known(facts: str) -> Known:
    stated = json.loads(facts)
    texts = list(_strings(stated))
    words: set[str] = set()
    for text in texts:
        said = words_in(text)
        words.update(*(meanings(word) for word in said))
        for size in range(1, LONGEST + 2):
            for at in range(len(said) - size + 1):
                for value in phrases().get(tuple(said[at : at + size]), ()):
                    words.update(value)
    words |= {wide for wide, narrow in WIDER.items() if narrow & words}
    subjects = [each for each in stated.get("subjects") or [] if words_in(str(each.get("name") or ""))]
    numbers = {each["count"] for each in subjects if each.get("count")}
    numbers |= {NUMBERS[word] for text in texts for word in words_in(text) if word in NUMBERS}
    numbers |= {int(word) for text in texts for word in words_in(text) if word.isdecimal() and len(word) < 9}
    things: dict[str, tuple[frozenset[str], frozenset[int]]] = {}
    for each in subjects:
        name = words_in(each["name"])
        said = [word for text in (each["name"], *(each.get("attributes") or [])) for word in words_in(text)]
        colours = frozenset(COLOURS[word] for word in said if word in COLOURS)
        count = frozenset([each["count"]] if each.get("count") else [])
        for noun in _nouns(name[-1]):
            before = things.get(noun, (frozenset(), frozenset()))
            things[noun] = (before[0] | colours, before[1] | count)
    told = [*(stated.get("actions") or []), *(stated.get("relations") or []), stated.get("camera") or ""]
    moves = tuple(
        frozenset(_way(word) for said in words_in(each) for word in _readings(said)) for each in told if each
    )
    across = frozenset(match[1] for text in texts for match in _ACROSS.finditer(text.lower()))
    diorama = _is_of_our_captioner(stated)
    silent: frozenset[str] = frozenset()
    if diorama:
        silent = _diorama_words("size", "speed", "background", "relation", "style", "material", "pattern")
        silent = (silent | _diorama_words("event")) - STRICT_DIRECTIONS
    follows = implied(stated, {stem for text in texts for word in words_in(text) for stem in stems(word)})
    return Known(frozenset(words), frozenset(numbers), things, moves, across, follows, silent, diorama)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = value.values()
    if isinstance(value, str):
        yield value
    elif not isinstance(value, int | float | None):
        for each in value:
            yield from _strings(each)


def _way(word: str) -> str:
    """Up of upward and upwards, left of leftwards; any other word as it is."""
    return word.removesuffix("s").removesuffix("ward") if word.endswith(("ward", "wards")) else word


def _readings(word: str) -> frozenset[str]:
    """What one word may mean: its synonyms, and Diorama's values for it."""
    return meanings(word).union(*phrases().get((word,), ()))


def _nouns(word: str) -> frozenset[str]:
    """A noun in one and several, and Diorama's name of the same kind."""
    return stems(word).union(*(value for value in phrases().get((word,), ()) if value[0] in KIND_WORDS))


def _is_verb(tokens: list[str], at: int, known: Known) -> bool:
    """Whether a word that no table knows can only be what a subject of the facts does."""
    word, before, after = tokens[at], tokens[at - 1] if at else "", tokens[at + 1] if at + 1 < len(tokens) else "."
    if known.diorama or word in _NO_VERBS or (word,) in phrases() or _nouns(word) & known.things.keys():
        return False
    subject = before in _PRONOUNS or bool(_nouns(before) & known.things.keys())
    if word.endswith(("ing", "ed")) and len(word) > 5:
        return subject or before in _BEFORE_VERBS
    ends = after in FUNCTION_WORDS or not after[0].isalnum()  # "it tumbles into", and not "car dealers wave"
    return subject and ends and (word.endswith("s") or before.endswith("s") or before == "they")


def _unknown(tokens: list[str], known: Known) -> Iterator[tuple[int, str]]:
    """Words and wordings that the facts do not have, and the places of single words; -1 of others."""
    table, at = phrases(), 0
    while at < len(tokens):
        sizes = range(min(LONGEST + 1, len(tokens) - at), 1, -1)
        size = next((size for size in sizes if tuple(tokens[at : at + size]) in table), 1)
        phrase = tuple(tokens[at : at + size])
        at += size
        values = table.get(phrase, frozenset())
        if any(_says(known, value) for value in values):
            continue
        missing = [word for word in phrase if not _is_known(word, known)]
        if missing:
            yield from ((tokens.index(word, at - size), f"{word!r} is not in the facts") for word in missing)
        elif size > 1 and values and not set(phrase) & known.silent and any(set(v) - _VAGUE for v in values):
            yield -1, f"{' '.join(phrase)!r} is not in the facts"  # its words say nothing: "does not move"


def _says(known: Known, value: Phrase) -> bool:
    strict = STRICT_DIRECTIONS | (WAYS if value[0] in CAMERA_MOVES else frozenset())
    content = [word for word in value if word not in FUNCTION_WORDS or word in strict]
    return all(word in known.words for word in content)


def _is_known(word: str, known: Known) -> bool:
    if not word[0].isalnum():
        return True
    if word.isdecimal() or word in NUMBERS:
        number = NUMBERS.get(word) or (int(word) if word.isdecimal() and len(word) < 9 else -1)
        return number == 1 or number in known.numbers or word in known.words
    if word in COLOURS:
        return COLOURS[word] in known.words or word in known.words or _may_change(word, known)
    if word in STRICT_DIRECTIONS:
        return word in known.words or _way(word) in known.words
    if word in _VAGUE or _way(word) in _VAGUE or word in known.silent:
        return True
    if _is_speed(word):
        return bool(meanings(word) & known.words) or not known.words & _SPEEDS  # the facts tell of another speed
    if word.endswith("ly") and len(word) > 4:
        return True
    own = stems(word)
    return bool(own & (known.words | _VAGUE | PROSE_WORDS | known.implied)) or bool(meanings(word) & known.words)


def _is_speed(word: str) -> bool:
    return bool(meanings(word) & {"slowly", "quickly"})


def _may_change(word: str, known: Known) -> bool:
    """Our captioner's facts say that a thing changes its colour, and not into which."""
    return known.diorama and {"change", "colour"} <= known.words


def _misplaced(tokens: list[str], known: Known) -> Iterator[str]:
    """Colours and numbers said of another thing than the facts say them of."""
    for at, noun in enumerate(tokens):
        named = [known.things[name] for name in _nouns(noun) if name in known.things]
        if not named or noun in COLOURS:
            continue
        if at + 1 < len(tokens) and any(name in known.things for name in _nouns(tokens[at + 1])):
            continue  # a basketball player is no basketball
        colours, counts = named[0]
        for word in reversed(tokens[max(0, at - 4) : at]):
            if word in _BREAKS:
                break
            if word in COLOURS and COLOURS[word] not in colours:
                yield f"the facts have no {word} {noun}"
            if (word in NUMBERS or word.isdecimal()) and counts:
                number = NUMBERS.get(word) or int(word)
                if number not in counts | {sum(counts)}:
                    yield f"the facts have no {word} {noun}"


def _misdirected(tokens: list[str], known: Known) -> Iterator[str]:
    """Left and right at a verb of which the facts say the other; of a camera's move, up, down, in and out too."""
    for at, word in enumerate(tokens):
        if not word[0].isalpha() or (word in _VAGUE and word not in ("moves", "moving", "move")):
            continue
        means = _readings(word)
        ways = STRICT_DIRECTIONS | (WAYS if means & CAMERA_MOVES else frozenset())
        behind = [each for each in tokens[at + 1 : at + 5] if each not in _BETWEEN]
        if not behind or behind[0] not in ways:
            continue
        told = [move & ways for move in known.moves if move & means and move & ways]
        if told and not any(_way(behind[0]) in each for each in told):
            yield f"the facts do not have {word!r} {behind[0]}"
    for match in _ACROSS.finditer(" ".join(tokens)):
        if known.across and match[1] not in known.across:
            yield f"the facts do not have {match[0]!r}"
