"""Whether a file is still the one that was ingested: what is read of another would be told of the wrong clip."""

import functools
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...data.video_io import VideoError


class VideoChangedError(VideoError):
    """A file is no longer the one that was ingested."""


@contextmanager
def unchanged(row: Mapping[str, Any]) -> Iterator[None]:
    """Read a file inside of this.

    Args:
        row: with `path`, and `bytes`, `mtime_ns` and `source_sha256` as ingest found them; nothing is compared
            where the time is not known.

    Raises:
        VideoChangedError: before or after, its size or time is another, and its content with it; also in place of
            what the change makes a decoder say.
    """
    check_unchanged(row)
    try:
        yield
    except VideoError:
        check_unchanged(row)
        raise
    check_unchanged(row)


def check_unchanged(row: Mapping[str, Any]) -> None:
    """
    Raises:
        VideoChangedError: see `unchanged`.
    """
    if row.get("mtime_ns") is None:
        return
    path = row["path"]
    try:
        found = Path(path).stat()
    except OSError as error:
        raise VideoChangedError(path, None, f"it was there when it was ingested ({error.strerror})") from None
    if (found.st_size, found.st_mtime_ns) == (row["bytes"], row["mtime_ns"]):
        return
    what = f"{row['bytes']:,} bytes then, {found.st_size:,} now"
    if found.st_size == row["bytes"]:
        if _sha256(path, found.st_size, found.st_mtime_ns) == row.get("source_sha256"):
            return  # touched, or copied back
        what = f"written at {_moment(row['mtime_ns'])} then, at {_moment(found.st_mtime_ns)} now"
    raise VideoChangedError(
        path, None, f"it was changed after it was ingested ({what}); the next run takes it anew"
    )


@functools.lru_cache(maxsize=256)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    """Of what a file holds as of a time; hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _moment(mtime_ns: int) -> str:
    return datetime.fromtimestamp(mtime_ns / 1e9, UTC).isoformat(sep=" ", timespec="milliseconds")
