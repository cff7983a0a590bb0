"""`KinemaPipeline`: from texts, pictures and videos to videos, after diffusers' conventions.

    pipe = KinemaPipeline.from_pretrained()  # the packaged checkpoint
    pipe("a red ball rolls to the left", generator=0).save("ball.mp4")

Every task is a `Canvas`; the sampler knows no others.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import diffusers
import diffusers.pipelines
import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.guiders.guider_utils import BaseGuidance

from ..vae.latents import decode_latents, latent_frame_times
from ..vae.preview import check_preview
from . import along_time, whole_frames
from . import stream as streaming
from .base import PipelineBase
from .canvas import Canvas
from .composite import composite
from .conform import Fit
from .denoise import Denoiser
from .draft import Draft
from .guidance import Guidance, guidance_of_call
from .inputs import (
    check_callback_inputs,
    check_encoder,
    check_latents,
    check_no_prompt,
    check_numbers,
    check_output_type,
    check_prompts,
    first_given,
)
from .output import KinemaPipelineOutput, as_output_type
from .provenance import describe
from .sampler import check_step_cache, choose_step, flow_sigmas, sample
from .schedules import Schedule, ScheduleName, find_schedule, noise_levels
from .seeds import Seeds, draw_noise, known_seeds, per_video_generators
from .tasks import draft_of_call
from .text import TextBatch, per_video, text_warnings

logger = logging.getLogger(__name__)


class KinemaPipeline(PipelineBase):
    """Makes videos and images from text, and from given pictures and videos.

    Args:
        vae: `AutoencoderKLKinema`, or diffusers' `AutoencoderKLWan` or `AutoencoderKLLTXVideo`.
        text_encoder: a conditioner of `kinema.conditioner`; its tokenizer is inside it.
        transformer: `KinemaTransformer3DModel`.
        scheduler: a diffusers flow-matching scheduler.
        default_height, default_width: pixels when a call gives none; None: the transformer's training size.
        default_num_frames, default_frame_rate: likewise.
        default_num_inference_steps, default_guidance_scale: likewise; None: 30 and 4.0.
        default_guidance: kind of guidance, see `Guidance`.
        default_guidance_lowest, default_guidance_highest: its interval of noise levels.
        default_stream_window: latent frames that a stream's block sees, its own included; None: as many as it was
            trained on.
        default_context_noise: noise level at which a stream sees its finished blocks; None: 0.1.

    The defaults are saved in model_index.json, so a checkpoint knows its native shape.
    """

    __module__ = "kinema"  # model_index.json records the library from here; see `kinema/__init__.py`

    def check_inputs(
        self,
        prompt: str | list[str] | None,
        negative_prompt: str | list[str] | None,
        draft: Draft,
        num_videos_per_prompt: int,
        latents: torch.Tensor | None,
        prompt_embeds: torch.Tensor | None,
        negative_prompt_embeds: torch.Tensor | None,
        output_type: str,
        callback_on_step_end_tensor_inputs: Sequence[str] | None,
    ) -> int:
        """The number of videos, or a ValueError that says what would fit, before any model runs."""
        prompts = check_prompts(prompt, negative_prompt, prompt_embeds, negative_prompt_embeds)
        guided = self.do_classifier_free_guidance
        check_encoder(self.text_encoder, prompt is not None or (guided and negative_prompt_embeds is None))
        cells = self.grid.latent_shape(draft.num_frames, draft.height, draft.width)
        channels = self.transformer.config.in_channels
        check_latents(latents, draft, (channels, *cells), prompts, num_videos_per_prompt)
        check_output_type(output_type)
        if "previews" in (callback_on_step_end_tensor_inputs or ()) and self.vae is not None:
            check_preview(self.vae)
        check_callback_inputs(callback_on_step_end_tensor_inputs, self._callback_tensor_inputs)
        return prompts // draft.num_texts * num_videos_per_prompt

    extend = along_time.extend
    loop = along_time.loop
    connect = along_time.connect
    stream = streaming.stream
    remix = whole_frames.remix
    blend = whole_frames.blend
    outpaint = whole_frames.outpaint

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        negative_prompt: str | list[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        frame_rate: float | None = None,
        num_inference_steps: int | None = None,
        sigmas: Sequence[float] | None = None,
        guidance_scale: float | None = None,
        guidance: Guidance | BaseGuidance | None = None,
        num_videos_per_prompt: int = 1,
        generator: Seeds = None,
        latents: torch.Tensor | None = None,
        prompt_embeds: torch.Tensor | None = None,
        prompt_attention_mask: torch.Tensor | None = None,
        negative_prompt_embeds: torch.Tensor | None = None,
        negative_prompt_attention_mask: torch.Tensor | None = None,
        canvas: Canvas | Draft | None = None,
        output_type: Literal["np", "pt", "pil", "latent"] = "np",
        return_dict: bool = True,
        attention_kwargs: dict[str, Any] | None = None,
        callback_on_step_end: Callable[..., dict] | PipelineCallback | MultiPipelineCallbacks | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        image: Any = None,
        keyframes: Mapping[float, Any] | None = None,
        video: Any = None,
        mask: Any = None,
        storyboard: Sequence[Any] | None = None,
        strength: float | None = None,
        fit: Fit = "cover",
        schedule: ScheduleName | Schedule = "equal",
    ) -> KinemaPipelineOutput | tuple:
        """Make videos (num_frames > 1) or images (num_frames = 1).

        Pictures and videos are paths, URLs, PIL pictures, arrays (T, H, W, 3), tensors (T, 3, H, W), or outputs.

        Args:
            prompt: one text or several.
            negative_prompt: what to keep out: one text for all, or one per prompt.
            height, width: pixels; None: the checkpoint's own. So for the next four.
            num_frames: pixel frames; 1 makes an image.
            frame_rate: frames per second that the motion is made for.
            num_inference_steps: denoising steps.
            sigmas: descending noise levels to use instead of the scheduler's own.
            guidance_scale: strength of classifier-free guidance; 1 switches it off.
            guidance: its kind and interval, or one of diffusers' guiders that combine a prompt's and a negative
                prompt's predictions, with its own strength; None: the checkpoint's own.
            num_videos_per_prompt: videos of each prompt.
            generator: seeds: an int, or a `torch.Generator`, or a list with one of these per video. The same
                seed gives the same video in any batch (to float accuracy).
            latents: (B, C, F, h, w) noise to start from instead of drawing it.
            prompt_embeds, prompt_attention_mask: (prompts, L, D) and (prompts, L) bool instead of a prompt.
            negative_prompt_embeds, negative_prompt_attention_mask: likewise.
            canvas: what is known already, laid out by hand; if its frames follow K texts, give K prompts a video.
            output_type: see `KinemaPipelineOutput.frames`.
            return_dict: False returns a tuple of the frames only.
            attention_kwargs: for the transformer; {"scale": s} scales LoRA weights.
            callback_on_step_end: called as (pipe, step, timestep, tensors) after each step; returns a dict of
                the tensors it changes.
            callback_on_step_end_tensor_inputs: which of latents, prompt_embeds, negative_prompt_embeds and
                previews it sees; previews are small pictures (B, F, 3, h, w) in [0, 1] of what is to come out,
                one pixel a latent cell, at almost no cost (`kinema.vae.preview`).
            image: the first frame.
            keyframes: {time: picture}: a float is in seconds, an int a frame, negative from the end.
            video: of which a part is made anew (mask), or from which to start (strength). Size, rate and length
                are its own where they fit the model; `warnings` tells what was changed.
            mask: white where new content is made: a picture, a video, a box (x0, y0, x1, y1) or {time: box}, see
                `kinema.pipeline.masks.open_mask`; everything else comes back exactly.
            storyboard: [(start in seconds, text) or (start, text, picture)], instead of a prompt.
            strength: noise level from which the video is denoised: 0 gives it back, 1 ignores it.
            fit: how given frames of another shape are fitted: "cover", "contain" or "stretch".
            schedule: how the frames' noise levels descend: "equal" together; "staircase" and "rolling" one after
                another; or a function, see `kinema.pipeline.schedules`.

        Raises:
            ValueError: inputs that do not fit, named with the nearest that do.
            SchedulerError: a scheduler that cannot sample this canvas.
        """
        if isinstance(callback_on_step_end, PipelineCallback | MultiPipelineCallbacks):
            callback_on_step_end_tensor_inputs = callback_on_step_end.tensor_inputs
        own: Any = self.config
        steps = first_given(num_inference_steps, own.default_num_inference_steps)
        steps = steps if sigmas is None else len(sigmas)
        guiding, self._guidance_scale = guidance_of_call(
            guidance, guidance_scale, self._own_guidance, own.default_guidance_scale
        )
        self._guidance = guiding
        self._attention_kwargs = attention_kwargs
        self._current_timestep = None
        self._interrupt = False

        # 1. Check inputs, read what is given
        check_numbers(first_given(frame_rate, own.default_frame_rate), steps, num_videos_per_prompt)
        draft = draft_of_call(
            self, height=height, width=width, num_frames=num_frames, frame_rate=frame_rate, canvas=canvas,
            image=image, keyframes=keyframes, video=video, mask=mask, storyboard=storyboard, strength=strength,
            fit=fit,
        )  # fmt: skip
        if storyboard is not None:
            check_no_prompt(prompt, prompt_embeds)
            prompt = list(draft.prompts)
        videos = self.check_inputs(
            prompt, negative_prompt, draft, num_videos_per_prompt, latents, prompt_embeds, negative_prompt_embeds,
            output_type, callback_on_step_end_tensor_inputs,
        )  # fmt: skip
        schedule = find_schedule(schedule)
        generators = per_video_generators(generator, videos)
        device = self._execution_device
        texts = [] if prompt is None else [prompt] if isinstance(prompt, str) else prompt
        negatives = [negative_prompt] if isinstance(negative_prompt, str) else negative_prompt or []
        warnings = [*text_warnings(self.text_encoder, texts), *draft.notes]
        if any(negatives) and not self.do_classifier_free_guidance:
            warnings.append(f"guidance_scale {self.guidance_scale} ignores negative_prompt; raise it above 1")
        for warning in warnings:
            logger.warning(warning)

        # 2. Encode the prompts
        text = TextBatch(
            *self.encode_prompt(
                prompt=texts or None,
                negative_prompt=negative_prompt,
                do_classifier_free_guidance=self.do_classifier_free_guidance,
                prompt_embeds=prompt_embeds,
                prompt_attention_mask=prompt_attention_mask,
                negative_prompt_embeds=negative_prompt_embeds,
                negative_prompt_attention_mask=negative_prompt_attention_mask,
                device=device,
            )
        )

        # 3. Lay out the canvas, and the texts along its frames
        canvas = draft.canvas(self.vae, device, self.grid, self.transformer.config.in_channels)
        latent_shape = canvas.latents.shape[1:]
        text = text.along(canvas.text_of_frame).repeated(num_videos_per_prompt)

        # 4. Draw the noise, each video's from its own generator
        seeds = known_seeds(generators) if latents is None else [None] * videos
        noise = draw_noise(generators, latent_shape) if latents is None else latents
        noise = noise.to(device, torch.float32)

        # 5. The (steps × frames) matrix of noise levels
        tokens = noise[0, 0].numel() // math.prod(self.grid.patch)
        levels = noise_levels(flow_sigmas(self.scheduler, steps, device, sigmas, tokens), canvas, schedule)
        step = choose_step(self.scheduler, levels, canvas, generators)
        check_step_cache(self.transformer, levels, canvas)
        guiding.check_levels(levels[:, canvas.unknown_frames.cpu()])
        frame_times = latent_frame_times(latent_shape[1], draft.frame_rate, self.grid.temporal).to(device)[None]
        self._num_timesteps = len(levels) - 1

        # 6. Denoise
        run = Denoiser(
            self,
            text,
            guiding,
            frame_times,
            canvas,
            num_steps=self._num_timesteps,
            options={"attention_kwargs": attention_kwargs},
            callback=callback_on_step_end,
            callback_inputs=callback_on_step_end_tensor_inputs,
        )
        with self.progress_bar(total=self._num_timesteps) as progress_bar:  # pyright: ignore[reportCallIssue]

            def on_step_end(index: int, latents: torch.Tensor) -> torch.Tensor:
                latents = run.after_step(index, latents)
                progress_bar.update()
                return latents

            result = sample(run.predict, step, canvas, noise, levels, on_step_end, lambda: self.interrupt)
        self._current_timestep = None
        interrupted = run.steps_done < self._num_timesteps
        if interrupted:  # the sample itself is still noisy
            result = run.clean_estimate(result)
            progress = f"after {run.steps_done} of {self._num_timesteps} steps"
            warnings.append(f"interrupted {progress}; the frames are what they would have become from there")
            logger.warning(warnings[-1])

        # 7. Decode
        if output_type == "latent":
            frames = result
        else:
            pixels = decode_latents(self.vae, result)
            frames = as_output_type(composite(pixels, canvas, self.grid.temporal), output_type)
        self.maybe_free_model_hooks()

        if not return_dict:
            return (frames,)
        by_hand = {
            "latents": latents is not None,
            "prompt_embeds": prompt_embeds is not None,
            "negative_prompt_embeds": negative_prompt_embeds is not None,
            "sigmas": sigmas is not None,
            "guidance": guiding != self._own_guidance,
            "attention_kwargs": bool(attention_kwargs),
            "a canvas": draft.task == "canvas",
            "a callback": run.meddled,
            "another schedule": schedule is not find_schedule("equal"),
            "another scheduler": self.scheduler is not self._own_scheduler,
        }
        provenance = describe(
            self,
            prompts=per_video(texts, videos, canvas.num_texts),
            negative_prompts=per_video(negatives, videos, canvas.num_texts),
            seeds=seeds,
            by_hand=(
                *self._given_at_loading,
                *(name for name, given in by_hand.items() if given),
                *draft.in_memory,
            ),
            task=draft.task,
            settings=dict(draft.settings),
            height=draft.height,
            width=draft.width,
            num_frames=draft.num_frames,
            frame_rate=float(draft.frame_rate),
            num_inference_steps=steps,
            guidance_scale=float(self.guidance_scale),
            guidance=guiding.kind,
            guidance_interval=guiding.interval,
            interrupted_after=run.steps_done if interrupted else None,
        )
        return KinemaPipelineOutput(
            frames=frames,
            frame_rate=float(draft.frame_rate),
            provenance=provenance,
            warnings=warnings,
            output_type=output_type,
            soundtrack=draft.soundtrack or None,
            exact=draft.exact,
            interrupted=interrupted,
        )


# diffusers looks pipelines up by name among its own: so DiffusionPipeline.from_pretrained loads ours, too.
for _library in (diffusers, diffusers.pipelines):
    setattr(_library, KinemaPipeline.__name__, KinemaPipeline)
