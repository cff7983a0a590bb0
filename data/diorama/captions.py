"""Words for scenes: a short alt-text as a person types it, a sentence, and a dense description.

Wording varies with a generator of its own, so the same scene can be told in many ways and always the same way for
one seed. Every phrase stands in a table below; `VOCABULARY` is the words of those tables.
"""

import re

from .draws import Draws
from .scene import Action, Direction, Relation, Scene, SceneObject

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
NUMBER_WORDS = {2: ("two",), 3: ("three",), 4: ("four",)}
PLURALS = {"box": "boxes", "snowman": "snowmen"}
PLURAL_VERBS = {"does": "do", "flies": "fly"}
GLUE: tuple[str, ...] = (
    "a", "an", "the", "The scene is set", "It is", "There is", "there are", "in a row", "a row of", "is", "they",
)  # fmt: skip


def _plural(noun: str) -> str:
    return PLURALS.get(noun, noun + "s")


def _plural_verb(phrase: str) -> str:
    """The verb phrase of one as that of several: "rolls left" to "roll left"."""
    first, _, rest = phrase.partition(" ")
    return f"{PLURAL_VERBS.get(first, first.removesuffix('s'))} {rest}".strip()


def _words() -> list[str]:
    tables = (
        KIND_WORDS, COLOUR_WORDS, SIZE_WORDS, SPEED_WORDS, DIRECTION_WORDS, FLOOR_WORDS, BACKGROUND_WORDS,
        TIME_WORDS, CAMERA_WORDS, RELATION_WORDS, NUMBER_WORDS, OVER_WORDS,
    )  # fmt: skip
    phrases = [phrase for table in tables for options in table.values() for phrase in options]
    phrases += [phrase for pairs in VERBS.values() for pair in pairs for phrase in pair] + list(GLUE)
    phrases += [_plural(word) for options in KIND_WORDS.values() for word in options]
    phrases += [_plural_verb(pair[0]) for pairs in (*VERBS.values(), *VERBS_OF.values()) for pair in pairs]
    phrases += [phrase for pairs in VERBS_OF.values() for pair in pairs for phrase in pair]
    text = re.sub(r"\{\w+\}", " ", " ".join(phrases)).lower()
    return sorted(set(re.findall(r"[a-z]+", text)))


VOCABULARY: list[str] = _words()


def _article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _verb(draws: Draws, thing: SceneObject, form: int, speed: bool, several: bool = False) -> str:
    """What it does. form: 0 present ("rolls left"), 1 participle ("rolling left")."""
    motion = thing.motion
    pair = draws.choice(VERBS_OF.get((thing.kind, motion.action), VERBS[motion.action]))
    colour = draws.choice(COLOUR_WORDS[motion.colour_to]) if motion.colour_to else ""
    to = draws.choice(DIRECTION_WORDS[motion.direction])
    text = pair[form].format(to=to, colour=colour).strip()
    if several and form == 0:
        text = _plural_verb(text)
    if speed and SPEED_WORDS[motion.speed]:
        text += " " + draws.choice(SPEED_WORDS[motion.speed])
    return text


def _name(draws: Draws, thing: SceneObject, size: bool, several: bool = False) -> str:
    words = [draws.choice(SIZE_WORDS[thing.size])] if size and thing.size != "medium" else []
    words.append(draws.choice(COLOUR_WORDS[thing.colour]))
    noun = draws.choice(KIND_WORDS[thing.kind])
    words.append(_plural(noun) if several else noun)
    return " ".join(words)


def _is_row(scene: Scene) -> bool:
    return any(thing.relation == "in a row" for thing in scene.objects)


def _subject(draws: Draws, scene: Scene, size: bool) -> str:
    """The first object, or all of a row, with its article or number."""
    if not _is_row(scene):
        return _article(_name(draws, scene.objects[0], size))
    name = _name(draws, scene.objects[0], size, several=True)
    number = draws.choice(NUMBER_WORDS[len(scene.objects)])
    return f"a row of {number} {name}" if draws.chance(0.3) else f"{number} {name}"


def _place(draws: Draws, scene: Scene) -> str:
    flies = scene.objects[0].motion.action == "fly"
    return draws.choice((OVER_WORDS if flies else FLOOR_WORDS)[scene.floor])


def _companions(draws: Draws, scene: Scene, size: bool) -> list[str]:
    """A clause for each other object that is not part of a row."""
    clauses = []
    for thing in scene.objects[1:]:
        if thing.relation in RELATION_WORDS:
            name = _article(_name(draws, thing, size))
            verb = "is" if thing.motion.action == "stand" else _verb(draws, thing, 0, True)
            clauses.append(f"{name} {verb} {draws.choice(RELATION_WORDS[thing.relation])}")
    return clauses


def captions(scene: Scene, seed: int = 0) -> dict[str, str]:
    """The scene in words: {"short", "medium", "dense"}. `seed` picks the wording."""
    draws = Draws("captions", seed, scene.seed, scene.index, scene.split, scene.level)
    return {"short": _short(draws, scene), "medium": _medium(draws, scene), "dense": _dense(draws, scene)}


def _short(draws: Draws, scene: Scene) -> str:
    thing, row = scene.objects[0], _is_row(scene)
    form = draws.integer(0, 1)
    words = [_subject(draws, scene, draws.chance(0.2)), _verb(draws, thing, form, draws.chance(0.4), row)]
    if row and thing.motion.action == "stand" and not words[0].startswith("a row"):
        words[1] = "in a row"
    if draws.chance(0.75):
        words.append(_place(draws, scene))
    if scene.background != "plain" and draws.chance(0.3):
        words.append(draws.choice(BACKGROUND_WORDS[scene.background]))
    if draws.chance(0.8 if scene.time_of_day != "day" else 0.3):
        words.append(draws.choice(TIME_WORDS[scene.time_of_day]))
    text = " ".join(words)
    if len(scene.objects) > 1 and draws.chance(0.6):
        text = ", ".join([text, *(c.replace(" is ", " ", 1) for c in _companions(draws, scene, False)[:1])])
    if scene.camera.move != "static" and draws.chance(0.4):
        phrase = draws.choice(CAMERA_WORDS[scene.camera.move])
        text += ", " + phrase[0].lower() + phrase[1:-1]
    return text


def _medium(draws: Draws, scene: Scene) -> str:
    thing = scene.objects[0]
    words = [_subject(draws, scene, draws.chance(0.7)), _verb(draws, thing, 0, True, _is_row(scene))]
    words.append(_place(draws, scene))
    if scene.background != "plain":
        words.append(draws.choice(BACKGROUND_WORDS[scene.background]))
    words.append(draws.choice(TIME_WORDS[scene.time_of_day]))
    parts = [_sentence(" ".join(words)), *map(_sentence, _companions(draws, scene, False))]
    if scene.camera.move != "static":
        parts.append(draws.choice(CAMERA_WORDS[scene.camera.move]))
    return " ".join(parts)


def _dense(draws: Draws, scene: Scene) -> str:
    thing, row = scene.objects[0], _is_row(scene)
    name = _name(draws, thing, True, row)
    if thing.size == "medium":
        name = "medium " + name
    noun = name.split()[-1]
    if row:
        whole = f"{draws.choice(NUMBER_WORDS[len(scene.objects)])} {name}"
        be = "there are"
    else:
        whole, be = _article(name), "there is"
    place = f"{_place(draws, scene)} {draws.choice(BACKGROUND_WORDS[scene.background])}"
    time = draws.choice(TIME_WORDS[scene.time_of_day])
    act = _verb(draws, thing, 0, True, row)
    camera = draws.choice(CAMERA_WORDS[scene.camera.move])
    order = draws.integer(0, 2)
    if order == 0:
        parts = [f"{whole} {act}", f"the scene is set {place} {time}"]
    elif order == 1:
        parts = [f"it is {time}, {place}", f"{whole} {act}"]
    else:
        parts = [f"{be} {whole} {place} {time}", f"the {noun} {act}"]
    if row:
        parts.append("they are in a row")
    if len(scene.objects) > 1:
        # The clauses say "it", so they follow the sentence that names the subject.
        subject = 1 if order else 0
        parts[subject + 1 : subject + 1] = _companions(draws, scene, True)
    return " ".join([*map(_sentence, parts), camera])


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def facts(scene: Scene) -> dict[str, object]:
    """The scene's attributes by name, for exact evaluation. Directions are "" where there is none."""
    thing = scene.objects[0]
    return {
        "object": thing.kind,
        "colour": thing.colour,
        "size": thing.size,
        "motion": thing.motion.action,
        "direction": thing.motion.direction,
        "speed": thing.motion.speed,
        "colour_to": thing.motion.colour_to or "",
        "floor": scene.floor,
        "background": scene.background,
        "time_of_day": scene.time_of_day,
        "camera": scene.camera.move,
        "count": len(scene.objects),
        "objects": [
            {"object": o.kind, "colour": o.colour, "motion": o.motion.action, "relation": o.relation}
            for o in scene.objects
        ],
    }
