"""What a stream makes, worked out and checked before any model runs: its size, length, texts and given frames."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch

from ..vae.latents import num_pixel_frames
from .along_time import SLACK, frames_in, meant_rate
from .conform import Fit
from .inputs import first_given
from .media import look, open_image, open_video
from .storyboard import Span, read_spans, said_spans
from .wishes import Wishes


@dataclass(frozen=True)
class StreamPlan:
    """What a stream makes.

    Attributes:
        height, width: pixels, on the grid.
        frame_rate: frames per second.
        stride: pixel frames per latent frame.
        spans: texts and pictures in turn; pictures are (1, 3, H, W) in [0, 1].
        given: (T, 3, H, W) in [0, 1], the frames that come first; None: nothing is given.
        context_frames: the last so many of them are encoded, and are the rollout's beginning.
        latent_frames: of the rollout; None: it has no end.
        settings: for the provenance: what was asked for, given files by their names.
        notes: what was conformed.
        in_memory: the given things that are no files.
    """

    height: int
    width: int
    frame_rate: float
    stride: int
    spans: tuple[Span, ...]
    given: torch.Tensor | None
    context_frames: int
    latent_frames: int | None
    settings: dict[str, Any]
    notes: tuple[str, ...]
    in_memory: tuple[str, ...]

    @property
    def offset(self) -> int:
        """Pixel frames before the rollout's first."""
        return 0 if self.given is None else len(self.given) - self.context_frames

    @property
    def num_frames(self) -> int | None:
        """Pixel frames of the whole video."""
        if self.latent_frames is None:
            return None
        return self.offset + num_pixel_frames(self.latent_frames, self.stride)

    def time_of(self, latent: int) -> float:
        """Middle, in seconds of the whole video, of the pixel frames of one of the rollout's latent frames."""
        return (self.offset + max(0.0, latent * self.stride - (self.stride - 1) / 2)) / self.frame_rate


def plan_stream(
    wishes: Wishes,
    prompt: str | Sequence[Any],
    *,
    seconds: float | None,
    image: Any,
    video: Any,
    fit: Fit,
    longest_context: int,
) -> StreamPlan:
    """Read what a stream is asked for and given.

    Args:
        wishes: size and rate that the call asks for.
        prompt: a text or a storyboard.
        seconds: time of the last frame; None: no end.
        image, video: what comes first, one of them or none.
        fit: how it is fitted.
        longest_context: latent frames of it that are encoded at most.

    Raises:
        ValueError: something does not fit; the message says what would.
    """
    spans = [Span(0.0, prompt)] if isinstance(prompt, str) else read_spans(prompt)
    given_first = {"image": image, "video": video, "the storyboard's first picture": spans[0].picture}
    names = [name for name, source in given_first.items() if source is not None]
    if len(names) > 1:
        raise ValueError(f"{' and '.join(names)} both say what comes first; give one of them")
    storyboard = said_spans(spans)
    grid, stride, notes = wishes.grid, wishes.grid.temporal, []
    height, width = wishes.size
    rate, given, latents = first_given(wishes.frame_rate, wishes.defaults[2]), None, 0
    if names:
        seen = look(given_first[names[0]], names[0])
        shape = wishes.shape_for(seen)
        height, width, rate = shape.height, shape.width, shape.frame_rate
        read = open_image if video is None else partial(open_video, frame_rate=rate)
        clip = read(seen, height=height, width=width, fit=fit)
        given, notes = clip.frames, [*shape.notes, *clip.notes]
        latents = min(1 + (len(given) - 1) // stride, longest_context)
        if clip.soundtrack:
            notes.append(f"{seen.name}: its soundtrack is left out; a stream is silent")
    grid.latent_shape(num_pixel_frames(grid.patch[0], stride), height, width)
    for number, span in enumerate(spans):
        if number and span.picture is not None:
            name = f"picture at {span.start:.4g} s"
            clip = open_image(span.picture, height=height, width=width, fit=fit, name=name)
            spans[number] = replace(span, picture=clip.frames)
            notes += clip.notes
    files = {name: str(given_first[name]) for name in names if isinstance(given_first[name], str | Path)}
    in_memory = tuple(f"{name} from memory" for name in names if name not in files)
    files.pop("the storyboard's first picture", None)  # the storyboard names it
    settings = {"seconds": seconds, "fit": fit, **files}
    if len(spans) > 1 or len(storyboard[0]) > 2:
        settings["storyboard"] = storyboard
    plan = StreamPlan(
        height=height,
        width=width,
        frame_rate=float(rate),
        stride=stride,
        spans=tuple(spans),
        given=given,
        context_frames=num_pixel_frames(latents, stride) if latents else 0,
        latent_frames=None,
        settings=settings,
        notes=tuple(notes),
        in_memory=in_memory,
    )
    if seconds is not None:
        plan = replace(plan, latent_frames=_latent_frames(seconds, plan, latents, grid.patch[0]))
    _check_spans(plan)
    return plan


def blocks_seen(window: int | None, default_frames: int, frames_per_block: int, patch_frames: int) -> int:
    """The window in blocks; by default as many as make `default_frames` latent frames.

    Raises:
        ValueError: a window or blocks that no stream can have.
    """
    if frames_per_block < 1 or frames_per_block % patch_frames:
        raise ValueError(
            f"frames_per_block is {frames_per_block}; it needs a positive multiple of {patch_frames}, the latent "
            "frames that one token covers"
        )
    if window is None:
        return max(1, default_frames // frames_per_block)
    if window < 1:
        raise ValueError(f"window is {window} blocks; it needs at least 1, the block itself")
    return window


def _latent_frames(seconds: float, plan: StreamPlan, known: int, patch_frames: int) -> int:
    """Latent frames of a rollout whose video's last frame is at `seconds`.

    Raises:
        ValueError: no latent frame ends there; the message gives the nearest times at which one does.
    """
    rate = meant_rate(plan.frame_rate)
    exact = (frames_in(seconds, plan.frame_rate) - plan.offset) / plan.stride + 1
    number, least = round(exact), known + 1
    least += -least % patch_frames
    if number >= least and abs(exact - number) * plan.stride <= SLACK and number % patch_frames == 0:
        return number
    below = max(least, int(exact) // patch_frames * patch_frames)
    first, second = ((plan.offset + (n - 1) * plan.stride) / rate for n in (below, below + patch_frames))
    fitting = f"{first:.8g} or {second:.8g} do" if exact >= least else f"{first:.8g} is the least"
    raise ValueError(
        f"seconds {seconds:.8g} at {plan.frame_rate:.4g} frames/s does not fit; {fitting} (it is the last frame's "
        f"time, in steps of {patch_frames * plan.stride / rate:.6g})"
    )


def _check_spans(plan: StreamPlan) -> None:
    """Raise a ValueError for a text that starts after the end, or that no latent frame follows."""
    end = None if plan.latent_frames is None else plan.time_of(plan.latent_frames - 1)
    for span, after in zip(plan.spans, [*plan.spans[1:], None]):
        time = next(time for time in map(plan.time_of, count()) if time >= span.start)
        if (end is not None and span.start > end) or (after is not None and time >= after.start):
            by = "" if end is None else f" and has to start by {end:.4g} s"
            raise ValueError(
                f"the storyboard's text at {span.start:.4g} s ({span.text!r}) has no latent frame of its own: a "
                f"text needs {plan.stride / plan.frame_rate:.4g} s{by}; move the times apart, or give more seconds"
            )
