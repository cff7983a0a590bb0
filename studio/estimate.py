"""How long a video will take here, from those that were made here before."""

from statistics import median

from .jobs import Job
from .making import wish_of
from .model import Model
from .store import JobStore
from .wish import Wish

REMEMBERED = 20  # videos
TASKS_LIKE = {"inpaint": "generate", "remix": "generate", "outpaint": "generate"}  # one round of steps, as these


def seconds_for(store: JobStore, model: Model, wish: Wish) -> float | None:
    """Seconds that making a wish takes, loading left out; None: nothing like it was made here yet.

    Time goes with pixels, frames and steps: so far as videos of one model and task are alike, that is what its
    forward passes go with.
    """
    known = [
        rate for job in store.page(limit=200, statuses=("completed",)) if (rate := _rate(job, wish)) is not None
    ]
    if not known:
        return None
    width, height = model.size(wish)
    frames = model.seconds(wish) * (wish.fps or model.fps)
    steps = wish.num_inference_steps or model.steps
    return median(known[:REMEMBERED]) * width * height * frames * steps


def seconds_until(store: JobStore, model: Model, workers: int, job_id: str) -> float | None:
    """Seconds until a waiting job is done: what is before it and itself; None: not known."""
    total = 0.0
    for job in store.waiting():
        if job.status == "in_progress" and job.seconds_left is not None:
            seconds = job.seconds_left
        else:
            seconds = seconds_for(store, model, wish_of(job))
        if seconds is None:
            return None
        if job.id == job_id:
            return total / max(workers, 1) + seconds
        total += seconds
    return None


def _rate(job: Job, wish: Wish) -> float | None:
    """Seconds a pixel, frame and step of a video that was made, if it is like the wish."""
    if _kind(wish_of(job).task) != _kind(wish.task) or job.result.get("interrupted"):
        return None
    made = job.result
    return made["making_seconds"] / (
        made["width"] * made["height"] * made["num_frames"] * made["num_inference_steps"]
    )


def _kind(task: str) -> str:
    return TASKS_LIKE.get(task, task)
