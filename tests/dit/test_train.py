"""The denoiser's loop on a tiny recipe: real clips, a random autoencoder and a random text encoder."""

import json

import pytest
import torch
from accelerate.state import AcceleratorState

from kinema import ContrastiveCaptioner, KinemaPipeline, KinemaTransformer3DModel, trainer
from kinema.conditioner.tokenizer import train_tokenizer
from kinema.configs import load_config
from kinema.dit import flow
from kinema.dit.texts import Span, draw_captions, encode_captions, frame_shares, freeze_unused
from kinema.dit.train import denoising_loss, train
from kinema.pipeline.build import build_pipeline, load_part
from kinema.speedrun import package
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


def test_clips_are_repeated_from_the_same_latents(parts, tmp_path, monkeypatch):
    sizes, steps = [], trainer.training_steps
    monkeypatch.setattr(
        trainer,
        "training_steps",
        lambda run, dataset, *rest: (sizes.append(len(dataset)), steps(run, dataset, *rest))[1],
    )
    own = parts | {"latents": tmp_path / "latents"}
    for number, repeats in enumerate(("{}", "{large: 3}")):  # all of level 0 is large
        changes = "data.difficulty=[0, 0]", "train.dit.steps=1", "sample.prompts=[]", f"data.repeats={repeats}"
        train(recipe(*changes), tmp_path / str(number), **own)
    assert sizes == [12, 36]


def test_fine_tuning_begins_with_the_checkpoints_weights(tmp_path):
    config = recipe("train.dit.steps=1", "train.dit.ema_decay=0", "train.dit.learning_rate=1e-12")
    pipe = build_pipeline(config, seed=3)
    torch.nn.init.normal_(pipe.transformer.proj_out.weight)
    pipe.save_pretrained(tmp_path / "checkpoint")
    final = train(config, tmp_path / "run" / "dit", start=tmp_path / "checkpoint")
    torch.testing.assert_close(weights(final / "transformer"), weights(tmp_path / "checkpoint" / "transformer"))
    assert torch.equal(weights(final / "text_encoder"), weights(tmp_path / "checkpoint" / "text_encoder"))

    texts = config.conditioner  # packaged, it takes what it has not trained from where it began
    tokenizer = train_tokenizer(["a ball"], texts.vocab_size, texts.context_length)
    captioner = ContrastiveCaptioner(**texts.model_dump(), tokenizer=tokenizer)
    captioner.save_pretrained(tmp_path / "checkpoint" / "captioner")
    with pytest.raises(FileNotFoundError, match="kinema train conditioner"):
        package(config, tmp_path / "run", tmp_path / "packaged")
    package(config, tmp_path / "run", tmp_path / "packaged", tmp_path / "checkpoint")
    made = KinemaPipeline.from_pretrained(tmp_path / "packaged")
    torch.testing.assert_close(made.vae.state_dict(), pipe.vae.half().float().state_dict())
    with pytest.raises(TrainingError, match=r"num_layers 2 there, 1 here.*recipe\.yaml"):
        train(recipe("dit.num_layers=1"), tmp_path / "other" / "dit", start=tmp_path / "checkpoint")


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


def test_context_is_shown_as_the_pipeline_encodes_it():
    """The loss changes with the encoded parts under the plans that use them, and under no other."""
    torch.manual_seed(0)
    latents, suffix, stills = (torch.randn(6, 4, 4, 4, 4) for _ in range(3))
    batch = {"latents": latents, "suffix": suffix, "stills": stills, "fps": torch.full((6,), 8.0)}
    batch |= {"sample_seed": torch.arange(6), "parts": [flow.Parts(2, (1, 3))] * 6}
    text, mask, video = torch.zeros(6, 1, 10), torch.ones(6, 1, dtype=torch.bool), flow.BatchKind(False, False)
    seen = []

    def model(hidden_states, timestep, *_, **__):
        seen.append((hidden_states, timestep))
        return (torch.zeros_like(hidden_states),)

    for kind in sorted(load_config("tiny").flow.plans):
        config = load_config("tiny", [f"flow.plans={{{kind}: 1.0}}"])
        denoising_loss(model, batch, text, mask, video, config, stride=4)
        shown, timestep = seen.pop()
        clean = (timestep == 0)[:, None, :, None, None].expand_as(shown)
        frame = torch.arange(4).view(1, 1, 4, 1, 1).expand_as(shown)
        expected = {
            "suffix": suffix,
            "both_ends": torch.where(frame >= 2, suffix, latents),
            "keyframes": torch.where(frame == 0, latents, stills),
        }.get(kind, latents)
        assert torch.equal(shown[clean], expected[clean]), kind
        if kind in ("suffix", "both_ends", "keyframes"):
            assert clean.any() and not torch.equal(shown[clean], latents[clean])


@pytest.mark.parametrize("skipped", [0.01, 0.5, 0.99])
def test_a_window_lacks_the_clips_beginning_and_keeps_its_times(skipped):
    seen = {}

    def model(hidden_states, timestep, *_, frame_times, encoder_attention_mask, **__):
        seen.update(states=hidden_states, times=frame_times, mask=encoder_attention_mask)
        return (torch.zeros_like(hidden_states),)

    batch = {
        "latents": torch.randn(2, 4, 9, 2, 2),
        "fps": torch.tensor([8.0, 6.0]),
        "sample_seed": torch.arange(2),
    }
    mask = torch.rand(2, 9, 3) < 0.5
    kind = flow.BatchKind(False, True, skipped)
    denoising_loss(model, batch, torch.zeros(2, 3, 10), mask, kind, load_config("tiny"), stride=4)
    left = seen["states"].shape[2]
    assert 2 <= left <= 8
    assert torch.equal(seen["mask"], mask[:, -left:])
    assert seen["times"][0, -1] == pytest.approx(30.5 / 8) and seen["times"].shape == (2, left)


def test_dropped_captions_are_empty_prompts():
    config = load_config("tiny", ["flow.caption_dropout=0.5"])
    batch = {"captions": [{"short": "a", "medium": "a", "dense": "a"}] * 200, "sample_seed": torch.arange(200)}
    drawn = [span.text for spans in draw_captions(batch, config) for span in spans]
    assert set(drawn) == {"", "a"} and 70 < drawn.count("") < 130
    assert {spans[0].text for spans in draw_captions(batch, config, dropout=False)} == {"a"}


def test_each_frame_reads_the_text_of_its_span(parts):
    text = load_part(parts["text_encoder"])
    config = load_config("tiny", ["flow.timed_captions=0.5", "flow.caption_dropout=0"])
    halves = [(0.0, 0.5, "a red ball rolls"), (0.5, 1.0, "a red ball rises high")]
    batch = {"captions": [{"short": "all of it"}] * 40, "timed_captions": [halves] * 40}
    batch["sample_seed"] = torch.arange(40)
    told = draw_captions(batch, config)
    assert {len(spans) for spans in told} == {1, 2}
    states, mask = encode_captions(text, text, told, 5, 4)
    assert mask.shape == (40, 5, states.shape[1])
    for number, spans in enumerate(told):
        for frame in range(5):
            read = next(span.text for span in spans if span.start <= frame_shares(5, 4)[frame] < span.end)
            alone, own = encode_captions(text, text, [[Span(0.0, 1.0, read)]], 5, 4)
            torch.testing.assert_close(states[number][mask[number, frame]], alone[0][own[0]])
    assert frame_shares(5, 4).tolist() == [0, 2.5 / 16, 6.5 / 16, 10.5 / 16, 14.5 / 16]


def test_only_weights_behind_the_token_features_learn(parts):
    text = load_part(parts["text_encoder"])
    freeze_unused(text)
    learning = {name for name, parameter in text.named_parameters() if parameter.requires_grad}
    assert any("token_embedding" in name for name in learning)
    assert not any("text_projection" in name for name in learning)
    assert all(parameter.grad is None for parameter in text.parameters())
