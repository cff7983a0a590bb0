"""`kinema generate` and `kinema info`, and what the commands that make videos have in common.

kinema generate "a red ball rolls to the left" -o ball.mp4 --seed 7
kinema info ball.mp4 --as-command
"""

import argparse
import gc
import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .provenance import Provenance, read_provenance
from .saving import check_suffix

if TYPE_CHECKING:
    from .pipeline import KinemaPipeline


@contextmanager
def loading() -> Iterator[None]:
    """What makes the start of a command quick; anything that imports torch first runs in it."""
    # Threads that spin while they wait make generation twice as slow on a busy machine. Read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    was = gc.isenabled()
    gc.disable()  # nearly all that imports make stays, and looking for garbage among it took a fifth of their time
    try:
        yield
    finally:
        if was:
            gc.enable()


def generate(args: argparse.Namespace) -> None:
    """Make the videos of a prompt, with given pictures on the way.

    Raises:
        ValueError: settings that do not fit the model, with the nearest that do.
        CheckpointError: a model that cannot be found.
    """
    picture = args.output.suffix.lower() == ".png" and args.seconds is None
    check_output(args, args.frames or (1 if picture else 2))
    if not args.prompt.strip():
        say(args, "the prompt is empty: the model makes whatever comes to it")
    pictures = pictures_of(args)
    pipe = open_pipeline(args)
    settings = {**call_settings(args), **pictures, **length_of(pipe, args), **size_of(pipe, args)}
    make(args, lambda seed: pipe(args.prompt, generator=seed, **settings))


def check_output(args: argparse.Namespace, num_frames: int) -> None:
    """Raise a ValueError for a file that cannot hold so many frames, or for less than one video."""
    check_suffix(args.output, num_frames)
    if args.num < 1:
        raise ValueError(f"--num is {args.num}; it needs at least 1")


def make(args: argparse.Namespace, call: Callable[[int], Any]) -> None:
    """Make the videos one by one, so that each is the same whatever `--num` is; save them and say what they are.

    Args:
        args: of a command that makes videos.
        call: makes the video of a seed.
    """
    first = first_seed(args)
    for number in range(args.num):
        path = args.output
        if args.num > 1:
            path = path.with_name(f"{path.stem}-{number}{path.suffix}")
        output = call(first + number)
        output.save(path, exact=False if args.compatible else None)
        made = output.provenance[0]
        report(args, path, made, made.num_frames)


def first_seed(args: argparse.Namespace) -> int:
    """The seed asked for, or one that is drawn."""
    return random.randrange(2**31) if args.seed is None else args.seed


def report(args: argparse.Namespace, path: Path, made: Provenance, num_frames: int) -> None:
    """Say what was made."""
    if not args.quiet:
        length = (
            f"{num_frames} frames, {round(num_frames / made.frame_rate, 3):g} s" if num_frames > 1 else "1 frame"
        )
        sys.stdout.write(f"{path}: {made.width} × {made.height}, {length}, seed {made.seed}\n")


def say(args: argparse.Namespace, text: str) -> None:
    """Tell the person at the terminal, unless they want quiet."""
    if not args.quiet:
        sys.stderr.write(text + "\n")


def open_pipeline(args: argparse.Namespace) -> "KinemaPipeline":
    """The model that a command asks for, with its LoRA adapters."""
    adapters = [read_adapter(text) for text in args.lora]
    pipe = load(args.model, device=args.device, dtype=args.dtype, quiet=args.quiet)
    load_adapters(pipe, adapters)
    return pipe


@loading()
def load(
    model: str | None = None, *, device: str | None = None, dtype: str | None = None, quiet: bool = False
) -> "KinemaPipeline":
    """A pipeline on a device, ready for a person at a terminal.

    Args:
        model: folder, hub id, or None for the packaged checkpoint.
        device: "cpu", "cuda", "cuda:1", "mps"; None: the best there is.
        dtype: "float32", "bfloat16" or "float16"; None: float32 on a CPU, else bfloat16.
        quiet: show no progress.
    """
    from .checkpoint import find_checkpoint

    if model is None or Path(model).is_dir():
        find_checkpoint(model)  # a wrong folder is told before the slow imports
    import torch
    from diffusers.utils import logging as diffusers_logging

    from .pipeline import KinemaPipeline

    device = device or best_device()
    dtype = dtype or ("float32" if device == "cpu" else "bfloat16")
    diffusers_logging.disable_progress_bar()  # loading is quick; the bar that matters is the steps'
    pipe = KinemaPipeline.from_pretrained(model, dtype=getattr(torch, dtype)).to(device)
    pipe.set_progress_bar_config(disable=quiet or None, desc="denoising", unit="step")
    return pipe


def read_adapter(text: str) -> tuple[str, float]:
    """A LoRA adapter's file, folder or hub id, and its scale: "PATH" or "PATH:0.8".

    Raises:
        ValueError: there is no such file or folder, and it looks like no hub id.
    """
    source, colon, number = text.rpartition(":")
    try:
        source, scale = (source, float(number)) if colon else (text, 1.0)
    except ValueError:  # a colon of the path's own
        source, scale = text, 1.0
    is_hub_id = source.count("/") == 1 and not source.startswith((".", "/", "~")) and not Path(source).suffix
    if not Path(source).expanduser().exists() and not is_hub_id:
        raise ValueError(
            f"--lora {text}: there is no {source}; it needs an adapter's file or folder, such as RUN/dit/final "
            "of kinema train dit --lora, or a hub id"
        )
    return str(Path(source).expanduser()) if Path(source).expanduser().exists() else source, scale


def load_adapters(pipe: "KinemaPipeline", adapters: Sequence[tuple[str, float]]) -> None:
    """Load LoRA adapters into a pipeline, and weigh them."""
    names = [f"lora_{number}" for number in range(len(adapters))]
    for name, (source, _) in zip(names, adapters):
        pipe.load_lora_weights(source, adapter_name=name)
    if names:
        pipe.set_adapters(names, [scale for _, scale in adapters])


def best_device() -> str:
    """ "cuda" or "mps" if there is one, else "cpu"."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def call_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The pipeline's arguments for a command's options; those not given are left to the checkpoint."""
    settings: dict[str, Any] = {
        "negative_prompt": args.negative,
        "num_inference_steps": args.steps,
        "guidance_scale": args.guidance,
        "height": args.height,
        "width": args.width,
        "frame_rate": args.fps,
        "num_frames": getattr(args, "frames", None),
        "fit": getattr(args, "fit", None),
    }
    return {name: value for name, value in settings.items() if value is not None}


def length_of(pipe: "KinemaPipeline", args: argparse.Namespace) -> dict[str, int]:
    """The frames of a video that is made from texts; a PNG holds one.

    A length in seconds becomes the nearest frame count that the model can make, and is said.
    """
    if args.seconds is None:
        picture = args.output.suffix.lower() == ".png" and args.frames is None
        return {"num_frames": 1} if picture else {}
    frame_rate = args.fps or pipe.config["default_frame_rate"]
    frames = pipe.grid.nearest_frames(args.seconds * frame_rate)
    if frames != args.seconds * frame_rate:
        asked = f"{args.seconds:g} s at {frame_rate:g} frames per second"
        say(args, f"{asked}: the nearest this model makes is {frames} frames")
    return {"num_frames": frames}


def size_of(pipe: "KinemaPipeline", args: argparse.Namespace) -> dict[str, int]:
    """Height and width for an aspect: the nearest that the model can make with about its own area, and said."""
    if args.aspect is None:
        return {}
    if args.height is not None or args.width is not None:
        raise ValueError(
            f"--aspect {args.aspect} decides height and width; give it alone, or --height and --width"
        )
    from .grid import aspect_ratio

    area = pipe.config["default_height"] * pipe.config["default_width"]
    height, width = pipe.grid.nearest_size(1 / aspect_ratio(args.aspect), area)
    say(args, f"aspect {args.aspect}: the nearest this model makes at about its own area is {width} × {height}")
    return {"height": height, "width": width}


def pictures_of(args: argparse.Namespace) -> dict[str, Any]:
    """The image and keyframes of a command: a time is a frame, such as 8 or -1, or seconds, such as 1.5s."""
    pictures: dict[str, Any] = {} if args.image is None else {"image": args.image}
    keyframes = {}
    for text in args.keyframe:
        time, equals, picture = text.partition("=")
        if not equals or not picture:
            raise ValueError(
                f"--keyframe {text}: it needs TIME=FILE, such as 8=cat.png, 1.5s=cat.png or -1=cat.png"
            )
        keyframes[read_time(time, f"--keyframe {text}")] = picture
    if keyframes:
        pictures["keyframes"] = keyframes
    check_readable(args.image, *keyframes.values())
    return pictures


def read_time(text: str, option: str) -> float:
    """A frame (int) such as "8" or "-1", or seconds (float) such as "1.5s" or "1.5".

    Raises:
        ValueError: it is neither.
    """
    number = text.strip().removesuffix("s")
    try:
        return int(number) if number == text.strip() and "." not in number else float(number)
    except ValueError:
        raise ValueError(
            f"{option}: {text!r} is no time; it needs a frame, such as 8 or -1 (the last), or seconds: 1.5s"
        ) from None


@loading()
def check_readable(*sources: str | None) -> None:
    """Raise an error for a given file that cannot be opened, before anything slow; URLs are fetched later."""
    from .media import look

    for source in sources:
        if source is not None and "://" not in source:
            look(source, "file")


def info(args: argparse.Namespace) -> None:
    """Print how a file was made, or the command that makes it again."""
    made = read_provenance(args.file)
    if not args.as_command:
        sys.stdout.write(table(made))
        return
    command, doubts = made.as_command(f"{args.file.stem}-again{args.file.suffix}")
    sys.stdout.write(command + "\n")
    for doubt in doubts:
        sys.stderr.write(f"note: {doubt}\n")


def table(made: Provenance) -> str:
    """One line a field; empty ones are left out."""
    values = {name: value for name, value in asdict(made).items() if value not in (None, "", ())}
    if made.model == "default":
        values["model"] = "kinema (the packaged checkpoint)"
    width = max(map(len, values))
    lines = []
    for name, value in values.items():
        text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        lines.append(f"{name:<{width}}  {text}\n")
    return "".join(lines)
