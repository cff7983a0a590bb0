"""The studio's folder: results, uploads and previews, a folder a job, so that all can be backed up as it is.

    studio.db               the jobs
    results/ID/             video.mp4 (or picture.png), thumbnail.webp, spritesheet.webp, job.json; and exact.mp4
                            to go on from, where given frames came back exactly, which not every player shows
    uploads/ID/             what somebody gave, under a name of ours
    previews/ID.webp        of what is being made; gone when it is made, as is
    previews/ID.mp4         what there is of a long one

A result's folder appears whole or not at all.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...data.files import atomic_path, sync
from .job import Job, JobError, NoUploadError, is_id

THUMBNAIL = 320  # pixels of the long side
SHEET_FRAMES, SHEET_COLUMNS, SHEET_SIDE = 16, 4, 240
PREVIEW_SIDE, PREVIEW_MS = 256, 120
VIDEO, PICTURE, ABOUT = "video.mp4", "picture.png", "job.json"
EXACT = "exact.mp4"
VARIANTS = {"thumbnail": "thumbnail.webp", "spritesheet": "spritesheet.webp"}


class Shelf:
    """Where everything of a studio lies.

    Args:
        folder: the studio's.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser().absolute()
        for name in ("results", "uploads", "previews", "logs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def database(self) -> Path:
        """The file of the jobs."""
        return self.folder / "studio.db"

    def result(self, job_id: str) -> Path:
        """The folder of a result, whether or not there is one.

        Raises:
            JobError: this is no id; nothing else ever becomes a path.
        """
        if not is_id(job_id):
            raise JobError(f"{job_id!r} is no id of a video", "not_found")
        return self.folder / "results" / job_id

    def content(self, job_id: str, variant: str = "video") -> Path:
        """A file of a result.

        Args:
            variant: "video" (or its one picture), "thumbnail" or "spritesheet".

        Raises:
            JobError: there is no such variant or file.
        """
        folder = self.result(job_id)
        if variant not in ("video", *VARIANTS):
            raise JobError(f"there is no variant {variant!r}; there are video, {' and '.join(VARIANTS)}")
        names = (VIDEO, PICTURE) if variant == "video" else (VARIANTS[variant],)
        for name in names:
            if (folder / name).is_file():
                return folder / name
        raise JobError(f"{job_id} has no {variant}; it was deleted to make room, or is not made yet", "not_found")

    def source(self, job_id: str) -> Path:
        """A result as it is gone on from, so that nothing is lost from one edit to the next.

        Raises:
            JobError: there is none.
        """
        exact = self.result(job_id) / EXACT
        return exact if exact.is_file() else self.content(job_id)

    def has_upload(self, upload_id: str) -> bool:
        """Whether there is a file that somebody gave."""
        try:
            return self.upload(upload_id).exists()
        except NoUploadError:
            return False

    def upload(self, upload_id: str) -> Path:
        """The file that somebody gave.

        Raises:
            NoUploadError: there is none.
        """
        kind, _, digits = upload_id.partition("_")
        if kind == "upload" and is_id(f"video_{digits}"):
            for path in (self.folder / "uploads" / upload_id).glob("[!.]*"):  # no file manager's ".DS_Store"
                return path
        raise NoUploadError(upload_id)

    @contextlib.contextmanager
    def new_result(self, job: Job) -> Iterator[Path]:
        """A folder to put a result's files in; it is the job's when all of them are there.

        Raises:
            OSError: there is no room; nothing is left behind.
        """
        final = self.result(job.id)
        making = final.with_name(f".{job.id}.{os.getpid()}")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        try:
            yield making
            for path in making.iterdir():
                sync(path)
            shutil.rmtree(final, ignore_errors=True)
            making.replace(final)
            sync(final.parent)
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def write_about(self, folder: Path, job: Job, result: Mapping[str, Any]) -> None:
        """Write what a result is beside it, so that a folder alone says everything."""
        about = asdict(job) | {"result": dict(result)}
        (folder / ABOUT).write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")

    def finished(self, job_id: str) -> dict[str, Any] | None:
        """What `write_about` said of a result that is there; None: there is none."""
        path = self.result(job_id) / ABOUT
        return json.loads(path.read_text(encoding="utf-8"))["result"] if path.is_file() else None

    def preview(self, job_id: str) -> Path:
        """The newest preview of a job, whether or not there is one."""
        return self.folder / "previews" / f"{self.result(job_id).name}.webp"

    def growing(self, job_id: str) -> Path:
        """What there is of a long video that is being made, as a fragmented MP4; whether or not there is one."""
        return self.folder / "previews" / f"{self.result(job_id).name}.mp4"

    def write_preview(
        self, job_id: str, frames: np.ndarray, draw: Callable[[np.ndarray], object] = lambda frames: None
    ) -> None:
        """Replace a job's preview.

        Args:
            frames: small pictures, uint8 (F, h, w, 3).
            draw: changes them in place when they are as large as they are shown.
        """
        scale = max(1, PREVIEW_SIDE // max(frames.shape[1:3]))
        size = frames.shape[2] * scale, frames.shape[1] * scale
        way = Image.Resampling.BICUBIC
        shown = np.stack([np.asarray(Image.fromarray(frame).resize(size, way)) for frame in frames])
        draw(shown)
        pictures = [Image.fromarray(frame) for frame in shown]
        with atomic_path(self.preview(job_id)) as path:
            pictures[0].save(
                path,
                format="WEBP",
                save_all=True,
                append_images=pictures[1:],
                duration=PREVIEW_MS,
                loop=0,
                quality=70,
            )

    def forget_preview(self, job_id: str) -> None:
        """It is made, or will not be."""
        self.preview(job_id).unlink(missing_ok=True)
        self.growing(job_id).unlink(missing_ok=True)  # who is reading it reads on

    def set_aside(self, job_id: str) -> None:
        """Hide a result that is about to be forgotten: `remove_result` deletes it, or `sweep` after a kill."""
        with contextlib.suppress(FileNotFoundError):
            self.result(job_id).replace(self._aside(job_id))

    def _aside(self, job_id: str) -> Path:
        return self.result(job_id).with_name(f".{job_id}.aside")

    def remove_result(self, job_id: str) -> None:
        """Delete a result's files for ever."""
        for folder in (self.result(job_id), self._aside(job_id)):
            shutil.rmtree(folder, ignore_errors=True)
        self.forget_preview(job_id)

    def size(self, job_id: str) -> int:
        """Bytes of a result's files."""
        return sum(path.stat().st_size for path in self.result(job_id).glob("*") if path.is_file())

    def sweep(self) -> None:
        """Delete what killed processes left half made, half taken in or half deleted.

        A whole result stays, even one that the queue knows nothing of: it may come from a newer backup than that.
        """
        for name, left in (("results", ".video_*"), ("uploads", ".upload_*"), ("uploads", ".gone_*")):
            for path in (self.folder / name).glob(left):
                shutil.rmtree(path, ignore_errors=True)


def write_pictures(folder: Path, frames: np.ndarray) -> None:
    """Write a video's thumbnail, its middle frame, and its contact sheet.

    Args:
        frames: uint8 (T, H, W, 3).
    """
    thumbnail = Image.fromarray(frames[len(frames) // 2])
    thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
    thumbnail.save(folder / VARIANTS["thumbnail"], quality=80)
    places = np.linspace(0, len(frames) - 1, min(SHEET_FRAMES, len(frames))).round().astype(int)
    small = []
    for place in places:
        picture = Image.fromarray(frames[place])
        picture.thumbnail((SHEET_SIDE, SHEET_SIDE))
        small.append(picture)
    width, height = small[0].size
    columns = min(SHEET_COLUMNS, len(small))
    sheet = Image.new("RGB", (columns * width, -(-len(small) // columns) * height))
    for number, picture in enumerate(small):
        sheet.paste(picture, (number % columns * width, number // columns * height))
    sheet.save(folder / VARIANTS["spritesheet"], quality=80)
