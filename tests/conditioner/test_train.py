"""The conditioner's training: a tiny run from nothing to its components and report, cut in two."""

import json

import pytest
import torch

from kinema import ContrastiveCaptioner, OpenCLIPConditioner
from kinema.conditioner.corpus import fact_keys
from kinema.conditioner.report import recall
from kinema.conditioner.train import Collate, draw_captions, sparse_frames, train
from kinema.configs import load_config
from kinema.data.source import open_dataset

TINY = ["data.num_clips=12", "train.conditioner.batch_size=3", "data.height=32", "data.width=32"]


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_gives_its_components_report_and_sheet_and_goes_on_where_it_stopped(tmp_path):
    config = load_config("tiny", TINY)
    final = train(config, tmp_path / "whole")
    report = json.loads((tmp_path / "whole" / "report.json").read_text())
    assert report["clips"] == 12
    assert set(report["retrieval"]) == {"text_to_video", "video_to_text", "chance"}
    assert set(report["attributes"]) >= {"object", "colour", "motion", "camera", "floor", "all"}
    assert (tmp_path / "whole" / "report.png").stat().st_size > 1000
    captioner = ContrastiveCaptioner.from_pretrained(final / "captioner")
    conditioner = OpenCLIPConditioner.from_pretrained(final / "text_encoder")
    with torch.no_grad():
        pooled = torch.nn.functional.normalize(conditioner.encode(["a red ball"]).pooled, dim=-1)
    torch.testing.assert_close(pooled, captioner.encode_text(["a red ball"]))
    assert set(conditioner.unknown_words("a zebra")) == {"zebra"}

    half = load_config("tiny", [*TINY, "train.conditioner.steps=2", "train.conditioner.schedule=constant"])
    full = load_config("tiny", [*TINY, "train.conditioner.schedule=constant"])
    train(half, tmp_path / "cut")
    train(full, tmp_path / "cut")
    train(full, tmp_path / "uncut")
    losses = [[row["loss"] for row in rows(tmp_path / name) if "loss" in row] for name in ("cut", "uncut")]
    assert losses[0] == losses[1] and len(losses[0]) == 4


def test_only_the_frames_that_are_looked_at_are_rendered_and_they_are_the_same():
    config = load_config("tiny", [*TINY, "data.num_frames=17", "conditioner.num_frames=5"])
    sparse = sparse_frames(config.data, 5)
    assert (sparse.num_frames, sparse.fps) == (5, config.data.fps / 4)
    batches = [Collate(config.conditioner)([open_dataset(data, seed=0)[3]]) for data in (config.data, sparse)]
    for name in ("pixel_values", "times", "fact_key"):
        torch.testing.assert_close(batches[0][name], batches[1][name])
    assert sparse_frames(config.data.model_copy(update={"source": "videos"}), 5).num_frames == 17
    assert sparse_frames(config.data, 4).num_frames == 17


def test_captions_are_drawn_by_share_from_each_samples_own_seed():
    texts = {"short": "s", "medium": "m", "dense": "d"}
    batch = {"captions": [texts] * 3000, "sample_seed": torch.arange(3000)}
    captions, levels = draw_captions(batch, {"short": 0.6, "dense": 0.4})
    assert abs(captions.count("s") / 3000 - 0.6) < 0.04 and "m" not in captions
    assert abs(levels.count(None) / 3000 - 0.5) < 0.04
    assert all(level in (None, {"s": "short", "d": "dense"}[text]) for text, level in zip(captions, levels))
    back = {"captions": [texts] * 3000, "sample_seed": torch.arange(3000).flip(0)}
    assert draw_captions(back, {"short": 0.6, "dense": 0.4})[0] == captions[::-1]


def test_typed_prompts_have_no_token_that_names_their_level():
    texts = {"short": "s", "typed": "t"}
    batch = {"captions": [texts] * 200, "sample_seed": torch.arange(200)}
    captions, levels = draw_captions(batch, {"short": 0.5, "typed": 0.5})
    assert {level for text, level in zip(captions, levels) if text == "t"} == {None}
    assert {level for text, level in zip(captions, levels) if text == "s"} == {None, "short"}


def test_a_missing_level_is_made_up_for_by_the_others():
    batch = {"captions": [{"short": "only"}], "sample_seed": torch.tensor([5])}
    assert draw_captions(batch, {"short": 0.1, "dense": 0.9})[0] == ["only"]


def test_scenes_with_equal_facts_share_a_key_and_other_clips_have_none():
    from kinema.data.diorama import sample_scene

    scene = sample_scene(0, 0)
    same = scene.model_copy(update={"texture_seed": 1, "index": 9})
    other = scene.model_copy(update={"time_of_day": "dawn"})
    a, b, c, none = fact_keys([scene.to_json(), same.to_json(), other.to_json(), ""]).tolist()
    assert a == b != c and none == 0


def test_recall_counts_texts_of_equal_wording_as_one():
    videos = torch.eye(3)
    texts = torch.eye(3)[[1, 0, 2]]
    assert recall(videos, texts, torch.tensor([1, 2, 3]))["text_to_video"] == pytest.approx(1 / 3)
    assert recall(videos, texts, torch.tensor([7, 7, 3]))["video_to_text"] == pytest.approx(1)
