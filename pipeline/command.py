"""`kinema generate` and `kinema info`.

kinema generate "a red ball rolls to the left" -o ball.mp4 --seed 7
kinema info ball.mp4 --as-command
"""

import argparse
import os
import random
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .provenance import Provenance, read_provenance
from .saving import check_suffix

if TYPE_CHECKING:
    from .pipeline import KinemaPipeline


def generate(args: argparse.Namespace) -> None:
    """Make the videos one by one, so that each is the same whatever `--num` is.

    Raises:
        ValueError: settings that do not fit the model, with the nearest that do.
        CheckpointError: a model that cannot be found.
    """
    picture = args.output.suffix.lower() == ".png"
    check_suffix(args.output, args.frames or (1 if picture and args.seconds is None else 2))
    if args.num < 1:
        raise ValueError(f"--num is {args.num}; it needs at least 1")
    if not args.prompt.strip() and not args.quiet:
        sys.stderr.write("the prompt is empty: the model makes whatever comes to it\n")
    pipe = load(args.model, device=args.device, dtype=args.dtype, quiet=args.quiet)
    settings = call_settings(pipe, args)
    first = random.randrange(2**31) if args.seed is None else args.seed
    for number in range(args.num):
        path = args.output
        if args.num > 1:
            path = path.with_name(f"{path.stem}-{number}{path.suffix}")
        output: Any = pipe(args.prompt, generator=first + number, **settings)
        output.save(path)
        if not args.quiet:
            made = output.provenance[0]
            seconds = made.num_frames / made.frame_rate
            length = f"{made.num_frames} frames, {seconds:.3g} s" if made.num_frames > 1 else "1 frame"
            sys.stdout.write(f"{path}: {made.width} × {made.height}, {length}, seed {made.seed}\n")


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
    # Threads that spin while they wait make generation twice as slow on a busy machine. Read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch
    from diffusers.utils import logging as diffusers_logging

    from .pipeline import KinemaPipeline

    device = device or best_device()
    dtype = dtype or ("float32" if device == "cpu" else "bfloat16")
    diffusers_logging.disable_progress_bar()  # loading is quick; the bar that matters is the steps'
    pipe = KinemaPipeline.from_pretrained(model, dtype=getattr(torch, dtype)).to(device)
    pipe.set_progress_bar_config(disable=quiet or None, desc="denoising", unit="step")
    return pipe


def best_device() -> str:
    """ "cuda" or "mps" if there is one, else "cpu"."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def call_settings(pipe: "KinemaPipeline", args: argparse.Namespace) -> dict[str, Any]:
    """The pipeline's arguments for the command's options; those not given are left to the checkpoint.

    A length in seconds becomes the nearest frame count that the model can make, and is said.
    """
    settings: dict[str, Any] = {
        "negative_prompt": args.negative,
        "num_inference_steps": args.steps,
        "guidance_scale": args.guidance,
        "height": args.height,
        "width": args.width,
        "frame_rate": args.fps,
        "num_frames": args.frames,
    }
    if args.output.suffix.lower() == ".png" and args.frames is None and args.seconds is None:
        settings["num_frames"] = 1
    if args.seconds is not None:
        frame_rate = args.fps or pipe.config["default_frame_rate"]
        settings["num_frames"] = pipe.grid.nearest_frames(args.seconds * frame_rate)
        exact = settings["num_frames"] == args.seconds * frame_rate
        if not exact and not args.quiet:
            sys.stderr.write(
                f"{args.seconds:g} s at {frame_rate:g} frames per second: the nearest this model makes is "
                f"{settings['num_frames']} frames\n"
            )
    return {name: value for name, value in settings.items() if value is not None}


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
    width = max(map(len, values))
    lines = []
    for name, value in values.items():
        text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        lines.append(f"{name:<{width}}  {text}\n")
    return "".join(lines)
