"""Worker processes and their end: what kill -9 leaves, of a worker and of a server."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kinema.data.video_io import read_video
from kinema.studio.jobs.claims import making
from kinema.studio.jobs.shelf import Shelf
from kinema.studio.jobs.store import JobStore
from kinema.studio.making.workers import Workers, worker_command

LONG = {"prompt": "a red car drives to the left", "num_inference_steps": 1000, "seed": 7}
SHORT = LONG | {"num_inference_steps": 2}


@pytest.fixture
def workers(studio, tiny_model):
    store, shelf = studio
    workers = Workers(store, shelf, [worker_command(shelf.folder, str(tiny_model), "cpu")])
    workers.start()
    yield workers
    workers.stop()


def process_of(workers):
    (worker,) = workers._workers
    return worker.process


def test_a_killed_worker_is_replaced_and_its_job_made_again(studio, workers, wait_until):
    store, shelf = studio
    job = store.add("generate", LONG)
    for attempt in (1, 2):
        wait_until(lambda: store.get(job.id).stage == "denoising")
        assert store.get(job.id).attempt == attempt
        os.kill(process_of(workers).pid, signal.SIGKILL)
        wait_until(lambda: store.get(job.id).status != "in_progress")
    failed = store.get(job.id)
    assert (failed.status, failed.error_code) == ("failed", "worker_lost") and "signal 9" in failed.error
    after = store.add("generate", SHORT)
    wait_until(lambda: store.get(after.id).ended)
    assert store.get(after.id).status == "completed"
    assert len(read_video(shelf.content(after.id)).frames) == store.get(after.id).result["num_frames"]
    assert not list((shelf.folder / "previews").iterdir())


SERVER = """
import sys, time
from kinema.studio.jobs.shelf import Shelf
from kinema.studio.jobs.store import JobStore
from kinema.studio.making.workers import Workers, worker_command
shelf = Shelf(sys.argv[1])
workers = Workers(JobStore(shelf.database), shelf, [worker_command(shelf.folder, sys.argv[2], "cpu")])
workers.start()
while True:
    time.sleep(1)
"""


def test_a_killed_server_leaves_no_worker_and_the_next_one_goes_on(tmp_path, tiny_model, wait_until):
    shelf = Shelf(tmp_path / "studio")
    store = JobStore(shelf.database)
    done, job, waits = (store.add("generate", wish) for wish in (SHORT, LONG, SHORT))

    def serve():
        return subprocess.Popen([sys.executable, "-c", SERVER, str(shelf.folder), str(tiny_model)])

    first = serve()
    try:
        wait_until(lambda: store.get(job.id).stage == "denoising")
        worker = pid_of_worker(first.pid)
    finally:
        first.kill()
        first.wait()
    wait_until(lambda: not Path(f"/proc/{worker}").exists(), 10)
    assert [each.id for each in making(store)] == [job.id]  # nobody tells what becomes of it
    second = serve()
    try:
        wait_until(lambda: store.get(job.id).stage == "denoising" and store.get(job.id).attempt == 1)
        assert store.get(done.id).status == "completed" and shelf.content(done.id).is_file()
        store.stop(job.id)
        wait_until(lambda: store.get(waits.id).status == "completed")
        assert store.get(job.id).status == "cancelled"
    finally:
        second.kill()
        second.wait()
    store.close()


def pid_of_worker(server):
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    watched = [*children]
    for thread in Path(f"/proc/{server}/task").iterdir():
        watched += (thread / "children").read_text().split()
    (worker,) = {int(child) for child in watched}
    return worker


def test_a_model_that_cannot_be_loaded_says_so_and_is_not_tried_for_ever(studio, tmp_path, wait_until):
    store, shelf = studio
    (tmp_path / "empty").mkdir()
    workers = Workers(store, shelf, [worker_command(shelf.folder, str(tmp_path / "empty"))])
    job = store.add("generate", SHORT)
    workers.start()
    assert "model_index.json" in wait_until(lambda: workers.problem)
    assert workers.ready == 0 and store.get(job.id).status == "queued"
    workers.stop()


LOADING = """
import os
from kinema.studio.making import loading, worker

def load_model(*given, **more):
    print("a library", flush=True)
    os.system("echo its child")
    raise ValueError("no such model")

loading.load_model = load_model
worker.main()
"""


def test_what_libraries_print_is_no_word_of_the_worker(tmp_path):
    words = [sys.executable, "-c", LOADING, str(tmp_path), "--name", "w"]
    here, there = os.pipe()  # held open: a worker ends with its server
    ended = subprocess.run(words, capture_output=True, text=True, stdin=here, timeout=100)
    os.close(here)
    os.close(there)
    assert ended.stdout == "ValueError: no such model\n"
    assert "a library" in ended.stderr and "its child" in ended.stderr
