"""One denoising run: the guided forward of a step, and what a callback may change between steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .guidance import Guidance
from .text import TextBatch


@dataclass
class Denoiser:
    """What the steps of one run share.

    Attributes:
        pipe: the pipeline, for its transformer and for `guidance_scale`, read at every step.
        text: of the videos (B rows); callbacks may change its embeddings.
        guidance: how the two halves of a guided forward are combined.
        frame_times: (1, F) seconds, the middle of what each latent frame covers.
        unknown: (F,) bool on the CPU, the frames that have something to sample.
        num_steps: model evaluations of the run.
        options: further arguments for the transformer.
        callback: called as (pipe, step, timestep, tensors) after each step; None: nobody listens.
        callback_inputs: names of the tensors that it sees.
        meddled: whether a callback changed anything, or only looked.
    """

    pipe: Any
    text: TextBatch
    guidance: Guidance
    frame_times: torch.Tensor
    unknown: torch.Tensor
    num_steps: int
    options: dict[str, Any] = field(default_factory=dict)
    callback: Callable[..., dict] | None = None
    callback_inputs: Sequence[str] = ()
    meddled: bool = False

    def predict(self, latents: torch.Tensor, level: torch.Tensor, index: int) -> torch.Tensor:
        """The velocity (B, C, F, h, w) at noise levels (F,), guided where guidance acts on an unknown frame."""
        pipe = self.pipe
        pipe._current_timestep = 1000 * level.max()
        guided = pipe.do_classifier_free_guidance and self.text.negative_prompt_embeds is not None
        if self.options.get("kv_cache") is None:  # a cache holds both halves, so both run at every step
            guided = guided and bool((self.guidance.acts_at(level) & self.unknown).any())
        if not guided:
            return self._forward(latents, level, index, self.text.prompt_embeds, self.text.prompt_attention_mask)
        velocity = self._forward(torch.cat([latents, latents]), level, index, *self.text.stacked())
        uncond, cond = velocity.chunk(2)
        return self.guidance.combine(uncond, cond, pipe.guidance_scale, latents, level)

    def _forward(
        self,
        hidden_states: torch.Tensor,
        level: torch.Tensor,
        index: int,
        embeds: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """One batched forward, in float32 whatever the transformer's dtype."""
        timestep = 1000 * (level[:1] if bool((level == level[0]).all()) else level).to(hidden_states.device)
        context = {"step_index": index, "sigma": float(level.max()), "num_inference_steps": self.num_steps}
        with self.pipe.transformer.cache_context("cond_uncond", **context):
            return self.pipe.transformer(
                hidden_states=hidden_states,
                timestep=timestep.expand(len(hidden_states), -1).squeeze(1),
                encoder_hidden_states=embeds,
                encoder_attention_mask=mask,
                frame_times=self.frame_times,
                return_dict=False,
                **self.options,
            )[0].float()

    def after_step(self, index: int, latents: torch.Tensor) -> torch.Tensor:
        """Let the callback see and change the latents and the embeddings; the latents to go on with."""
        if self.callback is None:
            return latents
        pipe = self.pipe
        seen = {"latents": latents, **self.text.embeds()}
        tensors = {name: seen[name] for name in self.callback_inputs}
        scale = pipe._guidance_scale
        changed = self.callback(pipe, index, pipe._current_timestep, tensors) or {}
        self.meddled |= pipe._guidance_scale != scale
        self.meddled |= any(changed[name] is not seen.get(name) for name in changed)
        latents = changed.pop("latents", latents)
        self.text = self.text._replace(**{name: changed[name] for name in self.text.embeds() if name in changed})
        return latents
