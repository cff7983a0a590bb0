"""Tables in order and side by side, in memory that does not grow with them: an external merge sort."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..tables import Row

HELD = 4096  # rows in memory at a time, of one table
READ = 16  # rows of each sorted run that are read ahead

Key = Callable[[Row], Any]
_numbers = count()


def in_order(rows: Iterable[Row], schema: pa.Schema, key: Key, scratch: Path) -> Iterator[Row]:
    """Rows by rising key; runs of them are sorted one by one, kept in `scratch`, and merged."""
    rows, runs = iter(rows), []
    while held := sorted(islice(rows, HELD), key=key):
        path = scratch / f"{next(_numbers)}.arrow"
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            writer.write_table(pa.Table.from_pylist(held, schema), max_chunksize=READ)
        runs.append(path)
    yield from heapq.merge(*map(_read, runs), key=key)
    for path in runs:
        path.unlink()


def _read(path: Path) -> Iterator[Row]:
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as batches:
        for batch in batches:
            yield from batch.to_pylist()


def beside(left: Iterable[Row], right: Iterable[Row], name: str) -> Iterator[tuple[Row, list[Row]]]:
    """Each row on the left with those on the right that have the same value of a column; both in its order."""
    right = iter(right)
    waiting = next(right, None)
    for row in left:
        found = []
        while waiting is not None and waiting[name] <= row[name]:
            if waiting[name] == row[name]:
                found.append(waiting)
            waiting = next(right, None)
        yield row, found
