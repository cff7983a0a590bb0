"""Given pictures and videos, conformed to the size and rate that the model works at; nothing silently.

seen = look("clip.mp4", "video")
shape = working_shape(seen, grid, (64, 64, 8.0))
clip = open_video(seen, height=shape.height, width=shape.width, frame_rate=shape.frame_rate)
clip.frames, clip.notes  # (T, 3, H, W) in [0, 1], and what was changed on the way
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..data.soundtrack import Soundtrack
from .conform import Fit, Placement, check_fit, place
from .grid import Grid
from .sources import Look, MediaError, frames_of, has_alpha, look

__all__ = [
    "Clip",
    "Look",
    "MediaError",
    "Soundtrack",
    "WorkingShape",
    "look",
    "open_image",
    "open_video",
    "working_shape",
]

RATE_FACTOR = 1.5  # a media rate within this factor of the checkpoint's own is worked at as it is
AREA_FACTOR = 2.0  # a media size of at most this many times the checkpoint's own area is worked at as it is


@dataclass(frozen=True)
class Clip:
    """Frames as the pipeline works on them.

    Attributes:
        frames: (T, 3, H, W) float32 in [0, 1]; a given uint8 value v is exactly v / 255.
        frame_rate: frames per second; None for a picture.
        notes: what was changed on the way, for people.
        soundtrack: pieces of the given video's sound, empty if it has none.
        placement: how the given frames were fitted; masks and boxes follow it.
    """

    frames: torch.Tensor
    frame_rate: float | None
    notes: tuple[str, ...]
    soundtrack: tuple[Soundtrack, ...]
    placement: Placement


@dataclass(frozen=True)
class WorkingShape:
    """Size and rate at which a task works, and what there is to say about them."""

    height: int
    width: int
    frame_rate: float
    notes: tuple[str, ...] = ()


def open_video(
    source: Any,
    *,
    height: int,
    width: int,
    frame_rate: float,
    fit: Fit = "cover",
    name: str = "video",
) -> Clip:
    """Read a given video at a size and rate.

    A file is read frame by frame, so that memory holds the conformed frames only.

    Args:
        source: see `look`; a picture is a video of one frame.
        height, width: pixels of the result. Frames of that size already are left as they are.
        frame_rate: frames per second of the result: its frame k is what is shown at k / frame_rate. Sources
            without a rate of their own (arrays, tensors, lists of pictures) are taken to be at this one.
        fit: "cover" fills the frame and cuts off equally on both sides; "contain" shows all of the video between
            black bars; "stretch" scales both sides on their own.
        name: how messages call it.

    Raises:
        MediaError: a ValueError; it is empty, unreadable, or of another type, shape or value range.
        FetchError: a URL that cannot be fetched, or may not be.
    """
    check_fit(fit)
    if not 0 < frame_rate < float("inf"):
        raise ValueError(f"frame_rate is {frame_rate}; it needs to be above 0")
    seen = look(source, name)
    placement = place(seen.size, (height, width), fit)
    frames = [placement(frame) for frame in frames_of(seen, frame_rate)]
    if not frames:
        raise MediaError(f"{seen.name} has no frame; it needs at least one")
    sound = seen.soundtrack
    return Clip(_stacked(frames), float(frame_rate), _notes(seen, placement, frame_rate), sound, placement)


def open_image(source: Any, *, height: int, width: int, fit: Fit = "cover", name: str = "image") -> Clip:
    """Read a given picture at a size; its clip has one frame. Arguments and errors are those of `open_video`.

    Raises:
        MediaError: also for a video, of which one frame would have to be chosen.
    """
    check_fit(fit)
    seen = look(source, name)
    if seen.is_video:
        count = "" if seen.num_frames is None else f" of {seen.num_frames} frames"
        raise MediaError(f"{seen.name} is a video{count}; it needs to be one picture: give the frame you want")
    placement = place(seen.size, (height, width), fit)
    frames = [placement(frame) for frame in frames_of(seen)]
    return Clip(_stacked(frames), None, _notes(seen, placement, None), (), placement)


def working_shape(
    seen: Look | Sequence[Look],
    grid: Grid,
    defaults: tuple[int, int, float],
    height: int | None = None,
    width: int | None = None,
    frame_rate: float | None = None,
) -> WorkingShape:
    """Size and rate at which to work on given media.

    Height and width: those asked for; else the media's own, if it lies on the grid and has at most twice the
    checkpoint's area; else the size on the grid with about the checkpoint's area whose aspect is nearest.
    Rate: the one asked for; else the media's own, if within a factor 1.5 of the checkpoint's; else that.

    Args:
        seen: what `look` returned; of several, the first decides, and the rate is that of the first with one.
        grid: the sizes that the model can make.
        defaults: the checkpoint's own height, width and frame rate.
        height, width, frame_rate: what was asked for. Of one side alone, the other follows from the aspect.

    Raises:
        ValueError: a size off the grid; the message gives the nearest that fit.
    """
    looks = [seen] if isinstance(seen, Look) else list(seen)
    first, notes = looks[0], []
    area = defaults[0] * defaults[1]
    if height is None and width is None:
        if grid.fits(*first.size) and first.width * first.height <= AREA_FACTOR * area:
            height, width = first.size
        else:
            height, width = grid.nearest_size(first.height / first.width, area)
            why = "off the model's grid" if not grid.fits(*first.size) else "far above the model's own area"
            notes.append(
                f"{first.name} is {first.width} × {first.height}, {why}; working at {width} × {height} "
                "(height and width choose another size)"
            )
    elif width is None:
        assert height is not None
        width = grid.nearest_side(1, height * first.width / first.height)
        notes.append(f"width {width} goes with height {height} for {first.name}, {first.width} × {first.height}")
    elif height is None:
        height = grid.nearest_side(0, width * first.height / first.width)
        notes.append(f"height {height} goes with width {width} for {first.name}, {first.width} × {first.height}")
    grid.latent_shape(1 + (grid.patch[0] - 1) * grid.temporal, height, width)
    if frame_rate is None:
        rated = next((one for one in looks if one.frame_rate is not None), None)
        own, frame_rate = (None if rated is None else rated.frame_rate), float(defaults[2])
        if rated is not None and own is not None:
            if 1 / RATE_FACTOR <= own / frame_rate <= RATE_FACTOR:
                frame_rate = own
            else:
                notes.append(
                    f"{rated.name} has {own:.4g} frames/s, far from the model's {frame_rate:.4g}; working at "
                    f"{frame_rate:.4g} (frame_rate chooses another)"
                )
    return WorkingShape(height, width, float(frame_rate), tuple(notes))


def _stacked(frames: list[np.ndarray]) -> torch.Tensor:
    stacked = np.stack(frames)
    if stacked.dtype == np.uint8:  # numpy divides exactly rounded, so that v / 255 comes back as v
        stacked = np.divide(stacked, np.float32(255), dtype=np.float32)
    return torch.from_numpy(stacked).movedim(-1, 1).contiguous()


def _notes(seen: Look, placement: Placement, frame_rate: float | None) -> tuple[str, ...]:
    notes = []
    rate = frame_rate is not None and seen.frame_rate is not None and abs(seen.frame_rate / frame_rate - 1) > 1e-3
    if rate or not placement.untouched:
        given, taken, how = [], [], placement.describe()
        if not placement.untouched:
            given.append(f"{seen.width} × {seen.height}")
            taken.append(f"as {placement.size[1]} × {placement.size[0]}")
        if rate:
            given.append(f"at {seen.frame_rate:.4g} frames/s")
            taken.append(f"at {frame_rate:.4g}")
        note = f"{seen.name}: {' '.join(given)}, taken {' '.join(taken)}"
        notes.append(note + (f" ({how})" if how else ""))
    if has_alpha(seen):
        notes.append(f"{seen.name}: its transparent parts are shown black")
    return tuple(notes)
