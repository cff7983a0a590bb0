"""Whether a file is still the one that was ingested: what is read of another would be told of the wrong clip.

And whether it can be read at all: what a decoder says of a file on a share that has dropped out says nothing of
the file, and no row may keep it.
"""

import functools
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...data.video_io import VideoError
from ..engine.commits import CaptionError

BLOCK = 4 << 20  # bytes that are read in one go


class VideoChangedError(VideoError):
    """A file is no longer the one that was ingested."""


class UnreachableError(CaptionError, VideoError):
    """A file that was ingested cannot be read now, whatever it holds. It ends a run, which can go on later."""


@contextmanager
def unchanged(row: Mapping[str, Any]) -> Iterator[None]:
    """Read a file inside of this.

    Args:
        row: with `path`, and `bytes`, `mtime_ns` and `source_sha256` as ingest found them; nothing is compared
            where the time is not known.

    Raises:
        VideoChangedError: before or after, its size or time is another, and its content with it; also in place of
            what the change makes a decoder say.
        UnreachableError: the file cannot be read, to its end if a decoder complains.
    """
    check_unchanged(row)
    try:
        yield
    except (VideoError, OSError) as error:
        if row.get("mtime_ns") is None or isinstance(error, UnreachableError):
            raise
        check_unchanged(row)
        if isinstance(error, OSError):
            raise _unreachable(row, error) from error
        check_readable(row)
        raise
    check_unchanged(row)


def check_unchanged(row: Mapping[str, Any]) -> None:
    """
    Raises:
        VideoChangedError, UnreachableError: see `unchanged`.
    """
    if row.get("mtime_ns") is None:
        return
    path = row["path"]
    try:
        found = Path(path).stat()
        same = (found.st_size, found.st_mtime_ns) == (row["bytes"], row["mtime_ns"])
        if not same and found.st_size == row["bytes"]:  # touched, or copied back
            same = _sha256(path, found.st_size, found.st_mtime_ns) == row.get("source_sha256")
    except OSError as error:
        raise _unreachable(row, error) from None
    if same:
        return
    what = f"{row['bytes']:,} bytes then, {found.st_size:,} now"
    if found.st_size == row["bytes"]:
        what = f"written at {_moment(row['mtime_ns'])} then, at {_moment(found.st_mtime_ns)} now"
    raise VideoChangedError(
        path, None, f"it was changed after it was ingested ({what}); the next run takes it anew"
    )


def check_readable(row: Mapping[str, Any]) -> None:
    """Read a file to its end, before a decoder's complaint of it is believed; arguments are those of `unchanged`.

    Raises:
        UnreachableError: that cannot be done.
    """
    if row.get("mtime_ns") is None:
        return
    try:
        with Path(row["path"]).open("rb") as file:
            while file.read(BLOCK):
                pass
    except OSError as error:
        raise _unreachable(row, error) from None


def _unreachable(row: Mapping[str, Any], error: OSError) -> UnreachableError:
    cause = (
        f"it cannot be read now ({error.strerror or error}), though it could be when it was ingested. If a disk "
        "or a share is missing, bring it back; if the file was removed on purpose, nothing needs to be done. Then "
        "`kinema caption --out DATASET` goes on where this run stopped, with what SOURCE holds by then"
    )
    return UnreachableError(row["path"], None, cause)


@functools.lru_cache(maxsize=256)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    """Of what a file holds as of a time; hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _moment(mtime_ns: int) -> str:
    return datetime.fromtimestamp(mtime_ns / 1e9, UTC).isoformat(sep=" ", timespec="milliseconds")
