"""The sampler: one loop over a (steps × frames) matrix of noise levels.

`schedules` makes the matrix. Equal rows are ordinary diffusion, and any diffusers flow-matching scheduler may take
the steps. Rows that differ (frames that start apart, or descend one after another) take our own Euler step.

The path is that of rectified flow (Liu et al. 2022; Lipman et al. 2023): x_σ = (1 - σ) x0 + σ ε, velocity
v = ε - x0, so dx/dσ = v.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

from ..dit.flow import add_noise
from .canvas import Canvas

Step = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]  # (index, velocity, sample) -> next sample


class SchedulerError(ValueError):
    """A scheduler that does not sample rectified flow, or not with a noise level per frame."""


def flow_sigmas(
    scheduler: Any,
    num_inference_steps: int,
    device: torch.device | str | None = None,
    sigmas: Sequence[float] | None = None,
    num_tokens: int = 0,
) -> torch.Tensor:
    """Set a scheduler's timesteps and return its noise levels.

    Args:
        scheduler: any diffusers flow-matching scheduler.
        num_inference_steps: steps of the scheduler; a second-order one evaluates the model more often.
        device: where the scheduler keeps its timesteps.
        sigmas: descending noise levels in (0, 1] to use instead of its own, before any shift.
        num_tokens: tokens of the video, for schedulers with `use_dynamic_shifting`.

    Returns:
        (S + 1,) float32 on the CPU: the level of each model evaluation, then 0.

    Raises:
        SchedulerError: its noise levels are not those of a flow.
    """
    config, name = scheduler.config, type(scheduler).__name__
    options: dict[str, Any] = {"device": device}
    if config.get("use_dynamic_shifting"):
        options["mu"] = dynamic_shift(config, num_tokens)
    if sigmas is not None and "sigmas" not in inspect.signature(scheduler.set_timesteps).parameters:
        raise SchedulerError(f"{name} takes no sigmas of its own; leave them out and give num_inference_steps")
    if sigmas is not None:
        options["sigmas"] = np.asarray(sigmas, np.float32)
    elif _is_euler(scheduler):
        # Its own levels end at 1/1000, which would waste the last step.
        options["sigmas"] = np.linspace(1.0, 1 / num_inference_steps, num_inference_steps)
    scheduler.set_timesteps(num_inference_steps, **options)

    levels: Any = getattr(scheduler, "sigmas", None)
    if config.get("prediction_type", "flow_prediction") == "flow_prediction" and levels is not None:
        levels = levels.float().cpu()
        timesteps = scheduler.timesteps.float().cpu()
        thousandths = levels[:-1] * config.num_train_timesteps
        # Multistep schedulers cut their timesteps to whole numbers: 1 of 1000 is the tolerance.
        if len(levels) == len(timesteps) + 1 and bool(((thousandths - timesteps).abs() <= 1).all()):
            return levels
    raise SchedulerError(
        f"{name} as configured does not sample a flow; use a FlowMatch scheduler, or one that has "
        f'use_flow_sigmas: {name}.from_config(pipe.scheduler.config, prediction_type="flow_prediction", '
        "use_flow_sigmas=True)"
    )


def _is_euler(scheduler: Any) -> bool:
    return isinstance(scheduler, FlowMatchEulerDiscreteScheduler)


def dynamic_shift(config: Any, num_tokens: int) -> float:
    """Shift for a sequence length, linear between a scheduler's two anchors (Esser et al. 2024, section 5.3.2)."""
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low_shift, high_shift = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    return low_shift + (high_shift - low_shift) * (num_tokens - low) / (high - low)


def euler_step(levels: torch.Tensor) -> Step:
    """Euler's step with a noise level per frame: x + (σ_next - σ) v. Levels (S + 1, F)."""

    def step(index: int, velocity: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
        change = (levels[index + 1] - levels[index]).to(sample)[:, None, None]
        return sample + change * velocity

    return step


def scheduler_step(scheduler: Any, generators: list[torch.Generator] | None = None) -> Step:
    """A step taken by a diffusers scheduler whose timesteps are set; generators feed stochastic ones."""
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    options = {"generator": generators} if takes_generator and generators else {}
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)

    def step(index: int, velocity: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
        timestep = scheduler.timesteps[index]
        return scheduler.step(velocity, timestep, sample, return_dict=False, **options)[0]

    return step


def choose_step(
    scheduler: Any, levels: torch.Tensor, canvas: Canvas, generators: list[torch.Generator] | None = None
) -> Step:
    """The scheduler's own step where the unknown frames share each row's level; otherwise our Euler step.

    Raises:
        SchedulerError: the rows differ and the scheduler is not plain Euler.
    """
    known = ~canvas.unknown_frames.cpu()
    rows = levels[:, ~known]
    if torch.equal(rows, scheduler.sigmas.float().cpu()[:, None].expand(-1, rows.shape[1])):
        return scheduler_step(scheduler, generators)
    if _is_euler(scheduler) and not scheduler.config["stochastic_sampling"]:
        return euler_step(levels)
    differ = next((row for row in levels if row[~known].unique().numel() > 1), levels[0])
    raise SchedulerError(
        f"{type(scheduler).__name__} needs one noise level for all frames and a start from pure noise; this "
        f"call has frames at {[round(level, 3) for level in differ.tolist()]} in one step. Use "
        "FlowMatchEulerDiscreteScheduler (without stochastic_sampling), or start every unknown frame at 1 with "
        'schedule="equal"'
    )


def check_step_cache(transformer: Any, levels: torch.Tensor, canvas: Canvas) -> None:
    """Raise a ValueError if a step cache of diffusers is on and unknown frames differ in noise within a step.

    Such a cache carries results over to the next step, as far as the whole video has changed little; frames that
    are elsewhere on their way would be given what belongs to others.
    """
    if not getattr(transformer, "is_cache_enabled", False):
        return
    rows = levels[:, canvas.unknown_frames.cpu()]
    differ = next((row for row in rows if row.unique().numel() > 1), None)
    if differ is not None:
        raise ValueError(
            f"{type(transformer._cache_config).__name__} needs one noise level for all frames in each step; this "
            f"call has frames at {[round(level, 3) for level in differ.tolist()]}. Call "
            'pipe.transformer.disable_cache(), or start every unknown frame alike with schedule="equal"'
        )


def sample(
    predict: Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor],
    step: Step,
    canvas: Canvas,
    noise: torch.Tensor,
    levels: torch.Tensor,
    on_step_end: Callable[[int, torch.Tensor], torch.Tensor] = lambda index, sample: sample,
    interrupted: Callable[[], bool] = lambda: False,
) -> torch.Tensor:
    """Denoise a canvas.

    Args:
        predict: (sample, level (F,), index) -> velocity of the sample's shape.
        step: from `choose_step`.
        canvas: known tokens; they are shown at their frame's level with the same noise at every step, and come
            out exactly as given.
        noise: (B, C, F, h, w), the noise of every frame, known ones too.
        levels: (S + 1, F) from `schedules.noise_levels`.
        on_step_end: (index, sample) -> the sample to go on with.
        interrupted: asked before each step; true ends the loop with the sample as it is.

    Returns:
        (B, C, F, h, w) latents.
    """
    known, given = canvas.known, canvas.latents

    def noised(level: torch.Tensor) -> torch.Tensor:
        return add_noise(given, noise, level.to(noise).expand(len(given), -1))

    latents = torch.where(known, noised(levels[0]), noised(canvas.start))
    for index in range(len(levels) - 1):
        if interrupted():
            break
        velocity = predict(latents, levels[index], index)
        latents = step(index, velocity, latents)
        latents = on_step_end(index, torch.where(known, noised(levels[index + 1]), latents))
    return torch.where(known, given, latents)
