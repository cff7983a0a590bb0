"""The whole recipe in one command: every step runs, none runs twice, and the result has learned."""

import json
import subprocess
import sys

import pytest

from kinema.cli import main
from kinema.configs import dump_config, load_config
from kinema.speedrun import speedrun as run_recipe

WEIGHTS = "diffusion_pytorch_model.safetensors"
TINY = ["train.dit.train_text_encoder=true"]


def speedrun(out, *arguments, timeout=1500):
    command = [sys.executable, "-m", "kinema.cli", "speedrun", "--out", str(out), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_the_tiny_recipe_runs_from_nothing_to_a_report_and_nothing_twice(tmp_path):
    out = tmp_path / "run"
    said = speedrun(out, "--preset", "tiny", *TINY, "--minutes", "0.0001")
    assert "paused" in said and not (out / "checkpoint").exists()
    said = speedrun(out, "--preset", "tiny", *TINY)
    assert "done before" not in said
    parts = ("conditioner/final/captioner", "vae/final", "dit/final/transformer")
    for made in (*parts, "checkpoint/model_index.json", "checkpoint/captioner", "eval/report.json", "report.html"):
        assert (out / made).exists(), made
    assert (out / "report.html").read_text().count("data:image/png;base64,") >= 4
    assert load_config(out / "checkpoint" / "recipe.yaml") == load_config("tiny", TINY)
    assert not [path for path in (out / "checkpoint").rglob("*.json") if str(out) in path.read_text()]
    again = speedrun(out, "--preset", "tiny", *TINY)
    assert again.count("done before") == 5


def test_legs_train_the_denoiser_further_each_from_the_one_before(tmp_path):
    out, legs = tmp_path / "run", []
    for name in ("wider", "longer"):
        more = ["vae_loss.decoder_only=true"] if name == "longer" else []
        leg = load_config("tiny", [f"name={name}", "train.dit.steps=2", "data.width=48", *more])
        legs.append(tmp_path / f"{name}.yaml")
        legs[-1].write_text(dump_config(leg))
    few = [f"train.{stage}.steps=2" for stage in ("conditioner", "vae", "dit")]
    given = ["--preset", "tiny", *TINY, *few, f"legs=[{', '.join(map(str, legs))}]"]
    speedrun(out, *given)
    made = [out / "tiny", out / "wider", out]
    weights = [(folder / "checkpoint" / "transformer" / WEIGHTS).read_bytes() for folder in made]
    assert len(set(weights)) == 3 and not (out / "longer" / "checkpoint").exists()
    eyes = [(folder / "checkpoint" / "vae" / WEIGHTS).read_bytes() for folder in made]
    assert eyes[0] == eyes[1] != eyes[2]  # only the last leg trains the decoder, and a denoiser never does
    assert load_config(out / "checkpoint" / "recipe.yaml").name == "longer"
    for leg, before in zip(("wider", "longer"), made):
        origin = json.loads((out / leg / "dit" / "origin.json").read_text())
        assert origin["from"] == str(before / "checkpoint")
    again = speedrun(out, *given)
    assert again.count("done before") == 10
    with pytest.raises(FileExistsError, match="another recipe"):
        run_recipe(load_config(out / "config.yaml"), out, legs=[load_config(legs[0], ["seed=1"])])
    with pytest.raises(ValueError, match="names of their own"):
        run_recipe(load_config("tiny"), tmp_path / "new", legs=[load_config("tiny")])


def test_a_folder_keeps_to_its_recipe(tmp_path):
    (tmp_path / "config.yaml").write_text(dump_config(load_config("tiny")))
    with pytest.raises(FileExistsError, match=r"another recipe \(now: .*seed: 1"):
        run_recipe(load_config("tiny", ["seed=1"]), tmp_path)


def test_packaging_names_what_is_missing_and_removes_nothing_of_others(tmp_path, capsys):
    with pytest.raises(SystemExit, match="kinema train conditioner"):
        main(["package", str(tmp_path), "--out", str(tmp_path / "made")])
    for stage in ("conditioner", "vae", "dit"):
        (tmp_path / "run" / stage / "final").mkdir(parents=True)
    (tmp_path / "run" / "dit" / "config.yaml").write_text(dump_config(load_config("tiny")))
    for place in (tmp_path / "run", tmp_path):
        with pytest.raises(SystemExit, match="something else than a checkpoint"):
            main(["package", str(tmp_path / "run"), "--out", str(place)])
    assert (tmp_path / "run" / "vae" / "final").is_dir()


def test_a_recipe_of_two_minutes_follows_its_prompts(tmp_path):
    """What its clips show, measured from pixels, agrees with the prompts far beyond chance."""
    out = tmp_path / "run"
    speedrun(out, "--preset", "cpu-micro")
    marks = json.loads((out / "eval" / "report.json").read_text())["marks"]["P"]["attributes"]
    for attribute, share in {"colour": 0.1, "floor": 0.5, "time": 0.5}.items():  # of what true clips score
        assert marks[attribute]["share"]["low"] > share, (attribute, marks[attribute])


@pytest.mark.soak
def test_the_nano_recipe_learns_colours(tmp_path):
    """The README's first look: colours are right far more often than by chance."""
    out = tmp_path / "run"
    speedrun(out, "--preset", "cpu-nano", timeout=3600)
    marks = json.loads((out / "eval" / "report.json").read_text())["marks"]["P"]["attributes"]
    assert marks["colour"]["share"]["low"] > 0.4, marks["colour"]
    minutes = sum(json.loads((out / "times.json").read_text()).values()) / 60
    sys.stdout.write(f"cpu-nano took {minutes:.1f} minutes\n{json.dumps(marks, indent=1)}\n")
