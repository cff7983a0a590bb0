"""The input rows of a stage that are still to be done: on disk, in the order they came, so that memory is flat."""

import pickle
import threading
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..settings import CaptionSettings
from ..stage import Stage
from ..tables import Row
from .commits import StageTable, explained_if_full

FOLDER = ".pending"  # in the dataset, where every node of a cluster sees it


class Pending:
    """Rows of a stage's input that its table has not yet, each once; a context, at whose end they are removed.

    Attributes:
        before: how many rows were done in earlier runs.
    """

    def __init__(self, stage: Stage, dataset: Path, settings: CaptionSettings) -> None:
        table = StageTable(dataset, stage.name, stage.schema)
        seen = table.done()
        self.before = len(seen)
        self.batch_size = 1 if stage.row_by_row(settings) else stage.batch_size or settings.run.batch_size
        self.path = dataset / FOLDER / stage.name
        self.path.parent.mkdir(exist_ok=True)
        self.__exit__()  # of a killed run
        self.offsets = array("q")
        with explained_if_full(dataset), self.path.open("wb") as file:
            for row in stage.inputs(dataset, settings):
                if row[stage.key] not in seen:
                    seen.add(row[stage.key])
                    self.offsets.append(file.tell())
                    pickle.dump(row, file)

    def __len__(self) -> int:
        return len(self.offsets)

    def __enter__(self) -> "Pending":
        return self

    def __exit__(self, *error: object) -> None:
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink(missing_ok=True)

    def places(self) -> list[tuple[int, int]]:
        """Where each batch begins in the file, and how many rows it has."""
        size = self.batch_size
        return [(self.offsets[i], min(size, len(self) - i)) for i in range(0, len(self), size)]

    def batches(self) -> Iterator[list[Row]]:
        """The rows in batches; the threads that share this take turns."""
        with self.path.open("rb") as file:
            for place in self.places():
                yield read_batch(file, *place)


def read_batch(file: IO[bytes], offset: int, count: int) -> list[Row]:
    """`count` rows of a file of pending ones."""
    file.seek(offset)
    return [pickle.load(file) for _ in range(count)]


class Turns:
    """An iterator that several threads may share."""

    def __init__(self, batches: Iterator[list[Row]]) -> None:
        self._batches, self._lock, self._stopped = batches, threading.Lock(), False

    def stop(self) -> None:
        """Give nothing more."""
        self._stopped = True

    def __iter__(self) -> Iterator[list[Row]]:
        while True:
            with self._lock:
                batch = None if self._stopped else next(self._batches, None)
            if batch is None:
                return
            yield batch
