"""The simple scenes of levels 0 and 1: one large object on a plain stage before a still camera.

Their meaning is fixed: checkpoints are trained and examined on them. Widen levels 2 and 3 (see `stage`) instead.
"""

from .draws import Draws
from .motions import FACING_YAW, LONGEST
from .objects import SHAPES
from .scene import (
    COLOURS,
    TRAVEL,
    Action,
    Background,
    Camera,
    Direction,
    Floor,
    Kind,
    Motion,
    Scene,
    SceneObject,
    Size,
    Speed,
    Split,
    TimeOfDay,
)  # fmt: skip

SCALES: dict[Size, tuple[float, float]] = {"small": (0.62, 0.72), "medium": (0.95, 1.05), "large": (1.38, 1.55)}
SPEEDS: dict[Speed, tuple[float, float]] = {"slow": (0.38, 0.44), "normal": (0.64, 0.74), "fast": (1.0, 1.1)}
TURNS: dict[Speed, tuple[float, float]] = {"slow": (0.22, 0.26), "normal": (0.4, 0.46), "fast": (0.68, 0.76)}

SIMPLE_KINDS: tuple[Kind, ...] = (
    "ball", "cube", "cone", "cylinder", "pyramid", "star", "heart", "car", "duck", "tree",
)  # fmt: skip
FIRST_KINDS: tuple[Kind, ...] = (*SIMPLE_KINDS, "ring", "house")

GOES: dict[Kind, Action] = {  # how each kind travels
    "ball": "roll", "cylinder": "roll", "ring": "roll", "car": "drive", "duck": "waddle", "cube": "slide",
    "cone": "slide", "pyramid": "slide", "star": "slide", "heart": "slide",
}  # fmt: skip
ROOTED = {"tree", "house"}  # do not bounce, fall or fly off
ROUND = {"cone", "tree"}  # look the same from all sides: their spin cannot be seen


def actions_of(kind: Kind, level: int) -> dict[Action, float]:
    """The actions a kind can do at a level, with weights."""
    weights: dict[Action, float] = {"stand": 1.0, "grow": 0.8}
    if kind not in ROUND:
        weights["spin"] = 1.0
    if level >= 1:
        weights["shrink"] = 0.8
    if kind not in ROOTED:
        weights |= {"bounce": 1.2, "fall": 1.0, "rise": 1.0}
    if kind in GOES:
        weights[GOES[kind]] = 2.4
    return weights


def draw_simple(draws: Draws, seed: int, index: int, split: Split, level: int) -> Scene:
    """A scene of level 0 or 1."""
    kind = draws.choice(SIMPLE_KINDS if level == 0 else FIRST_KINDS)
    size: Size = "large" if level == 0 else draws.weighted({"large": 0.65, "medium": 0.35})
    floors: dict[Floor, float] = {"grass": 1, "sand": 1, "snow": 1, "wood": 1}
    times: dict[TimeOfDay, float] = {"day": 0.6, "sunset": 0.15, "night": 0.25}
    backgrounds: dict[Background, float] = {"plain": 1}
    if level >= 1:
        floors |= {"checkered": 1, "stone": 0.6}
        times |= {"day": 0.5, "dawn": 0.1}
        backgrounds |= {"hills": 0.5, "mountains": 0.5, "city": 0.3}
    return Scene(
        seed=seed,
        index=index,
        split=split,
        level=level,
        objects=(draw_object(draws, kind, size, level),),
        camera=Camera(height=draws.uniform(1.35, 1.65)),
        floor=draws.weighted(floors),
        background=draws.weighted(backgrounds),
        time_of_day=draws.weighted(times),
        sun_azimuth=draws.choice((-1, 1)) * draws.uniform(15, 50),
        texture_seed=draws.integer(0, 9999),
    )


def draw_object(draws: Draws, kind: Kind, size: Size, level: int) -> SceneObject:
    """One object near the middle of the stage, doing something that stays in sight."""
    scale = draws.uniform(*SCALES[size])
    if kind in ("car", "tree"):
        scale = round(scale * (1.15 if kind == "car" else 0.92), 4)
    action = draws.weighted(actions_of(kind, level))
    speed: Speed = draws.weighted({"normal": 0.5, "slow": 0.25, "fast": 0.25})
    direction: Direction = ""
    rate = height = 0.0
    room = 0.25
    yaw = 180.0 * draws.integer(0, 1) + draws.choice((-1, 1)) * draws.uniform(10, 35)
    if kind in ("ball", "ring", "cylinder", "star", "heart"):
        yaw = draws.uniform(-25, 25)
    if kind == "house":
        yaw = draws.uniform(-35, 35)
    if action in TRAVEL:
        direction = draws.choice(("left", "right"))
        rate = draws.uniform(*SPEEDS[speed])
        room = max(0.0, 1.4 - rate * LONGEST / 2)
        yaw = FACING_YAW[direction]
        if kind in ("cube", "pyramid"):
            yaw += draws.choice((-1, 1)) * draws.uniform(12, 32)
    elif action == "spin":
        direction = draws.choice(("clockwise", "counterclockwise"))
        rate = draws.uniform(*TURNS[speed])
    else:
        speed = "normal"
    top = 2.6 - 2 * SHAPES[kind].half[1] * scale  # room above the object within the frame
    if action == "bounce":
        height = draws.uniform(0.65, 0.95) * min(top, 1.3)
    elif action == "fall":
        height = draws.uniform(0.9, 1.0) * min(top, 1.9)
    elif action == "rise":
        height = draws.uniform(0.8, 1.0) * min(top, 1.6)
    motion = Motion(
        action=action,
        direction=direction,
        speed=speed,
        rate=rate,
        height=round(height, 4),
        phase=draws.uniform(),
    )
    return SceneObject(
        kind=kind,
        colour=draws.choice(COLOURS),
        size=size,
        scale=scale,
        position=(draws.uniform(-room, room), 0.0, draws.uniform(-0.2, 0.2)),
        yaw=yaw,
        motion=motion,
    )
