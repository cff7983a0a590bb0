"""Adapters of a tiny checkpoint, through PEFT and diffusers' own loaders; every stage begun from a checkpoint."""

import json
import shutil

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors import safe_open
from safetensors.torch import load_file

from kinema import KinemaPipeline
from kinema.cli import main as cli
from kinema.conditioner.captioner import ContrastiveCaptioner
from kinema.conditioner.train import train as train_conditioner
from kinema.configs import dump_config, load_config
from kinema.data.clips import ClipError
from kinema.data.source import open_dataset
from kinema.data.video_io import write_video
from kinema.dit.lora import LoraSettings, read_settings
from kinema.dit.train import train
from kinema.pipeline.build import build_pipeline, load_part
from kinema.pipeline.lora import base_fingerprint
from kinema.pipeline.provenance import read_provenance
from kinema.trainer import TrainingError, TrainingPaused
from kinema.trainer import main as train_main
from kinema.vae.train import train as train_vae

WEIGHTS = "pytorch_lora_weights.safetensors"
WORDS = ["a", "ball", "left", "red", "rolls", "the", "to"]
STEPS = [
    "train.dit.steps=3", "train.dit.batch_size=2", "train.dit.validate_every=3", "train.dit.validation_clips=1",
    "train.dit.warmup_steps=1", "train.dit.log_every=1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def fresh_accelerate():
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def tiny():
    return load_config("tiny", ["data.height=16", "data.width=16", "data.num_clips=4"])


@pytest.fixture(scope="module")
def checkpoint(tiny, tmp_path_factory):
    """A whole tiny checkpoint with a closed vocabulary, whose velocity depends on all that it is given."""
    folder = tmp_path_factory.mktemp("checkpoints") / "one"
    pipe = build_pipeline(tiny)
    generator = torch.Generator().manual_seed(0)
    for parameter in pipe.transformer.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    pipe.text_encoder.register_to_config(vocabulary=WORDS)
    pipe.save_pretrained(folder)
    settings = tiny.conditioner.model_dump()
    captioner = ContrastiveCaptioner(**settings, vocabulary=WORDS, tokenizer=pipe.text_encoder.tokenizer)
    captioner.save_pretrained(folder / "captioner")
    (folder / "recipe.yaml").write_text(dump_config(tiny))
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for number in range(4):
        ramp = np.linspace(0, 255, 9 * 16 * 16 * 3).reshape(9, 16, 16, 3) / (number + 1)
        write_video(folder / f"{number}.mp4", ramp.astype(np.uint8), 8)
        (folder / f"{number}.txt").write_text(f"a red zog rolls to the left {'quickly' * (number == 2)}")
    return folder


@pytest.fixture(scope="module")
def adapter(checkpoint, clips, tmp_path_factory):
    """A run folder with a trained adapter, by the command, with no configuration given."""
    run = tmp_path_factory.mktemp("run")
    AcceleratorState._reset_state(reset_partial_state=True)
    words = [
        "--lora",
        "rank=2,alpha=4,target=cross_attn+ff,rehearse=5",
        "--from",
        str(checkpoint),
        "--out",
        str(run),
    ]
    train_main(
        "dit",
        train,
        [*words, f"data.source={clips}", *STEPS, "train.dit.learning_rate=0.1", "train.dit.ema_decay=0"],
    )
    return run


def recipe(clips, *changes):
    shape = ["data.height=16", "data.width=16", f"data.source={clips}", "sample.prompts=[]"]
    return load_config("tiny", [*shape, *STEPS, "flow.image_warmup=0", *changes])


def metrics(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def weights(folder):
    return torch.cat([parameter.flatten() for parameter in load_part(folder).parameters()])


def make(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe("a red ball rolls", generator=3, output_type="latent").frames


def test_the_file_gives_the_video_of_the_weights_it_describes(adapter, checkpoint, tmp_path):
    file = adapter / "dit" / "final" / WEIGHTS
    pipe = KinemaPipeline.from_pretrained(checkpoint)
    before = make(pipe)
    pipe.load_lora_weights(file.parent)
    after = make(pipe)
    assert (after - before).abs().max() > 1e-3

    changed = KinemaPipeline.from_pretrained(checkpoint)  # W + B·A, by hand
    tensors = load_file(file)
    names = [name.removesuffix(".lora_A.weight") for name in tensors if name.endswith(".lora_A.weight")]
    assert names and all(name.startswith("transformer.") for name in names)
    assert not any(".attn." in name for name in names)
    trained = load_file(max((adapter / "dit" / "checkpoints").iterdir()) / "model.safetensors")
    for name in names:
        own = name.removeprefix("transformer.")
        for part, share in (("lora_A", 1), ("lora_B", 4 / 2)):  # alpha over rank is in the file's B
            torch.testing.assert_close(
                tensors[f"{name}.{part}.weight"], share * trained[f"{own}.{part}.default.weight"]
            )
        layer = changed.transformer.get_submodule(own)
        layer.weight.data += tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"]
    torch.testing.assert_close(make(changed), after, rtol=1e-3, atol=1e-4)

    plain = KinemaPipeline.from_pretrained(checkpoint)  # diffusers' own loader of models
    plain.transformer.load_lora_adapter(str(file))
    assert torch.equal(make(plain), after)

    pipe.unload_lora_weights()
    assert torch.equal(make(pipe), before)


def test_the_file_says_what_it_was_trained_on(adapter, checkpoint, caplog):
    with safe_open(adapter / "dit" / "final" / WEIGHTS, "pt") as file:
        about = json.loads(file.metadata()["lora_adapter_metadata"])
    transformer = load_part(checkpoint / "transformer")
    assert about["transformer.r"] == 2 and about["transformer.lora_alpha"] == 2 and about["kinema.alpha"] == 4
    assert about["kinema.base"] == base_fingerprint(transformer)
    assert base_fingerprint(transformer.to(torch.bfloat16)) == about["kinema.base"]
    assert set(about["kinema.words"]) - {"quickly"} == {"zog"}
    assert "a red zog rolls to the left" in about["kinema.captions"]

    pipe = KinemaPipeline.from_pretrained(checkpoint)
    assert list(pipe.text_encoder.unknown_words("a blue zog")) == ["blue", "zog"]
    pipe.load_lora_weights(adapter / "dit" / "final")
    assert list(pipe.text_encoder.unknown_words("a blue zog")) == ["blue"]
    pipe.unload_lora_weights()
    assert list(pipe.text_encoder.unknown_words("a blue zog")) == ["blue", "zog"]
    assert "other weights" not in caplog.text
    torch.nn.init.normal_(pipe.transformer.proj_out.weight)
    pipe.load_lora_weights(adapter / "dit" / "final")
    assert "other weights" in caplog.text


def test_only_the_adapter_learns_and_only_it_is_kept(adapter, checkpoint):
    run = adapter / "dit"
    newest = max((run / "checkpoints").iterdir())
    with safe_open(newest / "model.safetensors", "pt") as file:
        assert file.keys() and all(".lora_" in name for name in file.keys())  # noqa: SIM118
    assert {path.name for path in (run / "final").iterdir()} == {WEIGHTS}
    assert json.loads((adapter / "latents-rehearsed" / "cache.json").read_text())["num_clips"] == 5
    assert {path.stem for path in (run / "samples").iterdir()} == {"step-00000000", "step-00000003"}
    origin = json.loads((run / "origin.json").read_text())
    assert origin["from"] == str(checkpoint) and origin["lora"] == "rank=2,alpha=4,target=cross_attn+ff,rehearse=5"


def test_resumed_it_repeats_the_uninterrupted_run_and_takes_no_other_beginning(
    checkpoint, clips, tiny, tmp_path, monkeypatch
):
    config, lora = recipe(clips, "train.dit.mixed_precision=bf16"), LoraSettings(rank=2, rehearse=2)
    whole = train(config, tmp_path / "a" / "whole", start=checkpoint, lora=lora)
    monkeypatch.setenv("KINEMA_SECONDS_LEFT", "0")
    halves = tmp_path / "a" / "halves"
    with pytest.raises(TrainingPaused):
        train(config, halves, start=checkpoint, lora=lora)
    monkeypatch.delenv("KINEMA_SECONDS_LEFT")
    assert 0 < len(metrics(halves)) < 3

    other = tmp_path / "other"
    shutil.copytree(checkpoint, other)
    build_pipeline(tiny, seed=5).transformer.save_pretrained(other / "transformer")
    for start, adapter, told in (
        (other, lora, "fingerprint"),
        (checkpoint, LoraSettings(rank=3, rehearse=2), "rank=3"),
    ):
        with pytest.raises(TrainingError, match=rf"began from .*one.*{told}.*same --from"):
            train(config, halves, start=start, lora=adapter)

    moved = tmp_path / "moved"  # where it lies does not matter
    shutil.copytree(checkpoint, moved)
    again = train(config, halves, start=moved, lora=lora)
    assert metrics(whole.parent) == metrics(halves) and len(metrics(halves)) == 3
    first, second = load_file(whole / WEIGHTS), load_file(again / WEIGHTS)
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert any(tensor.any() for name, tensor in first.items() if "lora_B" in name)


def test_generate_takes_adapters_with_their_scale_and_says_so_in_the_file(adapter, checkpoint, tmp_path, capsys):
    file = adapter / "dit" / "final"
    words = ["generate", "a red zog", "--model", str(checkpoint), "--seed", "1", "--quiet", "-o"]
    cli([*words, str(tmp_path / "half.mp4"), "--lora", f"{file}:0.5"])
    cli([*words, str(tmp_path / "none.mp4")])
    assert capsys.readouterr().err.count("zog") <= 1
    made = read_provenance(tmp_path / "half.mp4")
    assert made.lora == (f"{file}:0.5",) and made.by_hand == ()
    assert f"--lora={file}:0.5" in made.as_command("again.mp4")[0]
    assert made.fingerprint != read_provenance(tmp_path / "none.mp4").fingerprint
    with pytest.raises(SystemExit, match=r"--lora nowhere/x\.safetensors.*RUN/dit/final"):
        cli([*words, "x.mp4", "--lora", "nowhere/x.safetensors"])


@pytest.mark.parametrize(("stage", "train_stage", "part", "size"), [
    ("vae", train_vae, "vae", "vae.layers_per_block=2"),
    ("conditioner", train_conditioner, "captioner", "conditioner.width=64"),
])  # fmt: skip
def test_other_stages_begin_with_the_checkpoints_weights(stage, train_stage, part, size, checkpoint, tmp_path):
    shape = ["data.height=16", "data.width=16", "data.num_clips=4", f"train.{stage}.batch_size=2"]
    rates = [f"train.{stage}.{name}" for name in ("steps=1", "ema_decay=0", "learning_rate=1e-12")]
    config = load_config("tiny", [*shape, *rates])
    final = train_stage(config, tmp_path / "run", start=checkpoint)
    final = final / "captioner" if stage == "conditioner" else final
    torch.testing.assert_close(weights(final), weights(checkpoint / part))
    with pytest.raises(TrainingError, match=r"began from .*one.* and this one begins from random weights"):
        train_stage(config, tmp_path / "run")
    with pytest.raises(TrainingError, match=rf"{size.split('.')[1].split('=')[0]} \d+ there, \d+ here"):
        train_stage(load_config("tiny", [*shape, *rates, size]), tmp_path / "other", start=checkpoint)


def test_what_cannot_be_is_said_before_anything_is_trained(checkpoint, tmp_path, capsys):
    for words, told in (
        (["--lora", "rank=2"], "--from default"),
        (["--lora", "rank=x", "--from", str(checkpoint)], "'rank=x'"),
        (["--lora", "target=eyes", "--from", str(checkpoint)], "all, attn, cross_attn, ff"),
        (["--from", str(tmp_path / "nothing")], "nothing"),
    ):
        with pytest.raises(SystemExit):
            train_main("dit", train, [*words, "--out", str(tmp_path / "run")])
        assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert read_settings("").text == "rank=16,alpha=16,target=attn+cross_attn+ff,rehearse=48"


def test_without_a_configuration_the_checkpoints_recipe_is_taken_and_said(checkpoint, tmp_path, capsys):
    seen = []

    def train_nothing(config, out, **options):
        seen.append((config, options))
        return out

    train_main("dit", train_nothing, ["--from", str(checkpoint), "--out", str(tmp_path), "seed=4"])
    (config, options) = seen.pop()
    said = capsys.readouterr().out
    assert said.startswith("# The recipe of") and "learning_rate=" in said.split("\nname:")[0]
    assert options == {"start": checkpoint}
    assert (config.name, config.seed, config.data.height, config.flow.image_warmup) == ("tiny", 4, 16, 0)
    assert config.train.dit.learning_rate == pytest.approx(0.2e-3)


def test_clips_without_captions_are_refused_with_the_way_to_write_them(clips, tmp_path):
    shutil.copy(clips / "0.mp4", tmp_path / "0.mp4")
    with pytest.raises(ClipError, match=r"no caption \(1\); write .*cat\.txt.*kinema caption"):
        open_dataset(load_config("tiny", [f"data.source={tmp_path}"]).data, seed=0)
