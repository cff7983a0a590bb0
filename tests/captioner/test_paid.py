"""Runs of the captions stage at an endpoint that end early: what was answered is not paid for again."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from kinema import write_video
from kinema.captioner.backends.calling import EndpointDown, EndpointRefused
from kinema.captioner.captions import stage as writing
from kinema.captioner.captions.cost import BudgetExceeded, spent_on
from kinema.captioner.engine.commits import CaptionError, StageTable
from kinema.captioner.engine.local import run_stage
from kinema.captioner.settings import CaptionSettings
from kinema.captioner.tables import CAPTIONS, FILTERED, SHOTS

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from test_endpoint import good, serving  # noqa: E402

CLIPS = 6
PATIENCE = 120  # seconds, for a machine that is busy
RUN = """
import sys
from pathlib import Path
from kinema.captioner.engine.local import run_stage
from kinema.captioner.settings import CaptionSettings
from kinema.captioner.captions.stage import STAGE
run_stage(STAGE, sys.argv[1], CaptionSettings.model_validate_json(sys.argv[2]))
"""


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """Clips that the filters kept."""
    monkeypatch.setattr("kinema.captioner.checks.similarity.open_scorer", lambda *_: None)
    rows = []
    for index in range(CLIPS):
        path = tmp_path / f"{index}.mp4"
        write_video(path, np.full((4, 32, 48, 3), 40 * index, np.uint8), 8)
        row = dict.fromkeys(SHOTS.names) | {"clip_id": f"clip{index}", "path": str(path), "source_key": f"{index}"}
        rows.append(row | {"start_s": 0.0, "end_s": 0.5, "fps": 8.0, "captions": [], "status": "ok"})
    dataset = tmp_path / "dataset"
    StageTable(dataset, "shots", SHOTS).commit(["a"], rows)
    kept = [{"clip_id": row["clip_id"], "status": "kept"} for row in rows]
    StageTable(dataset, "filters", FILTERED).commit(["a"], kept)
    return dataset


def settings(server, **run):
    writes = {"backend": "openai", "model": "m", "base_url": server.url, "num_frames": 2, "attempts": 1}
    run = {"concurrency": 2, "max_retries": 0, "device": "cpu"} | run
    return CaptionSettings.model_validate({"captions": writes, "run": run})


def requests(*servers):
    """How often each clip's facts, and each clip's prose, were asked for: a first attempt's seed is its own."""
    return Counter(seen[3]["seed"] for server in servers for seen in server.seen)


def finished(dataset):
    table = StageTable(dataset, "captions", CAPTIONS)
    assert all(len(record["inputs"]) == 1 for record in table.records())
    return {row["clip_id"] for row in table.rows(["clip_id"])}


def check(dataset, asked, before, lost):
    """All clips are there, and nothing was asked for again but what at most so many clips in flight had."""
    assert len(finished(dataset)) == CLIPS and len(asked) == 2 * CLIPS
    assert set(asked.values()) <= {1, 2}
    assert sum(asked.values()) - len(asked) <= 2 * lost
    assert before > 0


def test_an_endpoint_that_dies_in_the_middle_costs_what_was_in_flight_and_no_more(dataset):
    with serving(*[good] * 7, *["reset"] * 99) as server:
        server.alive = False
        with pytest.raises(EndpointDown):
            run_stage(writing.STAGE, dataset, settings(server))
        before = len(finished(dataset))
    with serving() as again:
        run_stage(writing.STAGE, dataset, settings(again))
    assert before >= 2
    check(dataset, requests(server, again), before, lost=2)


def test_a_budget_that_ends_a_run_throws_no_finished_clip_away(dataset):
    priced = {"price_per_million_prompt": 1000.0, "price_per_million_output": 10000.0}
    with serving() as server:
        with pytest.raises(BudgetExceeded):
            run_stage(writing.STAGE, dataset, settings(server, budget=17.0, **priced))
        before = len(finished(dataset))
        run_stage(writing.STAGE, dataset, settings(server, budget=1000.0, **priced))
    check(dataset, requests(server), before, lost=2)


def with_densifier(server, poet, **run):
    asked = settings(server, **run).model_dump()
    asked["captions"] |= {"densify_model": "poet", "densify_base_url": poet.url}
    return CaptionSettings.model_validate(asked)


@pytest.mark.parametrize("free", ["densify_price_per_million", "price_per_million"])
def test_one_of_two_endpoints_may_be_free_and_the_budget_holds_the_other(dataset, free):
    prices = dict.fromkeys(("price_per_million_prompt", "price_per_million_output"), 1000.0)
    prices |= {f"densify_{name}": 1000.0 for name in prices} | {f"{free}_prompt": 0.0, f"{free}_output": 0.0}
    with serving() as server, serving() as poet:
        run_stage(writing.STAGE, dataset, with_densifier(server, poet, budget=100.0, **prices))
    assert len(finished(dataset)) == CLIPS and spent_on(dataset) == pytest.approx(CLIPS * 1.1)


def test_a_budget_without_any_price_is_refused_by_the_stage_alone_too(dataset):
    with serving() as server, pytest.raises(CaptionError, match="price_per_million"):
        run_stage(writing.STAGE, dataset, settings(server, budget=1.0))


def test_facts_are_not_bought_when_there_is_nobody_left_to_write_from_them(dataset):
    with serving() as server, serving(*[(401, {"error": "no"})] * 99) as poet:
        server.slow = 0.1
        asked = with_densifier(server, poet, requests_per_minute=60 / 0.5)
        with pytest.raises(EndpointRefused, match=r"401 no(.|\n)*captions\.densify_base_url"):
            run_stage(writing.STAGE, dataset, asked)
    assert len(server.seen) == 1


def test_a_killed_run_pays_again_for_the_clips_in_flight_alone(dataset):
    with serving() as server:
        server.slow = 0.1
        command = [sys.executable, "-c", RUN, str(dataset), settings(server).model_dump_json()]
        first = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
        deadline = time.monotonic() + PATIENCE
        while len(server.seen) < 7 and first.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        first.send_signal(signal.SIGKILL)
        assert first.wait() == -signal.SIGKILL
        before = len(finished(dataset))
        run_stage(writing.STAGE, dataset, settings(server))
    check(dataset, requests(server), before, lost=2)


def test_clips_are_written_at_the_pace_that_the_endpoint_is_to_bear(dataset):
    with serving() as server:
        server.slow = 0.1
        run_stage(writing.STAGE, dataset, settings(server, concurrency=CLIPS, workers=1))
    assert 3 <= server.most_busy <= CLIPS
