"""The captioner of bench/recaption.py: learned from all the poor captions, then from the few true ones."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from recaption_world import SHAPE, AltText, ToldClips, alt_text, corpus
from tqdm import tqdm

from kinema import ContrastiveCaptioner
from kinema.conditioner.attributes import read_facts
from kinema.conditioner.train import train
from kinema.configs import load_config
from kinema.data.diorama import Scene, facts
from kinema.data.diorama.draws import Draws
from kinema.data.files import atomic_path

ORIGINAL_SHARE = 0.05  # of the re-captioned clips keep their poor caption (DALL·E 3's blend, Betker et al. 2023)
# How often each truly told clip comes among the poorly told ones: a fifth of what is seen, then a third.
POOR_REPEATS, TRUE_REPEATS = 12, 24
VISION = "convolutional"
PART, BATCH = 512, 128  # clips captioned by one call of a worker, and at once
RECIPE = [
    "data.num_workers=0",
    "conditioner={vocab_size: 640, context_length: 64, width: 128, num_layers: 2, num_decoder_layers: 2,"
    " num_heads: 4, embed_dim: 128, image_size: 48, patch_size: 8, num_frames: 5, vision_width: 128}",
    "train.conditioner.mixed_precision=bf16",
    "train.conditioner.batch_size=32",
    "train.conditioner.validation_clips=64",
]
POOR = ["train.conditioner.steps=900", "train.conditioner.warmup_steps=40", "train.conditioner.ema_decay=0.99",
        "train.conditioner.validate_every=450", "train.conditioner.checkpoint_every=200"]  # fmt: skip
TRUE = ["train.conditioner.steps=450", "train.conditioner.warmup_steps=20", "train.conditioner.ema_decay=0.98",
        "train.conditioner.learning_rate=1.0e-3", "train.conditioner.muon_learning_rate=0.008",
        "train.conditioner.validate_every=150", "train.conditioner.checkpoint_every=150"]  # fmt: skip
ATTRIBUTES = {"object": "object", "colour": "colour", "motion": "motion", "direction": "direction",
              "floor": "floor", "time": "time_of_day"}  # fmt: skip


def poor_captions(clips: int, first: int) -> list[AltText]:
    """The alt-texts of `clips` clips of the corpus from number `first`."""
    scenes = corpus(clips, first)
    return [alt_text(Scene.from_json(scenes.describe(i)["scene"])) for i in range(clips)]


def train_captioner(frames: Path, clips: int, known: int, out: Path, overrides: Sequence[str] = ()) -> Path:
    """Train on the true captions of the first `known` clips and the poor ones of the others, in two steps.

    In the first, poor captions are most of what is seen. In the second a third is true, and all clips are shifted
    and mirrored, the true ones differently each time they come.

    Returns:
        `out`, in which poor/final and true/final hold the captioner, and its text encoder, after either step.
    """
    true = [corpus(known).describe(i)["captions"] for i in range(known)]
    poor = [{"short": each.text} for each in poor_captions(clips - known, known)]
    # The pool's truth only to watch by: nothing is chosen by it within a run.
    watched = measured(frames, known, min(clips - known, 512))
    for name, settings, repeats, vary in (("poor", POOR, POOR_REPEATS, False), ("true", TRUE, TRUE_REPEATS, True)):
        if not (out / name / "final").is_dir():
            numbers = [*[*range(known)] * repeats, *range(known, clips)]
            mixed = ToldClips(frames, numbers, [*true * repeats, *poor], exact=known, vary=vary)
            config = load_config("cpu-nano", [*RECIPE, *settings, *overrides])
            start = out / "poor" / "final" if name == "true" else None
            train(config, out / name, start=start, clips=mixed, heldout=watched, vision=VISION)
    return out


def measured(frames: Path, first: int, count: int) -> ToldClips:
    """Clips from number `first` on with their true captions and scenes, to measure on."""
    described = corpus(count, first)
    captions = [described.describe(i)["captions"] for i in range(count)]
    return ToldClips(frames, range(first, first + count), captions, exact=first + count)


def recaption(captioner: Path, frames: Path, first: int, count: int, out: Path, workers: int = 2) -> list[dict]:
    """What the captioner writes of `count` clips from number `first`, the likeliest word each time.

    Each clip gets one caption, its level drawn with the shares that training draws levels with, but medium for
    short: the captioner learned from the alt-texts to leave out in short captions what they leave out. Parts that
    are written already are not written again.
    """
    parts = [(start, min(PART, count - start)) for start in range(0, count, PART)]
    work = [(captioner, frames, first + start, size, out / f"{start:06d}.json") for start, size in parts]
    with ProcessPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        written = list(tqdm(pool.map(_recaption, work), "re-captioning", total=len(work), unit="part"))
    return [captions for part in written for captions in part]


def _recaption(part: tuple[Path, Path, int, int, Path]) -> list[dict[str, str]]:
    folder, frames, first, count, out = part
    if out.is_file():
        return json.loads(out.read_text())
    model: Any = ContrastiveCaptioner.from_pretrained(folder / "captioner")
    model.eval()
    mix = load_config("cpu-nano").data.caption_mix
    levels = [Draws("recaption level", first + n).weighted(mix) for n in range(count)]
    levels = ["medium" if level == "short" else level for level in levels]
    array, found = np.load(frames, mmap_mode="r"), [{} for _ in range(count)]
    for level in ("medium", "dense"):
        chosen = [n for n in range(count) if levels[n] == level]
        for start in range(0, len(chosen), BATCH):
            some = chosen[start : start + BATCH]
            clips = torch.from_numpy(np.stack([array[first + n] for n in some]))
            with torch.autocast("cpu", torch.bfloat16):
                texts = model.caption(rearrange(clips, "b t h w c -> b c t h w"), SHAPE["fps"], level)
            for n, text in zip(some, texts, strict=True):
                found[n] = {level: text}
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(out) as path:
        path.write_text(json.dumps(found))
    return found


def blend(written: Sequence[Mapping[str, str]], poor: Sequence[AltText], seed: int = 0) -> list[dict[str, str]]:
    """The re-captions, but for 5 % of the clips their poor caption: so the denoiser also sees how people write."""
    blended = []
    for number, (captions, original) in enumerate(zip(written, poor, strict=True)):
        keep = Draws("blend", seed, number).chance(ORIGINAL_SHARE)
        own = {} if keep else {level: text for level, text in captions.items() if text}
        blended.append(own or {"short": original.text})
    return blended


def caption_accuracy(captions: Sequence[str], scenes: Sequence[Scene]) -> dict[str, dict[str, float]]:
    """By attribute: the share of captions that state it, that state it rightly, and that state it wrongly.

    A direction is asked of scenes that have one.
    """
    counts = {name: [0, 0, 0] for name in ATTRIBUTES}
    for caption, scene in zip(captions, scenes, strict=True):
        said, truth = read_facts(caption), facts(scene)
        for name, key in ATTRIBUTES.items():
            if truth[key]:
                counts[name][0] += 1
                counts[name][1] += said[key] == truth[key]
                counts[name][2] += said[key] not in ("", truth[key])
    return {
        name: {"stated": (right + wrong) / max(1, n), "right": right / max(1, n), "wrong": wrong / max(1, n)}
        for name, (n, right, wrong) in counts.items()
    }
