"""Tables in order and side by side, in memory that does not grow with them: an external merge sort."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..tables import Row

HELD = 4096  # rows in memory at a time, of one table
OPEN = 64  # sorted runs that are merged at a time: each is an open file, and six tables may be in order at once
READ = 16  # rows of each sorted run that are read ahead

Key = Callable[[Row], Any]
_numbers = count()


def in_order(rows: Iterable[Row], schema: pa.Schema, key: Key, scratch: Path) -> Iterator[Row]:
    """Rows by rising key; runs of them are sorted one by one, kept in `scratch`, and merged, in passes if many."""
    rows, runs = iter(rows), []
    while held := sorted(islice(rows, HELD), key=key):
        runs.append(_write([held], schema, scratch))
    while len(runs) > OPEN:
        groups = [runs[start : start + OPEN] for start in range(0, len(runs), OPEN)]
        runs = [_write(_in_lists(_merged(group, key)), schema, scratch) for group in groups]
    yield from _merged(runs, key)


def _merged(runs: list[Path], key: Key) -> Iterator[Row]:
    """The rows of sorted runs in order; which are gone when read. Of equal rows the earlier first."""
    yield from heapq.merge(*map(_read, runs), key=key)
    for path in runs:
        path.unlink()


def _write(lists: Iterable[list[Row]], schema: pa.Schema, scratch: Path) -> Path:
    path = scratch / f"{next(_numbers)}.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for rows in lists:
            writer.write_table(pa.Table.from_pylist(rows, schema), max_chunksize=READ)
    return path


def _in_lists(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while held := list(islice(rows, HELD)):
        yield held


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
