"""Keeps the studio's folder within its size, and says beforehand what that costs whom.

The results that nobody looked at for longest go first; starred ones never do. What goes is announced, by `doomed`,
before anything is deleted, and the job stays, with everything that would make its video again.
"""

import contextlib
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass

from .job import Job
from .shelf import Shelf
from .store import JobStore

UNDO_SECONDS = 3600.0  # for which a deleted video can be brought back
UPLOAD_SECONDS = 24 * 3600.0  # for which a given file waits for a job
PAGE = 200


@dataclass(frozen=True)
class Room:
    """How full a studio is.

    Attributes:
        used, budget: bytes.
        doomed: completed jobs whose files go at the next `clean`, in that order.
    """

    used: int
    budget: int
    doomed: tuple[Job, ...]


def room(store: JobStore, shelf: Shelf, budget: int) -> Room:
    """
    Args:
        budget: bytes that all results may take.
    """
    sizes = {job.id: (job, shelf.size(job.id)) for job in _completed(store)}
    used, doomed = sum(size for _, size in sizes.values()), []
    left = used
    for job, size in sorted(sizes.values(), key=lambda each: (each[0].used_at or 0.0, each[0].id)):
        if left <= budget:
            break
        if not job.starred and size:
            doomed.append(job)
            left -= size
    return Room(used, budget, tuple(doomed))


def clean(store: JobStore, shelf: Shelf, budget: int, now: float | None = None) -> list[Job]:
    """Delete the files of what is doomed, and for ever what was deleted so long ago that nobody wants it back.

    Returns:
        The jobs that have no files any more.
    """
    now, gone = time.time() if now is None else now, []
    for job in list(_pages(store, deleted=True)):
        if job.status != "in_progress" and now - (job.deleted_at or now) > UNDO_SECONDS:
            shelf.remove_result(job.id)
            store.purge(job.id)
    for job in room(store, shelf, budget).doomed:
        store.mark_cleaned(job.id)  # first: a kill between leaves files, and no promise of any
        shelf.remove_result(job.id)
        gone.append(job)
    return gone


def clean_uploads(store: JobStore, shelf: Shelf, now: float | None = None) -> int:
    """Delete what was given long ago and no job is made from, and what killed servers left half taken in.

    Returns:
        How many were deleted.
    """
    now, uploads = time.time() if now is None else now, shelf.folder / "uploads"
    old = []
    for path in uploads.iterdir():
        with contextlib.suppress(FileNotFoundError):  # its name changes when it is taken in
            old += [path] if now - path.stat().st_mtime > UPLOAD_SECONDS else []
    if not old:
        return 0
    with store.change() as db:  # no job comes between
        requests = db.execute("SELECT request FROM jobs WHERE INSTR(request, 'upload_')")
        named = {name for (request,) in requests for name in re.findall(r"upload_[0-9a-f]{32}", request)}
        gone = [path.rename(uploads / f".gone_{path.name.lstrip('.')}") for path in old if path.name not in named]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    return len(gone)


def _completed(store: JobStore) -> Iterator[Job]:
    for deleted in (False, True):
        yield from (job for job in _pages(store, deleted=deleted) if job.status == "completed")


def _pages(store: JobStore, *, deleted: bool) -> Iterator[Job]:
    after = None
    while page := store.page(limit=PAGE, after=after, newest_first=False, deleted=deleted):
        yield from page
        after = page[-1].id
