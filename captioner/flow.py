"""The order of the stages, and runs of all of them or of one.

    ingest ─▶ shots ─▶ signals ─▶ filters* ─▶ captions ─▶ checks* ─▶ media ─▶ dataset*

Stages with a star look at whole tables and run anew when anything before them, or their settings, has changed.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pyarrow as pa

from .addresses import without_secrets
from .captions.cost import check_budget
from .engine.claim import (
    check_dataset,
    check_source,
    claim,
    differences,
    models_of,
    refusal,
    settings_of,
    shown_source,
    source_of,
    values_of,
    write_claim,
)
from .engine.commits import WHOLE, CaptionError, Fence, StageTable, begin_run, explained_if_full, only_writer
from .engine.local import StageReport, check_engine, open_engine
from .engine.workers import Receipt
from .ingest.stage import listed_keys
from .settings import CaptionSettings
from .stage import Stage, WholeStage
from .tables import digest

Stages = Sequence[Stage | WholeStage]

# Name of each stage, the module with its STAGE, and the section of the settings that decides its rows.
STAGES = {
    "ingest": (".ingest.stage", "ingest"),
    "shots": (".shots.stage", "shots"),
    "signals": (".signals.stage", "signals"),
    "filters": (".filters.stage", "filters"),
    "captions": (".captions.stage", "captions"),
    "checks": (".checks.stage", "checks"),
    "media": (".publish.media", "dataset"),
    "dataset": (".publish.stage", "dataset"),
}


def stages() -> list[Stage | WholeStage]:
    """All stages, in order; imports them."""
    return [import_module(module, __package__).STAGE for module, _ in STAGES.values()]


def run_all(
    source: str | Path,
    dataset: str | Path,
    settings: CaptionSettings | None = None,
    *,
    redo: str | None = None,
    only: Stages | None = None,
) -> list[StageReport]:
    """Make a dataset of a source, or go on making it.

    Args:
        source: a folder, list, glob, fsspec URL or manifest.
        dataset: folder of the dataset; must not lie in the source.
        settings: other ones than it was begun with are refused.
        redo: a stage to make anew, with the new settings of it and of those after it.
        only: these stages instead of all.

    Returns:
        What was done, by stage.

    Raises:
        FileNotFoundError: there is no such source.
        CaptionError: the run cannot start or go on, see the message; finished batches are kept.
    """
    dataset, settings, chosen = Path(dataset), settings or CaptionSettings(), only or stages()
    written = check_source(str(source), dataset)
    check_budget(settings.run)  # before anything is forgotten
    check_engine(settings)
    with only_writer(dataset):
        if redo is not None:
            _check_same_source(dataset, written)
            begin_run(dataset)  # no process of a killed run adds rows to what is cleared
            clear_from(redo, dataset, settings, chosen)
        claim(dataset, written, settings)
        return _run(chosen, dataset, settings)


def run_one(
    name: str, dataset: str | Path, settings: CaptionSettings | None = None, *, only: Stages | None = None
) -> StageReport:
    """Do what is still to be done of one stage of a dataset; a stage with a star always runs.

    Args:
        name: of STAGES.
        dataset: folder of a dataset that was begun before.
        settings: None: those it was begun with.
        only: the stages that there are, instead of all.

    Raises:
        CaptionError: there is no such dataset or stage, it has other settings, or the run cannot go on.
    """
    dataset = Path(dataset)
    check_dataset(dataset)
    settings, chosen = settings or settings_of(dataset), only or stages()
    at = _place(name, chosen)
    with only_writer(dataset):
        claim(dataset, source_of(dataset), settings)
        for stage in chosen[:at]:
            if not (dataset / "stages" / stage.name).is_dir():
                raise CaptionError(
                    f"stage {name} needs the rows of stage {stage.name}, which has not run in {dataset}; "
                    f"`kinema caption {stage.name} {dataset}` runs it"
                )
        (report,) = _run(chosen, dataset, settings, first=at, last=at + 1, always=True)
        return report


def clear_from(name: str, dataset: Path, settings: CaptionSettings, chosen: Stages | None = None) -> None:
    """Forget the rows of a stage and of what follows from it, and take on the new settings of these.

    Batch by batch stages after a stage with a star, or after one that they do not follow from, keep their rows if
    their own settings are the same: each of their rows follows from its clip, and not from what was chosen, and
    the clips' files do not follow from captions.

    Raises:
        CaptionError: a stage before it has other settings too.
    """
    check_dataset(dataset)
    chosen = chosen or stages()
    at = _place(name, chosen)
    changed = list(differences(dataset, settings))
    later = {_section(stage) for stage in chosen[at:]} - {_section(stage) for stage in chosen[:at]}
    early = [(section, text) for section, text in changed if section not in later]
    if early:
        raise CaptionError(f"--redo {name} comes too late. {refusal(dataset, early)}")
    sections, doomed = {section for section, _ in changed}, []
    for stage in chosen[at:]:
        if isinstance(stage, Stage):
            before = {each.name for each in doomed if isinstance(each, Stage)}
            follows = before if stage.follows is None else before & set(stage.follows)
            if not (follows or stage is chosen[at] or _section(stage) in sections):
                continue
        doomed.append(stage)
    for stage in reversed(doomed):  # from the end: whatever a kill leaves was still made from what is there
        _table(dataset, stage).clear()
    write_claim(dataset, settings)


def _run(
    chosen: Stages, dataset: Path, settings: CaptionSettings, first: int = 0, last: int | None = None,
    always: bool = False,
) -> list[StageReport]:  # fmt: skip
    fence, reports = begin_run(dataset), []
    with open_engine(dataset, settings, fence) as engine:
        for index, stage in list(enumerate(chosen))[first:last]:
            if isinstance(stage, Stage):
                reports.append(engine.run(stage))
            else:
                reports.append(_run_whole(stage, chosen[:index], dataset, settings, fence, always))
            if stage.name == "ingest" and not _table(dataset, stage).parts():
                raise CaptionError(f"{shown_source(dataset)} holds no video")
    return reports


def _run_whole(
    stage: WholeStage, before: Stages, dataset: Path, settings: CaptionSettings, fence: Fence, always: bool
) -> StageReport:
    """Run a stage over whole tables, unless nothing has changed since it last ran."""
    table, state = _table(dataset, stage), _state(stage, before, dataset, settings)
    there = table.record(WHOLE)
    if there is not None and there["inputs"] == [state] and not always:
        return StageReport(stage.name, before=1)
    with explained_if_full(dataset):
        result = stage.run(dataset, settings)
    rows = [] if stage.schema is None else list(result)
    with fence.held():
        table.replace([state], rows)
    return StageReport(stage.name, pending=1, done=Receipt(1, len(rows)), result=result)


def _state(stage: WholeStage, before: Stages, dataset: Path, settings: CaptionSettings) -> str:
    """Digest of all that a stage over whole tables is made from."""
    parts = []
    for each in before:
        table = _table(dataset, each)
        parts.append([each.name, [[part, (table.record(part) or {})["digest"]] for part in table.parts()]])
    listed = sorted(listed_keys(dataset) or ())  # what was removed from SOURCE changes no table
    models = models_of(settings).get(_section(stage))
    reviews = sorted(path.name for path in (dataset / "reviews").glob("*.parquet"))
    return digest(stage.name, values_of(settings).get(_section(stage)), models, parts, listed, reviews)


def _table(dataset: Path, stage: Stage | WholeStage) -> StageTable:
    return StageTable(dataset, stage.name, pa.schema([]) if stage.schema is None else stage.schema)


def _section(stage: Stage | WholeStage) -> str:
    return STAGES.get(stage.name, ("", stage.name))[1]


def _place(name: str, chosen: Stages) -> int:
    names = [stage.name for stage in chosen]
    if name not in names:
        raise CaptionError(f"there is no stage {name}; the stages are {', '.join(names)}")
    return names.index(name)


def _check_same_source(dataset: Path, source: str) -> None:
    """Before anything is forgotten."""
    if without_secrets(source_of(dataset)) != without_secrets(source):
        raise CaptionError(
            f"{dataset} is made from {shown_source(dataset)}, and not from {without_secrets(source)}"
        )
