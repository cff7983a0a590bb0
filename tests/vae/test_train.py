"""The training loop on the real corpus at its smallest: it learns, goes on where it stopped, and finishes."""

import json
import re

import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from kinema import AutoencoderKLKinema, load_config
from kinema.data.source import open_dataset
from kinema.trainer import SECONDS_LEFT, TrainingError, TrainingPaused
from kinema.vae.latents import encode_latents
from kinema.vae.train import collate, draw, latent_statistics, train


@pytest.fixture(autouse=True)
def one_thread_and_fresh_accelerate(monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    AcceleratorState._reset_state(reset_partial_state=True)


def settings(steps: int, *more: str):
    vae = {"steps": steps, "warmup_steps": 2, "log_every": 1, "validate_every": 100, "validation_clips": 2}
    values = [f"train.vae.{key}={value}" for key, value in vae.items()]
    return load_config("tiny", ["data.num_clips=8", *values, "train.vae.learning_rate=0.004", *more])


def metrics(out) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def losses(out) -> list[float]:
    return [row["loss"] for row in metrics(out) if "loss" in row]


def test_training_learns_and_finishes(tmp_path):
    final = train(settings(25), tmp_path)
    seen = losses(tmp_path)
    assert len(seen) == 25 and sum(seen[-5:]) < 0.9 * sum(seen[:5])
    heldout = [row for row in metrics(tmp_path) if "heldout_psnr" in row]
    assert len(heldout) == 1 and {"heldout_ssim", "heldout_image_psnr"} < set(heldout[0])
    with Image.open(tmp_path / "samples" / "step-00000025.png") as sheet:
        assert sheet.width > 8 * 32

    assert final == tmp_path / "final"
    vae = AutoencoderKLKinema.from_pretrained(final).requires_grad_(False)
    config = settings(25)
    clips = open_dataset(config.data, seed=config.seed, split="train")
    pixels = torch.stack([clips[i]["pixel_values"] for i in range(8)]) / 127.5 - 1
    z = encode_latents(vae, pixels)
    torch.testing.assert_close(z.mean(dim=(0, 2, 3, 4)), torch.zeros(4), rtol=0, atol=1e-3)
    torch.testing.assert_close(z.std(dim=(0, 2, 3, 4)), torch.ones(4), rtol=0, atol=1e-2)


@pytest.mark.parametrize("adversarial", [0.0, 0.1])
def test_a_paused_run_goes_on_as_if_never_paused(tmp_path, monkeypatch, adversarial):
    config = settings(4, f"vae_loss.adversarial={adversarial}", "vae_loss.adversarial_start=1")
    train(config, tmp_path / "whole")
    AcceleratorState._reset_state(reset_partial_state=True)

    monkeypatch.setenv(SECONDS_LEFT, "0")
    for step in (1, 2):
        with pytest.raises(TrainingPaused, match=f"paused after {step} of 4 steps"):
            train(config, tmp_path / "paused")
        AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.delenv(SECONDS_LEFT)
    train(config, tmp_path / "paused")

    assert losses(tmp_path / "paused") == losses(tmp_path / "whole")
    mine, theirs = (AutoencoderKLKinema.from_pretrained(tmp_path / name / "final") for name in ("paused", "whole"))
    assert mine.config["latents_std"] == theirs.config["latents_std"]
    assert mine.config["latent_rgb_weights"] == theirs.config["latent_rgb_weights"] is not None
    for (name, a), b in zip(mine.state_dict().items(), theirs.state_dict().values()):
        assert torch.equal(a, b), name


def test_the_discriminator_joins_at_its_step(tmp_path):
    train(settings(3, "vae_loss.adversarial=0.1", "vae_loss.adversarial_start=2"), tmp_path)
    rows = [row for row in metrics(tmp_path) if "loss" in row]
    assert ["critic" in row for row in rows] == [False, False, True]


def test_bf16_gradient_checkpointing_accumulation_and_crops(tmp_path):
    more = ["mixed_precision=bf16", "gradient_checkpointing=true", "gradient_accumulation_steps=2"]
    final = train(settings(2, "vae_loss.crop_frames=5", *(f"train.vae.{m}" for m in more)), tmp_path)
    assert len(losses(tmp_path)) == 2
    assert AutoencoderKLKinema.from_pretrained(final).dtype == torch.float32


def test_a_decoder_trains_alone_and_its_latents_stay(tmp_path):
    first = train(settings(2), tmp_path / "run" / "vae")
    first.rename(tmp_path / "run" / "vae" / "moved")
    start = tmp_path / "checkpoint"
    start.mkdir()
    (tmp_path / "run" / "vae" / "moved").rename(start / "vae")
    AcceleratorState._reset_state(reset_partial_state=True)
    alone = settings(3, "vae_loss.decoder_only=true", "seed=5", "train.vae.optimizer=muon")
    with pytest.raises(TrainingError, match=r"none is given; name its checkpoint with --from"):
        train(alone, tmp_path / "alone")
    assert not (tmp_path / "alone").exists()

    final = train(alone, tmp_path / "alone", start=start)
    before, after = (AutoencoderKLKinema.from_pretrained(folder) for folder in (start / "vae", final))
    assert dict(before.config) | {"_name_or_path": ""} == dict(after.config) | {"_name_or_path": ""}
    for (name, a), b in zip(before.state_dict().items(), after.state_dict().values()):
        assert torch.equal(a, b) == name.startswith("encoder."), name


@pytest.mark.parametrize("crop", [4, 13])
def test_a_crop_that_does_not_fit_is_refused_before_any_work(tmp_path, crop):
    message = re.escape(
        f"crop_frames is {crop}; it needs 1 + k * 4 frames (vae.temporal_stride), "
        "at most the 9 of the shortest clip"
    )
    with pytest.raises(TrainingError, match=message):
        train(settings(2, f"vae_loss.crop_frames={crop}"), tmp_path)
    assert not any(tmp_path.iterdir())


def counted_batch(count: int = 3, frames: int = 9) -> dict:
    """Clips whose every pixel holds its frame's number."""
    clip = torch.arange(frames, dtype=torch.uint8).view(1, frames, 1, 1).expand(3, frames, 8, 8)
    batch = collate([{"pixel_values": clip}] * count)
    return batch | {"sample_seed": torch.arange(count) + 7}


def test_draws_belong_to_the_sample_and_not_to_its_batch():
    model = AutoencoderKLKinema(4, 2, (8, 12), 1, 4)
    batch = counted_batch()
    for frames, images in ((5, False), (9, False), (5, True)):
        pixels, noise = draw(batch, model, frames, images)
        alone = draw({key: value[1:2] for key, value in batch.items()}, model, frames, images)
        per_clip = len(pixels) // 3
        assert torch.equal(pixels[per_clip : 2 * per_clip], alone[0])
        assert torch.equal(noise[per_clip : 2 * per_clip], alone[1])
        assert noise.shape == (len(pixels), 4, *model.encode(pixels).latent_dist.mean.shape[2:])


def test_crops_are_runs_of_frames_and_images_are_single_ones():
    model = AutoencoderKLKinema(4, 2, (8, 12), 1, 4)
    crops, _ = draw(counted_batch(32), model, 5, False)
    numbers = ((crops[:, 0, :, 0, 0] + 1) * 127.5).round().long()
    assert (numbers.diff(dim=1) == 1).all() and set(numbers[:, 0].tolist()) == {0, 1, 2, 3, 4}
    images, _ = draw(counted_batch(32), model, 5, True)
    assert images.shape[2] == 1
    assert len(((images[:, 0, 0, 0, 0] + 1) * 127.5).round().unique()) == 9


def test_latent_statistics_are_those_of_all_positions():
    torch.manual_seed(0)
    model = AutoencoderKLKinema(4, 2, (8, 12), 1, 4)
    items = [{"pixel_values": torch.randint(256, (3, t, 8, 8), dtype=torch.uint8)} for t in (1, 5, 9)]
    mean, std = latent_statistics(model, items, "cpu")
    with torch.no_grad():
        z = [
            model.encode(i["pixel_values"][None] / 127.5 - 1).latent_dist.mode().transpose(0, 1).flatten(1)
            for i in items
        ]
    z = torch.cat(z, dim=1)
    torch.testing.assert_close(torch.tensor(mean), z.mean(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.tensor(std), z.std(1, correction=0), rtol=1e-4, atol=1e-5)
