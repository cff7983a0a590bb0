"""Classifier-free guidance on the two halves of one batched forward: how the halves become one velocity."""

from dataclasses import dataclass
from typing import Literal

import torch

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

    def acts_at(self, level: torch.Tensor) -> torch.Tensor:
        """(F,) bool: the frames whose noise level (F,) lies in the interval."""
        low, high = self.interval
        return (level >= low) & (level <= high)

    def combine(
        self,
        uncond: torch.Tensor,
        cond: torch.Tensor,
        scale: float,
        sample: torch.Tensor,
        level: torch.Tensor,
    ) -> torch.Tensor:
        """The guided velocity; all tensors (B, C, F, h, w), level (F,)."""
        level = level.to(cond)
        match self.kind:
            case "zero-star":
                guided = zero_star(uncond, cond, scale)
            case "apg":
                guided = projected(uncond, cond, scale, sample, level, self.apg_parallel, self.apg_norm)
            case _:
                guided = classifier_free(uncond, cond, scale)
        return torch.where(self.acts_at(level)[:, None, None], guided, cond)


def classifier_free(uncond: torch.Tensor, cond: torch.Tensor, scale: float) -> torch.Tensor:
    """v_u + w (v_c - v_u) (Ho & Salimans 2022, arXiv:2207.12598, with w = 1 meaning no guidance)."""
    return uncond + scale * (cond - uncond)


def zero_star(uncond: torch.Tensor, cond: torch.Tensor, scale: float) -> torch.Tensor:
    """CFG-Zero* (Fan et al. 2025, arXiv:2503.18886, equation 8): v_u is first scaled to fit v_c best.

    s = ⟨v_c, v_u⟩ / ‖v_u‖² per video. The paper's zeroed first steps are left out: with few steps they cost more
    than they give.
    """
    axes = tuple(range(1, cond.ndim))
    fit = (cond * uncond).sum(axes, keepdim=True) / uncond.square().sum(axes, keepdim=True).clamp(min=1e-8)
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
    mostly oversaturates, is scaled by η; an update longer than r is shortened to r. No momentum.
    """
    axes = tuple(range(1, cond.ndim))
    sigma = level[:, None, None]
    update = cond - uncond
    if longest > 0:
        length = (sigma * update).square().mean(axes, keepdim=True).sqrt()
        update = update * (longest / length.clamp(min=1e-8)).clamp(max=1.0)
    clean = sample.to(cond) - sigma * cond
    share = (update * clean).sum(axes, keepdim=True) / clean.square().sum(axes, keepdim=True).clamp(min=1e-8)
    along = share * clean
    return cond + (scale - 1) * (update - along + parallel * along)
