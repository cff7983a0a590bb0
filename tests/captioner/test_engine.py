"""The local engine: bounded, exact, and indifferent to workers that crash, hang or raise."""

import errno
import os
import resource
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from kinema.captioner.engine import workers
from kinema.captioner.engine.commits import (
    CaptionError,
    DiskFullError,
    StageTable,
    SupersededError,
    begin_run,
    current_run,
    only_writer,
)
from kinema.captioner.engine.local import open_engine, run_stage
from kinema.captioner.engine.pending import Pending
from kinema.captioner.engine.workers import Job, WorkerProcess, do_batch
from kinema.captioner.settings import CaptionSettings, RunSettings
from kinema.captioner.stage import nothing_to_tell

sys.path.insert(0, str(Path(__file__).parent))  # worker processes get it with the rest of the path
from toy_stages import (
    NUMBERS,
    NUMBERS_STAGE,
    SQUARES,
    SQUARES_STAGE,
    calls,
    list_numbers_twice,
    prepare,
    refuse,
)


def settings(**run):
    return CaptionSettings(run=RunSettings(**{"workers": 2, "batch_size": 4, **run}))


def rows_of(dataset, name="numbers", schema=NUMBERS):
    return sorted(StageTable(dataset, name, schema).rows(), key=str)


def test_every_row_is_done_once_in_batches_and_a_second_run_does_nothing(tmp_path, capsys):
    prepare(tmp_path, 22)
    report = run_stage(NUMBERS_STAGE, tmp_path, settings())
    assert (report.before, report.pending, report.done.inputs, report.done.rows) == (0, 22, 22, 22)
    assert report.done.told == {"rejects": 5.0}
    assert [row["number"] for row in rows_of(tmp_path)] == list(range(22))
    sizes = sorted(len(record["inputs"]) for record in StageTable(tmp_path, "numbers", NUMBERS).records())
    assert sizes == [2, 4, 4, 4, 4, 4]
    shown = capsys.readouterr().err
    assert "numbers" in shown and "22/22" in shown and "clip/s" in shown and "rejects=5" in shown
    again = run_stage(NUMBERS_STAGE, tmp_path, settings())
    assert (again.before, again.pending, again.done.inputs) == (22, 0, 0)
    assert sorted(calls(tmp_path, "numbers")) == [f"n{n:05d}" for n in range(22)]
    prepare(tmp_path, 25)  # three new ones
    assert run_stage(NUMBERS_STAGE, tmp_path, settings()).done.inputs == 3
    assert not list((tmp_path / ".pending").iterdir())


def test_stages_in_threads_share_one_worker_and_tell_what_they_cost(tmp_path, capsys):
    prepare(tmp_path, 20)
    with only_writer(tmp_path), open_engine(tmp_path, settings()) as engine:
        engine.run(NUMBERS_STAGE)
        report = engine.run(SQUARES_STAGE)
    kept = [n for n in range(20) if n % 5]
    assert report.pending == len(kept) and report.done.rows == sum(n % 3 for n in kept)
    rows = rows_of(tmp_path, "squares", SQUARES)
    assert {row["pid"] for row in rows} == {os.getpid()}
    assert f"cost={0.25 * len(rows):.2f}" in capsys.readouterr().err


def test_rows_with_the_same_key_are_done_once(tmp_path):
    prepare(tmp_path, 6)
    doubled = replace(NUMBERS_STAGE, inputs=list_numbers_twice)
    assert run_stage(doubled, tmp_path, settings()).done.inputs == 6


def test_input_is_streamed_and_only_batches_in_flight_are_in_memory(tmp_path):
    prepare(tmp_path, 5000)
    with Pending(NUMBERS_STAGE, tmp_path, settings()) as pending:
        assert len(pending) == 5000 and len(pending.places()) == 1250
        batches = pending.batches()
        first = next(batches)
        assert [row["number"] for row in first] == [0, 1, 2, 3] and first[0]["unused"] == [0]
        assert sum(map(len, batches)) == 4996


@pytest.mark.parametrize("batch_size", [1, 5])
def test_a_row_that_crashes_its_process_is_set_aside_and_the_rest_is_kept(tmp_path, batch_size):
    prepare(tmp_path, 12, crash=[3, 8])
    report = run_stage(NUMBERS_STAGE, tmp_path, settings(batch_size=batch_size))
    assert report.done.inputs == 12 and report.done.set_aside == 2
    rows = {row["number"]: row for row in rows_of(tmp_path)}
    assert sorted(rows) == list(range(12))
    for n, row in rows.items():
        assert row["status"] == ("quarantined" if n in (3, 8) or n % 5 == 0 else "ok")
        assert (row["reason"] is not None) == (n in (3, 8))
    assert "SIGSEGV" in rows[3]["reason"]
    assert run_stage(NUMBERS_STAGE, tmp_path, settings()).pending == 0


def test_a_row_that_hangs_is_set_aside_too(tmp_path):
    prepare(tmp_path, 3, hang=[1])
    run_stage(NUMBERS_STAGE, tmp_path, settings(batch_size=1, hang_seconds=2))
    rows = {row["number"]: row for row in rows_of(tmp_path)}
    assert "hung for more than 2 s" in rows[1]["reason"] and (rows[0]["reason"], rows[2]["reason"]) == (None, None)


def test_a_batch_of_which_some_rows_were_committed_alone_doubles_none(tmp_path):
    """As when a Ray actor is lost on its way through a batch that crashed, and another one gets that."""
    prepare(tmp_path, 4)
    job = Job(NUMBERS_STAGE, settings(), begin_run(tmp_path))
    rows = list(NUMBERS_STAGE.inputs(tmp_path, job.settings))
    process = WorkerProcess()
    try:
        process.begin(job)
        for row in rows[:2]:
            process.do([row])
        assert process.do(rows).inputs == 4
    finally:
        process.close()
    assert [row["number"] for row in rows_of(tmp_path)] == [0, 1, 2, 3]
    assert sorted(calls(tmp_path, "numbers")) == ["n00000", "n00001", "n00002", "n00003"]


def test_a_stage_says_itself_what_becomes_of_a_row_that_crashes(tmp_path):
    prepare(tmp_path, 3, crash=[1])
    stage = replace(
        NUMBERS_STAGE, schema=SQUARES, failed=refuse, worker=NUMBERS_STAGE.worker, tell=nothing_to_tell
    )
    run_stage(stage, tmp_path, settings())
    assert [row["square"] for row in rows_of(tmp_path, schema=SQUARES) if row["square"]] == [-1]
    prepare(tmp_path / "other", 3, crash=[1])
    report = run_stage(replace(stage, failed=None), tmp_path / "other", settings())  # no column to say it in
    assert report.done.rows == 2 and report.done.set_aside == 1
    records = list(StageTable(tmp_path / "other", "numbers", SQUARES).records())
    (aside,) = [each for record in records for each in record.get("set_aside", [])]
    assert aside["input"] == "n00001" and "SIGSEGV" in aside["reason"]


def test_a_process_that_dies_after_its_commit_leaves_no_row_twice(tmp_path, monkeypatch):
    prepare(tmp_path, 4)
    with only_writer(tmp_path):
        job = Job(NUMBERS_STAGE, settings(), begin_run(tmp_path))
        rows = list(NUMBERS_STAGE.inputs(tmp_path, settings()))
        do_batch(job, job.work(), rows)
        process = WorkerProcess()
        process.begin(job)
        monkeypatch.setattr(process, "_ask", died)
        assert process.do(rows).inputs == 4
        monkeypatch.undo()
        process.close()
    assert len(rows_of(tmp_path)) == 4 and len(calls(tmp_path, "numbers")) == 4


def died(*args):
    raise workers.WorkerDied("ended with SIGSEGV")


def test_a_process_that_cannot_even_start_ends_the_run(tmp_path):
    prepare(tmp_path, 4, dies_loading=True)
    with pytest.raises(CaptionError, match="stage numbers ended with exit code 3 while it was starting"):
        run_stage(NUMBERS_STAGE, tmp_path, settings())


def test_what_a_worker_raises_ends_the_run_and_keeps_what_is_finished(tmp_path):
    prepare(tmp_path, 20, **{"raise": [9]})
    with pytest.raises(CaptionError, match="n00009 was asked to raise"):
        run_stage(NUMBERS_STAGE, tmp_path, settings(workers=1))
    assert len(rows_of(tmp_path)) == 8
    prepare(tmp_path, 20, odd=[9])
    with pytest.raises(CaptionError, match="Unsendable: n00009 cannot be pickled"):
        run_stage(NUMBERS_STAGE, tmp_path, settings(workers=1))
    prepare(tmp_path, 20)
    run_stage(NUMBERS_STAGE, tmp_path, settings())
    assert [row["number"] for row in rows_of(tmp_path)] == list(range(20))
    assert len(calls(tmp_path, "numbers")) == 20 + 2 * 4  # the batch of number nine three times


def test_work_in_flight_that_may_have_cost_money_is_finished_when_another_batch_fails(tmp_path):
    prepare(tmp_path, 8, seconds=0.2, dear=[1])
    run_stage(NUMBERS_STAGE, tmp_path, settings(batch_size=2))
    with pytest.raises(CaptionError, match="budget"):
        run_stage(SQUARES_STAGE, tmp_path, settings(batch_size=2))
    assert 1 <= len(list(StageTable(tmp_path, "squares", SQUARES).records())) <= 2


def test_a_process_of_a_killed_run_cannot_commit_beside_the_next(tmp_path):
    prepare(tmp_path, 4)
    with only_writer(tmp_path):
        orphan = Job(NUMBERS_STAGE, settings(), begin_run(tmp_path))
    rows = list(NUMBERS_STAGE.inputs(tmp_path, settings()))
    run_stage(NUMBERS_STAGE, tmp_path, settings())
    with pytest.raises(SupersededError, match="another run has taken over"):
        do_batch(orphan, orphan.work(), rows)
    assert current_run(tmp_path) != orphan.fence.run
    assert len(list(StageTable(tmp_path, "numbers", NUMBERS).records())) == 1


def test_a_new_run_waits_for_a_commit_and_says_who_holds_it_up(tmp_path):
    fence = begin_run(tmp_path)
    with fence.held(), pytest.raises(CaptionError, match=r"fuser .*\.run"):
        begin_run(tmp_path, patience=0.1)
    entered, leave = threading.Event(), threading.Event()

    def commit():
        with fence.held():
            entered.set()
            leave.wait(5)

    thread = threading.Thread(target=commit)
    thread.start()
    entered.wait(5)
    threading.Timer(0.3, leave.set).start()
    begin = time.monotonic()
    begin_run(tmp_path, patience=5)
    assert 0.2 < time.monotonic() - begin < 4
    thread.join()


def test_two_runs_do_not_write_the_same_dataset(tmp_path):
    prepare(tmp_path, 4)
    with only_writer(tmp_path), pytest.raises(CaptionError, match="another process is writing"):
        run_stage(NUMBERS_STAGE, tmp_path, settings())


def test_leftovers_of_a_kill_are_no_rows_and_go(tmp_path):
    prepare(tmp_path, 4)
    run_stage(NUMBERS_STAGE, tmp_path, settings())
    folder = tmp_path / "stages" / "numbers"
    (part,) = folder.glob("*.parquet")
    unrecorded, half = folder / "feed.parquet", folder / ".x.part.parquet"
    unrecorded.write_bytes(part.read_bytes())
    half.write_bytes(b"PAR1")
    assert len(rows_of(tmp_path)) == 4
    begin_run(tmp_path)
    assert not unrecorded.exists() and not half.exists() and part.exists()


def test_a_whole_table_is_replaced_in_one_step(tmp_path, monkeypatch):
    table = StageTable(tmp_path, "squares", SQUARES)
    table.replace(["a"], [{"square": 1}])
    table.replace(["a"], [{"square": 2}, {"square": 3}])
    assert [row["square"] for row in table.rows()] == [2, 3]

    def killed():
        raise KeyboardInterrupt

    monkeypatch.setattr(table, "sweep", killed)
    with pytest.raises(KeyboardInterrupt):
        table.replace(["b"], [{"square": 4}])
    assert [row["square"] for row in table.rows()] == [4] and table.done() == {"b"}
    begin_run(tmp_path)
    assert len(list(table.folder.glob("*.parquet"))) == 1
    assert [row["square"] for row in table.rows()] == [4]


def test_a_full_disk_is_a_clear_error_and_the_run_goes_on_when_there_is_room(tmp_path, monkeypatch):
    prepare(tmp_path, 12)
    run_stage(NUMBERS_STAGE, tmp_path, settings())
    original, room = os.fsync, [3]

    def fsync(handle):
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(
        "kinema.captioner.engine.local.begin_run", lambda dataset: begin_run_quietly(dataset, original)
    )
    with pytest.raises(DiskFullError, match="make room, then give the same command again"):
        run_stage(SQUARES_STAGE, tmp_path, settings(workers=1))
    monkeypatch.undo()
    folder = tmp_path / "stages" / "squares"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    run_stage(SQUARES_STAGE, tmp_path, settings())
    assert len(rows_of(tmp_path, "squares", SQUARES)) == sum(n % 3 for n in range(12) if n % 5)
    assert all(pq.read_table(path).num_rows >= 0 for path in folder.glob("*.parquet"))


def begin_run_quietly(dataset, fsync):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        return begin_run(dataset)


def test_a_limit_that_arrow_runs_into_is_a_full_disk_too(tmp_path):
    table = StageTable(tmp_path, "numbers", NUMBERS)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with pytest.raises(DiskFullError, match="full"):
            table.commit(["a"], [{"id": str(n) * 50, "number": n} for n in range(200)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert table.parts() == [] and not list(table.folder.iterdir())
