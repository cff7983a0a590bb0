"""Rectified flow with a noise level per frame: what is drawn for a training clip, and the loss.

x_σ = (1-σ)·x₀ + σ·ε and the model predicts v = ε - x₀ (Liu et al. 2022, arXiv:2209.03003; Lipman et al. 2022,
arXiv:2210.02747). Everything here is a pure function. What is random for a sample follows from that sample's
integer seed, and what is random for a whole batch from (seed, step): neither the number of ranks, nor the batch
a sample lands in, nor a resumed run changes it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from ..configs.schema import FlowConfig


class NoisePlan(NamedTuple):
    """Noise levels of a batch of clips."""

    sigmas: torch.Tensor  # (B, F) float32 in [0, 1); 0: a clean, known frame
    loss_mask: torch.Tensor  # (B, F) bool, False where the frame is known and carries no loss
    kinds: tuple[str, ...]  # B names of `FlowConfig.plans`
    context: torch.Tensor  # (B, F) uint8: which encoding a clean frame has; see CLIP, SUFFIX, STILL


class Parts(NamedTuple):
    """Which parts of a clip are encoded as the pipeline encodes context; see `vae.context.Contexts`."""

    suffix_start: int
    still_frames: tuple[int, ...]


CLIP, SUFFIX, STILL = 0, 1, 2  # encoded as a part of its clip, as a suffix, as a still


class BatchKind(NamedTuple):
    """What a whole batch is made of."""

    images: bool  # only the first latent frame of each clip
    block_causal: bool  # attention is block-causal
    skipped: float = 0.0  # share of a clip's latent frames left out at its beginning


def seeded_generator(*key: int | str) -> torch.Generator:
    """A CPU generator whose state depends on `key` alone; different keys give unrelated streams."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def shift_sigma(sigmas: torch.Tensor, shift: float) -> torch.Tensor:
    """Move noise levels towards 1: σ' = s·σ / (1 + (s-1)·σ) (Esser et al. 2024, arXiv:2403.03206, eq. 23).

    The same σ hides less of a larger clip, since neighbouring values repeat each other. s = sqrt(n / n₀) keeps
    the hidden share when a clip has n values instead of n₀. s = 1 changes nothing.

    Raises:
        ValueError: if `shift` is not positive.
    """
    if shift <= 0:
        raise ValueError(f"shift is {shift}; it needs to be positive (1 for none)")
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def draw_sigmas(generator: torch.Generator, count: int, config: FlowConfig) -> torch.Tensor:
    """`count` logit-normal noise levels in (0, 1), shifted (Esser et al. 2024, arXiv:2403.03206, section 3.1)."""
    normal = torch.randn(count, generator=generator)
    return shift_sigma(torch.sigmoid(config.logit_mean + config.logit_std * normal), config.shift)


def draw_plan(
    seeds: Sequence[int],
    num_frames: int,
    config: FlowConfig,
    frames_per_block: int = 1,
    parts: Sequence[Parts] | None = None,
) -> NoisePlan:
    """Draw each clip's noise levels from the mixture `config.plans`.

    - equal: one level for all frames.
    - independent: a level per block of `frames_per_block` frames (Diffusion Forcing, Chen et al. 2024,
      arXiv:2407.01392).
    - prefix, suffix, both_ends, scattered, keyframes: some frames are clean context, the rest share one level.
      With `parts`, the last frames of suffix and both_ends and those of keyframes are the encoded parts.

    Clips too short for a plan (a context plan needs 2 frames, both ends 3) take "equal".

    Args:
        seeds: one integer per clip.
        num_frames: latent frames F.
        config: shares and the level distribution.
        frames_per_block: frames that share a level in the "independent" plan.
        parts: of each clip; None: context is drawn anywhere, and all of it is encoded as part of its clip.

    Raises:
        ValueError: if `num_frames` or `frames_per_block` is below 1.
    """
    if num_frames < 1 or frames_per_block < 1:
        raise ValueError(
            f"num_frames is {num_frames}, frames_per_block is {frames_per_block}; both need at least 1"
        )
    names = sorted(config.plans)
    edges = torch.tensor([config.plans[name] for name in names], dtype=torch.float64).cumsum(0)
    sigmas, known, kinds, encodings = [], [], [], []
    for number, seed in enumerate(seeds):
        generator = seeded_generator(seed, "plan")
        draw = torch.rand((), generator=generator, dtype=torch.float64) * edges[-1]
        kind = names[min(int(torch.searchsorted(edges, draw, right=True)), len(names) - 1)]
        kind = kind if num_frames >= {"equal": 1, "independent": 1, "both_ends": 3}.get(kind, 2) else "equal"
        encoding = torch.zeros(num_frames, dtype=torch.uint8)
        if parts and kind in ("suffix", "both_ends", "keyframes"):
            encoding = _draw_parts(kind, num_frames, parts[number], generator)
            context = encoding > 0
            first = int(torch.randint(0, parts[number].suffix_start, (), generator=generator))
            if kind == "both_ends" and first:
                context[:first] = True
            elif kind == "keyframes" and first % 2 and not bool(context[1:].all()):
                context[0] = True  # an image in any case
        else:
            context = _draw_context(kind, num_frames, generator)
        blocks = -(-num_frames // frames_per_block)
        if kind == "independent":
            levels = draw_sigmas(generator, blocks, config).repeat_interleave(frames_per_block)[:num_frames]
        else:
            levels = draw_sigmas(generator, 1, config).expand(num_frames)
        sigmas.append(torch.where(context, 0.0, levels))
        known.append(context)
        kinds.append(kind)
        encodings.append(encoding)
    return NoisePlan(torch.stack(sigmas), ~torch.stack(known), tuple(kinds), torch.stack(encodings))


def _draw_parts(kind: str, num_frames: int, parts: Parts, generator: torch.Generator) -> torch.Tensor:
    """Uint8 (F,): SUFFIX or STILL at the frames of a clip's parts that are shown."""
    frame = torch.arange(num_frames)
    if kind != "keyframes":
        return torch.where(frame >= parts.suffix_start, SUFFIX, CLIP).to(torch.uint8)
    count = int(torch.randint(1, len(parts.still_frames) + 1, (), generator=generator))
    order = torch.randperm(len(parts.still_frames), generator=generator)[:count].tolist()
    shown = [parts.still_frames[number] for number in order]
    return torch.where(torch.isin(frame, torch.tensor(shown)), STILL, CLIP).to(torch.uint8)


def _draw_context(kind: str, num_frames: int, generator: torch.Generator) -> torch.Tensor:
    """Bool (F,): the clean frames of a plan. At least one frame is clean and at least one is not."""

    def integer(low: int, high: int) -> int:  # inclusive
        return int(torch.randint(low, high + 1, (), generator=generator))

    frame = torch.arange(num_frames)
    if kind == "prefix":
        return frame < integer(1, num_frames - 1)
    if kind == "suffix":
        return frame >= integer(1, num_frames - 1)
    if kind == "both_ends":
        first = integer(1, num_frames - 2)
        return (frame < first) | (frame >= num_frames - integer(1, num_frames - 1 - first))
    if kind in ("scattered", "keyframes"):
        order = torch.randperm(num_frames, generator=generator)
        return torch.isin(frame, order[: integer(1, num_frames - 1)])
    return torch.zeros(num_frames, dtype=torch.bool)


def draw_noise(seeds: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
    """Standard normal (B, *shape) float32 on the CPU, each sample from its own seed."""
    return torch.stack([torch.randn(tuple(shape), generator=seeded_generator(seed, "noise")) for seed in seeds])


def draw_caption(captions: Mapping[str, str], mix: Mapping[str, float], seed: int) -> str:
    """One of a clip's captions, as `draw_level` says; the empty one if it has none of these levels."""
    return captions.get(draw_level(captions, mix, seed), "")


def draw_level(captions: Mapping[str, str], mix: Mapping[str, float], seed: int) -> str:
    """A level of a clip's captions, with the shares `mix`; levels it lacks are left out; "" if it has none."""
    levels = [level for level in sorted(mix) if captions.get(level) and mix[level] > 0]
    if not levels:
        return ""
    edges = torch.tensor([mix[level] for level in levels], dtype=torch.float64).cumsum(0)
    draw = torch.rand((), generator=seeded_generator(seed, "level"), dtype=torch.float64) * edges[-1]
    return levels[min(int(torch.searchsorted(edges, draw, right=True)), len(levels) - 1)]


def draw_shares(seeds: Sequence[int], purpose: str) -> list[float]:
    """A uniform number in [0, 1) per sample, from its seed and a purpose."""
    return [float(torch.rand((), generator=seeded_generator(seed, purpose))) for seed in seeds]


def draw_caption_dropout(seeds: Sequence[int], probability: float) -> list[bool]:
    """Which samples lose their caption, so that the model also learns the unconditional velocity."""
    return [bool(torch.rand((), generator=seeded_generator(seed, "caption")) < probability) for seed in seeds]


def draw_batch_kind(seed: int, step: int, steps: int, config: FlowConfig) -> BatchKind:
    """What batch number `step` of `steps` is; the same on every rank.

    All batches of the first `config.image_warmup` share of the steps are images, later ones with probability
    `config.image_fraction`. Video batches are block-causal with probability `config.block_causal`, and of these
    the share `config.mid_clip` lacks a part of the clip's beginning, at least the first latent frame.
    """
    image, causal, mid, skipped = torch.rand(4, generator=seeded_generator(seed, step, "batch")).tolist()
    images = step < config.image_warmup * steps or image < config.image_fraction
    causal = not images and causal < config.block_causal
    return BatchKind(images, causal, skipped if causal and mid < config.mid_clip else 0.0)


def add_noise(latents: torch.Tensor, noise: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """x_σ = (1-σ)·x₀ + σ·ε for latents (B, C, F, H, W) and levels (B, F)."""
    if sigmas.shape != (latents.shape[0], latents.shape[2]):
        raise ValueError(
            f"sigmas has shape {tuple(sigmas.shape)}; latents of shape {tuple(latents.shape)} need "
            f"({latents.shape[0]}, {latents.shape[2]}): one level per latent frame"
        )
    return torch.lerp(latents, noise, sigmas[:, None, :, None, None].to(latents.dtype))


def velocity(latents: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The training target ε - x₀, the derivative of x_σ with respect to σ."""
    return noise - latents


def flow_loss(prediction: torch.Tensor, target: torch.Tensor, loss_mask: torch.Tensor) -> torch.Tensor:
    """Squared error: mean over each clip's unmasked frames, then over the clips.

    Args:
        prediction, target: (B, C, F, H, W).
        loss_mask: (B, F) bool, True where a frame counts; at least one frame per clip.
    """
    per_frame = (prediction.float() - target.float()).square().mean(dim=(1, 3, 4))  # (B, F)
    weights = loss_mask.to(per_frame.dtype)
    return ((per_frame * weights).sum(1) / weights.sum(1).clamp(min=1)).mean()
