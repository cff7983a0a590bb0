"""A published dataset as a source of training clips: equal pixels from all media, the right captions."""

import json
import sys
from collections import Counter
from math import sqrt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent / "captioner"))
from published import add_review, build, caption, pictures, review

from kinema.configs import load_config
from kinema.data.blend import draw_original
from kinema.data.captioned import captioned_rows, usable_captions
from kinema.data.clips import ClipDataset, ClipError, _held_out_clips
from kinema.data.manifest import ManifestError
from kinema.data.source import open_dataset
from kinema.trainer import sample_seed

SHAPE = {"height": 32, "width": 64, "num_frames": 9, "fps": 8.0}


def both(source, **more):
    """The clips of both splits, by id."""
    return {
        clip["id"]: clip
        for split in ("train", "heldout")
        for clip in ClipDataset(source, **SHAPE, split=split, **more)
    }


@pytest.mark.parametrize("kind", ["cut", "reference", "webdataset"])
def test_every_kind_of_media_gives_the_sources_pixels_without_the_bars(tmp_path, kind):
    dataset, shots, _ = build(tmp_path, media=kind, crf=2)
    clips = both(dataset)
    assert set(clips) == {shots[name]["clip_id"] for name in ("a0", "a1", "b0", "c0")}  # b1 is rejected
    for name in ("a0", "a1", "b0", "c0"):
        found = clips[shots[name]["clip_id"]]["pixel_values"].numpy().transpose(1, 2, 3, 0)
        begin = 12 * int(name[1])
        source = pictures("abc".index(name[0]))[begin : begin + 12, 8:-8].astype(int)
        errors = [np.abs(found - source[k : k + 9]).mean() for k in range(4)]
        assert min(errors) < 3, errors  # which 9 of the 12 follows from the id


def test_a_dataset_may_be_moved_and_needs_no_stages(tmp_path):
    dataset, _, _ = build(tmp_path, media="cut")
    before = {name: clip["pixel_values"] for name, clip in both(dataset).items()}
    for path in sorted((dataset / "stages").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    dataset.rename(tmp_path / "moved")
    after = both(tmp_path / "moved" / "clips.parquet")
    assert all((before[name] == clip["pixel_values"]).all() for name, clip in after.items()) and after


def test_clips_of_one_source_are_in_one_split_unless_that_costs_too_much(tmp_path):
    many = [{"id": f"{k}", "path": "x", "cut_from": f"source {k // 5}"} for k in range(500)]
    held = _held_out_clips(many, tmp_path)
    sources = {row["cut_from"] for row, out in zip(many, held) if out}
    assert 0 < sum(held) < 100 and sum(held) == 5 * len(sources)
    for name in "acdefgh":
        few = [{"id": f"{k}", "path": "x", "cut_from": name if k < 97 else f"{name}{k}"} for k in range(100)]
        assert 0 < sum(_held_out_clips(few, tmp_path)) <= 20


def test_captions_are_those_that_passed_and_a_person_has_the_last_word(tmp_path):
    dataset, shots, captions = build(tmp_path)

    def now(name):
        return both(dataset)[shots[name]["clip_id"]]["captions"]

    assert now("c0") == {"short": "short of c0", "medium": "medium of c0"}  # its dense one failed
    assert now("a0")["original"] == "words of a0" and len(now("a0")) == 4
    edit = review(captions["a0", "dense"], "edited", "a person's words", minutes=1)
    add_review(dataset, edit)
    assert now("a0")["dense"] == "a person's words"
    add_review(dataset, review(edit, "edited", "second thoughts", minutes=2))
    add_review(dataset, review(captions["a0", "dense"], "edited", "an earlier one of somebody else", minutes=0))
    assert now("a0")["dense"] == "second thoughts"
    add_review(dataset, review(captions["a0", "dense"], "rejected", minutes=3))
    assert "dense" not in now("a0")
    add_review(dataset, review(captions["c0", "dense"], "accepted", minutes=1))
    assert now("c0")["dense"] == "dense of c0"
    add_review(dataset, review(captions["a0", "original"], "rejected", minutes=1))
    assert "original" not in now("a0")


@given(st.permutations(range(4)), st.lists(st.sampled_from(["accepted", "rejected", "edited"]), max_size=3))
def test_the_latest_review_decides_whatever_the_order_of_rows(order, verdicts):
    first = caption("c", "dense", "machine")
    reviews = [review(first, verdict, f"text {k}", minutes=k) for k, verdict in enumerate(verdicts)]
    rows = [first, *reviews, caption("c", "short", "s")]
    rows = [rows[k] for k in order if k < len(rows)] + rows[4:]
    if first in rows and all(row in rows for row in reviews):
        found = usable_captions(rows).get("dense")
        last = verdicts[-1] if verdicts else "accepted"
        assert found == (None if last == "rejected" else f"text {len(verdicts) - 1}" if verdicts else "machine")


def test_all_originals_are_kept_and_out_of_domain_ones_only_if_asked_for(tmp_path):
    rows = [caption("c", "original", text, backend="original", caption_id=f"{k}") for k, text in enumerate("xyz")]
    rows += [caption("c", "dense", "a guess", status="out_of_domain")]
    assert usable_captions(rows) == {"original": "x", "original 2": "y", "original 3": "z"}
    assert usable_captions(rows, out_of_domain=True)["dense"] == "a guess"
    better = [caption("c", "dense", f"by {m}", model=m, clip_mean=mean) for m, mean in [("p", 0.1), ("q", 0.3)]]
    assert usable_captions([*rows, *better]) | {"dense": "by q"} == usable_captions([*rows, *better])


def test_a_dataset_without_usable_captions_says_what_they_are_and_what_to_do(tmp_path):
    dataset, _, _ = build(tmp_path)
    rows = pq.read_table(dataset / "captions.parquet").to_pylist()
    for row in rows:
        row["status"] = "out_of_domain"
    kept = [row for row in rows if row["level"] != "original"]
    pq.write_table(pa.Table.from_pylist(kept), dataset / "captions.parquet")
    with pytest.raises(ClipError, match=r"all out_of_domain \(4\).*captions\.backend.*data\.out_of_domain=true"):
        ClipDataset(dataset, **SHAPE)
    assert len(both(dataset, out_of_domain=True)) == 4
    config = load_config("tiny", [f"data.source={dataset}", "data.out_of_domain=true"])
    wide = config.data.model_copy(update=SHAPE)
    assert len(open_dataset(wide, seed=0)) == 3
    pq.write_table(pq.read_table(dataset / "clips.parquet").drop(["fps"]), dataset / "clips.parquet")
    with pytest.raises(ManifestError, match="no column fps"):
        captioned_rows(dataset)


# ----------------------------------------------------------------------------------------------------------- blend

LEVELS = ("short", "medium", "dense")


def within(found, share, count):
    return abs(found - share * count) < 4 * sqrt(count * share * (1 - share))


def test_originals_have_their_share_and_each_the_same():
    captions = {"dense": "d", "original": "x", "original 2": "y"}
    drawn = Counter(draw_original(captions, LEVELS, 0.05, sample_seed(0, 1, k)) for k in range(4000))
    assert within(4000 - drawn[None], 0.05, 4000)
    assert within(drawn["original"], 0.025, 4000) and within(drawn["original 2"], 0.025, 4000)


@given(st.integers(0, 2**63 - 1), st.floats(0, 1))
def test_one_kind_alone_is_always_shown(seed, share):
    assert draw_original({"original": "x"}, LEVELS, share, seed) == "original"
    assert draw_original({"original": "x", "dense": ""}, LEVELS, share, seed) == "original"
    assert draw_original({"dense": "d"}, LEVELS, share, seed) is None
    assert draw_original({}, LEVELS, share, seed) is None
    both_kinds = {"dense": "d", "original": "x"}
    assert draw_original(both_kinds, LEVELS, 0.0, seed) is None
    assert draw_original(both_kinds, LEVELS, 1.0, seed) == "original"


def test_a_manifest_with_both_kinds_has_both(tmp_path):
    from kinema.data.manifest import captions_of

    row = {"caption_original": "o", "caption_short": "s", "caption_medium": "", "caption_dense": "d"}
    assert captions_of(row) == {"short": "s", "dense": "d", "original": "o"}
    assert captions_of(row | {"caption_short": ""}) == {"dense": "d", "short": "o"}
    assert json.loads(json.dumps(captions_of(row)))["original"] == "o"


def test_what_is_left_out_is_said_and_an_unfinished_dataset_is_named(tmp_path, caplog):
    dataset, shots, _ = build(tmp_path)
    captions = pq.read_table(dataset / "captions.parquet")
    mine = [name == shots["b0"]["clip_id"] for name in captions["clip_id"].to_pylist()]
    pq.write_table(captions.filter(pa.array([not each for each in mine])), dataset / "captions.parquet")
    clips = ClipDataset(dataset, **SHAPE)
    (said,) = [record.getMessage() for record in caplog.records]
    assert len(clips.rejected) == 1 and said.startswith(f"1 of 4 clips of {dataset} are left out: ")
    (dataset / "clips.parquet").unlink()
    (dataset / "config.yaml").touch()
    told = r"is an unfinished captioned dataset; `kinema caption --out .*dataset` goes on"
    with pytest.raises(ClipError, match=told):
        ClipDataset(dataset, **SHAPE)
