"""The stage `captions`: the kept clips in, their facts and captions out. `writing` does it for a batch.

Where an endpoint writes, clips are committed one by one, `run.concurrency` of them at work: no answer is paid for
twice but those for the clips that were in flight when a run ended.

Clips are decoded in the threads that write, beside the model: a clip that cannot be read is a row of status
"error", but a crash of the decoder would end the run, and each that goes on. It meets no clip that was not decoded
before: shots and signals read every clip first, in processes that may die, and set aside what kills them.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from ..backends import open_backend
from ..backends.base import PROSE
from ..engine.commits import StageTable, current_run
from ..ingest.current import clips
from ..settings import CaptionSettings
from ..stage import Stage, Work
from ..tables import CAPTIONS, FILTERED, SIGNALS, Row
from .cost import LEDGER, Meter, check_budget, cost, densifier_run, estimate
from .densify import open_densifier
from .writing import Writer


def inputs(dataset: Path, settings: CaptionSettings) -> Iterator[Row]:
    """The clips that the filters kept: their rows of `shots`, with "scores" of `signals`."""
    filtered = StageTable(dataset, "filters", FILTERED).rows(["clip_id", "status"])
    kept = {row["clip_id"] for row in filtered if row["status"] == "kept"}
    parts = list(StageTable(dataset, "signals", SIGNALS).tables(["clip_id", "scores"]))
    signals = pa.concat_tables(parts) if parts else None
    at = {name: index for index, name in enumerate(signals["clip_id"].to_pylist())} if signals else {}
    for row in clips(dataset):
        if row["clip_id"] in kept:
            kept.remove(row["clip_id"])
            index = at.get(row["clip_id"])
            scores = signals["scores"][index].as_py() if signals is not None and index is not None else None
            yield row | {"scores": scores}


def worker(dataset: Path, settings: CaptionSettings) -> Work:
    """Load the models, for all threads of a process."""
    from ..backends.calling import Ending
    from ..checks.similarity import open_scorer

    check_budget(settings.run)
    device, ending = settings.run.device or _device(), Ending()
    ledger = dataset / LEDGER
    writer = Writer(
        settings,
        open_backend(settings, device, Meter(ledger, settings.run), ending),
        open_densifier(settings, device, Meter(ledger, densifier_run(settings.run)), ending),
        open_scorer(settings, device),
    )
    return functools.partial(_work, writer, dataset)


def _work(writer: Writer, dataset: Path, rows: list[Row]) -> list[Row]:
    return writer.write(rows, run_id=current_run(dataset))


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def tell(rows: list[Row], settings: CaptionSettings) -> dict[str, float]:
    """Clips that nothing could be written of, and money."""
    clips = {row["clip_id"] for row in rows}
    described = {row["clip_id"] for row in rows if row["level"] in PROSE and row["status"] == "success"}
    return {"rejects": len(clips - described), "cost": cost(rows, settings)}


def counts_money(settings: CaptionSettings) -> bool:
    """Whether one worker must do all: it keeps an endpoint's rate limit."""
    return settings.captions.backend == "openai" or bool(
        settings.captions.densify_model and settings.captions.densify_base_url
    )


def clip_by_clip(settings: CaptionSettings) -> int:
    """How many clips are at work, each committed by itself, where an endpoint writes."""
    return settings.run.concurrency if counts_money(settings) else 0


STAGE = Stage(
    name="captions",
    schema=CAPTIONS,
    key="clip_id",
    inputs=inputs,
    worker=worker,
    runs_in="threads",
    gpu=True,
    row_by_row=clip_by_clip,
    one_worker=counts_money,
    announce=estimate,
    tell=tell,
)
