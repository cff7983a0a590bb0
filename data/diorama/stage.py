"""How the fuller scenes of levels 2 and 3 are set: several objects in relation, every motion, a moving camera."""

from .draws import Draws
from .motions import FACING_YAW
from .objects import SHAPES
from .scene import (
    BACKGROUNDS,
    COLOURS,
    KINDS,
    MOVES,
    TRAVEL,
    Action,
    Camera,
    Colour,
    Direction,
    Floor,
    Kind,
    Motion,
    Move,
    Relation,
    Scene,
    SceneObject,
    Size,
    Speed,
    Split,
    TimeOfDay,
)  # fmt: skip
from .simple import SCALES, SPEEDS, TURNS

BUILD: dict[Kind, float] = {
    "car": 1.15,
    "tree": 0.92,
    "capsule": 1.15,
    "airplane": 1.15,
    "boat": 1.1,
    "robot": 0.95,
}

TRAVELS: dict[Kind, tuple[Action, ...]] = {  # the ways each kind gets about
    "ball": ("roll",), "cylinder": ("roll",), "ring": ("roll",), "cube": ("slide",), "brick": ("slide",),
    "cone": ("slide",), "pyramid": ("slide",), "capsule": ("hop", "slide"), "diamond": ("slide", "hop"),
    "egg": ("waddle", "hop"), "star": ("slide", "hop"), "heart": ("hop", "slide"), "car": ("drive",),
    "boat": ("sail",), "duck": ("waddle",), "rocket": (), "tree": (), "house": (), "snowman": ("slide", "hop"),
    "robot": ("waddle",), "mushroom": ("hop",), "airplane": ("fly",),
}  # fmt: skip
ROOTED = frozenset({"tree", "house"})  # do not bounce, fall, rise or swing
ROUND = frozenset({"cone", "tree", "capsule", "egg"})  # look the same from all sides: their spin cannot be seen
FLAT_TOPPED: tuple[Kind, ...] = ("cube", "brick", "cylinder")
FLOATING: tuple[Kind, ...] = ("ball", "ring", "duck", "boat", "capsule")  # may stand on water
FACED = frozenset({"robot", "snowman"})  # look at the viewer when they stay where they are


def actions_of(kind: Kind) -> dict[Action, float]:
    """Everything a kind can do, with weights."""
    weights: dict[Action, float] = {"stand": 1.0, "grow": 0.7, "shrink": 0.7, "change colour": 0.7}
    if kind not in ROUND:
        weights["spin"] = 0.9
    if kind not in ROOTED:
        weights |= {"bounce": 0.9, "fall": 0.8, "rise": 0.8, "swing": 0.6}
    for action in TRAVELS[kind]:
        weights[action] = 3.0 / len(TRAVELS[kind])
    return weights


def draw_motion(draws: Draws, kind: Kind, action: Action, colour: Colour, room: float) -> Motion:
    """A motion of the given sort. `room`: units free above the object for vertical motions."""
    speed: Speed = draws.weighted({"normal": 0.5, "slow": 0.25, "fast": 0.25})
    direction: Direction = ""
    rate = height = 0.0
    colour_to: Colour | None = None
    if action in TRAVEL:
        sideways: dict[Direction, float] = {"left": 0.42, "right": 0.42}
        if action not in ("roll", "fly"):
            sideways |= {"towards": 0.08, "away": 0.08}
        direction = draws.weighted(sideways)
        rate = draws.uniform(*SPEEDS[speed])
        height = draws.uniform(0.3, 0.45) if action == "hop" else 0.0
    elif action == "spin":
        direction = draws.choice(("clockwise", "counterclockwise"))
        rate = draws.uniform(*TURNS[speed])
    else:
        speed = "normal"
        if action in ("bounce", "fall", "rise"):
            low, high = {"bounce": (0.5, 0.9), "fall": (0.85, 1.0), "rise": (0.7, 1.0)}[action]
            height = round(draws.uniform(low, high) * min(room, 1.7), 4)
        elif action == "swing":
            height = draws.uniform(0.8, 1.1)
        elif action == "change colour":
            others: list[Colour] = [c for c in COLOURS if c != colour]
            colour_to = draws.choice(others)
    return Motion(
        action=action,
        direction=direction,
        speed=speed,
        rate=rate,
        height=height,
        phase=draws.uniform(),
        colour_to=colour_to,
    )


def draw_yaw(draws: Draws, kind: Kind, motion: Motion) -> float:
    """Which way an object faces: where it goes, at the viewer if it has a face, else so as to show it well."""
    if motion.action in TRAVEL:
        turned = draws.choice((-1, 1)) * draws.uniform(12, 32) if kind in ("cube", "pyramid", "brick") else 0.0
        flat = kind in ("star", "heart") and motion.direction in ("towards", "away")
        return 0.0 if flat else FACING_YAW[motion.direction] + turned
    if kind in FACED:
        return 270 + draws.uniform(-40, 40)
    if kind in ("ball", "ring", "cylinder", "star", "heart", "house"):
        return draws.uniform(-30, 30)
    return 180.0 * draws.integer(0, 1) + draws.choice((-1, 1)) * draws.uniform(10, 35)


def draw_thing(
    draws: Draws, kind: Kind, colour: Colour, size: Size, action: Action, place: tuple[float, float, float]
) -> SceneObject:
    """One object doing something at a place."""
    scale = round(draws.uniform(*SCALES[size]) * BUILD.get(kind, 1.0), 4)
    motion = draw_motion(draws, kind, action, colour, 2.7 - 2 * SHAPES[kind].half[1] * scale)
    if action == "fly":
        place = (place[0], draws.uniform(0.5, 1.1), place[2])
    return SceneObject(
        kind=kind,
        colour=colour,
        size=size,
        scale=scale,
        position=place,
        yaw=draw_yaw(draws, kind, motion),
        motion=motion,
    )


def reach(thing: SceneObject) -> float:
    """Radius of the circle on the floor that an object needs."""
    half = SHAPES[thing.kind].half
    return max(half[0], half[2]) * thing.scale


def draw_stage(draws: Draws, seed: int, index: int, split: Split, level: int) -> Scene:
    """A scene of level 2 or 3; nothing here makes sure that it can be seen (see `sight`)."""
    kind = draws.choice(KINDS)
    colour = draws.choice(COLOURS)
    sizes: dict[Size, float] = {"large": 0.4, "medium": 0.4, "small": 0.2}
    size = draws.weighted(sizes if level == 2 else dict.fromkeys(sizes, 1.0))
    action = draws.weighted(actions_of(kind))
    row = level == 3 and draws.chance(0.25)
    stacked = not row and draws.chance(0.07)
    if stacked:
        kind, action = draws.choice(FLAT_TOPPED), "stand"
    middle = (draws.uniform(-0.3, 0.3), 0.0, draws.uniform(-0.3, 0.3))
    if action in TRAVEL:
        middle = (round(middle[0] * 0.3, 4), 0.0, middle[2])
    main = draw_thing(draws, kind, colour, size, action, middle)
    if row:
        things = draw_row(draws, main, draws.integer(2, 4))
    else:
        more = draws.weighted({0: 0.45, 1: 0.55} if level == 2 else {0: 0.15, 1: 0.4, 2: 0.3, 3: 0.15})
        things = draw_companions(draws, main, max(more, int(stacked)), level, stacked)
    floors: dict[Floor, float] = {
        "grass": 1,
        "sand": 1,
        "snow": 1,
        "wood": 1,
        "checkered": 1,
        "stone": 0.7,
        "road": 0.7,
    }
    floor: Floor = "water" if action == "sail" else draws.weighted(floors)
    times: dict[TimeOfDay, float] = {"day": 0.5, "sunset": 0.15, "night": 0.25, "dawn": 0.1}
    time_of_day = draws.weighted(times)
    return Scene(
        seed=seed,
        index=index,
        split=split,
        level=level,
        objects=things,
        camera=draw_camera(draws, things, level),
        floor=floor,
        background=draws.choice(BACKGROUNDS),
        time_of_day=time_of_day,
        sun_azimuth=draws.choice((-1, 1)) * draws.uniform(15, 50),
        texture_seed=draws.integer(0, 9999),
        moon=draw_moon(draws, time_of_day),
    )


def draw_moon(draws: Draws, time_of_day: TimeOfDay) -> tuple[float, float] | None:
    """Half of the nights have a moon in the picture."""
    place = (draws.uniform(-15, 15), draws.uniform(5.5, 7.5))
    return place if time_of_day == "night" and draws.chance(0.5) else None


def draw_row(draws: Draws, main: SceneObject, count: int) -> tuple[SceneObject, ...]:
    """`count` objects alike side by side, doing the same."""
    step = 2 * reach(main) + draws.uniform(0.12, 0.3)
    x, y, z = main.position
    start = x - step * (count - 1) / 2
    return tuple(
        main.model_copy(
            update={"position": (round(start + step * i, 4), y, z), "relation": "in a row" if i else ""}
        )
        for i in range(count)
    )


def draw_companions(
    draws: Draws, main: SceneObject, count: int, level: int, stacked: bool
) -> tuple[SceneObject, ...]:
    """The subject and `count` others, each of another kind and colour, placed by a relation to the subject.

    `stacked`: the first of them stands on top of the subject.
    """
    relations: dict[Relation, float] = {"behind": 1.0, "in front of": 0.6}
    if main.motion.action not in TRAVEL:
        relations |= {"left of": 1.2, "right of": 1.2}
    if stacked:
        relations |= {"on top of": 1e6}  # first of all
    things = [main]
    for _ in range(min(count, len(relations))):
        relation = draws.weighted(relations)
        del relations[relation]
        able = FLOATING if main.motion.action == "sail" else KINDS
        kinds: list[Kind] = [k for k in able if k != "airplane" and all(k != t.kind for t in things)]
        colours: list[Colour] = [c for c in COLOURS if all(c != t.colour for t in things)]
        kind, colour = draws.choice(kinds), draws.choice(colours)
        smaller: dict[Size, float] = {"small": 1.0, "medium": 1.0, "large": 0.5}
        if relation in ("in front of", "on top of"):
            smaller = {"small": 1.0, "medium": 0.3 if main.size == "large" else 0.0}
        action: Action = "stand"
        if level == 3 and relation != "on top of" and draws.chance(0.3):
            still: dict[Action, float] = {
                a: w for a, w in actions_of(kind).items() if a not in TRAVEL and a != "stand"
            }
            action = draws.weighted(still)
        other = draw_thing(draws, kind, colour, draws.weighted(smaller), action, (0.0, 0.0, 0.0))
        place = beside(draws, main, other, relation)
        things.append(other.model_copy(update={"relation": relation, "position": place}))
    return tuple(things)


def beside(draws: Draws, main: SceneObject, other: SceneObject, relation: Relation) -> tuple[float, float, float]:
    """A place for `other` in the relation to `main`: x, y, z in units."""
    x, _, z = main.position
    apart = reach(main) + reach(other)
    side, deep = draws.uniform(0.1, 0.5), draws.uniform(0.3, 1.2)
    across, along = draws.uniform(-0.9, 0.9), draws.uniform(-0.25, 0.25)
    if relation == "left of":
        x, z = x - apart - side, z + along
    elif relation == "right of":
        x, z = x + apart + side, z + along
    elif relation == "behind":
        x, z = x + across + (0.6 if across > 0 else -0.6), z - apart - deep
    elif relation == "in front of":
        x, z = x + across, z + apart + 0.3 * side
    top = 2 * SHAPES[main.kind].half[1] * main.scale if relation == "on top of" else 0.0
    return (round(x, 4), round(top, 4), round(z, 4))


def draw_camera(draws: Draws, things: tuple[SceneObject, ...], level: int) -> Camera:
    """Where the scene is filmed from, and how the camera moves."""
    moves: dict[Move, float] = {m: 1.0 for m in MOVES if m not in ("static", "track")}
    main = things[0]
    if main.motion.direction in ("left", "right"):
        moves["track"] = 4.0
    moves["static"] = sum(moves.values()) * (1.3 if level == 2 else 0.6)
    move = draws.weighted(moves)
    spans = {
        "pan": (16, 24), "tilt": (9, 15), "orbit": (45, 75), "dolly": (2.2, 3.2), "crane": (1.3, 1.9),
        "handheld": (0.012, 0.02),
    }  # fmt: skip
    amount = draws.uniform(*spans.get(move.split()[0], (0, 0)))
    if move == "track":
        amount = main.motion.rate * (1 if main.motion.direction == "right" else -1)
    xs = [thing.position[0] for thing in things]
    return Camera(
        move=move,
        distance=draws.uniform(5.2, 6.2) if level == 2 else draws.uniform(5.6, 7.0),
        height=draws.uniform(1.4, 2.1),
        target=(round((min(xs) + max(xs)) / 2, 4), draws.uniform(0.8, 1.0), 0.0),
        amount=amount,
        phase=draws.uniform(),
    )
