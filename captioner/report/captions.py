"""What the report says of captions: counted column by column, so that millions fit."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ..engine.commits import StageTable
from ..tables import CAPTIONS, CHECKED, LEVELS, Row

pc: Any = pyarrow.compute  # it makes its functions when it is imported; type checkers see none
SHOWN = 6  # captions of each kind
REASONS = 12
PROSE = ("short", "medium", "dense")


@dataclass
class Captions:
    """Counts and columns."""

    counts: "Counter[tuple[str, str]]" = field(default_factory=Counter)  # (status now, level) → captions
    errors: list[tuple[str, int]] = field(default_factory=list)  # why, most common first
    models: list[str] = field(default_factory=list)
    clips: int = 0  # that a model described
    described: int = 0  # of those, with a caption that passed its own checks
    usable: int = 0  # clips with one that passes now
    clip_mean: np.ndarray = field(default_factory=lambda: np.empty(0))
    clip_min: np.ndarray = field(default_factory=lambda: np.empty(0))
    repetition: np.ndarray = field(default_factory=lambda: np.empty(0))
    domain: np.ndarray = field(default_factory=lambda: np.empty(0))
    prompt_tokens: int = 0
    output_tokens: int = 0
    best: list[Row] = field(default_factory=list)
    worst: list[Row] = field(default_factory=list)

    def place(self, level: str) -> int:
        """Of a level, in a table."""
        return LEVELS.index(level) if level in LEVELS else len(LEVELS)


def read_captions(dataset: Path, clips: set[str] | None = None) -> Captions:
    """All that is to be said of the captions that there are by now.

    Args:
        clips: those that SOURCE holds now, the only ones that are counted; None: all.
    """
    columns = ["caption_id", "clip_id", "level", "backend", "model", "status", "error", "prompt_tokens"]
    columns += ["output_tokens", "clip_mean", "clip_min", "repetition"]
    written = _read(dataset, "captions", CAPTIONS, columns)
    if clips is not None:
        written = written.filter(pc.is_in(written["clip_id"], pa.array(clips, pa.string())))
    checked = _read(dataset, "checks", CHECKED, ["caption_id", "status", "error", "domain"])
    checked = checked.rename_columns(["caption_id", "status_now", "error_now", "domain"])
    rows = written.join(checked, "caption_id", join_type="left outer")
    now = pc.coalesce(rows["status_now"], rows["status"])
    error = pc.if_else(pc.is_valid(rows["status_now"]), rows["error_now"], rows["error"])
    ours = pc.and_(pc.not_equal(rows["level"], "original"), pc.not_equal(now, "skipped"))
    prose = pc.is_in(rows["level"], pa.array(PROSE))
    passed, passes = pc.equal(rows["status"], "success"), pc.equal(now, "success")
    rows = rows.set_column(rows.column_names.index("status"), "status", now)
    failed = pc.filter(error, pc.and_(ours, pc.invert(passes)))
    reasons = Counter(_kind(text) for text in failed.to_pylist() if text)
    models = pc.unique(pc.binary_join_element_wise(rows["backend"], rows["model"], " ").filter(ours)).to_pylist()
    best, worst = _extremes(dataset, rows.filter(pc.and_(prose, passes)))
    return Captions(
        counts=Counter(zip(now.to_pylist(), rows["level"].to_pylist())),
        errors=reasons.most_common(REASONS),
        models=sorted(name.strip() for name in models if name),
        clips=_distinct(rows, ours),
        described=_distinct(rows, pc.and_(prose, passed)),
        usable=_distinct(rows, pc.and_(prose, passes)),
        clip_mean=_numbers(rows, "clip_mean", ours),
        clip_min=_numbers(rows, "clip_min", ours),
        repetition=_numbers(rows, "repetition", ours),
        domain=_numbers(rows, "domain", ours),
        prompt_tokens=pc.sum(rows["prompt_tokens"]).as_py() or 0,
        output_tokens=pc.sum(rows["output_tokens"]).as_py() or 0,
        best=best,
        worst=worst,
    )


def _kind(error: str) -> str:
    """The part of a reason that others share: what is before the first colon, without numbers."""
    words = error.split(";")[0].split(":")[0].split()
    return " ".join("…" if any(c.isdigit() for c in word) else word for word in words)[:100]


def _extremes(dataset: Path, rows: pa.Table) -> tuple[list[Row], list[Row]]:
    """Captions of the highest and the lowest similarity, one a clip and text, with their texts."""
    rows = rows.filter(pc.is_valid(rows["clip_mean"])).select(["caption_id", "clip_id", "level", "clip_mean"])
    ranked = {}
    for order in ("descending", "ascending"):
        some = rows.sort_by([("clip_mean", order), ("caption_id", "ascending")]).slice(0, 10 * SHOWN).to_pylist()
        one_a_clip = {row["clip_id"]: row for row in reversed(some)}
        ranked[order] = [row for row in some if one_a_clip[row["clip_id"]] is row][:SHOWN]
    wanted = pa.array({row["caption_id"] for rows in ranked.values() for row in rows}, pa.string())
    texts: dict[str, str] = {}
    for part in StageTable(dataset, "captions", CAPTIONS).tables(["caption_id", "text"]):
        part = part.filter(pc.is_in(part["caption_id"], wanted))
        texts |= dict(zip(part["caption_id"].to_pylist(), part["text"].to_pylist()))
    best, worst = (
        [row | {"text": texts.get(row["caption_id"]) or ""} for row in rows] for rows in ranked.values()
    )
    return best, [row for row in worst if row["caption_id"] not in {each["caption_id"] for each in best}]


def _distinct(rows: pa.Table, which: pa.ChunkedArray) -> int:
    return len(pc.unique(rows["clip_id"].filter(which)))


def _numbers(rows: pa.Table, name: str, which: pa.ChunkedArray) -> np.ndarray:
    return rows[name].filter(which).to_numpy(zero_copy_only=False).astype(np.float64)


def _read(dataset: Path, name: str, schema: pa.Schema, columns: list[str]) -> pa.Table:
    empty = pa.schema([schema.field(column) for column in columns]).empty_table()
    return pa.concat_tables([empty, *StageTable(dataset, name, schema).tables(columns)])
