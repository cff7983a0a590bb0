"""Some clips of Diorama more often than others in an epoch, by what they show (`data.repeats`).

What is rare in the corpus is learned late: one clip in a hundred shows a medium thing that spins slowly.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, get_args

from torch.utils.data import Dataset

from .. import trainer
from ..data.diorama.scene import ACTIONS, COLOURS, KINDS, SIZES, Scene, Speed

WORDS = {*KINDS, *COLOURS, *SIZES, *ACTIONS, *get_args(Speed)}


class Repeated(Dataset):
    """A dataset whose item i comes `times[i]` times an epoch, each with a seed of its own."""

    def __init__(self, dataset: Any, times: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = [index for index, count in enumerate(times) for _ in range(count)]

    @cached_property
    def bucket_of(self) -> list[int]:
        """For each item, a number that items of the same shape share."""
        buckets = self.dataset.bucket_of
        return [buckets[index] for index in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]


def repeat(dataset: Any, clips: Any, repeats: Mapping[str, int]) -> Any:
    """The dataset with each clip as often as the product of the repeats of all that it shows.

    Args:
        dataset: latents of the clips.
        clips: the same clips of Diorama, whose scenes say what they show.
        repeats: how often, by kind, colour, size, action ("spin", "roll") or speed ("slow"); {}: all once.

    Raises:
        TrainingError: a word that is none of these.
    """
    if not repeats:
        return dataset
    if unknown := sorted(set(repeats) - WORDS):
        raise trainer.TrainingError(
            f"data.repeats names {', '.join(unknown)}, which no clip can show; it needs some of "
            f"{', '.join(sorted(WORDS))}, or {{}}"
        )
    shown = [words(Scene.from_json(clips.describe(index)["scene"])) for index in range(len(clips))]
    return Repeated(dataset, [math.prod(repeats.get(word, 1) for word in each) for each in shown])


def words(scene: Scene) -> set[str]:
    """What the things of a scene are and do."""
    motions = [thing.motion for thing in scene.objects] + [motion for motion in scene.second_motions if motion]
    things = {word for thing in scene.objects for word in (thing.kind, thing.colour, thing.size)}
    return things | {word for motion in motions for word in (motion.action, motion.speed)}
