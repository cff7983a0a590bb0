"""The queue: what may become of a job, whoever asks at the same time, and what is told of it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from kinema.studio.jobs.claims import ATTEMPTS, cancelled, claim, complete, fail, give_up, report
from kinema.studio.jobs.job import ENDED, JobError, LostJobError, NoJobError, QueueFullError
from kinema.studio.jobs.shelf import Shelf
from kinema.studio.jobs.store import JobStore
from kinema.studio.models.model import Model
from kinema.studio.service import Studio

CAR = {"prompt": "a red car drives to the left"}


@pytest.fixture
def store(tmp_path):
    store = JobStore(tmp_path / "studio.db")
    yield store
    store.close()


def test_a_job_goes_through_the_queue_and_is_there_for_everybody(store, tmp_path):
    job = store.add("generate", CAR, owner="me", request_id="r1")
    taken = claim(store, "w1")
    assert (taken.id, taken.status, taken.attempt, taken.worker) == (job.id, "in_progress", 1, "w1")
    told = report(store, taken, "denoising", 0.25, seconds_left=3.0, preview=1)
    assert (told.stage, told.progress, told.seconds_left, told.preview, told.stop) == (
        "denoising",
        0.25,
        3.0,
        1,
        None,
    )
    complete(store, taken, {"seed": 7})
    other = JobStore(tmp_path / "studio.db")
    found = other.get(job.id)
    assert (found.status, found.result, found.progress, found.request) == ("completed", {"seed": 7}, 1.0, CAR)
    assert found.finished_at >= found.started_at >= found.created_at
    other.close()


def test_the_queue_keeps_its_order_and_can_be_reordered_and_edited(store):
    a, b, c = (store.add("generate", CAR | {"seed": number}) for number in range(3))
    store.move(c.id, before=a.id)
    store.move(b.id)
    store.edit(a.id, CAR | {"seed": 9}, task="generate")
    assert [job.id for job in store.waiting()] == [c.id, a.id, b.id]
    taken = [claim(store, "w") for _ in range(3)]
    assert [job.id for job in taken] == [c.id, a.id, b.id] and taken[1].request["seed"] == 9
    assert claim(store, "w") is None
    with pytest.raises(JobError, match=r"in_progress; only what still waits can be moved"):
        store.move(a.id)
    with pytest.raises(JobError, match=r"can be edited"):
        store.edit(a.id, CAR, task="generate")


def test_a_full_queue_says_when_to_come_back(store):
    store.add("generate", CAR, most_waiting=1)
    with pytest.raises(QueueFullError, match="1 videos wait already") as caught:
        store.add("generate", CAR, most_waiting=1)
    assert caught.value.seconds > 0 and len(store.waiting()) == 1


def test_an_idempotency_key_makes_one_job(store):
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda _: store.add("generate", CAR, owner="me", idempotency_key="k"), range(24)))
    assert len({job.id for job in jobs}) == 1
    assert store.add("generate", CAR, owner="you", idempotency_key="k").id != jobs[0].id
    with pytest.raises(JobError, match="take a new one") as caught:
        store.add("generate", CAR | {"seed": 1}, owner="me", idempotency_key="k")
    assert caught.value.code == "idempotency_key_reused"


def test_many_workers_never_make_one_job_twice(tmp_path):
    store = JobStore(tmp_path / "studio.db")
    wanted = {store.add("generate", CAR | {"seed": number}).id for number in range(60)}
    start = threading.Barrier(6)

    def work(name):
        start.wait()
        mine = []
        while (job := claim(store, name)) is not None:
            mine.append(job.id)
            complete(store, job, {})
        store.close()
        return mine

    with ThreadPoolExecutor(6) as pool:
        made = [name for mine in pool.map(work, "abcdef") for name in mine]
    assert len(made) == 60 and set(made) == wanted
    store.close()


def test_what_a_dead_worker_made_is_tried_again_and_then_fails(store):
    job = store.add("generate", CAR)
    for attempt in range(1, ATTEMPTS + 1):
        zombie = claim(store, f"w{attempt}")
        (lost,) = give_up(store, f"w{attempt}", "its worker was killed (signal 9)")
        with pytest.raises(LostJobError):
            report(store, zombie, "denoising", 0.5)
        with pytest.raises(LostJobError):
            complete(store, zombie, {})
    assert (lost.id, lost.status, lost.error_code) == (job.id, "failed", "worker_lost")
    assert "killed (signal 9), 2 times" in lost.error
    again = store.retry(job.id)
    assert (again.status, again.error, again.attempt) == ("queued", None, 0)


def test_a_server_that_ends_is_not_held_against_the_job(store):
    store.add("generate", CAR)
    for number in range(5):
        claim(store, f"w{number}")
        (lost,) = give_up(store, f"w{number}", "the server ended", blame=False)
        assert (lost.status, lost.attempt) == ("queued", 0)


def test_stopping(store):
    waits, made = store.add("generate", CAR), store.add("generate", CAR)
    assert store.stop(waits.id).status == "cancelled"
    taken = claim(store, "w")
    assert store.stop(made.id, "keep").status == "in_progress"
    assert report(store, taken, "denoising", 0.5).stop == "keep"
    assert cancelled(store, taken).status == "cancelled"
    assert store.stop(made.id).stop == "keep"  # it has ended: nothing changes
    with pytest.raises(NoJobError, match="there is no video"):
        store.stop("video_" + 32 * "0")


def test_an_edit_changes_the_task_and_what_it_is_made_from(store):
    source = store.add("generate", CAR)
    job = store.add("extend", CAR | {"video": source.id, "seconds": 1}, parent=source.id)
    edited = store.edit(job.id, CAR, task="generate")
    assert (edited.task, edited.parent, edited.request) == ("generate", None, CAR)
    edited = store.edit(job.id, CAR | {"video": source.id}, task="remix", parent=source.id)
    assert (edited.task, edited.parent) == ("remix", source.id)


def test_only_who_sees_a_job_edits_it(store, tmp_path):
    model = Model("m", height=64, width=64, num_frames=16, fps=8.0, steps=10, streams=False)
    studio = Studio(store, Shelf(tmp_path), model)
    source, job = studio.submit(CAR), studio.submit(CAR, owner="me")
    with Shelf(tmp_path).new_result(claim(store, "w")) as folder:
        (folder / "video.mp4").write_bytes(b"x")
    with store.change() as db:
        db.execute("UPDATE jobs SET status = 'completed' WHERE id = ?", (source.id,))
    with pytest.raises(NoJobError):
        studio.edit(job.id, {"prompt": "x"}, lambda job: job.owner == "you")
    remix = studio.edit(job.id, {"task": "remix", "prompt": "x", "video": source.id})
    assert (remix.task, remix.parent) == ("remix", source.id)
    plain = studio.edit(job.id, CAR)
    assert (plain.task, plain.parent) == ("generate", None)
    studio.close()


def test_what_is_deleted_is_not_made_nor_answered_with(store):
    job = store.add("generate", CAR, idempotency_key="k")
    assert store.delete(job.id).status == "cancelled"
    with pytest.raises(NoJobError):
        store.retry(job.id)
    assert store.add("generate", CAR, idempotency_key="k").id != job.id
    store.stop(store.waiting()[0].id)
    with store.change() as db:
        db.execute("UPDATE jobs SET status = 'queued' WHERE id = ?", (job.id,))  # of an earlier version
    assert claim(store, "w") is None


def test_pages_search_and_undo(store):
    jobs = [store.add("generate", {"prompt": f"clip {number} in the Übersee"}) for number in range(7)]
    first = store.page(limit=3)
    second = store.page(limit=3, after=first[-1].id)
    assert [job.id for job in first + second] == [job.id for job in reversed(jobs)][:6]
    oldest = store.page(limit=2, after=jobs[0].id, newest_first=False)
    assert [job.id for job in oldest] == [jobs[1].id, jobs[2].id]
    assert [job.id for job in store.page(contains="CLIP 5")] == [jobs[5].id]
    assert len(store.page(contains="Übersee")) == 7 and not store.page(contains="% _")
    store.star(jobs[2].id)
    assert [job.id for job in store.page(starred=True)] == [jobs[2].id]
    store.delete(jobs[2].id)
    with pytest.raises(NoJobError):
        store.get(jobs[2].id)
    assert [job.id for job in store.page(deleted=True)] == [jobs[2].id]
    store.undelete(jobs[2].id)
    assert store.get(jobs[2].id).starred
    mark, _ = store.changed_since(0)
    store.star(jobs[0].id)
    assert [job.id for job in store.changed_since(mark)[1]] == [jobs[0].id]


class Queue(RuleBasedStateMachine):
    """Any order of what people and workers do: a job that has ended stays as it is, unless it is tried again."""

    jobs, claims = Bundle("jobs"), Bundle("claims")

    def __init__(self):
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.store = JobStore(f"{self.folder.name}/studio.db")
        self.store.db.execute("PRAGMA synchronous = OFF")
        self.ended = {}

    @rule(target=jobs)
    def add(self):
        return self.store.add("generate", CAR).id

    @rule(target=claims, worker=st.sampled_from("ab"))
    def take(self, worker):
        job = claim(self.store, worker)
        return multiple() if job is None else job

    @rule(job=jobs, how=st.sampled_from(("discard", "keep")))
    def stop(self, job, how):
        self.store.stop(job, how)

    @rule(job=claims)
    def step(self, job):
        self._try(report, job, "denoising", 0.5)

    @rule(job=consumes(claims), way=st.sampled_from(("complete", "fail", "cancelled")))
    def end(self, job, way):
        ways = {"complete": (complete, {}), "fail": (fail, "internal_error", "x"), "cancelled": (cancelled,)}
        do, *more = ways[way]
        self._try(do, job, *more)

    @rule(worker=st.sampled_from("ab"), blame=st.booleans())
    def die(self, worker, blame):
        give_up(self.store, worker, "it ended", blame=blame)

    @rule(job=jobs)
    def retry(self, job):
        if self.store.get(job).status in ("failed", "cancelled"):
            self.store.retry(job)
            self.ended.pop(job, None)

    def _try(self, do, job, *more):
        now = self.store.get(job.id)
        own = now.status == "in_progress" and (now.worker, now.attempt) == (job.worker, job.attempt)
        if own:
            do(self.store, job, *more)
        else:
            with pytest.raises(LostJobError):
                do(self.store, job, *more)

    @invariant()
    def what_has_ended_stays(self):
        for job in self.store.page(limit=1000):
            assert job.attempt <= ATTEMPTS
            assert (job.finished_at is not None) == job.ended == (job.status in ENDED)
            before = self.ended.setdefault(job.id, job) if job.ended else None
            assert before is None or before == job
        assert {job.id for job in self.store.waiting()}.isdisjoint(self.ended)

    def teardown(self):
        self.store.close()
        self.folder.cleanup()


Queue.TestCase.settings = settings(deadline=None, max_examples=30, stateful_step_count=30)
TestQueue = Queue.TestCase
