"""One batch, worked on and committed; and the processes that do it where a decoder may crash or hang.

A process is a fresh interpreter that needs nothing of the program which starts it: a script without a main guard,
a notebook and a Ray actor all can. It ends with that program, at once.
"""

import contextlib
import json
import math
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from ..settings import CaptionSettings
from ..stage import Stage, Work
from ..tables import Row
from .commits import CaptionError, Fence, StageTable, explained_if_full

TRIES_ALONE = 2  # of a row on which a process crashed or hung
REACH_SECONDS = 30.0  # in which a file begins to be read; of one that does not, nothing is known


@dataclass(frozen=True)
class Job:
    """A stage at work in a dataset."""

    stage: Stage
    settings: CaptionSettings
    fence: Fence

    @property
    def table(self) -> StageTable:
        """Where its rows go."""
        return StageTable(self.fence.dataset, self.stage.name, self.stage.schema)

    def work(self) -> Work:
        """The stage's function over rows; loads its model."""
        return self.stage.worker(self.fence.dataset, self.settings)


@dataclass
class Receipt:
    """What became of a batch: counts alone."""

    inputs: int = 0
    rows: int = 0
    seconds: float = 0.0
    told: dict[str, float] = field(default_factory=dict)  # "rejects", "cost"
    set_aside: int = 0  # input rows that crashed their worker, or hung

    def add(self, other: "Receipt") -> None:
        """Count another's too."""
        self.inputs += other.inputs
        self.rows += other.rows
        self.seconds += other.seconds
        self.set_aside += other.set_aside
        for name, value in other.told.items():
            self.told[name] = self.told.get(name, 0.0) + value


def do_batch(job: Job, work: Work, rows: list[Row]) -> Receipt:
    """Work on a batch and commit what it became.

    Raises:
        CaptionError: the disk is full, or another run has begun.
        Exception: whatever the stage's function raised.
    """
    begin = time.perf_counter()
    with explained_if_full(job.fence.dataset):
        made = work(rows)
    told = {name: float(value) for name, value in job.stage.tell(made, job.settings).items()}
    return _commit(job, rows, made, {"seconds": round(time.perf_counter() - begin, 6), "told": told})


def receipt_of(record: Mapping[str, Any]) -> Receipt:
    """The receipt of a batch, from its record."""
    return Receipt(
        len(record["inputs"]), record["rows"], record.get("seconds", 0.0), dict(record.get("told", {})),
        len(record.get("set_aside", [])),
    )  # fmt: skip


def _commit(job: Job, rows: list[Row], made: list[Row], facts: dict[str, Any]) -> Receipt:
    with job.fence.held():
        return receipt_of(job.table.commit([row[job.stage.key] for row in rows], made, **facts))


class WorkerDied(Exception):
    """A worker process crashed, or was ended because it hung; the message says which."""


class WorkerProcess:
    """A process that works on batches, replaced by a fresh one when it crashes or hangs.

    Args:
        threads: that numerical libraries in it may use.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._job: Job | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def begin(self, job: Job) -> None:
        """Take on a stage.

        Raises:
            CaptionError: the process ends while it loads what the stage needs.
            Exception: whatever the stage's `worker` raised.
        """
        self._job = job
        if self._process is None:
            self._start()
        try:
            self._ask(("begin", job), math.inf)
        except WorkerDied as died:
            raise CaptionError(
                f"a worker of stage {job.stage.name} {died} while it was starting, before it saw any file; "
                "`kinema doctor` looks at the installation"
            ) from None

    def do(self, rows: list[Row]) -> Receipt:
        """Have a batch worked on and committed. A row that crashes or hangs the process twice is set aside."""
        # Ray gives a batch again whose actor was lost, maybe after some of its rows were committed alone.
        apart = len(rows) > 1 and any(self._recorded([row]) is not None for row in rows)
        try:
            if not apart:
                return self._attempt(rows)
        except WorkerDied:
            pass
        total = Receipt()
        for row in rows:
            record = self._recorded([row]) if apart else None
            total.add(receipt_of(record) if record else self._alone(row, TRIES_ALONE - (len(rows) == 1)))
        return total

    def stop(self) -> None:
        """End the process at once, from another thread than the one that waits for it."""
        self._stopped = True
        if (process := self._process) is not None:
            process.kill()

    def close(self) -> None:
        """End the process; no thread may be waiting for it."""
        self._stopped = True
        self._reap(at_once=True)

    def _alone(self, row: Row, tries: int) -> Receipt:
        assert self._job is not None
        reason = ""
        for _ in range(tries):
            try:
                return self._attempt([row])
            except WorkerDied as died:
                reason = f"the process that worked on it {died}"
        check_reachable(row, reason)
        return set_aside(self._job, row, reason)

    def _attempt(self, rows: list[Row]) -> Receipt:
        assert self._job is not None
        if self._process is None:
            self.begin(self._job)
        try:
            return self._ask(("do", rows), self._job.settings.run.hang_seconds * len(rows))
        except WorkerDied:
            record = self._recorded(rows)
            if record is None:
                raise
            return receipt_of(record)  # it died after the commit

    def _recorded(self, rows: list[Row]) -> dict[str, Any] | None:
        """The record of the batch of these rows; None if it is not finished."""
        assert self._job is not None
        return self._job.table.recorded([row[self._job.stage.key] for row in rows])

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, json.dumps(sys.path), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | {"OMP_NUM_THREADS": str(self._threads)},
            )
        self._connection = Connection(ours.detach())

    def _ask(self, message: Any, patience: float) -> Any:
        if self._stopped:
            raise KeyboardInterrupt
        try:
            self._connection.send_bytes(pickle.dumps(message))
            if not self._connection.poll(None if patience == math.inf else patience):
                self._reap(at_once=True)
                raise WorkerDied(f"hung for more than {patience:g} s")
            kind, answer = pickle.loads(self._connection.recv_bytes())
        except (EOFError, ConnectionError):
            if self._stopped:
                raise KeyboardInterrupt from None
            raise WorkerDied(f"ended with {_cause(self._reap())}") from None
        if kind == "raised":
            raise answer
        return answer

    def _reap(self, *, at_once: bool = False) -> int:
        """Be rid of the process; what it ended with."""
        process, self._process = self._process, None
        if process is None:
            return 0
        if not at_once:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)  # it has closed its end, so it is ending by itself
        process.kill()
        self._connection.close()
        return process.wait()


def check_reachable(row: Row, reason: str) -> None:
    """Before a row is blamed for what ended its process: on a share that hangs, every file does that.

    Args:
        row: with the "path" of a file on this machine, if it is of one.
        reason: what ended the process.

    Raises:
        CaptionError: the file does not begin to be read.
    """
    if not (path := row.get("path")):
        return
    read = [sys.executable, "-S", "-c", "import sys; open(sys.argv[1], 'rb').read(1)", path]
    try:
        done = subprocess.run(
            read, timeout=REACH_SECONDS, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        why = done.stderr.strip().rpartition("\n")[2] if done.returncode else ""
    except subprocess.TimeoutExpired:
        why = f"reading it takes longer than {REACH_SECONDS:g} s"
    if why:
        raise CaptionError(
            f"{path}: {reason}, and the file cannot be read now ({why}). If a disk or a share is missing, "
            "bring it back; if the file was removed on purpose, nothing needs to be done. Then `kinema caption "
            "--out DATASET` goes on where this run stopped"
        )


def set_aside(job: Job, row: Row, reason: str) -> Receipt:
    """Commit, in place of what could not be made of a row, that it could not."""
    stage = job.stage
    if stage.failed is not None:
        made = stage.failed(row, reason)
    elif {"status", "reason"} <= set(stage.schema.names):
        known = {name: value for name, value in row.items() if name in stage.schema.names}
        made = [{**known, "status": "quarantined", "reason": reason}]
    else:
        made = []
    told = {name: float(value) for name, value in stage.tell(made, job.settings).items()}
    facts = {"told": told, "set_aside": [{"input": row[stage.key], "reason": reason}]}
    return _commit(job, [row], made, facts)


def _cause(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"{name} (out of memory?)" if name == "SIGKILL" else name


_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from kinema.captioner.engine.workers import serve; "
    "serve(int(sys.argv[2]))"
)


def serve(handle: int) -> None:
    """What a worker process does: answer the messages of its parent until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    connection = Connection(handle)
    parent = os.getppid()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    do: Callable[[list[Row]], Receipt] | None = None
    while True:
        try:
            content = connection.recv_bytes()
        except (EOFError, ConnectionError):
            os._exit(0)
        try:
            kind, what = pickle.loads(content)
            if kind == "begin":
                do = None  # the last stage's model goes before the next one's comes
                do = _doer(what)
                answer: Any = None
            else:
                assert do is not None
                answer = do(what)
            reply = ("answered", answer)
        except Exception as error:
            reply = ("raised", portable(error))
        try:
            connection.send_bytes(pickle.dumps(reply))
        except (EOFError, ConnectionError):
            os._exit(0)


def _doer(job: Job) -> Callable[[list[Row]], Receipt]:
    work = job.work()
    return lambda rows: do_batch(job, work, rows)


def _end_with(parent: int) -> None:
    """Do not go on working for a parent that was killed."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def portable(error: Exception) -> Exception:
    """The same error if it can be sent, else one that says the same; with where it was raised."""
    import traceback

    where = "".join(traceback.format_exception(error))
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = CaptionError(f"{type(error).__name__}: {error}")
    if isinstance(copy, Exception):
        copy.add_note(f"raised in a worker process:\n{where}")
        return copy
    return CaptionError(f"{type(error).__name__}: {error}")
