"""What a stage is: a table in, a table out, and a plain function over a batch of rows between them.

    ingest ─▶ shots ─▶ signals ─▶ filters* ─▶ captions ─▶ checks* ─▶ media ─▶ dataset*

Those with a star look at the whole table at once (duplicates are a matter of the whole corpus) and are made anew
when their input has changed; the others go batch by batch, each batch once.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from .settings import CaptionSettings
from .tables import Row

Work = Callable[[list[Row]], list[Row]]


def nothing_to_tell(rows: list[Row], settings: CaptionSettings) -> dict[str, float]:
    """No figures beside the number of rows."""
    return {}


def nothing_to_say(rows: int, settings: CaptionSettings) -> str:
    """Nothing before the work."""
    return ""


def in_batches(settings: CaptionSettings) -> int:
    """No rows that are paid for one by one."""
    return 0


def many_workers(settings: CaptionSettings) -> bool:
    """As many as there are cores or GPUs."""
    return False


@dataclass(frozen=True)
class Stage:
    """A stage that goes batch by batch.

    All functions are top-level ones, since worker processes and Ray actors receive them by name. `worker` is
    called once in each of those and may load a model; what it returns gets a batch of input rows and gives output
    rows, any number in any order. It is called from several threads if `runs_in` is "threads". A clip that cannot
    be used becomes a row that says why; what is raised ends the run. A process that crashes or hangs does not: its
    batch is done again row by row in a fresh one, and the row that crashes or hangs that too becomes what `failed`
    makes of it; without `failed`, a row of status "quarantined" with the reason, if the schema has these columns,
    else nothing but an entry under "set_aside" in the batch's record. A stage in threads has no such shelter: a
    crash there ends the run.
    """

    name: str  # of its table, and the word of `kinema caption WORD DATASET`
    schema: pa.Schema  # of its rows
    key: str  # the column that names an input row
    inputs: Callable[[Path, CaptionSettings], Iterable[Row]]  # input rows, from the tables before
    worker: Callable[[Path, CaptionSettings], Work]
    runs_in: Literal["processes", "threads"]  # decoders in processes; a model or an endpoint is shared by threads
    gpu: bool = False  # uses a GPU where there is one
    batch_size: int | None = None  # rows that are committed together; None: settings.run.batch_size
    # So many rows at a time, each in a thread and committed by itself, where what is lost in a kill was paid for;
    # 0: batches. Of stages in threads.
    row_by_row: Callable[[CaptionSettings], int] = in_batches
    one_worker: Callable[[CaptionSettings], bool] = (
        many_workers  # one in the whole run: it counts requests or money
    )
    announce: Callable[[int, CaptionSettings], str] = (
        nothing_to_say  # a line before so many rows are begun; "": none
    )
    # Batch by batch stages from which its rows follow: when one of those is made anew, so is it. None: all before.
    follows: tuple[str, ...] | None = None
    failed: Callable[[Row, str], list[Row]] | None = None  # of an input row whose decoder crashed or hung, and why
    tell: Callable[[list[Row], CaptionSettings], Mapping[str, float]] = (
        nothing_to_tell  # "rejects", "cost" of rows
    )


@dataclass(frozen=True)
class WholeStage:
    """A stage that looks at the whole of the tables before it, at every run."""

    name: str
    schema: pa.Schema | None  # None: it writes files of its own
    run: Callable[[Path, CaptionSettings], Any]  # rows, or what is to be told of the files
