"""Publishes a dataset: what the stages know, as two tables that anyone can open.

    DATASET/clips.parquet       one row a clip: the kept ones first, each part by clip_id
    DATASET/captions.parquet    one row a caption, good and bad, by clip_id and level
    DATASET/quarantine.jsonl    files and clips that could not be used, and why
    DATASET/sheet.png           some clips and what is said of them
    DATASET/README.md           the dataset's card; `load_dataset(DATASET, "clips")` reads its head
    DATASET/media/              cut clips or shards

Rows are streamed, so that memory does not grow with the dataset; equal tables give equal files.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...data.captioned import CAPTIONS as CAPTIONS_FILE
from ...data.captioned import CLIPS as CLIPS_FILE
from ...data.captioned import review_files, usable_captions
from ...data.files import atomic_path
from ...data.sheets import contact_sheet
from ...data.video_io import VideoError
from ..engine.commits import StageTable, explained_if_full
from ..engine.ordering import beside, in_order
from ..ingest.current import clip_ids
from ..ingest.current import clips as current_clips
from ..ingest.stage import quarantined
from ..settings import CaptionSettings, DatasetSettings
from ..shots.frames import read_clip
from ..stage import WholeStage
from ..tables import CAPTIONS, CHECKED, CLIPS, FILTERED, LEVELS, MEDIA, SHOTS, SIGNALS, Row
from .card import Counts, card
from .originals import with_originals
from .webdataset import ShardWriter

GROUP_ROWS, GROUP_BYTES = 1000, 2**25  # of a row group, whichever comes first
SHEET_CLIPS, SHEET_FRAMES, SHEET_SIDE = 12, 8, 160

_SIGNALS = pa.schema([SIGNALS.field(name) for name in ("clip_id", "scores", "phash", "status", "reason")])


def run(dataset: Path, settings: CaptionSettings) -> dict[str, Any]:
    """Publish what the stages have made so far.

    Returns:
        What is to be told: counts and files.
    """
    with explained_if_full(dataset), TemporaryDirectory(dir=_made(dataset / "stages"), prefix=".publish") as name:
        scratch = Path(name)
        _sweep(dataset, scratch)
        counts = Counts()
        shown: list[tuple[Row, dict[str, str]]] = []
        with (
            _table(dataset / CLIPS_FILE, CLIPS) as clips,
            _table(dataset / CAPTIONS_FILE, CAPTIONS) as captions,
            _Spill(scratch / "rest.parquet", CLIPS) as rest,
            _shards(dataset, settings.dataset) as shards,
        ):
            embed = _embedded(dataset, settings.dataset)
            reviews = _reviews(dataset)
            for clip, said in _clips_with_captions(dataset, scratch):
                row, source = _clip_row(clip, settings.dataset, shards)
                usable = usable_captions([*said, *reviews.get(row["clip_id"], [])])
                if shards is not None and source is not None:
                    facts = {"clip": {name: row[name] for name in CLIPS.names if name != "video"}}
                    shards.add(row["clip_id"], dataset / source, facts | {"captions": usable})
                if embed and source is not None:
                    row["video"]["bytes"] = (dataset / source).read_bytes()
                (clips if row["status"] == "kept" else rest).add(row)
                for caption in said:
                    captions.add(caption)
                counts.add(row, said, usable)
                if row["status"] == "kept" and len(shown) < SHEET_CLIPS:
                    shown.append((clip["shot"], usable))
            for row in rest.rows():
                clips.add(row)
        quarantined = _write_quarantine(dataset, scratch)
        _draw_sheet(dataset / "sheet.png", shown)
        _write(dataset / "README.md", card(dataset, settings, counts, quarantined, embedded=embed))
        _write_report(dataset)
    return counts.told() | {"quarantined": quarantined, "files": [CLIPS_FILE, CAPTIONS_FILE, "README.md"]}


# ------------------------------------------------------------------------------------------------------------ rows


def _clips_with_captions(dataset: Path, scratch: Path) -> Iterator[tuple[dict[str, Any], list[Row]]]:
    """Every clip by clip_id, as {"shot", "signals", "filters", "media"} rows (or None), and its captions."""

    def by_clip(rows: Iterable[Row], schema: pa.Schema) -> Iterator[Row]:
        return in_order(rows, schema, lambda row: row["clip_id"], scratch)

    def stage(name: str, schema: pa.Schema) -> Iterator[Row]:
        return by_clip(StageTable(dataset, name, schema).rows(schema.names), schema)

    shots = (row for row in current_clips(dataset) if row["status"] != "quarantined")
    merged: Iterator[Row] = ({"clip_id": row["clip_id"], "shot": row} for row in _distinct(by_clip(shots, SHOTS)))
    for name, schema in (("signals", _SIGNALS), ("filters", FILTERED), ("media", MEDIA)):
        merged = _with(merged, name, stage(name, schema))
    captions = in_order(StageTable(dataset, "captions", CAPTIONS).rows(), CAPTIONS, _place, scratch)
    yield from _with_captions(merged, captions, stage("checks", CHECKED))


def _with(rows: Iterable[Row], name: str, further: Iterable[Row]) -> Iterator[Row]:
    for row, found in beside(rows, further, "clip_id"):
        yield row | {name: found[0] if found else None}


def _distinct(rows: Iterable[Row]) -> Iterator[Row]:
    last = None
    for row in rows:
        if row["clip_id"] != last:
            yield row
        last = row["clip_id"]


def _with_captions(
    clips: Iterable[Row], captions: Iterable[Row], marks: Iterable[Row]
) -> Iterator[tuple[dict[str, Any], list[Row]]]:
    """Each clip with its captions: the status is what the checks of the whole corpus say, originals are of now."""
    captioned = (row | {"captions": found} for row, found in beside(clips, captions, "clip_id"))
    for row, marked in beside(captioned, marks, "clip_id"):
        by_id = {mark["caption_id"]: {name: mark[name] for name in ("status", "error")} for mark in marked}
        said = [caption | by_id.get(caption["caption_id"], {}) for caption in row["captions"]]
        yield row, sorted(with_originals(row["shot"], said), key=_place)


def _place(caption: Row) -> tuple[str, int, str]:
    return caption["clip_id"], LEVELS.index(caption["level"]), caption["caption_id"]


def _clip_row(
    clip: Mapping[str, Any], settings: DatasetSettings, shards: ShardWriter | None
) -> tuple[Row, str | None]:
    """A row of the published table, and the file in the dataset that is the clip's own, if there is one."""
    shot, signals, media = clip["shot"], clip["signals"] or {}, clip["media"]
    verdict = clip["filters"] or {"status": "pending", "reject_reasons": []}
    row = {name: shot.get(name) for name in CLIPS.names} | {
        "scores": signals.get("scores"),
        "phash": signals.get("phash"),
        "reject_reasons": list(verdict["reject_reasons"] or []),
        "status": verdict["status"],
        "video": None,
    }
    if row["status"] != "kept":
        return row, None
    if media is None:
        return row | {"status": "pending"}, None
    if media["status"] != "ok":
        return row | {"status": "quarantined", "reject_reasons": [f"media: {media['reason']}"]}, None
    row |= {name: media[name] for name in ("width", "height", "fps", "num_frames")}
    if settings.media == "reference":
        return row | {"video": {"bytes": None, "path": media["path"]}}, None
    path = media["path"] if shards is None else f"media/{shards.shard()}/{row['clip_id']}.mp4"
    return row | {"video": {"bytes": None, "path": path}}, media["path"]


def _reviews(dataset: Path) -> dict[str, list[Row]]:
    """What people said of captions, by clip."""
    found: dict[str, list[Row]] = {}
    for path in review_files(dataset):
        for row in pq.ParquetFile(path).read().to_pylist():
            found.setdefault(row["clip_id"], []).append(row)
    return found


def _embedded(dataset: Path, settings: DatasetSettings) -> bool:
    if settings.media == "reference":
        return False
    sizes = StageTable(dataset, "media", MEDIA).rows(["bytes", "status"])
    return sum(row["bytes"] or 0 for row in sizes if row["status"] == "ok") <= settings.embed_gb * 1e9


# ----------------------------------------------------------------------------------------------------------- files


class _Groups:
    """Writes rows in groups of about one size."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self.writer, self.rows, self.size = writer, [], 0

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.size += len((row.get("video") or {}).get("bytes") or b"")
        if len(self.rows) >= GROUP_ROWS or self.size >= GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        if self.rows:
            self.writer.write_table(pa.Table.from_pylist(self.rows, self.writer.schema))
        self.rows, self.size = [], 0


@contextmanager
def _table(path: Path, schema: pa.Schema) -> Iterator[_Groups]:
    """A table that appears whole when the block ends."""
    schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features(schema)}})})
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        groups = _Groups(writer)
        yield groups
        groups.flush()


class _Spill:
    """Rows that wait on disk."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.groups = _Groups(pq.ParquetWriter(path, schema))
        self.add = self.groups.add

    def __enter__(self) -> "_Spill":
        return self

    def __exit__(self, *_: object) -> None:
        self.groups.writer.close()

    def rows(self) -> Iterator[Row]:
        self.groups.flush()
        self.groups.writer.close()
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(GROUP_ROWS):
                yield from batch.to_pylist()


@contextmanager
def _shards(dataset: Path, settings: DatasetSettings) -> Iterator[ShardWriter | None]:
    if settings.media != "webdataset":
        yield None
        return
    with ShardWriter(dataset / "media", settings.shard_mb * 10**6) as writer:
        yield writer


def features(schema: pa.Schema) -> dict[str, Any]:
    """The schema as `datasets` writes it, so that `video` is a Video feature without a cast."""

    def feature(kind: pa.DataType) -> Any:
        if pa.types.is_list(kind):
            return {"feature": feature(kind.value_type), "_type": "List"}
        if pa.types.is_struct(kind):
            return {field.name: feature(field.type) for field in kind}
        names = {"double": "float64", "float": "float32"}
        return {"dtype": names.get(str(kind), str(kind)), "_type": "Value"}

    return {field.name: {"_type": "Video"} if field.name == "video" else feature(field.type) for field in schema}


def _write_quarantine(dataset: Path, scratch: Path) -> int:
    """List what could not be used; returns how many there are."""
    schema = pa.schema({name: pa.string() for name in ("source_uri", "clip_id", "stage", "reason")})

    def found() -> Iterator[Row]:
        for row in quarantined(dataset):
            yield {column: row.get(column) for column in schema.names} | {"stage": "ingest"}
        for row in current_clips(dataset):
            if row["status"] == "quarantined":
                yield {column: row.get(column) for column in schema.names} | {"stage": "shots"}
        now = clip_ids(dataset)
        for name, table in (("signals", _SIGNALS), ("media", MEDIA)):
            columns = [column for column in ("status", *schema.names) if column in table.names]
            for row in StageTable(dataset, name, table).rows(columns):
                if row["status"] == "quarantined" and (now is None or row["clip_id"] in now):
                    yield {column: row.get(column) for column in schema.names} | {"stage": name}

    number = 0
    with atomic_path(dataset / "quarantine.jsonl") as path, path.open("w", encoding="utf-8") as file:
        for row in in_order(found(), schema, lambda row: [row[name] or "" for name in schema.names], scratch):
            file.write(json.dumps({name: value for name, value in row.items() if value is not None}) + "\n")
            number += 1
    return number


def _draw_sheet(path: Path, shown: Iterable[tuple[Row, Mapping[str, str]]]) -> None:
    rows = []
    for shot, captions in shown:
        text = next(
            (captions[name] for name in ("medium", "dense", "short", "original") if captions.get(name)), ""
        )
        try:
            frames = read_clip(shot, SHEET_FRAMES, max_side=SHEET_SIDE).frames
        except VideoError:  # moved or removed since
            continue
        rows.append((f"{shot['clip_id'][:8]}: {text or '(no caption that may be trained on)'}", frames))
    if rows:
        with atomic_path(path) as temporary:
            contact_sheet(rows).save(temporary)
    else:
        path.unlink(missing_ok=True)


def _write_report(dataset: Path) -> None:
    if find_spec("kinema.captioner.report.write") is not None:
        from ..report.write import write_report

        write_report(dataset)


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sweep(dataset: Path, scratch: Path) -> None:
    """Remove what a kill left."""
    for path in [*(dataset / "media").glob(".*.part.*"), *(dataset / "stages" / "media").glob("clips/.*.part.*")]:
        path.unlink()
    for folder in scratch.parent.glob(".publish*"):
        if folder != scratch:
            shutil.rmtree(folder)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


STAGE = WholeStage("dataset", None, run)
