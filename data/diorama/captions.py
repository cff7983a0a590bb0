"""Words for scenes: a short alt-text as a person types it, a sentence, and a dense description.

Wording varies with a generator of its own, so the same scene can be told in many ways and always the same way for
one seed. Every phrase stands in a table of `words`. In black and white, sepia and sketches no colours and no time
of day are told.
"""

from .draws import Draws
from .scene import COLOURLESS, Motion, Scene, SceneObject, TimedText
from .words import (
    BACKGROUND_WORDS,
    CAMERA_WORDS,
    COLOUR_WORDS,
    DIRECTION_WORDS,
    EVENT_VERBS,
    FLOOR_WORDS,
    KIND_WORDS,
    MATERIAL_WORDS,
    NUMBER_WORDS,
    OVER_WORDS,
    PATTERN_WORDS,
    PLURALS,
    RELATION_WORDS,
    SIZE_WORDS,
    SPEED_WORDS,
    STYLE_WORDS,
    THEN_WORDS,
    TIME_WORDS,
    VERBS,
    VERBS_OF,
    VOCABULARY,
)  # fmt: skip
from .words import plural as _plural
from .words import plural_verb as _plural_verb

__all__ = ["PLURALS", "VOCABULARY", "captions", "facts", "timed_captions", "typed_prompt"]


def _article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _verb(
    draws: Draws, scene: Scene, thing: SceneObject, form: int, speed: bool, several: bool = False,
    motion: Motion | None = None,
) -> str:  # fmt: skip
    """What it does. form: 0 present ("rolls left"), 1 participle ("rolling left")."""
    motion = motion or thing.motion
    hueless = motion.action == "change colour" and scene.style in COLOURLESS
    pair = draws.choice(
        VERBS["stand"] if hueless else VERBS_OF.get((thing.kind, motion.action), VERBS[motion.action])
    )
    colour = draws.choice(COLOUR_WORDS[motion.colour_to]) if motion.colour_to else ""
    to = draws.choice(DIRECTION_WORDS[motion.direction])
    text = pair[form].format(to=to, colour=colour).strip()
    if several and form == 0:
        text = _plural_verb(text)
    if speed and SPEED_WORDS[motion.speed]:
        text += " " + draws.choice(SPEED_WORDS[motion.speed])
    return text


def _act(draws: Draws, scene: Scene, form: int, speed: bool, several: bool = False, way: bool = True) -> str:
    """All that the first object, or the row, does. Of an event, how the first goes is told if `way`."""
    thing, second = scene.objects[0], second_motion(scene)
    if scene.pair_events:
        event = scene.pair_events[0]
        other = _article(_name(draws, scene, scene.objects[event.second], False))
        deed = f"{draws.choice(EVENT_VERBS[event.event])[form]} {other}"
        return f"{_verb(draws, scene, thing, form, speed, several)} and {deed}" if way else deed
    act = _verb(draws, scene, thing, form, speed, several)
    if second:
        then = _verb(draws, scene, thing, form, speed, several, second)
        act += draws.choice(THEN_WORDS).format(then=then)
    return act


def second_motion(scene: Scene, number: int = 0) -> Motion | None:
    """What object `number` does in the clip's second half, if it is something else."""
    return scene.second_motions[number] if number < len(scene.second_motions) else None


def _name(draws: Draws, scene: Scene, thing: SceneObject, size: bool, several: bool = False) -> str:
    words = [draws.choice(SIZE_WORDS[thing.size])] if size and thing.size != "medium" else []
    for finish in (MATERIAL_WORDS[thing.material], PATTERN_WORDS[thing.pattern]):
        words += [draws.choice(finish)] if finish else []
    if scene.style not in COLOURLESS:
        words.append(draws.choice(COLOUR_WORDS[thing.colour]))
    noun = draws.choice(KIND_WORDS[thing.kind])
    words.append(_plural(noun) if several else noun)
    return " ".join(words)


def _is_row(scene: Scene) -> bool:
    return any(thing.relation == "in a row" for thing in scene.objects)


def _subject(draws: Draws, scene: Scene, size: bool) -> str:
    """The first object, or all of a row, with its article or number."""
    if not _is_row(scene):
        return _article(_name(draws, scene, scene.objects[0], size))
    name = _name(draws, scene, scene.objects[0], size, several=True)
    number = draws.choice(NUMBER_WORDS[len(scene.objects)])
    return f"a row of {number} {name}" if draws.chance(0.3) else f"{number} {name}"


def _place(draws: Draws, scene: Scene) -> str:
    flies = scene.objects[0].motion.action == "fly" and not second_motion(scene)
    phrases = (OVER_WORDS if flies else FLOOR_WORDS)[scene.floor]
    if scene.style in COLOURLESS:
        phrases = tuple(phrase for phrase in phrases if "green" not in phrase)
    return draws.choice(phrases)


def _times(draws: Draws, scene: Scene) -> list[str]:
    """The time of day, where it can be told."""
    return [] if scene.style in COLOURLESS else [draws.choice(TIME_WORDS[scene.time_of_day])]


def _companions(draws: Draws, scene: Scene, size: bool) -> list[str]:
    """A clause for each other object that is not part of a row."""
    clauses = []
    for thing in scene.objects[1:]:
        if thing.relation in RELATION_WORDS:
            name = _article(_name(draws, scene, thing, size))
            verb = "is" if thing.motion.action == "stand" else _verb(draws, scene, thing, 0, True)
            clauses.append(f"{name} {verb} {draws.choice(RELATION_WORDS[thing.relation])}")
    return clauses


def captions(scene: Scene, seed: int = 0) -> dict[str, str]:
    """The scene in words: {"short", "medium", "dense"}. `seed` picks the wording."""
    draws = Draws("captions", seed, scene.seed, scene.index, scene.split, scene.level)
    return {"short": _short(draws, scene), "medium": _medium(draws, scene), "dense": _dense(draws, scene)}


def _short(draws: Draws, scene: Scene) -> str:
    thing, row = scene.objects[0], _is_row(scene)
    form = draws.integer(0, 1)
    subject = _subject(draws, scene, draws.chance(0.2))
    fast = draws.chance(0.4)
    way = draws.chance(0.5) if scene.pair_events else True
    words = [subject, _act(draws, scene, form, fast, row, way)]
    if row and thing.motion.action == "stand" and not second_motion(scene) and not words[0].startswith("a row"):
        words[1] = "in a row"
    if draws.chance(0.75):
        words.append(_place(draws, scene))
    if scene.background != "plain" and draws.chance(0.3):
        words.append(draws.choice(BACKGROUND_WORDS[scene.background]))
    if draws.chance(0.8 if scene.time_of_day != "day" else 0.3):
        words += _times(draws, scene)
    if scene.style != "realistic":
        phrase = draws.choice(STYLE_WORDS[scene.style])
        words = [*words, phrase] if draws.chance(0.6) else [phrase + ",", *words]
    text = " ".join(words)
    if len(scene.objects) > 1 and draws.chance(0.6):
        text = ", ".join([text, *(c.replace(" is ", " ", 1) for c in _companions(draws, scene, False)[:1])])
    if scene.camera.move != "static" and draws.chance(0.4):
        phrase = draws.choice(CAMERA_WORDS[scene.camera.move])
        text += ", " + phrase[0].lower() + phrase[1:-1]
    return text


def _medium(draws: Draws, scene: Scene) -> str:
    way = not any(event.event == "orbit" for event in scene.pair_events)
    words = [_subject(draws, scene, draws.chance(0.7)), _act(draws, scene, 0, True, _is_row(scene), way)]
    words.append(_place(draws, scene))
    if scene.background != "plain":
        words.append(draws.choice(BACKGROUND_WORDS[scene.background]))
    words += _times(draws, scene)
    if scene.style != "realistic":
        phrase = draws.choice(STYLE_WORDS[scene.style])
        words = [*words, phrase] if draws.chance(0.6) else [phrase + ",", *words]
    parts = [_sentence(" ".join(words)), *map(_sentence, _companions(draws, scene, False))]
    if scene.camera.move != "static":
        parts.append(draws.choice(CAMERA_WORDS[scene.camera.move]))
    return " ".join(parts)


def _dense(draws: Draws, scene: Scene) -> str:
    thing, row = scene.objects[0], _is_row(scene)
    name = _name(draws, scene, thing, True, row)
    if thing.size == "medium":
        name = "medium " + name
    noun = name.split()[-1]
    if row:
        whole = f"{draws.choice(NUMBER_WORDS[len(scene.objects)])} {name}"
        be = "there are"
    else:
        whole, be = _article(name), "there is"
    place = f"{_place(draws, scene)} {draws.choice(BACKGROUND_WORDS[scene.background])}"
    times = _times(draws, scene)
    act = _act(draws, scene, 0, True, row)
    camera = draws.choice(CAMERA_WORDS[scene.camera.move])
    order = draws.integer(0, 2)
    if order == 0:
        parts = [f"{whole} {act}", " ".join(["the scene is set", place, *times])]
    elif order == 1:
        where = f"it is {times[0]}, {place}" if times else f"the scene is set {place}"
        parts = [where, f"{whole} {act}"]
    else:
        parts = [" ".join([be, whole, place, *times]), f"the {noun} {act}"]
    if row:
        parts.append("they are in a row")
    if len(scene.objects) > 1:
        # The clauses say "it", so they follow the sentence that names the subject.
        subject = 1 if order else 0
        parts[subject + 1 : subject + 1] = _companions(draws, scene, True)
    for event in scene.pair_events:
        other = scene.objects[event.second]
        if event.event != "collide":
            subject = 1 if order else 0
            noun = draws.choice(KIND_WORDS[other.kind])
            parts.insert(subject + 1, f"the {noun} {_verb(draws, scene, other, 0, True)}")
    if scene.style != "realistic":
        phrases = [phrase for phrase in STYLE_WORDS[scene.style] if phrase.startswith("in ")]
        parts.append(f"the scene is {draws.choice(phrases)}")
    return " ".join([*map(_sentence, parts), camera])


def typed_prompt(scene: Scene, seed: int = 0) -> str:
    """The scene as somebody types it who wants to see it: what comes to mind, in whatever order it comes."""
    draws = Draws("typed prompt", seed, scene.seed, scene.index, scene.split, scene.level)
    thing, row, form = scene.objects[0], _is_row(scene), draws.integer(0, 1)
    subject = _subject(draws, scene, draws.chance(0.6))
    if thing.size == "medium" and not row and draws.chance(0.8):
        subject = _article("medium " + subject.split(" ", 1)[1])
    stands = not row and draws.chance(0.2)  # "there is a ball", and what it does in a sentence of its own
    if not row and not stands and draws.chance(0.4):
        subject = draws.choice(("the ", "")) + subject.split(" ", 1)[1]
    act = _act(draws, scene, form, draws.chance(0.7), row, draws.chance(0.7) or not scene.pair_events)
    said = [_place(draws, scene)] if draws.chance(0.8) else []
    if draws.chance(0.6 if scene.background != "plain" else 0.2):
        said.append(draws.choice(BACKGROUND_WORDS[scene.background]))
    if draws.chance(0.7):
        said += _times(draws, scene)
    if scene.style != "realistic" and draws.chance(0.8):
        said.append(draws.choice(STYLE_WORDS[scene.style]))
    said = [text for _, text in sorted((draws.uniform(), text) for text in said)]
    before = draws.integer(0, min(2, len(said)))
    if stands and not form and said:
        before = max(before, 1)  # the exam's lists begin with it
    between = draws.integer(0, min(1, len(said) - before)) if draws.chance(0.5) else 0
    first = " ".join([subject, *said[before : before + between]])
    if stands:
        first = f"there is {first}{draws.choice(('. It ', ', it '))}{'is ' if form else ''}{act}"
    else:
        first += (", " if between and form else " ") + act
    first = draws.choice((" ", ", ")).join([first, *said[before + between :]])
    text = ", ".join([*said[:before], first])
    more = _companions(draws, scene, False)
    if scene.camera.move != "static" and draws.chance(0.7):
        more.append(draws.choice(CAMERA_WORDS[scene.camera.move])[:-1])
    if more or draws.chance(0.4):
        return " ".join(map(_sentence, [text, *more]))
    return text


def timed_captions(scene: Scene, seed: int = 0) -> tuple[TimedText, ...]:
    """What happens in each half of a clip in which the first object does one thing after another; () of others."""
    second, thing = second_motion(scene), scene.objects[0]
    if not second:
        return ()
    draws = Draws("timed captions", seed, scene.seed, scene.index, scene.split, scene.level)
    texts = []
    for motion in (thing.motion, second):
        things = tuple(each.model_copy(update={"motion": motion}) for each in scene.objects[:1])
        if motion is second and thing.motion.colour_to:
            things = (things[0].model_copy(update={"colour": thing.motion.colour_to}),)
        half = scene.model_copy(update={"objects": things + scene.objects[1:], "second_motions": ()})
        row = _is_row(scene)
        words = [_subject(draws, half, draws.chance(0.3)), _act(draws, half, 0, True, row), _place(draws, half)]
        texts.append(" ".join([*words, *(_times(draws, half) if draws.chance(0.5) else [])]))
    return tuple(TimedText(start=0.5 * k, end=0.5 * k + 0.5, text=text) for k, text in enumerate(texts))


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def facts(scene: Scene) -> dict[str, object]:
    """The scene's attributes by name, for exact evaluation. What there is none of, or cannot be told, is "".

    "motion", "direction" and "speed" are of the clip, or of its first half where "then" follows in the second.
    """
    thing, second, hueless = scene.objects[0], second_motion(scene), scene.style in COLOURLESS
    return {
        "object": thing.kind,
        "colour": "" if hueless else thing.colour,
        "size": thing.size,
        "motion": thing.motion.action,
        "direction": thing.motion.direction,
        "speed": thing.motion.speed,
        "colour_to": thing.motion.colour_to or "",
        "then": second.action if second else "",
        "then_direction": second.direction if second else "",
        "then_colour_to": (second.colour_to or "") if second else "",
        "material": thing.material,
        "pattern": thing.pattern,
        "style": scene.style,
        "event": scene.pair_events[0].event if scene.pair_events else "",
        "floor": scene.floor,
        "background": scene.background,
        "time_of_day": "" if hueless else scene.time_of_day,
        "camera": scene.camera.move,
        "count": len(scene.objects),
        "objects": [
            {
                "object": each.kind,
                "colour": "" if hueless else each.colour,
                "motion": each.motion.action,
                "relation": each.relation,
                "material": each.material,
                "pattern": each.pattern,
            }
            for each in scene.objects
        ],
    }
