"""Whole videos as a starting point: remix one into another, blend one into another."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch

from ..vae.latents import num_latent_frames
from .canvas import Canvas, with_given, with_known
from .conform import Fit
from .draft import Draft, Encoder, named
from .media import look, open_video
from .wishes import LengthError, Wishes, first_frames

BlendSchedule = Literal["linear", "ease"] | Callable[[float], float] | Sequence[float]


def remix_draft(wishes: Wishes, video: Any, strength: float, fit: Fit = "cover") -> Draft:
    """Noise a video to a level and denoise it by another text (SDEdit, Meng et al. 2022, arXiv:2108.01073).

    Args:
        wishes: size, length and rate that the call asks for; a length takes the first so many frames.
        video: see `look`.
        strength: noise level in [0, 1] at which every frame starts: 0 gives the video's reconstruction, 1 ignores
            the video.
        fit: see `open_video`.

    Raises:
        ValueError: a strength outside [0, 1], a length off the grid, or a video that cannot be read.
    """
    check_strength(strength)
    seen = look(video, "video")
    shape = wishes.shape_for(seen)
    clip = open_video(seen, height=shape.height, width=shape.width, frame_rate=shape.frame_rate, fit=fit)
    frames = first_frames(clip, wishes)

    def lay_out(canvas: Canvas, encode: Encoder) -> Canvas:
        start = torch.full_like(canvas.start, strength)
        return replace(canvas, latents=encode.clip(frames[None]), start=start)

    notes = (*shape.notes, *clip.notes)
    if clip.soundtrack:
        notes += (f"{seen.name}: its sound is left out, since none of its frames are kept",)
    draft = Draft(len(frames), shape.height, shape.width, shape.frame_rate, lay_out, notes=notes)
    return named(draft, "remix", {"video": video}, strength=strength, fit=fit)


def blend_draft(
    wishes: Wishes, a: Any, b: Any, schedule: BlendSchedule, strength: float, fit: Fit = "cover"
) -> Draft:
    """Pass from one video to another of the same length, frame by frame.

    The latents of both are mixed by each frame's weight, and then noised and denoised, so that what lies between
    is a picture and no double exposure. Frames of weight 0 at the beginning and of weight 1 at the end are given.

    Args:
        wishes: size, length and rate that the call asks for; a length takes the first so many frames of both.
        a, b: see `look`; the first decides size and rate where the call does not.
        schedule: weight of `b` over time, see `blend_weights`.
        strength: noise level in [0, 1] at which the frames between start.
        fit: see `open_video`.

    Raises:
        LengthError: videos of unequal length.
        ValueError: an argument out of its range.
    """
    check_strength(strength)
    looks = look(a, "a"), look(b, "b")
    shape = wishes.shape_for(*looks)
    clips = [
        open_video(s, height=shape.height, width=shape.width, frame_rate=shape.frame_rate, fit=fit) for s in looks
    ]
    lengths = [len(clip.frames) for clip in clips]
    if wishes.asked_frames is None and lengths[0] != lengths[1]:
        below = wishes.grid.frames_around(min(lengths))[0]
        raise LengthError(
            f"a has {lengths[0]} frames and b {lengths[1]} at {shape.frame_rate:.4g} frames/s; give videos of one "
            f"length, or num_frames={below} to blend the first {below} of each",
            below,
        )
    first, second = (first_frames(clip, wishes, name) for clip, name in zip(clips, "ab"))
    weights = blend_weights(schedule, len(first))
    from_a = int((weights > 0).int().argmax()) if bool((weights > 0).any()) else len(weights)
    from_b = len(weights) - int((weights.flip(0) < 1).int().argmax()) if bool((weights < 1).any()) else 0
    keep = torch.zeros(1, len(weights), 1, 1, 1, dtype=torch.bool)
    keep[:, :from_a], keep[:, from_b:] = True, True
    given = torch.cat([first[:from_a], torch.zeros_like(first[from_a:])])
    given[from_b:] = second[from_b:]

    def lay_out(canvas: Canvas, encode: Encoder) -> Canvas:
        groups = per_latent_frame(weights, encode.stride).to(canvas.latents.device)
        mixed = torch.lerp(encode.clip(first[None]), encode.clip(second[None]), groups[:, None, None])
        start = torch.full_like(canvas.start, strength)
        known = per_latent_frame(keep.flatten().float(), encode.stride).to(canvas.latents.device) == 1
        canvas = with_known(replace(canvas, latents=mixed, start=start), mixed, known[:, None, None])
        return with_given(canvas, given[None], keep)

    notes = [*shape.notes, *(note for clip in clips for note in clip.notes)]
    notes += [f"{s.name}: its sound is left out of the blend" for s, clip in zip(looks, clips) if clip.soundtrack]
    draft = Draft(
        len(first), shape.height, shape.width, shape.frame_rate, lay_out,
        notes=tuple(notes), exact=bool(keep.any()),
    )  # fmt: skip
    said = schedule if isinstance(schedule, str) else [float(weight) for weight in weights]
    return named(draft, "blend", {"a": a, "b": b}, schedule=said, strength=strength, fit=fit)


def blend_weights(schedule: BlendSchedule, num_frames: int) -> torch.Tensor:
    """The weight of the second video in each pixel frame.

    Args:
        schedule: "linear"; "ease", which starts and ends gently (3t² - 2t³); a function of t, 0 at the first frame
            and 1 at the last; or a weight for each frame.
        num_frames: at least 1.

    Returns:
        (T,) in [0, 1].

    Raises:
        ValueError: another name, number of weights, or a weight outside [0, 1].
    """
    time = torch.linspace(0, 1, num_frames)
    if isinstance(schedule, str):
        curves = {"linear": time, "ease": time * time * (3 - 2 * time)}
        if schedule not in curves:
            raise ValueError(
                f"schedule is {schedule!r}; it is linear, ease, a function, or a weight for each frame"
            )
        return curves[schedule]
    values = [schedule(float(t)) for t in time] if callable(schedule) else list(schedule)
    weights = torch.tensor([float(value) for value in values])
    if len(weights) != num_frames or not bool(((weights >= 0) & (weights <= 1)).all()):
        raise ValueError(
            f"the blend schedule has {len(weights)} weights {[round(w, 3) for w in weights.tolist()][:8]} …; it "
            f"needs {num_frames}, one for each frame, from 0 (a) to 1 (b)"
        )
    return weights


def per_latent_frame(values: torch.Tensor, stride: int) -> torch.Tensor:
    """Mean of a value per pixel frame (T,) over the frames of each latent frame (F,)."""
    frames = num_latent_frames(len(values), stride)
    return torch.cat([values[:1], values[1:].view(frames - 1, stride).mean(1)])


def check_strength(strength: float) -> None:
    """Raise a ValueError for a strength outside [0, 1]."""
    if not 0 <= strength <= 1:
        raise ValueError(
            f"strength is {strength}; it needs 0 (the given video's reconstruction) to 1 (the given video ignored)"
        )
