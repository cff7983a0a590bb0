"""A dataset of clips from anyone's videos: a manifest, or a folder with captions beside or inside it."""

import hashlib
import json
import logging
import math
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from einops import rearrange
from torch.utils.data import Dataset

from .archives import member
from .buckets import Shape, nearest_bucket
from .captioned import CLIPS, captioned_rows, is_captioned, is_unfinished
from .manifest import SUFFIXES, ManifestError, captions_of, read_manifest
from .video_io import VideoDamageError, VideoError, VideoWarning, iter_video, probe, read_video

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".gif")
HELDOUT_EVERY = 50  # of the files of a source without a split of its own, about every 50th is held out
MOST_HELD_OUT = 0.2  # of the clips of a captioned dataset
CAPTIONING = (
    "write what each video shows into a text file beside it (cat.mp4, cat.txt), or have captions written: "
    "kinema caption {source} --out FOLDER"
)
RECAPTIONING = (
    "kinema caption with another captions.backend writes captions that may be used, `kinema caption review "
    "{source}` lets you mend these, and data.out_of_domain=true takes what our captioner wrote of clips it does "
    "not know"
)
MOST_DAMAGED = 8  # damaged clips in a row that are passed over before reading gives up


class ClipError(ValueError):
    """No clip of a source can be used; the message counts the causes."""


class ClipDataset(Dataset[dict[str, Any]]):
    """Clips of a manifest, folder or captioned dataset, resized and cropped to one shape, or to one of several.

    A folder's captions come from a .txt or .json file beside each video ("cat.mp4", "cat.txt"), or from one
    .parquet, .csv or .jsonl table in it ("manifest.parquet" if there are several). Clips are sampled by time, so
    any file frame rate serves. Where a video is longer than the shape, the part that is taken depends on the
    clip's id alone. Clips that cannot be used are left out and listed in `rejected` as (path, cause). Of a dataset
    by `kinema caption`, see `captioned`, only clips and captions that may be trained on are taken.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        height: int,
        width: int,
        num_frames: int,
        fps: float,
        fps_choices: Sequence[float] = (),
        buckets: Sequence[Shape] = (),
        split: Literal["train", "heldout"] = "train",
        out_of_domain: bool = False,
    ) -> None:
        """Find the clips and their lengths, from the manifest or else from each file's header.

        Args:
            source: a manifest file, a folder of videos, or that of a captioned dataset.
            height, width, num_frames, fps: shape of every clip, when there are no buckets.
            fps_choices: if given, each clip draws its frame rate from these that it is long enough for.
            buckets: (frames, height, width) shapes; each clip goes to the nearest that it fills.
            split: "train" leaves out about every 50th file, "heldout" has only those.
            out_of_domain: of a captioned dataset, take captions that are marked so too.

        Raises:
            FileNotFoundError: there is no such file or folder.
            ManifestError: a table or caption file that cannot be read.
            ClipError: no clip can be used.
        """
        self.source, self.rates = Path(source), tuple(fps_choices) or (fps,)
        self.shapes: list[Shape] = list(buckets) or [(num_frames, height, width)]
        self.rows: list[dict[str, Any]] = []
        self.bucket_of: list[int] = []
        self.rejected: list[tuple[str, str]] = []
        root, rows = find_rows(self.source, out_of_domain=out_of_domain)
        for row in rows:
            row = row | {"path": str(root / row["path"])}
            cut = self._cut(row)
            if isinstance(cut, str):
                self.rejected.append((row["path"], cut))
            else:
                bucket, row["cut_start"], row["cut_fps"] = cut
                self.rows.append(row)
                self.bucket_of.append(bucket)
        causes = Counter(cause.split(":")[0] for _, cause in self.rejected)
        counted = "; ".join(f"{cause} ({count})" for cause, count in causes.most_common())
        if self.rejected and self.rows and split == "train":
            logger.warning("%d of %d clips of %s are left out: %s", len(self.rejected), len(rows), source, counted)
        if not self.rows:
            told = f"; {CAPTIONING.format(source=source)}" if "no caption" in causes else ""
            if any("uncaptioned" in row for row in rows):
                told = f"; {RECAPTIONING.format(source=root)}"
            raise ClipError(f"no clip of {source} can be used: {counted or 'it holds no video'}{told}")
        heldout = _held_out_clips(self.rows, root)
        kept = [i for i, held in enumerate(heldout) if held == (split == "heldout")]
        kept = kept or list(range(len(self.rows)))  # a single file
        self.rows, self.bucket_of = [self.rows[i] for i in kept], [self.bucket_of[i] for i in kept]

    def _cut(self, row: dict[str, Any]) -> tuple[int, float, float] | str:
        """Bucket, start in seconds and frame rate of a clip, or why it cannot be used."""
        if not captions_of(row):
            return row.get("uncaptioned", "no caption")
        try:
            height, width, start, end = _extent(row)
        except VideoError as error:
            return f"unreadable file: {error}"
        if end <= start:
            return f"empty part: from {start:g} s to {end:g} s"
        draw = hashlib.blake2b(row["id"].encode(), digest_size=16).digest()
        first = int.from_bytes(draw[:8], "big") % len(self.rates)
        for rate in self.rates[first:] + self.rates[:first]:
            frames = max(1, math.floor((end - start) * rate + 0.01))
            bucket = nearest_bucket(frames, height, width, self.shapes)
            if bucket is not None:
                spare = max(0.0, end - start - self.shapes[bucket][0] / rate)
                return bucket, start + spare * int.from_bytes(draw[8:], "big") / 2**64, float(rate)
        least = min(frames for frames, _, _ in self.shapes)
        return f"too short: {end - start:.2f} s, and {least} frames need {least / max(self.rates):.2f} s"

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The clip; where its file is damaged, the next sound one of its shape, with a `VideoWarning`.

        Raises:
            VideoError: so many damaged files in a row that the source itself must be at fault.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of a dataset of {len(self)}")
        try:
            return self._read(index)
        except VideoError as error:
            failure = error
        alike = [i for i, bucket in enumerate(self.bucket_of) if bucket == self.bucket_of[index]]
        at = alike.index(index)
        for number in (alike[at + 1 :] + alike[:at])[:MOST_DAMAGED]:
            warnings.warn(f"{failure}; the next clip takes its place", VideoWarning, stacklevel=2)
            try:
                return self._read(number) | {"index": index}
            except VideoError as error:
                failure = error
        raise failure

    def _read(self, number: int) -> dict[str, Any]:
        row = self.rows[number]
        frames, height, width = self.shapes[self.bucket_of[number]]
        start, fps = row["cut_start"], row["cut_fps"]
        size, crop = (height, width), row.get("crop_box")
        video = read_video(row["path"], start=start, fps=fps, num_frames=frames, size=size, crop=crop)
        if len(video.frames) < frames:
            raise VideoDamageError(
                row["path"], start + len(video.frames) / fps, "the file is shorter than it says"
            )
        return {
            "id": row["id"],
            "index": number,
            "pixel_values": rearrange(torch.from_numpy(video.frames), "t h w c -> c t h w").contiguous(),
            "captions": captions_of(row),
            "fps": fps,
            "scene": row.get("scene") or "",
        }


def _held_out_clips(rows: Sequence[dict[str, Any]], root: Path) -> list[bool]:
    """Whether each clip is held out, together with all of its file, or of the video that it was cut from.

    Where that would cost too many of a dataset's clips, as with one long film among a few short ones, some clips
    are held out alone.
    """
    held = _held_out(row.get("cut_from") or Path(os.path.relpath(row["path"], root)).as_posix() for row in rows)
    if sum(held) > MOST_HELD_OUT * len(rows) and any("cut_from" in row for row in rows):
        held = _held_out(row["id"] for row in rows)
    return held


def _held_out(paths: Iterable[str]) -> list[bool]:
    """Whether each clip is held out: all clips of about every 50th file, whatever other files there are.

    The file with the smallest digest always is, so that a small folder has something to validate on.
    """
    digests = [int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), "big") for path in paths]
    smallest = min(digests, default=0)
    return [digest % HELDOUT_EVERY == 0 or digest == smallest for digest in digests]


def _extent(row: dict[str, Any]) -> tuple[int, int, float, float]:
    """Height and width in pixels, start and end in seconds; files are opened only for what the row lacks."""
    height, width, start, end = row.get("height"), row.get("width"), row.get("start") or 0.0, row.get("end")
    if not end and not start:
        end = row.get("duration")
    if height and width and end and (Path(row["path"]).is_file() or member(row["path"])):
        return int(height), int(width), start, end
    info = probe(row["path"])
    end = end or info.duration
    if not end:  # a bare stream, which says nothing of its length
        *_, (last, _) = iter_video(row["path"], size=(1, 1), on_error="readable")
        end = last + 1 / (info.fps or 25)
    return info.height, info.width, start, end


def find_rows(source: Path, *, out_of_domain: bool = False) -> tuple[Path, list[dict[str, Any]]]:
    """The folder that paths are relative to, and a manifest row for every clip of a source."""
    folder = source.parent if source.name == CLIPS else source
    if is_captioned(folder):
        return folder, captioned_rows(folder, out_of_domain=out_of_domain)
    if is_unfinished(folder):
        raise ClipError(f"{source} is an unfinished captioned dataset; `kinema caption --out {folder}` goes on")
    if source.is_file():
        return source.parent, read_manifest(source)
    if not source.is_dir():
        raise FileNotFoundError(f"{source} is neither 'diorama', a manifest nor a folder of videos")
    tables = sorted(path for path in source.iterdir() if path.suffix in SUFFIXES)
    if source / "manifest.parquet" in tables:
        tables = [source / "manifest.parquet"]
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise ClipError(f"{source} holds several tables ({names}); give the one to use as the source")
    if tables:
        return source, read_manifest(tables[0])
    videos = sorted(
        path
        for path in source.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")  # hidden: unfinished files
    )
    return source, [_sidecar_row(path, source) for path in videos]


def _sidecar_row(path: Path, root: Path) -> dict[str, Any]:
    name = path.relative_to(root)
    row: dict[str, Any] = {"id": name.with_suffix("").as_posix(), "path": name.as_posix()}
    text, table = path.with_suffix(".txt"), path.with_suffix(".json")
    try:
        if table.is_file():
            found = json.loads(table.read_text(encoding="utf-8"))
            found = {"caption_original": found} if isinstance(found, str) else dict(found)
            if "caption" in found:
                found.setdefault("caption_original", found.pop("caption"))
            row = found | row
        elif text.is_file():
            row["caption_original"] = text.read_text(encoding="utf-8").strip()
    except (ValueError, TypeError) as error:
        cause = f"{error}; it needs UTF-8 text, and a .json file a text or an object with captions"
        raise ManifestError(f"{table if table.is_file() else text} cannot be read: {cause}") from None
    return row
