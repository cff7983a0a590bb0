"""kill -9 at stage boundaries and at any moment: nothing lost, nothing doubled, nothing finished done again."""

import contextlib
import ctypes
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from kinema import write_video
from kinema.captioner.engine.claim import load_settings
from kinema.captioner.engine.commits import DiskFullError, StageTable
from kinema.captioner.flow import STAGES, run_all
from kinema.captioner.stage import Stage
from kinema.captioner.tables import ONLY_THIS_RUN

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # worker processes get it with the rest of the path
from toy_stages import NUMBERS, NUMBERS_STAGE, SQUARES_STAGE, TOTAL_STAGE, calls, prepare  # noqa: E402
from toy_stages import ONLY_THIS_RUN as ONLY_THIS_TOY_RUN  # noqa: E402

TOYS = [NUMBERS_STAGE, SQUARES_STAGE, TOTAL_STAGE]
WORKERS, BATCH = 2, 2
PATIENCE = 300  # seconds, for a machine that is busy


def begin(which, source, dataset, *overrides):
    command = [
        sys.executable,
        str(HERE / "killing.py"),
        which,
        str(source),
        str(dataset),
        f"run.workers={WORKERS}",
        f"run.batch_size={BATCH}",
        f"ingest.probe_seconds={PATIENCE}",
    ]
    with (dataset.parent / f"{dataset.name}.log").open("ab") as log:
        return subprocess.Popen(
            [*command, *overrides], start_new_session=True, stderr=log,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip


def finish(which, source, dataset, *overrides):
    code = begin(which, source, dataset, *overrides).wait(PATIENCE)
    assert code == 0, (dataset.parent / f"{dataset.name}.log").read_text()[-3000:]


def kill_when(ready, which, source, dataset, *overrides, orphans=False):
    """Kill a run as soon as `ready()`; its workers with it, or left to find out by themselves.

    Returns:
        Whether it was killed; else it had finished before.
    """
    process = begin(which, source, dataset, *overrides)
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and not ready():
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    killed = process.poll() is None
    with contextlib.suppress(ProcessLookupError):
        (os.kill if orphans else os.killpg)(process.pid, signal.SIGKILL)
    process.wait()
    return killed


def finished(dataset):
    """Every record that a run has published, and when."""
    return {
        path.relative_to(dataset): (path.stat().st_mtime_ns, json.loads(path.read_text()))
        for path in (dataset / "stages").glob("*/*.json")
        if path.stem != "whole" and not path.name.startswith(".")
    }


def still_there(before, dataset):
    """Finished batches were neither lost nor written again."""
    now = finished(dataset)
    assert {name: now.get(name) for name in before} == before


def appears(dataset, pattern, count=1):
    return lambda: sum(1 for _ in (dataset / "stages").glob(pattern)) >= count


def after(seconds):
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() > deadline


# -------------------------------------------------------------------------------------------------- toys


def toy_rows(dataset):
    return {
        stage.name: sorted(
            StageTable(dataset, stage.name, stage.schema).rows(
                [name for name in stage.schema.names if name not in ONLY_THIS_TOY_RUN]
            ),
            key=str,
        )
        for stage in TOYS
    }


def check_toys(dataset, whole, kills):
    assert toy_rows(dataset) == toy_rows(whole)
    for stage in ("numbers", "squares"):
        times = Counter(calls(dataset, stage))
        again = sum(times.values()) - len(times)
        assert len(times) == len(set(calls(whole, stage))), stage
        assert again <= kills * WORKERS * BATCH, f"{stage}: {again} rows were begun again after {kills} kills"


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("toys")
    source, whole = folder / "source", folder / "whole"
    source.mkdir()
    prepare(whole, 24, seconds=0.05)
    finish("toys", source, whole)
    return source, whole


@pytest.mark.parametrize("orphans", [False, True])
def test_toy_stages_survive_kills_at_their_boundaries(toys, tmp_path, orphans):
    source, whole = toys
    out = tmp_path / "out"
    prepare(out, 24, seconds=0.05)
    kills = 0
    for pattern, count in [("numbers/*.parquet", 1), ("numbers/*.json", 6), ("squares/*.json", 2)]:
        before = finished(out)
        kills += kill_when(appears(out, pattern, count), "toys", source, out, orphans=orphans)
        still_there(before, out)
    assert kills == 3
    finish("toys", source, out)
    check_toys(out, whole, kills)


@pytest.mark.soak
@pytest.mark.parametrize("orphans", [False, True])
def test_toy_stages_survive_many_kills_at_any_moment(toys, tmp_path, orphans):
    source, whole = toys
    draw, kills = random.Random(int(orphans)), 0
    for round_ in range(100):
        out = tmp_path / f"out{round_}"
        prepare(out, 24, seconds=0.05)
        for _ in range(3):
            before = finished(out)
            kills += kill_when(after(draw.uniform(0.4, 2.5)), "toys", source, out, orphans=orphans)
            still_there(before, out)
        finish("toys", source, out)
        check_toys(out, whole, 3)
        if kills >= 30:
            return
    raise AssertionError(f"only {kills} kills")


# ------------------------------------------------------------------------------------------- real stages


def film(path, seed):
    """A coloured block that crosses a graded ground; after half of it, another."""
    draw = np.random.default_rng(seed)
    frames = np.empty((32, 48, 64, 3), np.uint8)
    for half in (0, 1):
        ground = draw.integers(30, 220, 3)
        block = draw.integers(0, 255, 3)
        for t in range(16):
            grade = np.linspace(-25, 25, 64)[None, :, None]
            frame = np.clip(ground + grade + np.zeros((48, 64, 3)), 0, 255)
            frame[12:36, 2 + 3 * t : 18 + 3 * t] = block
            frames[half * 16 + t] = frame
    write_video(path, frames, 12)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Videos, good and bad, and an uninterrupted run over them."""
    folder = tmp_path_factory.mktemp("films")
    source, whole = folder / "source", folder / "whole"
    source.mkdir()
    for n in range(5):
        film(source / f"film{n}.mp4", n)
    shutil.copy(source / "film0.mp4", source / "copy.mp4")
    (source / "film1.txt").write_text("a block crosses the picture")
    (source / "bad.mp4").write_bytes((source / "film1.mp4").read_bytes()[:400])
    finish("real", source, whole)
    return source, whole


def real_rows(dataset):
    """Every table of a dataset, published or not, without what differs from run to run."""
    from kinema.captioner.flow import stages

    tables = {}
    for stage in stages():
        if stage.schema is not None:
            columns = [name for name in stage.schema.names if name not in ONLY_THIS_RUN]
            tables[stage.name] = sorted(StageTable(dataset, stage.name, stage.schema).rows(columns), key=str)
    for name in ("clips", "captions"):
        table = pq.read_table(dataset / f"{name}.parquet")
        tables[name] = table.drop_columns(
            [each for each in ONLY_THIS_RUN if each in table.column_names]
        ).to_pylist()
    tables["files"] = {
        str(path.relative_to(dataset)): path.read_bytes() for path in sorted((dataset / "media").rglob("*.mp4"))
    }
    tables["quarantine"] = (dataset / "quarantine.jsonl").read_text()
    return tables


def check_films(dataset, whole):
    found, wanted = real_rows(dataset), real_rows(whole)
    assert found.keys() == wanted.keys() and wanted["clips"] and wanted["captions"]
    for name in wanted:
        assert found[name] == wanted[name], name
    assert len({row["clip_id"] for row in found["clips"]}) == len(found["clips"])
    assert len({row["caption_id"] for row in found["captions"]}) == len(found["captions"])
    assert not [path for path in dataset.rglob("*.part*") if path.name.startswith(".")]


def test_the_real_stages_survive_kills_at_their_boundaries(films, tmp_path):
    source, whole = films
    out = tmp_path / "out"
    for pattern, orphans in [("shots/*.json", False), ("signals/*.parquet", True), ("captions/*.json", False)]:
        before = finished(out)
        assert kill_when(appears(out, pattern), "real", source, out, orphans=orphans)
        still_there(before, out)
    before = finished(out)
    finish("real", source, out)
    still_there(before, out)
    check_films(out, whole)


@pytest.mark.soak
def test_the_real_stages_survive_a_kill_at_every_boundary_and_at_any_moment(films, tmp_path):
    source, whole = films
    draw, kills = random.Random(0), 0
    from kinema.captioner.flow import stages

    batchwise = [stage.name for stage in stages() if isinstance(stage, Stage)]
    places = [f"{name}/*.{kind}" for name in STAGES for kind in ("parquet", "json")]
    out = tmp_path / "boundaries"
    for index, place in enumerate(places):
        before = finished(out)
        kills += kill_when(appears(out, place), "real", source, out, orphans=bool(index % 2))
        still_there(before, out)
    finish("real", source, out)
    check_films(out, whole)
    assert kills >= len(batchwise)
    round_ = 0
    while kills < 30:
        out, round_ = tmp_path / f"any{round_}", round_ + 1
        for _ in range(4):
            before = finished(out)
            kills += kill_when(after(draw.uniform(1, 25)), "real", source, out, orphans=draw.random() < 0.5)
            still_there(before, out)
        finish("real", source, out)
        check_films(out, whole)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, b"size=300k"):
        pytest.skip(f"cannot mount here: {os.strerror(ctypes.get_errno())}")
    try:
        yield folder
    finally:
        libc.umount2(str(folder).encode(), 2)


def test_a_disk_that_is_really_full_stops_the_run_which_goes_on_when_there_is_room(small_disk, tmp_path):
    out = small_disk / "out"
    prepare(out, 60)
    (small_disk / "ballast").write_bytes(bytes(200_000))
    source = tmp_path / "source"
    source.mkdir()
    settings = load_settings(None, ["run.workers=1", "run.batch_size=1"])
    with pytest.raises(DiskFullError, match="is full; what is finished is kept: make room"):
        run_all(source, out, settings, only=TOYS)
    done = StageTable(out, "numbers", NUMBERS).done()
    assert 0 < len(done) < 60
    before = finished(out)
    (small_disk / "ballast").unlink()
    prepare(out, len(done) + 2)
    run_all(source, out, settings, only=TOYS)
    still_there(before, out)
    assert len(StageTable(out, "numbers", NUMBERS).done()) == len(done) + 2
    assert Counter(calls(out, "numbers")).most_common(1)[0][1] <= 2
