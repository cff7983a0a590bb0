"""What a video will take here before it is asked for: time, from those that were made here before, and memory.

Measured: the time and the peak of memory of every video that was made here, the memory that is free now, and what
the model and its libraries take. Reckoned: what a video of another size takes at its peak (`facts.values_of`); as
soon as large enough ones were made here, it is scaled to the most that one of them took of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import log
from statistics import median
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..jobs.job import Job, JobError
from ..jobs.store import JobStore
from ..jobs.wish import Wish, wish_of
from .memory import Memory, told
from .model import Model

if TYPE_CHECKING:
    from ..service import Studio

REMEMBERED = 20  # videos
TASKS_LIKE = {"inpaint": "generate", "remix": "generate", "outpaint": "generate"}  # one round of steps, as these
LIBRARIES = 1_000_000_000  # bytes that torch and its like take before any model is loaded
KEPT = 3  # bytes of a finished pixel
TELLING = 200_000_000  # bytes of a job that is large enough to scale the reckoning by
UNMEASURED, MEASURED = 1.3, 1.1  # what is added to be safe
SIZES = ("width", "height", "seconds", "num_frames")
_known: "WeakKeyDictionary[JobStore, tuple[int, dict[str, float]]]" = WeakKeyDictionary()  # see `_rates`


@dataclass(frozen=True)
class Estimate:
    """What a wish will take.

    Attributes:
        seconds: of making it; None: nothing like it was made here yet.
        bytes: of memory at its peak, the model included; None: not known.
        room: bytes that a worker may take; None: not known yet.
        fits: whether it does, as far as is known.
        nearest: the wish nearest to it that fits; None: it fits, or nothing does.
        why: it does not fit, for people; "": it fits.
    """

    seconds: float | None
    bytes: int | None
    room: int | None
    fits: bool
    nearest: Wish | None
    why: str


def estimate(studio: "Studio", wish: Wish) -> Estimate:
    """What a wish will take here."""
    model, store = studio.model, studio.store
    seconds = seconds_for(store, model, wish)
    made = store.page(limit=REMEMBERED, statuses=("completed",))
    memory = known_memory(studio, made)
    scale = _scale(model, made)
    if memory is None:
        base = LIBRARIES + (model.weights or 0)
        return Estimate(seconds, _bytes(model, wish, Memory(base, 0, 4), scale), None, True, None, "")
    needed = _bytes(model, wish, memory, scale)
    if needed <= memory.room:
        return Estimate(seconds, needed, memory.room, True, None, "")
    nearest = nearest_that_fits(model, wish, lambda each: _bytes(model, each, memory, scale) <= memory.room)
    why = f"it takes about {gigabytes(needed)}, and {gigabytes(memory.room)} are free; "
    why += "nothing smaller fits either" if nearest is None else f"{difference(model, wish, nearest)} fits"
    return Estimate(seconds, needed, memory.room, False, nearest, why)


def bytes_taken(model: Model, wish: Wish, value: int) -> float:
    """Bytes at the peak of making a wish, the model left out, as reckoned.

    Args:
        value: bytes of a number of the computation.
    """
    width, height = model.size(wish)
    frames = frames_of(model, wish)
    at_once = min(frames, 2 * model.num_frames) if model.streams and wish.task == "generate" else frames
    pixel, volume = model.values
    return width * height * (value * (pixel + volume * at_once) + KEPT * frames)


def frames_of(model: Model, wish: Wish) -> int:
    """Frames that are made at once; of edits as many as the model's own clip has, or are asked for."""
    return (
        model.frames(wish)
        if wish.task == "generate"
        else max(1, round(model.seconds(wish) * (wish.fps or model.fps)))
    )


def nearest_that_fits(model: Model, wish: Wish, fits: Any) -> Wish | None:
    """The wish that keeps most of another one.

    One change is better than two, and then what keeps more pixels and frames; of equals fewer seconds. Neither the
    picture nor the time is halved more than once, as long as anything else fits.

    Args:
        fits: of a wish, whether it does; what is smaller or shorter than one that does has to fit, too.
    """
    found = [(_loss(model, wish, each), each) for each in _smaller(model, wish, fits)]
    return min(found, key=lambda each: each[0])[1] if found else None


def difference(model: Model, wish: Wish, nearest: Wish) -> str:
    """ "1.5 s (13 frames) instead of 6 s", "64 x 48 instead of 128 x 96"."""
    told = []
    before, after = model.size(wish), model.size(nearest)
    if before != after:
        told.append(f"{after[0]} x {after[1]} pixels instead of {before[0]} x {before[1]}")
    frames = frames_of(model, nearest)
    if frames != frames_of(model, wish):
        after, before = (round(model.seconds(each), 3) for each in (nearest, wish))
        told.append(f"{after:g} s ({frames} frames) instead of {before:g} s")
    return " and ".join(told)


def after_failing(model: Model, wish: Wish, memory: Memory | None = None) -> Wish | None:
    """What to try when memory ran out: what fits into the room, and takes at most half of what was tried."""
    most = bytes_taken(model, wish, 4) / 2
    if memory is not None:
        most = min(most, (memory.room - memory.base) / UNMEASURED * 4 / memory.value)
    return nearest_that_fits(model, wish, lambda each: bytes_taken(model, each, 4) <= most)


def known_memory(studio: "Studio", made: list[Job]) -> Memory | None:
    """Of the worker with the least room; as workers of other machines told it with their last video."""
    here = told(studio.shelf.folder / "logs")
    if here:
        return min(here, key=lambda each: each.room - each.base)
    for job in made:
        if memory := job.result.get("memory"):
            return Memory(memory["base"], memory["room"], memory["value"])
    return None


def gigabytes(size: float) -> str:
    """ "1.5 GB"."""
    return f"{size / 1e9:.1f} GB"


def _bytes(model: Model, wish: Wish, memory: Memory, scale: float) -> int:
    return int(memory.base + scale * bytes_taken(model, wish, memory.value))


def _scale(model: Model, made: list[Job]) -> float:
    """What to multiply the reckoning by: the most that a video took of it."""
    shares = []
    for job in made:
        memory = job.result.get("memory")
        if not memory or job.result.get("interrupted"):
            continue
        sizes = {
            "width": job.result["width"],
            "height": job.result["height"],
            "num_frames": job.result["num_frames"],
        }
        try:
            wish = wish_of(job).model_copy(update={"seconds": None} | sizes)
        except JobError:  # an older Kinema's
            continue
        reckoned = bytes_taken(model, wish, memory["value"])
        if reckoned >= TELLING:
            shares.append((memory["peak"] - memory["base"]) / reckoned)
    return MEASURED * max(shares) if shares else UNMEASURED


def _smaller(model: Model, wish: Wish, fits: Any) -> Iterator[Wish]:
    """Of every size from its own downwards, the longest that fits."""
    width, height = model.size(wish)
    step, own = model.multiple, frames_of(model, wish)
    for cells in range(max(1, max(width, height) // step), 0, -1):  # along the longer side
        share = cells * step / max(width, height)
        size = tuple(step * max(1, round(side * share / step)) for side in (width, height))
        size = (width, height) if share == 1 else size
        sized = wish if size == (width, height) else wish.model_copy(update=dict(zip(("width", "height"), size)))
        shapes = [_of_length(model, sized, frames) for frames in _lengths(model, wish, own)]
        low, high = 0, len(shapes)  # shapes are by length, the longest first; the first that fits
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if fits(shapes[middle]) else (middle + 1, high)
        if low < len(shapes):
            yield shapes[low]


def _lengths(model: Model, wish: Wish, own: int) -> list[int]:
    """Frames that it could have instead, its own first."""
    if wish.task not in ("generate", "extend", "connect", "loop") or "seconds" in model.off:
        return [own]
    first = 1 if wish.task == "generate" else model.frame_step
    top = (own - first - 1) // model.frame_step if own > first else -1
    return [own, *(first + number * model.frame_step for number in range(top, 0 if first == 1 else -1, -1))]


def _of_length(model: Model, wish: Wish, frames: int) -> Wish:
    if frames == frames_of(model, wish):
        return wish
    if wish.num_frames is not None or (wish.task == "generate" and wish.seconds is None):
        return wish.model_copy(update={"num_frames": frames})
    less = frames - 1 if wish.task == "generate" else frames
    return wish.model_copy(update={"seconds": less / (wish.fps or model.fps)})


def _loss(model: Model, wish: Wish, other: Wish) -> tuple[bool, int, float, float]:
    (w, h), (x, y) = model.size(wish), model.size(other)
    picture = log(w * h / (x * y))
    length = log(frames_of(model, wish) / frames_of(model, other))
    halved = picture > log(4.1) or length > log(2.1)
    changes = (picture > 0) + (length > 0)
    return halved, changes, round((picture + length) / 0.2) if not halved else picture + length, picture


def seconds_for(store: JobStore, model: Model, wish: Wish) -> float | None:
    """Seconds that making a wish takes, loading left out; None: nothing like it was made here yet.

    Time goes with pixels, frames and steps: so far as videos of one model and task are alike, that is what its
    forward passes go with.
    """
    rate = _rates(store).get(_kind(wish.task, model.is_streamed(wish)))
    if rate is None:
        return None
    width, height = model.size(wish)
    frames = model.seconds(wish) * (wish.fps or model.fps)
    steps = wish.num_inference_steps or model.steps
    return rate * width * height * frames * steps


def seconds_until(store: JobStore, model: Model, workers: int, job_id: str) -> float | None:
    """Seconds until a waiting job is done: what is before it and itself; None: not known."""
    total = 0.0
    for job in store.waiting():
        if job.status == "in_progress" and job.seconds_left is not None:
            seconds = job.seconds_left
        else:
            try:
                seconds = seconds_for(store, model, wish_of(job))
            except JobError:  # an older Kinema's: it fails at once
                seconds = 0.0
        if seconds is None:
            return None
        if job.id == job_id:
            return total / max(workers, 1) + seconds
        total += seconds
    return None


def _rates(store: JobStore) -> dict[str, float]:
    """Seconds a pixel, frame and step of each kind of video, reckoned anew when another one is completed."""
    mark, rates = _known.get(store, (-1, {}))
    sql = "SELECT MAX(changed) FROM jobs WHERE changed > ? AND status = 'completed'"
    (newest,) = store.db.execute(sql, (mark,)).fetchone()
    if newest is None:
        return rates
    known: dict[str, list[float]] = {}
    for job in store.page(limit=200, statuses=("completed",)):
        made = job.result
        try:
            work = made["width"] * made["height"] * made["num_frames"] * made["num_inference_steps"]
            rate = made["making_seconds"] / work
        except (KeyError, TypeError, ZeroDivisionError):  # an older Kinema's
            continue
        if not made.get("interrupted"):
            known.setdefault(_kind(job.task, made.get("streamed", False)), []).append(rate)
    rates = {kind: median(each[:REMEMBERED]) for kind, each in known.items()}
    _known[store] = newest, rates
    return rates


def _kind(task: str, streamed: bool) -> str:
    return "stream" if streamed else TASKS_LIKE.get(task, task)
