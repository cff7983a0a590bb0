"""A stage's table on disk: batches that appear whole, once, and outlive a kill.

A batch is one Parquet part, named by the ids of the rows it was made of. It is written under a temporary name,
synced and renamed; then its record is, the same way. Only recorded parts exist for a reader, so a kill between the
two loses one batch's work and leaves no row twice.

    DATASET/stages/NAME/PART.parquet    rows
    DATASET/stages/NAME/PART.json       record: the ids of the input rows, counts, seconds, the part's digest
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..data.files import atomic_path
from .tables import Row, digest


class CaptionError(RuntimeError):
    """A captioning run that cannot start or go on; the message says what is needed. Finished batches are kept."""


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
        """
        part = digest(sorted(inputs))
        with atomic_path(self.folder / f"{part}.parquet") as path:
            pq.write_table(pa.Table.from_pylist(list(rows), self.schema), path, compression="zstd")
            content = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
        _sync(self.folder)
        record = {"inputs": list(inputs), "rows": len(rows), "digest": content, **facts}
        with atomic_path(self.folder / f"{part}.json") as path:
            path.write_text(json.dumps(record), encoding="utf-8")
        _sync(self.folder)
        return record

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
            yield pq.read_table(
                self.folder / f"{part}.parquet", columns=list(columns) if columns else None, partitioning=None
            )

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """All finished rows, in the order of their parts; never the whole table in memory."""
        for table in self.tables(columns):
            yield from table.to_pylist()

    def replace(self, inputs: Sequence[str], rows: Sequence[Mapping[str, Any]], **facts: Any) -> None:
        """Publish one part in place of all there are: for stages that look at the whole table at once."""
        new = digest(sorted(inputs))
        self.commit(inputs, rows, **facts)
        for part in self.parts():
            if part != new:  # the record goes first: a part without one does not exist
                (self.folder / f"{part}.json").unlink()
        self.sweep()

    def clear(self) -> None:
        """Forget every row, records first."""
        for part in self.parts():
            (self.folder / f"{part}.json").unlink()
        self.sweep()

    def sweep(self) -> None:
        """Remove what a kill left: temporary files, and parts without a record."""
        recorded = set(self.parts())
        for path in self.folder.glob("*"):
            if path.name.startswith(".") or (path.suffix == ".parquet" and path.stem not in recorded):
                path.unlink(missing_ok=True)


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


def _sync(folder: Path) -> None:
    """Make renames in a folder outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
