"""`pipe.remix`, `pipe.blend`, `pipe.outpaint`: calls that change the frames of whole videos."""

from typing import TYPE_CHECKING, Any

from .conform import Fit
from .output import KinemaPipelineOutput
from .remix import BlendSchedule, blend_draft
from .wishes import Wishes
from .within_frames import outpaint_draft

if TYPE_CHECKING:
    from .pipeline import KinemaPipeline


def remix(
    pipe: "KinemaPipeline", video: Any, prompt: str | list[str], *, strength: float = 0.6, **options: Any
) -> KinemaPipelineOutput:
    """Make a video into another by a text.

    Args:
        video: a path, URL, array, tensor, list of pictures or output.
        prompt: what it becomes.
        strength: 0 gives the video's reconstruction, 1 ignores the video.
        options: of the pipeline's call; num_frames takes the first so many frames.

    Raises:
        ValueError: a strength outside [0, 1], or a video that does not fit, before any model runs.
    """
    return pipe(_prompt(prompt, options), video=video, strength=strength, **options)  # pyright: ignore[reportReturnType]


def blend(
    pipe: "KinemaPipeline",
    a: Any,
    b: Any,
    prompt: str | list[str] = "",
    *,
    schedule: BlendSchedule = "linear",
    strength: float = 0.6,
    fit: Fit = "cover",
    **options: Any,
) -> KinemaPipelineOutput:
    """Pass from one video to another of the same length.

    Args:
        a, b: videos, see `remix`; `a` decides size and rate where the call does not.
        prompt: what the frames between show.
        schedule: weight of `b` over time: "linear", "ease", a function of 0 to 1, or a weight for each frame.
            Frames of weight 0 at the beginning and 1 at the end come back exactly.
        strength: how freely the frames between are made: 0 shows both at once, 1 follows the text alone.
        fit: see `kinema.pipeline.media.open_video`.
        options: of the pipeline's call; num_frames takes the first so many frames of both.

    Raises:
        ValueError: videos of unequal length, or another argument that does not fit, before any model runs.
    """
    wishes = Wishes.of(pipe, **_sizes(options))
    draft = blend_draft(wishes, a, b, schedule, strength, fit)
    return pipe(_prompt(prompt, options), canvas=draft, **options)  # pyright: ignore[reportReturnType]


def outpaint(
    pipe: "KinemaPipeline",
    video_or_image: Any,
    prompt: str | list[str] = "",
    *,
    aspect: str | float | None = None,
    fit: Fit = "cover",
    **options: Any,
) -> KinemaPipelineOutput:
    """Make what lies round a video or picture, which comes back exactly in the middle.

    Args:
        video_or_image: see `remix`; of a picture, a picture is made.
        prompt: what the whole shows.
        aspect: width to height of the whole, such as "9:16" or 1.5.
        fit: see `kinema.pipeline.media.open_video`.
        options: of the pipeline's call; height and width of the whole instead of an aspect.

    Raises:
        ValueError: nothing to make, or another argument that does not fit, before any model runs.
    """
    wishes = Wishes.of(pipe, **_sizes(options))
    draft = outpaint_draft(wishes, video_or_image, aspect, fit)
    return pipe(_prompt(prompt, options), canvas=draft, **options)  # pyright: ignore[reportReturnType]


def _sizes(options: dict[str, Any]) -> dict[str, Any]:
    """Size, length and rate, taken out of the options."""
    return {name: options.pop(name, None) for name in ("height", "width", "num_frames", "frame_rate")}


def _prompt(prompt: str | list[str], options: dict[str, Any]) -> str | list[str] | None:
    return prompt if options.get("prompt_embeds") is None else None
