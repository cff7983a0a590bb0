"""What a clip shows, in words, measured from its pixels: object, colour, motion, direction, time of day, floor.

Nothing here is trained and nothing reads a prompt. The numbers below are calibrated on Diorama clips of level 0 of
the development corpus (seed 9001), with the renderer's object numbers as truth; docs/eval.md says how well they do
on another corpus. They suppose a still camera and one main object.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .foreground import Foreground, find_object

SIDE = 64  # pixels on the shorter side at which clips are measured; anything above 1.5 times that is shrunk
MOST_FRAMES = 33  # longer clips are measured on so many, evenly spaced

# A region is an object if its difference from the surroundings (nats) times its size (square root of the share of
# the picture that it covers) reaches this: clouds are large and pale or small and bright.
LEAST_PRESENCE = 0.6

# Colour. Hues are degrees in the Lab plane: each name holds up to the edge at its place.
HUES = ("pink", "red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
HUE_EDGES = (10.0, 48.0, 78.0, 112.0, 172.0, 250.0, 305.0, 328.0)
LEAST_CHROMA = 13.0  # a paler pixel has no hue
COLOURED_SHARE = 0.4  # of the object's pixels that have a hue: fewer, and it is black, gray or white
BROWN_CHROMA = 45.0  # orange hues paler than this are brown
BLACK_BELOW = {"night": 32.0}  # lightness
WHITE_ABOVE = {"night": 49.0}
BLACK_BELOW_BY_DAY, WHITE_ABOVE_BY_DAY = 39.0, 69.0

# Motion, as shares of the picture's sides over the whole clip.
LEAST_TRAVEL = 0.08  # from start to end, for a direction
LEAST_GROWTH = 0.8  # change of the logarithm of the area, for "towards" and "away"
STILL_EXTENT = 0.04  # spread of the centre's places
STILL_GROWTH = 0.35  # spread of the logarithm of the area
STILL_CHANGE = 6.0  # change of the object's own pixels, of 255, beyond what its surroundings change

# Lab colours of the lowest sixth of the picture.
FLOORS: dict[str, dict[str, tuple[int, int, int]]] = {
    "day": {
        "grass": (54, -31, 35), "sand": (71, 2, 28), "snow": (89, 0, -7),
        "wood": (46, 12, 27), "stone": (57, 0, -3),
    },
    "dawn": {
        "grass": (43, -24, 29), "sand": (58, 6, 22), "snow": (72, 5, -10),
        "wood": (36, 13, 22), "stone": (45, 4, -4),
    },
    "sunset": {
        "grass": (37, -17, 30), "sand": (53, 14, 30), "snow": (65, 10, 6),
        "wood": (35, 19, 28), "stone": (43, 9, 7),
    },
    "night": {
        "grass": (23, -17, 14), "sand": (32, 0, 3), "snow": (42, 4, -21),
        "wood": (19, 4, 7), "stone": (25, 2, -13),
    },
}  # fmt: skip
CHECKERED_SPREAD = 22.0  # of lightness within the floor, 10th to 90th percentile


@dataclass(frozen=True)
class Measurement:
    """What was measured of one clip."""

    present: bool  # whether something stands out
    area: float  # median share of the picture that the object covers
    salience: float  # how much it differs from its surroundings, nats
    colour: str  # one of Diorama's 12 words, or "none"
    direction: str  # left, right, up, down, towards, away or none
    travel: tuple[float, float]  # from start to end, in picture widths (right) and heights (down)
    growth: float  # natural logarithm of the area at the end over that at the start
    motion: float  # amount of motion of any kind; 1 is the least that counts as moving
    time: str  # day, dawn, sunset or night
    floor: str  # grass, sand, snow, wood, checkered or stone

    @property
    def words(self) -> dict[str, str]:
        """Attribute to measured word, for the attributes that prompts ask."""
        return {
            "object": "yes" if self.present else "no",
            "colour": self.colour,
            "moving": "moving" if self.motion >= 1 else "still",
            "direction": self.direction,
            "time": self.time,
            "floor": self.floor,
        }


def measure(frames: np.ndarray) -> Measurement:
    """Measure one clip.

    Args:
        frames: uint8 (T, H, W, 3), T >= 2, H and W >= 16. Larger clips are shrunk to about 64 pixels on the
            shorter side, longer ones thinned to 33 frames.

    Raises:
        ValueError: frames of another type or shape.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or min(frames.shape[1:3]) < 16:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}; a clip is uint8 (T, H, W, 3), H and W >= 16")
    if len(frames) < 2:
        raise ValueError("the clip has one frame; motion needs at least 2")
    frames = shrink(frames)
    found = find_object(frames)
    time = time_of_day(found.lab)
    floor = floor_word(found, time)
    area = float(np.median(found.mask.mean((1, 2))))
    if found.salience * area**0.5 < LEAST_PRESENCE:
        return Measurement(False, area, found.salience, "none", "none", (0.0, 0.0), 0.0, 0.0, time, floor)
    travel, growth = track(found.mask)
    return Measurement(
        present=True,
        area=area,
        salience=found.salience,
        colour=colour_word(found.lab, found.mask, time),
        direction=direction_word(travel, growth),
        travel=travel,
        growth=growth,
        motion=motion_amount(frames, found.mask),
        time=time,
        floor=floor,
    )


def working_size(height: int, width: int) -> tuple[int, int]:
    """The (height, width) at which a clip is measured: its own, or about 64 pixels on the shorter side."""
    if min(height, width) <= 1.5 * SIDE:
        return height, width
    scale = SIDE / min(height, width)
    return round(height * scale), round(width * scale)


def shrink(frames: np.ndarray) -> np.ndarray:
    """The clip at its working size, with at most 33 frames, evenly spaced."""
    if len(frames) > MOST_FRAMES:
        frames = frames[np.linspace(0, len(frames) - 1, MOST_FRAMES).round().astype(int)]
    size = working_size(*frames.shape[1:3])
    if size == frames.shape[1:3]:
        return frames
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
    small = F.interpolate(pixels, size=size, mode="area")
    return small.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def colour_word(lab: np.ndarray, mask: np.ndarray, time: str = "day") -> str:
    """The colour of the pixels under a mask, one of Diorama's 12 words; "none" if the mask is empty.

    Every pixel with a hue votes for its name with its chroma as weight; an object with few such pixels is black,
    gray or white by its median lightness, which is judged by the time of day's light.

    Args:
        lab: (T, H, W, 3).
        mask: (T, H, W) bool. Its edge pixels, blends with the surroundings, have no vote.
        time: day, dawn, sunset or night.
    """
    core = _without_edge(mask)
    pixels = lab[core if core.sum() > 20 else mask]
    if not len(pixels):
        return "none"
    chroma = np.hypot(pixels[:, 1], pixels[:, 2])
    coloured = chroma > LEAST_CHROMA
    if coloured.mean() <= COLOURED_SHARE:
        lightness = np.median(pixels[~coloured, 0])
        if lightness < BLACK_BELOW.get(time, BLACK_BELOW_BY_DAY):
            return "black"
        return "white" if lightness > WHITE_ABOVE.get(time, WHITE_ABOVE_BY_DAY) else "gray"
    hue = np.degrees(np.arctan2(pixels[coloured, 2], pixels[coloured, 1])) % 360
    names = np.array([HUES.index(name) for name in HUES])[np.searchsorted(HUE_EDGES, hue)]
    word = HUES[np.bincount(names, chroma[coloured]).argmax()]
    if word == "orange" and np.median(chroma[coloured][names == HUES.index("orange")]) < BROWN_CHROMA:
        return "brown"
    return word


def track(mask: np.ndarray) -> tuple[tuple[float, float], float]:
    """How far a mask (T, H, W) goes, in picture widths and heights, and the growth of its area's logarithm.

    Start and end are medians over the first and last quarter of the frames that show it.
    """
    across, down, area = _places(mask)
    quarter = max(1, len(area) // 4)

    def change(values: np.ndarray) -> float:
        return float(np.median(values[-quarter:]) - np.median(values[:quarter]))

    return (change(across), change(down)), change(np.log(area))


def direction_word(travel: tuple[float, float], growth: float) -> str:
    """left, right, up or down by the greater part of the way; else towards or away by growth; else none."""
    right, down = travel
    if max(abs(right), abs(down)) < LEAST_TRAVEL or (abs(growth) > LEAST_GROWTH and abs(right) < 2 * LEAST_TRAVEL):
        return "none" if abs(growth) < LEAST_GROWTH else "towards" if growth > 0 else "away"
    if abs(right) >= abs(down):
        return "right" if right > 0 else "left"
    return "down" if down > 0 else "up"


def motion_amount(frames: np.ndarray, mask: np.ndarray) -> float:
    """How much the object under the mask moves in any way; 1 is the least that counts as moving.

    The greatest of three: how far its places spread (80 % of them), how much its size spreads, and how much its
    own pixels change about their temporal median beyond what the pixels outside change (turning in place).

    Args:
        frames: uint8 (T, H, W, 3).
        mask: (T, H, W) bool, not empty.
    """
    across, down, area = _places(mask)

    def spread(values: np.ndarray) -> float:
        return float(np.quantile(values, 0.9) - np.quantile(values, 0.1))

    smooth = F.avg_pool2d(torch.from_numpy(frames).permute(0, 3, 1, 2).float(), 3, 1, 1)
    change = (smooth - smooth.median(0).values).abs().amax(1).numpy()
    inside, outside = mask.sum((1, 2)), (~mask).sum((1, 2))
    own = (change * mask).sum((1, 2))[inside > 0] / inside[inside > 0]
    around = (change * ~mask).sum((1, 2)) / outside.clip(min=1)
    return max(
        float(np.hypot(spread(across), spread(down))) / STILL_EXTENT,
        spread(np.log(area)) / STILL_GROWTH,
        float(np.quantile(own, 0.75) - np.median(around)) / STILL_CHANGE,
    )


def time_of_day(lab: np.ndarray) -> str:
    """day, dawn, sunset or night by the colour of the highest quarter of the picture (T, H, W, 3)."""
    sky = np.median(lab[:, : max(1, lab.shape[1] // 4)].reshape(-1, 3), 0)
    if sky[0] < 35:
        return "night"
    if sky[1] > 11:
        return "sunset"
    return "dawn" if sky[1] > 4.5 else "day"


def floor_word(found: Foreground, time: str) -> str:
    """The floor whose colour in that light is nearest to the lowest sixth of the picture, the object left out."""
    rows = slice(-max(1, found.lab.shape[1] // 6), None)
    ground = found.lab[:, rows][~found.mask[:, rows]]
    if not len(ground):
        return "none"
    if np.quantile(ground[:, 0], 0.9) - np.quantile(ground[:, 0], 0.1) > CHECKERED_SPREAD:
        return "checkered"
    middle = np.median(ground, 0)
    return min(FLOORS[time], key=lambda word: float(np.square(middle - FLOORS[time][word]).sum()))


def _places(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre across and down, in shares of the picture, and area in pixels, of each frame that shows enough."""
    count, height, width = mask.shape
    area = mask.reshape(count, -1).sum(1).astype(float)
    shown = area > 0.15 * np.median(area[area > 0])
    across = (mask.sum(1) * (np.arange(width) + 0.5)).sum(1)[shown] / area[shown] / width
    down = (mask.sum(2) * (np.arange(height) + 0.5)).sum(1)[shown] / area[shown] / height
    return across, down, area[shown]


def _without_edge(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask (T, H, W) whose four neighbours are in it too."""
    core = np.zeros_like(mask)
    beside = mask[:, 1:-1, :-2] & mask[:, 1:-1, 2:]
    core[:, 1:-1, 1:-1] = mask[:, 1:-1, 1:-1] & mask[:, :-2, 1:-1] & mask[:, 2:, 1:-1] & beside
    return core
