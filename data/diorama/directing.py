"""Placing and timing what happens: objects of given kinds, colours and sizes, doing what can be seen.

    (first, second), event, camera = stage_event(draws, "pass behind", ball, house, "left")
    scene = Scene(…, objects=(first, second), pair_events=(event,), camera=camera)

    thing, then = stage_halves(draws, ball, "roll", "bounce", direction="left")
    scene = Scene(…, objects=(thing,), second_motions=(then,))

Both keep kind, colour, size, scale, material and pattern of the objects they are given, and set position, yaw and
motion. They take care of the geometry only: held-out pairs, floors (what sails needs water) and other objects are
the caller's. `sight.in_sight` then tells whether all is well in the picture; most results pass.
"""

import math

from .draws import Draws
from .motions import SWING_CLEARANCE
from .objects import SHAPES
from .scene import (
    COLOURS,
    TRAVEL,
    Action,
    Camera,
    Colour,
    Direction,
    Event,
    Kind,
    Motion,
    PairEvent,
    SceneObject,
    Size,
    Speed,
)  # fmt: skip
from .simple import SPEEDS, TURNS
from .stage import TRAVELS, draw_yaw, reach

SIDES: tuple[Direction, ...] = ("left", "right")
OPPOSITE: dict[Direction, Direction] = {
    "left": "right", "right": "left", "towards": "away", "away": "towards",
    "clockwise": "counterclockwise", "counterclockwise": "clockwise",
}  # fmt: skip
GOERS: tuple[Kind, ...] = tuple(kind for kind in TRAVELS if TRAVELS[kind])  # can be the first of a pair event
# Bulky enough to hide another behind them.
SCREENS: tuple[Kind, ...] = (
    "ball",
    "cube",
    "cylinder",
    "house",
    "car",
    "pyramid",
    "egg",
    "diamond",
    "heart",
    "duck",
)
# Sizes of the first and the second that suit an event, with weights; others can be staged, but may read less well.
EVENT_SIZES: dict[Event, dict[tuple[Size, Size], float]] = {
    "pass behind": {("small", "large"): 1, ("medium", "large"): 2, ("small", "medium"): 1},
    "pass in front of": {("large", "small"): 1, ("large", "medium"): 2, ("medium", "small"): 1},
    "chase": {("medium", "medium"): 2, ("large", "medium"): 1, ("medium", "large"): 1, ("small", "medium"): 1},
    "meet": {("medium", "medium"): 2, ("large", "medium"): 1, ("medium", "large"): 1, ("large", "large"): 0.5},
    "collide": {("medium", "medium"): 2, ("large", "medium"): 1, ("large", "small"): 1, ("medium", "small"): 1},
    "orbit": {("small", "large"): 2, ("small", "medium"): 1, ("medium", "large"): 1, ("medium", "medium"): 1},
}  # fmt: skip
BALANCED: frozenset[Kind] = frozenset({
    "ball", "cylinder", "cone", "capsule", "egg", "diamond", "tree", "snowman", "mushroom", "rocket",
})  # fmt: skip  # as wide from all sides
FLYING_HEIGHT = 0.3  # units, of an airplane in a pair event
FOCAL = 1 / math.tan(math.radians(20))  # of the standard field of view; see `cameras`
MARGIN = 0.92  # share of the picture that is used
BRISK = 1.15  # how much faster what has half the time goes
RATES: dict[Event, dict[Speed, float]] = {  # units per second in a clip of two seconds
    "chase": {"slow": 0.45, "normal": 0.62, "fast": 0.85},
    "meet": {"slow": 0.45, "normal": 0.62, "fast": 0.85},
    "collide": {"slow": 0.5, "normal": 0.72, "fast": 0.95},
}
PASSING: dict[Speed, float] = {"slow": 1.0, "normal": 1.12, "fast": 1.4}  # shares of the shortest way


def half_width(thing: SceneObject) -> float:
    """Half of what the object spans from left to right, in units."""
    wide, _, deep = SHAPES[thing.kind].half
    turned = math.radians(thing.yaw)
    if thing.kind in BALANCED:
        return wide * thing.scale
    return (abs(math.cos(turned)) * wide + abs(math.sin(turned)) * deep) * thing.scale


def stage_event(
    draws: Draws, event: Event, first: SceneObject, second: SceneObject, direction: Direction = ""
) -> tuple[tuple[SceneObject, SceneObject], PairEvent, Camera]:
    """Two objects placed for a pair event, the event's record, and a still camera that sees it whole.

    Args:
        first: the one that goes; of its motion the action is kept, if it is a way of travel that its kind has, and
            the speed (slow, normal or fast as such an event goes; what passes has a long way and is never slow).
        second: the one it happens to.
        direction: where the first goes, "left" or "right"; "" draws one. An orbit takes none and draws its sense.

    The event's `first` and `second` are 0 and 1. The camera may be moved about a little (handheld, dolly, crane):
    check with `sight.in_sight`.

    Raises:
        ValueError: an object that cannot travel has to, or a direction that is not sideways.
    """
    if direction not in ("", *SIDES):
        raise ValueError(f"{event} to the {direction!r}; the first object goes left or right")
    direction = direction or draws.choice(SIDES)
    side = -1 if direction == "left" else 1
    first = _mover(draws, first, direction, circling=event == "orbit")
    both: dict[Event, Direction] = {"chase": direction, "meet": OPPOSITE[direction]}
    if event in both:
        paced = second.motion.model_copy(update={"speed": first.motion.speed})
        second = _mover(draws, second.model_copy(update={"motion": paced}), both[event])
    else:
        second = _stander(draws, second)
    wide, other = half_width(first), half_width(second)
    x, z = draws.uniform(-0.15, 0.15), draws.uniform(-0.2, 0.2)
    record = PairEvent(event=event, first=0, second=1)
    height = draws.uniform(1.15, 1.4)

    if event in ("pass behind", "pass in front of"):
        away = -1 if event == "pass behind" else 1
        deep = _half_depth(first) + _half_depth(second) + draws.uniform(0.12, 0.25)
        z1, z2 = z + away * deep * 0.6, z - away * deep * 0.4
        distance, rate, pace = 5.2, 0.0, PASSING[first.motion.speed]
        for _ in range(12):  # the way depends on the distance and the other way round
            rate = pace * ((distance - z1) * other / (distance - z2) + wide + 0.15)
            distance = max(distance, (rate + wide) * FOCAL / MARGIN + z1)
        first = _put(first, x, z1, rate)
        second = _put(second, x, z2)
        return (first, second), record, _camera(draws, (first, second), (x, x), distance, height)
    if event == "orbit":
        turn = draws.choice(("clockwise", "counterclockwise"))
        begin = draws.choice((0.0, 180.0)) + draws.uniform(-8, 8)
        radius = round(max(reach(first), wide) + max(reach(second), other) + draws.uniform(0.2, 0.35), 4)
        record = record.model_copy(update={"amount": radius, "angle": begin, "turn": turn})
        sideways = math.radians(begin + 180)
        second = _put(second, x, z)
        first = _put(first, x + radius * math.cos(sideways), z + radius * math.sin(sideways), math.pi * radius)
        first = first.model_copy(update={"motion": first.motion.model_copy(update={"direction": ""})})
        span = radius + reach(first)
        return (first, second), record, _camera(draws, (first, second), (x - span, x + span), 5.6, height + 0.7)
    if event == "chase":
        rate, gap = RATES[event][first.motion.speed], wide + other + draws.uniform(0.35, 0.5)
        first, second = _put(first, x - side * gap / 2, z, rate + 0.08), _put(second, x + side * gap / 2, z, rate)
        ends = (x - side * (gap / 2 + rate + 0.08 + wide), x + side * (gap / 2 + rate + other))
    elif event == "meet":
        rate, gap = RATES[event][first.motion.speed], wide + other + draws.uniform(0.06, 0.14)
        first = _put(first, x - side * (gap / 2 + rate), z, rate)
        second = _put(second, x + side * (gap / 2 + rate), z, rate)
        ends = (x - side * (gap / 2 + 2 * rate + wide), x + side * (gap / 2 + 2 * rate + other))
    else:  # collide
        rate, gap = RATES[event][first.motion.speed], wide + other
        push = round(0.9 * rate, 4)
        record = record.model_copy(update={"amount": push})
        start = x + side * (gap / 2 - push / 2 + rate / 2)  # of the second; the whole of it is centred on x
        first = _put(first, start - side * (gap + rate), z, rate)
        second = _put(second, start, z)
        ends = (start - side * (gap + 2 * rate + wide), start + side * (push + other))
    return (first, second), record, _camera(draws, (first, second), ends, 5.2, height + 0.2)


def _half_depth(thing: SceneObject) -> float:
    turned = thing.model_copy(update={"yaw": thing.yaw + 90})
    return half_width(turned)


def _mover(draws: Draws, thing: SceneObject, direction: Direction, circling: bool = False) -> SceneObject:
    """The object made to travel sideways, as far as `_put` says. Anything can glide in a circle."""
    ways: tuple[Action, ...] = TRAVELS[thing.kind] or (("slide",) if circling else ())
    if not ways:
        raise ValueError(f"a {thing.kind} cannot travel; it can only be the second of an event in which it stands")
    flat: list[Action] = [way for way in ways if way != "hop"] or list(ways)
    action = thing.motion.action if thing.motion.action in ways else draws.choice(flat)
    height = 0.3 if action == "hop" else 0.0
    motion = Motion(action=action, direction=direction, speed=thing.motion.speed, height=height)
    place = (0.0, FLYING_HEIGHT if action == "fly" else 0.0, 0.0)
    return thing.model_copy(
        update={"motion": motion, "yaw": draw_yaw(draws, thing.kind, motion), "position": place}
    )


def _stander(draws: Draws, thing: SceneObject) -> SceneObject:
    motion = Motion()
    yaw = draw_yaw(draws, thing.kind, motion)
    return thing.model_copy(update={"motion": motion, "yaw": yaw, "position": (0.0, 0.0, 0.0)})


def _put(thing: SceneObject, x: float, z: float, rate: float = 0.0) -> SceneObject:
    """The object at a place, going at a rate; a waddle is timed so that it ends upright."""
    motion = thing.motion
    if rate:
        phase = round((-rate / 0.55) % 1, 4) if motion.action == "waddle" else 0.0
        motion = motion.model_copy(update={"rate": round(rate, 4), "phase": phase})
    place = (round(x, 4), thing.position[1], round(z, 4))
    return thing.model_copy(update={"position": place, "motion": motion})


def _camera(
    draws: Draws, things: tuple[SceneObject, SceneObject], ends: tuple[float, float], least: float, height: float
) -> Camera:
    """A still camera that sees from one end to the other, at the nearer object's depth, and both objects' tops."""
    near = max(thing.position[2] for thing in things)
    top = max(thing.position[1] + 2 * SHAPES[thing.kind].half[1] * thing.scale for thing in things)
    middle = 0.8
    distance = max(
        least, abs(ends[1] - ends[0]) / 2 * FOCAL / MARGIN + near, (top + 0.15 - middle) * FOCAL / MARGIN + near
    )
    target = (round(sum(ends) / 2, 4), middle, 0.0)
    return Camera(distance=round(distance + draws.uniform(0, 0.3), 4), height=height, target=target)


GROUND: frozenset[Action] = frozenset({"roll", "slide", "drive", "sail", "waddle", "hop", "bounce"})


def follows(action: Action, then: Action) -> bool:
    """Whether one motion after another reads well; all can be staged."""
    if action == then:
        return action in TRAVEL  # the other way
    if then == "stand":
        return action in GROUND | {"spin", "swing"}
    if then == "fall":
        return action not in GROUND
    if action in ("rise", "fly"):
        return then not in GROUND and (action, then) != ("rise", "fly")
    return True


def stage_halves(
    draws: Draws, thing: SceneObject, action: Action, then: Action, *, direction: Direction = "",
    then_direction: Direction = "", colour_to: Colour | None = None, speed: Speed = "normal",
) -> tuple[SceneObject, Motion]:  # fmt: skip
    """An object that does `action` in the clip's first half, and its second motion, which does `then`.

    Args:
        thing: the object; `position` is taken as the middle of its whole way.
        direction, then_direction: of travel or spin; "" draws one (the opposite one if the actions are the same).
        colour_to: of "change colour", whichever of the two it is; None draws one.
        speed: of the first motion, and of the second if it is of the same sort; for travel and spin.

    See `halves` for how one goes over into the other, `follows` for which pairs read well.
    """
    first = _half_motion(draws, thing, action, direction, colour_to, speed)
    if not then_direction and then == action:
        then_direction = OPPOSITE.get(first.direction, "")
    second = _half_motion(draws, thing, then, then_direction, colour_to, speed if then == action else "normal")
    if then == "fall" and action in ("rise", "swing"):  # from where it rose to; a pendulum hangs in the air
        height = first.height if action == "rise" else max(second.height - SWING_CLEARANCE - 0.2, 0.5)
        second = second.model_copy(update={"height": round(height, 4)})
    looks = first if action in TRAVEL or then not in TRAVEL or thing.kind in ("robot", "snowman") else second
    yaw = draw_yaw(draws, thing.kind, looks)
    x, y, z = thing.position
    for axis, (back, on) in enumerate((("left", "right"), ("away", "towards"))):
        sign = {back: -1.0, on: 1.0}
        stops = (0.0, -sign.get(first.direction, 0.0) * first.rate, sign.get(second.direction, 0.0) * second.rate)
        shift = -(min(stops) + max(stops)) / 2
        x, z = (x + shift, z) if axis == 0 else (x, z + shift)
    y = draws.uniform(0.5, 0.9) if "fly" in (action, then) else 0.0
    placed = {"motion": first, "yaw": yaw, "position": (round(x, 4), y, round(z, 4))}
    return thing.model_copy(update=placed), second


def _half_motion(
    draws: Draws, thing: SceneObject, action: Action, direction: Direction, colour_to: Colour | None, speed: Speed
) -> Motion:
    """A motion quick and small enough to be seen in a second."""
    room = min(2.6 - 2 * SHAPES[thing.kind].half[1] * thing.scale, 1.5)
    rate = height = 0.0
    if action in TRAVEL:
        direction = direction or draws.choice(SIDES)
        rate = round(BRISK * draws.uniform(*SPEEDS[speed]), 4)
        height = draws.uniform(0.28, 0.38) if action == "hop" else 0.0
    elif action == "spin":
        direction = direction or draws.choice(("clockwise", "counterclockwise"))
        rate = draws.uniform(*TURNS[speed])
    else:
        direction, speed = "", "normal"
        height = {"bounce": draws.uniform(0.4, 0.55), "swing": draws.uniform(0.75, 0.9)}.get(action, 0.0)
        if action in ("rise", "fall"):
            height = round(draws.uniform(0.8, 1.0) * max(room, 0.6), 4)
        if action == "swing":
            rate = draws.uniform(0.8, 0.95)
    if action == "change colour":
        others: list[Colour] = [each for each in COLOURS if each != thing.colour]
        colour_to = colour_to or draws.choice(others)
    else:
        colour_to = None
    return Motion(
        action=action, direction=direction, speed=speed, rate=rate, height=height, colour_to=colour_to
    )  # fmt: skip
