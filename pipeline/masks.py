"""Masks of a given video, white where new content is made: pictures, videos, arrays, and boxes that may move."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from .conform import Fit, Placement, place
from .sources import Look, MediaError, frames_of, look

Box = Sequence[float]  # x0, y0, x1, y1
TAKEN = (
    "a picture, a video or array as long as the video, a box (x0, y0, x1, y1) in pixels of the given video (whole "
    "numbers) or in fractions of it (floats), or {time: box} for one that moves"
)


def open_mask(
    mask: Any,
    *,
    num_frames: int,
    height: int,
    width: int,
    frame_rate: float,
    fit: Fit = "cover",
    given_size: tuple[int, int] | None = None,
    given_rate: float | None = None,
    given_frames: int | None = None,
    name: str = "mask",
) -> torch.Tensor:
    """Where new content is made in a conformed video.

    Args:
        mask: one of
            a picture (see `kinema.pipeline.sources.look`; also (H, W) arrays), for all frames: lighter than middle
            grey is made anew, darker is kept;
            a video, a list of pictures or an array (T, H, W) of bool, 0 and 1, 0 to 255, or floats in [0, 1];
            a box (x0, y0, x1, y1): whole numbers are pixels of the given video, as its file shows it; with a float
            among them, all are fractions of its width and height. Every pixel that it touches is made anew;
            a dict {time: box}, where a float is in seconds and an int a frame of the conformed video, negative
            from the end, as in keyframes. Between two times the box moves evenly; before the first and after the
            last it stands still.
        num_frames, height, width, frame_rate, fit: of the conformed video; the mask is fitted the same way.
        given_size: (height, width) of the video before it was conformed; None: as now. A picture mask has this
            size, or its aspect, or the conformed size.
        given_rate: frame rate of the video before it was conformed. A mask without a rate of its own has one frame
            for each conformed frame, or for each given one.
        given_frames: frames of the conformed video before it was cut to its first `num_frames`; a mask of that
            length is cut likewise. None: it was not.
        name: how messages call it.

    Returns:
        bool (num_frames, height, width), true where new content is made.

    Raises:
        MediaError: a ValueError; another length or aspect, a box outside the video, or nothing to make.
    """
    given_size = given_size or (height, width)
    placement = place(given_size, (height, width), fit)
    if isinstance(mask, Mapping) and not hasattr(mask, "output_type"):  # outputs are mappings too
        made = _moving_box(mask, placement, num_frames, frame_rate, name)
    elif (corners := _as_box(mask)) is not None:
        made = torch.zeros(num_frames, height, width, dtype=torch.bool)
        _draw(made, _placed(corners, placement, name))
    else:
        made = _pictures(mask, placement, num_frames, given_frames or num_frames, frame_rate, given_rate, name)
    if not made.any():
        cut = "" if placement.untouched else f" after the fit ({placement.describe() or 'scaled'})"
        raise MediaError(f"{name}: nothing in it is white{cut}, so there is nothing to make; white is made anew")
    return made


def mask_notes(made: torch.Tensor, name: str = "mask") -> tuple[str, ...]:
    """What there is to say about an opened mask (T, H, W)."""
    if bool(made.all()):
        return (f"{name}: all of it is white, so that nothing of the video is kept",)
    return ()


def _as_box(mask: Any) -> list[Real] | None:
    """The four numbers of a box, or None if it is no box."""
    if isinstance(mask, np.ndarray | torch.Tensor) and tuple(mask.shape) == (4,):
        mask = mask.tolist()
    if isinstance(mask, list | tuple) and mask and all(isinstance(value, Real) for value in mask):
        if len(mask) != 4:
            raise MediaError(f"a mask box is {tuple(mask)}; it needs four numbers (x0, y0, x1, y1)")
        return list(mask)
    return None


def _placed(box: Sequence[Real], placement: Placement, name: str) -> tuple[float, float, float, float]:
    """A box in pixels of the conformed video."""
    height, width = placement.given
    x0, y0, x1, y1 = (float(value) for value in box)
    shown = tuple(value if isinstance(value, Integral) else float(value) for value in box)
    if not all(isinstance(value, Integral) for value in box):
        if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
            raise MediaError(
                f"{name}: the box {shown} is in fractions (it has a float in it) and needs 0 <= x0 < x1 <= 1 and "
                "0 <= y0 < y1 <= 1; for pixels give whole numbers"
            )
        x0, x1, y0, y1 = x0 * width, x1 * width, y0 * height, y1 * height
    elif not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise MediaError(
            f"{name}: the box {shown} is in pixels and needs 0 <= x0 < x1 <= {width} and 0 <= y0 < y1 <= "
            f"{height}, the given video's width and height; for fractions give floats"
        )
    return *placement.point(x0, y0), *placement.point(x1, y1)


def _draw(frames: torch.Tensor, box: Sequence[float]) -> None:
    """Make every pixel of (…, H, W) that the box touches true."""
    height, width = frames.shape[-2:]
    left, top = (max(0, int(np.floor(value + 1e-6))) for value in box[:2])
    right, bottom = (min(side, int(np.ceil(value - 1e-6))) for value, side in zip(box[2:], (width, height)))
    if left < right and top < bottom:
        frames[..., top:bottom, left:right] = True


def _moving_box(
    boxes: Mapping[Any, Any], placement: Placement, num_frames: int, frame_rate: float, name: str
) -> torch.Tensor:
    placed: dict[float, tuple[float, ...]] = {}
    for time, box in boxes.items():
        if not isinstance(time, Real) or isinstance(time, bool):
            raise MediaError(f"{name}: {time!r} is no time; give floats in seconds or ints for frames")
        corners = _as_box(box)
        if corners is None:
            raise MediaError(f"{name}: at {time} there is {type(box).__name__} and no box (x0, y0, x1, y1)")
        if isinstance(time, Integral):
            inside = -num_frames <= int(time) < num_frames
            seconds = int(time) % num_frames / frame_rate
        else:
            seconds = float(time)
            inside = 0 <= seconds <= num_frames / frame_rate
        if not inside:
            raise MediaError(
                f"{name}: the box at {time!r} lies outside the video, which has frames 0 to {num_frames - 1} "
                f"(ints) and lasts {num_frames / frame_rate:.4g} s (floats)"
            )
        if seconds in placed:
            raise MediaError(f"{name}: two boxes at {seconds:.4g} s; give one")
        placed[seconds] = _placed(corners, placement, name)
    if not placed:
        raise MediaError(f"{name}: there is no box in it; it needs to be {TAKEN}")
    times = sorted(placed)
    made = torch.zeros(num_frames, *placement.size, dtype=torch.bool)
    for number, frame in enumerate(made):
        _draw(
            frame, [np.interp(number / frame_rate, times, [placed[t][side] for t in times]) for side in range(4)]
        )
    return made


def _pictures(
    mask: Any,
    placement: Placement,
    num_frames: int,
    given_frames: int,
    frame_rate: float,
    given_rate: float | None,
    name: str,
) -> torch.Tensor:
    try:
        seen = look(_as_colour(mask, name), name)
    except MediaError as error:
        if isinstance(mask, str | np.ndarray | torch.Tensor | list | tuple):
            raise
        raise MediaError(f"{error} (a mask is {TAKEN})") from None
    given = placement.given
    if seen.size not in (given, placement.size) and abs(seen.width / seen.height * given[0] / given[1] - 1) > 0.01:
        raise MediaError(
            f"{name} is {seen.width} × {seen.height} and the video {given[1]} × {given[0]}; give a mask of that "
            "size or of its aspect"
        )
    fitted = place(seen.size, placement.size, placement.fit)
    rated = _rated(seen, (num_frames, given_frames), given_rate)
    frames = [fitted(_white(frame))[..., 0] for frame in frames_of(rated, frame_rate)]
    if len(frames) == given_frames:
        frames = frames[:num_frames]
    if len(frames) not in (1, num_frames) or (seen.is_video and len(frames) != num_frames):
        as_given = "" if len(frames) == seen.num_frames else f", {len(frames)} at {frame_rate:.4g} frames/s"
        raise MediaError(
            f"{name} has {seen.num_frames or len(frames)} frames{as_given}, and the video {num_frames}; give one "
            "mask a frame, or one picture for all"
        )
    return torch.from_numpy(np.stack(frames)).expand(num_frames, -1, -1).clone()


def _rated(seen: Look, lengths: tuple[int, int], given_rate: float | None) -> Look:
    """The mask at the given video's rate, where it has no rate and not one frame for each conformed one."""
    if seen.frame_rate is None and seen.num_frames not in lengths:
        return replace(seen, frame_rate=given_rate)
    return seen


def _white(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) as bool (H, W, 1): lighter than middle grey."""
    middle = 127.5 if frame.dtype == np.uint8 else 0.5
    return frame.mean(-1, keepdims=True) >= middle


def _as_colour(mask: Any, name: str) -> Any:
    """Arrays without a channel, of bool or of 0 and 1, as the (T, H, W, 3) arrays that `look` takes."""
    if isinstance(mask, list | tuple) and mask and all(isinstance(m, np.ndarray | torch.Tensor) for m in mask):
        if len({tuple(m.shape) for m in mask}) > 1:
            return mask
        mask = torch.stack(list(mask)) if isinstance(mask[0], torch.Tensor) else np.stack(mask)
    if not isinstance(mask, np.ndarray | torch.Tensor):
        return mask
    shape, tensor = tuple(mask.shape), isinstance(mask, torch.Tensor)
    if isinstance(mask, torch.Tensor):
        mask = mask.detach().cpu()
        array = (mask.float() if mask.is_floating_point() else mask).numpy()
    else:
        array = mask
    if tensor and len(shape) >= 4 and shape[-3] in (1, 3):
        array = np.moveaxis(array, -3, -1)
    elif tensor or len(shape) < 3 or shape[-1] not in (1, 3):
        array = array[..., None]  # (H, W) or (T, H, W)
    if array.ndim not in (3, 4, 5) or 0 in shape or array.shape[-1] not in (1, 3):
        raise MediaError(f"{name} has shape {shape}; it needs (H, W) or (T, H, W)")
    if np.issubdtype(array.dtype, np.integer):
        if array.min() < 0 or array.max() > 255:
            raise MediaError(
                f"{name} has values from {array.min()} to {array.max()}; it needs 0 to 255, or 0 and 1"
            )
        array = array.astype(bool) if array.max() <= 1 else array.astype(np.uint8)
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    return np.broadcast_to(array, (*array.shape[:-1], 3))
