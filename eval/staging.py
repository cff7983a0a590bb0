"""True scenes of prompts: what is asked is shown exactly; what is not asked varies, or is plain on a clean stage.

The ceilings of the exam are the judges' scores on these scenes, and the pixel judge learns from scenes made here
too (of other prompts and seeds).
"""

from ..data.diorama.directing import EVENT_SIZES, stage_event, stage_halves
from ..data.diorama.draws import Draws
from ..data.diorama.rules import is_heldout
from ..data.diorama.scene import (
    BACKGROUNDS,
    COLOURS,
    TRAVEL,
    Camera,
    Floor,
    Motion,
    PairEvent,
    Relation,
    Scene,
    SceneObject,
    Size,
    TimeOfDay,
)  # fmt: skip
from ..data.diorama.sight import in_sight
from ..data.diorama.simple import draw_object, draw_simple
from ..data.diorama.stage import actions_of, beside, draw_camera, draw_row, draw_thing
from .questions import AskedObject, ExamPrompt

ATTEMPTS = 2000
PATIENCE = 80  # attempts after which the camera comes nearer or steps back
FACTORS = (1.0, 1.15, 0.85, 1.3, 0.75, 1.5, 0.95, 1.75)
CLEAN_FLOOR: Floor = "stone"


class StagingError(ValueError):
    """No scene was found that shows a prompt."""


def stage(prompt: ExamPrompt, seed: int = 0, *, clean: bool | None = None) -> Scene:
    """A scene that shows the prompt, the same for the same prompt and seed.

    Args:
        prompt: what to show.
        seed: picks the staging: places, sizes, whatever the prompt leaves open.
        clean: a still camera, day, a neutral floor, solid matte objects in all that the prompt does not ask; None:
            for probes (tier P) only.

    Raises:
        StagingError: what is asked cannot be brought into the picture together.
    """
    clean = prompt.tier == "P" if clean is None else clean
    for attempt in range(ATTEMPTS):
        draws = Draws("exam", prompt.id, prompt.text, seed, attempt)
        if prompt.level is not None:
            if scene := _draw_simple(draws, prompt, seed, prompt.level):
                return scene
            continue
        scene = _draw(draws, prompt, seed, clean)
        if scene is not None and attempt >= PATIENCE:  # it takes much room, or is small
            camera = scene.camera
            factor = FACTORS[attempt // PATIENCE % len(FACTORS)]
            camera = camera.model_copy(update={"distance": round(camera.distance * factor, 4)})
            scene = scene.model_copy(update={"camera": camera})
        if scene is not None and in_sight(scene):
            return scene
    raise StagingError(f"no scene shows {prompt.id}, {prompt.text!r}, after {ATTEMPTS} attempts")


def _draw(draws: Draws, prompt: ExamPrompt, seed: int, clean: bool) -> Scene | None:
    """One attempt; None where the draws do not fit together."""
    asked = prompt.objects[0]
    main = _subject(draws, asked, clean)
    if main is None:
        return None
    things: tuple[SceneObject, ...] = (main,)
    second: Motion | None = None
    pair: tuple[PairEvent, ...] = ()
    camera: Camera | None = None
    if prompt.event:
        sizes = EVENT_SIZES[prompt.event]
        fitting = {pair: weight for pair, weight in sizes.items() if asked.size in (None, pair[0])} or sizes
        size, other_size = draws.weighted(fitting)
        main = _subject(draws, asked, clean, size=asked.size or size) or main
        other = _plain_thing(draws, prompt.objects[1], other_size)
        things, event, camera = stage_event(draws, prompt.event, main, other, asked.direction or "")
        pair = (event,)
    else:
        if asked.then:
            main, second = stage_halves(
                draws, main, main.motion.action, asked.then, direction=asked.direction or "",
                then_direction=asked.then_direction or "", colour_to=asked.colour_to,
                speed=asked.speed or "normal",
            )  # fmt: skip
            things = (main,)
        if asked.count and asked.count > 1:
            things = draw_row(draws, main, asked.count)
        for other in prompt.objects[1:]:
            things = (*things, _companion(draws, main, other))
    if camera is None or prompt.camera not in (None, "static"):
        moving = _camera(draws, prompt, things)
        if moving is None:
            return None
        if camera is not None:  # keep the event's framing
            moving = camera.model_copy(
                update={"move": moving.move, "amount": moving.amount, "phase": moving.phase,
                        "distance": round(camera.distance + 0.4, 4)}
            )  # fmt: skip
        camera = moving
    times: dict[TimeOfDay, float] = {"day": 0.5, "sunset": 0.15, "night": 0.25, "dawn": 0.1}
    floors: tuple[Floor, ...] = ("grass", "sand", "snow", "wood", "checkered", "stone", "road")
    sails = any("sail" in (thing.motion, thing.then) for thing in prompt.objects)
    return Scene(
        seed=seed,
        index=0,
        level=3,
        objects=things,
        camera=camera,
        floor=prompt.floor or ("water" if sails else CLEAN_FLOOR if clean else draws.choice(floors)),
        background=prompt.background or ("plain" if clean else draws.choice(BACKGROUNDS)),
        time_of_day=prompt.time or ("day" if clean else draws.weighted(times)),
        sun_azimuth=draws.choice((-1, 1)) * draws.uniform(15, 50),
        texture_seed=draws.integer(0, 9999),
        style=prompt.style or "realistic",
        pair_events=pair,
        second_motions=(second,) * (asked.count or 1) if second else (),
    )


def _draw_simple(draws: Draws, prompt: ExamPrompt, seed: int, level: int) -> Scene | None:
    """One attempt at a scene of level 0 or 1, framed as there; what is not asked is no held-out composition."""
    split = "heldout" if prompt.tier == "B" else "train"
    scene, asked = draw_simple(draws, seed, 0, split, level), prompt.objects[0]
    size = asked.size or scene.objects[0].size
    for _ in range(200):
        thing = draw_object(draws, asked.kind, size, level)
        motion = thing.motion
        wanted = (asked.motion or motion.action, asked.direction or motion.direction, asked.speed or motion.speed)
        if (motion.action, motion.direction, motion.speed) == wanted:
            break
    else:
        return None
    facts = {"floor": prompt.floor, "background": prompt.background, "time_of_day": prompt.time}
    facts = {name: word for name, word in facts.items() if word}
    thing = thing.model_copy(update={"colour": asked.colour or thing.colour})
    scene = scene.model_copy(update={"objects": (thing,), **facts})
    return scene if is_heldout(scene) == (prompt.tier == "B") else None


def _subject(draws: Draws, asked: AskedObject, clean: bool, size: Size | None = None) -> SceneObject | None:
    """The first object, with everything asked of it."""
    sizes: dict[Size, float] = (
        {"large": 0.5, "medium": 0.5} if clean else {"large": 0.4, "medium": 0.4, "small": 0.2}
    )
    size = size or asked.size or draws.weighted(sizes)
    place = (draws.uniform(-0.3, 0.3), 0.0, draws.uniform(-0.3, 0.3))
    action = asked.motion or ("stand" if asked.then else draws.weighted(actions_of(asked.kind)))
    if action in TRAVEL:
        place = (round(place[0] * 0.3, 4), 0.0, place[2])
    for _ in range(60):
        thing = draw_thing(draws, asked.kind, asked.colour or draws.choice(COLOURS), size, action, place)
        motion = thing.motion
        if motion.direction != (asked.direction or motion.direction) or motion.speed != (
            asked.speed or motion.speed
        ):
            continue
        if asked.colour_to and action == "change colour":
            motion = motion.model_copy(update={"colour_to": asked.colour_to})
        update = {"motion": motion, "material": asked.material or "matte", "pattern": asked.pattern or "plain"}
        return thing.model_copy(update=update)
    return None


def _plain_thing(draws: Draws, asked: AskedObject, size: Size) -> SceneObject:
    """Another object than the first, doing what is asked of it or standing."""
    action = asked.motion or "stand"
    return draw_thing(
        draws, asked.kind, asked.colour or draws.choice(COLOURS), asked.size or size, action, (0, 0, 0)
    )


def _companion(draws: Draws, main: SceneObject, asked: AskedObject) -> SceneObject:
    """Another object in its relation to the first; beside it where none is asked."""
    beside_it: dict[Relation, float] = {"left of": 1.0, "right of": 1.0}
    relation: Relation = asked.relation or draws.weighted(beside_it)
    sizes: dict[Size, float] = {"small": 1.0, "medium": 1.0, "large": 0.5}
    if relation in ("in front of", "on top of"):
        sizes = {"small": 1.0, "medium": 0.3 if main.size == "large" else 0.0}
    other = _plain_thing(draws, asked, draws.weighted(sizes))
    place = beside(draws, main, other, relation)
    return other.model_copy(update={"relation": relation, "position": place})


def _camera(draws: Draws, prompt: ExamPrompt, things: tuple[SceneObject, ...]) -> Camera | None:
    wanted = prompt.camera or "static"
    for _ in range(120):
        camera = draw_camera(draws, things, 2 if len(things) < 3 else 3)
        if camera.move == wanted:
            return camera
    return None
