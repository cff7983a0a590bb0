"""`kinema eval`: how well a checkpoint follows its prompts, measured from pixels.

    kinema eval                                  # the packaged checkpoint, 32 prompts
    kinema eval runs/cpu/checkpoint --out runs/cpu/eval --seed 1

Writes report.html, report.json and sheet.png into --out. Clips are kept in --out/clips, and those of the same
weights and settings are used again, so a stopped run goes on where it was. docs/eval.md explains the marks.
"""

import argparse
import hashlib
import json
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from ..data.files import atomic_path
from .exam import evaluate_clips, true_clips
from .prompts import ExamPrompt, load_prompts
from .report import text_table, write_report

if TYPE_CHECKING:
    from ..pipeline.pipeline import KinemaPipeline


def command(args: argparse.Namespace) -> None:
    """Evaluate a checkpoint and print its table.

    Raises:
        CheckpointError: a checkpoint that cannot be found.
        ValueError: more prompts than there are.
    """
    prompts = load_prompts(count=args.prompts)  # told before the slow loading
    from ..pipeline.command import load

    pipe = load(args.checkpoint, device=args.device, dtype=args.dtype, quiet=True)
    report = evaluate(
        pipe,
        prompts,
        out=args.out,
        seed=args.seed,
        num_inference_steps=args.steps,
        guidance_scale=args.guidance,
        progress=not args.quiet,
    )
    sys.stdout.write(text_table(report) + f"\n{args.out / 'report.html'}\n")


def evaluate(
    pipe: "KinemaPipeline",
    prompts: Sequence[ExamPrompt] | int | None = None,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    batch_size: int = 8,
    progress: bool = True,
) -> dict[str, Any]:
    """Sample the prompts, measure the clips and true clips beside them, and write the report.

    Args:
        pipe: a pipeline; its own size, length and frame rate are used.
        prompts: what to ask; a number takes the first so many of the fixed list, None all 32.
        out: folder for clips and report; None keeps nothing.
        seed: prompt n is sampled from the seed 1000 * seed + n, as `kinema generate --seed` does.
        num_inference_steps: None: the checkpoint's own. So for the next.
        guidance_scale: strength of classifier-free guidance.
        batch_size: clips sampled at once.
        progress: show bars.

    Returns:
        The report, see `evaluate_clips`.
    """
    if prompts is None or isinstance(prompts, int):
        prompts = load_prompts(count=prompts)
    own = pipe.config
    settings: dict[str, Any] = {
        "model": own.get("_name_or_path") or "built in Python",
        "fingerprint": fingerprint_of(pipe),
        "seed": seed,
        "num_inference_steps": num_inference_steps or own["default_num_inference_steps"],
        "guidance_scale": own["default_guidance_scale"] if guidance_scale is None else guidance_scale,
        "guidance": [own["default_guidance"], own["default_guidance_lowest"], own["default_guidance_highest"]],
        "scheduler": [type(pipe.scheduler).__name__, dict(pipe.scheduler.config)],
        "height": own["default_height"],
        "width": own["default_width"],
        "num_frames": own["default_num_frames"],
        "frame_rate": own["default_frame_rate"],
    }
    folder = None if out is None else Path(out) / "clips"
    clips = sample(pipe, prompts, settings, folder=folder, batch_size=batch_size, progress=progress)
    fps = settings["frame_rate"]
    truth = true_clips(prompts, clips, fps, progress=progress)
    report = evaluate_clips(clips, prompts, fps=fps, truth=truth, settings=settings, progress=progress)
    for number, entry in enumerate(report["prompts"]):
        entry["seed"] = clip_seed(seed, number)
    if out is not None:
        write_report(out, report, clips, truth)
    return report


def clip_seed(seed: int, number: int) -> int:
    """The seed of prompt `number`, from 0, in the exam `seed`."""
    return 1000 * seed + number


def sample(
    pipe: "KinemaPipeline",
    prompts: Sequence[ExamPrompt],
    settings: dict[str, Any],
    *,
    folder: Path | None = None,
    batch_size: int = 8,
    progress: bool = True,
) -> list[np.ndarray]:
    """One clip per prompt, uint8 (T, H, W, 3).

    With a folder, every clip is kept there as soon as its batch is done, under a name that tells its prompt, seed,
    weights and settings; a clip found under that name is not made again.
    """
    seeds = [clip_seed(settings["seed"], number) for number in range(len(prompts))]
    paths: list[Path] = []
    if folder is not None and settings["fingerprint"] is not None:
        paths = [folder / f"{_key(prompt, seed, settings)}.npz" for prompt, seed in zip(prompts, seeds)]
    clips: dict[int, np.ndarray] = {}
    for number, path in enumerate(paths):
        clip = _read_clip(path)
        if clip is not None:
            clips[number] = clip
    todo = [number for number in range(len(prompts)) if number not in clips]
    steps_bar = dict(getattr(pipe, "_progress_bar_config", {}))
    pipe.set_progress_bar_config(disable=True)  # one bar, over clips
    try:
        with tqdm(
            total=len(prompts), initial=len(clips), desc="sampling", unit="clip", disable=not progress
        ) as bar:
            for start in range(0, len(todo), batch_size):
                batch = todo[start : start + batch_size]
                made = pipe(
                    [prompts[number].text for number in batch],
                    generator=[seeds[number] for number in batch],
                    num_inference_steps=settings["num_inference_steps"],
                    guidance_scale=settings["guidance_scale"],
                )
                for number, clip in zip(batch, made.videos(), strict=True):  # pyright: ignore[reportAttributeAccessIssue]
                    clips[number] = clip
                    if paths:
                        with atomic_path(paths[number]) as temporary:
                            np.savez_compressed(temporary, frames=clip)
                bar.update(len(batch))
    finally:
        pipe.set_progress_bar_config(**({"disable": None} | steps_bar))
    return [clips[number] for number in range(len(prompts))]


def fingerprint_of(pipe: "KinemaPipeline") -> str | None:
    """A digest of all weights; None if they are not in memory, and then no clip is kept."""
    from ..pipeline.provenance import fingerprint

    return fingerprint([pipe.text_encoder, pipe.transformer, pipe.vae])


def _key(prompt: ExamPrompt, seed: int, settings: dict[str, Any]) -> str:
    """A file name for a clip: the prompt's words, and a digest of all that decides it but the model's place."""
    facts = {name: value for name, value in settings.items() if name not in ("model", "seed")}
    text = json.dumps([prompt.text, seed, facts], sort_keys=True)
    words = "-".join("".join(letter if letter.isalnum() else " " for letter in prompt.text).split()[:8])
    return f"{words}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _read_clip(path: Path) -> np.ndarray | None:
    """The clip kept in a file; None if there is none, or what is there is damaged."""
    try:
        with path.open("rb") as file:  # numpy would leave a damaged file open
            return np.load(file)["frames"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
