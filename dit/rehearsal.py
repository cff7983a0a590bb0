"""Clips that a checkpoint learned from, shown again while an adapter learns something new.

Without them everything slowly turns into what the few new clips show: the adapter cannot tell which words the new
look belongs to. (DreamBooth, Ruiz et al. 2023, section 3.2, keeps what is known with pictures of the model's own.)
"""

from pathlib import Path
from typing import Any

from torch.utils.data import ConcatDataset, Dataset

from .. import trainer
from ..configs import load_config
from .clips import open_latents


def rehearse(run: trainer.Run, own: Any, start: Path, vae: Any, folder: Path, count: int) -> Dataset:
    """The new clips and `count` of the checkpoint's, the new ones repeated so that both come about as often.

    Args:
        run: whose configuration has the new clips' shape.
        own: the new clips' latents.
        start: the checkpoint; its recipe.yaml says what it learned from.
        vae: encodes them.
        folder: where their latents are kept.
        count: 0: the new clips alone.
    """
    recipe = start / "recipe.yaml"
    if not count or not recipe.is_file():
        return own
    data = load_config(recipe).data
    if data.source == run.config.data.source:
        return own
    changes = {"num_clips": count, "split": "train", "buckets": (), "fps_choices": (), "num_workers": 0}
    data = data.model_copy(update=changes)
    try:
        clips = trainer.open_data(data, load_config(recipe).seed, "train")
    except trainer.TrainingError as error:
        run.accelerator.print(f"what the checkpoint learned from cannot be shown again: {error}")
        return own
    kept = open_latents(run, clips, vae, folder, data)
    return Mixed([own] * max(1, round(len(kept) / len(own))) + [kept])  # pyright: ignore[reportArgumentType]


class Mixed(ConcatDataset):
    """Datasets of latents one after the other; batches are of one shape."""

    def __init__(self, parts: list[Any]) -> None:
        super().__init__(parts)
        numbers: dict[Any, int] = {}
        shapes = [part[index]["latents"].shape for part in parts for index in range(len(part))]
        self.bucket_of = [numbers.setdefault(shape, len(numbers)) for shape in shapes]
