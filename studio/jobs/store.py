"""The queue of jobs in one SQLite file: it outlives every process, and every process may look at it and change it.

A change is one transaction, on the disk when its call returns. `claims` has what workers do with the jobs.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .job import FULL, Job, JobError, NoJobError, QueueFullError, Status, Stop, new_id
from .rows import next_change, one, put, read_row

VERSION = 1
WAIT = 30.0  # seconds for another process's transaction
NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)  # the second when a write stops halfway
USUAL = 30.0  # seconds of a job, as long as none was ever made
_TABLES = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, task TEXT NOT NULL, request TEXT NOT NULL, status TEXT NOT NULL, position REAL NOT NULL,
    created_at REAL NOT NULL, attempt INTEGER NOT NULL DEFAULT 0, worker TEXT NOT NULL DEFAULT '',
    stage TEXT NOT NULL DEFAULT '', progress REAL NOT NULL DEFAULT 0, seconds_left REAL,
    preview INTEGER NOT NULL DEFAULT 0, stop TEXT, error_code TEXT, error TEXT, result TEXT NOT NULL DEFAULT '{}',
    parent TEXT, owner TEXT NOT NULL DEFAULT '', starred INTEGER NOT NULL DEFAULT 0,
    request_id TEXT NOT NULL DEFAULT '', started_at REAL, finished_at REAL, deleted_at REAL,
    used_at REAL, cleaned INTEGER NOT NULL DEFAULT 0,
    changed INTEGER NOT NULL
);
CREATE INDEX jobs_waiting ON jobs (position) WHERE status = 'queued';
CREATE INDEX jobs_newest ON jobs (created_at, id);
CREATE INDEX jobs_changed ON jobs (changed);
CREATE TABLE idempotency (
    owner TEXT NOT NULL, key TEXT NOT NULL, request TEXT NOT NULL, job TEXT NOT NULL, created_at REAL NOT NULL,
    PRIMARY KEY (owner, key)
);
CREATE TABLE counter (changed INTEGER NOT NULL);
INSERT INTO counter VALUES (0);
"""


class JobStore:
    """The jobs of one studio. Threads and processes may share the file; each thread has a connection of its own.

    Args:
        path: of the SQLite file; made if there is none.

    Raises:
        JobError: the file is of a newer Kinema, or no such file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._local = threading.local()
        with self.change() as db:
            (there,) = db.execute("PRAGMA user_version").fetchone()
            if there > VERSION:
                raise JobError(f"{self.path} was written by a newer Kinema; install that, or give another folder")
            if there == 0:
                for statement in _TABLES.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {VERSION}")

    def add(
        self, task: str, request: Mapping[str, Any], *, owner: str = "", parent: str | None = None,
        request_id: str = "", most_waiting: int | None = None, most_waiting_each: int | None = None,
        idempotency_key: str | None = None,
    ) -> Job:  # fmt: skip
        """Put a job at the end of the queue.

        Args:
            task, request, owner, parent, request_id: see `Job`.
            most_waiting, most_waiting_each: jobs that may wait, in all and of one owner; None: any number.
            idempotency_key: a second call of an owner with the same key and request gives the first one's job.

        Raises:
            QueueFullError: as many wait already.
            JobError: the key was used for another request.
        """
        text = json.dumps({"task": task, "request": request, "parent": parent}, sort_keys=True)
        with self.change() as db:
            if idempotency_key is not None:
                sql = "SELECT request, job FROM idempotency WHERE owner = ? AND key = ?"
                if found := db.execute(sql, (owner, idempotency_key)).fetchone():
                    if found["request"] != text:
                        raise JobError(
                            f"the idempotency key {idempotency_key!r} stands for another request; take a new one",
                            "idempotency_key_reused",
                        )
                    return one(db, found["job"])
            sql = "SELECT COUNT(*), COALESCE(SUM(owner = ?), 0) FROM jobs WHERE status = 'queued'"
            for waiting, most in zip(db.execute(sql, (owner,)).fetchone(), (most_waiting, most_waiting_each)):
                if most is not None and waiting >= most:
                    raise QueueFullError(waiting, _usual(db))
            (last,) = db.execute("SELECT COALESCE(MAX(position), 0) FROM jobs").fetchone()
            now, name = time.time(), new_id()
            values = {
                "id": name, "task": task, "request": json.dumps(request), "status": "queued",
                "position": last + 1, "created_at": now, "owner": owner, "parent": parent,
                "request_id": request_id, "changed": next_change(db),
            }  # fmt: skip
            db.execute(
                f"INSERT INTO jobs ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
                tuple(values.values()),
            )
            if idempotency_key is not None:
                db.execute(
                    "INSERT INTO idempotency VALUES (?, ?, ?, ?, ?)", (owner, idempotency_key, text, name, now)
                )
            return one(db, name)

    def get(self, job_id: str) -> Job:
        """
        Raises:
            NoJobError: there is none, or it was deleted.
        """
        job = one(self.db, job_id)
        if job.deleted_at is not None:
            raise NoJobError(job_id)
        return job

    def page(
        self, *, limit: int = 20, after: str | None = None, newest_first: bool = True,
        statuses: tuple[Status, ...] | None = None, owner: str | None = None, contains: str = "",
        starred: bool = False, deleted: bool = False,
    ) -> list[Job]:  # fmt: skip
        """Jobs by the time they were asked for.

        Args:
            limit: at most so many.
            after: the last job of the page before.
            newest_first: or oldest.
            statuses: only these; None: all.
            owner: only theirs; None: everybody's.
            contains: words that all stand in the request, whatever their case.
            starred: only these.
            deleted: those that were, instead of those that are there.

        Raises:
            NoJobError: `after` is none.
        """
        where, values = [f"deleted_at IS {'NOT ' if deleted else ''}NULL"], []
        if after is not None:
            place = one(self.db, after)
            where.append(f"(created_at, id) {'<' if newest_first else '>'} (?, ?)")
            values += [place.created_at, place.id]
        if statuses is not None:
            where.append(f"status IN ({', '.join('?' * len(statuses))})")
            values += statuses
        if owner is not None:
            where.append("owner = ?")
            values.append(owner)
        for word in contains.split():
            where.append("INSTR(LOWER(request), LOWER(?)) > 0")
            values.append(json.dumps(word)[1:-1])
        if starred:
            where.append("starred")
        way = "DESC" if newest_first else "ASC"
        sql = f"SELECT * FROM jobs WHERE {' AND '.join(where)} ORDER BY created_at {way}, id {way} LIMIT ?"
        return [read_row(row) for row in self.db.execute(sql, (*values, limit))]

    def waiting(self) -> list[Job]:
        """The queue: what is being made, and then what waits, the next one first."""
        sql = (
            "SELECT * FROM jobs WHERE status IN ('queued', 'in_progress') AND deleted_at IS NULL "
            "ORDER BY status = 'queued', position, id"
        )
        return [read_row(row) for row in self.db.execute(sql)]

    def counts(self) -> dict[str, int]:
        """Jobs by status, deleted ones left out."""
        sql = "SELECT status, COUNT(*) FROM jobs WHERE deleted_at IS NULL GROUP BY status"
        return dict(self.db.execute(sql).fetchall())

    def changed_since(self, mark: int) -> tuple[int, list[Job]]:
        """(the newest mark, jobs that changed after an older one, deleted ones, too)."""
        rows = self.db.execute("SELECT * FROM jobs WHERE changed > ? ORDER BY changed", (mark,)).fetchall()
        return max((row["changed"] for row in rows), default=mark), [read_row(row) for row in rows]

    def move(self, job_id: str, before: str | None = None) -> Job:
        """Let a waiting job be made before another waiting one; None: last of all.

        Raises:
            NoJobError, JobError: one of them does not wait.
        """
        with self.change() as db:
            _check_waits(one(db, job_id), "moved")
            order = [row["id"] for row in db.execute(
                "SELECT id FROM jobs WHERE status = 'queued' AND id != ? ORDER BY position, id", (job_id,)
            )]  # fmt: skip
            if before is not None:
                _check_waits(one(db, before), "a place in the queue")
            at = order.index(before) if before is not None else len(order)
            order.insert(at, job_id)
            for place, name in enumerate(order):
                db.execute("UPDATE jobs SET position = ? WHERE id = ?", (place, name))
            return put(db, job_id)

    def edit(self, job_id: str, request: Mapping[str, Any], *, task: str, parent: str | None = None) -> Job:
        """Give a waiting job another request, with its task and the job that it is made from.

        Raises:
            NoJobError, JobError: it does not wait.
        """
        with self.change() as db:
            _check_waits(one(db, job_id), "edited")
            return put(db, job_id, request=json.dumps(request), task=task, parent=parent)

    def stop(self, job_id: str, how: Stop = "discard") -> Job:
        """Cancel a job: at once if it waits, within its next step if it is being made; nothing if it has ended.

        Args:
            how: "discard" what there is, or "keep" the frames as they are by then.
        """
        with self.change() as db:
            return _stop(db, job_id, how)

    def star(self, job_id: str, starred: bool = True) -> Job:
        """Keep a result from being cleaned away."""
        with self.change() as db:
            return put(db, job_id, starred=int(starred))

    def used(self, job_id: str) -> None:
        """Somebody looks at its files: they are cleaned away later. Nothing is told of it."""
        with self.change() as db:
            db.execute("UPDATE jobs SET used_at = ? WHERE id = ?", (time.time(), job_id))

    def mark_cleaned(self, job_id: str) -> bool:
        """Its files are deleted to make room; False: they stay, it is starred or one in the queue needs it."""
        needed = "SELECT 1 FROM jobs WHERE status IN ('queued', 'in_progress') AND INSTR(request, ?)"
        with self.change() as db:
            if one(db, job_id).starred or db.execute(needed, (job_id,)).fetchone() is not None:
                return False
            return put(db, job_id, cleaned=1).cleaned

    def delete(self, job_id: str) -> Job:
        """Hide a job, and stop it if it has not ended. `undelete` brings it back until it is purged."""
        with self.change() as db:
            _stop(db, job_id, "discard")
            db.execute("DELETE FROM idempotency WHERE job = ?", (job_id,))  # who asks again wants a video
            return put(db, job_id, deleted_at=time.time())

    def undelete(self, job_id: str) -> Job:
        """Bring a deleted job back."""
        with self.change() as db:
            return put(db, job_id, deleted_at=None)

    def purge(
        self, job_id: str, deleted_before: float | None = None, first: Callable[[], object] = lambda: None
    ) -> bool:
        """Forget a job for ever; its files are the caller's. False: it was not deleted before a given time.

        Args:
            first: called if it is forgotten, just before it is.

        Raises:
            JobError: it is being made.
        """
        with self.change() as db:
            job = one(db, job_id)
            if deleted_before is not None and (job.deleted_at is None or job.deleted_at >= deleted_before):
                return False
            if job.status == "in_progress":
                raise JobError(f"{job_id} is being made; stop it first")
            first()
            db.execute("DELETE FROM idempotency WHERE job = ?", (job_id,))
            db.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
            return True

    def retry(self, job_id: str) -> Job:
        """Put a job that failed or was cancelled back at the end of the queue.

        Raises:
            NoJobError, JobError: it was deleted, or has not failed.
        """
        with self.change() as db:
            job = one(db, job_id)
            if job.deleted_at is not None:
                raise NoJobError(job_id)
            if job.status not in ("failed", "cancelled"):
                raise JobError(f"{job_id} is {job.status}; only what failed or was cancelled is tried again")
            (last,) = db.execute("SELECT MAX(position) FROM jobs").fetchone()
            return put(
                db, job_id, status="queued", position=last + 1, attempt=0, stop=None, error=None, error_code=None,
                finished_at=None, progress=0.0, stage="", preview=0,
            )  # fmt: skip

    def seconds_a_job(self) -> float:
        """How long the last jobs took, their mean."""
        return _usual(self.db)

    def close(self) -> None:
        """Close this thread's connection."""
        if (db := getattr(self._local, "db", None)) is not None:
            db.close()
            del self._local.db

    @property
    def db(self) -> sqlite3.Connection:
        """This thread's connection."""
        if not hasattr(self._local, "db"):
            db = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")  # a finished job outlives a loss of power, too
            self._local.db = db
        return self._local.db

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction that has the only lock for writing from its start on.

        Raises:
            JobError: the disk is full; nothing was changed.
        """
        try:
            db = self.db
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in NO_ROOM:
                raise JobError(FULL, "disk_full") from error
            raise


def _usual(db: sqlite3.Connection) -> float:
    sql = (
        "SELECT AVG(seconds) FROM (SELECT finished_at - started_at AS seconds FROM jobs "
        "WHERE status = 'completed' ORDER BY finished_at DESC LIMIT 20)"
    )
    (seconds,) = db.execute(sql).fetchone()
    return USUAL if seconds is None else seconds


def _stop(db: sqlite3.Connection, job_id: str, how: Stop) -> Job:
    job = one(db, job_id)
    if job.status == "queued":
        return put(db, job_id, status="cancelled", finished_at=time.time(), stage="", stop=how)
    return put(db, job_id, stop=how) if job.status == "in_progress" else job


def _check_waits(job: Job, what: str) -> None:
    if job.status != "queued" or job.deleted_at is not None:
        state = "deleted" if job.deleted_at is not None else job.status
        raise JobError(f"{job.id} is {state}; only what still waits can be {what}")
