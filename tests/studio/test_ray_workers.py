"""Workers on a real Ray cluster of two machines: what they make, and what kills leave of it."""

import os
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from kinema.data.video_io import read_video
from kinema.pipeline.provenance import read_provenance
from kinema.studio.cluster.ray_driver import room, share
from kinema.studio.cluster.ray_workers import Cluster, RayWorkers
from kinema.studio.cluster.remote import PREFIX
from kinema.studio.jobs.shelf import Shelf
from kinema.studio.jobs.store import JobStore
from kinema.studio.making.workers import worker_command

ray = pytest.importorskip("ray", reason="pip install 'kinema[ray]' brings it")
from ray.cluster_utils import Cluster as RayCluster  # noqa: E402

pytestmark = [  # Ray's own
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*"),
    pytest.mark.filterwarnings(r"ignore::FutureWarning:ray\..*"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
CAR = {"prompt": "a red car drives to the left", "seed": 7}
SHORT, LONG = CAR | {"num_inference_steps": 2}, CAR | {"num_inference_steps": 1000}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two machines, and the folder that is temporary there."""
    before, elsewhere = dict(os.environ), tmp_path_factory.mktemp("elsewhere")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - so it is named; a busy machine starves the actors else
    os.environ["RAY_TMPDIR"], os.environ["TMPDIR"] = tempfile.gettempdir(), str(elsewhere)
    cluster = RayCluster(initialize_head=True, head_node_args=NODE)
    cluster.add_node(**NODE)
    try:
        yield cluster, elsewhere
    finally:
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module")
def served(cluster, tmp_path_factory, tiny_model):
    shelf = Shelf(tmp_path_factory.mktemp("studio"))
    store = JobStore(shelf.database)
    command = worker_command(shelf.folder, str(tiny_model), "cpu")
    workers = RayWorkers(store, shelf, command, Cluster(cluster[0].address, workers=2))
    workers.start()
    yield store, shelf, workers
    workers.stop()
    store.close()


def made_in(elsewhere):
    """The job that each maker's worker is making now, by the worker's process."""
    found = {}
    for folder in elsewhere.glob(f"{PREFIX}*"):
        with closing(sqlite3.connect(f"file:{folder / 'studio.db'}?mode=ro", uri=True)) as db:
            jobs = db.execute("SELECT id FROM jobs WHERE status = 'in_progress'").fetchall()
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or ()
            if jobs and "kinema.studio.making.worker" in words and str(folder) in words:
                found[process] = jobs[0][0]
    return found


def is_running(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_result_is_what_a_worker_here_makes_and_feeds_the_next_one(served, wait_until):
    store, shelf, workers = served
    job = store.add("generate", SHORT, owner="me")
    wrong = store.add("generate", SHORT | {"width": 33})
    wait_until(lambda: store.get(job.id).ended)
    longer = store.add("extend", {"task": "extend", "video": job.id, "seconds": 0.5, "num_inference_steps": 1})
    wait_until(lambda: workers.ready == 2)
    wait_until(lambda: not store.waiting(), every=0.05)
    now = store.get(job.id)
    assert now.status == "completed", now.error
    assert sorted(path.name for path in shelf.result(job.id).iterdir()) == [
        "job.json", "spritesheet.webp", "thumbnail.webp", "video.mp4"
    ]  # fmt: skip
    how = read_provenance(shelf.content(job.id))
    assert (how.prompt, how.seed, how.num_inference_steps) == (CAR["prompt"], 7, 2)
    assert len(read_video(shelf.content(job.id)).frames) == now.result["num_frames"]
    assert store.get(longer.id).status == "completed", store.get(longer.id).error
    assert store.get(longer.id).result["num_frames"] > now.result["num_frames"]
    failed = store.get(wrong.id)
    assert (failed.status, failed.error_code, failed.attempt) == ("failed", "invalid_request", 1)
    assert "33" in failed.error and not shelf.result(wrong.id).exists()
    assert job.id in "".join(path.read_text() for path in (shelf.folder / "logs").iterdir())


def test_both_machines_work_and_stop_within_a_step(served, wait_until):
    store, shelf, _ = served
    discard, keep = (store.add("generate", LONG) for _ in range(2))
    wait_until(lambda: all(store.get(job.id).preview for job in (discard, keep)))
    assert shelf.preview(keep.id).read_bytes().startswith(b"RIFF")
    begin = time.monotonic()
    store.stop(discard.id)
    store.stop(keep.id, "keep")
    wait_until(lambda: store.get(discard.id).ended and store.get(keep.id).ended)
    assert time.monotonic() - begin < 30  # of minutes
    assert store.get(discard.id).status == "cancelled" and not shelf.result(discard.id).exists()
    kept = store.get(keep.id)
    assert kept.result["interrupted"] and 0 < read_provenance(shelf.content(keep.id)).interrupted_after < 1000


def test_a_machine_that_is_lost_costs_a_try_and_its_job_is_made_on_the_other(cluster, served, wait_until):
    (nodes, elsewhere), (store, shelf, workers) = cluster, served
    before = {path.name for path in (shelf.folder / "results").iterdir()}
    jobs = [store.add("generate", LONG) for _ in range(2)]
    wait_until(lambda: all(store.get(job.id).stage == "denoising" for job in jobs))
    (second,) = (node for node in nodes.list_all_nodes() if not node.head)
    on_second = psutil.Process(second.all_processes["raylet"][0].process.pid).children(recursive=True)
    doomed = {process: job for process, job in made_in(elsewhere).items() if process in on_second}
    ((process, lost),) = doomed.items()
    first = store.get(lost).worker
    nodes.remove_node(second, allow_graceful=False)
    # On a quick machine the other job is done before the loss is noticed, and this one does not wait for a moment.
    wait_until(lambda: store.get(lost).status == "queued" or store.get(lost).attempt == 2)
    wait_until(lambda: not is_running(process), 20)
    wait_until(lambda: workers.ready == 1, 20)
    (other,) = (job.id for job in jobs if job.id != lost)
    store.stop(other, "keep")
    wait_until(lambda: (now := store.get(lost)).attempt == 2 and (now.ended or now.stage == "denoising"))
    assert store.get(lost).worker == store.get(other).worker != first
    store.stop(lost, "keep")
    wait_until(lambda: store.get(lost).ended)
    assert [(store.get(job).status, store.get(job).attempt) for job in (other, lost)] == [
        ("completed", 1), ("completed", 2)
    ]  # fmt: skip
    assert {path.name for path in (shelf.folder / "results").iterdir()} - before == {other, lost}


def test_a_server_that_stops_ends_the_actors_and_the_job_waits_for_the_next_one(cluster, served, wait_until):
    (_, elsewhere), (store, shelf, workers) = cluster, served
    job = store.add("generate", LONG)
    wait_until(lambda: store.get(job.id).stage == "denoising")
    (process,) = made_in(elsewhere)
    (folder,) = (Path(word) for word in process.cmdline() if PREFIX in word)
    assert folder.is_dir()
    workers.stop()
    assert not is_running(process) and not folder.exists()
    left = store.get(job.id)
    assert (left.status, left.attempt) == ("queued", 0) and not shelf.result(job.id).exists()


def test_a_cluster_that_is_not_there_and_a_missing_ray_are_named(studio, wait_until, monkeypatch):
    store, shelf = studio
    command = worker_command(shelf.folder)
    workers = RayWorkers(store, shelf, command, Cluster("127.0.0.1:1"))
    workers.start()
    assert "no Ray cluster at 127.0.0.1:1" in wait_until(lambda: workers.problem)
    workers.stop()
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'kinema\[ray\]'"):
        RayWorkers(store, shelf, command)


def test_actors_share_what_the_machines_have():
    cores = [{"CPU": 8.0}, {"CPU": 4.0}, {"memory": 1.0}]
    assert share(cores, Cluster()) == (4, 0.0) and room(cores, 4, 0.0) == 3
    assert share(cores, Cluster(workers=6)) == (2, 0.0)
    assert share(cores, Cluster(workers=99)) == (1, 0.0)
    cards = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 1.0, "GPU": 4.0}, {"CPU": 64.0}]
    assert share(cards, Cluster()) == (1, 1.0) and room(cards, 1, 1.0) == 3
    assert share(cards, Cluster(gpus=0.5, cpus=2)) == (2, 0.5)
    assert share(cards, Cluster(gpus=0)) == (21, 0) and room([], 1, 0.0) == 1


SERVER = """
import sys, time
from kinema.studio.cluster.ray_workers import Cluster, RayWorkers
from kinema.studio.jobs.shelf import Shelf
from kinema.studio.jobs.store import JobStore
from kinema.studio.making.workers import worker_command
shelf = Shelf(sys.argv[1])
workers = RayWorkers(JobStore(shelf.database), shelf, worker_command(shelf.folder, sys.argv[2], "cpu"))
workers.start()
while True:
    time.sleep(1)
"""


@pytest.mark.soak
def test_a_killed_server_leaves_no_process_and_the_next_one_goes_on(tmp_path, tiny_model, wait_until, monkeypatch):
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    shelf = Shelf(tmp_path / "studio")
    store = JobStore(shelf.database)
    done, job, waits = (store.add("generate", wish) for wish in (SHORT, LONG, SHORT))

    def is_made_again(before):
        now = store.get(job.id)
        return now.worker not in ("", before) and now.stage == "denoising"

    def serve():
        return psutil.Popen([sys.executable, "-c", SERVER, str(shelf.folder), str(tiny_model)])

    first = serve()
    try:
        wait_until(lambda: is_made_again(""))
        below = first.children(recursive=True)
        assert any("kinema.studio.making.worker" in process.cmdline() for process in below) and len(below) > 4
    finally:
        first.kill()
        first.wait()
    wait_until(lambda: not any(map(is_running, below)), 30)
    left = store.get(job.id)
    assert left.status == "in_progress"  # nobody tells what becomes of it
    second = serve()
    try:
        wait_until(lambda: is_made_again(left.worker))
        assert store.get(done.id).status == "completed" and shelf.content(done.id).is_file()
        before, (driver,) = store.get(job.id).worker, second.children()
        (maker,) = (
            each for each in driver.children(recursive=True) if "kinema.studio.making.worker" in each.cmdline()
        )
        driver.kill()  # as Ray does when it loses its head
        wait_until(lambda: not is_running(maker), 30)
        wait_until(lambda: is_made_again(before))
        assert store.get(job.id).attempt == 1
        store.stop(job.id)
        wait_until(lambda: store.get(waits.id).status == "completed")
        assert store.get(job.id).status == "cancelled"
    finally:
        second.kill()
        second.wait()
    store.close()


@pytest.mark.soak
def test_a_model_that_is_not_on_the_machines_is_said_and_not_tried_for_ever(studio, tmp_path, wait_until):
    store, shelf = studio
    (tmp_path / "empty").mkdir()
    workers = RayWorkers(store, shelf, worker_command(shelf.folder, str(tmp_path / "empty")), Cluster(workers=1))
    job = store.add("generate", SHORT)
    workers.start()
    assert "model_index.json" in wait_until(lambda: workers.problem)
    wait_until(lambda: workers._workers[0].hopeless)
    assert workers.ready == 0 and store.get(job.id).status == "queued"
    workers.stop()


@pytest.mark.soak
def test_a_cluster_without_room_says_what_is_needed(studio, wait_until):
    store, shelf = studio
    workers = RayWorkers(store, shelf, worker_command(shelf.folder), Cluster(workers=1, gpus=64))
    workers.start()
    assert "CPUs: 1, GPUs: 64" in wait_until(lambda: workers.problem)
    workers.stop()
