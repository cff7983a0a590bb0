"""The packaged checkpoint: small, whole, described, and good enough for the README's first command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kinema import ContrastiveCaptioner, KinemaPipeline
from kinema.configs import load_config
from kinema.data.video_io import probe
from kinema.eval.command import evaluate
from kinema.pipeline.checkpoint import DEFAULT_FOLDER, default_checkpoint
from kinema.pipeline.provenance import read_provenance

ROOT = Path(__file__).parents[2]
FLOOR = json.loads((ROOT / "eval" / "floor.json").read_text())  # raised by bench/report_card.py
PROMPT = "a red car drives to the left on snow at night"


def test_it_is_small_and_in_files_of_at_most_15_megabytes():
    sizes = [path.stat().st_size for path in default_checkpoint().rglob("*") if path.is_file()]
    assert sum(sizes) <= 40e6 and max(sizes) <= 15e6


def test_it_makes_what_its_recipe_says():
    """So that packaging the same run again leaves nothing to be set by hand."""
    config, index = (
        load_config(DEFAULT_FOLDER / "recipe.yaml"),
        json.loads((DEFAULT_FOLDER / "model_index.json").read_text()),
    )
    own, data = config.sample, config.data
    wanted = {
        "num_inference_steps": own.num_inference_steps, "guidance_scale": own.guidance_scale,
        "guidance": own.guidance, "guidance_lowest": own.guidance_interval[0],
        "guidance_highest": own.guidance_interval[1],
        "stream_window": own.stream_window, "context_noise": own.context_noise,
        "height": data.height, "width": data.width, "num_frames": data.num_frames, "frame_rate": data.fps,
    }  # fmt: skip
    assert {name: index[f"default_{name}"] for name in wanted} == wanted
    scheduler = json.loads((DEFAULT_FOLDER / "scheduler" / "scheduler_config.json").read_text())
    assert scheduler["shift"] == config.flow.shift


def test_it_names_no_folder_of_those_who_trained_it():
    for path in DEFAULT_FOLDER.rglob("*.json"):
        assert "_name_or_path" not in path.read_text(), path


def test_its_card_says_what_it_is_trained_on_how_good_it_is_and_what_it_cannot_do():
    card = (DEFAULT_FOLDER / "README.md").read_text()
    assert card.startswith("---\n") and "license: apache-2.0" in card
    for part in ("## Trained on", "## Report card", "## What it cannot do"):
        assert part in card
    assert (DEFAULT_FOLDER / "recipe.yaml").is_file()


def test_the_first_command_of_the_readme(tmp_path):
    assert PROMPT in (DEFAULT_FOLDER / "README.md").read_text(encoding="utf-8")
    command = [sys.executable, "-m", "kinema.cli", "generate", PROMPT, "-o", "car.mp4", "--seed", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    info = probe(tmp_path / "car.mp4")
    assert (info.frames, info.width, info.height) == (17, 64, 64)
    assert read_provenance(tmp_path / "car.mp4").model == "default"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    pipe = KinemaPipeline.from_pretrained()
    out = tmp_path_factory.mktemp("exam")
    return evaluate(pipe, "quick", out=out, measures=False, workers=0, progress=False)


@pytest.mark.parametrize("name", FLOOR["shares"])
def test_its_quick_exam_does_not_fall_below_the_floor(report, name):
    """What the committed floor holds: a little below what was measured when the checkpoint was packaged."""
    assert report["list"] == FLOOR["list"]
    tier = report["marks"]["P"]
    mark = tier["mean"] if name == "mean" else tier["attributes"][name]
    assert mark["share"]["value"] >= FLOOR["shares"][name], json.dumps(mark)


def test_the_floor_is_worth_something():
    assert {"mean", "object", "colour"} <= set(FLOOR["shares"]) and min(FLOOR["shares"].values()) >= 0.5


def test_the_report_card_is_of_these_weights(report):
    """After another checkpoint is packaged, `python bench/report_card.py` renews the card and what quotes it."""
    assert f"`{report['settings']['fingerprint']}`" in (ROOT / "docs" / "report-card.md").read_text()
    assert (ROOT / "docs" / "report-card.webp").stat().st_size <= 300_000


def test_its_captioner_loads_and_writes():
    captioner = ContrastiveCaptioner.from_pretrained(DEFAULT_FOLDER / "captioner")
    frames = torch.zeros(1, 3, 5, 64, 64, dtype=torch.uint8)
    assert all(captioner.caption(frames, 2.0, level)[0] for level in ("short", "medium", "dense", "facts"))
