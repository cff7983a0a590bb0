"""Keeps the studio's folder within its size, and says beforehand what that costs whom.

Given files that nothing is or will be made from go first, then the results that nobody looked at for longest;
starred ones never do. What goes is announced, by `room`, before anything is deleted, and the job stays, with all
that it was asked for.
"""

import contextlib
import errno
import json
import logging
import re
import shutil
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .job import Job, Status
from .rows import one
from .shelf import Shelf
from .store import JobStore

UNDO_SECONDS = 3600.0  # for which a deleted video can be brought back
UPLOAD_SECONDS = 24 * 3600.0  # for which a given file waits for a job
FRESH_SECONDS = 3600.0  # for which it does even if there is no room
EVERY = 60.0  # seconds between cleanings
PAGE = 200
VIDEO_ID, UPLOAD_ID = (rf"{kind}_[0-9a-f]{{32}}" for kind in ("video", "upload"))
OURS = ("upload_", ".upload_", ".gone_")  # how the names of given files begin, half taken in or deleted ones too
# Jobs that will be made from what they name, or whose video is there; of all others what was given may go.
NEEDED = "(status IN ('queued', 'in_progress') OR starred OR (status = 'completed' AND NOT cleaned))"
# And those that did not end well by nobody's will, and may be tried again.
CLAIMING = f"({NEEDED} OR (status = 'failed' AND deleted_at IS NULL))"
FRESH_SHARE = 0.25  # of the budget: results make room for what was given just now, and for no more than this

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upload:
    """A file that somebody gave.

    Attributes:
        id: or the name of what is half taken in.
        size: bytes.
        seen: when it was given last, nanoseconds since 1970.
    """

    id: str
    size: int
    seen: int


@dataclass(frozen=True)
class Room:
    """How full a studio is.

    Attributes:
        used, budget: bytes.
        doomed: completed jobs whose files go at the next `clean`, in that order.
        uploads: given files that go before them, unless they are given again first.
        lasting: bytes that stay, however little room there is.
        fresh: of them those of given files that nothing needs yet.
        idle: bytes of given files that can go.
    """

    used: int
    budget: int
    doomed: tuple[Job, ...] = ()
    uploads: tuple[Upload, ...] = ()
    lasting: int = 0
    fresh: int = 0
    idle: int = 0

    def lacks(self, more: int) -> bool:
        """Whether there is no room for given files of so many bytes more.

        Results make room for them, but not for any number: else whoever gives files and makes nothing of them
        could have everybody's results deleted.
        """
        if self.lasting + more > self.budget:
            return True
        return self.fresh + more > FRESH_SHARE * self.budget and self.used - self.idle + more > self.budget


def room(store: JobStore, shelf: Shelf, budget: int, kept: Collection[str] = (), now: float | None = None) -> Room:
    """
    Args:
        budget: bytes that all results and given files may take.
        kept: ids of videos and given files that stay besides starred videos and what those in the queue and the
            results that are there are made from.
    """
    now = time.time() if now is None else now
    kept = {name for job in store.waiting() for name in re.findall(VIDEO_ID, json.dumps(job.request))}.union(kept)
    sizes = {job.id: (job, shelf.size(job.id)) for job in _completed(store)}
    results = [
        (job, size)
        for job, size in sorted(sizes.values(), key=lambda each: (each[0].used_at or 0.0, each[0].id))
        if not job.starred and size and job.id not in kept
    ]
    files, needed, any_ = held_uploads(shelf), named_uploads(store, NEEDED).union(kept), named_uploads(store)
    idle = [
        each
        for each in sorted(files, key=lambda each: (each.id in any_, each.seen, each.id))
        if each.id not in needed and now - each.seen / 1e9 > FRESH_SECONDS and not each.id.startswith(".")
    ]
    used = sum(size for _, size in sizes.values()) + sum(each.size for each in files)
    left, uploads, doomed = used, [], []
    for each in idle:
        if left > budget:
            uploads.append(each)
            left -= each.size
    idle_bytes = sum(each.size for each in idle)
    fresh = sum(each.size for each in files if each.id not in needed) - idle_bytes
    left -= max(0, fresh - int(FRESH_SHARE * budget))  # no result goes for the rest of them
    for job, size in results:
        if left > budget:
            doomed.append(job)
            left -= size
    lasting = used - idle_bytes - sum(size for _, size in results)
    return Room(used, budget, tuple(doomed), tuple(uploads), lasting, fresh, idle_bytes)


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
    told = room(store, shelf, budget, kept, now)
    seen = {each.id: each.seen for each in told.uploads}  # not later: what is given again meanwhile stays
    if forgotten := forget_uploads(store, shelf, seen, NEEDED, kept):
        logger.warning("%d given files were deleted to make room (no video is made from them)", len(forgotten))
    for job in told.doomed:
        if store.mark_cleaned(job.id):  # first: a kill between leaves files, and no promise of any
            shelf.remove_result(job.id)
            gone.append(job)
    return gone


def clean_uploads(store: JobStore, shelf: Shelf, now: float | None = None, kept: Collection[str] = ()) -> int:
    """Delete what was given long ago and no job is made from, and what was left half taken in.

    Args:
        kept: see `room`.

    Returns:
        How many were deleted.
    """
    now = time.time() if now is None else now
    old = {each.id: each.seen for each in held_uploads(shelf) if now - each.seen / 1e9 > UPLOAD_SECONDS}
    return len(forget_uploads(store, shelf, old, kept=kept)) if old else 0


def held_uploads(shelf: Shelf) -> list[Upload]:
    """All given files, those that are being taken in with them."""
    found = []
    for path in (shelf.folder / "uploads").iterdir():
        if not path.name.startswith(OURS) or not path.is_dir():  # a file manager's, say
            continue
        with contextlib.suppress(FileNotFoundError):  # it is renamed when it is taken in
            size = sum(each.stat().st_size for each in path.iterdir())
            found.append(Upload(path.name, size, path.stat().st_mtime_ns))
    return found


def named_uploads(store: JobStore, where: str = "1", db: sqlite3.Connection | None = None) -> set[str]:
    """Ids of the given files that jobs are made from.

    Args:
        where: which jobs, in SQL.
        db: of a transaction.
    """
    sql = f"SELECT request FROM jobs WHERE INSTR(request, 'upload_') AND {where}"
    return {name for (request,) in (db or store.db).execute(sql) for name in re.findall(UPLOAD_ID, request)}


def forget_uploads(
    store: JobStore, shelf: Shelf, seen: Mapping[str, int], where: str = "1", kept: Collection[str] = ()
) -> list[str]:
    """Delete given files that nothing is made from, unless somebody gave them again meanwhile.

    Args:
        seen: their ids, and when they were given last, as far as is known.
        where, kept: see `named_uploads` and `room`.

    Returns:
        Ids of what was deleted.
    """
    uploads, gone, away = shelf.folder / "uploads", [], []
    with store.change() as db:  # no job comes between
        for name in seen.keys() - named_uploads(store, where, db).union(kept):
            with contextlib.suppress(FileNotFoundError):
                path = (uploads / name).rename(uploads / f".gone_{name.lstrip('.')}")
                away.append(path)
                if path.stat().st_mtime_ns == seen[name]:  # who gives it from now on gives it anew
                    gone.append(name)
                else:
                    _bring_back(path, uploads / name)
    for path in away:
        shutil.rmtree(path, ignore_errors=True)
    return gone


def _bring_back(away: Path, path: Path) -> None:
    """Let a file be there again, unless it was given anew this moment."""
    try:
        away.rename(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _completed(store: JobStore) -> Iterator[Job]:
    for deleted in (False, True):
        yield from (job for job in _pages(store, deleted=deleted) if job.status == "completed")


def _pages(store: JobStore, *, deleted: bool, statuses: tuple[Status, ...] | None = None) -> Iterator[Job]:
    after = None
    while page := store.page(limit=PAGE, after=after, newest_first=False, deleted=deleted, statuses=statuses):
        yield from page
        after = page[-1].id
