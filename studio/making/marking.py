"""A visible mark in a picture's lower right corner: white words on a dark label, the same on every frame.

The label hides what is under it, so that a video which is marked again, since it was made from a marked one, does
not get darker there.
"""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SMALLEST = 8  # pixels of the letters: below, they cannot be told apart
SHARE = 24  # of the picture's shorter side that the letters are high
FEWEST = 4  # letters that are left of a text that is cut short; fewer say nothing
LONGEST = 60  # characters
INK, PAPER = (255, 255, 255), (24, 24, 24)
SEEN = 24.0  # mean difference, of 255, up to which a decoded label is the drawn one


def check_mark(text: str) -> None:
    """
    Raises:
        ValueError: it is empty or too long, or has letters that the font lacks.
    """
    if not text.strip() or len(text) > LONGEST:
        raise ValueError(f"the mark {text!r} has {len(text)} characters; it needs 1 to {LONGEST}")
    font = ImageFont.load_default(20)
    missing = _shape(font, "\U0010ffff")
    lacking = [letter for letter in dict.fromkeys(text) if letter != " " and _shape(font, letter) == missing]
    if lacking:
        raise ValueError(
            f"the mark {text!r} has {' '.join(map(repr, lacking))}, which the font lacks; it has A to Z, a to z, "
            "digits and common signs"
        )


def draw_mark(frames: np.ndarray, text: str) -> str | None:
    """Draw the mark into frames, in place.

    The letters are a twenty-fourth of the shorter side high, and at least 8 pixels: as high as that leaves room
    for the text in a line, or else in two. A text that has no room so is cut short and ends with "…".

    Args:
        frames: uint8 (T, H, W, 3), or one picture (H, W, 3).
        text: what it says; see `check_mark`.

    Returns:
        What can be read there; None: the picture has no room for it.
    """
    height, width = frames.shape[-3:-1]
    label, said = _label(text, height, width)
    if said is None:
        return None
    rows, columns = _place(label, height, width)
    frames[..., rows, columns, :] = label
    return said


def has_mark(picture: np.ndarray, text: str) -> bool:
    """Whether a picture (H, W, 3) that was encoded and decoded shows the mark."""
    height, width = picture.shape[:2]
    label, said = _label(text, height, width)
    if said is None:
        return False
    rows, columns = _place(label, height, width)
    return float(np.abs(picture[rows, columns].astype(float) - label).mean()) <= SEEN


@lru_cache(maxsize=32)
def _label(text: str, height: int, width: int) -> tuple[np.ndarray, str | None]:
    """The label (h, w, 3) for a picture of this size, and what it says."""
    for size in range(max(SMALLEST, min(height, width) // SHARE), SMALLEST - 1, -1):
        label = _drawn([text], size)
        if _fits(label, height, width):
            return label, text
    words = text.split()
    for count in range(len(words) - 1, 0, -1):
        lines = [" ".join(words[:count]), " ".join(words[count:])]
        label = _drawn(lines, SMALLEST)
        if _fits(label, height, width):
            return label, text
    for count in range(len(text) - 1, FEWEST - 1, -1):
        said = text[:count].rstrip() + "…"
        label = _drawn([said], SMALLEST)
        if _fits(label, height, width):
            return label, said
    return np.zeros((0, 0, 3), np.uint8), None


def _drawn(lines: list[str], size: int) -> np.ndarray:
    font, pad = ImageFont.load_default(size), max(2, size // 4)
    boxes = [font.getbbox(line) for line in lines]
    top = min(box[1] for box in boxes)
    step = round(1.2 * size)
    width = max(box[2] for box in boxes) + 2 * pad
    height = max(box[3] + number * step for number, box in enumerate(boxes)) - top + 2 * pad
    picture = Image.new("RGB", (int(width), int(height)), PAPER)
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((pad, pad - top + number * step), line, INK, font)
    return np.asarray(picture)


def _fits(label: np.ndarray, height: int, width: int) -> bool:
    """Within the picture's width, and half of its height."""
    return label.shape[1] <= width and 2 * label.shape[0] <= height


def _place(label: np.ndarray, height: int, width: int) -> tuple[slice, slice]:
    """The corner, with the label's margin where there is room."""
    down, across = label.shape[:2]
    margin = min(height, width) // 64
    bottom, right = height - min(margin, height - down), width - min(margin, width - across)
    return slice(bottom - down, bottom), slice(right - across, right)


def _shape(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, letter: str) -> bytes:
    picture = Image.new("L", (48, 48))
    ImageDraw.Draw(picture).text((8, 8), letter, 255, font)
    return picture.tobytes()
