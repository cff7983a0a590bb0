"""Jobs carried to another machine: what crosses, in which pieces, and what becomes of a job when the way breaks.

The maker here is a real one, but for its worker process: a thread that makes a job's files at once.
"""

import json
import threading

import pytest

from kinema.studio.cluster import courier, remote
from kinema.studio.cluster.courier import Courier, MakerLostError, StoppedError
from kinema.studio.cluster.remote import PREFIX, Maker
from kinema.studio.jobs.claims import ATTEMPTS, claim, complete, fail, report
from kinema.studio.jobs.job import JobError
from kinema.studio.jobs.wish import read_wish
from kinema.studio.making.make import find

CAR = {"prompt": "a red car drives to the left"}
PREVIEW, GROWN = bytes(range(200)), bytes(reversed(range(250)))


class AtOnce:
    """Stands for `Workers`: a thread for the process."""

    ready, problem, why_ended = 1, "", "its worker was killed (signal 9)"

    def __init__(self, store, shelf, commands):
        self.store, self.shelf, self._stop = store, shelf, threading.Event()
        self._thread = threading.Thread(target=self._work)
        (shelf.folder / "logs" / "worker-0.log").write_text("it begins\n")

    def start(self):
        self._thread.start()

    def stop(self):
        self._stop.set()
        self._thread.join()

    def _work(self):
        while not self._stop.wait(0.002):
            if (job := claim(self.store, "w")) is not None:
                self._make(job)
        self.store.close()

    def _make(self, job):
        wish = read_wish(job.request)
        given = {name: find(self.store, self.shelf, wish, name).read_bytes() for name in wish.media()}
        self.shelf.preview(job.id).write_bytes(PREVIEW)
        self.shelf.growing(job.id).write_bytes(GROWN)
        told = report(self.store, job, "denoising", 0.5, seconds_left=1.0, preview=3)
        while "waits" in job.request["prompt"] and told.stop is None and not self._stop.wait(0.002):
            told = report(self.store, job, "denoising", 0.5, preview=3)
        with (self.shelf.folder / "logs" / "worker-0.log").open("a") as log:
            log.write(f"made {job.id}\n")
        if "dies" in job.request["prompt"]:
            fail(self.store, job, "worker_lost", "x")
        elif "odd" in job.request["prompt"]:
            fail(self.store, job, "out_of_memory", "ask for less")
        elif told.stop != "discard":
            result = {"seed": 7, "given": sorted(map(len, given.values())), "kept": told.stop == "keep"}
            with self.shelf.new_result(job) as folder:
                (folder / "video.mp4").write_bytes(bytes(range(256)) * 4)
                (folder / "thumbnail.webp").write_bytes(b"")
                self.shelf.write_about(folder, job, result)
            complete(self.store, job, result)


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Everything is larger than a piece."""
    monkeypatch.setattr(remote, "PIECE", 300)
    monkeypatch.setattr(courier, "PIECE", 300)
    monkeypatch.setattr(courier, "LOOK", 0.002)
    monkeypatch.setattr(remote, "Workers", AtOnce)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(remote.tempfile, "gettempdir", lambda: str(tmp_path / "elsewhere"))


@pytest.fixture
def carried(studio, tmp_path):
    """Calls that give a courier with a maker of its own, and break what it asks if told to."""
    store, shelf = studio
    makers = []

    def new(name="w", ask=lambda answer, *asked: answer(), stopped=None):
        makers.append(maker := Maker([]))

        def asked(method, *given):
            return ask(lambda: getattr(maker, method)(*given), method, *given)

        return Courier(store, shelf, name, asked, tmp_path / "worker.log", stopped or threading.Event())

    yield new
    for maker in makers:
        maker.close()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_all_of_a_result_comes_home_in_pieces_and_all_it_needs_goes_out(studio, carried, tmp_path):
    store, shelf = studio
    asked = []

    def count(answer, *given):
        asked.append(given)
        return answer()

    here = carried(ask=count)
    assert not here.carry()
    first = store.add("generate", CAR, owner="me")
    assert here.carry()
    folder = shelf.folder / "uploads" / f"upload_{32 * 'a'}"
    folder.mkdir()
    (folder / "picture.png").write_bytes(bytes(1000))
    wish = {"task": "inpaint", "video": first.id, "mask": folder.name, "prompt": "another"}
    second = store.add("inpaint", wish, parent=first.id)
    assert here.carry()
    for job in (first, second):
        now = store.get(job.id)
        assert now.status == "completed", now.error
        assert (now.status, now.worker, now.attempt, now.result["seed"]) == ("completed", "w", 1, 7)
        assert shelf.content(job.id).read_bytes() == bytes(range(256)) * 4
        about = json.loads((shelf.result(job.id) / "job.json").read_text())
        assert (about["worker"], about["owner"], about["result"]) == ("w", job.owner, dict(now.result))
        assert {path.name for path in shelf.result(job.id).iterdir()} == {
            "video.mp4",
            "thumbnail.webp",
            "job.json",
        }
    assert store.get(second.id).result["given"] == [1000, 1024]
    assert not list((shelf.folder / "previews").iterdir())
    assert (tmp_path / "worker.log").read_text() == f"it begins\nmade {first.id}\nmade {second.id}\n"
    assert all(len(data) <= 300 for given in asked for data in given if isinstance(data, bytes))
    sent = [item for given in asked if given[0] == "begin" for item in (given[1], *given[2])]
    assert len(sent) == 3 and {job.owner for job in sent} == {""}


def test_previews_and_what_grows_are_seen_here_and_a_stop_there(studio, carried, wait_until):
    store, shelf = studio
    job = store.add("generate", CAR | {"prompt": "it waits"})
    thread = threading.Thread(target=lambda: (carried().carry(), store.close()))
    thread.start()
    wait_until(lambda: shelf.growing(job.id).is_file() and shelf.growing(job.id).read_bytes() == GROWN, 10)
    wait_until(lambda: store.get(job.id).preview, 10)
    assert shelf.preview(job.id).read_bytes() == PREVIEW
    now = store.get(job.id)
    assert (now.stage, now.progress, now.preview) == ("denoising", 0.5, 3)
    store.stop(job.id, "keep")
    thread.join()
    assert store.get(job.id).result["kept"] and not list((shelf.folder / "previews").iterdir())


def test_what_goes_wrong_there_is_told_here(studio, carried):
    store, _ = studio
    here = carried()
    odd, dies = (store.add("generate", {"prompt": prompt}) for prompt in ("odd", "it dies"))
    gone = store.add("remix", {"task": "remix", "prompt": "x", "video": f"video_{32 * 'b'}"})
    while here.carry():
        pass
    failed = [(job.status, job.error_code, job.attempt) for job in map(store.get, (odd.id, dies.id, gone.id))]
    assert failed == [
        ("failed", "out_of_memory", 1),
        ("failed", "worker_lost", ATTEMPTS),
        ("failed", "input_not_usable", 1),
    ]
    assert "killed (signal 9), 2 times" in store.get(dies.id).error


@pytest.mark.parametrize("method", ["take", "begin", "look", "piece", "clear"])
@pytest.mark.parametrize("heard", [True, False])
def test_a_maker_lost_at_any_time_is_replaced_and_nothing_is_lost_or_doubled(studio, carried, method, heard):
    store, shelf = studio
    source = store.add("generate", CAR)
    assert carried("before").carry()
    job = store.add("remix", {"task": "remix", "prompt": "x", "video": source.id})
    broken = []

    def break_it(answer, *asked):
        if asked[0] == method or broken:
            if heard and not broken:
                answer()
            broken.append(asked)
            raise MakerLostError("its worker on elsewhere was lost")
        return answer()

    with pytest.raises(MakerLostError):
        carried("first", break_it).carry()
    assert len(broken) == 1
    now = store.get(job.id)
    if method == "clear":  # the result is here already
        assert (now.status, now.worker, now.attempt) == ("completed", "first", 1)
        return
    assert (now.status, now.attempt) == ("queued", 1) and not shelf.result(job.id).exists()
    assert carried("second").carry()
    now = store.get(job.id)
    assert (now.status, now.worker, now.attempt, now.result["given"]) == ("completed", "second", 2, [1024])
    assert sorted(path.name for path in (shelf.folder / "results").iterdir()) == sorted((source.id, job.id))


def test_a_result_on_the_shelf_counts_whatever_breaks_before_it_is_said(studio, carried, monkeypatch):
    store, _ = studio
    for error, lost in ((MakerLostError("gone"), True), (RuntimeError("odd"), False)):

        def broken(*_, error=error):
            raise error

        job = store.add("generate", CAR)
        monkeypatch.setattr(courier, "complete", broken)
        here = carried()
        if lost:
            with pytest.raises(MakerLostError):
                here.carry()
        else:
            assert here.carry()
        assert (store.get(job.id).status, store.get(job.id).attempt) == ("completed", 1)


def test_a_job_that_is_not_this_couriers_any_more_leaves_nothing(studio, carried):
    store, shelf = studio
    job = store.add("generate", CAR)

    def taken_away(answer, *asked):
        if asked[0] == "piece":
            with store.change() as db:
                db.execute("UPDATE jobs SET attempt = 5")
        return answer()

    here = carried(ask=taken_away)
    assert here.carry() and not shelf.result(job.id).exists()
    assert (store.get(job.id).status, store.get(job.id).attempt) == ("in_progress", 5)


@pytest.mark.parametrize("asked_last, status", [("look", "failed"), ("piece", "completed")])
def test_a_full_disk_here_is_outlasted(studio, carried, monkeypatch, asked_last, status):
    store, shelf = studio
    job, full, real = store.add("generate", CAR), [], store.change
    monkeypatch.setattr("kinema.studio.making.worker.ROOM", 0.01)

    def change():
        if full and full.pop():
            raise JobError("the disk is full", "disk_full")
        return real()

    def fills_it(answer, *asked):
        if asked[0] == asked_last and len(full) == 0:
            full.extend([False] + [True] * 3)
        return answer()

    here = carried(ask=fills_it)
    monkeypatch.setattr(store, "change", change)
    assert here.carry() and not full
    assert (store.get(job.id).status, store.get(job.id).attempt) == (status, 1)
    assert shelf.result(job.id).exists() == (status == "completed")


def test_a_server_that_ends_leaves_the_job_as_it_is(studio, carried):
    store, _ = studio
    job, stopped = store.add("generate", {"prompt": "it waits"}), threading.Event()

    def ended(answer, *asked):
        if asked[0] == "look":
            stopped.set()
        return answer()

    with pytest.raises(StoppedError):
        carried(ask=ended, stopped=stopped).carry()
    assert store.get(job.id).status == "in_progress"


def test_what_a_killed_maker_left_is_deleted_by_the_next_one(tmp_path):
    left, other = tmp_path / "elsewhere" / f"{PREFIX}left", tmp_path / "elsewhere" / "other"
    for folder in (left / "results", other):
        folder.mkdir(parents=True)
    first, second = Maker([]), Maker([])
    assert not left.exists() and other.exists() and first.folder.exists()
    for maker in (first, second):
        maker.close()
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["other"]
