"""From SOURCE to files that can be used, fetched, hashed and looked into; or to the reasons why they cannot.

A file that could not be fetched or read for a reason that may pass, or took too long to look into, has a row of
status "unreached". The next run lists it under another key and so tries it again; the row of old is then of the
past, as that of a changed file is. The same holds for one whose fetched copy is gone.

DATASET/sources/SHA256.mp4          what had to be fetched
DATASET/.pending/ingest             while the stage runs: addresses with their secrets, which no table has
DATASET/stages/ingest/listed.txt    keys of what SOURCE held when it was listed last
"""

import hashlib
import os
import random
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ...data.fetch import FetchError, fetch
from ...data.files import atomic_path
from ..addresses import WEB, is_local, links, secrets_hidden, without_secrets
from ..engine.claim import source_of
from ..engine.commits import FULL, CaptionError, StageTable
from ..settings import CaptionSettings
from ..stage import Stage, Work
from ..tables import SOURCES, Row, digest
from .listing import list_sources
from .probing import Prober
from .remote import MAX_BYTES, MAX_SECONDS, MissingPackageError, TooLargeError, copy_file, is_url, open_url, told
from .walking import LocalTree

NOT_REACHED = "not reached, the next run tries again: "
BLOCK = 4 << 20  # bytes that are hashed in one go
WAITS = (1.0, 4.0)  # seconds before a fetch that failed for a passing reason is tried again
MOST_FAILED = 5  # files that fail in a row for passing reasons: then network or disk is at fault, and not they
REMEMBERED = 64  # files that a worker remembers, for tables that ask for many parts of each
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_LASTING += (KeyError, ValueError, RuntimeError, zipfile.BadZipFile)  # errors that trying again does not mend


def inputs(dataset: Path, settings: CaptionSettings) -> Iterator[Row]:
    """What SOURCE holds now; noted when all of it was listed. What was not reached before has a new key."""
    folder = dataset / "sources"
    unreached = _unreached(dataset)
    for pattern in ("*.part*", "kinema-*"):  # what a run that was killed was fetching
        for path in folder.glob(pattern) if folder.is_dir() else ():
            path.unlink(missing_ok=True)
    with atomic_path(_listed(dataset)) as temporary, temporary.open("w", encoding="ascii") as listed:
        for row in list_sources(source_of(dataset), settings.ingest, dataset):
            while row["source_key"] in unreached:
                row["source_key"] = digest("again", row["source_key"])
            listed.write(row["source_key"] + "\n")
            yield row


def sources(dataset: Path, columns: Sequence[str] = SOURCES.names) -> Iterator[Row]:
    """The rows of this stage that SOURCE still holds: a file that was changed or removed has rows of old."""
    listed = listed_keys(dataset)
    for row in StageTable(dataset, "ingest", SOURCES).rows(list(dict.fromkeys(["source_key", *columns]))):
        if listed is None or row["source_key"] in listed:
            yield row


def listed_keys(dataset: Path) -> set[str] | None:
    """Keys of what SOURCE held when it was listed last; None if it never was."""
    try:
        return set(_listed(dataset).read_text(encoding="ascii").split())
    except FileNotFoundError:
        return None


def quarantined(dataset: Path) -> Iterator[Row]:
    """The rows of files that cannot be used, each with its "reason"."""
    return (row for row in sources(dataset) if row["status"] != "ok")


def worker(dataset: Path, settings: CaptionSettings) -> Work:
    """A function that looks into listed files."""
    return _Ingest(dataset / "sources", settings)


class _Ingest:
    """Fetches, hashes and looks into files."""

    def __init__(self, folder: Path, settings: CaptionSettings) -> None:
        self.folder = folder
        self.prober = Prober(settings.ingest.probe_seconds, settings.ingest.max_hours)
        self.failed = 0  # fetches in a row
        self.unread: dict[Path, None] = {}  # local files in a row
        self.fetched: dict[str, Path] = {}
        self.seen: dict[tuple[str, str], dict[str, Any]] = {}

    def __call__(self, rows: list[Row]) -> list[Row]:
        return [self._row(row) for row in rows]

    def _row(self, row: Row) -> Row:
        try:
            if row["reason"]:
                raise _Unusable(row["reason"])
            path = Path(row["path"]) if row["path"] else self._fetched(row["address"])
            facts = self._facts(path)
            start = row["start_s"] or 0.0
            if start >= facts["duration_s"]:
                lasts = f"the video lasts {facts['duration_s']:.2f} s"
                raise _Unusable(f"the part that is asked for begins at {start:.2f} s, and {lasts}")
        except _Unusable as error:
            return unusable(row, secrets_hidden(str(error), row["address"]))[0]
        except _Unreached as error:
            told = f"{NOT_REACHED}{secrets_hidden(str(error), row['address'])}"
            return _listed_columns(row) | {"status": "unreached", "reason": told}
        return _listed_columns(row) | facts | {"path": str(path), "status": "ok", "reason": None}

    def _facts(self, path: Path) -> dict[str, Any]:
        """Hash and contents of a file, remembered for the next parts of it.

        Raises:
            _Unusable: it cannot be used.
            _Unreached: it may be used another time.
            CaptionError: several in a row could not be read.
        """
        state = LocalTree().look(str(path))
        if state.problem:  # it had none when it was listed
            raise self._unread(path, state.problem)
        name = (str(path), state.stamp)
        if name not in self.seen:
            _forget(self.seen)
            try:
                found = self._look(path)
            except OSError as error:
                self.prober.close()
                raise self._unread(path, f"cannot be read ({error.strerror})") from None
            if (now := LocalTree().look(str(path))).problem:
                raise self._unread(path, now.problem)
            if now != state:
                raise _Unusable("it changed while it was read: is it still being written?")
            self.seen[name] = found
        self.unread.clear()
        facts = self.seen[name]
        if "unreached" in facts:
            raise _Unreached(facts["unreached"])
        if "reason" in facts:
            raise _Unusable(facts["reason"])
        return facts | {"bytes": state.size, "mtime_ns": int(state.stamp)}

    def _look(self, path: Path) -> dict[str, Any]:
        """Hash a file while the prober looks into it; what it finds unusable is not read to the end.

        Raises:
            OSError: it cannot be read; then what the prober says of it is not told.
        """
        digest = hashlib.sha256()
        found = None  # an answer is given once
        with path.open("rb") as file:
            self.prober.ask(path)
            while block := file.read(BLOCK):
                digest.update(block)
                if found is None and self.prober.answered():
                    found = self.prober.answer()
                    if "reason" in found or "unreached" in found:
                        file.read(BLOCK)  # was it the decoder who could not go on, or the disk?
                        return found
        found = found or self.prober.answer()
        return {"source_sha256": digest.hexdigest(), **found}

    def _unread(self, path: Path, why: str) -> "_Unreached":
        """What to raise of a local file that is there no more, or cannot be read.

        Raises:
            CaptionError: it is one of several in a row.
        """
        self.unread[path] = None
        if len(self.unread) >= MOST_FAILED:
            raise CaptionError(
                f"{len(self.unread)} files in a row could not be read, the last one {path}: {why}. Is a disk or a "
                "share missing? Bring it back, and give the same command again: it goes on where it stopped"
            )
        return _Unreached(why)

    def _fetched(self, uri: str) -> Path:
        """A copy of a file that is elsewhere.

        Raises:
            _Unusable: it cannot be fetched.
            _Unreached: it may be fetched another time.
            CaptionError: several in a row could not.
        """
        if (known := self.fetched.get(uri)) is not None and known.is_file():
            return known
        self.folder.mkdir(parents=True, exist_ok=True)
        for wait in (*WAITS, None):
            try:
                path = self._fetch(uri)
            except _Unusable:
                self.failed = 0  # an answer came
                raise
            except _Passing as error:
                if wait is not None:
                    time.sleep(wait * random.uniform(0.7, 1.3))
                    continue
                self.failed += 1
                if self.failed >= MOST_FAILED:
                    raise CaptionError(
                        f"{self.failed} files in a row could not be fetched, the last one {without_secrets(uri)}: "
                        f"{secrets_hidden(str(error), uri)}. Check "
                        "the network, and give the same command again: it goes on where it stopped"
                    ) from None
                raise _Unreached(f"{error} ({len(WAITS) + 1} attempts)") from None
            self.failed = 0
            _forget(self.fetched)
            self.fetched[uri] = path
            return path
        raise AssertionError("the last attempt returns or raises")

    def _fetch(self, uri: str) -> Path:
        suffix = PurePosixPath(uri.partition("::")[0].partition("?")[0]).suffix.lower()
        suffix = suffix if suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= 6 else ""
        temporary = self.folder / f"{random.getrandbits(64):016x}.part{suffix}"
        try:
            if uri.startswith(WEB):
                download = fetch(uri, max_bytes=MAX_BYTES, max_seconds=MAX_SECONDS, folder=self.folder)
                download.path.replace(temporary)
            else:
                files, path = open_url(uri)
                copy_file(files, path, temporary, MAX_BYTES)
            if not temporary.stat().st_size:
                raise _Unusable("the file is empty (0 bytes)")
            with temporary.open("rb") as file:
                name = hashlib.file_digest(file, "sha256").hexdigest() + suffix
            if not (self.folder / name).is_file():  # one that is there was maybe ingested, with its time
                with atomic_path(self.folder / name) as published:
                    temporary.replace(published)
            return (self.folder / name).absolute()
        except MissingPackageError as error:
            raise _Unreached(str(error)) from None
        except (CaptionError, _Unusable):
            raise
        except TooLargeError as error:
            raise _Unusable(str(error)) from None
        except FetchError as error:
            raise (_Passing if error.passing else _Unusable)(error.cause) from None
        except Exception as error:  # each file system has errors of its own
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            words = f"it cannot be fetched ({told(error)})"
            if is_local(uri) and not _is_there(uri):  # an archive; the file in it is not to blame
                raise _Passing(words) from None
            if isinstance(error, FileNotFoundError):
                raise _Unusable("no such file") from None
            raise (_Unusable if isinstance(error, _LASTING) else _Passing)(words) from None
        finally:
            temporary.unlink(missing_ok=True)


class _Unusable(Exception):
    """A file that cannot be used, and why."""


class _Passing(Exception):
    """A fetch that may succeed a moment later."""


class _Unreached(Exception):
    """A file that this run cannot fetch or read and a later one may, and why."""


def unusable(row: Row, reason: str) -> list[Row]:
    """The row of a file that cannot be used; it has no hash, since it need not have been read to the end."""
    return [_listed_columns(row) | {"status": "quarantined", "reason": reason}]


def tell(rows: list[Row], settings: CaptionSettings) -> dict[str, float]:
    """How many files cannot be used."""
    return {"rejects": sum(row["status"] != "ok" for row in rows)}


def _listed_columns(row: Row) -> Row:
    return {name: row[name] for name in SOURCES.names if name in row} | {"path": row["path"] or None}


def _listed(dataset: Path) -> Path:
    return dataset / "stages" / "ingest" / "listed.txt"


def _is_there(uri: str) -> bool:
    """Whether the local file that an address leads to, or begins at, can be read."""
    return os.access(links(uri)[-1].partition("://")[2] or links(uri)[-1], os.R_OK)


def _unreached(dataset: Path) -> set[str]:
    """Keys of what could not be fetched or read, in this run or an earlier one, or is no longer there."""
    rows = StageTable(dataset, "ingest", SOURCES).rows(["source_key", "source_uri", "path", "status"])
    return {row["source_key"] for row in rows if row["status"] == "unreached" or _copy_is_gone(row)}


def _copy_is_gone(row: Row) -> bool:
    fetched = row["status"] == "ok" and is_url(row["source_uri"])
    return fetched and not Path(row["path"]).is_file()


def _forget(known: dict[Any, Any]) -> None:
    """Make room for one more."""
    while len(known) >= REMEMBERED:
        known.pop(next(iter(known)))


STAGE = Stage("ingest", SOURCES, "source_key", inputs, worker, runs_in="processes", failed=unusable, tell=tell)
