"""Folders walked in a fixed order, with one of them in memory at a time: what a walk is, and this machine's."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

MAX_TEXT = 1 << 20  # bytes of a caption file; a larger one is none
_KINDS = (
    (stat.S_ISDIR, "a folder, no file"),
    (stat.S_ISFIFO, "a named pipe (FIFO), no file"),
    (stat.S_ISSOCK, "a socket, no file"),
    (stat.S_ISCHR, "a device, no file"),
    (stat.S_ISBLK, "a device, no file"),
)


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

    def real(self, path: str) -> Path | None:
        """Where a file of this machine lies, all links followed; None for one that is elsewhere."""
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

    def real(self, path: str) -> Path | None:
        """Where it lies."""
        return Path(path).resolve()


def leads_out(tree: Tree, path: str, root: str) -> bool:
    """Whether a file is a link, or behind one, that leads out of a folder: to what its maker need not own."""
    real, top = tree.real(path), tree.real(root)
    return real is not None and top is not None and not real.is_relative_to(top)


def printable(text: str) -> str:
    """A text whose bytes that are no UTF-8 are spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _is_listed(folder: Path, top: Path) -> bool:
    """Whether a folder lies inside another, none of those between hidden: then it is listed under its own name."""
    return folder.is_relative_to(top) and not any(part.startswith(".") for part in folder.relative_to(top).parts)


def _holds(chain: Any, mark: tuple[int, int]) -> bool:
    while chain is not None:
        here, chain = chain
        if here == mark:
            return True
    return False
