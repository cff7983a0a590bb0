"""The stage `filters`: which clips are kept. Thresholds and copies select; no score is changed.

A clip's reject reasons are the names of the settings that it fails, such as "max_static", and "duplicate". Copies
are looked for among those that pass, so that what is kept of them is fit to be kept.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ..engine.commits import StageTable
from ..ingest.current import clip_ids
from ..settings import CaptionSettings, FilterSettings
from ..signals.hashing import hash_words
from ..stage import WholeStage
from ..tables import FILTERED, SHOTS, SIGNALS, Row
from .duplicates import find_groups

pc: Any = pyarrow.compute  # it makes its functions when it is imported; type checkers see none
DUPLICATE = "duplicate"
THRESHOLDS = {  # setting: (score, least or most)
    name: (name.partition("_")[2], name.partition("_")[0])
    for name in FilterSettings.model_fields
    if name.startswith(("min_", "max_"))
}


def fails(scores: pa.Table, settings: FilterSettings) -> dict[str, np.ndarray]:
    """For each threshold that is set, which clips fail it; those without a score do not.

    Args:
        scores: a column for each score.
    """
    failing = {}
    for name, (score, end) in THRESHOLDS.items():
        limit = getattr(settings, name)
        if limit is not None:
            values = scores[score].to_numpy(zero_copy_only=False).astype(np.float64)  # null becomes nan
            failing[name] = values < limit if end == "min" else values > limit
    return failing


def unmeasured(scores: pa.Table, settings: FilterSettings) -> list[str]:
    """The thresholds that are set while no clip has their score."""
    return [
        name
        for name, (score, _) in THRESHOLDS.items()
        if getattr(settings, name) is not None and scores.num_rows and scores[score].null_count == scores.num_rows
    ]


def read_scores(dataset: Path, only: Collection[str] | None = None) -> pa.Table:
    """`clip_id`, `phash` and every score of the clips that could be measured, by rising clip_id.

    Args:
        only: of these clips; None: of all.
    """
    table = _read(dataset, "signals", SIGNALS, ["clip_id", "scores", "phash", "status"])
    if only is not None:
        table = table.filter(pc.is_in(table["clip_id"], pa.array(sorted(only), pa.string())))
    table = table.filter(pc.equal(table["status"], "ok")).drop_columns("status").flatten()
    return table.rename_columns([name.removeprefix("scores.") for name in table.column_names]).sort_by("clip_id")


def select(dataset: Path, settings: CaptionSettings) -> list[Row]:
    """A row of the `filters` table for each clip of SOURCE as it is now that was measured or cannot be."""
    current = clip_ids(dataset)
    scores = read_scores(dataset, current)
    clips = scores["clip_id"].to_pylist()
    failing = fails(scores, settings.filters)
    passing = ~np.any([*failing.values(), np.zeros(len(clips), bool)], axis=0)
    copies = _copies(dataset, scores, np.flatnonzero(passing), settings.filters)
    rows: list[Row] = []
    for number, clip in enumerate(clips):
        reasons = [name for name, which in failing.items() if which[number]]
        reasons += [DUPLICATE] if number in copies else []
        original = clips[copies[number]] if number in copies else None
        rows.append(_row(clip, reasons, original, "rejected" if reasons else "kept"))
    broken = [clip for clip in _quarantined(dataset) if current is None or clip in current]
    return rows + [_row(clip, [], None, "quarantined") for clip in sorted(broken)]


def _row(clip: str, reasons: list[str], original: str | None, status: str) -> Row:
    return {"clip_id": clip, "reject_reasons": reasons, "duplicate_of": original, "status": status}


def _copies(dataset: Path, scores: pa.Table, passing: np.ndarray, settings: FilterSettings) -> dict[int, int]:
    """Which of the rows `passing` are copies, and of which row each."""
    if len(passing) < 2 or (settings.duplicate_bits is None and settings.duplicate_similarity is None):
        return {}
    fit = scores.take(pa.array(passing))
    hashes = hash_words(fit["phash"].to_pylist())
    groups = find_groups(
        hashes,
        _embeddings(dataset, fit["clip_id"].to_pylist()),
        bits=settings.duplicate_bits,
        similarity=settings.duplicate_similarity,
    )
    # The best first: the largest picture, then the longest, then the smallest clip_id, in whose order they are.
    area = fit["short_side"].to_numpy() ** 2 * np.maximum(fit["aspect"].to_numpy(), 1 / fit["aspect"].to_numpy())
    order = np.lexsort((np.arange(len(fit)), -fit["duration"].to_numpy(), -np.round(area)))
    best: dict[int, int] = {}
    found = {}
    for number in order.tolist():
        first = best.setdefault(int(groups[number]), number)
        if first != number:
            found[int(passing[number])] = int(passing[first])
    return found


def _embeddings(dataset: Path, clips: list[str]) -> np.ndarray | None:
    """Embeddings of clips, float32 (N, E); None if one has none. One matrix, whatever the number of parts."""
    place = {clip: number for number, clip in enumerate(clips)}
    matrix, filled = None, 0
    for table in StageTable(dataset, "signals", SIGNALS).tables(["clip_id", "embedding"]):
        rows = [(place[clip], row) for row, clip in enumerate(table["clip_id"].to_pylist()) if clip in place]
        if not rows:
            continue
        there, here = (list(side) for side in zip(*rows))
        column: Any = table["embedding"].combine_chunks().take(pa.array(here))
        values = np.asarray(column.flatten(), np.float32)
        if column.null_count or values.size % len(rows):
            return None
        if matrix is None:
            matrix = np.empty((len(clips), values.size // len(rows)), np.float32)
        matrix[there] = values.reshape(len(rows), -1)
        filled += len(rows)
    return matrix if filled == len(clips) else None


def _quarantined(dataset: Path) -> Iterator[str]:
    for name, schema in (("shots", SHOTS), ("signals", SIGNALS)):
        for table in StageTable(dataset, name, schema).tables(["clip_id", "status"]):
            yield from table.filter(pc.not_equal(table["status"], "ok"))["clip_id"].to_pylist()


def _read(dataset: Path, name: str, schema: pa.Schema, columns: list[str]) -> pa.Table:
    empty = pa.schema([schema.field(column) for column in columns]).empty_table()
    return pa.concat_tables([empty, *StageTable(dataset, name, schema).tables(columns)])


STAGE = WholeStage("filters", FILTERED, select)
