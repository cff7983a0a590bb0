"""Which task a call's arguments ask for, as a `Draft`.

| arguments                 | task                                                            |
|---------------------------|-----------------------------------------------------------------|
| none of these             | text to video; an image for num_frames=1                        |
| image, keyframes          | pictures at given times (`keyframes`)                           |
| storyboard, and the above | texts in turn (`storyboard`)                                    |
| video, mask               | make the white part of the mask anew (`within_frames`)          |
| video, strength           | start from the noised video (`remix`)                           |
| canvas                    | whatever is laid out on it                                      |
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .canvas import Canvas
from .conform import Fit, check_fit
from .draft import Draft, draft_of_canvas
from .inputs import first_given
from .keyframes import keyframe_draft
from .remix import remix_draft
from .storyboard import storyboard_draft
from .wishes import Wishes
from .within_frames import inpaint_draft


def draft_of_call(
    pipe: Any,
    *,
    height: int | None,
    width: int | None,
    num_frames: int | None,
    frame_rate: float | None,
    canvas: Canvas | Draft | None,
    image: Any,
    keyframes: Mapping[Any, Any] | None,
    video: Any,
    mask: Any,
    storyboard: Sequence[Any] | None,
    strength: float | None,
    fit: Fit,
) -> Draft:
    """What a call makes, and what of it is given. Arguments are those of `KinemaPipeline.__call__`.

    Raises:
        ValueError: arguments that do not go together, or given things that do not fit.
    """
    given = {
        "canvas": canvas,
        "image": image,
        "keyframes": keyframes,
        "video": video,
        "mask": mask,
        "storyboard": storyboard,
        "strength": strength,
    }
    names = {name for name, value in given.items() if value is not None}
    _check_together(names)
    check_fit(fit)
    asked = {"num_frames": num_frames, "height": height, "width": width}
    if isinstance(canvas, Draft):
        for name, value in {**asked, "frame_rate": frame_rate}.items():
            if value not in (None, getattr(canvas, name)):
                raise ValueError(
                    f"the draft is of {canvas.num_frames} frames of {canvas.width} × {canvas.height} at "
                    f"{canvas.frame_rate:g} a second; leave {name} {value} out, or draft it so"
                )
        return canvas
    if canvas is not None:
        draft = draft_of_canvas(canvas, pipe.grid, first_given(frame_rate, pipe.config.default_frame_rate))
        for name, value in asked.items():
            if value not in (None, getattr(draft, name)):
                raise ValueError(
                    f"the canvas has latents {tuple(canvas.latents.shape)}, which are {draft.num_frames} frames "
                    f"of {draft.width} × {draft.height}; leave {name} {value} out, or lay out such a canvas"
                )
        return draft
    wishes = Wishes.of(pipe, frame_rate=frame_rate, **asked)
    if "mask" in names:
        return inpaint_draft(wishes, video, mask, strength, fit)
    if strength is not None:
        return remix_draft(wishes, video, strength, fit)
    pictures, sources = _pictures(image, keyframes)
    if storyboard is not None:
        return storyboard_draft(wishes, storyboard, pictures, fit)
    if pictures:
        return keyframe_draft(wishes, pictures, fit, sources)
    return Draft(wishes.num_frames, *wishes.size, first_given(frame_rate, wishes.defaults[2]))


def _pictures(image: Any, keyframes: Mapping[Any, Any] | None) -> tuple[dict[Any, Any], dict[Any, str]]:
    """Pictures by time, and how messages call them."""
    if keyframes is not None and not (isinstance(keyframes, Mapping) and keyframes):
        raise ValueError(
            f"keyframes is {type(keyframes).__name__}; it needs a dict {{time: picture}} with at least one, where "
            "a float is in seconds and an int a frame (-1: the last)"
        )
    pictures = dict(keyframes or {})
    names = {time: f"keyframe {time!r}" for time in pictures}
    if image is not None:
        if 0 in pictures:  # 0.0 is the same key
            raise ValueError("image is the first frame and there is a keyframe at 0 too; give one of them")
        pictures, names = {0: image, **pictures}, {0: "image", **names}
    return pictures, names


def _check_together(names: set[str]) -> None:
    """Refuse arguments of different tasks."""
    alone = "canvas" if "canvas" in names else "video" if "video" in names else None
    partners = {"canvas": set[str](), "video": {"mask", "strength"}}
    others = names - {alone} - partners[alone] if alone else set()
    if others:
        raise ValueError(f"{alone} was given with {', '.join(sorted(others))}; they are different tasks, give one")
    if "video" not in names:
        for name, use in (("mask", "the video it is a mask of"), ("strength", "the video to start from")):
            if name in names:
                raise ValueError(f"{name} was given without a video; give {use} as video=")
    elif len(names) == 1:
        raise ValueError(
            "video was given alone; give a mask to make a part of it anew, or a strength (0 to 1) to start from "
            "it. To make it longer use pipe.extend, pipe.loop or pipe.connect; wider, pipe.outpaint"
        )
