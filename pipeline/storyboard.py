"""A storyboard: texts that follow one another in one video, each from its own time on, some with a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..vae.latents import latent_frame_times
from .canvas import Canvas, with_text_spans
from .conform import Fit
from .draft import Draft, Encoder
from .inputs import first_given
from .keyframes import group_of, keyframe_draft
from .wishes import Wishes


@dataclass(frozen=True)
class Span:
    """One entry: from `start` seconds on the video follows `text`, and begins with `picture` if there is one."""

    start: float
    text: str
    picture: Any = None


def read_spans(storyboard: Sequence[Any]) -> list[Span]:
    """The entries of a storyboard, checked.

    Args:
        storyboard: (start in seconds, text) or (start, text, picture), in order, the first at 0.

    Raises:
        ValueError: no entry, an entry of another form, or starts that do not rise from 0.
    """
    if isinstance(storyboard, str) or not isinstance(storyboard, Sequence) or not storyboard:
        raise ValueError(
            f"storyboard is {storyboard!r}; it needs a list of (start in seconds, text), the first at 0.0, such "
            'as [(0.0, "a red ball"), (1.0, "the ball bounces")]'
        )
    spans = []
    for number, entry in enumerate(storyboard):
        start, text, picture = (*entry, None, None, None)[:3] if isinstance(entry, list | tuple) else (None,) * 3
        if not isinstance(start, int | float) or not isinstance(text, str) or len(entry) > 3:
            raise ValueError(
                f"entry {number} of the storyboard is {entry!r}; it needs (start in seconds, text) or (start, "
                "text, picture)"
            )
        spans.append(Span(float(start), text, picture))
    starts = [span.start for span in spans]
    if starts[0] != 0 or any(after <= before for before, after in pairwise(starts)):
        raise ValueError(
            f"the storyboard starts its texts at {starts} s; they need to rise, and the first to be 0"
        )
    return spans


def said_spans(spans: Sequence[Span]) -> list[list[Any]]:
    """A storyboard in plain values: [start, text], with the picture's name if it is a file or URL."""
    named = [[str(span.picture)] if isinstance(span.picture, str | Path) else [] for span in spans]
    return [[span.start, span.text, *picture] for span, picture in zip(spans, named)]


def text_of_frames(spans: Sequence[Span], num_frames: int, frame_rate: float, stride: int) -> tuple[int, ...]:
    """Which text each latent frame follows: the last that has started by the middle of the frame.

    Args:
        num_frames: pixel frames.
        stride: pixel frames per latent frame.

    Raises:
        ValueError: a text that starts after the end, or is so short that no latent frame's middle lies in it.
    """
    times = latent_frame_times(1 + (num_frames - 1) // stride, frame_rate, stride).tolist()
    texts = tuple(max(number for number, span in enumerate(spans) if span.start <= time) for time in times)
    for number, span in enumerate(spans):
        if number not in texts:
            raise ValueError(
                f"the storyboard's text at {span.start:.4g} s ({span.text!r}) has no latent frame of its own in "
                f"{num_frames} frames at {frame_rate:.4g} frames/s: a text needs {stride / frame_rate:.4g} s and "
                f"has to start by {times[-1]:.4g} s; give more frames, or move the times apart"
            )
    return texts


def _own_length(spans: Sequence[Span], wishes: Wishes, frame_rate: float) -> int:
    """Frames where the call says nothing: the last span as long as the one before, and never less than usual."""
    if len(spans) < 2:
        return wishes.num_frames
    seconds = 2 * spans[-1].start - spans[-2].start
    return max(wishes.num_frames, wishes.grid.nearest_frames(1 + seconds * frame_rate))


def storyboard_draft(
    wishes: Wishes, storyboard: Sequence[Any], pictures: Mapping[Any, Any] | None = None, fit: Fit = "cover"
) -> Draft:
    """A video whose spans follow their own texts.

    Args:
        wishes: size, length and rate that the call asks for.
        storyboard: see `read_spans`; a span's picture is the keyframe of its first latent frame.
        pictures: further keyframes, see `keyframe_draft`.
        fit: see `open_image`.

    Raises:
        ValueError: a storyboard that does not fit the video.
    """
    spans, stride = read_spans(storyboard), wishes.grid.temporal
    keyframes, names = dict(pictures or {}), {time: f"keyframe {time!r}" for time in pictures or {}}
    rate = first_given(wishes.frame_rate, wishes.defaults[2])  # pictures have no rate of their own
    if wishes.asked_frames is None:
        wishes = replace(wishes, asked_frames=_own_length(spans, wishes, rate))
    wishes.grid.latent_shape(wishes.num_frames, *wishes.size)
    texts = text_of_frames(spans, wishes.num_frames, rate, stride)
    for number, span in enumerate(spans):
        if span.picture is not None:
            frame = group_of(texts.index(number), stride)[0]
            if frame in keyframes:
                raise ValueError(
                    f"the storyboard has a picture at {span.start:.4g} s and there is a keyframe at frame "
                    f"{frame}, where that span begins; give one of them"
                )
            keyframes[frame], names[frame] = span.picture, f"storyboard picture at {span.start:.4g} s"
    if keyframes:
        draft = keyframe_draft(wishes, keyframes, fit, names)
    else:
        draft = Draft(wishes.num_frames, *wishes.size, rate)
    under = draft.lay_out

    def lay_out(canvas: Canvas, encode: Encoder) -> Canvas:
        return with_text_spans(under(canvas, encode), texts)

    return replace(
        draft,
        lay_out=lay_out,
        prompts=tuple(span.text for span in spans),
        num_texts=len(spans),
        task="storyboard",
        settings={**draft.settings, "storyboard": said_spans(spans)},
    )
