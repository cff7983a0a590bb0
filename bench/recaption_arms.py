"""The denoisers of bench/recaption.py: one recipe, one autoencoder, the same clips; only the captions differ."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from recaption_world import ToldClips, corpus

from kinema.configs import Config, load_config
from kinema.dit.train import train
from kinema.pipeline.build import load_part
from kinema.vae.cache import cache_latents

VAE = Path(__file__).parents[1] / "pipeline" / "default" / "vae"  # of the packaged checkpoint; it never saw a text
ARMS = {
    "a": "poor captions",
    "b": "re-captioned",
    "c": "true captions",
    "d": "the true 2 % alone",
}
RECIPE = [
    "data.num_workers=0",
    # Text to video alone: the other tasks of the recipe would only take steps from what is measured.
    "flow={plans: {equal: 1.0}, block_causal: 0.0, image_fraction: 0.0, image_warmup: 0.0}",
    "train.dit.validation_clips=4",
    "train.dit.steps=400",
    "train.dit.validate_every=400",
    "train.dit.checkpoint_every=200",
    "sample.prompts=[]",
]


def arm_config(arm: str, clips: int, known: int, seed: int = 0, overrides: Sequence[str] = ()) -> Config:
    """The denoiser's recipe; the arms differ in the number of their clips alone."""
    count = known if arm == "d" else clips - known
    return load_config("cpu-nano", [*RECIPE, f"data.num_clips={count}", f"seed={seed}", *overrides])


def encode_clips(frames: Path, clips: int, known: int, out: Path, overrides: Sequence[str] = ()) -> None:
    """Encode the known clips and the pool once, into out/known and out/pool, told by their true captions."""
    vae = load_part(VAE).eval()
    for name, arm, first, count in (("known", "d", 0, known), ("pool", "c", known, clips - known)):
        described = corpus(count, first)
        captions = [described.describe(i)["captions"] for i in range(count)]
        told = ToldClips(frames, range(first, first + count), captions)
        config = arm_config(arm, clips, known, overrides=overrides)
        with torch.autocast("cpu", torch.bfloat16):  # as the denoiser's training will ask for them
            cache_latents(vae, told, out / name, data=config.data, batch_size=16, contexts=True)


def retell(latents: Path, captions: Sequence[Mapping[str, str]], out: Path) -> Path:
    """The same encoded clips, told by other captions: a cache that shares the tensors of `latents` on disk."""
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    shutil.copy(latents / "cache.json", partial)
    for path in sorted(latents.glob("latents-*.safetensors")):
        os.link(path, partial / path.name)
    for path in sorted(latents.glob("latents-*.parquet")):
        table = pq.read_table(path)
        texts = [json.dumps(captions[index]) for index in table["index"].to_pylist()]
        place = table.schema.get_field_index("captions")
        pq.write_table(table.set_column(place, "captions", pa.array(texts)), partial / path.name)
    shutil.rmtree(out, ignore_errors=True)
    partial.replace(out)
    return out


def train_arm(config: Config, out: Path, *, latents: Path, text_encoder: Path) -> Path:
    """Train one denoiser; its text encoder begins as the same tower in every arm, and learns along.

    Returns:
        The folder of the finished denoiser and its text encoder.
    """
    if not (out / "final").is_dir():
        train(config, out, vae=VAE, text_encoder=text_encoder, latents=latents)
    return out / "final"
