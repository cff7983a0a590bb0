"""What people give: pictures and videos, taken in under names of ours, and bounded in what they take of the disk.

An id says whose a file is, by digits that tell nobody anything, and which: the same content of the same owner is
kept once.
"""

import hashlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO

from ..captioner.engine.commits import CaptionError
from ..captioner.ingest.probing import Prober
from .jobs.job import JobError
from .jobs.shelf import Shelf
from .jobs.store import JobStore
from .jobs.upkeep import CLAIMING, FRESH_SHARE, Room, forget_uploads, held_uploads, named_uploads
from .looking import is_picture, rewrite_picture

SUFFIXES = {"gif": ".gif"}  # by codec; all others are opened by their content, whatever the name
OWNER_DIGITS = 8  # of an id


class Given:
    """Takes files in.

    Args:
        store, shelf: of the studio.
        most_bytes, most_seconds, most_pixels: of a file; pixels of a frame.
        most_each: bytes of the files of one owner that no video is made from.

    Attributes:
        kept: ids of what is needed though no job names it.
    """

    def __init__(
        self, store: JobStore, shelf: Shelf, most_bytes: int, most_seconds: float, most_pixels: int, most_each: int
    ) -> None:
        self._store, self._shelf = store, shelf
        self._most_bytes, self._most_pixels, self._most_each = most_bytes, most_pixels, most_each
        self._most_seconds = most_seconds
        self.kept: Callable[[], Collection[str]] = tuple
        self._room: Room | None = None
        self._since = 0  # bytes that were taken in since the room was looked at
        self._counting = threading.Lock()
        self.prober, self._probing = Prober(10.0, most_seconds / 3600), threading.Lock()

    def take(self, file: BinaryIO, owner: str, fresh: dict[str, int] | None = None) -> str:
        """Take a picture or video in. One that is here already is not kept twice.

        Args:
            file: its content.
            owner: who gives it; nobody is told what others gave.
            fresh: is told what was not here before, for `undo`.

        Returns:
            Its id, the same for the same content and owner.

        Raises:
            JobError: too large, too long, no picture or video, or no room for it; the message says which. Nothing
                is kept then.
        """
        uploads = self._shelf.folder / "uploads"
        folder = uploads / f".upload_{secrets.token_hex(16)}"
        folder.mkdir()
        try:
            path = folder / "given"
            digest = _copy(file, path, self._most_bytes, hashlib.sha256(f"{owner}\0".encode()))
            final = uploads / (mark_of(owner) + digest[: 32 - OWNER_DIGITS])
            if _given_again(final):
                return final.name
            if is_picture(path):
                rewrite_picture(path, folder / "picture.png", self._most_pixels)
                path.unlink()
            else:
                path.rename(folder / f"video{self._look(path)}")
            seen = folder.stat().st_mtime_ns
            with self._counting:
                if not _given_again(final):  # else it was given twice at once
                    size = sum(each.stat().st_size for each in folder.iterdir())
                    self._check_room(owner, size)
                    folder.rename(final)
                    self._since += size
                    if fresh is not None:
                        fresh[final.name] = seen
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return final.name

    def undo(self, fresh: dict[str, int]) -> None:
        """Delete what was taken in for nothing, unless something is made from it or somebody gave it once more.

        Args:
            fresh: of `take`.
        """
        forget_uploads(self._store, self._shelf, fresh, kept=self.kept())

    def looked(self, room: Room) -> None:
        """Know how full the studio is."""
        with self._counting:
            self._room, self._since = room, 0

    def close(self) -> None:
        """End what looks into files."""
        self.prober.close()

    def _check_room(self, owner: str, size: int) -> None:
        claimed = named_uploads(self._store, CLAIMING).union(self.kept())
        held = sum(
            each.size
            for each in held_uploads(self._shelf)
            if each.id.startswith(mark_of(owner)) and each.id not in claimed
        )
        if held + size > self._most_each:
            raise JobError(
                f"files of yours that no video is made from take {_mb(held)}, this one adds {_mb(size)}, and at "
                f"most {_mb(self._most_each)} are kept; make videos from them, delete those that were cancelled, "
                "or try again later: what no video names is deleted a day after it was given",
                "uploads_full",
            )
        if self._room is not None and self._room.lacks(self._since + size):
            raise JobError(
                f"there is no room for this file of {_mb(size)}: starred videos, what videos are made from and "
                f"files of the last hour take {_mb(self._room.lasting + self._since)} of {_mb(self._room.budget)} "
                f"(--disk), and no results go for more than {_mb(FRESH_SHARE * self._room.budget)} of new files "
                "that no video is made from; delete videos or take stars away, and try again in a minute",
                "disk_full",
            )

    def _look(self, path: Path) -> str:
        """The suffix of a video, by what is in it."""
        found: dict[str, Any]
        try:
            with self._probing:
                found = self.prober.probe(path)
        except CaptionError:
            found = {"unreached": True}
        if "too_long_s" in found:
            raise JobError(
                f"the file lasts {found['too_long_s']:.4g} s, and at most {self._most_seconds:g} s are taken here",
                "input_not_usable",
            )
        if why := found.get("reason") or (found.get("unreached") and "it could not be looked at in time"):
            raise JobError(f"the file cannot be used: {why}", "input_not_usable")
        if found["width"] * found["height"] > self._most_pixels:
            raise JobError(
                f"the file has {found['width']} x {found['height']} pixels, more than are taken here",
                "input_not_usable",
            )
        return SUFFIXES.get(found["codec"], ".mp4")


def mark_of(owner: str) -> str:
    """How the ids of somebody's files begin."""
    return f"upload_{hashlib.sha256(owner.encode()).hexdigest()[:OWNER_DIGITS]}"


def new_upload_id(owner: str) -> str:
    """An id of somebody's, of what was made for them and given by nobody."""
    return mark_of(owner) + secrets.token_hex(16)[OWNER_DIGITS:]


def _given_again(final: Path) -> bool:
    """Whether a file is there already; it then counts as given now, and whoever would delete it lets it be."""
    now = time.time_ns()  # finer than the time that the system would put there, so another one in any case
    try:
        os.utime(final, ns=(now, now))
    except FileNotFoundError:
        return False
    return True


def _mb(size: float) -> str:
    return f"{size / 1e6:.4g} MB"


def _copy(file: BinaryIO, path: Path, most: int, digest: "hashlib._Hash") -> str:
    """Copy a file, and say which one it is."""
    size = 0
    with path.open("wb") as out:
        while part := file.read(1 << 20):
            size += len(part)
            if size > most:
                raise JobError(f"the file is larger than {_mb(most)}, the most that is taken", "too_large")
            out.write(part)
            digest.update(part)
    if not size:
        raise JobError("the file is empty", "input_not_usable")
    return digest.hexdigest()
