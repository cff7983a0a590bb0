"""Classifier-free guidance on the two halves of one batched forward: how the halves become one velocity.

`Guidance` is Kinema's own, by each frame's noise level. Any of diffusers' guiders that combine these two halves
will do as well: `pipe(prompt, guidance=AdaptiveProjectedGuidance(guidance_scale=5.0))`.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers.guiders.classifier_free_zero_star_guidance import cfg_zero_star_scale
from diffusers.guiders.frequency_decoupled_guidance import project
from diffusers.guiders.guider_utils import BaseGuidance
from diffusers.guiders.magnitude_aware_guidance import MagnitudeAwareGuidance

KINDS = ("cfg", "zero-star", "apg")


@dataclass(frozen=True)
class Guidance:
    """How guidance is applied; its strength is the pipeline's `guidance_scale`, read at every step.

    Attributes:
        kind: "cfg", plain classifier-free guidance; "zero-star" or "apg", see the functions below.
        interval: (lowest, highest) noise level at which guidance acts; a frame outside it follows the prompt
            unguided, and a step with no frame inside skips the negative forward
            (Kynkäänniemi et al. 2024, arXiv:2404.07724).
        apg_parallel: APG only, η: the share kept of the part that mostly oversaturates; 0 to 1.
        apg_norm: APG only, r: longest update, in standard deviations per latent value; 0: no limit.

    Raises:
        ValueError: an unknown kind, or an interval outside 0 ≤ lowest ≤ highest ≤ 1.
    """

    kind: Literal["cfg", "zero-star", "apg"] = "cfg"
    interval: tuple[float, float] = (0.0, 1.0)
    apg_parallel: float = 0.0
    apg_norm: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"guidance kind is {self.kind!r}; it is one of {', '.join(KINDS)}")
        low, high = self.interval
        if not 0 <= low <= high <= 1:
            raise ValueError(f"guidance interval is {self.interval}; it needs 0 <= lowest <= highest <= 1")

    def is_on(self, scale: float) -> bool:
        """Whether this strength guides at all, so that negative prompts are needed."""
        return scale > 1

    def acts_at(self, level: torch.Tensor) -> torch.Tensor:
        """(F,) bool: the frames whose noise level (F,) lies in the interval."""
        low, high = self.interval
        return (level >= low) & (level <= high)

    def check_levels(self, levels: torch.Tensor) -> None:
        """Any noise levels (S + 1, F) will do."""

    def set_state(self, step: int, num_inference_steps: int, timestep: torch.Tensor | None) -> None:
        """Where the run is; noise levels say enough here, diffusers' guiders count steps."""

    def needs_negative(self, level: torch.Tensor, unknown: torch.Tensor, scale: float) -> bool:
        """Whether the step needs the negative half: guidance acts on a frame that has something to sample."""
        return self.is_on(scale) and bool(self._guided(level, unknown).any())

    def _guided(self, level: torch.Tensor, unknown: torch.Tensor | None) -> torch.Tensor:
        guided = self.acts_at(level) & (level > 0)  # nothing is left to sample at 0
        return guided if unknown is None else guided & unknown.to(level.device)

    def combine(
        self,
        uncond: torch.Tensor | None,
        cond: torch.Tensor,
        scale: float,
        sample: torch.Tensor,
        level: torch.Tensor,
        unknown: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The guided velocity.

        Args:
            uncond, cond: (B, C, F, h, w), the velocities of the negative prompt and the prompt; no uncond: the
                step is not guided.
            scale: strength.
            sample: (B, C, F, h, w) that the velocities belong to.
            level: (F,) noise levels.
            unknown: (F,) bool, the frames that have something to sample; None: all. The others' velocities
                mean nothing, so that they stay out of what is measured over a whole video.
        """
        guided = self._guided(level, unknown)
        if uncond is None or not guided.any():
            return cond

        def combined(cond: torch.Tensor, uncond: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
            match self.kind:
                case "zero-star":
                    return zero_star(uncond, cond, scale)
                case "apg":
                    now = level[guided].to(cond)
                    return projected(uncond, cond, scale, sample, now, self.apg_parallel, self.apg_norm)
                case _:
                    return classifier_free(uncond, cond, scale)

        return _on_frames(guided, combined, cond, uncond, sample)


def _on_frames(
    frames: torch.Tensor, change: Callable[..., torch.Tensor], velocity: torch.Tensor, *others: torch.Tensor
) -> torch.Tensor:
    """Change the velocity of some frames (F,) only, shown only these; the rest stays as it is."""
    if frames.all():
        return change(velocity, *others)
    index = frames.nonzero()[:, 0].to(velocity.device)
    changed = change(*(tensor.index_select(2, index) for tensor in (velocity, *others)))
    return velocity.index_copy(2, index, changed)


def classifier_free(uncond: torch.Tensor, cond: torch.Tensor, scale: float) -> torch.Tensor:
    """v_u + w (v_c - v_u) (Ho & Salimans 2022, arXiv:2207.12598, with w = 1 meaning no guidance)."""
    return uncond + scale * (cond - uncond)


def zero_star(uncond: torch.Tensor, cond: torch.Tensor, scale: float) -> torch.Tensor:
    """CFG-Zero* (Fan et al. 2025, arXiv:2503.18886, equation 8): v_u is first scaled to fit v_c best.

    s = ⟨v_c, v_u⟩ / ‖v_u‖² per video. The paper's zeroed first steps are left out: with few steps they cost more
    than they give. diffusers' guider of this name has them.
    """
    fit = cfg_zero_star_scale(cond.flatten(1), uncond.flatten(1)).view(-1, *[1] * (cond.ndim - 1))
    return classifier_free(fit * uncond, cond, scale)


def projected(
    uncond: torch.Tensor,
    cond: torch.Tensor,
    scale: float,
    sample: torch.Tensor,
    level: torch.Tensor,
    parallel: float,
    longest: float,
) -> torch.Tensor:
    """Adaptive projected guidance (Sadat et al. 2024, arXiv:2410.02416, section 4), on clean estimates.

    With x0 = x - σ v, the update x0_c - x0_u = -σ (v_c - v_u) is split along x0_c: its parallel part, which
    mostly oversaturates, is scaled by η; an update longer than r is shortened to r. No momentum. Where frames have
    different σ, v_c - v_u is split instead: an equal share is taken from every frame, however clean it is already.

    diffusers' guider of this name splits velocities along v_c.
    """
    axes = tuple(range(1, cond.ndim))
    sigma = level[:, None, None]
    update = cond - uncond
    if longest > 0:
        length = (sigma * update).square().mean(axes, keepdim=True).sqrt()
        update = update * (longest / length.clamp(min=1e-8)).clamp(max=1.0)
    clean = sample.to(cond) - sigma * cond
    along, across = project(update, clean, upcast_to_double=False)  # not every device has doubles
    return cond + (scale - 1) * (across + parallel * along)


class GuiderGuidance:
    """A diffusers guider on the two halves of Kinema's batched forward.

    It sees the velocities of the frames that have something to sample, and steps instead of noise levels. Where
    frames are at unequal noise, plain guidance means the same at each of them; a guider that measures something
    over a video (a fit, a projection, a norm) takes one measure over all of them; and one with its own `start` or
    `stop` is refused, for a step is then early in one frame and late in another. `Guidance` goes by each frame.

    Args:
        guider: it is copied, so that each call begins with fresh state and the given one stays as it is.

    Attributes:
        scale: its own `guidance_scale`, in its own formulation.
        kind: its name and settings.

    Raises:
        ValueError: it needs more than these two halves.
    """

    interval = (0.0, 1.0)

    def __init__(self, guider: BaseGuidance):
        _check_guider(guider)
        self.guider: Any = copy.copy(guider)
        self.scale = float(self.guider.guidance_scale)
        now = vars(guider)  # settings may have been changed since they were configured
        values = {
            key: now.get(key, now.get(f"_{key}", value))
            for key, value in guider.config.items()
            if key[0] != "_" and key != "guidance_scale"
        }
        settings = ", ".join(f"{key}={value}" for key, value in sorted(values.items()))
        self.kind = f"{type(guider).__name__}({settings})"

    def is_on(self, scale: float) -> bool:
        """Whether it guides at any step at this strength, so that negative prompts are needed."""
        probe = copy.copy(self)
        probe.guider = copy.copy(self.guider)
        probe.set_state(0, None, None)  # without a number of steps, start and stop do not count
        return probe._conditions(scale) > 1

    def check_levels(self, levels: torch.Tensor) -> None:
        """Raise a ValueError if it cuts by steps and the noise levels (S + 1, F) of a step are not equal."""
        start, stop = self.guider._start, self.guider._stop
        if (start > 0 or stop < 1) and bool((levels != levels[:, :1]).any()):
            raise ValueError(
                f"{type(self.guider).__name__} acts from {start:g} to {stop:g} of the steps, which needs one "
                "noise level for all frames; this call has frames at several. Leave its start and stop out, or "
                "guide by each frame's own level with kinema.pipeline.guidance.Guidance(interval=(low, high))"
            )

    def set_state(self, step: int, num_inference_steps: int | None, timestep: torch.Tensor | None) -> None:
        """Where the run is."""
        self.guider.set_state(step=step, num_inference_steps=num_inference_steps, timestep=timestep)

    def needs_negative(self, level: torch.Tensor, unknown: torch.Tensor, scale: float) -> bool:
        """Whether it wants the negative half at this step."""
        return self._conditions(scale) > 1

    def _conditions(self, scale: float) -> int:
        """How many predictions it asks for; a callback may have changed the strength of the call."""
        if scale != self.scale:
            off = 0.0 if self.guider.use_original_formulation else 1.0
            self.guider.guidance_scale = scale
            self.guider._enabled = self.guider._enabled and scale > off
            self.scale = scale
        return self.guider.num_conditions

    def combine(
        self,
        uncond: torch.Tensor | None,
        cond: torch.Tensor,
        scale: float,
        sample: torch.Tensor,
        level: torch.Tensor,
        unknown: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What the guider makes of a step's predictions; arguments as of `Guidance.combine`."""
        frames = torch.ones(len(level), dtype=torch.bool) if unknown is None else unknown

        def guided(cond: torch.Tensor, uncond: torch.Tensor | None = None) -> torch.Tensor:
            predictions: dict[str, Any] = {"pred_cond": cond, "pred_uncond": uncond}
            if isinstance(self.guider, MagnitudeAwareGuidance):  # its norms take two axes and no more
                predictions = {name: None if v is None else v.flatten(2) for name, v in predictions.items()}
            batches: Any = self.guider.prepare_inputs({})  # one a prediction; where some reset their momentum
            for batch in batches:
                batch.noise_pred = predictions[getattr(batch, self.guider._identifier_key)]
            return self.guider(batches).pred.view_as(cond)

        return _on_frames(frames, guided, cond, *(() if uncond is None else (uncond,)))


def _check_guider(guider: BaseGuidance) -> None:
    name = type(guider).__name__
    extra = set(guider._input_predictions or ()) - {"pred_cond", "pred_uncond"}
    trouble = None
    if extra:
        trouble = f"needs further passes through the transformer ({', '.join(sorted(extra))})"
    elif type(guider).prepare_models is not BaseGuidance.prepare_models:
        trouble = "changes the transformer for one of its passes"
    elif not hasattr(guider, "guidance_scale"):
        trouble = "splits pictures into frequencies and does not take videos"
    if trouble:
        raise ValueError(
            f"{name} {trouble}; Kinema runs the prompt and the negative prompt in one batched forward. Use a "
            "guider that combines these two, such as ClassifierFreeGuidance, ClassifierFreeZeroStarGuidance, "
            "AdaptiveProjectedGuidance, TangentialClassifierFreeGuidance or MagnitudeAwareGuidance"
        )


def as_guidance(
    guidance: "Guidance | GuiderGuidance | BaseGuidance", scale: float | None = None
) -> "Guidance | GuiderGuidance":
    """What a caller gave as guidance, ready for one run.

    Args:
        guidance: `Guidance` or a diffusers guider.
        scale: the call's `guidance_scale`; None: not given.

    Raises:
        ValueError: something else, a guider that needs further passes, or one whose own scale differs from the
            call's.
    """
    if isinstance(guidance, Guidance):
        return guidance
    if isinstance(guidance, BaseGuidance):
        guided = GuiderGuidance(guidance)
        if scale is not None and scale != guided.scale:
            raise ValueError(
                f"guidance_scale is {scale} and the {type(guidance).__name__}'s own is {guided.scale}; leave "
                f"guidance_scale out, or give guider.new(guidance_scale={scale})"
            )
        return guided
    raise ValueError(f"guidance is {guidance!r}; it needs kinema.pipeline.guidance.Guidance or a diffusers guider")


def guidance_of_call(
    guidance: "Guidance | GuiderGuidance | BaseGuidance | None",
    scale: float | None,
    own: Guidance,
    own_scale: float,
) -> tuple["Guidance | GuiderGuidance", float]:
    """Guidance and strength of a call: what it gave, otherwise the checkpoint's own. A guider brings its own."""
    chosen = own if guidance is None else as_guidance(guidance, scale)
    if isinstance(chosen, GuiderGuidance):
        return chosen, chosen.scale
    return chosen, own_scale if scale is None else scale
