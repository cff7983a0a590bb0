"""Noise schedules: the (steps × frames) matrix of noise levels that the sampler walks down.

A schedule is a function of the scheduler's noise levels and the canvas. Row i is what the model sees at step i,
the last row is the result. Pictures of each: docs/schedules.md.

    pipe(prompt, schedule="staircase")
    pipe(prompt, schedule=functools.partial(staircase, lag=3))
"""

from collections.abc import Callable
from typing import Literal

import torch

from .canvas import Canvas

Schedule = Callable[[torch.Tensor, Canvas], torch.Tensor]  # (S + 1,) levels, canvas -> (S' + 1, F) levels
ScheduleName = Literal["equal", "staircase", "rolling"]

ROLLING_WINDOW = 4  # latent frames


def equal(sigmas: torch.Tensor, canvas: Canvas) -> torch.Tensor:
    """All frames descend together: ordinary diffusion, and the only schedule that any scheduler can sample.

    A frame that starts below the first levels waits there until the others have come down to it.

    Args:
        sigmas: (S + 1,) descending levels that end at 0.
        canvas: gives each frame's start, and which frames are known.

    Returns:
        (S' + 1, F) float32 on the CPU, S' ≤ S: leading rows in which every frame waits are left out.
    """
    levels = _held(sigmas.float().cpu()[:, None].expand(-1, len(canvas.start)), canvas)
    waiting = (levels[1:] == levels[0]).all(1).int().cumprod(0).sum()  # leading steps that change nothing
    return levels[int(waiting) :]


def staircase(sigmas: torch.Tensor, canvas: Canvas, lag: int = 1) -> torch.Tensor:
    """Each unknown frame descends `lag` steps after the one before it, so earlier frames are always clearer.

    The pyramid of Diffusion Forcing (Chen et al. 2024, arXiv:2407.01392): what comes later stays undecided while
    what comes first settles. A lag of S or more makes one frame after another.

    Args:
        sigmas, canvas: as in `equal`.
        lag: steps, at least 0; 0 is `equal`.

    Returns:
        (S' + 1, F) float32 on the CPU, S' ≤ S + lag · (unknown frames - 1): rows that change nothing are left out.

    Raises:
        ValueError: a lag below 0.
    """
    if lag < 0:
        raise ValueError(f"lag is {lag} steps; it needs 0 or more")
    if lag == 0:
        return equal(sigmas, canvas)
    return _descend(sigmas, canvas, _order(canvas) * min(lag, len(sigmas) - 1))


def rolling(sigmas: torch.Tensor, canvas: Canvas, window: int = ROLLING_WINDOW) -> torch.Tensor:
    """At most `window` frames descend at a time, evenly apart; as one arrives, the next sets out.

    The sliding window of Rolling Diffusion (Ruhe et al. 2024, arXiv:2402.09470) and the queue of FIFO-Diffusion
    (Kim et al. 2024, arXiv:2405.11473), written as a matrix: frames before the window are clean, frames after it
    pure noise. Steps grow with the video's length, S / window for each further frame. A window of at least the
    unknown frames is a staircase in which all of them are under way at once.

    Args:
        sigmas, canvas: as in `equal`.
        window: frames, at least 1; 1 makes one frame after another.

    Returns:
        (S' + 1, F) float32 on the CPU; rows that change nothing are left out.

    Raises:
        ValueError: a window below 1.
    """
    if window < 1:
        raise ValueError(f"window is {window} frames; it needs at least 1")
    steps = len(sigmas) - 1
    return _descend(sigmas, canvas, _order(canvas) * steps // window)


SCHEDULES: dict[str, Schedule] = {"equal": equal, "staircase": staircase, "rolling": rolling}


def find_schedule(schedule: ScheduleName | Schedule) -> Schedule:
    """The function of a name; a function is returned as it is.

    Raises:
        ValueError: neither.
    """
    function = SCHEDULES.get(schedule) if isinstance(schedule, str) else schedule
    if not callable(function):
        raise ValueError(
            f"schedule is {schedule!r}; it is one of {', '.join(SCHEDULES)}, or a function like those of "
            "kinema.pipeline.schedules"
        )
    return function


def noise_levels(
    sigmas: torch.Tensor, canvas: Canvas, schedule: ScheduleName | Schedule = "equal"
) -> torch.Tensor:
    """The matrix of a schedule, checked.

    Args:
        sigmas: (S + 1,) descending levels that end at 0, from `flow_sigmas`.
        canvas: what is known, and where each frame starts.
        schedule: a name of `SCHEDULES`, or a function like those.

    Returns:
        (S' + 1, F) float32 on the CPU. No column rises, or exceeds its frame's start in the canvas; known frames
        stay there, the others end at 0.

    Raises:
        ValueError: an unknown name, or a function whose matrix is not such.
    """
    levels = torch.as_tensor(find_schedule(schedule)(sigmas, canvas)).float().cpu()
    if not isinstance(schedule, str):
        _check(levels, canvas)
    return levels


def _order(canvas: Canvas) -> torch.Tensor:
    """(F,) how many unknown frames come before each; known frames count for nothing."""
    unknown = canvas.unknown_frames.cpu().long()
    return unknown.cumsum(0) - unknown


def _descend(sigmas: torch.Tensor, canvas: Canvas, delays: torch.Tensor) -> torch.Tensor:
    """Every frame takes the S steps of `sigmas`, each after its own delay (F,); rows that change nothing go."""
    sigmas, steps = sigmas.float().cpu(), len(sigmas) - 1
    unknown = canvas.unknown_frames.cpu()
    rows = steps + int(delays[unknown].max() if bool(unknown.any()) else 0) + 1
    step = (torch.arange(rows)[:, None] - delays).clamp(0, steps)
    levels = _held(sigmas[step], canvas)
    moves = (levels[1:] != levels[:-1]).any(1)
    return levels[torch.cat([torch.ones(1, dtype=torch.bool), moves])]


def _held(levels: torch.Tensor, canvas: Canvas) -> torch.Tensor:
    """Unknown frames never above their start, known ones at theirs."""
    unknown, start = canvas.unknown_frames.cpu(), canvas.start.float().cpu()
    return torch.where(unknown, torch.minimum(levels, start), start)


def _check(levels: torch.Tensor, canvas: Canvas) -> None:
    unknown, start = canvas.unknown_frames.cpu(), canvas.start.float().cpu()
    if levels.ndim != 2 or levels.shape[1] != len(start) or len(levels) < 1:
        raise ValueError(f"the schedule gave levels {tuple(levels.shape)}; it needs (steps + 1, {len(start)})")
    if not torch.isfinite(levels).all() or bool((levels < 0).any()) or bool((levels > start).any()):
        raise ValueError("the schedule gave levels above a frame's start in the canvas, below 0, or not finite")
    if bool((levels[1:] > levels[:-1]).any()):
        raise ValueError("the schedule gave levels that rise from one step to the next; noise is only taken away")
    ends = torch.where(unknown, torch.zeros_like(start), start)
    if not torch.equal(levels[-1], ends) or not torch.equal(levels[0, ~unknown], start[~unknown]):
        raise ValueError(
            "the schedule's last row needs 0 for every unknown frame, and known frames at their start throughout; "
            f"it is {levels[-1].tolist()}, with starts {start.tolist()}"
        )
