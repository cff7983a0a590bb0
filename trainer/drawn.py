"""The record of which caption each clip was shown with: RUN/STAGE/drawn/*.parquet, one row a clip shown.

    step, clip_id, origin (original, synthetic, or "" for none), level (short, medium, dense, timed, original, …)

Every rank writes parts of its own, one for the steps between two checkpoints (or fewer), right before the later of
them. A resumed run drops the rows of steps that it does again, so the record is that of an uninterrupted run.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..data.blend import is_original
from ..data.files import atomic_path
from .errors import TrainingError
from .run import Run

SCHEMA = pa.schema({"step": pa.int64(), "clip_id": pa.string(), "origin": pa.string(), "level": pa.string()})
MOST_ROWS = 50_000  # kept in memory
ORIGINS = ("original", "synthetic", "none")


def origin_of_caption(level: str) -> str:
    """Where a caption of this level is from; "" for no caption."""
    return "" if not level else "original" if is_original(level) else "synthetic"


class Drawn:
    """What was drawn so far, by this rank.

    Args:
        run: the training run.
        first: the first step that is still to do; what is recorded of it and later ones is dropped.
    """

    def __init__(self, run: Run, first: int) -> None:
        self.folder, self.rank = run.directory / "drawn", run.accelerator.process_index
        self.rows: list[dict[str, object]] = []
        self.counts: Counter[str] = Counter()
        if run.is_main:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in [*self.folder.glob("step-*.parquet"), *self.folder.glob(".step-*")]:
                if path.name.startswith(".") or int(path.name.split("-")[1]) >= first:
                    path.unlink()
        run.accelerator.wait_for_everyone()
        for path in self.folder.glob(f"step-*-rank-{self.rank:05d}.parquet"):
            for each in pq.read_table(path, columns=["origin"])["origin"].value_counts().to_pylist():
                self.counts[each["values"]] += each["counts"]

    def add(self, step: int, clip_ids: Sequence[str], levels: Sequence[str]) -> None:
        """Record the level of the caption that each clip of a batch is shown with; "" for none."""
        if len(self.rows) >= MOST_ROWS and step != self.rows[-1]["step"]:
            self.save()
        for clip_id, level in zip(clip_ids, levels, strict=True):
            origin = origin_of_caption(level)
            self.rows.append({"step": step, "clip_id": clip_id, "origin": origin, "level": level})
            self.counts[origin] += 1

    def shares(self) -> dict[str, float]:
        """The share of each origin among all clips this rank has shown in the run, for the logs."""
        total = max(1, self.counts.total())
        return {f"drawn_{name}": self.counts["" if name == "none" else name] / total for name in ORIGINS}

    def save(self) -> None:
        """Write what is not written yet; call it after a whole step, before each checkpoint.

        Raises:
            TrainingError: it cannot be written.
        """
        if not self.rows:
            return
        path = self.folder / f"step-{self.rows[0]['step']:08d}-rank-{self.rank:05d}.parquet"
        try:
            with atomic_path(path) as temporary:
                pq.write_table(pa.Table.from_pylist(self.rows, SCHEMA), temporary, compression="zstd")
        except OSError as error:
            raise TrainingError(
                f"could not write {path}: {error}. The last checkpoint is untouched; free some space and repeat "
                "the same command to go on from it"
            ) from error
        self.rows = []


def read_drawn(directory: Path) -> pa.Table:
    """The whole record of a run, by step; within a step, rank by rank in the order of the batches."""
    parts = sorted((directory / "drawn").glob("step-*.parquet"), key=lambda path: path.name.split("-")[3])
    tables = [pq.ParquetFile(path).read() for path in parts]
    whole = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    return whole.sort_by("step")  # which keeps the order of equal ones
