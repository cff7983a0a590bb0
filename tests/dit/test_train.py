"""The denoiser's loop on a tiny recipe: real clips, a random autoencoder and a random text encoder."""

import json

import pytest
import torch
from accelerate.state import AcceleratorState

from kinema import KinemaTransformer3DModel
from kinema.configs import load_config
from kinema.dit import flow
from kinema.dit.train import denoising_loss, draw_captions, freeze_unused, train
from kinema.pipeline.build import build_pipeline, load_part
from kinema.trainer import TrainingError, TrainingPaused

SMALL = ["data.num_clips=12", "data.height=16", "data.width=16", "train.dit.validation_clips=1"]
STEPS = ["train.dit.steps=4", "flow.image_warmup=0.3", "train.dit.validate_every=4"]


def recipe(*changes):
    return load_config("tiny", [*SMALL, *STEPS, *changes])


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """Accelerate keeps one precision per process; every test starts anew."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The folders of an untrained autoencoder and text encoder, and of their latents."""
    folder = tmp_path_factory.mktemp("parts")
    pipe = build_pipeline(recipe())
    pipe.vae.save_pretrained(folder / "vae")
    pipe.text_encoder.save_pretrained(folder / "text")
    return {"vae": folder / "vae", "text_encoder": folder / "text", "latents": folder / "latents"}


def losses(out):
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def weights(folder):
    return torch.cat([p.flatten() for p in load_part(folder).parameters()])


def test_resumed_it_repeats_the_uninterrupted_run_bit_for_bit(parts, tmp_path, monkeypatch):
    learning = ["train.dit.train_text_encoder=true", "train.dit.mixed_precision=bf16", "train.dit.optimizer=muon"]
    config = recipe(*learning)
    whole = train(config, tmp_path / "whole", **parts)
    monkeypatch.setenv("KINEMA_SECONDS_LEFT", "0")  # asked to stop: pauses after its first step, with a checkpoint
    with pytest.raises(TrainingPaused):
        train(config, tmp_path / "halves", **parts)
    monkeypatch.delenv("KINEMA_SECONDS_LEFT")
    assert 0 < len(losses(tmp_path / "halves")) < 4
    halves = train(config, tmp_path / "halves", **parts)

    assert losses(tmp_path / "whole") == losses(tmp_path / "halves") and len(losses(tmp_path / "whole")) == 4
    for part in ("transformer", "text_encoder"):
        assert torch.equal(weights(whole / part), weights(halves / part))
    assert not torch.equal(weights(whole / "text_encoder"), weights(parts["text_encoder"]))
    assert isinstance(load_part(whole / "transformer"), KinemaTransformer3DModel)
    assert load_part(whole / "transformer").config["sample_height"] == 16
    assert list((tmp_path / "whole" / "samples").glob("*.png"))


def test_a_frozen_text_encoder_stays_as_it_was(parts, tmp_path):
    own = parts | {"latents": tmp_path / "latents"}  # the others' are encoded in another precision
    final = train(recipe("train.dit.steps=1", "sample.prompts=[]"), tmp_path / "run", **own)
    assert torch.equal(weights(final / "text_encoder"), weights(parts["text_encoder"]))


def test_missing_parts_are_named_with_the_command_that_makes_them(tmp_path):
    with pytest.raises(TrainingError, match=r"finished vae and .*vae/final.*kinema train vae"):
        train(recipe(), tmp_path / "dit")


def test_loss_of_a_batch_is_the_mean_of_its_clips(make_model):
    model = make_model(in_channels=4).eval()
    config = load_config("tiny")
    batch = {
        "latents": torch.randn(3, 4, 3, 4, 4),
        "fps": torch.tensor([8.0, 8.0, 4.0]),
        "sample_seed": torch.tensor([5, 6, 7]),
    }
    text, mask = torch.randn(3, 2, 10), torch.ones(3, 2, dtype=torch.bool)

    def loss(rows, kind):
        part = {name: value[rows] for name, value in batch.items()}
        return denoising_loss(model, part, text[rows], mask[rows], kind, config, stride=4)

    for kind in (flow.BatchKind(False, False), flow.BatchKind(False, True), flow.BatchKind(True, False)):
        whole = loss(slice(0, 3), kind)
        torch.testing.assert_close(whole, torch.stack([loss(slice(i, i + 1), kind) for i in range(3)]).mean())


def test_dropped_captions_are_empty_prompts():
    config = load_config("tiny", ["flow.caption_dropout=0.5"])
    batch = {"captions": [{"short": "a", "medium": "a", "dense": "a"}] * 200, "sample_seed": torch.arange(200)}
    drawn = draw_captions(batch, config)
    assert set(drawn) == {"", "a"} and 70 < drawn.count("") < 130
    assert set(draw_captions(batch, config, dropout=False)) == {"a"}


def test_only_weights_behind_the_token_features_learn(parts):
    text = load_part(parts["text_encoder"])
    freeze_unused(text)
    learning = {name for name, parameter in text.named_parameters() if parameter.requires_grad}
    assert any("token_embedding" in name for name in learning)
    assert not any("text_projection" in name for name in learning)
    assert all(parameter.grad is None for parameter in text.parameters())
