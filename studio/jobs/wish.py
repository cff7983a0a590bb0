"""What may be asked for, as JSON: the app, the REST API and a file of the library all become one of these.

Pictures and videos are named by id, of an upload or of another job; never by a path.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .job import Job, JobError

Task = Literal["generate", "extend", "loop", "connect", "remix", "blend", "inpaint", "outpaint"]
Media = Annotated[str, Field(pattern=r"^(upload|video)_[0-9a-f]{32}$")]  # an id
Text = Annotated[str, Field(max_length=4000)]
Side = Annotated[int, Field(gt=0, le=4096)]
Sampler = Literal["euler", "heun", "unipc", "dpm++"]
Box = tuple[float, float, float, float]
NEEDS = {
    "extend": ("video", "seconds"), "loop": (), "connect": ("video", "other"), "remix": ("video",),
    "blend": ("video", "other"), "inpaint": ("video",), "outpaint": ("video", "aspect"), "generate": (),
}  # fmt: skip

# Of the settings that not every task has, those that each heeds; another one is refused rather than passed over.
HEEDED = {
    "generate": ("storyboard", "image", "keyframes", "seconds", "num_frames", "schedule", "fit"),
    "extend": ("video", "seconds", "direction", "fit"), "loop": ("video", "seconds"),
    "connect": ("video", "other", "seconds"), "remix": ("video", "strength"),
    "blend": ("video", "other", "strength"), "inpaint": ("video", "mask", "boxes", "strength"),
    "outpaint": ("video", "aspect"),
}  # fmt: skip


class Card(BaseModel):
    """A storyboard's text, from a time on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: float = Field(ge=0)  # seconds
    text: Text
    image: Media | None = None


class Wish(BaseModel):
    """One video. What is None is the model's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Task = "generate"
    prompt: Text = ""
    negative_prompt: Text | None = None
    storyboard: tuple[Card, ...] | None = None
    image: Media | None = None  # the first frame
    keyframes: dict[float, Media] | None = None  # at seconds
    video: Media | None = None
    other: Media | None = None  # the second video of connect and blend
    mask: Media | None = None
    boxes: dict[float, Box] | None = None  # instead of a mask: at seconds, as shares of the picture
    direction: Literal["forward", "backward"] = "forward"  # of extend
    strength: float | None = Field(default=None, ge=0, le=1)
    fit: Literal["cover", "contain", "stretch"] = "cover"
    aspect: str | None = Field(default=None, pattern=r"^\d{1,2}:\d{1,2}$")
    seconds: float | None = Field(default=None, gt=0, le=3600)  # of the video; of extend and loop: what is added
    num_frames: int | None = Field(default=None, gt=0, le=100_000)
    width: Side | None = None
    height: Side | None = None
    fps: float | None = Field(default=None, gt=0, le=240)
    num_inference_steps: int | None = Field(default=None, gt=0, le=1000)
    guidance_scale: float | None = Field(default=None, ge=1, le=100)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    schedule: Literal["equal", "staircase", "rolling", "stream"] | None = (
        None  # None: equal, or stream if it is long
    )
    sampler: Sampler | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> "Wish":
        missing = [name for name in NEEDS[self.task] if getattr(self, name) is None]
        if missing:
            raise ValueError(f"{self.task} needs {' and '.join(missing)}")
        own = {name for names in HEEDED.values() for name in names}.difference(HEEDED[self.task])
        given = sorted(name for name in own.intersection(type(self).model_fields) if self._gives(name))
        if given:
            raise ValueError(f"{self.task} takes no {' and no '.join(given)}")
        if self.task == "generate" and not self.prompt.strip() and not self.storyboard and self.image is None:
            raise ValueError("describe a video first: prompt is empty")
        if self.task == "loop" and self.video is None and not self.prompt.strip():
            raise ValueError("loop needs a video, or a prompt to make one of")
        if self.task == "inpaint" and (self.mask is None) == (self.boxes is None):
            raise ValueError("inpaint needs a mask or boxes, one of them")
        if self.seconds is not None and self.num_frames is not None and self.task == "generate":
            raise ValueError("seconds and num_frames both say how long it is; give one of them")
        return self

    def _gives(self, name: str) -> bool:
        return getattr(self, name) != type(self).model_fields[name].default

    def media(self) -> tuple[str, ...]:
        """The ids of all that it is made from."""
        return tuple(self.named())

    def named(self) -> dict[str, str]:
        """What all is that it is made from, for people, by its id."""
        cards = enumerate(self.storyboard or (), 1)
        words = (
            ("the first frame", self.image),
            *((f"the keyframe at {at:g} s", name) for at, name in (self.keyframes or {}).items()),
            ("the video", self.video), ("the second video", self.other), ("the mask", self.mask),
            *((f"the picture of card {number}", card.image) for number, card in cards),
        )  # fmt: skip
        return {name: what for what, name in reversed(words) if name is not None}


def read_wish(values: Mapping[str, Any]) -> Wish:
    """
    Raises:
        JobError: something is missing, unknown or out of range; the message names it and what was given.
    """
    try:
        return Wish.model_validate(dict(values))
    except ValidationError as error:
        told = []
        for each in error.errors(include_url=False):
            place = ".".join(map(str, each["loc"]))
            said = each["msg"].removeprefix("Value error, ")
            told.append(f"{place}: {said}, not {each['input']!r:.80}" if place else said)
        raise JobError("; ".join(told)) from None


def run_wish(pipe: Any, wish: Wish, find: Callable[[str], Path], seed: int, **options: Any) -> Any:
    """Call the pipeline.

    Args:
        pipe: a `KinemaPipeline`, or what has a `run` of its own.
        wish: what to make.
        find: the file of an id.
        seed: of its noise.
        options: of the call besides: callbacks.

    Returns:
        A `KinemaPipelineOutput`.

    Raises:
        ValueError: what no model could make; the message says what can be.
    """
    if hasattr(pipe, "run"):
        return pipe.run(wish, find, seed, **options)
    with sampled_by(pipe, wish.sampler):
        return _call(pipe, wish, find, seed, **options)


def _call(pipe: Any, wish: Wish, find: Callable[[str], Path], seed: int, **options: Any) -> Any:
    """`run_wish` of a `KinemaPipeline`."""

    def file(name: str | None) -> str | None:
        return None if name is None else str(find(name))

    given: dict[str, Any] = {
        "negative_prompt": wish.negative_prompt, "width": wish.width, "height": wish.height,
        "frame_rate": wish.fps, "num_inference_steps": wish.num_inference_steps,
        "guidance_scale": wish.guidance_scale, "generator": seed,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None} | options
    video, other, fit = file(wish.video), file(wish.other), {"fit": wish.fit}
    strength = {} if wish.strength is None else {"strength": wish.strength}
    match wish.task:
        case "extend":
            return pipe.extend(video, wish.prompt, seconds=wish.seconds, direction=wish.direction, **fit, **given)
        case "loop":
            return pipe.loop(video or wish.prompt, wish.prompt if video else "", seconds=wish.seconds, **given)
        case "connect":
            return pipe.connect(video, other, wish.prompt, seconds=wish.seconds, **given)
        case "remix":
            return _within_length(pipe.remix, video, wish.prompt, **strength, **given)
        case "blend":
            return _within_length(pipe.blend, video, other, wish.prompt, **strength, **given)
        case "outpaint":
            return _within_length(pipe.outpaint, video, wish.prompt, aspect=wish.aspect, **given)
        case "inpaint":
            boxes = wish.boxes and (wish.boxes if len(wish.boxes) > 1 else next(iter(wish.boxes.values())))
            mask = file(wish.mask) if wish.mask is not None else boxes
            return _within_length(pipe, wish.prompt, video=video, mask=mask, **strength, **given)
    cards = [(card.at, card.text, *([file(card.image)] if card.image else [])) for card in wish.storyboard or ()]
    pictures = {"image": file(wish.image)} if wish.image else {}
    pictures |= {"keyframes": {at: file(name) for at, name in wish.keyframes.items()}} if wish.keyframes else {}
    length = num_frames(pipe, wish)
    given |= {} if length is None else {"num_frames": length}
    given |= {} if wish.schedule in (None, "stream") else {"schedule": wish.schedule}
    if cards:
        return pipe(storyboard=cards, **pictures, **given)
    return pipe(wish.prompt, **pictures, **given)


def _within_length(call: Callable[..., Any], *args: Any, **given: Any) -> Any:
    """The task of a whole video, or of its first frames where the rest does not fit, which its warnings tell."""
    from ...pipeline.wishes import LengthError

    try:
        return call(*args, **given)
    except LengthError as error:  # raised before anything is made
        output = call(*args, num_frames=error.fitting, **given)
        told = f"only the first {error.fitting} frames were taken, as many as fit: {error}"
        output.warnings = [*(output.warnings or ()), told]
        return output


@contextmanager
def sampled_by(pipe: Any, sampler: Sampler | None) -> Iterator[None]:
    """Let a pipeline denoise by another of diffusers' samplers; its own is back afterwards."""
    if sampler in (None, "euler"):
        yield
        return
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
    from diffusers.schedulers.scheduling_flow_match_heun_discrete import FlowMatchHeunDiscreteScheduler
    from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

    own = pipe.scheduler
    if sampler == "heun":
        pipe.scheduler = FlowMatchHeunDiscreteScheduler.from_config(own.config)
    else:
        kind = UniPCMultistepScheduler if sampler == "unipc" else DPMSolverMultistepScheduler
        flow = {
            "prediction_type": "flow_prediction",
            "use_flow_sigmas": True,
            "flow_shift": own.config.get("shift", 1.0),
        }
        pipe.scheduler = kind.from_config(own.config, **flow)
    try:
        yield
    finally:
        pipe.scheduler = own


def wish_of(job: Job) -> Wish:
    """What a job is to become."""
    return read_wish(job.request)


def num_frames(pipe: Any, wish: Wish) -> int | None:
    """Frames that a wish comes to: the nearest that the model can make; None: its own."""
    if wish.num_frames is not None or wish.seconds is None:
        return wish.num_frames
    rate = wish.fps or pipe.config["default_frame_rate"]
    return pipe.grid.nearest_frames(1 + wish.seconds * rate)
