"""The typed description of a Diorama scene: every fact about a clip, as JSON.

A `Scene` says what there is and what happens, never how large or how fast it is filmed: width, height, frame
count and frame rate are arguments of `render`. Units: one unit is about the height of a large ball's radius
times 1.5; x points right, y up, z towards the viewer; angles are degrees; speeds are units per second.
"""

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal[
    "ball", "cube", "brick", "cylinder", "cone", "pyramid", "ring", "capsule", "diamond", "egg", "star", "heart",
    "car", "boat", "duck", "tree", "house", "rocket", "snowman", "robot", "mushroom", "airplane",
]  # fmt: skip
Colour = Literal[
    "red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown", "black", "white", "gray"
]
Size = Literal["small", "medium", "large"]
Action = Literal[
    "stand", "roll", "slide", "drive", "sail", "fly", "waddle", "bounce", "hop",
    "fall", "spin", "rise", "grow", "shrink", "swing", "change colour",
]  # fmt: skip
Direction = Literal["", "left", "right", "towards", "away", "clockwise", "counterclockwise"]
Speed = Literal["slow", "normal", "fast"]
Move = Literal[
    "static", "pan left", "pan right", "tilt up", "tilt down", "dolly in", "dolly out",
    "orbit left", "orbit right", "crane up", "crane down", "track", "handheld",
]  # fmt: skip
Floor = Literal["grass", "sand", "snow", "wood", "checkered", "stone", "road", "water"]
Background = Literal["plain", "hills", "mountains", "city"]
TimeOfDay = Literal["day", "sunset", "night", "dawn"]
Relation = Literal["", "left of", "right of", "behind", "in front of", "on top of", "in a row"]
Material = Literal["matte", "shiny", "metallic", "glowing"]
Pattern = Literal["plain", "striped", "spotted", "checkered"]
Style = Literal["realistic", "cartoon", "black and white", "sepia", "pixel art", "sketch"]
Event = Literal["collide", "orbit", "chase", "pass behind", "pass in front of", "meet"]
Split = Literal["train", "heldout"]

KINDS: tuple[Kind, ...] = get_args(Kind)
COLOURS: tuple[Colour, ...] = get_args(Colour)
SIZES: tuple[Size, ...] = get_args(Size)
ACTIONS: tuple[Action, ...] = get_args(Action)
MOVES: tuple[Move, ...] = get_args(Move)
FLOORS: tuple[Floor, ...] = get_args(Floor)
BACKGROUNDS: tuple[Background, ...] = get_args(Background)
TIMES_OF_DAY: tuple[TimeOfDay, ...] = get_args(TimeOfDay)
MATERIALS: tuple[Material, ...] = get_args(Material)
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)
STYLES: tuple[Style, ...] = get_args(Style)
EVENTS: tuple[Event, ...] = get_args(Event)
COLOURLESS: frozenset[Style] = frozenset({"black and white", "sepia", "sketch"})  # no colour or time can be told

TRAVEL: frozenset[Action] = frozenset({"roll", "slide", "drive", "sail", "fly", "waddle", "hop"})  # go somewhere


class Record(BaseModel):
    """A frozen part of a scene; unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Motion(Record):
    """What one object does."""

    action: Action = "stand"
    direction: Direction = ""  # "" where the action has none; left and right are the world's, not the screen's
    speed: Speed = "normal"
    rate: float = 0.0  # units per second for travel; turns per second for spin and swing
    height: float = 0.0  # units: drop height of a fall, apex of a bounce or hop, climb of a rise
    phase: float = 0.0  # 0 to 1: where a periodic motion starts
    colour_to: Colour | None = None  # of "change colour"


class SceneObject(Record):
    """One object. `position` is where it stands halfway through the clip, on the floor or its support; in a pair
    event it is the middle of its way.
    """

    kind: Kind
    colour: Colour
    size: Size
    scale: float  # units per unit of the kind's own coordinates
    position: tuple[float, float, float]
    yaw: float = 0.0  # degrees about the vertical; 0 faces right, 180 left, 270 the viewer
    motion: Motion = Motion()
    relation: Relation = ""  # to the first object
    material: Material = "matte"
    pattern: Pattern = "plain"


class Camera(Record):
    """The camera at the middle of the clip, and its move."""

    move: Move = "static"
    distance: float = 5.0  # units from the target
    height: float = 1.5  # units above the floor
    target: tuple[float, float, float] = (0.0, 0.95, 0.0)
    field_of_view: float = 40.0  # degrees across the shorter side of the frame
    amount: float = 0.0  # size of the move: degrees (pan, tilt, orbit), units, or units per second (track)
    phase: float = 0.0  # 0 to 1: start of the handheld sway


class PairEvent(Record):
    """Something two objects do together over the whole clip (see `events`, which moves them).

    Their own motions tell how the first goes, and that the second stands or how it goes.
    """

    event: Event
    first: int  # the one that goes, by its place in Scene.objects
    second: int
    amount: float = 0.0  # units: radius of an orbit, way of what a collision pushes
    angle: float = 0.0  # degrees: where on its circle an orbit begins; 0 to the right, 90 before the second
    turn: Literal["", "clockwise", "counterclockwise"] = ""  # of an orbit, seen from above


class TimedText(Record):
    """A caption of a part of the clip. Times are shares of the clip, 0 to 1."""

    start: float
    end: float
    text: str


class Scene(Record):
    """Everything there is to know about a clip except its width, height, length and frame rate."""

    seed: int
    index: int
    split: Split = "train"
    level: int = Field(ge=0, le=3)  # difficulty
    objects: tuple[SceneObject, ...] = Field(min_length=1, max_length=4)  # the first one is the caption's subject
    camera: Camera = Camera()
    floor: Floor = "grass"
    background: Background = "plain"
    time_of_day: TimeOfDay = "day"
    sun_azimuth: float = 40.0  # degrees: 0 behind the camera, positive from the right
    texture_seed: int = 0  # of floor, clouds, skyline
    moon: tuple[float, float] | None = None  # degrees to the right of and above the horizon's middle
    weather: Literal["clear", "overcast", "rain", "snowfall", "fog"] = "clear"
    style: Style = "realistic"
    pair_events: tuple[PairEvent, ...] = ()
    second_motions: tuple[Motion | None, ...] = ()  # per object: in the clip's second half; None: as in the first
    timed_captions: tuple[TimedText, ...] = ()  # given ones; `captions.timed_captions` writes those of two events

    def to_json(self) -> str:
        """The scene as one line of JSON."""
        return self.model_dump_json(exclude_defaults=True)

    @classmethod
    def from_json(cls, text: str) -> "Scene":
        """The inverse of `to_json`; raises pydantic's ValidationError naming the bad field."""
        return cls.model_validate_json(text)
