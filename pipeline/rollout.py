"""A block-causal rollout: latents made block by block over a key-value cache, in constant memory at any length.

Each block of latent frames is denoised at one noise level over the cached keys and values of the blocks before it,
then run once more at a small context noise to add its own (Diffusion Forcing's stable rollout, Chen et al. 2024,
arXiv:2407.01392; block by block over a cache as in CausVid, Yin et al. 2024, arXiv:2412.07772). The next block
sees this one's mistakes too: context that says of itself that it is a little noisy is trusted a little less.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from ..dit.cache import KVCache
from ..dit.flow import add_noise
from .canvas import text_to_video, with_known
from .denoise import Denoiser
from .guidance import Guidance, GuiderGuidance
from .sampler import choose_step, flow_sigmas, sample
from .schedules import noise_levels
from .seeds import draw_noise
from .text import TextBatch


class Rollout:
    """Makes one block of latents after another, of one video or of several side by side.

    Args:
        pipe: the pipeline, for its transformer and scheduler; `pipe.interrupt` ends a block midway.
        cells: latent rows and columns.
        frame_rate: pixel frames per second.
        generators: one per video. Each block draws its starting noise, then the noise under which it becomes
            context, in this order whatever is known of it, so a seed's rollout depends on nothing else.
        num_inference_steps: denoising steps of a block.
        guidance_scale: strength of guidance; at most 1 switches it off.
        guidance: its kind and interval. Both halves run at every step, as the cache holds both.
        window: blocks that a block sees, its own included; None: all, and memory grows.
        frames_per_block: latent frames of a block.
        context_noise: noise level in [0, 1] at which finished blocks are seen; or one per video.
        sigmas: noise levels to use instead of the scheduler's own.
        attention_kwargs: for the transformer.
        interrupted: asked before each step; true ends the rollout. None: `pipe.interrupt`.
    """

    def __init__(
        self,
        pipe: Any,
        cells: tuple[int, int],
        frame_rate: float,
        generators: Sequence[torch.Generator],
        *,
        num_inference_steps: int,
        guidance_scale: float,
        guidance: Guidance | GuiderGuidance,
        window: int | None,
        frames_per_block: int = 1,
        context_noise: float | Sequence[float] = 0.0,
        sigmas: Sequence[float] | None = None,
        attention_kwargs: dict[str, Any] | None = None,
        interrupted: Callable[[], bool] | None = None,
    ):
        self.pipe, self.cells, self.frame_rate, self.generators = pipe, cells, frame_rate, generators
        self.num_inference_steps, self.sigmas = num_inference_steps, sigmas
        self.guidance_scale, self.guidance = guidance_scale, guidance
        self.cache = KVCache(frames_per_block, window)
        levels = torch.as_tensor(context_noise, dtype=torch.float32)
        self.context_noise = levels.expand(len(generators))
        self.attention_kwargs = attention_kwargs
        self.interrupted = interrupted or (lambda: pipe.interrupt)
        self.num_frames = 0  # latent frames made so far
        self._unrecorded: Callable[[], None] | None = None  # what the last block still has to add to the cache

    @property
    def guided(self) -> bool:
        """Whether negative prompts are needed."""
        return self.guidance.is_on(self.guidance_scale)

    def frame_times(self, count: int) -> torch.Tensor:
        """Mid-times (count,) in seconds of the next latent frames, counted from the rollout's first.

        In float64 where the device has it: after hours, float32 would blur the fastest rotations.
        """
        index = torch.arange(self.num_frames, self.num_frames + count, dtype=torch.float64)
        stride = self.pipe.grid.temporal
        times = (index * stride - (stride - 1) / 2).clamp(min=0) / self.frame_rate
        return times.float() if self.pipe._execution_device.type == "mps" else times

    def next_block(
        self, text: TextBatch, frames: int, latents: torch.Tensor | None = None, known: torch.Tensor | None = None
    ) -> torch.Tensor | None:
        """Make the next block, and let it be context from then on.

        Args:
            text: what the block follows, on the execution device.
            frames: its latent frames; fewer than `frames_per_block` only in the last block.
            latents: (B or 1, C, frames, h, w) normalised latents, read where `known` is true; None: nothing is.
            known: (frames,) bool, the latent frames that are given.

        Returns:
            (B, C, frames, h, w) normalised latents, or None if it was interrupted; the context is then as before.
        """
        pipe, device = self.pipe, self.pipe._execution_device
        if self._unrecorded is not None:
            self._unrecorded()  # only now: the last block of all is never context, and nobody waits for it
            self._unrecorded = None
        shape = (pipe.transformer.config.in_channels, frames, *self.cells)
        noise, context = (draw_noise(self.generators, shape).to(device, torch.float32) for _ in range(2))
        canvas = text_to_video(*shape).to(device)
        if latents is not None and known is not None:
            held = float(self.context_noise.mean())  # beside unknown frames it is seen as all context is
            canvas = with_known(canvas, latents.to(device), known.to(device)[:, None, None], held)
        times = self.frame_times(frames).to(device)[None]
        options = {"kv_cache": self.cache, "attention_kwargs": self.attention_kwargs}
        if bool(canvas.unknown_frames.any()):
            tokens = noise[0, 0].numel() // (pipe.grid.patch[0] * pipe.grid.patch[1] * pipe.grid.patch[2])
            levels = flow_sigmas(pipe.scheduler, self.num_inference_steps, device, self.sigmas, tokens)
            levels = noise_levels(levels, canvas)
            pipe._guidance, pipe._guidance_scale = self.guidance, self.guidance_scale
            run = Denoiser(pipe, text, self.guidance, times, canvas, len(levels) - 1, options)
            step = choose_step(pipe.scheduler, levels, canvas, list(self.generators))
            made = sample(run.predict, step, canvas, noise, levels, interrupted=self.interrupted)
            if self.interrupted():
                return None
        else:
            made = canvas.latents.expand_as(noise)
        self.num_frames += frames
        self._unrecorded = partial(self._record, made, context, text, times, options)
        return made

    def reset(self) -> None:
        """Forget what was made, and free its memory."""
        self.cache.reset()
        self.num_frames, self._unrecorded = 0, None

    def _record(
        self,
        latents: torch.Tensor,
        noise: torch.Tensor,
        text: TextBatch,
        times: torch.Tensor,
        options: dict[str, Any],
    ) -> None:
        """Add a finished block's keys and values to the cache, as seen through the context noise."""
        level = self.context_noise.to(latents)
        seen = add_noise(latents, noise, level[:, None].expand(-1, latents.shape[2]))
        embeds, mask = text.prompt_embeds, text.prompt_attention_mask
        if self.guided and text.negative_prompt_embeds is not None:
            seen, level = torch.cat([seen, seen]), torch.cat([level, level])
            embeds, mask = text.stacked()
        with self.cache.recording():
            self.pipe.transformer(
                hidden_states=seen,
                timestep=1000 * level,
                encoder_hidden_states=embeds,
                encoder_attention_mask=mask,
                frame_times=times,
                return_dict=False,
                **options,
            )
