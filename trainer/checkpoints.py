"""Checkpoints that are whole or absent, and going on from them."""

import json
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import accelerate
import torch
from accelerate import PartialState
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from ..configs import dump_config
from .errors import TrainingError
from .run import Run, check_finite, latest_checkpoint, write_text


def checkpoint(run: Run, step: int, ema: EMAModel | None = None) -> None:
    """Write everything needed to go on after this step; a kill at any moment leaves the last good one.

    Raises:
        TrainingError: the disk is full or cannot be written, or the last step gave numbers that are not finite;
            earlier checkpoints are untouched.
    """
    check_finite(run, step)
    finished = run.directory / "checkpoints" / f"step-{step + 1:08d}"
    partial = finished.with_suffix(".partial")
    accelerator = run.accelerator
    try:
        if run.is_main and partial.exists():
            shutil.rmtree(partial)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(partial))
        accelerator.wait_for_everyone()  # other ranks still write their random states
        if run.is_main:
            if ema:
                save_file(
                    {f"{i:05d}": p.detach().cpu().contiguous() for i, p in enumerate(ema.shadow_params)},
                    partial / "ema.safetensors",
                    metadata={"optimization_step": str(ema.optimization_step)},
                )
            write_text(partial / "environment.json", json.dumps(environment(), indent=2))
            write_text(partial / "config.yaml", dump_config(run.config))
            _sync(partial)
            if finished.exists():
                shutil.rmtree(finished)
            partial.replace(finished)
            kept = sorted(p for p in finished.parent.glob("step-*") if p.suffix != ".partial")
            for old in kept[: -run.train.keep_checkpoints]:
                shutil.rmtree(old)
    except (OSError, SafetensorError, RuntimeError) as error:  # torch.save tells of a full disk by the last
        raise TrainingError(
            f"could not write {finished}: {error}. Earlier checkpoints are untouched; free some space and repeat "
            "the same command to go on from the last one."
        ) from error
    accelerator.wait_for_everyone()


def resume(run: Run, ema: EMAModel | None = None) -> int:
    """Load the newest checkpoint into everything prepared, and return the first step still to do (or 0)."""
    found = latest_checkpoint(run.directory)
    if found is None:
        _cut_metrics(run, 0)
        return 0
    run.accelerator.load_state(str(found))
    if ema:
        with_step = load_file(found / "ema.safetensors")
        for shadow, name in zip(ema.shadow_params, sorted(with_step), strict=True):
            shadow.data.copy_(with_step[name])
        with safe_open(found / "ema.safetensors", "pt") as file:
            ema.optimization_step = int(file.metadata()["optimization_step"])
    there, here = json.loads((found / "environment.json").read_text()), environment()
    changed = [f"{key} was {there.get(key)}, is {here[key]}" for key in here if there.get(key) != here[key]]
    first = int(found.name.removeprefix("step-"))
    run.accelerator.print(f"going on from {found.name}" + (f" ({'; '.join(changed)})" if changed else ""))
    _cut_metrics(run, first)
    return first


def _cut_metrics(run: Run, first: int) -> None:
    """Drop logged lines of steps that will be done again."""
    path = run.directory / "metrics.jsonl"
    if run.is_main and path.exists():
        whole = [line for line in path.read_text().splitlines() if line.endswith("}")]  # a kill may cut the last
        kept = [line for line in whole if json.loads(line)["step"] < first]
        write_text(path, "".join(line + "\n" for line in kept))
    run.accelerator.wait_for_everyone()


def environment() -> dict[str, Any]:
    """What bitwise repetition depends on: versions, machine and thread count."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {
        "torch": torch.__version__,
        "accelerate": accelerate.__version__,
        "python": platform.python_version(),
        "device": device,
        "threads": torch.get_num_threads(),
        "processes": PartialState().num_processes,
    }


def _sync(directory: Path) -> None:
    """Flush files and their folder to disk, so that the rename that follows never outruns them."""
    for path in (*directory.rglob("*"), directory):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
