"""What one can ask of a studio, by whatever way: the app and the REST API call these and nothing below them."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .given import Given
from .jobs.job import Job, JobError, NoJobError, NoUploadError, QueueFullError
from .jobs.shelf import Shelf
from .jobs.store import JobStore
from .jobs.wish import Wish, read_wish, wish_of
from .models.model import Model

USED_EVERY = 60.0  # seconds: a player asks for many parts of one file, and one note of it is enough
TO_COME = f"upload_{32 * '0'}"  # the id, in a wish that is only foreseen, of a file that is not taken in yet
Sees = Callable[[Job | str], bool]  # whether somebody may use a job, or a given file by its id
Filter = Callable[[str], str | None]  # a text to the reason why it is refused; None: it is not


@dataclass(frozen=True)
class Limits:
    """What strangers may ask for.

    Attributes:
        waiting: jobs in the queue.
        waiting_each: of them of one API key.
        upload_bytes, upload_seconds, upload_pixels: of a given file; pixels of a frame.
        unclaimed_bytes: of the given files of one API key that no video is made from.
        video_seconds, video_pixels: of what is made; pixels of all its frames.
    """

    waiting: int = 200
    waiting_each: int = 50
    upload_bytes: int = 200_000_000
    upload_seconds: float = 120.0
    upload_pixels: int = 4096 * 2304
    unclaimed_bytes: int = 2_000_000_000
    video_seconds: float = 600.0
    video_pixels: int = 1920 * 1088 * 2400


class Studio:
    """A store, a shelf and the rules.

    Args:
        store, shelf, model: its parts.
        limits: of what is asked for.
        prompt_filter: sees every text before it is queued.
    """

    def __init__(
        self, store: JobStore, shelf: Shelf, model: Model, limits: Limits | None = None,
        prompt_filter: Filter = lambda text: None,
    ) -> None:  # fmt: skip
        self.store, self.shelf, self.model = store, shelf, model
        self.limits, self.prompt_filter = limits or Limits(), prompt_filter
        most = self.limits
        self.given = Given(
            store, shelf, most.upload_bytes, most.upload_seconds, most.upload_pixels, most.unclaimed_bytes
        )

    def submit(
        self, values: Mapping[str, Any], *, owner: str = "", sees: Sees = lambda what: True,
        parent: str | None = None, request_id: str = "", idempotency_key: str | None = None,
    ) -> Job:  # fmt: skip
        """Queue a video.

        Args:
            values: of a `Wish`.
            owner, parent, request_id, idempotency_key: see `JobStore.add`.
            sees: what it may be made from.

        Raises:
            JobError: it cannot be made, is refused, is made from what is not there, or the queue is full.
        """
        wish = read_wish(values)
        self._check(wish, sees)
        request = wish.model_dump(mode="json", exclude_defaults=True)
        return self.store.add(
            wish.task, request, owner=owner, parent=parent, request_id=request_id,
            most_waiting=self.limits.waiting, most_waiting_each=self.limits.waiting_each if owner else None,
            idempotency_key=idempotency_key,
        )  # fmt: skip

    def foresee(
        self, values: Mapping[str, Any], *, owner: str = "", sees: Sees = lambda what: True,
        idempotency_key: str | None = None,
    ) -> None:  # fmt: skip
        """Raise what `submit` would, before the files are taken in that `TO_COME` stands for in the values."""
        self._check(read_wish(values), sees, TO_COME)
        if idempotency_key is not None:
            sql = "SELECT 1 FROM idempotency WHERE owner = ? AND key = ?"
            if self.store.db.execute(sql, (owner, idempotency_key)).fetchone():
                return  # it is answered with a job that is there
        waiting = [job.owner for job in self.store.waiting() if job.status == "queued"]
        each = self.limits.waiting_each if owner else None
        for count, most in ((len(waiting), self.limits.waiting), (waiting.count(owner), each)):
            if most is not None and count >= most:
                raise QueueFullError(count, self.store.seconds_a_job())

    def edit(self, job_id: str, values: Mapping[str, Any], sees: Sees = lambda what: True) -> Job:
        """Give a waiting job another wish.

        Raises:
            NoJobError: there is none, or it is somebody else's.
            JobError: as above, or it does not wait any more.
        """
        if not sees(self.store.get(job_id)):
            raise NoJobError(job_id)
        wish = read_wish(values)
        self._check(wish, sees)
        parent = wish.video if wish.video is not None and wish.video.startswith("video_") else None
        request = wish.model_dump(mode="json", exclude_defaults=True)
        return self.store.edit(job_id, request, task=wish.task, parent=parent)

    def retry(self, job_id: str, sees: Sees = lambda what: True) -> Job:
        """Put a job that failed or was cancelled back at the end of the queue.

        Raises:
            NoJobError: there is none, or it is somebody else's.
            JobError: it has not failed, or could not be asked for now: what it was made from is gone, say.
        """
        job = self.store.get(job_id)
        if not sees(job):
            raise NoJobError(job_id)
        self._check(wish_of(job), sees)
        return self.store.retry(job_id)

    def lost(self, job: Job, sees: Sees = lambda what: True) -> list[str]:
        """What a job was made from and is not here any more, for people."""
        gone = []
        for name, what in wish_of(job).named().items():
            try:
                self._check_there(name, what, sees)
            except JobError:
                gone.append(what)
        return gone

    def _check(self, wish: Wish, sees: Sees, to_come: str | None = None) -> None:
        self.model.check(wish)
        length = self.model.seconds(wish)
        if length > self.limits.video_seconds:
            raise JobError(
                f"{length:g} seconds are asked for, and at most {self.limits.video_seconds:g} are made here"
            )
        self._check_pixels(wish, length)
        for text in (wish.prompt, wish.negative_prompt, *(card.text for card in wish.storyboard or ())):
            if text and (reason := self.prompt_filter(text)):
                raise JobError(f"this prompt is refused here: {reason}", "refused")
        for name, what in wish.named().items():
            if name != to_come:
                self._check_there(name, what, sees)

    def _check_there(self, name: str, what: str, sees: Sees) -> None:
        if name.startswith("upload_"):
            if not sees(name) or not self.shelf.has_upload(name):
                raise NoUploadError(name, what)
            return
        job = self.store.get(name)
        if not sees(job):
            raise NoJobError(name)
        if job.status != "completed":
            raise JobError(f"{name} is {job.status}; what is made from it needs it completed")
        self.shelf.content(name)

    def _check_pixels(self, wish: Wish, seconds: float) -> None:
        width, height = self.model.size(wish)
        frames = wish.num_frames or math.ceil(seconds * (wish.fps or self.model.fps))
        if width * height * frames > self.limits.video_pixels:
            most = self.limits.video_pixels // (width * height)
            raise JobError(
                f"{frames} frames of {width} x {height} pixels are asked for, and at most {most} of this size "
                f"are made here ({self.limits.video_pixels:.3g} pixels in all)"
            )

    def upload(self, file: BinaryIO, owner: str = "", fresh: dict[str, int] | None = None) -> str:
        """Take a picture or video in: see `Given.take`."""
        return self.given.take(file, owner, fresh)

    def content(self, job_id: str, variant: str = "video") -> Path:
        """A file of a completed job.

        Raises:
            JobError: it is not completed, or there is no such file.
        """
        job = self.store.get(job_id)
        if job.status != "completed":
            raise JobError(f"{job_id} is {job.status}; it has no content yet", "not_ready")
        if job.cleaned:
            raise JobError(f"the files of {job_id} were deleted to make room; ask for it again", "cleaned")
        if time.time() - (job.used_at or 0.0) > USED_EVERY:
            self.store.used(job_id)
        return self.shelf.content(job_id, variant)

    def source(self, job_id: str) -> Path:
        """The file of a result that is gone on from; see `Shelf.source`.

        Raises:
            JobError: as `content`.
        """
        self.content(job_id)
        return self.shelf.source(job_id)

    def close(self) -> None:
        """End what looks into files."""
        self.given.close()
        self.store.close()
