"""A pipeline's clips of exam prompts, sampled into a store; what is there already is not made again."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from .questions import ExamPrompt
from .store import Clip, ClipStore

if TYPE_CHECKING:
    from ..pipeline.pipeline import KinemaPipeline

Wanted = tuple[ExamPrompt, int]  # a prompt, and the seed of a clip of it


def exam_settings(
    pipe: "KinemaPipeline", *, num_inference_steps: int | None = None, guidance_scale: float | None = None
) -> dict[str, Any]:
    """What decides a pipeline's clips but prompt and seed; None stands for the checkpoint's own.

    "fingerprint" is of all weights, and None where they are not in memory.
    """
    from ..pipeline.provenance import fingerprint

    own = pipe.config
    return {
        "model": own.get("_name_or_path") or "built in Python",
        "fingerprint": fingerprint([pipe.text_encoder, pipe.transformer, pipe.vae]),
        "num_inference_steps": num_inference_steps or own["default_num_inference_steps"],
        "guidance_scale": own["default_guidance_scale"] if guidance_scale is None else guidance_scale,
        "guidance": [own["default_guidance"], own["default_guidance_lowest"], own["default_guidance_highest"]],
        "scheduler": [type(pipe.scheduler).__name__, dict(pipe.scheduler.config)],
        "height": own["default_height"],
        "width": own["default_width"],
        "num_frames": own["default_num_frames"],
        "frame_rate": own["default_frame_rate"],
    }


def deciding(settings: dict[str, Any]) -> dict[str, Any] | None:
    """The facts of a `ClipStore`: the settings but the model's place; None without a fingerprint."""
    if settings["fingerprint"] is None:
        return None
    return {name: value for name, value in settings.items() if name != "model"}


def sample_clips(
    pipe: "KinemaPipeline",
    wanted: Iterable[Wanted],
    settings: dict[str, Any],
    store: ClipStore,
    *,
    batch_size: int = 8,
    progress: bool = True,
) -> int:
    """Make the clips that the store lacks, each kept as soon as its batch is done; returns how many were made.

    Args:
        pipe: a pipeline; its own size, length and frame rate are used.
        wanted: prompts and seeds.
        settings: of `exam_settings`, for the steps and the guidance.
        store: whose facts are `deciding(settings)`.
        batch_size: clips sampled at once.
        progress: show a bar, over clips.
    """
    wanted = list(wanted)
    todo = [(prompt, seed) for prompt, seed in wanted if store.read(prompt, seed) is None]
    steps_bar = dict(getattr(pipe, "_progress_bar_config", {}))
    pipe.set_progress_bar_config(disable=True)
    try:
        with tqdm(
            total=len(wanted), initial=len(wanted) - len(todo), desc="sampling", unit="clip", disable=not progress
        ) as bar:
            for start in range(0, len(todo), batch_size):
                batch = todo[start : start + batch_size]
                made = pipe(
                    [prompt.text for prompt, _ in batch],
                    generator=[seed for _, seed in batch],
                    num_inference_steps=settings["num_inference_steps"],
                    guidance_scale=settings["guidance_scale"],
                )
                videos: list[np.ndarray] = made.videos()  # pyright: ignore[reportAttributeAccessIssue]
                for (prompt, seed), frames in zip(batch, videos, strict=True):
                    store.write(prompt, seed, Clip(frames, settings["frame_rate"]))
                bar.update(len(batch))
    finally:
        pipe.set_progress_bar_config(**({"disable": None} | steps_bar))
    return len(todo)
