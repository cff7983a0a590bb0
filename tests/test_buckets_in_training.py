"""Clips of two shapes, from a folder of videos and from Diorama: every batch has one shape, in every stage."""

import json

import numpy as np
import pytest
from accelerate.state import AcceleratorState

from kinema.conditioner.train import train as train_conditioner
from kinema.configs import load_config
from kinema.data.source import open_dataset
from kinema.data.video_io import write_video
from kinema.dit.train import train as train_dit
from kinema.trainer import TrainingError
from kinema.vae.cache import LatentDataset
from kinema.vae.train import train as train_vae

SHAPES = {"wide": (9, 16, 32), "square": (5, 16, 16)}


@pytest.fixture(autouse=True)
def fresh_accelerate():
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    draw = np.random.default_rng(0)
    for name, (frames, height, width) in SHAPES.items():
        for number in range(5):
            path = folder / f"{name}-{number}.mp4"
            write_video(path, draw.integers(0, 255, (frames, height, width, 3), dtype=np.uint8), 8.0)
            path.with_suffix(".txt").write_text(f"a {name} clip, number {number}")
    return folder


def recipe(source, *more):
    buckets = json.dumps(list(SHAPES.values()))
    stages = [
        f"train.{stage}.{key}" for stage in ("conditioner", "vae", "dit") for key in ("steps=6", "batch_size=2")
    ]
    own = [f"data.source={source}", f"data.buckets={buckets}", "data.width=32", "data.height=16"]
    return load_config("tiny", [*own, *stages, *more])


def test_every_stage_trains_on_two_shapes(videos, tmp_path):
    config = recipe(videos)
    train_conditioner(config, tmp_path / "conditioner")
    train_vae(config, tmp_path / "vae")
    train_dit(config, tmp_path / "dit")
    stored = LatentDataset(tmp_path / "latents")
    shapes = {tuple(stored[index]["latents"].shape[1:]) for index in range(len(stored))}
    assert shapes == {(3, 2, 4), (2, 2, 2)}
    same = [stored.bucket_of[i] == stored.bucket_of[0] for i in range(len(stored))]
    assert same == [stored[i]["latents"].shape == stored[0]["latents"].shape for i in range(len(stored))]
    for stage in ("conditioner", "vae", "dit"):
        rows = [json.loads(line) for line in (tmp_path / stage / "metrics.jsonl").read_text().splitlines()]
        assert sum("loss" in row for row in rows) == 6


def test_dioramas_own_shapes_are_not_mixed_in_a_batch(tmp_path):
    shapes = [[9, 16, 16], [9, 16, 32], [9, 16, 16], [5, 32, 16]]  # one is drawn twice as often
    own = ["data.num_clips=24", f"data.buckets={json.dumps(shapes)}", "data.num_workers=0"]
    stages = [f"train.{stage}.{key}" for stage in ("conditioner", "vae") for key in ("steps=2", "batch_size=4")]
    config = load_config("tiny", [*own, *stages, "train.vae.log_every=1"])
    clips = open_dataset(config.data, seed=config.seed)
    same = [clips.bucket_of[i] == clips.bucket_of[0] for i in range(24)]
    assert same == [clips.shape(i) == clips.shape(0) for i in range(24)] and len(set(clips.bucket_of)) == 3
    train_vae(config, tmp_path / "vae")
    train_conditioner(config, tmp_path / "conditioner")
    rows = [json.loads(line) for line in (tmp_path / "vae" / "metrics.jsonl").read_text().splitlines()]
    assert sum("loss" in row for row in rows) == 2


def test_a_crop_longer_than_the_shortest_bucket_is_refused(videos, tmp_path):
    with pytest.raises(TrainingError, match="the 5 of the shortest clip"):
        train_vae(recipe(videos, "vae_loss.crop_frames=9"), tmp_path / "vae")
