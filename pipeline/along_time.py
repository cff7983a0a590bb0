"""Longer videos: extend one, close it to a loop, connect two. Given frames come back exactly, new ones join them.

Each is a stretch of new frames between given ones, of which the model sees as many as leave room in the length it
was trained on. A stretch longer than that is made in rounds, each continuing the one before.
"""

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from ..data.soundtrack import Soundtrack
from .bridge import bridge_draft, plan
from .conform import Fit, check_fit
from .draft import Draft, named
from .inputs import check_output_type, first_given
from .media import Clip, WorkingShape, look, open_video
from .output import KinemaPipelineOutput, as_output_type
from .seeds import per_video_generators
from .wishes import Wishes

if TYPE_CHECKING:
    from .pipeline import KinemaPipeline

logger = logging.getLogger(__name__)

Direction = Literal["forward", "backward"]
SLACK = 0.05  # frames by which a length in seconds may miss a whole number, so that it can be written in decimals
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".png", ".jpg", ".jpeg", ".webp")


def extend(
    pipe: "KinemaPipeline",
    video: Any,
    prompt: str | list[str] = "",
    *,
    seconds: float,
    direction: Direction = "forward",
    context: int | None = None,
    fit: Fit = "cover",
    **options: Any,
) -> KinemaPipelineOutput:
    """Make a video go on, or begin earlier. The given frames come back exactly.

    Args:
        video: a path, URL, array, tensor, list of pictures or output; a picture is a video of one frame.
        prompt: what happens in the new frames.
        seconds: how much is added; a whole number of latent frames.
        direction: "forward" adds after the end, "backward" before the beginning.
        context: given frames that the model sees at a time: 1 + k · stride forward, k · stride backward. None: as
            many as leave room for the new ones in the length it was trained on, two latent frames at least; what
            then does not fit is made in rounds.
        fit: see `kinema.pipeline.media.open_video`.
        options: of the pipeline's call, such as generator, guidance_scale, height, width, frame_rate. Without a
            guidance_scale or guidance (or with None), a third of the checkpoint's own above 1 is taken, and 1
            without a text: what is given says what the text would, and stronger guidance makes seams.

    Returns:
        The whole video.

    Raises:
        ValueError: a length off the stride grid, or another argument that does not fit, before any model runs.
    """
    if direction not in ("forward", "backward"):
        raise ValueError(f"direction is {direction!r}; it is forward or backward")
    wishes = _wishes(pipe, options)
    (clip,), shape = _opened(wishes, fit, video=video)
    new = latent_frames_of(seconds, shape.frame_rate, wishes.grid.temporal)
    given = clip.frames[None]
    before, after = (given, None) if direction == "forward" else (None, given)
    sound = clip.soundtrack
    if direction == "backward":
        sound = tuple(piece.shifted(new * wishes.grid.temporal / shape.frame_rate) for piece in sound)
    settings = {"seconds": seconds, "direction": direction, "context": context, "fit": fit}
    task = named(_task(shape, (clip,), sound), "extend", {"video": video}, **settings)
    return _made(pipe, prompt, task, wishes, new, before, after, options, context=context)


def loop(
    pipe: "KinemaPipeline",
    video_or_prompt: Any,
    prompt: str | list[str] = "",
    *,
    seconds: float | None = None,
    fit: Fit = "cover",
    **options: Any,
) -> KinemaPipelineOutput:
    """Make a video that can be played round and round: a transition from its end back to its beginning is added.

    Args:
        video_or_prompt: a video (see `extend`), or the text of one that is made first. A str is a text unless it
            is a URL, names a file, or ends like a video's name.
        prompt: what happens in the transition; of a text, None or "" repeats it.
        seconds: length of the transition, a whole number of latent frames; None: about one second.
        fit, options: see `extend`. Of a text, guidance_scale (None: the checkpoint's own) is that of the video
            that is made first; the transition has a third of it above 1.

    Returns:
        The video with the transition after it.

    Raises:
        ValueError: see `extend`.
    """
    source = video_or_prompt
    if isinstance(source, str) and not names_a_video(source):
        wishes = _wishes(pipe, dict(options))
        latent_frames_of(seconds, first_given(wishes.frame_rate, wishes.defaults[2]), wishes.grid.temporal)
        _check_loop_of_text(options, fit)
        options = _settled(pipe, options)
        first = {name: value for name, value in options.items() if name not in ("output_type", "return_dict")}
        made = pipe(source, **first, output_type="np")
        assert isinstance(made, KinemaPipelineOutput)
        if made.interrupted:  # there is no end to lead back from yet
            frames = torch.from_numpy(made.frames).movedim(-1, 2)
            kind = options.get("output_type", "np")
            made = replace(made, frames=as_output_type(frames, kind), output_type=kind)
            return made if options.get("return_dict", True) else (made.frames,)  # pyright: ignore[reportReturnType]
        prompt, source = prompt or video_or_prompt, made
        options = {name: value for name, value in options.items() if name != "num_frames"}
    wishes = _wishes(pipe, options)
    (clip,), shape = _opened(wishes, fit, video=source)
    new = latent_frames_of(seconds, shape.frame_rate, wishes.grid.temporal)
    settings = {"seconds": new * wishes.grid.temporal / meant_rate(shape.frame_rate), "fit": fit}
    sources = {"video": source}
    if source is not video_or_prompt:
        sources, settings = {}, {"video_prompt": video_or_prompt, **settings}
    task = named(_task(shape, (clip,), clip.soundtrack), "loop", sources, **settings)
    frames = clip.frames[None]
    asked = None if source is video_or_prompt else options.get("guidance_scale")
    if asked is not None:
        options["guidance_scale"] = _gentle(asked)
    output = _made(pipe, prompt, task, wishes, new, frames, frames, options, closes=True)
    if asked is not None and isinstance(output, KinemaPipelineOutput):
        output.provenance = [replace(made, guidance_scale=float(asked)) for made in output.provenance or ()]
    return output


def connect(
    pipe: "KinemaPipeline",
    a: Any,
    b: Any,
    prompt: str | list[str] = "",
    *,
    seconds: float = 1.0,
    fit: Fit = "cover",
    **options: Any,
) -> KinemaPipelineOutput:
    """Join two videos by a transition. The frames of both come back exactly.

    Args:
        a, b: videos or pictures, see `extend`; `a` decides size and rate where the call does not.
        prompt: what happens in the transition.
        seconds: its length, a whole number of latent frames.
        fit, options: see `extend`, also for guidance_scale, which is gentle here too.

    Returns:
        a, the transition, b.

    Raises:
        ValueError: see `extend`.
    """
    wishes = _wishes(pipe, options)
    clips, shape = _opened(wishes, fit, a=a, b=b)
    new = latent_frames_of(seconds, shape.frame_rate, wishes.grid.temporal)
    later = (len(clips[0].frames) + new * wishes.grid.temporal) / shape.frame_rate
    sound = (*clips[0].soundtrack, *(piece.shifted(later) for piece in clips[1].soundtrack))
    task = named(_task(shape, clips, sound), "connect", {"a": a, "b": b}, seconds=seconds, fit=fit)
    before, after = (clip.frames[None] for clip in clips)
    return _made(pipe, prompt, task, wishes, new, before, after, options)


def latent_frames_of(seconds: float | None, frame_rate: float, stride: int) -> int:
    """New latent frames for a length; None: about one second.

    Raises:
        ValueError: a length that is no whole number of them; the message gives the nearest that are.
    """
    if seconds is None:
        return max(1, round(frame_rate / stride))
    rate = meant_rate(frame_rate)
    frames = frames_in(seconds, frame_rate)
    groups = round(frames / stride)
    if groups < 1 or abs(frames - groups * stride) > SLACK:
        below = max(1, int(frames / stride))
        fitting = [f"{number * stride / rate:.8g}" for number in (below, below + 1)]
        raise ValueError(
            f"seconds {seconds:.8g} at {frame_rate:.4g} frames/s does not fit; {fitting[0]} or {fitting[1]} do "
            f"(multiples of {stride} frames)"
        )
    return groups


def frames_in(seconds: float, frame_rate: float) -> float:
    """Frames of a length, at the rate that is meant; a length fits if a frame's end is within `SLACK` of it.

    Raises:
        ValueError: infinity, or not a number.
    """
    if not math.isfinite(seconds):
        raise ValueError(f"seconds is {seconds}; it needs a finite length")
    return seconds * meant_rate(frame_rate)


def meant_rate(frame_rate: float) -> float:
    """Television's rates n / 1.001 as n: who writes 2 s at 29.97 frames/s means 60 frames."""
    whole = round(frame_rate * 1.001)
    return float(whole) if whole and abs(frame_rate * 1.001 - whole) < 5e-4 else frame_rate


def _made(
    pipe: "KinemaPipeline",
    prompt: str | list[str],
    task: Draft,
    wishes: Wishes,
    new: int,
    before: torch.Tensor | None,
    after: torch.Tensor | None,
    options: dict[str, Any],
    *,
    context: int | None = None,
    closes: bool = False,
) -> KinemaPipelineOutput:
    """Make the new frames round by round, and put the whole together.

    Args:
        task: what the call is, for the provenance.
        new: latent frames to be made.
        before, after: all given frames on each side, (1, T, 3, H, W) in [0, 1].
        closes: the frames after are the beginning of those before, and are not shown again.
    """
    options = dict(options)
    output_type, return_dict = options.pop("output_type", "np"), options.pop("return_dict", True)
    _check_pixels(output_type)
    if options.get("guidance_scale") is None and options.get("guidance") is None:
        options["guidance_scale"] = _gentle_guidance(pipe, prompt, options)
    frames = [0 if side is None else side.shape[1] for side in (before, after)]
    rounds = plan(new, wishes.window, wishes.grid.temporal, frames[0], frames[1], context)
    _check_rounds(options, len(rounds))
    if len(rounds) > 1:
        texts = first_given(options.get("prompt_embeds"), [prompt] if isinstance(prompt, str) else prompt)
        videos = len(texts) * options.get("num_videos_per_prompt", 1)
        options["generator"] = per_video_generators(options.get("generator"), videos)
    outputs: list[KinemaPipelineOutput] = []
    for number, bridge in enumerate(rounds):
        last = number == len(rounds) - 1
        draft = bridge_draft(bridge, before, after if last or before is None else None, task.frame_rate)
        draft = replace(draft, task=task.task, settings=task.settings, in_memory=task.in_memory)
        text = None if options.get("prompt_embeds") is not None else prompt
        output = pipe(text, canvas=draft, output_type="pt", **options)
        assert isinstance(output, KinemaPipelineOutput)
        outputs.append(output)
        fresh = output.frames[:, bridge.made].cpu()
        if before is not None:
            before = torch.cat([before.expand(len(fresh), -1, -1, -1, -1), fresh], dim=1)
        elif after is not None:
            after = torch.cat([fresh, after.expand(len(fresh), -1, -1, -1, -1)], dim=1)
        if pipe.interrupt:
            break
    parts = [side for side in (before, None if closes else after) if side is not None]
    videos = max(len(part) for part in parts)
    whole = torch.cat([part.expand(videos, -1, -1, -1, -1) for part in parts], dim=1)
    result = as_output_type(whole, output_type)
    if not return_dict:
        return (result,)  # pyright: ignore[reportReturnType]
    interrupted = next((made.interrupted_after for made in outputs[-1].provenance or ()), None)
    if interrupted is None and len(outputs) < len(rounds):
        interrupted = pipe.num_timesteps
    provenance = [
        replace(made, num_frames=whole.shape[1], interrupted_after=interrupted)
        for made in outputs[0].provenance or ()
    ]
    warnings = [*task.notes, *(warning for output in outputs for warning in output.warnings or ())]
    return KinemaPipelineOutput(
        frames=result,
        frame_rate=task.frame_rate,
        provenance=provenance,
        warnings=list(dict.fromkeys(warnings)),
        output_type=output_type,
        soundtrack=task.soundtrack or None,
        exact=True,
        interrupted=interrupted is not None,
    )


def _gentle_guidance(pipe: "KinemaPipeline", prompt: str | list[str], options: dict[str, Any]) -> float:
    """A third of the checkpoint's own guidance above 1: the given frames say what the text would.

    Measured on Diorama clips: at full strength, steps into and out of given frames are 1.3 to 1.6 times as large.
    Without a text there is nothing to guide towards, and 1 saves half of the work.
    """
    given = ("prompt_embeds", "negative_prompt", "negative_prompt_embeds")
    says_nothing = not prompt and all(options.get(name) is None for name in given)
    return 1.0 if says_nothing else _gentle(pipe.config["default_guidance_scale"])


def _gentle(guidance_scale: float) -> float:
    return min(guidance_scale, 1 + (guidance_scale - 1) / 3)


def _settled(pipe: "KinemaPipeline", options: dict[str, Any]) -> dict[str, Any]:
    """Options with one strength and one seed for both of a loop's runs, so that its record repeats both."""
    options = dict(options)
    if options.get("generator") is None:
        options["generator"] = int(torch.randint(2**31, (1,)))
    if options.get("guidance_scale") is None and options.get("guidance") is None:
        options["guidance_scale"] = pipe.config["default_guidance_scale"]
    return options


def _check_loop_of_text(options: dict[str, Any], fit: Fit) -> None:
    """Raise a ValueError for what the transition cannot take, before the video that it belongs to is made."""
    _check_pixels(options.get("output_type", "np"))
    check_fit(fit)
    if options.get("num_videos_per_prompt", 1) != 1:
        raise ValueError("a loop of a text is made one at a time; call it again with another generator")
    if options.get("latents") is not None:
        raise ValueError("latents are the noise of one run, and a loop of a text takes more; give a generator")
    tasks = ("canvas", "image", "keyframes", "video", "mask", "storyboard", "strength")
    if given := [name for name in tasks if options.get(name) is not None]:
        raise ValueError(
            f"a loop of a text was given {', '.join(given)}; make the video first, with pipe(...), and loop that"
        )


def _check_pixels(output_type: str) -> None:
    check_output_type(output_type)
    if output_type == "latent":
        raise ValueError('output_type is "latent", and given frames come back in pixels; use np, pt or pil')


def _check_rounds(options: dict[str, Any], rounds: int) -> None:
    if "num_frames" in options:
        raise ValueError("num_frames is not asked for here: seconds says how much is made, and the rest is given")
    if rounds > 1 and options.get("latents") is not None:
        raise ValueError(f"latents are the noise of one round, and this takes {rounds}; give a generator instead")


def _wishes(pipe: "KinemaPipeline", options: dict[str, Any]) -> Wishes:
    """Size and rate asked for, taken out of the options."""
    return Wishes.of(pipe, **{name: options.pop(name, None) for name in ("height", "width", "frame_rate")})


def _opened(wishes: Wishes, fit: Fit, **sources: Any) -> tuple[list[Clip], WorkingShape]:
    """Given videos at one size and rate, that of the first."""
    looks = [look(source, name) for name, source in sources.items()]
    shape = wishes.shape_for(*looks)
    size = {"height": shape.height, "width": shape.width, "frame_rate": shape.frame_rate}
    return [open_video(one, fit=fit, **size) for one in looks], shape


def _task(shape: WorkingShape, clips: Sequence[Clip], sound: tuple[Soundtrack, ...]) -> Draft:
    """What all rounds have in common."""
    notes = (*shape.notes, *(note for clip in clips for note in clip.notes))
    for note in notes:
        logger.warning(note)
    return Draft(0, shape.height, shape.width, shape.frame_rate, notes=notes, soundtrack=sound)


def names_a_video(text: str) -> bool:
    """Whether a string is a URL or a file, and no prompt."""
    is_url = re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None
    return is_url or text.lower().endswith(VIDEO_SUFFIXES) or _is_file(text)


def _is_file(text: str) -> bool:
    try:
        return Path(text).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):  # too long for a name, "~" of nobody, a null character
        return False
