"""The captions stage on real clips: facts first, retries, what is marked, and equal rows every time."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from kinema import write_video
from kinema.captioner.backends import open_backend
from kinema.captioner.backends.base import PROSE, Answer, sha
from kinema.captioner.captions import writing
from kinema.captioner.captions.facts import Facts, Subject, to_text
from kinema.captioner.captions.stage import STAGE
from kinema.captioner.captions.writing import Writer
from kinema.captioner.checks.verdict import Verdict
from kinema.captioner.engine.commits import StageTable
from kinema.captioner.settings import CaptionSettings
from kinema.captioner.tables import (
    CAPTION_STATUSES,
    CAPTIONS,
    FILTERED,
    ONLY_THIS_RUN,
    SHOTS,
    SIGNALS,
    caption_id,
)

FACTS = Facts(subjects=[Subject(name="car", count=1, attributes=["red"])], actions=["car drives"], setting="snow")
TEXTS = {
    "short": "A red car drives on snow.",
    "medium": "A red car drives on snow. The car is red.",
    "dense": "A red car drives on snow. The car is red. It drives.",
}


class Model:
    """A backend that answers as a function of its requests says."""

    name, model, revision = "openai", "seer", ""
    num_frames = temperature = None

    def __init__(self, answer, together=True, sees=True):
        self.answer, self.one_call_for_all_levels, self.sees = answer, together, sees
        self.asked = []

    def prompt_sha(self, levels):
        return sha("facts" if levels == ("structured",) else "captions")

    def write(self, requests):
        self.asked += requests
        figures = {"prompt_tokens": 100, "output_tokens": 10, "latency_ms": 1.0}
        return [replace(self.answer(request), **figures) for request in requests]


def well(request):
    if request.levels == ("structured",):
        return Answer(facts=FACTS, raw="facts")
    return Answer(texts={level: TEXTS[level] for level in request.levels}, raw="prose")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for index in range(3):
        shade = np.random.default_rng(index).integers(0, 255, (8, 1, 1, 3), dtype=np.uint8)
        write_video(folder / f"{index}.mp4", np.broadcast_to(shade, (8, 32, 48, 3)).copy(), 8)
        row = dict.fromkeys(SHOTS.names) | {"clip_id": f"clip{index}", "path": str(folder / f"{index}.mp4")}
        rows.append(row | {"start_s": 0.0, "end_s": 1.0, "fps": 8.0, "captions": [], "scores": None})
    return rows


@pytest.fixture(autouse=True)
def lenient(monkeypatch):
    """Checks that find a text wrong only where it says "wrong": what they really find is tested beside them."""

    def check(text, *, finished=True, **_):
        problems = (["it is wrong"] if "wrong" in text else []) + ([] if finished else ["cut off"])
        status = "success" if not problems else "error" if finished else "truncated"
        return Verdict(problems, 0.5, 0.25, 0.0, status)

    monkeypatch.setattr(writing, "check_caption", check)


def write(clips, model, densifier=None, **captions):
    settings = CaptionSettings.model_validate({"captions": captions})
    return Writer(settings, model, densifier, None).write(clips, run_id="run")


def by_level(rows, clip_id="clip0"):
    return {row["level"]: row for row in rows if row["clip_id"] == clip_id}


def test_facts_come_first_and_every_row_is_whole(clips):
    model = Model(well)
    rows = write(clips, model, num_frames=4)
    assert [request.levels for request in model.asked] == [("structured",)] * 3 + [PROSE] * 3
    assert all(request.facts == FACTS and len(request.frames.frames) == 4 for request in model.asked[3:])
    assert pa.Table.from_pylist(rows, CAPTIONS).num_rows == 12
    assert len({row["caption_id"] for row in rows}) == 12
    facts = by_level(rows)["structured"]
    assert json.loads(facts["structured"]) == FACTS.model_dump() and facts["text"] == to_text(FACTS)
    assert facts["parent_id"] is None and facts["prompt_sha"] == sha("facts")
    for level in PROSE:
        row = by_level(rows)[level]
        assert row["text"] == TEXTS[level] and row["parent_id"] == facts["caption_id"] and row["raw"] == "prose"
        assert row["prompt_sha"] == sha("captions") and row["structured"] is None
    for row in rows:
        assert set(row) == set(CAPTIONS.names) and row["caption_id"] == caption_id(row)
        assert (row["status"], row["error"], row["run_id"]) == ("success", None, "run")
        assert (row["clip_mean"], row["clip_min"]) == (0.5, 0.25) and len(row["frame_pts"]) == 4
        assert json.loads(row["sampling"])["attempt"] == 0 and row["created_at"].tzinfo is not None
    assert sum(row["prompt_tokens"] for row in rows) == 600  # a call for three levels is paid once


def test_a_caption_that_fails_its_checks_is_written_anew_with_another_seed(clips):
    def answer(request):
        if request.levels == ("structured",):
            return Answer(facts=FACTS)
        bad = {"dense": "wrong"} if len([r for r in model.asked if r.levels != ("structured",)]) == 1 else {}
        return Answer(texts={level: TEXTS[level] for level in request.levels} | bad)

    model = Model(answer)
    rows = by_level(write(clips[:1], model, attempts=3, retry_temperature=0.6))
    assert [request.levels for request in model.asked] == [("structured",), PROSE, ("dense",)]
    assert model.asked[1].seed != model.asked[2].seed
    assert [request.temperature for request in model.asked] == [0.0, 0.0, 0.6]
    assert rows["dense"]["status"] == "success" and rows["dense"]["text"] == TEXTS["dense"]
    sampling = json.loads(rows["dense"]["sampling"])
    assert (sampling["attempt"], sampling["temperature"]) == (1, 0.6)
    assert (rows["dense"]["prompt_tokens"], rows["short"]["prompt_tokens"]) == (100, 100)


def test_what_fails_all_attempts_is_kept_marked_and_never_a_success(clips):
    model = Model(lambda request: well(request) if "structured" in request.levels else Answer(texts={
        level: "wrong and wrong" for level in request.levels
    }))  # fmt: skip
    rows = by_level(write(clips[:1], model, attempts=2))
    assert len(model.asked) == 3
    for level in PROSE:
        assert (rows[level]["status"], rows[level]["error"]) == ("error", "it is wrong")
        assert rows[level]["text"] == "wrong and wrong"


@pytest.mark.parametrize(
    "facts, status",
    [
        (Answer(status="blocked", error="no", can_retry=False), "blocked"),
        (Answer(status="error", error="context", can_retry=False), "error"),
        (Answer(status="error", error="no JSON"), "error"),
        (Answer(status="truncated", error="cut off"), "truncated"),
    ],
)
def test_without_facts_no_prose_is_written(clips, facts, status):
    model = Model(lambda request: facts)
    rows = by_level(write(clips[:1], model, attempts=3))
    assert len(model.asked) == (3 if facts.can_retry else 1)
    assert rows["structured"]["status"] == status and facts.error in rows["structured"]["error"]
    for level in PROSE:
        assert rows[level]["status"] == "skipped" and "no facts" in rows[level]["error"]
        assert rows[level]["text"] is None and rows[level]["parent_id"] == rows["structured"]["caption_id"]
    assert STAGE.tell(list(rows.values()), CaptionSettings())["rejects"] == 1


def test_a_backend_that_states_no_facts_still_writes_what_it_can(clips):
    def answer(request):
        if request.levels == ("short",):
            return Answer(texts={"short": "A car."})
        return Answer(status="skipped", error="cannot", can_retry=False)

    rows = by_level(write(clips[:1], Model(answer, together=False)))
    assert [rows[level]["status"] for level in ("structured", *PROSE)] == [
        "skipped",
        "success",
        "skipped",
        "skipped",
    ]
    assert rows["short"]["parent_id"] is None


def test_a_text_model_writes_from_facts_alone_and_not_without(clips):
    text_model = Model(well, sees=False)
    rows = by_level(write(clips[:1], Model(well), text_model))
    assert all(request.frames is None and request.facts == FACTS for request in text_model.asked)
    assert rows["dense"]["frame_pts"] == [] and rows["structured"]["frame_pts"]
    blind = Model(lambda request: Answer(status="skipped", error="cannot", can_retry=False))
    text_model.asked.clear()
    rows = by_level(write(clips[:1], blind, text_model))
    assert not text_model.asked and rows["dense"]["status"] == "skipped"


def test_originals_are_rows_of_their_own_scored_and_not_written(clips):
    clip = clips[0] | {"captions": ["my car", " my car ", "", "wrong car"]}
    rows = [row for row in write([clip], Model(well)) if row["level"] == "original"]
    assert [row["text"] for row in rows] == ["my car", "wrong car"]
    assert len({row["caption_id"] for row in rows}) == 2
    assert all((row["backend"], row["status"], row["clip_mean"]) == ("original", "success", 0.5) for row in rows)


def test_a_clip_that_cannot_be_read_is_a_row_that_says_so_and_the_others_are_written(clips):
    lost = clips[1] | {"path": "/nowhere.mp4", "captions": ["mine"]}
    model = Model(well)
    rows = write([clips[0], lost, clips[2]], model)
    assert len(model.asked) == 4
    bad = [row for row in rows if row["clip_id"] == "clip1"]
    assert [row["level"] for row in bad] == ["structured", *PROSE, "original"]
    assert all(row["status"] == "error" and "nowhere" in row["error"] for row in bad)
    assert STAGE.tell(rows, CaptionSettings())["rejects"] == 1


def plain(rows):
    return sorted(
        json.dumps({name: row[name] for name in row if name not in ONLY_THIS_RUN}, sort_keys=True) for row in rows
    )


def test_rows_are_the_same_however_clips_are_batched(clips, tmp_path_factory):
    captioned = [clip | {"captions": ["mine"]} for clip in clips]
    settings = CaptionSettings()
    writer = Writer(settings, open_backend(settings), None, None)
    together = writer.write(captioned)
    alone = [row for clip in reversed(captioned) for row in writer.write([clip])]
    assert plain(together) == plain(alone)
    assert all(row["status"] in CAPTION_STATUSES for row in together)


def test_the_stage_takes_what_the_filters_kept_with_its_scores(tmp_path: Path, clips):
    StageTable(tmp_path, "shots", SHOTS).commit(
        ["a"], [{name: clip[name] for name in SHOTS.names} for clip in clips]
    )
    StageTable(tmp_path, "signals", SIGNALS).commit(
        ["a"], [{"clip_id": "clip2", "scores": {"motion": 0.25}, "status": "ok"}]
    )
    StageTable(tmp_path, "filters", FILTERED).commit(
        ["a"], [{"clip_id": f"clip{k}", "status": "rejected" if k == 1 else "kept"} for k in range(3)]
    )
    found = list(STAGE.inputs(tmp_path, CaptionSettings()))
    assert [row["clip_id"] for row in found] == ["clip0", "clip2"]
    assert found[0]["scores"] is None and found[1]["scores"]["motion"] == 0.25
    assert found[0]["path"] == clips[0]["path"]


def test_the_stage_runs_by_itself_with_the_packaged_captioner(tmp_path, clips, monkeypatch):
    monkeypatch.undo()  # with the checks as they are
    work = STAGE.worker(tmp_path, CaptionSettings.model_validate({"run": {"device": "cpu"}}))
    rows = work([clips[0] | {"captions": ["a red car"]}])
    table = pa.Table.from_pylist(rows, CAPTIONS)
    assert table["level"].to_pylist() == ["structured", *PROSE, "original"]
    assert all(row["status"] == "success" or row["error"] for row in rows)
    assert all(row["clip_mean"] is None for row in rows)  # such a clip it cannot judge
    assert STAGE.tell(rows, CaptionSettings())["cost"] == 0
