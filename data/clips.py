"""A dataset of clips from anyone's videos: a manifest, or a folder with captions beside or inside it."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch.utils.data import Dataset

from .buckets import Shape, nearest_bucket
from .manifest import SUFFIXES, captions_of, read_manifest
from .video_io import VideoError, probe, read_video

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".gif")
HELDOUT_EVERY = 50  # of the clips of a source without a split of its own, every 50th is held out


class ClipError(ValueError):
    """No clip of a source can be used; the message counts the causes."""


class ClipDataset(Dataset[dict[str, Any]]):
    """Clips of a manifest or folder, resized and cropped to one shape, or to the nearest of several.

    A folder's captions come from a .txt or .json file beside each video ("cat.mp4", "cat.txt"), or from one
    .parquet, .csv or .jsonl table in it. Each clip begins at its start in the manifest, and is sampled by time,
    so any file frame rate serves. Clips that cannot be used are left out and listed in `rejected`.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        height: int,
        width: int,
        num_frames: int,
        fps: float,
        buckets: Sequence[Shape] = (),
        split: Literal["train", "heldout"] = "train",
    ) -> None:
        """Find the clips and look into each file's header.

        Args:
            source: a manifest file or a folder.
            height, width, num_frames, fps: shape of every clip, when there are no buckets.
            buckets: (frames, height, width) shapes; each clip goes to the nearest that it fills.
            split: "train" leaves out every 50th clip, "heldout" has only those.

        Raises:
            FileNotFoundError: there is no such file or folder.
            ClipError: no clip can be used.
        """
        self.source, self.fps = Path(source), fps
        self.shapes: list[Shape] = list(buckets) or [(num_frames, height, width)]
        self.rows: list[dict[str, Any]] = []
        self.bucket_of: list[int] = []
        self.rejected: list[tuple[str, str]] = []
        root, rows = find_rows(self.source)
        for row in rows:
            row = row | {"path": str(root / row["path"])}
            bucket = self._bucket(row)
            if isinstance(bucket, str):
                self.rejected.append((row["path"], bucket))
            else:
                self.rows.append(row)
                self.bucket_of.append(bucket)
        if not self.rows:
            causes = Counter(cause.split(":")[0] for _, cause in self.rejected)
            counted = (
                "; ".join(f"{cause} ({count})" for cause, count in causes.most_common()) or "it holds no video"
            )
            raise ClipError(f"no clip of {source} can be used: {counted}")
        kept = [i for i in range(len(self.rows)) if (i % HELDOUT_EVERY == 0) == (split == "heldout")]
        kept = kept or list(range(len(self.rows)))  # too few to hold any out
        self.rows, self.bucket_of = [self.rows[i] for i in kept], [self.bucket_of[i] for i in kept]

    def _bucket(self, row: dict[str, Any]) -> int | str:
        """The bucket of a clip, or why it cannot be used."""
        if not captions_of(row):
            return "no caption"
        try:
            info = probe(row["path"])
        except VideoError as error:
            return f"unreadable file: {error}"
        start, end = row.get("start") or 0.0, row.get("end") or info.duration or 0.0
        frames = int((end - start) * self.fps + 1e-6) or 1
        bucket = nearest_bucket(frames, info.height, info.width, self.shapes)
        if bucket is None:
            return f"too short: {frames} frames at {self.fps:g} a second, the shortest shape has {self._least()}"
        return bucket

    def _least(self) -> int:
        return min(frames for frames, _, _ in self.shapes)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        frames, height, width = self.shapes[self.bucket_of[index]]
        start = row.get("start") or 0.0
        video = read_video(row["path"], start=start, fps=self.fps, num_frames=frames)
        return {
            "id": row["id"],
            "index": index,
            "pixel_values": fit(video.frames, height, width),
            "captions": captions_of(row),
            "fps": float(self.fps),
            "scene": row.get("scene") or "",
        }


def fit(frames: np.ndarray, height: int, width: int) -> torch.Tensor:
    """Frames resized to cover (height, width) and cropped about the middle; the aspect of things is kept.

    Args:
        frames: uint8 (T, H, W, 3).

    Returns:
        uint8 (3, T, height, width).
    """
    rows, columns = frames.shape[1:3]
    scale = max(height / rows, width / columns)
    size = (max(height, round(rows * scale)), max(width, round(columns * scale)))
    x = rearrange(torch.from_numpy(np.ascontiguousarray(frames)), "t h w c -> t c h w")
    if size != (rows, columns):
        x = F.interpolate(x.float(), size, mode="bilinear", antialias=True, align_corners=False)
        x = x.round().clamp(0, 255).to(torch.uint8)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return rearrange(x[:, :, top : top + height, left : left + width], "t c h w -> c t h w").contiguous()


def find_rows(source: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The folder that paths are relative to, and a manifest row for every clip of a source."""
    if source.is_file():
        return source.parent, read_manifest(source)
    if not source.is_dir():
        raise FileNotFoundError(f"{source} is neither 'diorama', a manifest nor a folder of videos")
    tables = sorted(path for path in source.iterdir() if path.suffix in SUFFIXES)
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise ClipError(f"{source} holds several tables ({names}); give the one to use as the source")
    if tables:
        return source, read_manifest(tables[0])
    videos = sorted(path for path in source.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    return source, [_sidecar_row(path, source) for path in videos]


def _sidecar_row(path: Path, root: Path) -> dict[str, Any]:
    name = path.relative_to(root)
    row: dict[str, Any] = {"id": name.with_suffix("").as_posix(), "path": name.as_posix()}
    text, table = path.with_suffix(".txt"), path.with_suffix(".json")
    if table.is_file():
        found = json.loads(table.read_text(encoding="utf-8"))
        found = {"caption_original": found} if isinstance(found, str) else dict(found)
        if "caption" in found:
            found.setdefault("caption_original", found.pop("caption"))
        row = found | row
    elif text.is_file():
        row["caption_original"] = text.read_text(encoding="utf-8").strip()
    return row
