"""What a job is: one video to be made, from the wish to the file or the reason why there is none."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["queued", "in_progress", "completed", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = ("queued", "in_progress", "completed", "failed", "cancelled")
ENDED: tuple[Status, ...] = ("completed", "failed", "cancelled")
Stop = Literal["discard", "keep"]
ID_BYTES = 16

# Why a job failed. The codes are part of the REST API and stay; the message beside one is for people.
ERRORS = {
    "invalid_request": "what was asked for cannot be made",
    "input_not_usable": "a given picture or video cannot be read",
    "out_of_memory": "the device had too little memory",
    "worker_lost": "the process that made it ended, more often than it is tried again",
    "disk_full": "there was no room for the result",
    "refused": "the prompt filter refused it",
    "model_not_loaded": "the model could not be loaded",
    "internal_error": "an error nobody expected; the server's log has it under the request id",
}

FULL = "the disk is full: make room, then try it again; all that was finished is kept"


class JobError(Exception):
    """A job, or what is to be done with one, cannot be.

    Attributes:
        code: stable, for programs.
    """

    def __init__(self, message: str, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.code = code


class NoJobError(JobError):
    """There is no such job."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no video {job_id!r}; it may have been deleted", "not_found")


class NoUploadError(JobError):
    """There is no such given file.

    Args:
        upload_id: its id.
        what: it is of a wish, in words.
    """

    def __init__(self, upload_id: str, what: str = "") -> None:
        said = f"{what} is not here (any more): " if what else ""
        super().__init__(f"{said}there is no upload {upload_id!r}; give it again", "not_found")


class LostJobError(JobError):
    """The job is not this worker's any more: it was given to another one, or ended."""


class QueueFullError(JobError):
    """As many jobs wait as may.

    Attributes:
        seconds: after which to try again, an estimate.
    """

    def __init__(self, waiting: int, seconds: float) -> None:
        super().__init__(f"{waiting} videos wait already, as many as may; try again later", "queue_full")
        self.seconds = seconds


class TooOftenError(JobError):
    """A key asks more often than it may.

    Attributes:
        seconds: after which it may again.
    """

    def __init__(self, per_minute: int, seconds: float) -> None:
        super().__init__(f"at most {per_minute} videos a minute may be asked for; try again later", "rate_limited")
        self.seconds = seconds


@dataclass(frozen=True)
class Job:
    """A row of the queue.

    Attributes:
        id: "video_" and 32 hexadecimal digits.
        task: what to make: "generate", "extend", "loop", "remix" …
        request: its arguments, JSON values; given files by the ids of uploads or of other jobs.
        position: in the queue; the lowest is made first.
        attempt: how often it was begun.
        worker: the process that makes it, or made it last.
        stage: what is being done, in a word or two.
        progress: share done, 0 to 1.
        seconds_left: estimate; None: not known.
        preview: number of its newest preview; 0: there is none.
        stop: how to end, if it is to: "discard" what there is, or "keep" the frames as they are.
        error_code, error: why it failed; of `ERRORS`, and for people.
        result: of a completed one: size, length, seed, warnings …
        parent: the job that it was made from.
        owner: who asked for it: the fingerprint of an API key, or "".
        request_id: of the request that made it, for the server's log.
        created_at, started_at, finished_at, deleted_at: seconds since 1970.
        used_at: when its files were made or last looked at.
        cleaned: whether its files were deleted to make room; the request is there to make them again.
        changed: grows with every change of any job.
    """

    id: str
    task: str
    request: Mapping[str, Any]
    status: Status
    position: float
    created_at: float
    attempt: int = 0
    worker: str = ""
    stage: str = ""
    progress: float = 0.0
    seconds_left: float | None = None
    preview: int = 0
    stop: Stop | None = None
    error_code: str | None = None
    error: str | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    parent: str | None = None
    owner: str = ""
    starred: bool = False
    request_id: str = ""
    started_at: float | None = None
    finished_at: float | None = None
    deleted_at: float | None = None
    used_at: float | None = None
    cleaned: bool = False
    changed: int = 0

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in ENDED


def new_id() -> str:
    """An id that nobody can guess."""
    return f"video_{secrets.token_hex(ID_BYTES)}"


def is_id(text: str) -> bool:
    """Whether a text has the form of an id: only then may it become part of a path."""
    kind, _, digits = text.partition("_")
    return kind == "video" and len(digits) == 2 * ID_BYTES and set(digits) <= set("0123456789abcdef")
