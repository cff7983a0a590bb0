"""One job, made: the pipeline called, its steps told, its result put on the shelf."""

import errno
import logging
import re
import secrets
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..jobs.claims import cancelled, complete, fail, report
from ..jobs.job import FULL, Job, JobError, LostJobError
from ..jobs.shelf import Shelf, write_pictures
from ..jobs.store import JobStore
from ..jobs.wish import Wish, read_wish, run_wish
from ..jobs.wish import wish_of as wish_of
from .finishing import PLAIN, Finish, save_result, told

if TYPE_CHECKING:
    from ..models.memory import Meter

logger = logging.getLogger(__name__)

PREVIEW_EVERY = 0.5  # seconds, so that previews cost a fast model little
DECODING = 0.9  # share of a job that is done when the last step is; what follows is decoding and writing
SEEDS = 2**31  # those that are drawn here; any player of numbers shows them exactly


class _StoppedError(Exception):
    """Somebody cancelled it, and nothing is to be kept."""


def make(
    store: JobStore, shelf: Shelf, pipe: Any, job: Job, finish: Finish = PLAIN, meter: "Meter | None" = None
) -> None:
    """Make a claimed job, to whatever end; what becomes of it is in the store when this returns.

    Args:
        finish: what its result gets besides its provenance.
        meter: of the worker's memory; None: it is neither measured nor limited.

    Raises:
        LostJobError: it was given to another worker; nothing of it is kept.
        JobError: the disk is so full that not even what became of it can be written.
    """
    shelf.remove_result(job.id)  # of an earlier attempt, which nobody took
    try:
        with nullcontext(dict) if meter is None else meter.job() as memory:
            _make(store, shelf, pipe, job, finish, memory)
    except LostJobError:
        raise
    except _StoppedError:
        cancelled(store, job)
    except Exception as error:
        if recover(store, shelf, job) is not None:
            return
        code, message = explain(error, shelf.folder)
        if code == "out_of_memory":
            message = _say_what_fits(pipe, job, meter) or message
        if code == "internal_error":
            logger.exception("%s (request %s) failed", job.id, job.request_id)
        fail(store, job, code, message)
    finally:
        shelf.forget_preview(job.id)


def _make(
    store: JobStore, shelf: Shelf, pipe: Any, job: Job, finish: Finish, memory: Callable[[], dict[str, int]]
) -> None:
    wish = read_wish(job.request)
    seed = secrets.randbelow(SEEDS) if wish.seed is None else wish.seed
    steps = Steps(store, shelf, pipe, job, finish)
    model = getattr(pipe, "facts", None)
    streamed = model is not None and model.is_streamed(wish)
    output = (_stream if streamed else _run)(pipe, wish, lambda name: find(store, shelf, wish, name), seed, steps)
    steps.tell("writing", DECODING + 0.05)
    (made,), (frames,) = output.provenance, output.videos()
    warnings = [without_paths(each, shelf.folder) for each in output.warnings or ()]
    with shelf.new_result(job) as folder:
        applied = save_result(output, frames, folder, finish)
        write_pictures(folder, frames)
        result = {
            "seed": made.seed, "width": made.width, "height": made.height, "num_frames": len(frames),
            "fps": output.frame_rate, "seconds": round(len(frames) / output.frame_rate, 3),
            "num_inference_steps": made.num_inference_steps, "guidance_scale": made.guidance_scale,
            "model": told(made).model, "fingerprint": made.fingerprint, "warnings": warnings,
            "applied": applied, "streamed": streamed, "memory": memory(),
            "interrupted": output.interrupted, "making_seconds": round(steps.seconds, 3),
            "bytes": sum(path.stat().st_size for path in folder.iterdir()),
        }  # fmt: skip
        shelf.write_about(folder, job, result)
    complete(store, job, result)


def _run(pipe: Any, wish: Wish, find: Callable[[str], Path], seed: int, steps: "Steps") -> Any:
    """As a whole."""
    from ...vae.preview import has_preview  # torch: who only recovers a job needs none

    seen = ["previews"] if has_preview(pipe.vae) else []
    return run_wish(
        pipe, wish, find, seed, callback_on_step_end=steps, callback_on_step_end_tensor_inputs=seen
    )  # fmt: skip


def _stream(pipe: Any, wish: Wish, find: Callable[[str], Path], seed: int, steps: "Steps") -> Any:
    """Block by block."""
    from .growing import NothingYetError, stream_wish

    path = steps.shelf.growing(steps.job.id)
    try:
        return stream_wish(pipe, wish, find, seed, path, steps.streaming, steps.show, steps.finish.draw)
    except NothingYetError:
        raise _StoppedError from None


class Steps:
    """What the pipeline calls after every step: it tells how far a job is, and whether to go on.

    Args:
        store, shelf, pipe, job: of the job.
        finish: what previews are marked with.
    """

    def __init__(self, store: JobStore, shelf: Shelf, pipe: Any, job: Job, finish: Finish = PLAIN) -> None:
        self.store, self.shelf, self.pipe, self.job, self.finish = store, shelf, pipe, job, finish
        self.begin = self.shown_at = time.monotonic()
        self.previews, self.rounds, self.progress, self.keeping = 0, 1, 0.0, False
        self.tell("reading the prompt", 0.0)

    @property
    def seconds(self) -> float:
        """Since it was begun."""
        return time.monotonic() - self.begin

    def __call__(self, pipe: Any, index: int, timestep: Any, tensors: dict) -> dict:
        """After a step; `tensors` has "previews" (B, F, 3, h, w) in [0, 1]."""
        if index == 0 and self.progress > 0:
            self.rounds += 1  # a long video is made in rounds, each with all steps
        share = (index + 1) / pipe.num_timesteps
        now = time.monotonic()
        if "previews" in tensors and (now - self.shown_at >= PREVIEW_EVERY or self.previews == 0):
            pictures = tensors["previews"][0].float().movedim(1, -1).clamp(0, 1).cpu().numpy()
            self.shelf.write_preview(self.job.id, (pictures * 255).round().astype(np.uint8), self.finish.draw)
            self.previews, self.shown_at = self.previews + 1, now
        left = (1 - share) / share * self.seconds if self.rounds == 1 else None
        stage = "denoising" if self.rounds == 1 else f"denoising, round {self.rounds}"
        if index + 1 == pipe.num_timesteps:
            stage = "decoding"
        self.tell(stage, max(self.progress, share * DECODING), left)
        return {}

    def streaming(self, share: float) -> bool:
        """Before each step of a stream, with the share that is done: whether to end with what there is."""
        left = (1 - share) / share * self.seconds if self.rounds > 1 else None  # known when a block is there
        self.tell("denoising" if self.rounds == 1 else f"making it while it plays, block {self.rounds}",
                  max(self.progress, share * DECODING), left)  # fmt: skip
        return self.keeping

    def show(self, pictures: np.ndarray) -> None:
        """Show small pictures of a block that is there, uint8 (F, h, w, 3)."""
        self.rounds += 1
        self.shelf.write_preview(self.job.id, pictures, self.finish.draw)
        self.previews += 1

    def tell(self, stage: str, progress: float, seconds_left: float | None = None) -> None:
        """Say how far it is, and heed whether to stop."""
        self.progress = progress
        now = report(self.store, self.job, stage, progress, seconds_left=seconds_left, preview=self.previews)
        if now.stop == "discard":
            raise _StoppedError
        if now.stop == "keep" and not self.keeping:
            self.keeping = True
            self.pipe._interrupt = True


def find(store: JobStore, shelf: Shelf, wish: Wish, name: str) -> Path:
    """The file of an upload's or a job's id that a wish names.

    Raises:
        JobError: it is not there any more; the job cannot be made.
    """
    try:
        return shelf.source(store.get(name).id) if name.startswith("video_") else shelf.upload(name)
    except JobError:
        raise JobError(
            f"{wish.named()[name]} ({name}) is not here any more; give it again", "input_not_usable"
        ) from None


def explain(error: Exception, folder: Path) -> tuple[str, str]:
    """(code, what to say to people) of whatever ended a job.

    Args:
        folder: the studio's, which nobody is told of.
    """
    code, message = _explain(error)
    return code, without_paths(message, folder)


def without_paths(message: str, folder: Path) -> str:
    """A message that names what lies in the studio's folder by its id, and the folder itself not at all."""
    for place in {str(folder.resolve()), str(folder)}:
        start = rf"(?<![\w./-]){re.escape(place)}"
        message = re.sub(rf"{start}/\w+/\.?((?:upload|video)_[0-9a-f]{{32}})[^\s:;,'\"()]*", r"\1", message)
        message = re.sub(rf"{start}(?![\w-])/?", "", message)
    return message


def _explain(error: Exception) -> tuple[str, str]:
    from ...data.video_io import VideoError
    from ..models.memory import is_out_of_memory

    if isinstance(error, JobError):
        return error.code, str(error)
    if is_out_of_memory(error):
        return "out_of_memory", (
            "the device ran out of memory; ask for fewer seconds or a smaller picture, or close "
            "other programs on it"
        )
    if isinstance(error, VideoError):
        return "input_not_usable", str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk_full", FULL
    if isinstance(error, ValueError):
        return "invalid_request", str(error)
    return "internal_error", f"it failed with {type(error).__name__}; the server's log says more"


def _say_what_fits(pipe: Any, job: Job, meter: "Meter | None") -> str | None:
    """For people, when memory ran out; None: nothing is known of the model."""
    from ..models.estimate import after_failing, difference

    model, wish = getattr(pipe, "facts", None), wish_of(job)
    if model is None:
        return None
    nearest = after_failing(model, wish, None if meter is None else meter.memory())
    next_step = "close other programs on it" if nearest is None else f"try {difference(model, wish, nearest)}"
    return f"the device ran out of memory; {next_step}"


def recover(store: JobStore, shelf: Shelf, job: Job) -> Job | None:
    """Complete a job whose worker ended after its result was on the shelf; None: there is no result."""
    result = shelf.finished(job.id)
    return None if result is None else complete(store, job, result)
