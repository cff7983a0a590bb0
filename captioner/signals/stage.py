"""The stage `signals`: each clip is looked at once, and everything is measured that a filter may select by."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ...data.video_io import VideoError
from ..ingest.current import clips
from ..ingest.unchanged import UnreachableError
from ..settings import CaptionSettings
from ..stage import Stage, Work
from ..tables import SIGNALS, Row
from .embedding import Embed, open_embedding
from .hashing import clip_hash
from .looking import look_at
from .measures import black_share, brightness, colour_words, grey, sharpness, smaller, static_share
from .motion import measure_motion
from .nsfw import UnsafeClassifier
from .text_area import TextReader, check_text


def inputs(dataset: Path, settings: CaptionSettings) -> Iterator[Row]:
    """The usable clips.

    Raises:
        CaptionError: something that the settings ask for is not installed.
    """
    if settings.signals.text:
        check_text()
    yield from (row for row in clips(dataset) if row["status"] == "ok")


def worker(dataset: Path, settings: CaptionSettings) -> Work:
    """A function that measures clips; it holds the models."""
    cv2.setNumThreads(1)  # processes share the cores already
    torch.set_num_threads(1)
    asked, device = settings.signals, settings.run.device
    embed = open_embedding(asked.embedding, device)
    unsafe = UnsafeClassifier(asked.nsfw, device or "cpu") if asked.nsfw else None
    read_text = TextReader() if asked.text else None

    def work(rows: list[Row]) -> list[Row]:
        return [_row(row, asked.num_frames, asked.size, embed, unsafe, read_text) for row in rows]

    return work


def _row(row: Row, num_frames: int, size: int, embed: Embed, unsafe: Any, read_text: Any) -> Row:
    try:
        return measure_clip(row, num_frames, size, embed, unsafe, read_text)
    except UnreachableError:  # not the clip's fault: it ends the run, which can go on
        raise
    except VideoError as error:
        return _unusable(row, str(error))


def measure_clip(
    row: Row,
    num_frames: int,
    size: int,
    embed: Embed,
    unsafe: Callable[[np.ndarray], float] | None = None,
    read_text: Callable[[np.ndarray], Any] | None = None,
) -> Row:
    """A row of the `signals` table for a row of the `shots` table.

    Raises:
        VideoError: the clip cannot be read.
    """
    look = look_at(row, num_frames)
    frames = look.frames[look.spaced]
    small = smaller(look.frames, size)
    motion = measure_motion(np.stack([grey(frame) for frame in small]), look.times, look.near)
    text = read_text(frames) if read_text is not None else None
    span = look.times[look.spaced[-1]] - look.times[look.spaced[0]]
    fps = (len(frames) - 1) / span if span > 0 else row["fps"] or 1.0
    small = small[look.spaced]
    scores = {
        "duration": row["end_s"] - row["start_s"],
        "aspect": row["width"] / row["height"],
        "short_side": float(min(row["width"], row["height"])),
        "static": static_share(small),
        "black": black_share(small),
        "motion": motion.motion,
        "camera": motion.camera,
        "camera_move": motion.camera_move,
        "sharpness": sharpness(frames),
        "letterbox": row["letterbox"],
        "text_area": text.area if text is not None else None,
        "nsfw": unsafe(frames) if unsafe is not None else None,
        "colours": colour_words(small),
        "brightness": brightness(small),
    }
    return {
        "clip_id": row["clip_id"],
        "scores": scores,
        "phash": clip_hash(small),
        "embedding": embed(frames, fps).astype(np.float32).tolist(),
        "text": text.strings if text is not None else None,
        "status": "ok",
        "reason": None,
    }


def _unusable(row: Row, reason: str) -> Row:
    return {"clip_id": row["clip_id"], "status": "quarantined", "reason": reason}


def failed(row: Row, reason: str) -> list[Row]:
    """The row of a clip whose decoder crashed or hung."""
    return [_unusable(row, reason)]


def tell(rows: list[Row], settings: CaptionSettings) -> dict[str, float]:
    """How many clips could not be measured."""
    return {"rejects": sum(row["status"] != "ok" for row in rows)}


STAGE = Stage("signals", SIGNALS, "clip_id", inputs, worker, "processes", failed=failed, tell=tell)
