"""Carries jobs from the queue to a maker on another machine, one at a time, and their results back to the shelf.

The queue and the shelf stay the only truth: a job is this courier's as long as the queue says so, and a result is
there when it lies on the server's shelf.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...data.files import atomic_path
from ..jobs.claims import cancelled, claim, complete, fail, own, report
from ..jobs.job import Job, JobError, LostJobError
from ..jobs.shelf import Shelf
from ..jobs.store import JobStore
from ..jobs.wish import read_wish
from ..making.make import explain, find, recover
from ..making.worker import ROOM, say_it_failed
from ..making.workers import settle
from .remote import PIECE, Seen, Told, read_piece

LOOK = 0.1  # seconds between looks at a job that is being made
PENDING = ("queued", "in_progress")

logger = logging.getLogger(__name__)


class MakerLostError(RuntimeError):
    """The maker, or the way to it, is gone; the message says how."""


class StoppedError(RuntimeError):
    """The server ends; what is being made is tried again by the next one."""


class _DiscardedError(Exception):
    """Somebody cancelled the job, and nothing is to be kept."""


class Courier:
    """
    Args:
        store, shelf: of the server.
        name: under which it takes jobs, nobody else's.
        ask: calls a method of a `remote.Maker` and gives its answer. It raises what the method raised, or
            MakerLostError, or StoppedError.
        log: file for what the maker's worker logs.
        stopped: is set when the server ends: what is being made is left as it is.
    """

    def __init__(
        self, store: JobStore, shelf: Shelf, name: str, ask: Callable[..., Any], log: Path,
        stopped: threading.Event,
    ) -> None:  # fmt: skip
        self.store, self.shelf, self.name, self.ask = store, shelf, name, ask
        self._log, self._stopped, self._seen = log, stopped, Seen()

    def carry(self) -> bool:
        """Take the next job and see it through, to whatever end; False: there is none.

        Raises:
            MakerLostError: the job is in the queue again, or has failed.
            StoppedError: the server ends.
        """
        try:
            job = claim(self.store, self.name)
        except JobError as error:  # the disk is full
            logger.warning("%s", error)
            self._wait(ROOM)
            return False
        if job is None:
            return False
        try:
            self._make(job)
        except MakerLostError as error:
            self.lost(str(error))
            raise
        except LostJobError as error:
            logger.warning("%s", error)
        except JobError as error:
            say_it_failed(self.store, self.shelf, job, error, self._stopped)
        finally:
            self.shelf.forget_preview(job.id)
        while not self.ask("clear"):
            self._wait()
        return True

    def look(self, job: Job | None = None) -> Told:
        """How the maker is, and the job; what its worker logged is put into the log.

        Raises:
            MakerLostError: as above.
        """
        told: Told = self.ask("look", None if job is None else job.id, self._seen)
        if told.log:
            try:
                with self._log.open("ab") as log:
                    log.write(told.log)
            except OSError as error:  # no reason to end anything
                logger.warning("the worker's log cannot be kept: %s", error)
        self._seen = replace(self._seen, log=self._seen.log + len(told.log))
        return told

    def lost(self, why: str) -> None:
        """The maker is gone: what it made is tried again or fails, unless its result is here already."""
        while True:
            try:
                settle(self.store, self.shelf, lambda job: job.worker == self.name, why, blame=True)
                return
            except JobError as error:  # the disk is full
                logger.warning("%s", error)
                self._wait(ROOM)

    def _make(self, job: Job) -> None:
        """See a job through; what becomes of it is in the store then, as with `making.make`."""
        self.shelf.remove_result(job.id)  # of an earlier attempt, which nobody took
        try:
            self._see_through(job)
        except (StoppedError, MakerLostError, LostJobError):
            raise
        except _DiscardedError:
            cancelled(self.store, job)
        except Exception as error:
            if recover(self.store, self.shelf, job) is None:
                code, message = explain(error, self.shelf.folder)
                if code == "internal_error":
                    logger.error("%s (request %s) failed", job.id, job.request_id, exc_info=error)
                fail(self.store, job, code, message)

    def _see_through(self, job: Job) -> None:
        sources = self._send(job)
        self.ask("begin", replace(job, owner=""), sources)
        self._seen = replace(self._seen, preview=0, growing=0)
        told, asked = self._follow(job, self.look(job)), None
        while True:
            made = told.job
            assert made is not None
            if told.lost:
                self.lost(told.lost)
                return
            if made.status not in PENDING:
                self._end(job, made, told)
                return
            if made.status == "queued" and told.problem:  # its worker ended, and cannot be replaced
                raise MakerLostError(told.problem)
            if (how := own(self.store, job).stop) != asked:
                self.ask("stop", job.id, how)
                asked = how
            self._wait()
            told = self._follow(job, self.look(job), made)

    def _follow(self, job: Job, told: Told, before: Job | None = None) -> Told:
        """Tell everybody here what is news."""
        made = told.job
        assert made is not None
        if told.preview:
            with atomic_path(self.shelf.preview(job.id)) as path:
                path.write_bytes(told.preview)
        if told.growing:
            with self.shelf.growing(job.id).open("ab" if self._seen.growing else "wb") as file:
                file.write(told.growing)
        self._seen = replace(self._seen, preview=made.preview, growing=self._seen.growing + len(told.growing))
        if made.status == "in_progress" and (before is None or made.changed != before.changed):
            preview = made.preview if made.preview else None
            report(self.store, job, made.stage, made.progress, seconds_left=made.seconds_left, preview=preview)
        return told

    def _send(self, job: Job) -> list[Job]:
        """Send what a job is made from.

        Returns:
            The jobs among that, as far as the maker needs them.
        """
        sources, wish = [], read_wish(job.request)
        for name in wish.media():
            path, at = find(self.store, self.shelf, wish, name), 0
            while data := read_piece(path, at, PIECE):
                self._heed(job)
                self.ask("take", name, path.name, at, data)
                at += len(data)
            if name.startswith("video_"):
                sources.append(replace(self.store.get(name), owner=""))
        return sources

    def _end(self, job: Job, made: Job, told: Told) -> None:
        if made.status == "cancelled":
            cancelled(self.store, job)
        elif made.status == "failed":
            fail(self.store, job, made.error_code or "internal_error", made.error or "")
        else:
            self._fetch(job, made, told)
            complete(self.store, job, made.result)

    def _fetch(self, job: Job, made: Job, told: Told) -> None:
        """Put a result on the shelf, whole or not at all."""
        report(self.store, job, "fetching", made.progress)
        with self.shelf.new_result(job) as folder:
            for name, size in told.files.items():
                with (folder / Path(name).name).open("xb") as file:
                    while (at := file.tell()) < size:
                        self._heed(job)
                        data = self.ask("piece", job.id, name, at)
                        if not data:
                            raise MakerLostError(f"{name} of {job.id} ended after {at} of {size} bytes")
                        file.write(data)
            self.shelf.write_about(folder, job, made.result)
            own(self.store, job)

    def _wait(self, seconds: float = LOOK) -> None:
        if self._stopped.wait(seconds):
            raise StoppedError

    def _heed(self, job: Job) -> None:
        """Raise if the job is to be gone on with no more."""
        if own(self.store, job).stop == "discard":
            raise _DiscardedError
