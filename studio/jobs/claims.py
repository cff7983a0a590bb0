"""What workers do with jobs: take the next one, say how far it is and what became of it, and be given up for dead.

What a worker reports is taken only while the job is its own: one that was given up for dead, and is not, changes
nothing.
"""

import json
import sqlite3
import time
from collections.abc import Mapping
from typing import Any

from .job import Job, LostJobError, Status
from .rows import one, put, read_row
from .store import JobStore

ATTEMPTS = 2  # of a job whose worker ends; then it fails


def claim(store: JobStore, worker: str) -> Job | None:
    """Take the next job; None: there is none."""
    next_one = "SELECT * FROM jobs WHERE status = 'queued' AND deleted_at IS NULL ORDER BY position, id LIMIT 1"
    if store.db.execute(next_one).fetchone() is None:
        return None  # without a lock: idle workers ask all the time
    with store.change() as db:
        row = db.execute(next_one).fetchone()
        if row is None:
            return None
        job = read_row(row)
        return put(
            db, job.id, status="in_progress", worker=worker, attempt=job.attempt + 1, started_at=time.time(),
            stage="starting", progress=0.0, seconds_left=None, preview=0,
        )  # fmt: skip


def report(
    store: JobStore,
    job: Job,
    stage: str,
    progress: float,
    *,
    seconds_left: float | None = None,
    preview: int | None = None,
) -> Job:
    """Say how far a job is; the row that comes back tells whether to stop.

    Raises:
        LostJobError: it is not this worker's any more.
    """
    with store.change() as db:
        _check_own(db, job)
        values: dict[str, Any] = {"stage": stage, "progress": progress, "seconds_left": seconds_left}
        return put(db, job.id, **values | ({} if preview is None else {"preview": preview}))


def own(store: JobStore, job: Job) -> Job:
    """A job as it is now, where there is nothing to report.

    Raises:
        LostJobError: as above.
    """
    return _check_own(store.db, job)


def complete(store: JobStore, job: Job, result: Mapping[str, Any]) -> Job:
    """Its result lies in its folder. It is cancelled if that was said meanwhile; `clean` removes the folder then.

    Raises:
        LostJobError: as above.
    """
    done = {"result": json.dumps(result), "progress": 1.0, "used_at": time.time()}
    return _end(store, job, "completed", **done)


def fail(store: JobStore, job: Job, code: str, message: str) -> Job:
    """It cannot be made.

    Raises:
        LostJobError: as above.
    """
    return _end(store, job, "failed", error_code=code, error=message)


def cancelled(store: JobStore, job: Job) -> Job:
    """It was stopped, and nothing of it is kept.

    Raises:
        LostJobError: as above.
    """
    return _end(store, job, "cancelled")


def give_up(store: JobStore, worker: str, why: str, *, blame: bool = True) -> list[Job]:
    """A worker has ended: its jobs are tried again, `ATTEMPTS` times in all, or fail; what was being cancelled is.

    Args:
        worker: its name.
        why: it ended.
        blame: whether the jobs may be at fault, and the attempt counts.

    Returns:
        Its jobs, as they are now.
    """
    with store.change() as db:
        rows = db.execute("SELECT * FROM jobs WHERE status = 'in_progress' AND worker = ?", (worker,)).fetchall()
        changed = []
        for job in map(read_row, rows):
            if job.stop is not None:
                values: dict[str, Any] = {"status": "cancelled", "finished_at": time.time()}
            elif job.attempt < ATTEMPTS or not blame:
                (first,) = db.execute("SELECT MIN(position) FROM jobs WHERE status = 'queued'").fetchone()
                values = {"status": "queued", "progress": 0.0, "attempt": job.attempt - (not blame)}
                if first is not None and first <= job.position:  # those that wait were moved since
                    values["position"] = first - 1
            else:
                error = f"{why}, {job.attempt} times while it made this video; the server's log may say why"
                values = {"status": "failed", "finished_at": time.time(), "error": error,
                          "error_code": "worker_lost"}  # fmt: skip
            changed.append(put(db, job.id, stage="", seconds_left=None, **values))
        return changed


def making(store: JobStore) -> list[Job]:
    """What is being made, or was when its worker ended."""
    return [read_row(row) for row in store.db.execute("SELECT * FROM jobs WHERE status = 'in_progress'")]


def _end(store: JobStore, job: Job, status: Status, **values: Any) -> Job:
    with store.change() as db:
        if _check_own(db, job).stop == "discard" and status == "completed":
            status, values = "cancelled", {}
        return put(db, job.id, status=status, finished_at=time.time(), stage="", seconds_left=None, **values)


def _check_own(db: sqlite3.Connection, job: Job) -> Job:
    now = one(db, job.id)
    if now.status != "in_progress" or (now.worker, now.attempt) != (job.worker, job.attempt):
        raise LostJobError(f"{job.id} is {now.status}, and not made by {job.worker} any more")
    return now
