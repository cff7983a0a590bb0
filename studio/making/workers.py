"""The workers of a studio: started, watched, and started again when they end; none outlives the server.

What a worker was making when it ended is looked at first: if its result lies on the shelf the job is complete,
else it is tried again or fails.
"""

import logging
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from ..jobs.claims import give_up, making
from ..jobs.job import Job
from ..jobs.shelf import Shelf
from ..jobs.store import JobStore
from ..options import finish_words
from .finishing import PLAIN, Finish
from .make import recover
from .worker import READY, UNLOADABLE

LOOK = 0.1  # seconds between looks at the workers
PAUSES = (0.5, 2.0, 10.0, 60.0)  # seconds before a worker that ended before it was ready is started again
PATIENCE = 5.0  # seconds for a worker to end when it is told to

logger = logging.getLogger(__name__)


@dataclass
class _Worker:
    """A place for a worker, and the process that fills it."""

    number: int
    command: Sequence[str]
    name: str = ""
    process: "subprocess.Popen[str] | None" = None
    ready: int = 0  # models that it has loaded
    failures: int = 0  # to start, in a row
    start_at: float = 0.0
    problem: str = ""  # why it can make nothing, in its own words
    hopeless: bool = False  # it said that starting it again will not help
    listener: threading.Thread | None = None


class Workers:
    """Worker processes, one a device.

    Attributes:
        blamed: whether a job may be at fault when its process ends.
        patience: seconds for a process to end when it is told to.
        why_ended: the worker that ended last.

    Args:
        store, shelf: of the studio; no other server may use them.
        commands: what starts each, without its name; `worker_command` makes one.
        on_lost: called with what became of the jobs of a worker that ended.
    """

    blamed = True
    patience = PATIENCE
    why_ended = ""

    def __init__(
        self, store: JobStore, shelf: Shelf, commands: Sequence[Sequence[str]],
        on_lost: Callable[[list[Job]], None] = lambda jobs: None,
    ) -> None:  # fmt: skip
        self.store, self.shelf, self.on_lost = store, shelf, on_lost
        self._workers = [_Worker(number, command) for number, command in enumerate(commands)]
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._look_after, name="workers", daemon=True)

    def start(self) -> None:
        """Settle what an earlier server left, and start."""
        self.shelf.sweep()
        self.on_lost(settle(self.store, self.shelf, lambda job: True, "the server ended", blame=False))
        self._watch.start()

    def stop(self) -> None:
        """End all workers; what they make is tried again by the next server."""
        self._stop.set()
        self._watch.join()
        processes = [worker.process for worker in self._workers if worker.process is not None]
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in processes:
            try:
                process.wait(self.patience)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.on_lost(settle(self.store, self.shelf, self._is_ours, "the server was stopped", blame=False))

    @property
    def ready(self) -> int:
        """How many have their model loaded."""
        return sum(worker.ready for worker in self._workers)

    @property
    def problem(self) -> str:
        """Why no worker can start; "": one can."""
        problems = [worker.problem for worker in self._workers]
        return problems[0] if problems and all(problems) else ""

    def _look_after(self) -> None:
        while not self._stop.wait(LOOK):
            for worker in self._workers:
                try:
                    self._look_at(worker)
                except Exception:  # a full disk, say: what was left undone is done at a next look
                    logger.exception("worker %s cannot be looked after", worker.number)
                    self._stop.wait(PAUSES[0])
        self.store.close()

    def _look_at(self, worker: _Worker) -> None:
        if worker.process is None:
            if not worker.hopeless and time.monotonic() >= worker.start_at:
                self._begin(worker)
        elif worker.process.poll() is not None:
            self._ended(worker, worker.process.returncode)

    def _begin(self, worker: _Worker) -> None:
        worker.name = f"{worker.number}-{secrets.token_hex(4)}"
        with (self.shelf.folder / "logs" / f"worker-{worker.number}.log").open("ab") as log:
            worker.process = subprocess.Popen(
                [*worker.command, "--name", worker.name],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=self.shelf.folder,
                process_group=0,  # Ctrl+C is for the server, which then ends its workers
            )  # fmt: skip
        worker.listener = threading.Thread(target=self._listen, args=(worker, worker.process.stdout), daemon=True)
        worker.listener.start()

    def _listen(self, worker: _Worker, said: IO[str]) -> None:
        with said:
            for line in said:
                word, _, count = line.strip().partition(" ")
                if word == READY:
                    worker.ready, worker.failures, worker.problem = int(count or 1), 0, ""
                elif word:
                    worker.problem = line.strip()

    def _ended(self, worker: _Worker, status: int) -> None:
        why = (
            f"its worker process ended with status {status}"
            if status >= 0
            else f"its worker was killed (signal {-status})"
        )
        logger.warning("worker %s: %s", worker.number, why)
        assert worker.process is not None and worker.process.stdin is not None and worker.listener is not None
        worker.process.stdin.close()
        worker.listener.join(PATIENCE)  # all that it said
        self.why_ended = why
        mine = partial(_made_by, worker.name)
        self.on_lost(settle(self.store, self.shelf, mine, why, blame=self.blamed))
        if not worker.ready:
            worker.failures += 1
            worker.start_at = time.monotonic() + PAUSES[min(worker.failures, len(PAUSES)) - 1]
        if status == UNLOADABLE:
            worker.hopeless = True
            worker.problem = worker.problem or "the model cannot be loaded; its log says why"
        worker.process, worker.ready = None, 0

    def _is_ours(self, job: Job) -> bool:
        return any(_made_by(worker.name, job) for worker in self._workers)


def settle(store: JobStore, shelf: Shelf, lost: Callable[[Job], bool], why: str, *, blame: bool) -> list[Job]:
    """Say what becomes of jobs whose worker has ended: those with a result are complete, the others `give_up`.

    Args:
        lost: tells whether a job that is being made is one of them.
        why, blame: see `give_up`.

    Returns:
        Those without a result, as they are now.
    """
    names = set()
    for job in filter(lost, making(store)):
        names.add(job.worker)
        recover(store, shelf, job)
    jobs = [job for name in sorted(names) for job in give_up(store, name, why, blame=blame)]
    for job in jobs:
        shelf.forget_preview(job.id)
    return jobs


def _made_by(name: str, job: Job) -> bool:
    """Whether a process makes a job, under its own name or one below it."""
    return bool(name) and (job.worker == name or job.worker.startswith(f"{name}/"))


def worker_command(
    folder: Path, model: str | None = None, device: str | None = None, dtype: str | None = None,
    finish: Finish = PLAIN,
) -> list[str]:  # fmt: skip
    """What starts a worker process of a studio."""
    if model is not None and (place := Path(model).expanduser()).is_dir():
        model = str(place.absolute())  # a worker runs in the studio's folder
    options = {"--model": model, "--device": device, "--dtype": dtype}
    given = [word for name, value in options.items() if value is not None for word in (name, value)]
    return [sys.executable, "-m", "kinema.studio.making.worker", str(folder), *given, *finish_words(finish)]
