"""A stage's table on disk: batches that appear whole, once, and outlive a kill.

A batch is one Parquet part, named by the ids of the rows it was made of. It is written under a temporary name,
synced and renamed; then its record is, the same way. Only recorded parts exist for a reader, so a kill between the
two loses one batch's work and leaves no row twice.

    DATASET/stages/NAME/PART.parquet    rows
    DATASET/stages/NAME/PART.json       record: the ids of the input rows, counts, seconds, the part's digest
    DATASET/stages/NAME/whole.json      record of a table that is made as a whole; it names its one part
    DATASET/.lock                       held by the one run that is at work
    DATASET/.run                        that run's name; a commit locks it, and is refused under another name

A process that outlives its killed run may still be computing when the next run begins. It can commit nothing
there: the next run has written its own name into .run.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...data.files import atomic_path, sync
from ..tables import Row, digest

WHOLE = "whole"  # the record of a table that is made as a whole
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PATIENCE = 60.0  # seconds that a new run waits for the last commit of a killed one


class CaptionError(RuntimeError):
    """A captioning run that cannot start or go on; the message says what is needed. Finished batches are kept."""


class DiskFullError(CaptionError):
    """Nothing more can be written."""


class SupersededError(CaptionError):
    """A commit by a process of a run that another has taken over."""


class StageTable:
    """The finished batches of one stage.

    Args:
        dataset: folder of the dataset.
        name: of the stage.
        schema: of its rows.
    """

    def __init__(self, dataset: Path, name: str, schema: pa.Schema) -> None:
        self.folder, self.name, self.schema = dataset / "stages" / name, name, schema

    def commit(self, inputs: Sequence[str], rows: Sequence[Mapping[str, Any]], **facts: Any) -> dict[str, Any]:
        """Publish what a batch of input rows became.

        Args:
            inputs: ids of the input rows.
            rows: what they became; may be empty.
            facts: JSON values for the record (seconds, cost, counts).

        Returns:
            The record.

        Raises:
            DiskFullError: nothing was published.
        """
        part = digest(sorted(inputs))
        return self._publish(part, {"inputs": list(inputs)}, part, rows, facts)

    def _publish(
        self,
        part: str,
        head: dict[str, Any],
        name: str,
        rows: Sequence[Mapping[str, Any]],
        facts: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Write the rows as `part`, then their record as `name`."""
        with explained_if_full(self.folder):
            with atomic_path(self.folder / f"{part}.parquet") as path:
                pq.write_table(pa.Table.from_pylist(list(rows), self.schema), path, compression="zstd")
                content = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
            sync(self.folder)
            record = {**head, "rows": len(rows), "digest": content, **facts}
            with atomic_path(self.folder / f"{name}.json") as path:
                path.write_text(json.dumps(record), encoding="utf-8")
            sync(self.folder)
        return record

    def recorded(self, inputs: Sequence[str]) -> dict[str, Any] | None:
        """The record of the batch of these input rows; None if it is not finished."""
        return self.record(digest(sorted(inputs)))

    def record(self, part: str) -> dict[str, Any] | None:
        """The record of one part; None if it is not finished."""
        path = self.folder / f"{part}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def parts(self) -> list[str]:
        """Names of the finished parts, in order."""
        return sorted(path.stem for path in self.folder.glob("*.json") if not path.name.startswith("."))

    def records(self) -> Iterator[dict[str, Any]]:
        """The record of every finished part."""
        for part in self.parts():
            yield json.loads((self.folder / f"{part}.json").read_text(encoding="utf-8"))

    def done(self) -> set[str]:
        """Ids of the input rows that are finished."""
        return {name for record in self.records() for name in record["inputs"]}

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The finished parts, one at a time, in order."""
        for part in self.parts():
            yield _read(self._rows_of(part), columns)

    def batches(self) -> Iterator[tuple[list[str], pa.Table]]:
        """The finished parts, one at a time, in order, each with the ids of the input rows it was made of."""
        for part in self.parts():
            yield (self.record(part) or {})["inputs"], _read(self._rows_of(part))

    def _rows_of(self, part: str) -> Path:
        record = self.record(WHOLE) if part == WHOLE else None
        return self.folder / f"{record['part'] if record else part}.parquet"

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """All finished rows, in the order of their parts; never the whole table in memory."""
        for table in self.tables(columns):
            yield from table.to_pylist()

    def replace(self, inputs: Sequence[str], rows: Sequence[Mapping[str, Any]], **facts: Any) -> dict[str, Any]:
        """Publish one part in place of all there are: for stages that look at the whole table at once.

        A reader finds the old rows or the new ones, never both: one record names the part, and is replaced.
        """
        for part in self.parts():
            if part != WHOLE:
                (self.folder / f"{part}.json").unlink()
        part = f"{WHOLE}-{digest(sorted(inputs), uuid.uuid4().hex)}"
        record = self._publish(part, {"inputs": list(inputs), "part": part}, WHOLE, rows, facts)
        self.sweep()
        return record

    def clear(self) -> None:
        """Forget every row, records first."""
        for part in self.parts():
            (self.folder / f"{part}.json").unlink()
        self.sweep()

    def sweep(self) -> None:
        """Remove what a kill left: temporary files, and parts without a record."""
        recorded = {self._rows_of(part).name for part in self.parts()}
        for path in self.folder.glob("*"):
            if path.name.startswith(".") or (path.suffix == ".parquet" and path.name not in recorded):
                path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Fence:
    """A run's right to commit, which ends when another run begins."""

    dataset: Path
    run: str

    @contextmanager
    def held(self) -> Iterator[None]:
        """Commit inside of this.

        Raises:
            SupersededError: another run has begun; nothing may be written.
        """
        with _locked(self.dataset / ".run", fcntl.LOCK_SH) as file:
            if file.read() != self.run:
                raise SupersededError(f"another run has taken over {self.dataset}; this one ends")
            yield


def begin_run(dataset: Path, patience: float = PATIENCE) -> Fence:
    """Begin a run, from which on no process of an earlier one can commit, and remove what a kill left.

    Call it inside `only_writer`.

    Raises:
        CaptionError: a process of an earlier run has been committing for longer than `patience` seconds.
    """
    with _locked(dataset / ".run", fcntl.LOCK_EX, patience) as file:
        run = uuid.uuid4().hex
        file.seek(0)
        file.truncate()
        file.write(run)
        file.flush()
        os.fsync(file.fileno())
        for folder in (dataset / "stages").glob("*"):
            if folder.name.startswith("."):
                shutil.rmtree(folder, ignore_errors=True)  # somebody's scratch
            elif folder.is_dir():
                StageTable(dataset, folder.name, pa.schema([])).sweep()
    return Fence(dataset, run)


def current_run(dataset: Path) -> str:
    """Name of the run that is at work in a dataset, or was the last; "" if there was none."""
    path = dataset / ".run"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


@contextmanager
def _locked(path: Path, kind: int, patience: float | None = None) -> Iterator[Any]:
    """A file that is locked while the block runs; a kill lets go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        deadline = time.monotonic() + (patience or 0.0)
        while patience is not None:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise CaptionError(
                        f"a process of an earlier run has been writing to {path.parent} for {patience:g} s; "
                        f"`fuser {path}` names it: end it, then give the same command again"
                    ) from None
                time.sleep(0.05)
        else:
            fcntl.flock(file, kind)
        file.seek(0)
        yield file


@contextmanager
def only_writer(dataset: Path) -> Iterator[None]:
    """Keep a second run out of the same dataset while the block runs; a kill lets go.

    Raises:
        CaptionError: another process is writing there.
    """
    dataset.mkdir(parents=True, exist_ok=True)
    with (dataset / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CaptionError(
                f"another process is writing {dataset}; wait for it, or give another --out"
            ) from None
        yield


@contextmanager
def explained_if_full(folder: Path) -> Iterator[None]:
    """Turn the many ways of saying that the disk is full into one that says what to do.

    Raises:
        DiskFullError: what was raised inside is one of them.
    """
    try:
        yield
    except OSError as error:  # pyarrow's carries the number in its text only
        if error.errno not in FULL and not any(f"[errno {number}]" in str(error).lower() for number in FULL):
            raise
        raise DiskFullError(
            f"the disk (or the quota) under {folder} is full; what is finished is kept: make room, then give the "
            "same command again"
        ) from error


def _read(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """One file's rows. A dataset's folder may be called "a=b", which is no column."""
    return pq.read_table(path, columns=list(columns) if columns else None, partitioning=None)  # pyright: ignore
