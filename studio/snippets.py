"""A video as a program: the Python, the command line and the request that make it again, with the seed it had.

Whatever the worker called is what stands here: the Python is written from the very call that `run_wish` makes.
"""

import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..pipeline.provenance import Provenance
from .jobs.job import Job
from .jobs.wish import NEEDS, Wish, run_wish
from .making.make import wish_of
from .models.model import KINEMA, NAME, Model
from .rest.objects import fields_of
from .restoring import SAMPLERS

ROUTES = {"generate": "", "extend": "/extensions", "remix": "/edits"}  # tasks that the REST API takes
ASKED = {"image": "input_reference", "video": "video"}  # a wish's names to the REST API's
KEY = "$KINEMA_API_KEY"
LONG = 88  # characters of a Python line


@dataclass(frozen=True)
class Snippet:
    """Text to copy.

    Attributes:
        text: the program; "" if there is none.
        notes: what it needs first, and what it cannot promise; for people.
    """

    text: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where a program is to run.

    Attributes:
        model: what the server serves.
        name: how a program names the model: a hub id or a folder; None: the packaged one.
        told: whether `name` is what to write, and not only the model's name.
        url: of this server, with a slash at its end.
        keys: whether it wants an API key.
        suffix: ".mp4" or ".png", of an upload's or a video's id.
        made: how the file says that it was made; None: it is gone, or does not say.
    """

    model: Model
    name: str | None
    told: bool
    url: str
    keys: bool
    suffix: Callable[[str], str]
    made: Provenance | None = None


def used_wish(job: Job) -> Wish:
    """What a job asked for, with the values that were really used in place of what was left open."""
    wish, result = wish_of(job), job.result
    if not result:
        return wish
    names = ["seed", "num_inference_steps", "guidance_scale"]
    names += ["width", "height", "fps"] if wish.task == "generate" else []
    used: dict[str, Any] = {name: result[name] for name in names if result.get(name) is not None}
    if wish.task == "generate" and (result.get("streamed") or not result.get("interrupted")):
        used |= {"num_frames": result["num_frames"], "seconds": None}
    return wish.model_copy(update=used)


def as_python(job: Job, place: Place) -> Snippet:
    """The call, in Python."""
    wish, name = used_wish(job), _name(job.id, place)
    notes = [*_before(wish, place), *_doubts(job, place)]
    if place.model.kind not in (NAME, KINEMA):
        return Snippet(_foreign_python(wish, name, place), tuple(notes))
    streamed = _is_streamed(job, wish, place)
    call = _streamed(wish, place) if streamed else _recorded(wish, place)
    device, dtype = (place.made.device, place.made.dtype) if place.made else ("cpu", "float32")
    given = [] if place.name is None else [repr(place.name)]
    given += [] if dtype == "float32" else [f"dtype=torch.{dtype}"]
    lines = ["from kinema import KinemaPipeline", ""]
    lines = ["import torch", *lines] if dtype != "float32" else lines
    lines.append(f"pipe = KinemaPipeline.from_pretrained({', '.join(given)})")
    lines[-1] += "" if device == "cpu" else f".to({device!r})"
    lines += _sampler(wish)
    seed = [] if wish.seed is None else [f"generator={wish.seed}"]
    output = "stream" if streamed else "output"
    lines += [_call_text(f"{output} = pipe{call.method}", [*call.arguments(), *seed]), f"{output}.save({name!r})"]
    return Snippet("\n".join(lines) + "\n", tuple(notes))


def as_cli(job: Job, place: Place) -> Snippet:
    """The command, for a terminal."""
    wish, notes = used_wish(job), [*_doubts(job, place)]
    if place.model.kind not in (NAME, KINEMA):
        return Snippet("", (f"The kinema command runs Kinema's own models, and this is a {place.model.kind}; "
                            "take the Python.",))  # fmt: skip
    for option, usual in (("schedule", ("equal", "stream")), ("sampler", ("euler",))):
        if getattr(wish, option) not in (None, *usual):
            return Snippet("", (f"The command line has no option for the {option}; take the Python.",))
    streamed = _is_streamed(job, wish, place)
    verb, given, options = (_stream_words if streamed else _words)(wish, place)
    dashed = any(word.startswith("-") for word in given)  # would be taken for options
    words: list[Any] = ["kinema", verb, *([] if dashed else given), *options, "-o", _name(job.id, place)]
    words += _option("--seed", wish.seed)
    words += [f"--negative={wish.negative_prompt}"] if wish.negative_prompt else []
    words += _option("--steps", wish.num_inference_steps) + _option("--guidance", wish.guidance_scale)
    words += _option("--height", wish.height) + _option("--width", wish.width) + _option("--fps", wish.fps)
    if wish.task == "generate" and not streamed:
        words += _option("--frames", wish.num_frames)
        words += _option("--seconds", wish.seconds) if wish.num_frames is None else []
    words += _option("--model", place.name)
    words += ["--device", place.made.device, "--dtype", place.made.dtype] if place.made else []
    words += ["--", *given] if dashed else []
    return Snippet(shlex.join(map(str, words)) + "\n", (*_before(wish, place), *notes))


def as_curl(job: Job, place: Place) -> Snippet:
    """The request to this server."""
    wish = used_wish(job)
    asked = wish.model_dump(mode="json", exclude_defaults=True)
    task = asked.pop("task", "generate")
    if task not in ROUTES:
        return Snippet("", (f"The REST API does not offer the task “{task}”; take the Python or the command.",))
    body = {ASKED.get(name, name): value for name, value in asked.items() if value is not None}
    known = fields_of(task, ASKED["image" if task == "generate" else "video"])
    lacking = [name for name in body if name not in known]
    if lacking:
        return Snippet("", (f"The REST API has no field for {', '.join(lacking)}; take the Python.",))
    head = ["-H", f"Authorization: Bearer {KEY}"] if place.keys else []
    url = f"{place.url}v1/videos"
    words = ["curl", url + ROUTES[task], *head, "-H", "Content-Type: application/json", "-d",
             json.dumps(body, ensure_ascii=False)]  # fmt: skip
    fetch = ["curl", *head, "-o", _name(job.id, place), f"{url}/ID/content"]
    text = f"{_shell(words)}\n# It answers with an id. When its status is completed:\n{_shell(fetch)}\n"
    notes = ["KINEMA_API_KEY is your key, in the environment."] if place.keys else []
    if any(name.startswith("upload_") for name in wish.media()):
        notes.append("It names what you gave by its id on this server, and works there only.")
    if _is_stopped(job):
        notes.append(_STOPPED)
    return Snippet(text, tuple(notes))


@dataclass(frozen=True)
class _Call:
    """What was called: ".extend", and with what."""

    method: str
    given: tuple[Any, ...]
    named: dict[str, Any]

    def arguments(self) -> list[str]:
        texts = [repr(each) for each in self.given]
        return texts + [f"{name}={value!r}" for name, value in self.named.items() if name != "generator"]


class _Recorder:
    """Stands in the pipeline's place, and is called as it would be."""

    def __call__(self, *given: Any, **named: Any) -> _Call:
        return _Call("", given, named)

    def __getattr__(self, method: str) -> Callable[..., _Call]:
        if method not in NEEDS:
            raise AttributeError(method)
        return lambda *given, **named: _Call(f".{method}", given, named)


def _is_streamed(job: Job, wish: Wish, place: Place) -> bool:
    """Whether it was, or would be, made block by block."""
    return bool(job.result["streamed"]) if "streamed" in job.result else place.model.is_streamed(wish)


def _stream_seconds(wish: Wish, place: Place) -> float:
    return (place.model.frames(wish) - 1) / (wish.fps or place.model.fps)


def _streamed(wish: Wish, place: Place) -> _Call:
    """The call of `pipe.stream`, as `growing.stream_wish` makes it."""
    cards = wish.storyboard or ()
    texts: Any = [(card.at, card.text, *([_name(card.image, place)] if card.image else [])) for card in cards]
    if len(cards) < 2 and not any(card.image for card in cards):
        texts = cards[0].text if cards else wish.prompt
    named = {
        "seconds": _stream_seconds(wish, place), "frame_rate": wish.fps, "negative_prompt": wish.negative_prompt,
        "width": wish.width, "height": wish.height, "num_inference_steps": wish.num_inference_steps,
        "guidance_scale": wish.guidance_scale, "image": wish.image and _name(wish.image, place),
        "fit": None if wish.fit == "cover" else wish.fit,
    }  # fmt: skip
    return _Call(".stream", (texts,), {name: value for name, value in named.items() if value is not None})


def _stream_words(wish: Wish, place: Place) -> tuple[str, list[str], list[Any]]:
    (texts,), pictures = _streamed(wish, place).given, _option("--image", wish.image and _name(wish.image, place))
    if isinstance(texts, str):
        texts = [texts]
    else:
        pictures += [f"--picture={card[0]!r}={card[2]}" for card in texts if len(card) > 2]
        texts = [f"{card[0]!r}:{card[1]}" for card in texts]
    fit = _option("--fit", wish.fit) if wish.fit != "cover" else []
    return "stream", texts, ["--seconds", _stream_seconds(wish, place), *pictures, *fit]


def _sampler(wish: Wish) -> list[str]:
    """Lines that give the pipeline another sampler, as `sampled_by` does."""
    if wish.sampler in (None, "euler"):
        return []
    kind = next(name for name, sampler in SAMPLERS.items() if sampler == wish.sampler)
    flow = ['prediction_type="flow_prediction"', "use_flow_sigmas=True", 'flow_shift=own.get("shift", 1.0)']
    given = ", ".join(["own", *([] if wish.sampler == "heun" else flow)])
    return [f"from diffusers import {kind}", "", "own = pipe.scheduler.config",
            f"pipe.scheduler = {kind}.from_config({given})"]  # fmt: skip


def _recorded(wish: Wish, place: Place) -> _Call:
    asked = wish.model_copy(update={"sampler": None})
    seconds = wish.task == "generate" and wish.seconds is not None and wish.num_frames is None
    if seconds:  # of a job without a result: what its model would make of them
        asked = asked.model_copy(update={"seconds": None, "num_frames": place.model.frames(wish)})
    return run_wish(_Recorder(), asked, lambda name: Path(_name(name, place)), wish.seed or 0)


def _call_text(begin: str, arguments: list[str]) -> str:
    line = f"{begin}({', '.join(arguments)})"
    if len(line) <= LONG:
        return line
    return begin + "(\n" + "".join(f"    {each},\n" for each in arguments) + ")"


def _foreign_python(wish: Wish, name: str, place: Place) -> str:
    from .models.foreign_model import LENGTHS, RATES, read_call

    call = read_call(place.model.kind)
    given: dict[Any, Any] = {
        "prompt": wish.prompt, "negative_prompt": wish.negative_prompt, "width": wish.width, "height": wish.height,
        call.named(*LENGTHS): wish.num_frames, call.named(*RATES): wish.fps,
        "num_inference_steps": wish.num_inference_steps, "guidance_scale": wish.guidance_scale,
    }  # fmt: skip
    texts = [f"{key}={value!r}" for key, value in given.items() if value is not None and key in call.arguments]
    device, dtype = (place.made.device, place.made.dtype) if place.made else ("cpu", "float32")
    lines = ["import torch", "from diffusers import DiffusionPipeline", "from diffusers.utils import "
             "export_to_video" + (", load_image" if wish.image else ""), ""]  # fmt: skip
    lines.append(f"pipe = DiffusionPipeline.from_pretrained({place.name!r}, dtype=torch.{dtype}).to({device!r})")
    texts += [f"image=load_image({_name(wish.image, place)!r})"] if wish.image else []
    texts += [] if wish.seed is None else [f'generator=torch.Generator("cpu").manual_seed({wish.seed})']
    lines += [_call_text("output = pipe", texts)]
    lines += [f"export_to_video(output.frames[0], {name!r}, fps={wish.fps or place.model.fps:g})"]
    return "\n".join(lines) + "\n"


def _words(wish: Wish, place: Place) -> tuple[str, list[str], list[Any]]:
    """The command's verb, what it is given, and the options of its task."""

    def file(name: str | None) -> str:
        return _name(name or "", place)

    after = [wish.prompt] if wish.prompt else []
    strength, seconds = _option("--strength", wish.strength), _option("--seconds", wish.seconds)
    match wish.task:
        case "extend":
            back = ["--backward"] if wish.direction == "backward" else []
            fit = _option("--fit", wish.fit) if wish.fit != "cover" else []
            return "extend", [file(wish.video), *after], [*seconds, *back, *fit]
        case "loop":
            return "loop", [file(wish.video), *after] if wish.video else [wish.prompt], seconds
        case "connect":
            return "connect", [file(wish.video), file(wish.other), *after], seconds
        case "remix":
            return "remix", [file(wish.video), wish.prompt], strength
        case "blend":
            return "blend", [file(wish.video), file(wish.other), *after], strength
        case "outpaint":
            return "outpaint", [file(wish.video), *after], _option("--aspect", wish.aspect)
        case "inpaint":
            where = _option("--mask", file(wish.mask)) if wish.mask else list(_boxes(wish))
            return "inpaint", [file(wish.video), wish.prompt], [*where, *strength]
    pictures: list[Any] = _option("--image", file(wish.image)) if wish.image else []
    pictures += [f"--keyframe={at!r}s={file(name)}" for at, name in (wish.keyframes or {}).items()]
    if not wish.storyboard:
        return "generate", [wish.prompt], pictures
    pictures += [f"--picture={card.at!r}={file(card.image)}" for card in wish.storyboard if card.image]
    return "storyboard", [f"{card.at!r}:{card.text}" for card in wish.storyboard], pictures


def _boxes(wish: Wish) -> Iterator[str]:
    boxes = wish.boxes or {}
    for at, box in boxes.items():
        yield f"--box={f'{at!r}s:' if len(boxes) > 1 else ''}{','.join(map(repr, box))}"


def _option(name: str, value: Any) -> list[Any]:
    return [] if value is None else [name, value]


def _shell(words: list[str]) -> str:
    """A command whose key is filled in by the shell."""
    return shlex.join(words).replace(f"'Authorization: Bearer {KEY}'", f'"Authorization: Bearer {KEY}"')


def _name(name: str, place: Place) -> str:
    """What a file is called beside the program."""
    kind, _, digits = name.partition("_")
    return f"{'given' if kind == 'upload' else kind}-{digits[:8]}{place.suffix(name)}"


def _before(wish: Wish, place: Place) -> Iterator[str]:
    """What is to be there before the program runs."""
    key = f'-H "Authorization: Bearer {KEY}" ' if place.keys else ""
    for name in wish.media():
        if name.startswith("video_"):
            yield f"First: curl {key}-o {_name(name, place)} {place.url}v1/videos/{name}/content"
        else:
            yield f"First: put the file that you gave beside it, named {_name(name, place)}."
    if not place.told:
        yield f"In place of {place.name}, write the folder that this model lies in."


_STOPPED = "It was stopped early, and this makes the whole of it."


def _is_stopped(job: Job) -> bool:
    """Whether it has less than was asked for; the beginning of a stream is whole at any length."""
    return bool(job.result.get("interrupted")) and not job.result.get("streamed")


def _doubts(job: Job, place: Place) -> Iterator[str]:
    if _is_stopped(job):
        yield _STOPPED
    if not job.result:
        yield "It was never made, so no seed is known; every run makes another one."
    if (job.result.get("applied") or {}).get("mark"):
        yield "The visible mark was added by the studio; this makes the video without it."
    if place.made is not None and not place.made.device.startswith("cpu"):
        yield f"The same file, bit for bit, needs the same kind of device: {place.made.device_name}."
