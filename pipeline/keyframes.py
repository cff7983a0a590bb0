"""Pictures at times of a video: its first frame, its last, or any between."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from .canvas import Canvas, with_known_frames
from .conform import Fit
from .draft import Draft, Encoder, named
from .grid import Grid
from .media import look, open_image
from .wishes import Wishes


def keyframe_draft(
    wishes: Wishes, pictures: Mapping[Any, Any], fit: Fit = "cover", names: Mapping[Any, str] | None = None
) -> Draft:
    """A video that passes through given pictures.

    The first latent frame is one pixel frame; every other stands for a group of them, which the picture fills by
    repetition.

    Args:
        wishes: size, length and rate that the call asks for.
        pictures: {time: picture}; a float is in seconds, an int is a pixel frame, negative from the end.
        fit: see `open_image`.
        names: how messages call the pictures.

    Raises:
        ValueError: a time outside the video, two on one latent frame, pictures that leave nothing to make, or a
            picture that cannot be read.
    """
    names = names or {time: f"keyframe {time!r}" for time in pictures}
    looks = {time: look(picture, names[time]) for time, picture in pictures.items()}
    shape = wishes.shape_for(*looks.values())
    num_frames = wishes.num_frames
    total = wishes.grid.latent_shape(num_frames, shape.height, shape.width)[0]
    places = latent_places(looks, num_frames, shape.frame_rate, wishes.grid)
    if len(places) == total:
        raise ValueError(
            f"{len(places)} pictures fill all of the {num_frames} frames, so there is nothing to make; give more "
            "frames or fewer pictures"
        )
    clips = {
        frame: open_image(looks[time], height=shape.height, width=shape.width, fit=fit, name=names[time])
        for time, frame in places.items()
    }

    def lay_out(canvas: Canvas, encode: Encoder) -> Canvas:
        for frame, clip in clips.items():
            picture = clip.frames[None]
            canvas = with_known_frames(canvas, frame, encode.still(picture) if frame else encode.clip(picture))
        return canvas

    notes = (*shape.notes, *(note for clip in clips.values() for note in clip.notes))
    draft = Draft(num_frames, shape.height, shape.width, shape.frame_rate, lay_out, notes=notes)
    task = "image" if list(names.values()) == ["image"] else "keyframes"
    return named(draft, task, {names[time]: picture for time, picture in pictures.items()}, fit=fit)


def latent_places(times: Mapping[Any, Any], num_frames: int, frame_rate: float, grid: Grid) -> dict[Any, int]:
    """The latent frame of each time.

    Args:
        times: floats in seconds, or ints for pixel frames, negative from the end.
        num_frames, frame_rate: of the video.

    Raises:
        ValueError: a time that is none, lies outside the video, or falls on the latent frame of another.
    """
    places: dict[Any, int] = {}
    for time in times:
        if not isinstance(time, Real) or isinstance(time, bool):
            raise ValueError(
                f"the keyframe time {time!r} is no number; give a float in seconds or an int, a frame"
            )
        frame = round(float(time) * frame_rate)
        if isinstance(time, Integral):
            frame = int(time) + (num_frames if time < 0 else 0)
        if not 0 <= frame < num_frames or (time < 0 and not isinstance(time, Integral)):
            raise ValueError(
                f"the keyframe at {time!r} lies outside the video, which has frames 0 to {num_frames - 1} (ints; "
                f"-1 is the last) at 0.0 to {(num_frames - 1) / frame_rate:.4g} s (floats)"
            )
        place = -(-frame // grid.temporal)
        if place in places.values():
            other = next(earlier for earlier, at in places.items() if at == place)
            first, last = group_of(place, grid.temporal)
            span = f"frames {first} to {last}" if first != last else f"frame {first}"
            raise ValueError(
                f"the keyframes at {other!r} and {time!r} both fall on {span}, which are one latent frame; put "
                f"one of them at frame {last + 1} or later" + (f", or {first - 1} or earlier" if first else "")
            )
        places[time] = place
    return places


def group_of(latent_frame: int, stride: int) -> tuple[int, int]:
    """First and last pixel frame of a latent frame."""
    return (0, 0) if latent_frame == 0 else (1 + (latent_frame - 1) * stride, latent_frame * stride)
