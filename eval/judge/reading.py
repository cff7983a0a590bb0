"""What the pixel judge says of a clip."""

from dataclasses import dataclass

import numpy as np

from ..questions import MOTIONS

DIRECTIONS = ("none", "left", "right", "towards", "away")
SPEEDS = ("slow", "normal", "fast")
SIZES = ("small", "medium", "large")


@dataclass(frozen=True)
class Thing:
    """One tracked object of a clip of T frames. Arrays named for an attribute are probabilities over its words."""

    kind: np.ndarray  # (22,) over scene.KINDS
    colour: np.ndarray  # (12,) over scene.COLOURS, in the clip's first third: things may change colour
    last_colour: np.ndarray  # (12,) in its last third
    material: np.ndarray  # (4,) over scene.MATERIALS
    pattern: np.ndarray  # (4,) over scene.PATTERNS
    hue: str  # its colour by a rule that nothing was trained for, as a cross-check
    centres: np.ndarray  # (T, 2) right and down, in shares of the picture's width and height; NaN where not seen
    boxes: np.ndarray  # (T, 4) left, top, right, bottom of what is seen of it, in the same units
    area: np.ndarray  # (T,) share of the picture that it covers, 0 where not seen
    motion: np.ndarray  # (11,) over MOTIONS, whole clip
    halves: np.ndarray  # (2, 11) of the clip's first and second half
    direction: np.ndarray  # (5,) over DIRECTIONS, relative to the background
    half_directions: np.ndarray  # (2, 5)
    speed: np.ndarray  # (3,) over SPEEDS
    size: np.ndarray  # (3,) over SIZES

    @property
    def presence(self) -> float:
        """Share of the frames in which it is seen."""
        return float((self.area > 0).mean())


@dataclass(frozen=True)
class Reading:
    """What a clip shows. Arrays are probabilities over the attribute's words."""

    things: tuple[Thing, ...]  # the most visible first
    camera: np.ndarray  # (13,) over scene.MOVES
    floor: np.ndarray  # (8,) over scene.FLOORS
    background: np.ndarray  # (4,) over scene.BACKGROUNDS
    time: np.ndarray  # (4,) over scene.TIMES_OF_DAY
    style: np.ndarray  # (6,) over scene.STYLES
    seconds: float  # how long the clip is

    @property
    def count(self) -> int:
        """How many things there are."""
        return len(self.things)


__all__ = ["DIRECTIONS", "MOTIONS", "SIZES", "SPEEDS", "Reading", "Thing"]
