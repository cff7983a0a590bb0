"""`kinema doctor`: what this machine has, and how to mend what is missing."""

import argparse
import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from kinema.pipeline.checkpoint import DEFAULT_FOLDER, REINSTALL, CheckpointError, check_checkpoint

PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "accelerate", "open_clip_torch", "av",
            "safetensors", "gradio")  # fmt: skip


class Finding(NamedTuple):
    """One line of the report; `fix` is empty when nothing is wrong."""

    name: str
    state: str
    fix: str = ""


def command(args: argparse.Namespace) -> None:
    """Print the report; exit with 1 when something that Kinema needs is missing."""
    findings = examine()
    for name, state, fix in findings:
        sys.stdout.write(f"{'✗' if fix else '✓'} {name:<22} {state}\n" + (f"    → {fix}\n" if fix else ""))
    if any(finding.fix for finding in findings):
        raise SystemExit(1)


def examine() -> list[Finding]:
    """Look at the interpreter, the packages, the devices, FFmpeg, memory, disk and the packaged checkpoint."""
    return [
        _python(),
        *(_package(name) for name in PACKAGES),
        *_devices(),
        _ffmpeg(),
        _memory(),
        _disk(),
        checkpoint_state(DEFAULT_FOLDER),
    ]


def _python() -> Finding:
    fix = "" if sys.version_info >= (3, 11) else "install Python 3.11 or newer and make a new environment with it"
    return Finding("python", f"{platform.python_version()} on {platform.platform(terse=True)}", fix)


def _package(name: str) -> Finding:
    try:
        return Finding(name, version(name))
    except PackageNotFoundError:
        return Finding(name, "missing", f"pip install {name}")


def _devices() -> list[Finding]:
    try:
        import torch
        import torchvision  # noqa: F401  a torchvision that does not match torch fails here
    except Exception as error:  # a broken install can fail in any way, and naming it is this command's purpose
        fix = "pip install --upgrade --force-reinstall torch torchvision"
        return [Finding("torch with torchvision", f"does not import: {error}", fix)]
    found = [Finding("cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads")]
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        found.append(Finding(f"cuda:{number}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"))
    if torch.backends.mps.is_available():
        found.append(Finding("mps", "Apple GPU"))
    return found


def _ffmpeg() -> Finding:
    try:
        import av
    except ImportError as error:
        return Finding("ffmpeg", f"PyAV does not import: {error}", "pip install --upgrade --force-reinstall av")
    inside = ".".join(map(str, av.library_versions["libavformat"]))
    encoder = "with" if "libx264" in av.codecs_available else "without"
    outside = shutil.which("ffmpeg") or "not on PATH, and not needed"
    fix = "" if encoder == "with" else "pip install --upgrade --force-reinstall av  (its wheel has H.264)"
    return Finding("ffmpeg", f"inside PyAV: libavformat {inside} {encoder} H.264; program: {outside}", fix)


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    fix = "" if memory.available > 2 * 2**30 else "close other programs: generation wants about 2 GiB"
    return Finding("memory", f"{memory.available / 2**30:.1f} GiB free of {memory.total / 2**30:.1f}", fix)


def _disk() -> Finding:
    usage = shutil.disk_usage(Path.cwd())
    fix = "" if usage.free > 2**30 else "free some space here: videos and runs are written to this folder"
    return Finding("disk (this folder)", f"{usage.free / 2**30:.1f} GiB free", fix)


def checkpoint_state(folder: Path) -> Finding:
    """Whether a checkpoint folder is complete: index, and weights and config of every component."""
    name = "packaged checkpoint"
    try:
        check_checkpoint(folder)
    except CheckpointError as error:
        return Finding(name, str(error), REINSTALL)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Finding(name, f"complete, {size / 1e6:.1f} MB in {folder}")
