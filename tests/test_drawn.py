"""The record of captions drawn: what the loop showed, whole after a pause, and the blend it was asked for."""

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from accelerate.state import AcceleratorState

sys.path.insert(0, str(Path(__file__).parent / "captioner"))
from published import add_review, build, review

from kinema.configs import load_config
from kinema.dit.train import train
from kinema.pipeline.build import build_pipeline
from kinema.trainer import TrainingPaused, read_drawn, start_run
from kinema.trainer.drawn import Drawn

SMALL = ["data.num_clips=12", "data.height=16", "data.width=16", "train.dit.validation_clips=1"]
STEPS = ["train.dit.steps=6", "train.dit.validate_every=6", "train.dit.checkpoint_every=2", "sample.prompts=[]",
         "flow.caption_dropout=0.3", "train.dit.log_every=1"]  # fmt: skip


def recipe(*changes):
    return load_config("tiny", [*SMALL, *STEPS, *changes])


@pytest.fixture(autouse=True)
def fresh_accelerate():
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    pipe = build_pipeline(recipe())
    pipe.vae.save_pretrained(folder / "vae")
    pipe.text_encoder.save_pretrained(folder / "text")
    return {"vae": folder / "vae", "text_encoder": folder / "text"}


def test_training_on_a_published_dataset_shows_the_blend_and_records_it(parts, tmp_path, monkeypatch):
    dataset, shots, captions = build(tmp_path)
    asked = recipe(f"data.source={dataset}", "data.num_frames=5", "data.original_captions=0.5")
    own = parts | {"latents": tmp_path / "latents"}
    train(asked, tmp_path / "whole", **own)
    whole = read_drawn(tmp_path / "whole")
    assert whole.num_rows == 6 * asked.train.dit.batch_size and whole["step"].to_pylist()[-1] == 5
    assert set(whole["clip_id"].to_pylist()) <= {row["clip_id"] for row in shots.values()}
    with_originals = {shots["a0"]["clip_id"], shots["a1"]["clip_id"]}
    for row in whole.to_pylist():
        assert row["origin"] in ("original", "synthetic", "")
        assert (row["origin"] == "original") == (row["level"] == "original")
        assert row["origin"] != "original" or row["clip_id"] in with_originals
    logged = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    last = [row for row in logged if "drawn_original" in row][-1]
    for name, origin in (("original", "original"), ("synthetic", "synthetic"), ("none", "")):
        share = whole["origin"].to_pylist().count(origin) / whole.num_rows
        assert last[f"drawn_{name}"] == pytest.approx(share)

    # a later edit is what training sees, though the latents were made before
    add_review(dataset, review(captions["a0", "dense"], "edited", "mended"))
    seen = []
    monkeypatch.setattr("kinema.dit.train.encode_captions", _spy(seen))
    train(recipe(f"data.source={dataset}", "data.num_frames=5", "data.caption_mix={dense: 1.0}",
                 "data.original_captions=0"), tmp_path / "again", **own)  # fmt: skip
    if shots["a0"]["clip_id"] in whole["clip_id"].to_pylist():
        assert "mended" in seen and "dense of a0" not in seen


def _spy(seen):
    from kinema.dit.texts import encode_captions

    def encode(encode_, text, told, *rest):
        seen.extend(span.text for spans in told for span in spans)
        return encode_captions(encode_, text, told, *rest)

    return encode


def test_a_paused_run_has_the_record_of_an_uninterrupted_one(parts, tmp_path, monkeypatch):
    own = parts | {"latents": tmp_path / "latents"}
    train(recipe(), tmp_path / "whole", **own)
    monkeypatch.setenv("KINEMA_SECONDS_LEFT", "0")
    with pytest.raises(TrainingPaused):
        train(recipe(), tmp_path / "halves", **own)
    monkeypatch.delenv("KINEMA_SECONDS_LEFT")
    part = next((tmp_path / "halves" / "drawn").glob("*.parquet"))
    late = part.with_name(
        "step-00000004-rank-00000.parquet"
    )  # of a run that was killed behind its last checkpoint
    late.write_bytes(part.read_bytes())
    train(recipe(), tmp_path / "halves", **own)
    assert read_drawn(tmp_path / "halves").equals(read_drawn(tmp_path / "whole"))
    assert set(read_drawn(tmp_path / "whole")["level"].to_pylist()) <= {"short", "medium", "dense", "timed", ""}


def test_no_more_waits_in_memory_than_a_part(tmp_path, monkeypatch):
    monkeypatch.setattr("kinema.trainer.drawn.MOST_ROWS", 10)
    drawn = Drawn(start_run(recipe(), "dit", tmp_path), 0)
    for step in range(20):
        drawn.add(step, ["a", "b"], ["short", ""])
        drawn.add(step, ["c"], ["original 2"])
        assert len(drawn.rows) <= 12
    drawn.save()
    parts = sorted((tmp_path / "drawn").iterdir())
    assert len(parts) == 5 and [pq.read_table(path)["step"][0].as_py() for path in parts] == [0, 4, 8, 12, 16]
    assert read_drawn(tmp_path)["clip_id"].to_pylist() == ["a", "b", "c"] * 20
    assert drawn.shares() == {"drawn_original": 1 / 3, "drawn_synthetic": 1 / 3, "drawn_none": 1 / 3}
    AcceleratorState._reset_state(reset_partial_state=True)
    again = Drawn(start_run(recipe(), "dit", tmp_path), 8)
    assert read_drawn(tmp_path).num_rows == 24 and again.counts.total() == 24
