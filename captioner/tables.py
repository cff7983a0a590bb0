"""The tables of a captioned dataset: their columns, and the ids that make every row the same wherever it is made.

A stage's rows are plain dicts; `pa.Table.from_pylist(rows, SCHEMA)` is their file.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

Row = dict[str, Any]

LEVELS = ("original", "short", "medium", "dense", "structured")
CAPTION_STATUSES = ("success", "truncated", "blocked", "error", "skipped", "out_of_domain")

VIDEO = pa.struct({"bytes": pa.binary(), "path": pa.string()})

# What `ingest` writes: one row a file or part of a file, the unusable ones too.
SOURCES = pa.schema(
    {
        "source_key": pa.string(),  # of the listing: digest of address, size, change, part, captions, license
        "source_uri": pa.string(),  # where it came from
        "path": pa.string(),  # what to open: a local file; null if there is none
        "source_sha256": pa.string(),  # of the file's bytes, hex; null if it is quarantined
        "bytes": pa.int64(),
        "mtime_ns": pa.int64(),  # when the file was written last, as it was read
        "license": pa.string(),
        "start_s": pa.float64(),  # part of the file that a manifest asked for, seconds; null: the whole
        "end_s": pa.float64(),
        "captions": pa.list_(pa.string()),  # original captions
        "width": pa.int32(),  # pixels, as displayed
        "height": pa.int32(),
        "fps": pa.float64(),
        "duration_s": pa.float64(),
        "num_frames": pa.int64(),
        "time_base": pa.string(),  # "1/12800"
        "codec": pa.string(),
        "has_audio": pa.bool_(),
        "status": pa.string(),  # ok | quarantined | unreached: the next run tries it again
        "reason": pa.string(),  # why it is not ok
    }
)

# What `shots` writes: one row a clip. `signals`, `filters` and `media` add to it by clip_id.
SHOTS = pa.schema(
    {
        "clip_id": pa.string(),
        "source_uri": pa.string(),
        "source_sha256": pa.string(),
        "path": pa.string(),
        "bytes": pa.int64(),  # of the file, and when it was written, as ingest read it
        "mtime_ns": pa.int64(),
        "license": pa.string(),
        "captions": pa.list_(pa.string()),
        "start_s": pa.float64(),  # seconds in the file; the clip is [start_s, end_s)
        "end_s": pa.float64(),
        "start_pts": pa.int64(),  # the same in units of time_base, of the stream's own clock
        "end_pts": pa.int64(),
        "time_base": pa.string(),
        "fps": pa.float64(),
        "width": pa.int32(),  # pixels, after the crop
        "height": pa.int32(),
        "num_frames": pa.int64(),
        "codec": pa.string(),
        "crop": pa.list_(pa.int32()),  # x, y, width, height in displayed pixels without the bars; null: all
        "letterbox": pa.float64(),  # share of the picture that the bars took, 0 to 1
        "status": pa.string(),  # ok | quarantined
        "reason": pa.string(),  # why it is quarantined
    }
)

# What `signals` measures; the filters' thresholds select by these names. Null: not measured.
SCORES = pa.struct(
    {
        "duration": pa.float64(),  # seconds
        "aspect": pa.float64(),  # width / height
        "short_side": pa.float64(),  # pixels
        "static": pa.float64(),  # share of steps between frames in which nothing changes, 0 to 1
        "black": pa.float64(),  # share of frames that are black, 0 to 1
        "motion": pa.float64(),  # mean motion of the picture, share of its diagonal a second
        "camera": pa.float64(),  # of that, the part a moving camera explains, share of the diagonal a second
        "camera_move": pa.string(),  # static, pan left|right, tilt up|down, zoom in|out, roll, mixed
        "sharpness": pa.float64(),  # 0 (blurred) to 1
        "letterbox": pa.float64(),  # share of the picture that bars took, 0 to 1
        "text_area": pa.float64(),  # share of the picture under text, 0 to 1; needs kinema[ocr]
        "nsfw": pa.float64(),  # probability, 0 to 1; needs a classifier
        "colours": pa.list_(pa.string()),  # most common colour words, largest first
        "brightness": pa.float64(),  # mean, 0 to 1
    }
)

SIGNALS = pa.schema(
    {
        "clip_id": pa.string(),
        "scores": SCORES,
        "phash": pa.string(),  # perceptual hash of the clip, hex
        "embedding": pa.list_(pa.float32()),  # unit vector, for near duplicates and the domain
        "text": pa.list_(pa.string()),  # what is written in the picture
        "status": pa.string(),  # ok | quarantined
        "reason": pa.string(),
    }
)

FILTERED = pa.schema(
    {
        "clip_id": pa.string(),
        "reject_reasons": pa.list_(pa.string()),
        "duplicate_of": pa.string(),  # clip_id of the one that is kept
        "status": pa.string(),  # kept | rejected | quarantined
    }
)

# What `media` writes, of clips that are kept: where a clip's pictures lie, and what lies there.
MEDIA = pa.schema(
    {
        "clip_id": pa.string(),
        "path": pa.string(),  # of a cut clip, in the dataset's folder; of a reference, the whole file's
        "bytes": pa.int64(),  # of a cut clip
        "width": pa.int32(),  # pixels
        "height": pa.int32(),
        "fps": pa.float64(),
        "num_frames": pa.int64(),
        "status": pa.string(),  # ok | quarantined
        "reason": pa.string(),
    }
)

CAPTIONS = pa.schema(
    {
        "caption_id": pa.string(),
        "clip_id": pa.string(),
        "level": pa.string(),  # of LEVELS
        "text": pa.string(),
        "structured": pa.string(),  # the facts as JSON, of level "structured"
        "raw": pa.string(),  # what the model answered, word for word
        "parent_id": pa.string(),  # the caption it was derived from
        "backend": pa.string(),
        "model": pa.string(),
        "revision": pa.string(),  # of the weights
        "prompt_sha": pa.string(),
        "sampling": pa.string(),  # JSON
        "frame_pts": pa.list_(pa.int64()),  # frames the model saw, in the source's time_base
        "prompt_tokens": pa.int64(),
        "output_tokens": pa.int64(),
        "latency_ms": pa.float64(),
        "status": pa.string(),  # of CAPTION_STATUSES
        "error": pa.string(),  # what the checks or the backend found wrong
        "clip_mean": pa.float64(),  # similarity of sentences and frames, mean and minimum over sentences
        "clip_min": pa.float64(),
        "repetition": pa.float64(),  # share of repeated word triples, 0 to 1
        "review_status": pa.string(),  # null, accepted, rejected or edited
        "run_id": pa.string(),
        "created_at": pa.timestamp("ms", tz="UTC"),
    }
)
# What `checks` writes: every caption's status after it, which the published table takes.
CHECKED = pa.schema(
    {
        "caption_id": pa.string(),
        "clip_id": pa.string(),
        "level": pa.string(),
        "status": pa.string(),  # of CAPTION_STATUSES
        "error": pa.string(),
        "domain": pa.float64(),  # distance of the clip from our captioner's world; null: written by another
    }
)

ONLY_THIS_RUN = ("run_id", "created_at", "latency_ms")  # columns that two runs of the same work do not share

# The published `clips` table.
CLIPS = pa.schema(
    {
        "clip_id": pa.string(),
        "source_uri": pa.string(),
        "source_sha256": pa.string(),
        "license": pa.string(),
        "video": VIDEO,
        "start_s": pa.float64(),
        "end_s": pa.float64(),
        "start_pts": pa.int64(),
        "end_pts": pa.int64(),
        "time_base": pa.string(),
        "fps": pa.float64(),
        "width": pa.int32(),
        "height": pa.int32(),
        "num_frames": pa.int64(),
        "codec": pa.string(),
        "crop": pa.list_(pa.int32()),
        "scores": SCORES,
        "phash": pa.string(),
        "reject_reasons": pa.list_(pa.string()),
        "status": pa.string(),
    }
)


def digest(*parts: Any) -> str:
    """A name for a thing that is made of these parts, 32 hex digits: equal parts have equal names everywhere."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def clip_id(source_sha256: str, start_pts: int, end_pts: int, crop: list[int] | None) -> str:
    """Id of a clip: of the source's bytes, the part of it in its own clock, and the crop."""
    return digest("clip", source_sha256, start_pts, end_pts, crop)


def caption_id(row: Mapping[str, Any]) -> str:
    """Id of a caption: of the clip, the level, what it was derived from, and what wrote it."""
    made_by = [row.get(name) for name in ("backend", "model", "revision", "prompt_sha", "sampling")]
    return digest("caption", row["clip_id"], row["level"], row.get("parent_id"), *made_by)
