"""A tiny dataset as the stages before publishing leave it: made by hand, so that every case is there."""

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from kinema.captioner.engine.commits import StageTable
from kinema.captioner.publish import media
from kinema.captioner.publish import stage as publish
from kinema.captioner.settings import CaptionSettings, DatasetSettings
from kinema.captioner.tables import (
    CAPTIONS,
    CHECKED,
    FILTERED,
    MEDIA,
    SHOTS,
    SIGNALS,
    SOURCES,
    caption_id,
    clip_id,
    digest,
)
from kinema.data.video_io import write_video

FPS, COUNT, HEIGHT, WIDTH = 8.0, 24, 48, 64
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def pictures(seed, count=COUNT, height=HEIGHT, width=WIDTH):
    """Smooth moving colours, with black bars above and below the middle 32 rows."""
    rows, columns = np.mgrid[0:height, 0:width] / 16
    phase = np.arange(count)[:, None, None] / 8 + seed
    frames = np.stack([np.sin(rows + phase), np.sin(columns + 2 * phase), np.cos(rows - columns + phase)], axis=-1)
    frames = (127 + 100 * frames).astype(np.uint8)
    frames[:, :8], frames[:, -8:] = 0, 0
    return frames


def clip(source: Path, number: int, start: float, end: float, captions=(), crop=(0, 8, WIDTH, HEIGHT - 16)):
    """A row of `shots`."""
    sha = digest("source", source.name, number)
    begin, behind = round(start * FPS), round(end * FPS)
    row = dict.fromkeys(SHOTS.names) | {
        "clip_id": clip_id(sha, begin, behind, list(crop) if crop else None),
        "source_uri": source.as_uri(), "source_sha256": sha, "path": str(source), "license": "CC0",
        "captions": list(captions), "start_s": start, "end_s": end, "start_pts": begin, "end_pts": behind,
        "time_base": "1/8", "fps": FPS, "width": crop[2] if crop else WIDTH, "height": crop[3] if crop else HEIGHT,
        "num_frames": behind - begin, "codec": "h264", "crop": list(crop) if crop else None, "status": "ok",
    }  # fmt: skip
    return row


def caption(clip_id, level, text, status="success", **more):
    """A row of `captions`."""
    row = dict.fromkeys(CAPTIONS.names) | {
        "clip_id": clip_id, "level": level, "text": text, "status": status, "backend": "toy", "model": "m",
        "run_id": "r", "created_at": NOW,
    } | more  # fmt: skip
    return row | {"caption_id": more.get("caption_id") or caption_id(row)}


def review(of, verdict, text=None, minutes=1, by="ann"):
    """What a person says of a caption, as a row."""
    row = caption(
        of["clip_id"], of["level"], of["text"] if text is None else text, backend="human", model=by,
        parent_id=of["caption_id"], review_status=verdict, created_at=NOW + dt.timedelta(minutes=minutes),
    )  # fmt: skip
    return row | {"caption_id": digest(row["caption_id"], verdict, row["text"], minutes, by)}


def add_review(dataset: Path, row):
    """Write one review as `kinema caption review` does."""
    (dataset / "reviews").mkdir(exist_ok=True)
    import pyarrow as pa

    pq.write_table(pa.Table.from_pylist([row], CAPTIONS), dataset / "reviews" / f"{row['caption_id']}.parquet")


def settle(dataset: Path, shots, captions, *, statuses=None, marks=()):
    """Commit hand-made tables, in parts of two rows."""
    statuses = statuses or {}

    def commit(name, schema, rows, key):
        table = StageTable(dataset, name, schema)
        for at in range(0, len(rows), 2):
            part = rows[at : at + 2]
            table.commit([row[key] for row in part], part)

    commit("shots", SHOTS, shots, "clip_id")
    ids = [row["clip_id"] for row in shots if row["status"] == "ok"]
    scores = {"duration": 1.0, "motion": 0.1, "colours": ["red"]}
    measured = [dict.fromkeys(SIGNALS.names) | {"clip_id": i, "scores": scores, "phash": "0f", "status": "ok"}
                for i in ids]  # fmt: skip
    commit("signals", SIGNALS, measured, "clip_id")
    verdicts = [{"clip_id": i, "status": statuses.get(i, "kept"), "duplicate_of": None,
                 "reject_reasons": ["black"] if statuses.get(i) == "rejected" else []} for i in ids]  # fmt: skip
    commit("filters", FILTERED, verdicts, "clip_id")
    commit("captions", CAPTIONS, captions, "caption_id")
    if marks:
        commit("checks", CHECKED, list(marks), "caption_id")
    lost = dict.fromkeys(SOURCES.names) | {"source_key": "x", "source_uri": "file:///lost.mp4",
                                           "status": "quarantined", "reason": "0 bytes"}  # fmt: skip
    commit("ingest", SOURCES, [lost], "source_key")


def settings(**dataset):
    return CaptionSettings(dataset=DatasetSettings(**dataset))


def make_media(dataset: Path, asked):
    """Run the stage `media` on all clips, as the engine does."""
    rows = list(media.inputs(dataset, asked))
    StageTable(dataset, "media", MEDIA).commit(
        [row["clip_id"] for row in rows], media.worker(dataset, asked)(rows)
    )


def build(folder: Path, **asked):
    """A published dataset of three sources and five clips; (folder, shots by name, captions by name)."""
    dataset, shots, captions = folder / "dataset", {}, {}
    for number, name in enumerate("abc"):
        source = folder / "videos" / f"{name}.mp4"
        if not source.is_file():
            write_video(source, pictures(number), FPS, crf=4)
        for part, (start, end) in enumerate([(0.0, 1.5), (1.5, 3.0)]):
            shots[f"{name}{part}"] = clip(
                source, number, start, end, captions=[f"words of {name}{part}"] if name == "a" else []
            )
    del shots["c1"]
    for name, row in shots.items():
        for level in ("short", "medium", "dense"):
            captions[name, level] = caption(row["clip_id"], level, f"{level} of {name}", parent_id="facts")
    for name in ("a0", "a1"):
        captions[name, "original"] = caption(shots[name]["clip_id"], "original", f"words of {name}",
                                             backend="original")  # fmt: skip
    statuses = {shots["b1"]["clip_id"]: "rejected"}
    twice = captions["c0", "dense"]
    mark = dict.fromkeys(CHECKED.names) | {name: twice[name] for name in ("caption_id", "clip_id", "level")}
    mark |= {"status": "error", "error": "duplicate"}
    settle(dataset, list(shots.values()), list(captions.values()), statuses=statuses, marks=[mark])
    wanted = settings(**asked)
    make_media(dataset, wanted)
    publish.run(dataset, wanted)
    return dataset, shots, captions
