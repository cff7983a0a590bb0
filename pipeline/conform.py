"""Fitting given frames into another size: `cover`, `contain` or `stretch`, and saying what it did."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

Fit = Literal["cover", "contain", "stretch"]
FITS: tuple[Fit, ...] = ("cover", "contain", "stretch")


@dataclass(frozen=True)
class Placement:
    """Which part of a given frame goes where in the new one.

    Attributes:
        given: (height, width) of the given frames.
        size: (height, width) of the new ones.
        box: (left, top, right, bottom) of the part that is used, in pixels of the given frame.
        inner: (height, width) that this part is scaled to.
        corner: (top, left) of where it lies in the new frame; the rest is black.
        fit: the rule that led here.
    """

    given: tuple[int, int]
    size: tuple[int, int]
    box: tuple[float, float, float, float]
    inner: tuple[int, int]
    corner: tuple[int, int]
    fit: Fit

    @property
    def untouched(self) -> bool:
        """Whether frames stay as they are."""
        return self.given == self.size

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Place one frame: (H, W, 3) uint8, float32 in [0, 1] or bool to the new size, of the same type.

        Scaling is Lanczos with the support widened for shrinking, so that nothing aliases; a bool mask is true
        where at least half of the new pixel was.
        """
        if self.untouched:
            return frame
        if self._whole_pixels:
            left, top, right, bottom = (int(side) for side in self.box)
            part = frame[top:bottom, left:right]
        elif frame.dtype == np.uint8:
            part = np.asarray(self._scaled(Image.fromarray(frame)))
        elif frame.dtype == bool:
            grey = Image.fromarray(np.ascontiguousarray(frame[..., 0], np.float32))
            part = (np.asarray(self._scaled(grey, Image.Resampling.BOX)) >= 0.5)[..., None]
        else:
            channels = [np.ascontiguousarray(channel, np.float32) for channel in np.moveaxis(frame, -1, 0)]
            part = np.stack([np.asarray(self._scaled(Image.fromarray(c))) for c in channels], -1).clip(0, 1)
        if self.inner == self.size:
            return np.ascontiguousarray(part)
        placed = np.zeros((*self.size, frame.shape[2]), frame.dtype)
        top, left = self.corner
        placed[top : top + self.inner[0], left : left + self.inner[1]] = part
        return placed

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the given frame lies in the new one, both in pixels from the upper left corner."""
        left, top, right, bottom = self.box
        return (
            self.corner[1] + (x - left) * self.inner[1] / (right - left),
            self.corner[0] + (y - top) * self.inner[0] / (bottom - top),
        )

    def describe(self) -> str:
        """What the fit does, such as "cover: the left and right 140 pixels are cut off"; empty if nothing."""
        if self.untouched:
            return ""
        lost = (self.box[0], self.box[1])
        black = (self.size[1] - self.inner[1], self.size[0] - self.inner[0])
        sides = ("the left and right {} pixels", "the top and bottom {} pixels")
        if max(lost) > 0:
            number = 0 if lost[0] > 0 else 1
            return f"{self.fit}: {sides[number].format(f'{lost[number]:.3g}')} are cut off"
        if max(black) > 0:
            number = 0 if black[0] > 0 else 1
            return f"{self.fit}: {sides[number].format(f'{black[number] / 2:.3g}')} are black"
        same = self.given[0] * self.size[1] == self.given[1] * self.size[0]
        return "" if same else f"{self.fit}: its sides are scaled unequally"

    @property
    def _whole_pixels(self) -> bool:
        left, top, right, bottom = self.box
        same = (bottom - top, right - left) == self.inner
        return same and left == int(left) and top == int(top)

    def _scaled(self, picture: Image.Image, method: Image.Resampling = Image.Resampling.LANCZOS) -> Image.Image:
        return picture.resize((self.inner[1], self.inner[0]), method, box=self.box)


def place(given: tuple[int, int], size: tuple[int, int], fit: str) -> Placement:
    """How frames of one (height, width) become frames of another.

    Args:
        given: (height, width) in pixels.
        size: (height, width) in pixels.
        fit: "cover" scales until the new frame is filled and cuts off what sticks out on both sides; "contain"
            scales until all of the frame is inside and leaves the rest black; "stretch" scales each side alone.

    Raises:
        ValueError: an unknown fit, or a side without a pixel.
    """
    fit = check_fit(fit)
    if min(*given, *size) < 1:
        raise ValueError(f"frames of {given[1]} × {given[0]} pixels cannot become {size[1]} × {size[0]}")
    whole = (0.0, 0.0, float(given[1]), float(given[0]))
    if fit == "stretch" or given == size:
        return Placement(given, size, whole, size, (0, 0), fit)
    pick: Callable[..., float] = max if fit == "cover" else min
    scale = pick(size[0] / given[0], size[1] / given[1])
    if fit == "contain":
        rows, columns = (min(side, max(1, round(g * scale))) for g, side in zip(given, size))
        corner = ((size[0] - rows) // 2, (size[1] - columns) // 2)
        return Placement(given, size, whole, (rows, columns), corner, fit)
    used = [min(g, side / scale) for g, side in zip(given, size)]
    before = [(g - u) / 2 for g, u in zip(given, used)]
    if scale == 1:  # cut at whole pixels, so that what stays is as given
        before = [float(int(b)) for b in before]
    box = (before[1], before[0], before[1] + used[1], before[0] + used[0])
    return Placement(given, size, box, size, (0, 0), fit)


def check_fit(fit: str) -> Fit:
    """The same name; a ValueError unless it is that of a fit."""
    for known in FITS:
        if fit == known:
            return known
    raise ValueError(f"fit is {fit!r}; it is one of {', '.join(FITS)}")
