"""The stage "checks": what only the whole corpus shows of its captions.

A dense caption that many clips share word for word says nothing of any of them; a short one may well be shared,
and a medium one more than a dense one. And clips that our captioner was not trained on lose all that it wrote of
them (`domain`), and all that another model wrote from its facts. Each is marked, with the reason; no caption is
changed or removed.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from ...data.video_io import VideoError
from ..engine.commits import StageTable
from ..ingest.current import clips as clips_now
from ..settings import CaptionSettings
from ..shots.frames import read_clip
from ..stage import WholeStage
from ..tables import CAPTIONS, CHECKED, Row
from .domain import Domain, open_domain
from .wording import words_of

# Times `checks.max_duplicates`: clips that may share a caption of a level. Short ones may all be alike.
SHARED = {"dense": 1, "medium": 5}
BATCH = 64  # clips whose distances are committed together
MAX_SIDE = 256  # pixels
OURS = "captioner"  # the backend whose clips are compared with its world
NOT_COMPARED = "could not be compared with what our captioner knows, since the clip cannot be read now"

# Distances that were measured, one row a clip and captioner.
DISTANCES = pa.schema({"clip_id": pa.string(), "captioner": pa.string(), "distance": pa.float64()})


def run(dataset: Path, settings: CaptionSettings) -> Iterator[Row]:
    """A row for every caption: its status now, and why."""
    captions = StageTable(dataset, "captions", CAPTIONS)
    ours, facts, shared = set(), set(), _SharedTexts(settings.checks.max_duplicates)
    for row in captions.rows(["caption_id", "clip_id", "level", "text", "backend", "status"]):
        shared.add(row)
        if row["backend"] == OURS and row["status"] != "skipped":
            ours.add(row["clip_id"])
            if row["level"] == "structured":
                facts.add(row["caption_id"])
    world, distances = None, {}
    if ours and settings.checks.domain and settings.captions.backend == OURS:
        world, distances = measure_distances(dataset, settings, ours)
    limit = settings.checks.domain_threshold
    if limit is None:
        limit = world.threshold if world is not None else np.inf
    for row in captions.rows(
        ["caption_id", "clip_id", "level", "text", "backend", "parent_id", "status", "error"]
    ):
        mine = row["backend"] == OURS or row["parent_id"] in facts  # prose from our facts is as true as they are
        distance = distances.get(row["clip_id"]) if mine else None
        marked = {name: row[name] for name in ("caption_id", "clip_id", "level", "status", "error")}
        if row["status"] != "skipped" and distance is not None and distance > limit:
            marked |= {"status": "out_of_domain", "error": _outside(distance, limit, row["error"])}
        elif row["status"] == "success" and mine and world is not None and distance is None:
            marked |= {"status": "out_of_domain", "error": NOT_COMPARED}
        elif row["status"] == "success" and shared.too_common(row):
            marked |= {"status": "error", "error": shared.reason(row)}
        yield marked | {"domain": distance}


class _SharedTexts:
    """How many clips have the same words, by level; by digest, so that memory holds no text."""

    def __init__(self, most: int) -> None:
        self.most, self.counts = most, Counter()

    def add(self, row: Mapping[str, Any]) -> None:
        if row["level"] in SHARED and row["status"] == "success":
            self.counts[self._key(row)] += 1

    def too_common(self, row: Mapping[str, Any]) -> bool:
        return row["level"] in SHARED and self.counts[self._key(row)] > self.most * SHARED[row["level"]]

    def reason(self, row: Mapping[str, Any]) -> str:
        count, most = self.counts[self._key(row)], self.most * SHARED[row["level"]]
        return f"{count} clips have this {row['level']} caption word for word; at most {most} may"

    def _key(self, row: Mapping[str, Any]) -> bytes:
        said = " ".join([row["level"], *words_of(row["text"] or "")])
        return hashlib.blake2b(said.encode(), digest_size=8).digest()


def _outside(distance: float, limit: float, error: str | None) -> str:
    reason = (
        f"out of domain: {distance:.2f} from what the captioner was trained on, and at most {limit:.2f} is near"
    )
    return "; ".join(filter(None, [reason, error]))


def measure_distances(
    dataset: Path, settings: CaptionSettings, clips: set[str]
) -> tuple[Domain | None, dict[str, float]]:
    """How far clips lie from our captioner's world. What was measured before is not measured again.

    Clips are read where SOURCE has them now. One that cannot be read is tried again when this is called again.

    Returns:
        The world, None if it is not known; and distances by clip_id, without clips that cannot be read.
    """
    from ...conditioner.captioner import ContrastiveCaptioner
    from ..backends.base import fingerprint
    from ..backends.packaged import checked

    folder = checked(settings.captions.model)
    name, table = fingerprint(folder), StageTable(dataset, "domain", DISTANCES)
    captioner: Any = ContrastiveCaptioner.from_pretrained(folder)
    world = open_domain(captioner.eval(), name, table.folder)
    if world is None:
        return None, {}
    known = {
        row["clip_id"]: row["distance"]
        for row in table.rows()
        if row["captioner"] == name and row["distance"] is not None
    }
    left = clips - known.keys()
    count = captioner.config["num_frames"]
    batch: list[Row] = []

    def commit() -> None:
        if batch:
            table.commit([f"{name} {row['clip_id']}" for row in batch], batch)
            known.update({row["clip_id"]: row["distance"] for row in batch})
            batch.clear()

    with tqdm(total=len(left), desc="domain", unit="clip", dynamic_ncols=True, disable=not left) as progress:
        for row in clips_now(dataset) if left else ():
            if row["clip_id"] not in left:
                continue
            left.discard(row["clip_id"])
            progress.update()
            try:
                frames = read_clip(row, count, max_side=MAX_SIDE)
            except VideoError:
                continue
            distance = world.distance_of(captioner, frames)
            batch.append({"clip_id": row["clip_id"], "captioner": name, "distance": distance})
            if len(batch) == BATCH:
                commit()
        commit()
    return world, known


STAGE = WholeStage("checks", CHECKED, run)
