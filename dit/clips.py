"""Encoded clips for training the denoiser: opened, kept in memory, put into batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from .. import trainer
from ..configs import Config
from ..configs.schema import DataConfig
from ..data.pixels import to_pixels
from ..vae.cache import LatentCacheError, LatentDataset, cache_latents
from ..vae.context import encode_contexts
from ..vae.latents import encode_latents
from . import flow

IN_MEMORY_BYTES = 2**30  # latents up to this size are read once; larger caches are read clip by clip
NOISE_PER_CLIP = 4  # noise plans per held-out clip, so that the loss does not hang on a few draws
LATENTS = ("latents", "suffix", "stills")


def open_latents(run: trainer.Run, clips: Any, vae: Any, folder: Path, data: DataConfig | None = None) -> Dataset:
    """The clips of `data` (the run's, if None) as latents, encoded into `folder` unless they are there already."""
    data = data or run.config.data
    try:
        with run.accelerator.autocast():
            whole = cache_latents(
                vae,
                clips,
                folder,
                data=data,
                num_workers=data.num_workers,
                stop=lambda: trainer.time_is_up(run),
                contexts=True,
            )
        if not whole:
            raise trainer.TrainingPaused(f"paused while encoding clips into {folder}; the same command goes on")
        stored = LatentDataset(folder, vae=vae, data=data, clips=clips)
    except LatentCacheError as error:
        raise trainer.TrainingError(str(error)) from error
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return InMemory(stored) if size <= IN_MEMORY_BYTES else stored


class InMemory(Dataset):
    """All items of a dataset of latents, read once; latents stay in half precision until they are used."""

    def __init__(self, dataset: LatentDataset) -> None:
        self.items = [dataset[index] for index in range(len(dataset))]
        self.bucket_of = dataset.bucket_of
        for item in self.items:
            item.update({name: item[name].half() for name in LATENTS if name in item})

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.items[index]
        return item | {name: item[name].float() for name in LATENTS if name in item}


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Latent items as a batch.

    "latents" and, for clips of several frames, "suffix" and "stills" (B, C, F, h, w); "fps" (B,); "ids",
    "captions", "timed_captions" and "parts" (`flow.Parts`), lists of B.
    """
    batch: dict[str, Any] = {
        name: torch.stack([item[name] for item in items]) for name in LATENTS if name in items[0]
    }
    if "suffix" in batch:
        batch["parts"] = [flow.Parts(item["suffix_start"], tuple(item["still_frames"])) for item in items]
    return batch | {
        "ids": [item["id"] for item in items],
        "fps": torch.tensor([item["fps"] for item in items]),
        "captions": [item["captions"] for item in items],
        "timed_captions": [item["timed_captions"] for item in items],
    }


@torch.no_grad()
def heldout_batches(config: Config, clips: Any, vae: Any) -> list[dict[str, Any]]:
    """The fixed clips and seeds of the held-out loss, one batch per clip and noise draw."""
    batches = []
    for index in range(min(config.train.dit.validation_clips, len(clips))):
        item = clips[index]
        pixels = to_pixels(item["pixel_values"][None]).to(vae.device)
        latents = encode_latents(vae, pixels)
        made = {name: item[name] for name in ("id", "captions")} | {
            "latents": latents[0],
            "fps": float(item["fps"]),
        }
        made["timed_captions"] = item.get("timed_captions", [])
        if context := encode_contexts(vae, pixels[0], latents[0], index):
            made |= {"suffix": context.suffix, "suffix_start": context.suffix_start}
            made |= {"stills": context.stills, "still_frames": context.still_frames}
        seeds = [trainer.sample_seed(config.seed, -3, index * NOISE_PER_CLIP + i) for i in range(NOISE_PER_CLIP)]
        batches.append(collate([made] * NOISE_PER_CLIP) | {"sample_seed": torch.tensor(seeds)})
    return batches
