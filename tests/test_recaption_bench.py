"""bench/recaption.py at toy size: its alt-texts, its arms, and the whole of it from clips to tables."""

import json
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from accelerate.state import AcceleratorState

BENCH = Path(__file__).parents[1] / "bench"
TOY = [
    "conditioner={vocab_size: 400, context_length: 64, width: 32, num_layers: 1, num_decoder_layers: 1,"
    " num_heads: 2, embed_dim: 32, image_size: 48, patch_size: 8, num_frames: 3, vision_width: 32}",
    "dit={num_layers: 1, num_attention_heads: 2, attention_head_dim: 16, patch_size: [1, 2, 2]}",
    *(f"train.{stage}.{name}" for stage in ("conditioner", "dit") for name in ("steps=2", "batch_size=4")),
    *(f"train.{stage}.validate_every=2" for stage in ("conditioner", "dit")),
    "train.conditioner.validation_clips=4",
    "sample.num_inference_steps=2",
]


@pytest.fixture(scope="module")
def bench():
    """The scripts as modules."""
    sys.path.insert(0, str(BENCH))
    names = ("recaption", "recaption_world", "recaption_captioner", "recaption_exam")
    yield tuple(import_module(name) for name in names)
    sys.path.remove(str(BENCH))


def test_alt_texts_are_as_poor_as_they_say(bench):
    _, world, captioner, _ = bench
    from kinema.data.diorama import Scene

    clips = world.corpus(1500)
    scenes = [Scene.from_json(clips.describe(i)["scene"]) for i in range(1500)]
    told = [world.alt_text(scene) for scene in scenes]
    assert told == [world.alt_text(scene) for scene in scenes]
    flaws = Counter(each.flaw for each in told)
    assert 0.26 < 1 - flaws[""] / 1500 < 0.34
    assert 0.3 < flaws["unnamed object"] / (1500 - flaws[""]) < 0.5
    flawless = [(each.text, scene) for each, scene in zip(told, scenes) if not each.flaw]
    found = captioner.caption_accuracy(*zip(*flawless))
    assert all(found[name]["wrong"] == 0 for name in found)
    assert found["object"]["right"] == 1 and 0.4 < found["colour"]["right"] < 0.6
    wrong = [(each.text, scene) for each, scene in zip(told, scenes) if each.flaw == "wrong object"]
    assert captioner.caption_accuracy(*zip(*wrong))["object"]["wrong"] == 1


def test_prompts_name_all_that_they_ask_and_are_new(bench):
    _, world, captioner, exam = bench
    from kinema.data.diorama import Scene

    prompts, scenes = exam.exam_prompts(40), world.corpus(40, seed=world.PROMPT_SEED)
    truths = [Scene.from_json(scenes.describe(i)["scene"]) for i in range(40)]
    found = captioner.caption_accuracy([prompt.text for prompt in prompts], truths)
    assert all(found[name]["right"] == 1 for name in ("object", "colour", "motion", "floor", "time"))
    assert world.PROMPT_SEED != world.CORPUS_SEED
    known = {world.corpus(40).describe(i)["scene"] for i in range(40)}
    assert not known & {truth.to_json() for truth in truths}


def test_differences_leave_out_chance_alone(bench):
    exam = bench[-1]
    rng = np.random.default_rng(1)
    same = rng.integers(0, 2, (3, 200)).astype(float)
    value, low, high = exam.difference(same, same)
    assert value == 0 and low < 0 < high
    better = np.maximum(same, rng.random((3, 200)) < 0.5)
    better[:, 7] = same[:, 7] = np.nan  # one that is not asked
    value, low, high = exam.difference(same, better)
    assert 0.15 < low < value < high < 0.35


@pytest.fixture
def own_accelerator():
    """The bench trains in another precision than the tests before and after it."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_whole_bench_runs_and_goes_on(bench, own_accelerator, tmp_path, monkeypatch):
    recaption = bench[0]
    command = ["--out", str(tmp_path / "run"), "--clips", "60", "--prompts", "3", "--seeds", "1", "--jobs", "1"]
    command += ["--arms", "b", "d"]
    recaption.main([*command, "--set", *TOY])
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert set(result["scores"]) == set("bd") and "b - d" in result["differences"]
    assert all(result["ceiling"]["truth"][name]["mean"] > 0.7 for name in ("object", "colour", "floor"))
    assert "re-captioned" in (tmp_path / "run" / "tables.md").read_text()
    assert (tmp_path / "run" / "sheet.png").is_file()
    monkeypatch.setattr(recaption, "train_arm", lambda config, out, **_: out / "final")  # nothing is trained again
    (tmp_path / "run" / "result.json").unlink()
    recaption.main([*command, "--set", *TOY])
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result
    with pytest.raises(SystemExit, match="another --out"):
        recaption.main(["--out", str(tmp_path / "run"), "--clips", "70", "--jobs", "1", "--set", *TOY])


def test_arms_share_tensors_and_differ_in_captions(bench, tmp_path):
    import torch

    recaption, world, _, _ = bench
    world.render_corpus(tmp_path / "frames.npy", 12, workers=1)
    recaption.encode_clips(tmp_path / "frames.npy", 12, 2, tmp_path / "latents")
    texts = [{"short": f"clip {number}"} for number in range(10)]
    recaption.retell(tmp_path / "latents" / "pool", texts, tmp_path / "latents" / "a")
    from kinema.vae.cache import LatentDataset

    one, other = (LatentDataset(tmp_path / "latents" / name) for name in ("pool", "a"))
    assert one.record == other.record and len(one) == 10
    assert all(torch.equal(one[i]["latents"], other[i]["latents"]) for i in range(10))
    assert [other[i]["captions"] for i in range(10)] == texts
    true = world.corpus(10, 2)
    assert [one[i]["captions"] for i in range(10)] == [true.describe(i)["captions"] for i in range(10)]
