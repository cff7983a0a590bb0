"""What is measured of single clips, in one pass over them.

groups = gather(clips, {prompt.id: prompt for prompt in prompts}, features, side=64)
groups["c017"][0].sharpness
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from . import physics, quality
from .judge.reading import Reading
from .questions import ExamPrompt
from .store import Clip

Key = tuple[str, int]  # prompt id, seed
Features = Callable[[Sequence[Clip]], np.ndarray]  # clips to (N, D)
BATCH = 16  # clips whose features are taken together


@dataclass
class Facts:
    """What is measured of one clip."""

    sharpness: float
    flicker: float | None  # None: fewer than 3 frames
    hiding: physics.Hiding | None = None  # None where the prompt does not ask for it
    bouncing: physics.Bouncing | None = None  # or where nothing bounces
    falling: physics.Falling | None = None
    features: np.ndarray = field(default_factory=lambda: np.zeros(0))


Groups = dict[str, list[Facts]]  # prompt id to its clips, by seed


def gather(
    clips: Mapping[Key, tuple[Clip, Reading]],
    listed: Mapping[str, ExamPrompt],
    features: Features | None,
    side: int,
    bar: tqdm,
) -> Groups:
    """The facts of every clip, by prompt; `side` is the pictures' shorter side in pixels, `bar` counts clips.

    Raises:
        ValueError: features of another shape than (clips, D).
    """
    groups: Groups = defaultdict(list)
    waiting: list[tuple[Facts, Clip]] = []

    def take_features() -> None:
        if features is None or not waiting:
            return
        rows = np.asarray(features([clip for _, clip in waiting]))
        if rows.ndim != 2 or len(rows) != len(waiting):
            raise ValueError(f"features of {len(waiting)} clips are {rows.shape}; they need to be (clips, D)")
        for (facts, _), row in zip(waiting, rows):
            facts.features = row
        waiting.clear()

    for key in sorted(clips):
        clip, reading = clips[key]
        facts = _clip_facts(clip, reading, listed[key[0]], side)
        groups[key[0]].append(facts)
        if features is not None:
            waiting.append((facts, clip))
        if len(waiting) == BATCH:
            take_features()
        bar.update()
    take_features()
    return dict(groups)


def _clip_facts(clip: Clip, reading: Reading, prompt: ExamPrompt, side: int) -> Facts:
    frames = quality.resized(clip.frames, side)
    facts = Facts(quality.sharpness(frames), quality.flicker(frames) if len(frames) > 2 else None)
    thing = physics.subject(reading, prompt)
    if physics.asks_hiding(prompt):
        facts.hiding = physics.hiding(reading, prompt)
    if thing is not None and physics.asks_bouncing(prompt):
        facts.bouncing = physics.bouncing(thing)
    if thing is not None and physics.asks_falling(prompt):
        seconds = (len(clip.frames) - 1) / clip.fps  # the judge may read fewer frames of the same stretch
        facts.falling = physics.falling(thing, seconds / max(len(thing.area) - 1, 1))
    return facts
