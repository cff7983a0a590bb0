"""The second ring of levels 2 and 3: finishes, styles, one thing after another, and what two objects do together.

Which of the stories a scene tells is drawn once for its number, so that stories that are hard to stage are as
frequent as they should be.
"""

from .captions import timed_captions
from .directing import EVENT_SIZES, GOERS, SCREENS, follows, stage_event, stage_halves
from .draws import Draws
from .scene import (
    COLOURLESS,
    COLOURS,
    EVENTS,
    KINDS,
    TRAVEL,
    Action,
    Camera,
    Colour,
    Event,
    Floor,
    Kind,
    Material,
    Motion,
    Move,
    Pattern,
    Scene,
    SceneObject,
    Speed,
    Split,
    Style,
)  # fmt: skip
from .simple import actions_of as simple_actions_of
from .stage import FLOATING, TRAVELS, actions_of, draw_stage, draw_thing

STORIES: dict[str, float] = {"one": 0.7, "in turn": 0.15, "together": 0.15}
FINISHES: dict[str, float] = {"": 0.5, "material": 0.25, "pattern": 0.25}
STYLED = 0.15  # share of the scenes of level 3


def draw_varied(draws: Draws, seed: int, index: int, split: Split, level: int) -> Scene:
    """A scene of level 2 or 3; nothing here makes sure that it can be seen (see `sight`)."""
    story = Draws("story", seed, index, split, level).weighted(STORIES)
    scene = draw_stage(draws, seed, index, split, level)
    if story == "in turn":
        scene = draw_turns(draws, scene)
    elif story == "together":
        scene = draw_pair(draws, scene)
    scene = draw_finishes(draws, scene)
    if level == 3 and draws.chance(STYLED):
        motions = [thing.motion for thing in scene.objects] + [m for m in scene.second_motions if m]
        hueless = not any(motion.colour_to for motion in motions)
        styles: dict[Style, float] = {"cartoon": 1, "pixel art": 1}
        if hueless:
            styles |= dict.fromkeys(sorted(COLOURLESS), 1.0)
        scene = scene.model_copy(update={"style": draws.weighted(styles)})
    return scene.model_copy(update={"timed_captions": timed_captions(scene)})


def draw_finishes(draws: Draws, scene: Scene) -> Scene:
    """Materials and patterns for about half of the objects, alike in a row."""
    materials: tuple[Material, ...] = ("shiny", "metallic", "glowing")
    patterns: tuple[Pattern, ...] = ("striped", "spotted", "checkered")
    things: list[SceneObject] = []
    for thing in scene.objects:
        finish = draws.weighted(FINISHES)
        update: dict[str, str] = {}
        if thing.relation == "in a row":
            update = {"material": things[0].material, "pattern": things[0].pattern}
        elif finish == "material":
            update = {"material": draws.choice(materials)}
        elif finish == "pattern":
            update = {"pattern": draws.choice(patterns)}
        things.append(thing.model_copy(update=update))
    return scene.model_copy(update={"objects": tuple(things)})


def draw_turns(draws: Draws, scene: Scene) -> Scene:
    """The scene with a subject, or a row of them, that does one thing after another."""
    main, others = scene.objects[0], scene.objects[1:]
    kept = {thing.relation for thing in others}
    weights: dict[Action, float] = {
        then: weight
        for then, weight in actions_of(main.kind).items()
        if follows(main.motion.action, then)
        and not (then in TRAVEL and kept & {"left of", "right of"})
        and not (then == "sail" and scene.floor != "water")
    }
    if "on top of" in kept:
        weights = {"change colour": 1.0, "grow": 0.0} if not main.motion.colour_to else {}
    if not any(weights.values()):
        return scene
    speed: Speed = draws.weighted({"normal": 0.7, "fast": 0.3})
    moved, second = stage_halves(draws, main, main.motion.action, draws.weighted(weights), speed=speed)
    x, _, z = (after - before for after, before in zip(moved.position, main.position, strict=True))
    things: list[SceneObject] = [moved]
    seconds: list[Motion | None] = [second]
    for thing in others:
        row = thing.relation == "in a row"
        if row:
            place = (round(thing.position[0] + x, 4), moved.position[1], round(thing.position[2] + z, 4))
            thing = moved.model_copy(update={"position": place, "relation": thing.relation})
        things.append(thing)
        seconds.append(second if row else None)
    camera = scene.camera
    if camera.move == "track":  # it would keep pace with the first half alone
        camera = camera.model_copy(update={"move": "static", "amount": 0.0})
    return scene.model_copy(update={"objects": tuple(things), "second_motions": tuple(seconds), "camera": camera})


def draw_simple_turns(draws: Draws, scene: Scene) -> Scene:
    """A simple scene (levels 0 and 1) whose object does one thing after another, with timed captions."""
    thing = scene.objects[0]
    weights: dict[Action, float] = {
        then: weight
        for then, weight in simple_actions_of(thing.kind, scene.level).items()
        if follows(thing.motion.action, then)
    }
    if not weights:
        return scene
    moved, second = stage_halves(draws, thing, thing.motion.action, draws.weighted(weights))
    scene = scene.model_copy(update={"objects": (moved,), "second_motions": (second,)})
    return scene.model_copy(update={"timed_captions": timed_captions(scene)})


def draw_pair(draws: Draws, scene: Scene) -> Scene:
    """The scene's stage with two objects that do something together in place of its objects."""
    event: Event = draws.choice(EVENTS)
    kind = draws.choice(GOERS)
    sails = "sail" in TRAVELS[kind]
    able: tuple[Kind, ...] = GOERS if event in ("chase", "meet") else SCREENS if event == "pass behind" else KINDS
    kinds: list[Kind] = [k for k in able if k not in (kind, "airplane") and (not sails or k in FLOATING)]
    colour = draws.choice(COLOURS)
    others: list[Colour] = [c for c in COLOURS if c != colour]
    sizes = draws.weighted(EVENT_SIZES[event])
    nowhere = (0.0, 0.0, 0.0)
    first = draw_thing(draws, kind, colour, sizes[0], "stand", nowhere)
    second = draw_thing(draws, draws.choice(kinds), draws.choice(others), sizes[1], "stand", nowhere)
    speed: Speed = draws.weighted({"normal": 0.6, "slow": 0.2, "fast": 0.2})
    if event != "orbit":
        first = first.model_copy(update={"motion": Motion(action=draws.choice(TRAVELS[kind]), speed=speed)})
    things, record, camera = stage_event(draws, event, first, second)
    floors: tuple[Floor, ...] = ("grass", "sand", "snow", "wood", "checkered", "stone", "road")
    floor: Floor = "water" if sails else draws.choice(floors) if scene.floor == "water" else scene.floor
    camera = draw_event_camera(draws, camera)
    return scene.model_copy(
        update={"objects": things, "pair_events": (record,), "floor": floor, "camera": camera}
    )  # fmt: skip


def draw_event_camera(draws: Draws, camera: Camera) -> Camera:
    """The camera of an event, sometimes with a move small enough to keep the event in the picture."""
    moves: dict[Move, float] = {
        "static": 9, "handheld": 1, "dolly in": 1, "dolly out": 1, "crane up": 1, "crane down": 1, "tilt up": 1,
        "tilt down": 1, "pan left": 0.5, "pan right": 0.5,
    }  # fmt: skip
    move = draws.weighted(moves)
    spans = {
        "pan": (8, 10), "tilt": (9, 12), "dolly": (1.2, 1.8), "crane": (1.0, 1.4), "handheld": (0.012, 0.02),
    }  # fmt: skip
    amount = draws.uniform(*spans.get(move.split()[0], (0, 0)))
    further = {"dolly": amount / 2, "pan": 1.2, "static": 0.0}.get(move.split()[0], 0.4)
    distance = round(camera.distance + further, 4)
    return camera.model_copy(
        update={"move": move, "amount": amount, "distance": distance, "phase": draws.uniform()}
    )
