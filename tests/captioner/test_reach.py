"""Files that drop out in the middle of a run: no row keeps that, and the same command goes on later."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinema import write_video
from kinema.captioner.backends.base import Answer
from kinema.captioner.captions.writing import Writer
from kinema.captioner.engine import workers
from kinema.captioner.engine.claim import load_settings
from kinema.captioner.engine.commits import CaptionError, Fence, StageTable
from kinema.captioner.engine.local import LocalEngine
from kinema.captioner.engine.workers import Job, Receipt, WorkerDied, WorkerProcess
from kinema.captioner.flow import run_all, run_one
from kinema.captioner.ingest import stage as ingest
from kinema.captioner.ingest.unchanged import UnreachableError
from kinema.captioner.publish import media
from kinema.captioner.settings import CaptionSettings
from kinema.captioner.shots import stage as shots
from kinema.captioner.signals import stage as signals
from kinema.captioner.tables import SHOTS, SIGNALS

STAGES = [replace(stage, runs_in="threads") for stage in (ingest.STAGE, shots.STAGE, signals.STAGE)]  # is quicker
HERE = ("path", "source_uri", "mtime_ns")  # columns that tell where a file lies
ASKED = load_settings(None, ["run.workers=1", "run.batch_size=2", "shots.detector=none", "shots.min_seconds=0.1"])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder of five small videos, to be copied."""
    folder, random = tmp_path_factory.mktemp("videos"), np.random.default_rng(2)
    for name in "abcde":
        write_video(folder / f"{name}.mp4", random.integers(0, 255, (6, 24, 32, 3), dtype=np.uint8), 8)
    return folder


@pytest.fixture(scope="module")
def whole(written, tmp_path_factory):
    """What an uninterrupted run makes of them."""
    dataset = tmp_path_factory.mktemp("whole") / "out"
    run_all(written, dataset, ASKED, only=STAGES)
    return rows(dataset)


@pytest.fixture
def source(written, tmp_path):
    folder = tmp_path / "share" / "videos"
    folder.mkdir(parents=True)
    for path in written.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def rows(dataset):
    """All rows of shots and signals, by stage and id; none may stand there twice."""
    found = {}
    for name, schema in (("shots", SHOTS), ("signals", SIGNALS)):
        for row in StageTable(dataset, name, schema).rows():
            assert (name, row["clip_id"]) not in found
            found[name, row["clip_id"]] = {key: value for key, value in row.items() if key not in HERE}
    return found


def statuses(dataset):
    return [row["status"] for row in rows(dataset).values()]


def before(monkeypatch, name, act):
    """Act before a stage begins, once."""
    run, acted = LocalEngine.run, []

    def acting(engine, stage):
        if stage.name == name and not acted:
            acted.append(act())
        return run(engine, stage)

    monkeypatch.setattr(LocalEngine, "run", acting)


@pytest.mark.parametrize("name", ["shots", "signals"])
def test_a_share_that_drops_out_ends_the_run_and_the_same_command_completes_it(
    source, tmp_path, monkeypatch, name, whole
):
    dataset, away = tmp_path / "out", tmp_path / "away"
    before(monkeypatch, name, lambda: source.rename(away))
    first = [STAGES[0], shots.STAGE, STAGES[2]]  # an error in a worker process is the same
    with pytest.raises(UnreachableError, match=r"\.mp4: it cannot be read now \(No such file.*a share is missing"):
        run_all(source, dataset, ASKED, only=first if name == "shots" else STAGES)
    assert len(statuses(dataset)) == (0 if name == "shots" else 5)
    source.mkdir()  # as an empty mount point
    with pytest.raises(CaptionError, match="holds no video"):
        run_all(source, dataset, ASKED, only=STAGES)
    source.rmdir()
    away.rename(source)
    reports = run_all(source, dataset, ASKED, only=STAGES)
    assert [report.before for report in reports] == ([5, 0, 0] if name == "shots" else [5, 5, 0])
    assert rows(dataset) == whole and set(statuses(dataset)) == {"ok"}


def test_what_was_finished_before_the_share_dropped_out_is_kept(source, tmp_path, monkeypatch, whole):
    dataset, away, commit = tmp_path / "out", tmp_path / "away", StageTable.commit

    def unmounting(table, inputs, rows, **facts):
        record = commit(table, inputs, rows, **facts)
        if table.name == "signals" and len(table.parts()) == 1:
            source.rename(away)
        return record

    with monkeypatch.context() as patch:
        patch.setattr(StageTable, "commit", unmounting)
        with pytest.raises(UnreachableError):
            run_all(source, dataset, ASKED, only=STAGES)
    done = {path: path.stat().st_mtime_ns for path in (dataset / "stages").glob("s*/*.json")}
    assert len(StageTable(dataset, "signals", SIGNALS).done()) == 2
    away.rename(source)
    run_all(source, dataset, ASKED, only=STAGES)
    assert rows(dataset) == whole and {path: path.stat().st_mtime_ns for path in done} == done


@pytest.mark.parametrize("name", ["shots", "signals"])
def test_a_file_that_was_removed_on_purpose_holds_up_one_run_only(source, tmp_path, monkeypatch, name):
    dataset = tmp_path / "out"
    before(monkeypatch, name, (source / "c.mp4").unlink)
    with pytest.raises(UnreachableError, match=r"/c\.mp4: .*removed on purpose"):
        run_all(source, dataset, ASKED, only=STAGES)
    with pytest.raises(UnreachableError, match=r"`kinema caption --out DATASET` goes on"):
        run_one(name, dataset, only=STAGES)  # which lists nothing
    run_all(source, dataset, ASKED, only=STAGES)
    assert statuses(dataset) == ["ok"] * (8 if name == "shots" else 9)
    assert [report.pending for report in run_all(source, dataset, ASKED, only=STAGES)] == [0, 0, 0]


class Model:
    """A backend that must not be asked."""

    name, model, revision = "model", "m", "1"
    sees, one_call_for_all_levels, num_frames, temperature = True, True, None, None

    def prompt_sha(self, levels):
        return ""

    def write(self, requests):
        assert not requests
        return [Answer(status="skipped") for _ in requests]


def test_neither_captions_nor_media_say_of_a_clip_that_its_file_is_away(source, tmp_path):
    dataset = tmp_path / "out"
    run_all(source, dataset, ASKED, only=STAGES[:2])
    clips = list(StageTable(dataset, "shots", SHOTS).rows())
    source.rename(tmp_path / "away")
    with pytest.raises(UnreachableError):
        Writer(ASKED, Model(), None, None).write(clips)
    for kind in ("cut", "reference"):
        asked = CaptionSettings.model_validate({"dataset": {"media": kind}})
        with pytest.raises(UnreachableError):
            media.worker(dataset, asked)(clips)
    assert not list(dataset.glob("media/*"))
    (tmp_path / "away").rename(source)
    made = media.worker(dataset, ASKED)(clips)
    assert [row["status"] for row in made] == ["ok"] * 5 and all(
        Path(dataset / row["path"]).is_file() for row in made
    )


def test_a_row_is_not_blamed_for_a_share_that_hangs(tmp_path, monkeypatch):
    fine, hung, gone = tmp_path / "fine", tmp_path / "hung", tmp_path / "gone"
    fine.touch()
    os.mkfifo(hung)  # nobody writes: opening it waits, as on a share whose server is away
    aside = []
    monkeypatch.setattr(workers, "REACH_SECONDS", 3.0)
    monkeypatch.setattr(workers, "set_aside", lambda job, row, reason: aside.append(row) or Receipt(set_aside=1))
    process = WorkerProcess()
    process._job = Job(shots.STAGE, ASKED, Fence(tmp_path / "out", "run"))

    def dies(rows):
        raise WorkerDied("hung for more than 9 s")

    monkeypatch.setattr(process, "_attempt", dies)
    for row in ({"path": str(fine)}, {"path": ""}, {}):
        assert process.do([{"range_key": "k"} | row]).set_aside == 1
    assert len(aside) == 3
    for path, said in ((hung, "takes longer than 3 s"), (gone, "FileNotFoundError.*No such file")):
        with pytest.raises(
            CaptionError, match=rf"{path}: .*hung for more than 9 s, and .*{said}.*kinema caption --out"
        ):
            process.do([{"range_key": "k", "path": str(path)}])
    assert len(aside) == 3
