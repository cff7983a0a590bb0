"""Which sizes and lengths a model can make, and the nearest ones to a wish."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any, Self

from ..vae.latents import spatial_stride, temporal_stride


@dataclass(frozen=True)
class Grid:
    """The steps in which a pipeline's pixels come: strides of its autoencoder times patches of its transformer.

    Attributes:
        temporal: pixel frames per latent frame; a video has 1 + k · temporal frames.
        spatial: pixels per latent cell side.
        patch: latent frames, rows and columns per token.
    """

    temporal: int
    spatial: int
    patch: tuple[int, int, int]

    @classmethod
    def of(cls, vae: Any, transformer: Any) -> Self:
        """The grid of two models."""
        return cls(temporal_stride(vae), spatial_stride(vae), tuple(transformer.config.patch_size))

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Latent frames, rows and columns of a video.

        Raises:
            ValueError: sizes off the grid; the message gives the nearest that fit.
        """
        problems = [
            *self._side("height", height, self.side_steps[0]),
            *self._side("width", width, self.side_steps[1]),
            *self._frames(num_frames),
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return 1 + (num_frames - 1) // self.temporal, height // self.spatial, width // self.spatial

    def pixel_shape(self, latent_shape: Sequence[int]) -> tuple[int, int, int]:
        """Frames, height and width in pixels of latents (F, h, w)."""
        frames, rows, columns = latent_shape
        return 1 + (frames - 1) * self.temporal, rows * self.spatial, columns * self.spatial

    def nearest_frames(self, num_frames: float) -> int:
        """The frame count on the grid that is nearest to a wish; of two, the longer."""
        first, step = self._first_frames, self.temporal * self.patch[0]
        return first + step * max(0, int((num_frames - first) / step + 0.5))

    def frames_around(self, num_frames: int) -> tuple[int, int]:
        """The frame counts on the grid next to a count: the longest within it, and the next longer."""
        first, step = self._first_frames, self.temporal * self.patch[0]
        below = first + step * max(0, (num_frames - first) // step)
        return below, below + step

    def fits(self, height: int, width: int) -> bool:
        """Whether the model can make frames of this size."""
        sides = ((height, self.side_steps[0]), (width, self.side_steps[1]))
        return all(side >= step and side % step == 0 for side, step in sides)

    def nearest_side(self, axis: int, side: float) -> int:
        """The side on the grid that is nearest to a wish; axis 0 is the height, 1 the width."""
        step = self.side_steps[axis]
        return step * max(1, int(side / step + 0.5))

    def nearest_size(self, aspect: float, area: float) -> tuple[int, int]:
        """The (height, width) on the grid with about this area (half to twice) and the nearest aspect.

        Args:
            aspect: height / width.
            area: height · width in pixels. An eighth as much weight is on it as on the aspect, on log scales.
        """

        def cost(size: tuple[int, int]) -> float:
            return abs(log(size[0] / size[1] / aspect)) + abs(log(size[0] * size[1] / area)) / 8

        rows, columns = self.side_steps
        within = [
            (height, width)
            for height in range(rows, int(4 * (area * aspect) ** 0.5) + 2 * rows, rows)
            for width in (self.nearest_side(1, height / aspect), self.nearest_side(1, area / height))
            if area / 2 <= height * width <= area * 2
        ]
        return min(within or [(rows, columns)], key=cost)

    @property
    def side_steps(self) -> tuple[int, int]:
        """Heights and widths are multiples of these, in pixels."""
        return self.spatial * self.patch[1], self.spatial * self.patch[2]

    @property
    def _first_frames(self) -> int:
        return 1 + (self.patch[0] - 1) * self.temporal

    def _frames(self, given: int) -> list[str]:
        first, step = self._first_frames, self.temporal * self.patch[0]
        if given >= first and (given - first) % step == 0:
            return []
        below, above = self.frames_around(given)
        fitting = f"{below} or {above} do" if given >= first else f"{first} is the least"
        return [f"num_frames {given} does not fit; {fitting} ({first} + a multiple of {step})"]

    @staticmethod
    def _side(name: str, given: int, step: int) -> list[str]:
        if given >= step and given % step == 0:
            return []
        below = given // step * step
        fitting = f"{below} or {below + step} do" if below else f"{step} is the least"
        return [f"{name} {given} does not fit; {fitting} (multiples of {step})"]


def aspect_ratio(aspect: str | float) -> float:
    """Width to height of an aspect such as "9:16" or 1.5.

    Raises:
        ValueError: it is none, or outside 0.05 to 20.
    """
    try:
        if isinstance(aspect, str):
            width, _, height = aspect.partition(":")
            ratio = float(width) / float(height or 1)
        else:
            ratio = float(aspect)
    except (TypeError, ValueError, ZeroDivisionError):
        ratio = 0.0
    if not 0.05 <= ratio <= 20:
        raise ValueError(f'aspect is {aspect!r}; it needs width to height, such as "9:16" or 1.5, from 0.05 to 20')
    return ratio
