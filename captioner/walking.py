"""Folders, here or behind any fsspec URL, walked in a fixed order, with one of them in memory at a time."""

import errno
import functools
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..data.fetch import Download, fetch
from .addresses import WEB, links, missing_package, without_secrets
from .commits import CaptionError

MAX_BYTES = 1 << 40  # of a fetched file, and of an archive's unpacked member
MAX_SECONDS = 1500.0  # that fetching one may take
MAX_TEXT = 1 << 20  # bytes of a caption file; a larger one is none
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
_KINDS = (
    (stat.S_ISDIR, "a folder, no file"),
    (stat.S_ISFIFO, "a named pipe (FIFO), no file"),
    (stat.S_ISSOCK, "a socket, no file"),
    (stat.S_ISCHR, "a device, no file"),
    (stat.S_ISBLK, "a device, no file"),
)


class MissingPackageError(CaptionError):
    """A protocol needs a package that is not installed; the message says how to install it."""


class TooLargeError(ValueError):
    """A file, or what an archive unpacks one to, is larger than is taken."""


class State(NamedTuple):
    """What is known of a file without opening it."""

    size: int | None = None  # bytes
    stamp: str = ""  # changes when the file does
    problem: str = ""  # why it cannot be taken


class Folder(NamedTuple):
    """One folder of a walk."""

    path: str
    names: list[str]  # of its files that are not hidden, in order
    problems: list[tuple[str, str]]  # (path, reason) of what cannot be entered


class Tree(Protocol):
    """A file system, as far as listing it needs."""

    def walk(self, root: str, depth: int | None = None) -> Iterator[Folder]:
        """Every folder from `root` on, a folder before those in it, by name; hidden ones are left out.

        Args:
            root: where to begin.
            depth: so many levels below the root at most.
        """
        ...

    def join(self, folder: str, name: str) -> str:
        """The path of a file that is named relative to a folder, or absolutely."""
        ...

    def split(self, path: str) -> tuple[str, str]:
        """The folder and the name of a file."""
        ...

    def look(self, path: str) -> State:
        """What is known of a file."""
        ...

    def read(self, path: str) -> bytes:
        """A small file's content; OSError or ValueError if it is none."""
        ...

    def uri(self, path: str) -> str:
        """What names the file everywhere: an absolute path, or a URL."""
        ...


class LocalTree:
    """This machine's files. Links to files are files; links to folders are entered if they lead out of the root.

    Args:
        skip: a folder that is not entered: the dataset's own.
    """

    def __init__(self, skip: Path | None = None) -> None:
        self.skip = skip

    def walk(self, root: str, depth: int | None = None) -> Iterator[Folder]:
        """Every folder from `root` on; one that holds a way back to itself is not entered again."""
        top, linked = Path(root).resolve(), set()
        skipped = self.skip.stat() if self.skip is not None and self.skip.exists() else None
        waiting: list[tuple[Path, Any, int]] = [(Path(root), None, 0)]  # with a chain of those that hold it
        while waiting:
            folder, holders, level = waiting.pop()
            try:
                here = folder.stat()
                if skipped is not None and os.path.samestat(here, skipped):
                    continue
                if level and (folder / "stages" / "ingest").is_dir():  # another dataset
                    continue
                with os.scandir(folder) as entries:
                    found = sorted((entry.name, entry) for entry in entries if not entry.name.startswith("."))
            except OSError as error:
                yield Folder(str(folder), [], [(str(folder), f"the folder cannot be read ({error.strerror})")])
                continue
            chain = ((here.st_dev, here.st_ino), holders)
            inner, names, problems = [], [], []
            for name, entry in found:
                path = folder / name
                try:
                    if not entry.is_dir():
                        names.append(name)
                    elif not entry.is_symlink():
                        inner.append(path)
                    else:
                        there, real = entry.stat(), path.resolve()
                        mark = (there.st_dev, there.st_ino)
                        if _holds(chain, mark):
                            loop = f"a link back to {real}, which it lies in: a symlink loop, not followed"
                            problems.append((str(path), loop))
                        elif not _is_listed(real, top) and mark not in linked:
                            linked.add(mark)
                            inner.append(path)
                except OSError:  # a link that leads nowhere or to itself: looking at it says so
                    names.append(name)
            if level != depth:
                waiting += [(path, chain, level + 1) for path in reversed(inner)]
            yield Folder(str(folder), names, problems)

    def join(self, folder: str, name: str) -> str:
        """The path of a file that is named relative to a folder, or absolutely."""
        return str(Path(folder) / name)

    def split(self, path: str) -> tuple[str, str]:
        """The folder and the name of a file."""
        return str(Path(path).parent), Path(path).name

    def look(self, path: str) -> State:
        """What is known of a file, which is not opened: opening a pipe would wait for ever."""
        at = Path(path)
        try:
            path.encode()
            found = at.stat()
        except UnicodeEncodeError:
            return State(problem="its name is not UTF-8 text; rename it")
        except FileNotFoundError:
            if at.is_symlink():
                return State(problem=f"a link to {printable(str(at.readlink()))}, which does not exist")
            return State(problem="no such file")
        except ValueError as error:  # a zero byte in the name
            return State(problem=f"no name of a file ({error})")
        except OSError as error:
            if error.errno == errno.ELOOP:
                return State(problem="a link that leads back to itself: a symlink loop")
            return State(problem=f"cannot be read ({error.strerror})")
        if not stat.S_ISREG(found.st_mode):
            return State(problem=next((words for test, words in _KINDS if test(found.st_mode)), "no regular file"))
        if not os.access(path, os.R_OK):
            return State(found.st_size, str(found.st_mtime_ns), "cannot be read (Permission denied)")
        if not found.st_size:
            return State(0, str(found.st_mtime_ns), "the file is empty (0 bytes)")
        return State(found.st_size, str(found.st_mtime_ns))

    def read(self, path: str) -> bytes:
        """A small file's content; OSError or ValueError if it is none."""
        state = self.look(path)
        if state.size is None:
            raise ValueError(state.problem)
        if state.size > MAX_TEXT:
            raise ValueError(f"{state.size:,} bytes is too much for captions")
        return Path(path).read_bytes()

    def uri(self, path: str) -> str:
        """The absolute path."""
        return str(Path(path).absolute())


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
        raise MissingPackageError(f"{without_secrets(url)} cannot be opened: {needs}") from None
    except Exception as error:  # credentials, an archive that is none: each file system has errors of its own
        raise ValueError(f"{without_secrets(url)} cannot be opened ({told(error)})") from None
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


def printable(text: str) -> str:
    """A text whose bytes that are no UTF-8 are spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()


def is_url(text: str) -> bool:
    """Whether a place is named by a URL; "C:\\videos" and "a:b.mp4" are not."""
    scheme, found, _ = text.partition("://")
    return bool(found) and scheme.replace("+", "").isalnum()


def _is_listed(folder: Path, top: Path) -> bool:
    """Whether a folder lies inside another, none of those between hidden: then it is listed under its own name."""
    return folder.is_relative_to(top) and not any(part.startswith(".") for part in folder.relative_to(top).parts)


def _holds(chain: Any, mark: tuple[int, int]) -> bool:
    while chain is not None:
        here, chain = chain
        if here == mark:
            return True
    return False


def _named(found: list[Any], folder: str) -> list[Any]:
    """Entries without the folder itself, which object stores list as a file of no bytes."""
    return [entry for entry in found if entry["name"].rstrip("/") != folder.rstrip("/")]
