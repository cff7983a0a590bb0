"""The same walks behind any fsspec URL, and how a file there is opened and copied.

Every file system has errors of its own: here they all become reasons.
"""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...data.fetch import Download, fetch
from ..addresses import WEB, links, missing_package, secrets_hidden, without_secrets
from ..engine.commits import CaptionError
from .walking import MAX_TEXT, Folder, State

MAX_BYTES = 1 << 40  # of a fetched file, and of an archive's unpacked member
MAX_SECONDS = 1500.0  # that fetching one may take
_STAMPS = (
    "mtime",
    "LastModified",
    "last_modified",
    "updated",
    "ETag",
    "etag",
    "CRC",
    "md5",
    "checksum",
    "created",
)


class MissingPackageError(CaptionError):
    """A protocol needs a package that is not installed; the message says how to install it."""


class TooLargeError(ValueError):
    """A file, or what an archive unpacks one to, is larger than is taken."""


class RemoteTree:
    """The files behind an fsspec URL: s3://, gs://, hf://, memory://, zip://MEMBER::ARCHIVE…

    Args:
        url: any URL of the file system.

    Raises:
        MissingPackageError: its protocol needs a package.
        ValueError: its protocol is unknown, or does not let itself be opened.
    """

    def __init__(self, url: str) -> None:
        _web_archive.cache_clear()  # what was there at another run
        self.files, self.root = open_url(url)
        self.chain = url.partition("::")[2]
        self.known: dict[str, Any] = {}  # what the folder that was listed last says of its files
        self.files.invalidate_cache()

    def walk(self, root: str, depth: int | None = None) -> Iterator[Folder]:
        """Every folder from `root` on."""
        waiting = [(root, 0)]
        while waiting:
            folder, level = waiting.pop()
            try:
                found = self.files.ls(folder, detail=True)
            except Exception as error:  # each file system has errors of its own
                yield Folder(folder, [], [(folder, f"the folder cannot be read ({told(error)})")])
                continue
            entries = sorted((self.split(entry["name"].rstrip("/"))[1], entry) for entry in _named(found, folder))
            entries = [(name, entry) for name, entry in entries if name and not name.startswith(".")]
            inner = [entry["name"] for _, entry in entries if entry["type"] == "directory"]
            self.known = {entry["name"]: entry for _, entry in entries}
            if level != depth:
                waiting += [(path, level + 1) for path in reversed(inner)]
            yield Folder(folder, [name for name, entry in entries if entry["type"] != "directory"], [])

    def join(self, folder: str, name: str) -> str:
        """The path of a file that is named relative to a folder, or absolutely."""
        return name if name.startswith("/") or not folder else f"{folder.rstrip('/')}/{name.removeprefix('./')}"

    def split(self, path: str) -> tuple[str, str]:
        """The folder and the name of a file."""
        folder, _, name = path.rpartition("/")
        return folder, name

    def look(self, path: str) -> State:
        """What is known of a file."""
        try:
            found = self.known.get(path) or self.files.info(path)
        except FileNotFoundError:
            return State(problem="no such file")
        except Exception as error:  # as above
            return State(problem=f"cannot be read ({told(error)})")
        if found.get("type") == "directory":
            return State(problem="a folder, no file")
        stamp = json.dumps({name: str(found[name]) for name in _STAMPS if found.get(name) is not None})
        if found.get("size") == 0:
            return State(0, stamp, "the file is empty (0 bytes)")
        return State(found.get("size"), stamp)

    def read(self, path: str) -> bytes:
        """A small file's content; OSError or ValueError if it is none."""
        state = self.look(path)
        if (state.size or 0) > MAX_TEXT:
            raise ValueError(f"{state.size:,} bytes is too much for captions")
        try:
            content = self.files.cat_file(path, 0, MAX_TEXT + 1)
        except Exception as error:  # as above
            raise OSError(told(error)) from None
        if len(content) > MAX_TEXT:
            raise ValueError(f"more than {MAX_TEXT:,} bytes is too much for captions")
        return content

    def uri(self, path: str) -> str:
        """The URL."""
        return self.files.unstrip_protocol(path) + (f"::{self.chain}" if self.chain else "")

    def real(self, path: str) -> Path | None:
        """Where a file lies that is of this machine after all (file://, and what only keeps copies of it)."""
        from fsspec.implementations.local import LocalFileSystem

        files = self.files
        while (inner := getattr(files, "fs", None)) is not None:
            files = inner
        return Path(path).resolve() if isinstance(files, LocalFileSystem) else None


def open_url(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    An archive on the web is fetched first, with the guard of `data.fetch`: fsspec would ask any address.

    Raises:
        MissingPackageError: its protocol needs a package.
        ValueError: its protocol is unknown, or does not let itself be opened; `FetchError` if it is not fetched.
    """
    from fsspec.core import url_to_fs  # only where there is a URL

    shown, *chain = links(url)
    inner = [link for link in links(url) if any(part in link.lower() for part in WEB)]
    if inner and (inner != chain[-1:] or not inner[0].lower().startswith(WEB)):
        raise ValueError(f"{without_secrets(url)} cannot be opened: a web address can only be a chain's last link")
    download = _web_archive(inner[0]) if inner else None
    try:
        files, path = url_to_fs(url if download is None else "::".join([shown, *chain[:-1], str(download.path)]))
    except ImportError as error:
        missing = missing_package(url)
        needs = f"{missing[0]}:// needs `pip install {missing[1]}`" if missing else str(error)
        raise MissingPackageError(secrets_hidden(f"{url} cannot be opened: {needs}", url)) from None
    except Exception as error:  # credentials, an archive that is none: each file system has errors of its own
        raise ValueError(secrets_hidden(f"{url} cannot be opened ({told(error)})", url)) from None
    if download is not None:
        files.kinema_download = download  # its file is there as long as this
        type(files).clear_instance_cache()  # else fsspec keeps every archive for ever
    return files, path


@functools.lru_cache(maxsize=2)
def _web_archive(url: str) -> Download:
    """An archive on the web, as a temporary file; remembered for the next of its members."""
    return fetch(url, max_bytes=MAX_BYTES, max_seconds=MAX_SECONDS)


def copy_file(files: Any, path: str, target: Path, most: int) -> None:
    """Copy a file of an fsspec file system, at most `most` bytes of it: an archive may unpack to anything.

    Raises:
        TooLargeError: it has more.
        Exception: each file system has errors of its own.
    """
    from fsspec.callbacks import Callback

    class Bounded(Callback):
        def set_size(self, size: int | None) -> None:
            self._check(size or 0)

        def relative_update(self, inc: int = 1) -> None:
            self.value += inc
            self._check(self.value)

        def _check(self, size: int) -> None:
            if size > most:
                raise TooLargeError(f"it has more than {most / 1e6:,.4g} MB, the most that is taken")

    files.get_file(path, str(target), callback=Bounded())


def told(error: BaseException) -> str:
    """An error in a few words."""
    words = getattr(error, "strerror", None) or str(error)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def is_url(text: str) -> bool:
    """Whether a place is named by a URL; "C:\\videos" and "a:b.mp4" are not."""
    scheme, found, _ = text.partition("://")
    return bool(found) and scheme.replace("+", "").isalnum()


def _named(found: list[Any], folder: str) -> list[Any]:
    """Entries without the folder itself, which object stores list as a file of no bytes."""
    return [entry for entry in found if entry["name"].rstrip("/") != folder.rstrip("/")]
