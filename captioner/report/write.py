"""`kinema caption report DATASET`: what became of every video, on one page that opens anywhere.

It is made of the stages' tables, however far they are, and says of a stage that did not run yet that it did not.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...data.files import atomic_path
from ...data.video_io import VideoError
from ..engine.claim import is_dataset, settings_of, shown_source
from ..engine.commits import StageTable
from ..filters.stage import DUPLICATE, THRESHOLDS, read_scores, unmeasured
from ..ingest.current import clip_ids, clips
from ..settings import CaptionSettings, FilterSettings
from ..shots.frames import read_clip
from ..summary import Summary, summarise
from ..tables import CAPTION_STATUSES, FILTERED, MEDIA, SCORES, SIGNALS, Row
from .captions import Captions, read_captions
from .page import Bar, figures, heading, histogram, page, paragraph, strip, table

EXAMPLES = 5  # clips of each kind
FRAMES, SIDE = 6, 192  # of a clip, and pixels of their long side
LISTED = 200  # rows of the list of what could not be used
REPORT = "report.html"
NUMBERS = [field.name for field in SCORES if pa.types.is_floating(field.type)]


def command(args: argparse.Namespace) -> None:
    """`kinema caption report`."""
    sys.stdout.write(f"{write_report(args.dataset)}\n")


def write_report(dataset: Path) -> Path:
    """Write DATASET/report.html anew; returns its path."""
    with atomic_path(dataset / REPORT) as path:
        path.write_text(report(dataset), encoding="utf-8")
    return dataset / REPORT


def report(dataset: Path) -> str:
    """The page."""
    settings = settings_of(dataset) if is_dataset(dataset) else CaptionSettings()
    summary, captions = summarise(dataset), read_captions(dataset, clip_ids(dataset))
    scores = read_scores(dataset, clip_ids(dataset))
    return page(
        f"Captioned videos: {dataset.resolve().name}",
        [
            ("Overview", _overview(dataset, summary, scores, captions)),
            ("What was rejected", _rejects(dataset, summary, scores, settings.filters)),
            ("Scores of clips", _scores(scores, settings.filters)),
            ("Examples", _examples(dataset, scores)),
            ("Captions", _captions(dataset, captions, settings)),
            ("Time and cost", _work(dataset, summary, captions)),
            ("What could not be used", _quarantine(dataset)),
        ],
    )


def _overview(dataset: Path, summary: Summary, scores: pa.Table, captions: Captions) -> Iterator[str]:
    source = shown_source(dataset) if is_dataset(dataset) else "unknown"
    yield paragraph(f"Source: {source}. Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.")
    found = sum(summary.files.values())
    steps: list[tuple[str, int, str]] = [
        ("found", found, "files, or parts of files that a list names"),
        ("readable", summary.files["ok"], "files that can be decoded"),
        ("clips", summary.clips, "pieces without a cut"),
        ("measured", scores.num_rows, "clips that have scores"),
        ("kept", summary.filtered["kept"], "clips that pass every threshold and are no copies"),
        ("captioned", captions.clips, "clips that a model described"),
        ("well described", captions.described, "clips with a caption of a model that passed its own checks"),
        ("in domain", captions.usable, "of these, clips with one that still passes beside the whole corpus"),
        ("to train on", summary.trainable, "kept clips with such a caption, or one that came with the video"),
    ]
    yield figures([("files", f"{found:,}"), ("clips", f"{summary.clips:,}"),
                   ("clips kept", f"{summary.filtered['kept']:,}"),
                   ("clips with a caption to train on", f"{summary.trainable:,}")])  # fmt: skip
    rows, files, pieces = [], max(found, 1), max(summary.clips, 1)
    for name, count, meaning in steps:
        share = count / (files if name in ("found", "readable") else pieces)
        rows.append((name, count, Bar(share), f"{share:.0%}", meaning))
    yield table("From files to captions; shares are of files, then of clips.",
                ("step", "count", "", "share", "what is counted"), rows)  # fmt: skip


def _rejects(dataset: Path, summary: Summary, scores: pa.Table, filters: FilterSettings) -> Iterator[str]:
    if not summary.filtered:
        yield paragraph("The stage `filters` has not run yet.")
        return
    every, alone = Counter[str](), Counter[str]()
    for row in StageTable(dataset, "filters", FILTERED).rows(["reject_reasons"]):
        every.update(row["reject_reasons"])
        if len(row["reject_reasons"]) == 1:
            alone.update(row["reject_reasons"])
    total = max(sum(summary.filtered.values()), 1)
    limits: dict[str, Any] = {name: getattr(filters, name) for name in THRESHOLDS}
    limits[DUPLICATE] = f"{filters.duplicate_bits} bits, cosine {filters.duplicate_similarity}"
    yield paragraph("A reason is the setting that the clip fails (filters.NAME); a clip may have several.")
    yield table(
        "Reasons, the most common first.",
        ("reason", "threshold", "clips", "for no other reason", "", "share"),
        [(name, limits.get(name), count, alone[name], Bar(count / total), f"{count / total:.1%}")
         for name, count in sorted(every.items(), key=lambda each: (-each[1], each[0]))],
    )  # fmt: skip
    if unset := unmeasured(scores, filters):
        yield paragraph(
            f"Thresholds without a score, which reject nothing: {', '.join(unset)}. Text is looked for with "
            "signals.text=true (kinema[ocr]), unsafe pictures with signals.nsfw=MODEL.",
            note=True,
        )


def _scores(scores: pa.Table, filters: FilterSettings) -> Iterator[str]:
    if not scores.num_rows:
        yield paragraph("The stage `signals` has not run yet.")
        return
    yield paragraph("A dashed line is a threshold; what is beyond it is drawn in orange.")
    drawn = []
    for name in NUMBERS:
        low, high = (getattr(filters, f"{end}_{name}", None) for end in ("min", "max"))
        drawn.append(histogram(name, scores[name].to_numpy(zero_copy_only=False).astype(np.float64), low, high))
    yield f'<div class="grid">{"".join(drawn)}</div>'
    moves = Counter(word or "not measured" for word in scores["camera_move"].to_pylist())
    yield _words("Camera moves", moves, scores.num_rows)
    colours = Counter(word for words in scores["colours"].to_pylist() for word in words or ())
    yield _words("Colours that fill at least 2 % of a clip", colours, scores.num_rows)


def _words(title: str, counts: "Counter[str]", total: int) -> str:
    rows = [(word, count, Bar(count / total), f"{count / total:.0%}") for word, count in counts.most_common(20)]
    return table(title, ("word", "clips", "", "share"), rows)


def _examples(dataset: Path, scores: pa.Table) -> Iterator[str]:
    kinds: dict[str, list[Row]] = {}
    for row in StageTable(dataset, "filters", FILTERED).rows():
        for kind in row["reject_reasons"] if row["status"] == "rejected" else ["kept"] * (row["status"] == "kept"):
            kinds.setdefault(kind, []).append(row)
            if len(kinds[kind]) > 50 * EXAMPLES:
                kinds[kind] = _first(kinds[kind])
    if not kinds:
        yield paragraph("The stage `filters` has not run yet.")
        return
    chosen = {kind: _first(rows) for kind, rows in kinds.items()}
    wanted = {clip for rows in chosen.values() for row in rows for clip in (row["clip_id"], row["duplicate_of"])}
    shots = _shots(dataset, wanted)
    measured = _chosen_scores(scores, wanted)
    for kind in sorted(chosen, key=lambda kind: (kind != "kept", kind)):
        yield heading("Kept" if kind == "kept" else f"Rejected: {kind}")
        for row in chosen[kind]:
            clip = row["clip_id"]
            yield clip_strip(shots.get(clip), _of_kind(kind, measured.get(clip, {})))
            if kind == DUPLICATE:
                original = row["duplicate_of"]
                yield clip_strip(shots.get(original), "it is a copy of this one, which is kept")


def _first(rows: list[Row]) -> list[Row]:
    """Clips of the smallest ids, which are hashes: a fair sample, and the same each time."""
    return sorted(rows, key=lambda row: row["clip_id"])[:EXAMPLES]


def _of_kind(kind: str, scores: Row) -> str:
    if kind in THRESHOLDS:
        name = THRESHOLDS[kind][0]
        return f"{name} {scores[name]:.3g}" if scores.get(name) is not None else name
    if kind == "kept" and scores:
        told = [f"{name} {scores[name]:.2g}" for name in ("motion", "sharpness") if scores.get(name) is not None]
        return ", ".join([*told, f"camera {scores.get('camera_move') or 'not measured'}"])
    return ""


def _chosen_scores(scores: pa.Table, wanted: set[Any]) -> dict[str, Row]:
    where = np.isin(scores["clip_id"].to_numpy(zero_copy_only=False).astype(str), [str(clip) for clip in wanted])
    return {row["clip_id"]: row for row in scores.filter(pa.array(where)).to_pylist()}


def _shots(dataset: Path, wanted: Iterable[Any]) -> dict[str, Row]:
    wanted = set(wanted)
    return {row["clip_id"]: row for row in clips(dataset) if row["clip_id"] in wanted}


def clip_strip(shot: Row | None, said: str) -> str:
    """Frames of a clip, where it is from, and a text."""
    if shot is None:
        return strip(None, "", said)
    place = f"{Path(shot['path']).name}, {shot['start_s']:.2f} to {shot['end_s']:.2f} s"
    try:
        frames = read_clip(shot, FRAMES, max_side=SIDE).frames
    except (VideoError, OSError):  # it was moved or removed since
        frames = None
    return strip(frames, f"Frames of {place}", f"{place}. {said}" if said else place)


def _captions(dataset: Path, captions: Captions, settings: CaptionSettings) -> Iterator[str]:
    if not captions.counts:
        yield paragraph("The stage `captions` has not run yet.")
        return
    there = {status for status, _ in captions.counts}
    statuses = [status for status in CAPTION_STATUSES if status in there]
    levels = sorted({level for _, level in captions.counts}, key=captions.place)
    yield paragraph(f"Written by: {', '.join(captions.models) or 'nobody'}.")
    yield table(
        "Captions by level and status. Trained on are those with status success, and the original ones.",
        ("level", *statuses),
        [(level, *(captions.counts[status, level] for status in statuses)) for level in levels],
    )
    if captions.errors:
        yield table("Why captions failed, the most common first.", ("reason", "captions"), captions.errors)
    limit = settings.checks.min_similarity
    yield (
        '<div class="grid">'
        + histogram("similarity, mean over sentences", captions.clip_mean, limit)
        + (
            histogram("similarity, least of a caption's sentences", captions.clip_min)
            + histogram("repetition", captions.repetition, None, settings.checks.max_repetition)
            + histogram(
                "distance from our captioner's world", captions.domain, None, settings.checks.domain_threshold
            )
            + "</div>"
        )
    )
    shots = _shots(dataset, {row["clip_id"] for row in (*captions.best, *captions.worst)})
    for title, rows in (
        ("Most similar to their clips", captions.best),
        ("Least similar, yet passed", captions.worst),
    ):
        if rows:
            yield heading(title)
        for row in rows:
            told = f"{row['level']}, {row['clip_mean']:.3f}: {row['text']}"
            yield clip_strip(shots.get(row["clip_id"]), told)


def _work(dataset: Path, summary: Summary, captions: Captions) -> Iterator[str]:
    rows = []
    for folder in sorted((dataset / "stages").glob("*"), key=lambda folder: folder.stat().st_mtime):
        records = list(StageTable(dataset, folder.name, pa.schema([])).records())
        seconds = sum(record.get("seconds", 0.0) for record in records)
        made = sum(record.get("rows", 0) for record in records)
        if records:
            spent = sum(record.get("told", {}).get("cost", 0.0) for record in records)
            rate = made / seconds if seconds else None
            rows.append((folder.name, made, len(records), seconds or None, rate, float(spent)))
    if not rows:
        yield paragraph("No stage has run yet.")
        return
    yield table(
        "Work done, in the order in which the stages were begun. Seconds are of all workers together.",
        ("stage", "rows", "batches", "seconds", "rows a second of work", "cost"),
        rows,
    )
    yield paragraph(
        f"{captions.prompt_tokens:,} prompt tokens and {captions.output_tokens:,} output tokens; "
        f"cost so far {summary.cost:.2f}."
    )


def _quarantine(dataset: Path) -> Iterator[str]:
    from ..ingest.stage import quarantined

    rows: list[tuple[str, str, str]] = []
    count = Counter[str]()
    for stage, row in _unusable(dataset, quarantined(dataset)):
        count[stage] += 1
        if len(rows) < LISTED:
            rows.append((row.get("source_uri") or row.get("clip_id") or "?", stage, row["reason"] or "no reason"))
    if not rows:
        yield paragraph("Nothing: every file and clip could be read.")
        return
    told = ", ".join(f"{number:,} in {stage}" for stage, number in count.items())
    rest = f" The first {LISTED} are listed; quarantine.jsonl has all." if count.total() > LISTED else ""
    yield paragraph(f"Set aside, with the reason: {told}.{rest}")
    yield table("Set aside", ("file or clip", "stage", "reason"), rows)


def _unusable(dataset: Path, files: Iterable[Row]) -> Iterator[tuple[str, Row]]:
    yield from (("ingest", row) for row in files)
    yield from (("shots", row) for row in clips(dataset) if row["status"] == "quarantined")
    now = clip_ids(dataset)
    for name, schema in (("signals", SIGNALS), ("media", MEDIA)):
        for row in StageTable(dataset, name, schema).rows(["clip_id", "status", "reason"]):
            if row["status"] == "quarantined" and (now is None or row["clip_id"] in now):
                yield name, row
