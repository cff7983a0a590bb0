"""The words that grounding knows: which claim nothing, which say the same, and how Diorama says things.

Small tables that anyone can read and mend. What they lack makes a false alarm, never a falsehood that passes.
"""

import re
from functools import cache

from ...data.diorama.words import (
    BACKGROUND_WORDS,
    CAMERA_WORDS,
    COLOUR_WORDS,
    DIRECTION_WORDS,
    EVENT_VERBS,
    FLOOR_WORDS,
    KIND_WORDS,
    MATERIAL_WORDS,
    OVER_WORDS,
    PATTERN_WORDS,
    RELATION_WORDS,
    SIZE_WORDS,
    SPEED_WORDS,
    STYLE_WORDS,
    TIME_WORDS,
    VERBS,
    VERBS_OF,
    plural,
    plural_verb,
)

Phrase = tuple[str, ...]


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that name and claim nothing that a clip could lack.
FUNCTION_WORDS = _set(
    """a about above across after again against all along alongside also although am among amid an and another
    any are around as at away back be became because become becomes been before behind being below beneath
    beside besides between beyond both but by can could did do does doing done down during each either else
    etc every few first following for forth forward from further had has have having he hence her here hers
    herself him himself his how i if in inside instead into is it its itself just last later less let like
    many may me meanwhile might more most much must my near nearby neither next no nor not now of off often
    on once one ones only onto or other others our out outside over own past per perhaps rather same second
    several she should since so some someone something somewhat soon still such than that the their them
    themselves then there these they thing things this those though through throughout to together too toward
    towards under underneath until up upon us very via was we well were what when where whether which while
    who whom whose will with within without would yet you your don't doesn't isn't aren't"""
)
# Words of description and hedging.
FILLER_WORDS = _set(
    """appear appears appeared appearing seem seems seemed seemingly apparently likely possibly probably maybe
    approximately roughly camera scene view shot frame setting set background foreground backdrop distance
    side sides middle center centre front rear top bottom edge corner area part portion end start beginning
    begin begins starts continue continues remain remains stay stays keep keeps visible seen shown show shows
    showing featured feature features display displayed located situated positioned placed place position
    point stand surround surrounded surrounding surroundings contain contains containing include includes
    including present featuring against entire whole different various multiple number group row pair kind
    type style way direction manner look looks looking based overall general particular detail details color
    colour colored coloured colors colours slightly mostly mainly fully partly partially almost nearly quite
    otherwise simply gradually steadily subject subjects object objects item items moment time movement
    motion moves move moving wear wears wearing worn dressed word words text letters sign reading reads says
    saying titled make makes making use uses using take takes taking go goes going come comes coming open
    whose occupy occupies create creates creating give gives giving allow lend lends well filled full lined"""
)
NUMBERS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "dozen": 12, "couple": 2, "pair": 2, "single": 1, "trio": 3,
}  # fmt: skip
WAYS = _set("up down in out upward downward upwards downwards")
CAMERA_MOVES = _set("pan tilt zoom dolly crane orbit")
STRICT_DIRECTIONS = _set("left right clockwise counterclockwise leftward rightward leftwards rightwards")

# Words of one meaning.
SYNONYMS: tuple[frozenset[str], ...] = tuple(
    _set(line)
    for line in """man male guy gentleman
        woman female lady
        child kid toddler
        person individual human somebody people pedestrian figure
        car automobile auto
        bike bicycle
        motorbike motorcycle
        plane airplane aircraft
        boat ship vessel
        road street roadway
        path trail track walkway footpath
        beach shore seaside coast shoreline
        sea ocean
        forest wood woods woodland
        couch sofa
        television tv screen
        phone smartphone cellphone mobile
        picture photo photograph image
        house home building
        store shop
        stone rock concrete
        puppy dog
        kitten cat
        walk stroll
        run jog sprint
        look gaze stare watch
        jump leap hop
        hold grip grasp carry
        smile grin
        big large huge
        small little tiny
        quick quickly fast rapid rapidly swiftly
        slow slowly
        still static motionless stationary fixed unmoving immobile steady
        pan pans
        zoom dolly closer
        bright well-lit sunlit
        dark dim
        night nighttime
        day daytime daylight
        sunny sunlit
        sunset dusk evening
        dawn sunrise morning
        grass lawn
        gray grey
        purple violet
        cyan turquoise teal aqua
        pink magenta
        red crimson scarlet
        blue navy
        brown tan beige
        round circular
        glossy shiny
        indoors indoor inside interior
        outdoors outdoor outside exterior
        cartoon animated animation
        follow track
        rural country countryside
        pass overtake
        street avenue
        couple pair
        light lighting illumination
        shine glow
        talk speak say converse chat
        throw toss
        rest lie
        dance perform
        begin start
        handheld shaky
        hill slope
        jacket coat
        hat cap
        trousers pants
        sit seated
        watch observe""".splitlines()
)
# A wider word may stand for a narrower one of the facts, not the other way round.
WIDER: dict[str, frozenset[str]] = {
    "animal": _set("dog cat horse cow sheep bird duck rabbit bear lion elephant fox deer squirrel goat pig fish"),
    "bird": _set("duck goose pigeon parrot eagle gull seagull crow swan chicken owl"),
    "vehicle": _set("car truck bus van motorcycle bicycle train tractor boat airplane rocket"),
    "person": _set("man woman boy girl child player worker dancer runner speaker rider driver swimmer"),
    "adult": _set("man woman"),
    "child": _set("boy girl baby"),
    "plant": _set("tree flower grass bush mushroom"),
    "water": _set("sea ocean lake river pond pool"),
    "building": _set("house tower church barn skyscraper"),
    "shape": _set("ball cube cone cylinder pyramid ring star heart brick capsule diamond egg"),
    "toy": _set("duck robot car boat rocket"),
    "ground": _set("grass sand snow floor road"),
    "floor": _set("wood checkered stone tile tiles carpet"),
}

_IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "feet": "foot", "teeth": "tooth",
    "leaves": "leaf", "mice": "mouse", "geese": "goose", "ran": "run", "sat": "sit", "stood": "stand",
    "held": "hold", "rode": "ride", "ridden": "ride", "flew": "fly", "flown": "fly", "drove": "drive",
    "driven": "drive", "fell": "fall", "fallen": "fall", "wore": "wear", "worn": "wear", "lying": "lie",
    "lay": "lie", "swam": "swim", "spun": "spin", "rose": "rise", "risen": "rise", "grew": "grow", "grown": "grow",
    "shrank": "shrink", "shrunk": "shrink", "swung": "swing", "slid": "slide", "threw": "throw", "thrown": "throw",
    "ate": "eat", "eaten": "eat", "wooden": "wood", "golden": "gold", "lit": "light", "went": "go", "took": "take",
}  # fmt: skip


@cache
def stems(word: str) -> frozenset[str]:
    """The word and what it may be a form of: plural, verb form, or adjective made of a noun."""
    found = {word}
    if word in _IRREGULAR:
        found.add(_IRREGULAR[word])
    word = word.removesuffix("'s").removesuffix("’s")
    found.add(word)
    for ending, least in (
        ("s", 3),
        ("es", 4),
        ("ing", 4),
        ("ed", 4),
        ("ly", 5),
        ("y", 4),
        ("ish", 5),
        ("like", 6),
    ):
        if word.endswith(ending) and len(word) > least and not (ending == "s" and word.endswith("ss")):
            base = word.removesuffix(ending)
            found.add(base)
            if ending in ("ing", "ed", "y", "ish"):
                found.add(base + "e")
                if len(base) > 2 and base[-1] == base[-2]:
                    found.add(base[:-1])
            if ending in ("es", "ed", "ly") and base.endswith("i"):
                found.add(base[:-1] + "y")
    return frozenset(found)


@cache
def meanings(word: str) -> frozenset[str]:
    """All words that say the same as a word, among them its stems."""
    own = stems(word)
    return own.union(*(group for group in SYNONYMS if own & group))


def words_in(text: str) -> list[str]:
    """Words of a text, lower case; compounds with hyphens in their parts."""
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)?", text.lower())


@cache
def phrases() -> dict[Phrase, frozenset[Phrase]]:
    """How Diorama's captions put things: each wording, and the values (as words) that it may stand for."""
    found: dict[Phrase, set[Phrase]] = {}

    def add(phrase: str, value: str) -> None:
        words = tuple(words_in(re.sub(r"\{\w+\}", " ", phrase)))
        if words:
            found.setdefault(words, set()).add(tuple(words_in(value)))

    tables = (
        KIND_WORDS, COLOUR_WORDS, SIZE_WORDS, DIRECTION_WORDS, FLOOR_WORDS, OVER_WORDS, BACKGROUND_WORDS,
        TIME_WORDS, CAMERA_WORDS, RELATION_WORDS, MATERIAL_WORDS, PATTERN_WORDS, STYLE_WORDS, SPEED_WORDS,
    )  # fmt: skip
    for table in tables:
        for value, options in table.items():
            for option in options:
                add(option, value)
    for kind, options in KIND_WORDS.items():
        for option in options:
            add(plural(option), kind)
    actions = [*VERBS.items(), *((action, pairs) for (_, action), pairs in VERBS_OF.items())]
    for value, pairs in [*actions, *EVENT_VERBS.items()]:
        for present, participle in pairs:
            for form in (present, plural_verb(present), participle):
                add(form, value)
    return {phrase: frozenset(values) for phrase, values in found.items()}


LONGEST = 6  # words of a phrase
