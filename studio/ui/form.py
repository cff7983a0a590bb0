"""The form of Create and the values of a wish, one as the other.

What the form has no control for, a storyboard, say, it carries along: a restored wish stays the same wish.
"""

from collections.abc import Callable, Mapping
from typing import Any, get_args

from ..jobs.job import JobError
from ..jobs.wish import Sampler
from ..models.model import Model

# The form's values, in the order in which handlers take them.
NAMES = (
    "prompt", "aspect", "seconds", "quality", "image", "keyframe_1", "at_1", "keyframe_2", "at_2",
    "guide", "strength", "style", "negative_prompt", "seed", "lock", "steps", "guidance_scale", "fps",
    "schedule", "sampler", "carried",
)  # fmt: skip
KEYFRAMES = (1, 2)
NONE = "none"
STYLES = (
    "at night", "at sunset", "in the evening", "on a sunny day", "in the rain", "in fog", "on snow", "on grass",
    "on sand", "cinematic", "documentary", "watercolour", "oil painting", "pixel art", "claymation",
    "paper cut-out", "pencil sketch", "anime", "black and white", "slow motion",
)  # fmt: skip
STRENGTH = 0.6
OWN = "the model's own"
SCHEDULES = {
    OWN: None, "all frames at once": "equal", "in steps": "staircase", "rolling": "rolling",
    "block by block, to play while it is made": "stream",
}  # fmt: skip
SAMPLERS = {OWN: None, **{name: name for name in get_args(Sampler)}}
Take = Callable[[str], str]  # the path of what somebody gave to the id that the studio keeps it under


def styles(model: Model) -> tuple[str, ...]:
    """Looks that the model knows the words of."""
    return tuple(style for style in STYLES if not model.unknown(style))


def usual_seconds(model: Model) -> float:
    """The length of its own clips, on the slider's grid: from the first frame to the last."""
    return round((model.num_frames - 1) / model.fps, 3)


def size_key(width: int, height: int) -> str:
    """How the form names a size."""
    return f"{width}x{height}"


def wish_values(model: Model, given: Mapping[str, Any], take: Take) -> dict[str, Any]:
    """The values of a wish; what is the model's own is left out.

    Args:
        given: by `NAMES`.
        take: called for every given file.

    Raises:
        JobError: the seed is no number.
    """
    values = dict(given["carried"] or {})
    prompt, style = (given["prompt"] or "").strip(), given["style"]
    values["prompt"] = f"{prompt} {style}".strip() if style and style != NONE and style not in prompt else prompt
    if negative := (given["negative_prompt"] or "").strip():
        values["negative_prompt"] = negative
    if given["image"]:
        values["image"] = take(given["image"])
    keyframes = {
        float(given[f"at_{number}"] or 0): take(given[f"keyframe_{number}"])
        for number in KEYFRAMES if given[f"keyframe_{number}"]
    }  # fmt: skip
    if keyframes:
        values["keyframes"] = (values.get("keyframes") or {}) | keyframes
    if given["guide"]:
        values |= {"task": "remix", "video": take(given["guide"]), "strength": given["strength"]}
    if values.get("task", "generate") == "generate":  # a given video has a size and length of its own
        width, height = map(int, given["aspect"].split("x"))
        if (width, height) != (model.width, model.height):
            values |= {"width": width, "height": height}
        fps = given["fps"] or model.fps
        if fps != model.fps:
            values["fps"] = fps
        if not given["seconds"]:
            values["num_frames"] = 1
        elif fps != model.fps or abs(given["seconds"] - usual_seconds(model)) > 1e-3:
            values["seconds"] = given["seconds"]
        if (schedule := SCHEDULES.get(given["schedule"])) is not None:
            values["schedule"] = schedule
    if (sampler := SAMPLERS.get(given["sampler"])) is not None:
        values["sampler"] = sampler
    if given["steps"] and int(given["steps"]) != model.steps:
        values["num_inference_steps"] = int(given["steps"])
    if given["guidance_scale"] and given["guidance_scale"] != model.guidance_scale:
        values["guidance_scale"] = given["guidance_scale"]
    if given["lock"] and (seed := (given["seed"] or "").strip()):
        if not seed.isdecimal():
            raise JobError(f"the seed is {seed!r}; it is a whole number, such as 42")
        values["seed"] = int(seed)
    return {name: value for name, value in values.items() if name not in model.off}


def form_values(model: Model, values: Mapping[str, Any]) -> dict[str, Any]:
    """The form's values of a wish's: the other way round, by `NAMES`."""
    rest = dict(values)
    fps = rest.pop("fps", None) or model.fps
    form: dict[str, Any] = {
        "prompt": rest.pop("prompt", ""), "negative_prompt": rest.pop("negative_prompt", None) or "",
        "steps": rest.pop("num_inference_steps", None) or model.steps,
        "guidance_scale": rest.pop("guidance_scale", None) or model.guidance_scale, "fps": fps,
        "seed": str(rest.get("seed", "")),
        "lock": rest.pop("seed", None) is not None, "style": NONE, "image": None,
        "guide": None, "strength": rest.get("strength") or STRENGTH, "seconds": usual_seconds(model),
        "aspect": size_key(model.width, model.height), "schedule": OWN,
        "sampler": rest.pop("sampler", None) or OWN,
    }  # fmt: skip
    form |= {f"keyframe_{number}": None for number in KEYFRAMES} | {f"at_{number}": 0 for number in KEYFRAMES}
    if rest.get("task", "generate") == "generate":
        form["aspect"] = size_key(rest.pop("width", None) or model.width, rest.pop("height", None) or model.height)
        frames, seconds = rest.pop("num_frames", None), rest.pop("seconds", None)
        form["seconds"] = seconds or round(((frames or model.num_frames) - 1) / fps, 3)
        schedule = rest.pop("schedule", None)
        form["schedule"] = next(name for name, value in SCHEDULES.items() if value == schedule)
        rest.pop("task", None)
    form["quality"] = quality_of(model, form["steps"])
    form["carried"] = {name: value for name, value in rest.items() if value is not None}
    return form


def quality_of(model: Model, steps: float | None) -> str | None:
    """The quality of so many steps; None: they are somebody's own."""
    return next((name for name, each in model.drafts.items() if each == steps), None)


CARRIED = {"image": "a first picture", "keyframes": "keyframes", "video": "a video", "other": "a second video",
           "mask": "a mask", "boxes": "boxes", "storyboard": "a storyboard"}  # fmt: skip


def carried_words(carried: Mapping[str, Any]) -> str:
    """What a form carries along, for people; "": nothing that they would miss."""
    told = [words for name, words in CARRIED.items() if carried.get(name)]
    task = carried.get("task")
    return ", ".join(([f"{task} of"] if task else []) + told) if told else ""
