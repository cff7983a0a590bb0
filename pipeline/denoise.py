"""One denoising run: the guided forward of a step, and what a callback may see and change between steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..vae.preview import preview
from .canvas import Canvas
from .guidance import Guidance, GuiderGuidance
from .text import TextBatch


@dataclass
class Denoiser:
    """What the steps of one run share.

    Attributes:
        pipe: the pipeline, for its transformer and for `guidance_scale`, read at every step.
        text: of the videos (B rows); callbacks may change its embeddings.
        guidance: how the two halves of a guided forward are combined.
        frame_times: (1, F) seconds, the middle of what each latent frame covers.
        canvas: what is known of the videos.
        num_steps: model evaluations of the run.
        options: further arguments for the transformer.
        callback: called as (pipe, step, timestep, tensors) after each step; None: nobody listens.
        callback_inputs: names of the tensors that it sees.
        meddled: whether a callback changed anything, or only looked.
        steps_done: steps that are finished.
    """

    pipe: Any
    text: TextBatch
    guidance: Guidance | GuiderGuidance
    frame_times: torch.Tensor
    canvas: Canvas
    num_steps: int
    options: dict[str, Any] = field(default_factory=dict)
    callback: Callable[..., dict] | None = None
    callback_inputs: Sequence[str] = ()
    meddled: bool = False
    steps_done: int = 0
    _last: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None  # sample, velocity, level

    def __post_init__(self) -> None:
        self._unknown = self.canvas.unknown_frames.cpu()

    def predict(self, latents: torch.Tensor, level: torch.Tensor, index: int) -> torch.Tensor:
        """The velocity (B, C, F, h, w) at noise levels (F,), guided where guidance acts on an unknown frame."""
        pipe, guidance = self.pipe, self.guidance
        pipe._current_timestep = 1000 * level.max()
        guidance.set_state(index, self.num_steps, pipe._current_timestep)
        if self.options.get("kv_cache") is None:
            guided = guidance.needs_negative(level, self._unknown, pipe.guidance_scale)
        else:  # a cache holds both halves, so both run at every step
            guided = guidance.is_on(pipe.guidance_scale)
        uncond = None
        if guided and self.text.negative_prompt_embeds is not None:
            velocity = self._forward(torch.cat([latents, latents]), level, index, *self.text.stacked())
            uncond, cond = velocity.chunk(2)
        else:
            embeds, mask = self.text.prompt_embeds, self.text.prompt_attention_mask
            cond = self._forward(latents, level, index, embeds, mask)
        velocity = guidance.combine(uncond, cond, pipe.guidance_scale, latents, level, self._unknown)
        self._last = latents, velocity, level
        return velocity

    def clean_estimate(self, like: torch.Tensor) -> torch.Tensor:
        """What the run would end in if it went straight on: x0 = x - σ v of the last step; known tokens as given.

        Before the first step it is what the canvas says: known tokens and the video it starts from, elsewhere 0,
        the mean of all latents.

        Args:
            like: (B, C, F, h, w), any latents of the run's shape.
        """
        canvas = self.canvas
        if self._last is None:
            given = canvas.known | (canvas.start < 1)[:, None, None].to(canvas.known.device)
            return torch.where(given, canvas.latents, torch.zeros_like(like))
        latents, velocity, level = self._last
        clean = latents - level.to(latents)[:, None, None] * velocity
        return torch.where(canvas.known, canvas.latents, clean)

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
        # Each size of batch is a state of its own to diffusers' step caches.
        name = "cond_uncond" if len(hidden_states) > len(self.text.prompt_embeds) else "cond"
        context = {"step_index": index, "sigma": float(level.max()), "num_inference_steps": self.num_steps}
        with self.pipe.transformer.cache_context(name, **context):
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
        self.steps_done = index + 1
        if self.callback is None:
            return latents
        pipe = self.pipe
        seen = {"latents": latents, **self.text.embeds()}
        if "previews" in self.callback_inputs:
            seen["previews"] = preview(pipe.vae, self.clean_estimate(latents))
        tensors = {name: seen[name] for name in self.callback_inputs}
        scale = pipe._guidance_scale
        changed = self.callback(pipe, index, pipe._current_timestep, tensors) or {}
        self.meddled |= pipe._guidance_scale != scale
        self.meddled |= any(changed[name] is not seen.get(name) for name in changed)
        latents = changed.pop("latents", latents)
        self.text = self.text._replace(**{name: changed[name] for name in self.text.embeds() if name in changed})
        return latents
