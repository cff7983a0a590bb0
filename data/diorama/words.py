"""The words of captions. Every phrase stands in a table here; `VOCABULARY` is the words of those tables."""

import re

from .scene import Action, Direction, Event, Relation

KIND_WORDS: dict[str, tuple[str, ...]] = {
    "ball": ("ball", "ball", "sphere"), "cube": ("cube", "cube", "box"), "cone": ("cone",),
    "cylinder": ("cylinder",), "pyramid": ("pyramid",), "ring": ("ring",), "star": ("star",), "heart": ("heart",),
    "car": ("car",), "duck": ("duck",), "tree": ("tree",), "house": ("house",), "brick": ("brick",),
    "capsule": ("capsule", "pill"), "diamond": ("diamond", "gem"), "egg": ("egg",), "boat": ("boat", "sailboat"),
    "rocket": ("rocket",), "snowman": ("snowman",), "robot": ("robot",), "mushroom": ("mushroom",),
    "airplane": ("airplane", "plane"),
}  # fmt: skip
COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red",), "orange": ("orange",), "yellow": ("yellow",), "green": ("green",), "cyan": ("cyan",),
    "blue": ("blue",), "purple": ("purple",), "pink": ("pink",), "brown": ("brown",), "black": ("black",),
    "white": ("white",), "gray": ("gray", "gray", "grey"),
}  # fmt: skip
SIZE_WORDS: dict[str, tuple[str, ...]] = {
    "small": ("small", "little", "tiny"), "medium": ("medium",), "large": ("large", "big"),
}  # fmt: skip
SPEED_WORDS: dict[str, tuple[str, ...]] = {"slow": ("slowly",), "normal": (), "fast": ("quickly", "fast")}

# Each action: pairs of (present, participle). {to} is the direction, if it has one.
VERBS: dict[Action, tuple[tuple[str, str], ...]] = {
    "stand": (("stands still", "standing still"), ("does not move", "not moving"), ("rests", "resting")),
    "roll": (("rolls {to}", "rolling {to}"),),
    "slide": (("slides {to}", "sliding {to}"), ("moves {to}", "moving {to}")),
    "drive": (("drives {to}", "driving {to}"),),
    "sail": (("sails {to}", "sailing {to}"),),
    "fly": (("flies {to}", "flying {to}"),),
    "waddle": (("waddles {to}", "waddling {to}"), ("walks {to}", "walking {to}")),
    "bounce": (("bounces", "bouncing"), ("bounces up and down", "bouncing up and down")),
    "hop": (("hops {to}", "hopping {to}"), ("jumps {to}", "jumping {to}")),
    "fall": (("falls down", "falling down"), ("falls", "falling"), ("drops from above", "dropping from above")),
    "spin": (
        ("spins {to}", "spinning {to}"), ("turns around {to}", "turning around {to}"),
        ("rotates {to}", "rotating {to}"),
    ),
    "rise": (("rises", "rising"), ("rises into the air", "rising into the air"), ("floats up", "floating up")),
    "grow": (("grows", "growing"), ("grows bigger", "growing bigger"), ("gets larger", "getting larger")),
    "shrink": (("shrinks", "shrinking"), ("gets smaller", "getting smaller")),
    "swing": (("swings from side to side", "swinging from side to side"), ("swings", "swinging")),
    "change colour": (("turns {colour}", "turning {colour}"), ("changes to {colour}", "changing to {colour}")),
}  # fmt: skip
VERBS_OF: dict[tuple[str, Action], tuple[tuple[str, str], ...]] = {  # where a kind has words of its own
    ("robot", "waddle"): (("walks {to}", "walking {to}"),),
    ("egg", "waddle"): (("waddles {to}", "waddling {to}"), ("wobbles {to}", "wobbling {to}")),
    ("rocket", "rise"): (
        ("takes off", "taking off"),
        ("rises", "rising"),
        ("rises into the air", "rising into the air"),
    ),
}
DIRECTION_WORDS: dict[Direction, tuple[str, ...]] = {
    "": ("",), "left": ("to the left", "left"), "right": ("to the right", "right"),
    "towards": ("toward the camera", "towards the viewer"), "away": ("away from the camera", "into the distance"),
    "clockwise": ("clockwise",), "counterclockwise": ("counterclockwise",),
}  # fmt: skip
FLOOR_WORDS: dict[str, tuple[str, ...]] = {
    "grass": ("on grass", "on green grass", "on the grass"), "sand": ("on sand", "on the sand"),
    "snow": ("on snow", "on the snow", "in the snow"), "wood": ("on a wooden floor", "on wood"),
    "checkered": ("on a checkered floor", "on checkered tiles"), "stone": ("on a stone floor", "on concrete"),
    "road": ("on a road", "on the road"), "water": ("on water", "on the water"),
}  # fmt: skip
OVER_WORDS: dict[str, tuple[str, ...]] = {  # the floor, for what flies
    "grass": ("over grass", "over green grass"), "sand": ("over sand",), "snow": ("over snow", "over the snow"),
    "wood": ("over a wooden floor",), "checkered": ("over a checkered floor", "over checkered tiles"),
    "stone": ("over a stone floor", "over concrete"), "road": ("over a road",), "water": ("over water",),
}  # fmt: skip
BACKGROUND_WORDS: dict[str, tuple[str, ...]] = {
    "plain": ("under an open sky", "before a plain horizon"),
    "hills": ("with hills behind", "with hills in the background"),
    "mountains": ("with mountains behind", "with mountains in the background"),
    "city": ("with a city behind", "with a city skyline in the background"),
}  # fmt: skip
TIME_WORDS: dict[str, tuple[str, ...]] = {
    "day": ("during the day", "on a sunny day", "in daylight"), "sunset": ("at sunset", "in the evening"),
    "night": ("at night", "under the stars"), "dawn": ("at dawn", "in the early morning"),
}  # fmt: skip
CAMERA_WORDS: dict[str, tuple[str, ...]] = {
    "static": ("The camera is still.", "The camera does not move."),
    "pan left": ("The camera pans left.", "The camera turns to the left."),
    "pan right": ("The camera pans right.", "The camera turns to the right."),
    "tilt up": ("The camera tilts up.", "The camera looks up."),
    "tilt down": ("The camera tilts down.", "The camera looks down."),
    "dolly in": ("The camera moves in.", "The camera moves closer."),
    "dolly out": ("The camera pulls back.", "The camera moves back."),
    "orbit left": ("The camera orbits to the left.", "The camera circles to the left."),
    "orbit right": ("The camera orbits to the right.", "The camera circles to the right."),
    "crane up": ("The camera rises.", "The camera cranes up."),
    "crane down": ("The camera sinks.", "The camera cranes down."),
    "track": ("The camera follows it.", "The camera tracks it."),
    "handheld": ("The camera is handheld and shaky.", "A handheld camera shakes."),
}  # fmt: skip
RELATION_WORDS: dict[Relation, tuple[str, ...]] = {
    "left of": ("to the left of it", "on its left"), "right of": ("to the right of it", "on its right"),
    "behind": ("behind it",), "in front of": ("in front of it",), "on top of": ("on top of it",),
}  # fmt: skip
MATERIAL_WORDS: dict[str, tuple[str, ...]] = {
    "matte": (), "shiny": ("shiny", "glossy"), "metallic": ("metallic", "metal"), "glowing": ("glowing",),
}  # fmt: skip
PATTERN_WORDS: dict[str, tuple[str, ...]] = {
    "plain": (), "striped": ("striped",), "spotted": ("spotted", "dotted"), "checkered": ("checkered",),
}  # fmt: skip
STYLE_WORDS: dict[str, tuple[str, ...]] = {
    "realistic": (),
    "cartoon": ("in cartoon style", "as a cartoon"),
    "black and white": ("in black and white", "as a black and white photo"),
    "sepia": ("in sepia", "as an old photo", "as an old sepia photo"),
    "pixel art": ("in pixel art style", "in pixel art", "as pixel art"),
    "sketch": ("as a pencil sketch", "as a sketch", "in pencil sketch style"),
}  # fmt: skip
EVENT_VERBS: dict[Event, tuple[tuple[str, str], ...]] = {  # present, participle; what it happens to follows
    "pass behind": (("passes behind", "passing behind"), ("goes behind", "going behind")),
    "pass in front of": (("passes in front of", "passing in front of"), ("goes in front of", "going in front of")),
    "chase": (("chases", "chasing"),),
    "meet": (("meets", "meeting"),),
    "collide": (("bumps into", "bumping into"),),
    "orbit": (("circles", "circling"), ("circles around", "circling around")),
}
THEN_WORDS: tuple[str, ...] = (", then {then}", " and then {then}", ", and after that {then}")
NUMBER_WORDS = {2: ("two",), 3: ("three",), 4: ("four",)}
PLURALS = {"box": "boxes", "snowman": "snowmen"}
PLURAL_VERBS = {"does": "do", "flies": "fly"}
GLUE: tuple[str, ...] = (
    "a", "an", "the", "The scene is set", "It is", "There is", "there are", "in a row", "a row of", "is", "they",
)  # fmt: skip


def plural(noun: str) -> str:
    """The noun of several: "box" to "boxes"."""
    return PLURALS.get(noun, noun + "s")


def plural_verb(phrase: str) -> str:
    """The verb phrase of one as that of several: "rolls left" to "roll left"."""
    first, _, rest = phrase.partition(" ")
    return f"{PLURAL_VERBS.get(first, first.removesuffix('s'))} {rest}".strip()


def _words() -> list[str]:
    tables = (
        KIND_WORDS, COLOUR_WORDS, SIZE_WORDS, SPEED_WORDS, DIRECTION_WORDS, FLOOR_WORDS, BACKGROUND_WORDS,
        TIME_WORDS, CAMERA_WORDS, RELATION_WORDS, NUMBER_WORDS, OVER_WORDS, MATERIAL_WORDS, PATTERN_WORDS,
        STYLE_WORDS,
    )  # fmt: skip
    phrases = [phrase for table in tables for options in table.values() for phrase in options]
    phrases += [phrase for pairs in VERBS.values() for pair in pairs for phrase in pair] + list(GLUE)
    phrases += [plural(word) for options in KIND_WORDS.values() for word in options]
    phrases += [plural_verb(pair[0]) for pairs in (*VERBS.values(), *VERBS_OF.values()) for pair in pairs]
    phrases += [
        phrase
        for table in (VERBS_OF, EVENT_VERBS)
        for pairs in table.values()
        for pair in pairs
        for phrase in pair
    ]
    phrases += THEN_WORDS
    text = re.sub(r"\{\w+\}", " ", " ".join(phrases)).lower()
    return sorted(set(re.findall(r"[a-z]+", text)))


VOCABULARY: list[str] = _words()
