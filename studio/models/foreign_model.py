"""What another diffusers pipeline can do, from its files and the source of its `__call__`; no torch is imported.

Whatever takes a `prompt` and gives `.frames` is served. What its call has no argument for is off, with the reason.
"""

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import lcm
from pathlib import Path
from typing import Any, get_args

from ...pipeline.checkpoint import CheckpointError
from ..jobs.wish import Task
from .facts import aspects_of, read_config, read_examples, strides, values_of, weights_of

LENGTHS = ("num_frames", "frames", "video_length")  # what pipelines call the number of frames
RATES = ("frame_rate", "fps")
# Frames a second at which families without such an argument are played, as their documentation says.
PLAYED = {
    "Wan": 16, "CogVideoX": 8, "Hunyuan": 24, "SkyReels": 24, "Mochi": 30, "Sana": 16, "Latte": 8, "Allegro": 15,
    "AnimateDiff": 8, "Kandinsky": 24, "EasyAnimate": 8, "LTX": 25, "Cosmos": 24,
}  # fmt: skip
USUAL_RATE, USUAL_SECONDS = 16, 5.0  # of those that are not in the list, or do not say how long
GIVEN = ("prompt", "image")  # the inputs that the studio can give
# Names of those that need what their call declares as optional.
FROM_VIDEOS = ("VideoToVideo", "VideoToWorld", "Edit", "Control", "Inpaint")
FROM_PICTURES = ("ImageToVideo", "Image2Video", "I2V")
_REQUIRED = object()


@dataclass(frozen=True)
class Call:
    """A pipeline's `__call__`.

    Attributes:
        arguments: to their defaults; what has none, or none that is a plain value, to `_REQUIRED` or None.
        divisors: numbers by which heights and widths have to be divisible.
        own: sizes and lengths that its constructor sets.
    """

    arguments: Mapping[str, Any]
    divisors: tuple[int, ...]
    own: Mapping[str, Any]

    def named(self, *names: str) -> str | None:
        """The first of some names that is an argument."""
        return next((name for name in names if name in self.arguments), None)

    def default(self, *names: str) -> Any:
        """The default of the first of some names that is an argument; None: it has none."""
        value = self.arguments.get(self.named(*names) or "")
        return None if value is _REQUIRED else value


def foreign_facts(folder: Path, index: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `Model`, but for its name and time.

    Raises:
        CheckpointError: it is of no pipeline that is installed, makes no videos of texts, or needs what the studio
            cannot give.
    """
    kind = str(index.get("_class_name"))
    call = read_call(kind)
    transformer = read_config(folder, "transformer") or read_config(folder, "unet")
    vae = read_config(folder, "vae")
    spatial, temporal = strides(vae)
    patch = transformer.get("patch_size", 1)
    across = patch if isinstance(patch, int) else max(patch[-2:])
    along = transformer.get("patch_size_t") or (1 if isinstance(patch, int) else patch[0])
    multiple = lcm(spatial * across, *call.divisors)
    rate = call.default(*RATES) or next((fps for name, fps in PLAYED.items() if kind.startswith(name)), USUAL_RATE)
    width, height = (_side(call, transformer, name, spatial, multiple) for name in ("width", "height"))
    step = temporal * along
    frames = call.default(*LENGTHS) or transformer.get("sample_frames") or call.own.get("num_frames")
    frames = frames or 1 + step * round(USUAL_SECONDS * rate / step)
    return {
        "kind": kind, "width": width, "height": height, "num_frames": frames, "fps": float(rate),
        "steps": call.default("num_inference_steps") or 50,
        "guidance_scale": float(call.default("guidance_scale") or 1.0),
        "multiple": multiple, "frame_step": step, "max_seconds": round(max(frames / rate, USUAL_SECONDS), 2),
        "streams": False, "aspects": aspects_of(width, height, multiple), "examples": read_examples(folder),
        "needs": ("image",) if _needs_image(kind, call) else (), "off": off_of(kind, call),
        "weights": weights_of(folder, index), "values": values_of(vae, transformer),
    }  # fmt: skip


def off_of(kind: str, call: Call) -> dict[str, str]:
    """What a pipeline cannot do, to the reason."""
    off = {task: f"{kind} only makes new videos; it cannot {task} given ones" for task in get_args(Task)}
    off |= {
        "connect": f"{kind} only makes new videos; it cannot join given ones",
        "loop": f"{kind} makes no loops",
    }
    del off["generate"]
    off |= {
        "keyframes": f"{kind} takes no pictures at times of the video",
        "storyboard": f"{kind} follows one text from beginning to end",
        "schedule": f"{kind} denoises all frames together",
        "sampler": f"{kind} keeps the sampler that it came with",
        "preview": f"{kind} shows nothing before its video is decoded",
        "strength": f"{kind} does not begin from a given video",
    }
    if "image" not in call.arguments:
        off["image"] = f"{kind} makes videos from texts alone, not from a picture"
    if "negative_prompt" not in call.arguments:
        off["negative_prompt"] = f"{kind} takes no negative prompt"
    if "guidance_scale" not in call.arguments:
        off["guidance_scale"] = f"{kind} has no guidance to set"
    if call.named(*RATES) is None:
        off["fps"] = f"{kind} has one speed of its own"
    if call.named(*LENGTHS) is None:
        off |= dict.fromkeys(("seconds", "num_frames"), f"{kind} makes videos of one length only")
    if "num_inference_steps" not in call.arguments:
        off["num_inference_steps"] = f"{kind} takes as many steps as it was made for"
    return off


def read_call(kind: str) -> Call:
    """The `__call__` of one of diffusers' pipelines, from its source.

    Raises:
        CheckpointError: there is none of that name, or not one that makes videos of texts.
    """
    found = _find_class(kind)
    if found is None:
        raise CheckpointError(
            f"the model is a {kind}, which is no pipeline of the diffusers that is installed here"
        )
    module, body = found
    methods = {each.name: each for each in body.body if isinstance(each, ast.FunctionDef)}
    call = methods.get("__call__")
    makes_frames = any(
        isinstance(node, ast.Call) and any(word.arg == "frames" for word in node.keywords)
        for node in ast.walk(module)
    )  # fmt: skip
    if call is None or not makes_frames or "prompt" not in {each.arg for each in call.args.args}:
        raise CheckpointError(
            f"the model is a {kind}, which makes no videos of texts; the studio serves pipelines whose call takes "
            "a prompt and gives frames, such as WanPipeline or LTXPipeline"
        )
    arguments = dict(_arguments(call))
    if "callback_on_step_end" not in arguments:
        raise CheckpointError(f"the model is a {kind}, which tells nobody of its steps; it could not be stopped")
    needed = [name for name, value in arguments.items() if value is _REQUIRED and name not in GIVEN]
    if any(word in kind for word in FROM_VIDEOS) and not needed:
        needed = ["a video"]
    if needed:
        raise CheckpointError(
            f"the model is a {kind}, which needs {' and '.join(needed)}; the studio gives it none"
        )
    return Call(arguments, tuple(_divisors(methods.get("check_inputs"))), dict(_own(methods.get("__init__"))))


def _find_class(kind: str) -> tuple[ast.Module, ast.ClassDef] | None:
    spec = importlib.util.find_spec("diffusers")
    if spec is None or not spec.submodule_search_locations or not kind.isidentifier():
        return None
    for path in sorted(Path(spec.submodule_search_locations[0], "pipelines").rglob("pipeline_*.py")):
        text = path.read_text(encoding="utf-8")
        if f"class {kind}(" in text:
            module = ast.parse(text)
            return module, next(n for n in module.body if isinstance(n, ast.ClassDef) and n.name == kind)
    return None


def _arguments(call: ast.FunctionDef) -> Iterator[tuple[str, Any]]:
    names = [each.arg for each in call.args.args[1:]]
    defaults: list[Any] = [_REQUIRED] * (len(names) - len(call.args.defaults))
    defaults += [each.value if isinstance(each, ast.Constant) else None for each in call.args.defaults]
    yield from zip(names, defaults)
    for argument, default in zip(call.args.kwonlyargs, call.args.kw_defaults):
        yield argument.arg, default.value if isinstance(default, ast.Constant) else None


def _divisors(checks: ast.FunctionDef | None) -> Iterator[int]:
    for node in ast.walk(checks) if checks else ():
        match node:
            case ast.BinOp(ast.Name("height" | "width"), ast.Mod(), ast.Constant(int() as number)):
                yield number


def _own(constructor: ast.FunctionDef | None) -> Iterator[tuple[str, Any]]:
    for node in ast.walk(constructor) if constructor else ():
        match node:
            case ast.Assign([ast.Attribute(attr=name)], ast.Constant(int() as number)) if name.startswith(
                "default_"
            ):
                yield name.removeprefix("default_"), number


def _side(call: Call, transformer: Mapping[str, Any], name: str, spatial: int, multiple: int) -> int:
    """Pixels of its own width or height."""
    if side := call.default(name) or call.own.get(name):
        return side
    sample = transformer.get(f"sample_{name}") or transformer.get("sample_size") or 512 // spatial
    cells = sample if isinstance(sample, int) else sample[name == "width"]
    return max(multiple, cells * spatial // multiple * multiple)


def _needs_image(kind: str, call: Call) -> bool:
    """Whether it makes nothing without a picture; LTX's says so only when it is called."""
    return call.arguments.get("image") is _REQUIRED or (
        "image" in call.arguments and any(word in kind for word in FROM_PICTURES)
    )
