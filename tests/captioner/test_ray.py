"""The Ray engine on a real cluster of two nodes: the same rows as the local one, and kills that leave no trace."""

import os
import random
import sys
import time
from pathlib import Path

import pytest

from kinema.captioner.engine.commits import CaptionError, StageTable, only_writer
from kinema.captioner.engine.local import open_engine
from kinema.captioner.settings import CaptionSettings, RunSettings

ray = pytest.importorskip("ray", reason="pip install 'kinema[ray]' brings it")
from ray.cluster_utils import Cluster  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))  # worker processes get it with the rest of the path
from test_kills import (  # noqa: E402
    after,
    appears,
    check_films,
    check_toys,
    films,  # noqa: F401 - a fixture
    finish,
    finished,
    kill_when,
    still_there,
)
from toy_stages import (  # noqa: E402
    NUMBERS,
    NUMBERS_STAGE,
    ONLY_THIS_RUN,
    SQUARES,
    SQUARES_STAGE,
    calls,
    prepare,
)

pytestmark = [  # Ray's own
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*"),
    pytest.mark.filterwarnings(r"ignore::FutureWarning:ray\..*"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster():
    before = dict(os.environ)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - so it is named; a busy machine starves the actors else
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    cluster.add_node(**NODE)
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


def settings(engine, **run):
    return CaptionSettings(run=RunSettings(engine=engine, batch_size=4, **run))


def rows_of(dataset, stage):
    schema = {"numbers": NUMBERS, "squares": SQUARES}[stage]
    kept = [name for name in schema.names if name not in ONLY_THIS_RUN]
    return sorted(StageTable(dataset, stage, schema).rows(kept), key=str)


def test_both_engines_make_the_same_rows_and_ray_uses_both_nodes(cluster, tmp_path, capsys):
    for engine in ("local", "ray"):
        out = tmp_path / engine
        prepare(out, 24, crash=[7], seconds=0.1)
        with only_writer(out), open_engine(out, settings(engine, workers=2)) as running:
            first, second = running.run(NUMBERS_STAGE), running.run(SQUARES_STAGE)
            assert (first.done.inputs, first.done.set_aside) == (24, 1)
            assert second.pending == second.done.inputs == 18
            if engine == "ray":
                assert len([node for node in ray.nodes() if node["Alive"]]) == 2
                assert running.run(NUMBERS_STAGE).pending == 0
    for stage in ("numbers", "squares"):
        assert rows_of(tmp_path / "ray", stage) == rows_of(tmp_path / "local", stage)
    raylets = {row["raylet"] for row in StageTable(tmp_path / "ray", "numbers", NUMBERS).rows()} - {None}
    assert len(raylets) == 2
    assert len(calls(tmp_path / "ray", "squares")) == 18
    assert capsys.readouterr().err.count("numbers: 100%") >= 2


def test_the_real_stages_make_the_same_rows_on_ray(cluster, films, tmp_path):  # noqa: F811
    source, whole = films
    out = tmp_path / "out"
    finish("real", source, out, "run.engine=ray")
    check_films(out, whole)


def test_what_an_actor_raises_ends_the_run_and_so_does_a_folder_it_does_not_see(cluster, tmp_path, monkeypatch):
    prepare(tmp_path, 6, **{"raise": [5]})
    with only_writer(tmp_path), open_engine(tmp_path, settings("ray", workers=1)) as running:
        with pytest.raises(CaptionError, match="n00005 was asked to raise"):
            running.run(NUMBERS_STAGE)
        # Ray may end its stream before the batch that was finished has come out of it, which is then made again.
        kept = len(rows_of(tmp_path, "numbers"))
        assert kept in (0, 4)
        (tmp_path / ".run").write_text("another")  # as a node that has another folder under this path
        with pytest.raises(CaptionError, match=r"does not see .* as the driver does"):
            running.run(NUMBERS_STAGE)
    assert len(rows_of(tmp_path, "numbers")) == kept


def test_a_missing_ray_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'kinema\[ray\]'"), open_engine(tmp_path, settings("ray")):
        pass


def test_a_cluster_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    said = pytest.raises(CaptionError, match=r"no Ray cluster at RAY_ADDRESS=127\.0\.0\.1:1")
    with said, open_engine(tmp_path, settings("ray")):
        pass


def kill_runs(folder, rounds, ready):
    """Kill drivers of toy runs when `ready(dataset, number)` says so; hold the result against the local engine's.

    Returns:
        How many were killed before they had finished.
    """
    source, whole, out, kills = folder / "source", folder / "whole", folder / "out", 0
    source.mkdir(parents=True)
    prepare(whole, 24, seconds=0.05)
    finish("toys", source, whole)
    prepare(out, 24, seconds=0.05)
    for number in range(rounds):
        before = finished(out)
        kills += kill_when(ready(out, number), "toys", source, out, "run.engine=ray")
        still_there(before, out)
    finish("toys", source, out, "run.engine=ray")
    check_toys(out, whole, rounds)
    return kills


def test_killed_drivers_leave_nothing_lost_doubled_or_done_again(cluster, tmp_path):
    moments = [("numbers/*.parquet", 1), ("numbers/*.json", 6), ("squares/*.json", 1)]
    assert kill_runs(tmp_path, 3, lambda out, number: appears(out, *moments[number])) == 3


@pytest.mark.soak
def test_drivers_killed_at_any_moment_leave_nothing_lost_doubled_or_done_again(cluster, tmp_path):
    draw, kills = random.Random(0), 0
    source, out, begin = tmp_path / "source", tmp_path / "uninterrupted", time.monotonic()
    source.mkdir()
    prepare(out, 24, seconds=0.05)
    finish("toys", source, out, "run.engine=ray")
    whole = time.monotonic() - begin  # seconds; a kill later than that meets nobody
    for number in range(30):
        kills += kill_runs(tmp_path / str(number), 3, lambda out, number: after(draw.uniform(0.2, 0.9) * whole))
        if kills >= 30:
            return
    raise AssertionError(f"only {kills} kills")


@pytest.mark.soak
def test_the_real_stages_survive_drivers_killed_at_any_moment(cluster, films, tmp_path):  # noqa: F811
    source, whole = films
    draw, kills, round_ = random.Random(1), 0, 0
    while kills < 30:
        out, round_ = tmp_path / f"any{round_}", round_ + 1
        for _ in range(4):
            before = finished(out)
            orphans = draw.random() < 0.5
            kills += kill_when(after(draw.uniform(5, 60)), "real", source, out, "run.engine=ray", orphans=orphans)
            still_there(before, out)
        finish("real", source, out, "run.engine=ray")
        check_films(out, whole)


def refuse(**options):
    assert options["address"] == "auto"
    raise ConnectionError("refused")
