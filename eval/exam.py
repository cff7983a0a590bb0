"""Clips and their prompts in, a report out: words measured, attributes scored.

    report = evaluate_clips(clips, load_prompts())

`kinema eval` and the speedrun do this with a checkpoint's clips; any other system's clips can sit it too.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from .pixels import MOST_FRAMES, measure, working_size
from .prompts import ExamPrompt, true_scenes
from .score import summarise

ATTRIBUTES = ("object", "colour", "moving", "direction", "time", "floor")


def evaluate_clips(
    clips: Sequence[np.ndarray],
    prompts: Sequence[ExamPrompt],
    *,
    fps: float = 8.0,
    truth: Sequence[np.ndarray] | Literal["diorama"] | None = "diorama",
    settings: dict[str, Any] | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure clips, and true clips beside them, and score what the prompts asked.

    Args:
        clips: uint8 (T, H, W, 3), one per prompt; shapes may differ.
        prompts: what was asked, in the same order.
        fps: frames per second of the clips; the true clips last as long.
        truth: true clips in the same order; "diorama" renders them; None leaves out ceiling and share.
        settings: how the clips were made, copied into the report.
        progress: show a bar.

    Returns:
        What report.json holds: "settings"; "attributes", name to {n, score, chance, ceiling, share}, each mark
        {value, low, high} or null; "prompts", one entry each with what was asked and measured.

    Raises:
        ValueError: other numbers of clips and prompts, or a clip that cannot be measured.
    """
    if len(clips) != len(prompts) or len(prompts) < 2:
        raise ValueError(
            f"there are {len(clips)} clips of {len(prompts)} prompts; it needs one clip a prompt, at least 2"
        )
    if isinstance(truth, str):
        truth = true_clips(prompts, clips, fps, progress=progress)
    every = [*clips, *(truth or ())]
    found = [measure(clip) for clip in tqdm(every, "measuring", unit="clip", disable=not progress, leave=False)]
    measured, true = found[: len(clips)], found[len(clips) :]

    attributes = {}
    for name in ATTRIBUTES:
        asking = [number for number, prompt in enumerate(prompts) if name in prompt.asked]
        if len(asking) < 2:
            continue
        result = summarise(
            [prompts[number].asked[name] for number in asking],
            [measured[number].words[name] for number in asking],
            [true[number].words[name] for number in asking] if true else None,
        )
        attributes[name] = result.to_dict()
    entries = []
    for number, (prompt, mine) in enumerate(zip(prompts, measured)):
        entry: dict[str, Any] = {"prompt": prompt.text, "asked": prompt.asked, "measured": mine.words}
        if true:
            entry["true"] = true[number].words
        entries.append(entry | {"details": asdict(mine) | {"travel": list(mine.travel)}})
    return {"settings": dict(settings or {}), "attributes": attributes, "prompts": entries}


def true_clips(
    prompts: Sequence[ExamPrompt], like: Sequence[np.ndarray], fps: float, *, progress: bool = False
) -> list[np.ndarray]:
    """Diorama's own clips of the prompts, as long as the clips `like`, at the size at which clips are measured."""
    from ..data.diorama import render

    clips = []
    scenes = true_scenes(prompts)
    pairs = tqdm(zip(scenes, like), "true clips", len(scenes), unit="clip", disable=not progress, leave=False)
    for scene, clip in pairs:
        frames = min(len(clip), MOST_FRAMES)
        height, width = working_size(*clip.shape[1:3])
        rate = fps * (frames - 1) / max(len(clip) - 1, 1)
        made = render(scene, height=height, width=width, num_frames=frames, fps=rate, supersample=2)
        clips.append(made.frames.numpy())
    return clips
