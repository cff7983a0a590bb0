"""A studio of one worker on another machine: it is given a job with its media, and gives the result back.

The server's machine and this one share no files: what goes either way goes in pieces. Asking twice does no harm,
so a question whose answer was lost is asked again.
"""

import fcntl
import json
import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import IO

from ..jobs.claims import ATTEMPTS
from ..jobs.job import Job, JobError
from ..jobs.rows import one, put
from ..jobs.shelf import Shelf
from ..jobs.store import JobStore
from ..making.workers import Workers, worker_command

PIECE = 4 << 20  # bytes of a file that travel at a time
LOG_PIECE = 64 << 10
PREFIX = "kinema-worker-"


@dataclass(frozen=True)
class Seen:
    """What the one who asks has already.

    Attributes:
        preview: number of the preview.
        log, growing: bytes of the worker's log, and of the file that grows while a video is made.
    """

    preview: int = 0
    log: int = 0
    growing: int = 0


@dataclass(frozen=True)
class Told:
    """How things are.

    Attributes:
        ready: the model is loaded.
        problem: why it cannot be; "": it can.
        job: the one that was asked about.
        lost: why its worker ended while it made the job; "": it did not.
        preview: the newest one, if it is news; an animated WebP.
        log, growing: what is new of these files, up to a piece.
        files: bytes of each file of the result, when there is one.
    """

    ready: bool
    problem: str
    log: bytes
    job: Job | None = None
    lost: str = ""
    preview: bytes = b""
    growing: bytes = b""
    files: Mapping[str, int] = field(default_factory=dict)


class Maker:
    """The studio on the other machine. Its folder is a temporary one, and goes with it.

    Args:
        options: of a worker process, what follows the folder in `worker_command`.
    """

    def __init__(self, options: Sequence[str]) -> None:
        self.folder, self._lock = own_folder()
        self._shelf = Shelf(self.folder)
        self._store = JobStore(self._shelf.database)
        self._workers = Workers(self._store, self._shelf, [[*worker_command(self.folder), *options]])
        self._workers.start()

    def about(self) -> tuple[str, str]:
        """(name of this machine, version of Kinema)."""
        return platform.node(), version("kinema")

    def take(self, media: str, name: str, at: int, data: bytes) -> None:
        """A piece of a picture or video that a job is made from.

        Args:
            media: its id.
            name: of its file.
            at: bytes before it.
        """
        folder = (
            self._shelf.result(media) if media.startswith("video_") else self._shelf.folder / "uploads" / media
        )
        folder.mkdir(exist_ok=True)
        path = folder / Path(name).name
        path.touch()
        with path.open("r+b") as file:
            file.seek(at)
            file.write(data)

    def begin(self, job: Job, sources: Sequence[Job]) -> None:
        """Make a job. A worker that ends is not replaced for it: who gave it decides what becomes of it.

        Args:
            sources: the jobs whose videos it is made from.
        """
        for source in sources:
            self._enter(source)
        self._enter(replace(job, status="queued", attempt=ATTEMPTS - 1, stop=None))

    def look(self, job_id: str | None, seen: Seen) -> Told:
        """How things are, with a job or in general."""
        told = Told(
            ready=self._workers.ready > 0,
            problem=self._workers.problem,
            log=read_piece(self._shelf.folder / "logs" / "worker-0.log", seen.log, LOG_PIECE),
        )
        if job_id is None:
            return told
        job = one(self._store.db, job_id)
        if job.ended:
            lost = self._workers.why_ended if job.error_code == "worker_lost" else ""
            files = {path.name: path.stat().st_size for path in self._shelf.result(job_id).glob("*")}
            return replace(told, job=job, lost=lost, files=files if job.status == "completed" else {})
        return replace(
            told, job=job,
            preview=read_piece(self._shelf.preview(job_id), 0, PIECE) if job.preview > seen.preview else b"",
            growing=read_piece(self._shelf.growing(job_id), seen.growing, PIECE),
        )  # fmt: skip

    def stop(self, job_id: str, how: str) -> None:
        """Stop a job within its next step, and "keep" or "discard" what there is."""
        self._store.stop(job_id, "keep" if how == "keep" else "discard")

    def piece(self, job_id: str, name: str, at: int) -> bytes:
        """A piece of a file of a result."""
        return read_piece(self._shelf.result(job_id) / Path(name).name, at, PIECE)

    def clear(self) -> bool:
        """Forget all jobs and what belongs to them; False: one is still being stopped, ask again."""
        done = True
        for (job_id,) in self._store.db.execute("SELECT id FROM jobs").fetchall():
            self._store.stop(job_id)
            try:
                self._store.purge(job_id)
            except JobError:
                done = False
                continue
            self._shelf.remove_result(job_id)
        if done:
            for path in (self._shelf.folder / "uploads").iterdir():
                shutil.rmtree(path)
        return done

    def close(self) -> None:
        """End the worker and leave nothing behind."""
        self._workers.stop()
        self._store.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def _enter(self, job: Job) -> None:
        values = asdict(job) | {"request": json.dumps(dict(job.request)), "result": json.dumps(dict(job.result))}
        names, places = ", ".join(values), ", ".join("?" * len(values))
        with self._store.change() as db:
            new = db.execute(f"INSERT OR IGNORE INTO jobs ({names}) VALUES ({places})", tuple(values.values()))
            if new.rowcount:
                put(db, job.id)


def read_piece(path: Path, at: int, size: int) -> bytes:
    """Bytes of a file from a place on; b"": there are none, or no file."""
    try:
        with path.open("rb") as file:
            file.seek(at)
            return file.read(size)
    except FileNotFoundError:
        return b""


def own_folder() -> tuple[Path, IO[str]]:
    """A temporary folder, and the lock that says that somebody uses it; what killed makers left is deleted."""
    top = Path(tempfile.gettempdir())
    for left in top.glob(f"{PREFIX}*"):
        lock = None if left.is_symlink() else lock_folder(left)
        if lock is not None:
            shutil.rmtree(left, ignore_errors=True)
            lock.close()
    new = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=top))
    lock = lock_folder(new)
    assert lock is not None
    folder = new.rename(top / new.name.removeprefix("."))  # only now can others see it
    return folder, lock


def lock_folder(folder: Path) -> IO[str] | None:
    """The lock of a folder until it is closed; None: another process has it, or it is somebody else's folder."""
    try:
        lock = (folder / ".lock").open("a")
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock
