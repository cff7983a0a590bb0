"""Clips that our captioner was not trained on are told from others, and marked; so is what many clips share."""

import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema import ContrastiveCaptioner, write_video
from kinema.captioner import flow
from kinema.captioner.backends.base import fingerprint
from kinema.captioner.backends.packaged import PACKAGED as CAPTIONER
from kinema.captioner.checks import domain, stage
from kinema.captioner.checks.domain import PACKAGED, Domain, calibrate, features_of, fit, levels_known, open_domain
from kinema.captioner.engine.commits import StageTable
from kinema.captioner.settings import CaptionSettings, CheckSettings
from kinema.captioner.shots.frames import read_clip
from kinema.captioner.tables import CAPTIONS, CHECKED, SHOTS, caption_id
from kinema.conditioner.tokenizer import train_tokenizer
from kinema.data.diorama import VOCABULARY, DioramaDataset
from kinema.data.video_io import probe


def tiny(vocabulary, **changes):
    torch.manual_seed(0)
    return ContrastiveCaptioner(
        vocab_size=300, context_length=8, width=16, num_layers=1, num_decoder_layers=1, num_heads=2, embed_dim=16,
        image_size=16, patch_size=8, num_frames=3, vision_width=16, vision_layers=1, vision_heads=2,
        caption_tokens=4, vocabulary=vocabulary, tokenizer=train_tokenizer(["a red ball"], 300, 8), **changes,
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def packaged():
    return ContrastiveCaptioner.from_pretrained(CAPTIONER).eval()


@pytest.fixture(scope="module")
def diorama():
    clips = DioramaDataset(seed=4, split="heldout", difficulty=(0, 0), num_frames=5, fps=2.0, num_clips=6)
    return [clips[index]["pixel_values"].permute(1, 2, 3, 0).numpy() for index in range(len(clips))]


def test_the_packaged_statistics_are_those_of_the_packaged_captioner():
    """If not: python bench/caption_domain.py --write."""
    assert Domain.load(PACKAGED).fingerprint == fingerprint(CAPTIONER)
    assert PACKAGED.stat().st_size < 300_000


def test_diorama_is_inside_and_real_videos_are_outside(packaged, diorama, real_videos, tmp_path):
    world = open_domain(packaged, fingerprint(CAPTIONER))
    inside = [world.distance(features_of(packaged, frames, 2.0)[None])[0] for frames in diorama]
    write_video(tmp_path / "clip.mp4", diorama[0], 2.0)
    again = read_clip({"path": tmp_path / "clip.mp4"}, 5)
    inside.append(world.distance(features_of(packaged, again.frames, again.fps)[None])[0])
    outside = []
    for name in ("bikes", "bigbuckbunny", "carphone_pristine", "world"):
        found = read_clip({"path": real_videos[name], "start_s": 1.0, "end_s": 3.0}, 5, max_side=256)
        outside.append(world.distance(features_of(packaged, found.frames, found.fps)[None])[0])
    assert max(inside) < world.threshold < min(outside)


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 24), st.integers(4, 80), st.integers(0, 1000))
def test_distances_are_finite_and_grow_away_from_the_world(size, count, seed):
    draw = np.random.default_rng(seed)
    spread = draw.normal(size=(size, size))
    world = fit(draw.normal(size=(count, size)) @ spread, draw.normal(size=(30, size)) @ spread, "x", [0])
    point = draw.normal(size=size)
    steps = world.distance(world.mean + np.outer([0, 1, 10, 1000], point))
    assert np.isfinite(steps).all() and steps[0] == 0 and (np.diff(steps) > 0).all()
    near = world.distance(draw.normal(size=(200, size)) @ spread)
    assert np.mean(near <= world.threshold) > 0.85
    assert world.distance(world.mean[None] + 100 * np.abs(spread).sum(0)) > world.threshold


def test_statistics_come_back_from_their_file(tmp_path):
    draw = np.random.default_rng(0)
    world = fit(draw.normal(size=(40, 8)), draw.normal(size=(10, 8)), "print", (0, 2))
    world.save(tmp_path / "world.safetensors")
    again, points = Domain.load(tmp_path / "world.safetensors"), draw.normal(size=(5, 8))
    assert (again.fingerprint, again.levels, again.threshold) == ("print", (0, 2), world.threshold)
    np.testing.assert_allclose(again.distance(points), world.distance(points), rtol=1e-5)


def test_the_levels_of_a_captioner_follow_from_its_words(packaged):
    assert levels_known(packaged.config["vocabulary"]) == (0,)
    assert levels_known(VOCABULARY) == (0, 1, 2, 3)
    assert levels_known(None) == levels_known(["a", "ball"]) == ()


@pytest.mark.parametrize("vision", ["patches", "convolutional"])
def test_a_captioner_of_ones_own_is_calibrated_once(vision, tmp_path, monkeypatch):
    model = tiny(list(domain._caption_words(0)), vision=vision)
    monkeypatch.setattr(domain, "REFERENCE", 6)
    monkeypatch.setattr(domain.calibrate, "__kwdefaults__", {"clips": 6})
    world = open_domain(model, "mine", tmp_path)
    assert world is not None and world.levels == (0,) and np.isfinite(world.threshold)
    monkeypatch.setattr(domain, "world_clips", None)  # not rendered again
    again = open_domain(model, "mine", tmp_path)
    assert again is not None and again.threshold == world.threshold
    flat = np.zeros((3, 20, 30, 3), np.uint8)
    assert features_of(model, flat, 2.0).shape == world.mean.shape


def test_a_captioner_of_an_unknown_world_has_no_domain():
    assert calibrate(tiny(["a", "ball"]), "x") is None and calibrate(tiny(None), "x") is None


# --------------------------------------------------------------------------------------------------------- stage


def said(clip, level, text, backend="captioner", status="success"):
    row = dict.fromkeys(CAPTIONS.names) | {"clip_id": clip, "level": level, "text": text, "backend": backend}
    row |= {"status": status, "error": "cut off" if status == "truncated" else None}
    return row | {"caption_id": caption_id(row | {"model": text})}


def marks(dataset, **checks):
    rows = list(stage.run(dataset, CaptionSettings(checks=CheckSettings(**checks))))
    assert all(row.keys() == set(CHECKED.names) for row in rows)
    return {(row["clip_id"], row["level"]): row for row in rows}


@pytest.fixture
def dataset(tmp_path, diorama, real_videos):
    files = {"d0": tmp_path / "d0.mp4", "d1": tmp_path / "d1.mp4", "real": real_videos["bikes"]}
    for name, frames in zip(("d0", "d1"), diorama):
        write_video(files[name], frames, 2.0)
    shots = []
    for name, path in files.items():
        info = probe(path)
        shots.append(
            dict.fromkeys(SHOTS.names)
            | {
                "clip_id": name,
                "path": str(path),
                "start_s": 0.0,
                "end_s": min(2.0, info.duration),
                "status": "ok",
            }
        )
    StageTable(tmp_path, "shots", SHOTS).commit(["a"], shots)
    captions = [
        said(name, level, f"{name} {level}") for name in files for level in ("structured", "short", "dense")
    ]
    captions += [said("real", "medium", "cut", status="truncated"), said("d0", "medium", "none", status="skipped")]
    captions += [said("real", "original", "two bikes", backend="original")]
    StageTable(tmp_path, "captions", CAPTIONS).commit(["b"], captions)
    return tmp_path


def test_what_our_captioner_wrote_of_foreign_clips_is_marked_and_nothing_else(dataset, monkeypatch):
    found = marks(dataset)
    assert len(found) == 12
    for (clip, level), row in found.items():
        outside = clip == "real" and level != "original"
        assert (row["status"] == "out_of_domain") == outside
        if outside:
            assert "trained on" in row["error"] and row["domain"] > 2
    assert found["real", "medium"]["error"].endswith("cut off")
    assert found["real", "original"]["domain"] is None and found["d0", "medium"]["status"] == "skipped"
    monkeypatch.setattr(stage, "read_clip", None)  # nothing is measured twice
    assert marks(dataset) == found
    assert {row["status"] for row in marks(dataset, domain_threshold=100.0).values()} == {
        "success", "truncated", "skipped",
    }  # fmt: skip
    assert all(row["domain"] is None for row in marks(dataset, domain=False).values())


def test_a_clip_that_cannot_be_compared_is_not_trusted_until_it_can_be(dataset):
    there = dataset / "d1.mp4"
    there.rename(dataset / "away.mp4")
    found = marks(dataset)
    assert found["d1", "dense"]["domain"] is None and found["d1", "dense"]["status"] == "out_of_domain"
    assert "could not be compared" in found["d1", "dense"]["error"]
    assert found["real", "dense"]["domain"] is not None and found["real", "original"]["status"] == "success"
    assert {row["status"] for row in marks(dataset, domain=False).values()} == {"success", "truncated", "skipped"}
    (dataset / "away.mp4").rename(there)
    again = marks(dataset)
    assert again["d1", "dense"]["status"] == "success" and again["d1", "dense"]["domain"] is not None
    assert {**again, **{key: found[key] for key in found if key[0] != "d1"}} == again


def test_a_clip_is_compared_at_the_place_where_its_file_is_now(tmp_path, diorama, real_videos):
    source, dataset = tmp_path / "source", tmp_path / "dataset"
    source.mkdir()
    write_video(source / "toys.mp4", diorama[0], 2.0)
    shutil.copy(real_videos["carphone_pristine"], source / "call.mp4")
    settings = CaptionSettings.model_validate({"run": {"workers": 1}})
    flow.run_all(source, dataset, settings, only=flow.stages()[:2])
    rows = list(StageTable(dataset, "shots", SHOTS).rows())
    for file in list(source.iterdir()):
        file.rename(source / f"renamed_{file.name}")
    flow.run_all(source, dataset, settings, only=flow.stages()[:2])
    assert list(StageTable(dataset, "shots", SHOTS).rows()) == rows  # which still have the old paths
    captions = [said(row["clip_id"], "dense", row["clip_id"]) for row in rows if row["status"] == "ok"]
    StageTable(dataset, "captions", CAPTIONS).commit(["b"], captions)
    found = {clip: row for (clip, _), row in marks(dataset).items()}
    toys = {row["clip_id"] for row in rows if row["path"].endswith("toys.mp4")}
    assert toys < found.keys()
    for clip, row in found.items():
        assert row["domain"] is not None
        assert row["status"] == ("success" if clip in toys else "out_of_domain")


def test_prose_from_the_facts_of_our_captioner_is_no_better_than_they_are(dataset):
    table = StageTable(dataset, "captions", CAPTIONS)
    rows = list(table.rows())
    facts = {row["clip_id"]: row["caption_id"] for row in rows if row["level"] == "structured"}
    for row in rows:
        if row["level"] in ("short", "medium", "dense"):
            row |= {"backend": "openai", "parent_id": facts[row["clip_id"]]}
    rows.append(said("real", "dense", "Two cyclists ride.", "openai"))  # of another's facts
    table.commit(["b"], rows)
    found = [
        row | {"text": said["text"]} for row, said in zip(stage.run(dataset, CaptionSettings()), table.rows())
    ]
    for row in found:
        outside = row["clip_id"] == "real" and row["text"] not in ("two bikes", "Two cyclists ride.")
        assert (row["status"] == "out_of_domain") == outside, row
        assert (row["domain"] is not None) == (row["text"] not in ("two bikes", "Two cyclists ride."))


def test_dense_captions_that_many_clips_share_say_nothing(tmp_path):
    names = [f"c{index}" for index in range(12)]
    rows = [
        said(name, level, "A dog, on grass.", "openai") for name in names for level in ("short", "medium", "dense")
    ]
    rows += [said("own", "dense", "a dog on GRASS", "openai"), said("other", "dense", "A cat.", "openai")]
    rows += [said("failed", "dense", "A dog, on grass.", "openai", "truncated")]
    StageTable(tmp_path, "captions", CAPTIONS).commit(["b"], rows)
    found = marks(tmp_path, max_duplicates=12)
    assert found["c0", "dense"]["status"] == found["own", "dense"]["status"] == "error"
    assert "13 clips" in found["c0", "dense"]["error"]
    assert found["c0", "short"]["status"] == found["c0", "medium"]["status"] == "success"
    assert found["other", "dense"]["status"] == "success" and found["failed", "dense"]["status"] == "truncated"
    assert marks(tmp_path, max_duplicates=2)["c0", "medium"]["status"] == "error"
    assert all(row["status"] != "error" for row in marks(tmp_path, max_duplicates=13).values())


def test_the_stage_reads_and_writes_its_tables(tmp_path):
    StageTable(tmp_path, "captions", CAPTIONS).commit(["b"], [said("c", "dense", "A dog.", "openai")])
    table = StageTable(tmp_path, "checks", CHECKED)
    table.replace(["x"], list(stage.STAGE.run(tmp_path, CaptionSettings())))
    (row,) = table.rows()
    assert row["status"] == "success" and stage.STAGE.schema is CHECKED
