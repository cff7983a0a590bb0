import json
import os
import shutil
import subprocess
import sys

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from kinema import KinemaPipeline
from kinema.pipeline import checkpoint
from kinema.pipeline.build import assemble_pipeline
from kinema.pipeline.checkpoint import CheckpointError, find_checkpoint

PROMPT = "a red ball rolls to the left"


@pytest.fixture(scope="module")
def saved(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "pipe"
    built.save_pretrained(folder)
    return folder


@pytest.fixture
def damaged(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "pipe")


def test_a_fresh_process_loads_it_and_makes_the_same_frames(built, saved, tmp_path):
    script = (
        "import sys, numpy, kinema\n"
        "pipe = kinema.KinemaPipeline.from_pretrained(sys.argv[1])\n"
        f"numpy.save(sys.argv[2], pipe({PROMPT!r}, generator=3).frames)\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    subprocess.run([sys.executable, "-c", script, saved, tmp_path / "f.npy"], check=True, env=environment)
    assert np.array_equal(np.load(tmp_path / "f.npy"), built(PROMPT, generator=3).frames)


def test_a_checkpoint_knows_its_own_shape(built, saved):
    index = json.loads((saved / "model_index.json").read_text())
    names = {name: value for name, value in index.items() if name.startswith("default_")}
    assert names == {
        "default_height": 32,
        "default_width": 32,
        "default_num_frames": 9,
        "default_frame_rate": 8.0,
        "default_num_inference_steps": 2,
        "default_guidance_scale": 4.0,
        "default_guidance": "cfg",
        "default_guidance_lowest": 0.0,
        "default_guidance_highest": 1.0,
        "default_stream_window": None,
        "default_context_noise": None,
    }
    assert index["vae"] == ["kinema", "AutoencoderKLKinema"]
    loaded = KinemaPipeline.from_pretrained(saved)
    assert {name: loaded.config[name] for name in names} == names
    assert loaded.config["_name_or_path"] == str(saved)


def test_parts_and_precision_can_be_chosen(built, saved):
    loaded = KinemaPipeline.from_pretrained(saved, vae=built.vae, dtype=torch.bfloat16)
    assert loaded.vae is built.vae
    assert loaded.transformer.dtype == torch.bfloat16


def test_parts_of_a_run_are_assembled(built, config, saved):
    chosen = {"stream_window": 2, "context_noise": 0.0, "guidance": "apg", "guidance_interval": (0.25, 0.75)}
    sample = config.sample.model_copy(update=chosen)
    pipe = assemble_pipeline(
        config.model_copy(update={"sample": sample}),
        vae=saved / "vae", text_encoder=saved / "text_encoder", transformer=saved / "transformer",
    )  # fmt: skip
    own = pipe.config
    assert (own.default_stream_window, own.default_context_noise) == (2, 0.0)
    assert (own.default_guidance, own.default_guidance_lowest, own.default_guidance_highest) == ("apg", 0.25, 0.75)
    pipe = assemble_pipeline(
        config, vae=saved / "vae", text_encoder=saved / "text_encoder", transformer=saved / "transformer"
    )
    pipe.set_progress_bar_config(disable=True)
    assert np.array_equal(pipe(PROMPT, generator=1).frames, built(PROMPT, generator=1).frames)
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        assemble_pipeline(config, vae=saved, text_encoder=saved, transformer=saved)


def test_a_hub_id_is_downloaded_first(saved, monkeypatch):
    asked = []

    def download(name, **options):
        asked.append((name, options))
        return str(saved)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    loaded = KinemaPipeline.from_pretrained("someone/something", revision="v2")
    assert asked == [("someone/something", {"revision": "v2"})]
    assert loaded.config["_name_or_path"] == "someone/something"


def test_a_hub_that_cannot_be_reached_is_said(monkeypatch):
    def download(name, **options):
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(CheckpointError, match=r"no folder 'someone/something'.*hub cannot be reached"):
        find_checkpoint("someone/something")


@pytest.mark.parametrize("name", ["nowhere", "/no/such/folder", "./a/b/c", "a b/c"])
def test_a_name_that_is_nothing_is_said(name):
    with pytest.raises(CheckpointError, match="no folder"):
        find_checkpoint(name)


def test_damage_is_named_before_anything_is_loaded(damaged):
    (damaged / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"incomplete: it lacks vae/\*\.safetensors"):
        KinemaPipeline.from_pretrained(damaged)
    find_checkpoint(damaged, given=["vae"])
    (damaged / "model_index.json").write_text('{"_class_name": "WanPipeline"}')
    with pytest.raises(CheckpointError, match="holds a WanPipeline"):
        find_checkpoint(damaged)
    (damaged / "model_index.json").write_text("{")
    with pytest.raises(CheckpointError, match="not JSON"):
        find_checkpoint(damaged)
    (damaged / "model_index.json").unlink()
    with pytest.raises(CheckpointError, match="not a saved pipeline"):
        find_checkpoint(damaged)


def test_a_missing_packaged_checkpoint_comes_with_the_next_step(monkeypatch, tmp_path, saved):
    monkeypatch.setattr(checkpoint, "DEFAULT_FOLDER", tmp_path / "default")
    with pytest.raises(CheckpointError, match=r"packaged checkpoint cannot be used: .* Install Kinema anew"):
        KinemaPipeline.from_pretrained()
    monkeypatch.setattr(checkpoint, "DEFAULT_FOLDER", saved)
    assert KinemaPipeline.from_pretrained().config["_name_or_path"] == "default"
