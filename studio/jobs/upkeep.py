"""Keeps the studio's folder within its size, and says beforehand what that costs whom.

The results that nobody looked at for longest go first; starred ones never do. What goes is announced, by `doomed`,
before anything is deleted, and the job stays, with everything that would make its video again.
"""

import contextlib
import json
import re
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial

from .job import Job, Status
from .rows import one
from .shelf import Shelf
from .store import JobStore

UNDO_SECONDS = 3600.0  # for which a deleted video can be brought back
UPLOAD_SECONDS = 24 * 3600.0  # for which a given file waits for a job
PAGE = 200
VIDEO_ID = r"video_[0-9a-f]{32}"


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


def room(store: JobStore, shelf: Shelf, budget: int, kept: Collection[str] = ()) -> Room:
    """
    Args:
        budget: bytes that all results may take.
        kept: ids of videos that stay besides starred ones and those that the queue's are made from.
    """
    kept = {name for job in store.waiting() for name in re.findall(VIDEO_ID, json.dumps(job.request))}.union(kept)
    sizes = {job.id: (job, shelf.size(job.id)) for job in _completed(store)}
    used, doomed = sum(size for _, size in sizes.values()), []
    left = used
    for job, size in sorted(sizes.values(), key=lambda each: (each[0].used_at or 0.0, each[0].id)):
        if left <= budget:
            break
        if not job.starred and size and job.id not in kept:
            doomed.append(job)
            left -= size
    return Room(used, budget, tuple(doomed))


def clean(
    store: JobStore, shelf: Shelf, budget: int, now: float | None = None, kept: Collection[str] = ()
) -> list[Job]:
    """Delete the files of what is doomed or cancelled, and for ever what was deleted too long ago to come back.

    Args:
        budget, kept: see `room`.

    Returns:
        The jobs that have no files any more.
    """
    now, gone = time.time() if now is None else now, []
    for job in list(_pages(store, deleted=True)):
        hide = partial(shelf.set_aside, job.id)  # else a kill before it is removed leaves what nobody knows of
        if job.status != "in_progress" and store.purge(job.id, deleted_before=now - UNDO_SECONDS, first=hide):
            shelf.remove_result(job.id)
    for job in list(_pages(store, deleted=False, statuses=("cancelled",))):
        if shelf.result(job.id).exists():
            with store.change() as db:  # nobody tries it again meanwhile
                if one(db, job.id).status == "cancelled":
                    shelf.remove_result(job.id)
    for job in room(store, shelf, budget, kept).doomed:
        if store.mark_cleaned(job.id):  # first: a kill between leaves files, and no promise of any
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


def _pages(store: JobStore, *, deleted: bool, statuses: tuple[Status, ...] | None = None) -> Iterator[Job]:
    after = None
    while page := store.page(limit=PAGE, after=after, newest_first=False, deleted=deleted, statuses=statuses):
        yield from page
        after = page[-1].id
