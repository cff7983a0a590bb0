"""What a call asks for in size, length and rate, and what the checkpoint makes when it asks for nothing."""

from dataclasses import dataclass
from typing import Any, Self

import torch

from .grid import Grid
from .inputs import first_given
from .media import Clip, Look, WorkingShape, working_shape


class LengthError(ValueError):
    """Videos have more frames than fit; the first `fitting` of them do."""

    def __init__(self, message: str, fitting: int) -> None:
        super().__init__(message)
        self.fitting = fitting


@dataclass(frozen=True)
class Wishes:
    """Arguments of a call that tasks read; None where the call leaves the choice.

    Attributes:
        grid: what the model can make.
        defaults: the checkpoint's own height, width and frame rate.
        own_num_frames: the checkpoint's own length in pixel frames.
        height, width, frame_rate: asked for.
        asked_frames: length asked for.
    """

    grid: Grid
    defaults: tuple[int, int, float]
    own_num_frames: int
    height: int | None = None
    width: int | None = None
    frame_rate: float | None = None
    asked_frames: int | None = None

    @classmethod
    def of(
        cls,
        pipe: Any,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        frame_rate: float | None = None,
    ) -> Self:
        """Those of a call to a pipeline.

        Raises:
            ValueError: the call says nothing and the checkpoint has no default.
        """
        own = pipe.config
        defaults = (
            first_given(own.default_height, height),
            first_given(own.default_width, width),
            first_given(own.default_frame_rate, frame_rate),
        )
        frames = first_given(own.default_num_frames, num_frames)
        return cls(pipe.grid, defaults, frames, height, width, frame_rate, num_frames)

    @property
    def num_frames(self) -> int:
        """The length asked for, or the checkpoint's own."""
        return self.own_num_frames if self.asked_frames is None else self.asked_frames

    @property
    def size(self) -> tuple[int, int]:
        """Height and width asked for, or the checkpoint's own."""
        return first_given(self.height, self.defaults[0]), first_given(self.width, self.defaults[1])

    @property
    def window(self) -> int:
        """Latent frames of the checkpoint's own length: what the model sees at a time in long videos."""
        return 1 + (self.own_num_frames - 1) // self.grid.temporal

    def shape_for(self, *looks: Look) -> WorkingShape:
        """Size and rate for given media, see `working_shape`."""
        return working_shape(list(looks), self.grid, self.defaults, self.height, self.width, self.frame_rate)


def first_frames(clip: Clip, wishes: Wishes, name: str = "video") -> torch.Tensor:
    """The frames (T, 3, H, W) to work on: as many as asked for, or all.

    Raises:
        ValueError: fewer than asked for.
        LengthError: a number off the grid.
    """
    have, asked = len(clip.frames), wishes.asked_frames
    if asked is not None and asked > have:
        raise ValueError(f"num_frames is {asked} and the {name} has {have}; ask for at most that many")
    below, above = wishes.grid.frames_around(have)
    if asked is None and have != below:
        raise LengthError(
            f"the {name} has {have} frames, which do not fit; {below} or {above} do: num_frames={below} takes its "
            f"first {below}",
            below,
        )
    return clip.frames[: have if asked is None else asked]
