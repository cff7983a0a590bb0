"""`pipe.stream`: one video, block by block as it is made, at any length in constant memory.

    for frames in pipe.stream("a red ball rolls to the left", seconds=60):
        show(frames)  # the first after one block's steps, long before the last

The blocks come from a `Rollout`; the autoencoder decodes them with a cache of its own, so there is no seam.
"""

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from diffusers.guiders.guider_utils import BaseGuidance

from ..data.video_io import write_video
from ..vae.latents import decode_latents_stream
from .composite import put_back
from .conform import Fit
from .draft import Encoder
from .guidance import Guidance, guidance_of_call
from .inputs import check_encoder, check_numbers, check_output_type, first_given
from .output import as_output_type
from .provenance import Provenance, describe
from .rollout import Rollout
from .seeds import Seeds, known_seeds, per_video_generators
from .storyboard import Span
from .stream_plan import StreamPlan, blocks_seen, plan_stream
from .text import TextBatch, text_warnings
from .wishes import Wishes

if TYPE_CHECKING:
    from .pipeline import KinemaPipeline

logger = logging.getLogger(__name__)

DEFAULT_CONTEXT_NOISE = 0.1  # for checkpoints that do not say; measured by bench/drift.py


class VideoStream:
    """An iterator over the chunks of one video, made as they are asked for. `pipe.stream` returns it.

    A chunk is (t, H, W, 3), or what `output_type` makes of it: given frames first, then each block as it is made.
    The first block begins with one frame for its first latent frame; every further latent frame makes `stride`.

    Attributes:
        frame_rate: frames per second.
        height, width: pixels.
        num_frames: of the whole video; None: it has no end.
        warnings: what the caller should know; grows when a later prompt has unknown words.
        provenance: how it is made, as known at the beginning; `num_frames` is 0 for a stream without end.
        on_step: called before each denoising step; what it raises ends the stream.
    """

    def __init__(
        self,
        pipe: "KinemaPipeline",
        rollout: Rollout,
        plan: StreamPlan,
        negative_prompt: str = "",
        output_type: str = "np",
        warnings: Sequence[str] = (),
        provenance: Provenance | None = None,
    ):
        self._pipe, self._rollout, self._plan = pipe, rollout, plan
        self._negative_prompt, self._output_type = negative_prompt, output_type
        self._spans = plan.spans
        self._encoded: tuple[str, TextBatch] | None = None
        self._chunks = self._make()
        self._running = self._closed = False
        self.on_step: Callable[[], None] = lambda: None
        rollout.interrupted = self._is_ended
        self.frame_rate, self.height, self.width = plan.frame_rate, plan.height, plan.width
        self.num_frames = plan.num_frames
        self.provenance = provenance
        self.warnings: list[str] = []
        self._warn(warnings)

    @property
    def prompt(self) -> str:
        """The text that the next block follows. Set it while the stream runs: later blocks follow the new one.

        A text that is set takes the place of the storyboard's remaining ones.
        """
        return self._span_at(self._rollout.num_frames).text

    @prompt.setter
    def prompt(self, text: str) -> None:
        if not isinstance(text, str):
            raise ValueError(f"prompt is {text!r}; it needs a string")
        self._warn(text_warnings(self._pipe.text_encoder, [text]))
        if self.provenance is not None and text != self.prompt:
            told = "a prompt that changed while it ran"
            self.provenance = replace(self.provenance, by_hand=(*self.provenance.by_hand, told))
        self._spans = (Span(0.0, text),)

    def __iter__(self) -> Iterator[Any]:
        return self

    @torch.no_grad()
    def __next__(self) -> Any:
        self._running = True
        try:
            return next(self._chunks)
        finally:
            self._running = False

    def __enter__(self) -> "VideoStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop, within one step if called while a chunk is being made (from another thread), and free memory."""
        self._closed = True
        if not self._running:
            self._chunks.close()

    def save(self, path: str | Path, crf: float = 18, on_frame: Callable[[], Any] | None = None) -> Path:
        """Write what is still to come to a file while it is made; memory stays constant.

        The file is finished when the stream ends, also early: by `close` or `pipe._interrupt = True` from another
        thread or a signal handler. What the file says of itself was written first: the length asked for, and the
        prompt at this time.

        Args:
            path: ends in .mp4, .m4v, .mov or .mkv.
            crf: quality, see `kinema.data.video_io.write_video`.
            on_frame: called after each frame, such as the `update` of a progress bar.
        """
        metadata = {} if self.provenance is None else self.provenance.to_metadata()

        def frames() -> Iterator[np.ndarray]:
            for frame in self._frames():
                yield frame
                if on_frame is not None:
                    on_frame()

        return write_video(path, frames(), self.frame_rate, metadata=metadata, crf=crf)

    def _frames(self) -> Iterator[np.ndarray]:
        """The frames one by one, uint8 (H, W, 3)."""
        if self._output_type == "latent":
            raise ValueError('this stream gives latents (output_type="latent"); start it with "np" to save it')
        for chunk in self:
            if self._output_type == "pil":
                yield from (np.asarray(picture) for picture in chunk)
                continue
            array = chunk if self._output_type == "np" else chunk.movedim(1, -1).cpu().numpy()
            yield from (array * 255).round().astype(np.uint8)

    def _is_ended(self) -> bool:
        """Asked before each step."""
        self.on_step()
        return self._closed or self._pipe.interrupt

    def _warn(self, warnings: Sequence[str]) -> None:
        for warning in warnings:
            if warning not in self.warnings:
                logger.warning(warning)
                self.warnings.append(warning)

    def _make(self) -> Generator[Any, None, None]:
        """Chunks in the output type; ends with the video, or when interrupted."""
        plan, pipe = self._plan, self._pipe
        try:
            if self._output_type == "latent":
                yield from (latents[0] for latents in self._latents())
                return
            if plan.given is not None:
                yield self._output(plan.given)
            for frames in self._new_frames():
                yield self._output(frames)
        finally:
            self._rollout.reset()
            self._encoded = None
            pipe.maybe_free_model_hooks()

    def _output(self, frames: torch.Tensor) -> Any:
        return as_output_type(frames[None], self._output_type)[0]

    def _new_frames(self) -> Iterator[torch.Tensor]:
        """Decoded frames (t, 3, H, W) in [0, 1] after the given ones, which fade into them."""
        plan, seen, last = self._plan, 0, None
        for pixels in decode_latents_stream(self._pipe.vae, self._latents()):
            frames = (pixels[0] * 0.5 + 0.5).clamp(0, 1).transpose(0, 1)  # (t, 3, H, W)
            past = min(max(plan.context_frames - seen, 0), len(frames))
            seen += len(frames)
            if past:
                last, frames = frames[past - 1 : past], frames[past:]
            if not len(frames):
                continue
            if last is not None and plan.given is not None:
                before = plan.given[-1 - plan.stride :].to(frames)  # enough to know how large its own steps are
                made = torch.cat([before[:-1], last, frames])[None]
                given, keep = torch.zeros_like(made), torch.zeros_like(made[:, :, :1], dtype=torch.bool)
                given[:, : len(before)], keep[:, : len(before)] = before, True
                frames, last = put_back(made, given, keep, plan.stride)[0, len(before) :], None
            yield frames

    def _latents(self) -> Iterator[torch.Tensor]:
        """Blocks of normalised latents (1, C, f, h, w): those of the given frames, then those made."""
        plan, rollout = self._plan, self._rollout
        encode = Encoder(self._pipe.vae, self._pipe._execution_device)
        given = None
        if plan.given is not None:
            given = encode.clip(plan.given[None, -plan.context_frames :])
        while plan.latent_frames is None or rollout.num_frames < plan.latent_frames:
            if rollout.interrupted():
                return
            first = rollout.num_frames
            left = rollout.cache.frames_per_block if plan.latent_frames is None else plan.latent_frames - first
            frames = min(rollout.cache.frames_per_block, left)
            shape = (1, self._pipe.transformer.config.in_channels, frames, *rollout.cells)
            latents, known = torch.zeros(shape), torch.zeros(frames, dtype=torch.bool)
            if given is not None and first < given.shape[2]:
                part = given[:, :, first : first + frames].cpu()
                latents[:, :, : part.shape[2]], known[: part.shape[2]] = part, True
            for number in range(frames):
                picture = self._picture_at(first + number)
                if picture is not None and not known[number]:
                    latents[:, :, number], known[number] = encode.still(picture[None])[:, :, 0].cpu(), True
            block = rollout.next_block(self._text_at(first), frames, latents, known)
            if block is None:
                return
            yield block

    def _span_at(self, latent: int) -> Span:
        time = self._plan.time_of(latent)
        return [span for span in self._spans if span.start <= time][-1]

    def _picture_at(self, latent: int) -> torch.Tensor | None:
        """The picture (1, 3, H, W) of a span that begins with this latent frame."""
        span = self._span_at(latent)
        begins = latent > 0 and self._span_at(latent - 1) is not span
        return span.picture if begins else None

    def _text_at(self, latent: int) -> TextBatch:
        """What the block that begins with a latent frame follows, encoded once while it stays the same."""
        text = self._span_at(latent).text
        if self._encoded is None or self._encoded[0] != text:
            encoded = self._pipe.encode_prompt(text, self._negative_prompt, self._rollout.guided)
            self._encoded = text, TextBatch(*encoded)
        return self._encoded[1]


def stream(
    pipe: "KinemaPipeline",
    prompt: str | Sequence[Any],
    *,
    seconds: float | None = None,
    height: int | None = None,
    width: int | None = None,
    frame_rate: float | None = None,
    num_inference_steps: int | None = None,
    sigmas: Sequence[float] | None = None,
    guidance_scale: float | None = None,
    guidance: Guidance | BaseGuidance | None = None,
    negative_prompt: str | None = None,
    generator: Seeds = None,
    window: int | None = None,
    context_noise: float | None = None,
    frames_per_block: int = 1,
    image: Any = None,
    video: Any = None,
    fit: Fit = "cover",
    output_type: Literal["np", "pt", "pil", "latent"] = "np",
    attention_kwargs: dict[str, Any] | None = None,
) -> VideoStream:
    """Make one video block by block, and hand out each as soon as it is made. Memory is constant at any length.

    It is stopped by `close`, or by `pipe._interrupt = True`, within one step.

    Args:
        prompt: a text, or a storyboard [(start in seconds, text) or (start, text, picture)]; a picture fills its
            text's first latent frame. `VideoStream.prompt` changes the text on the way.
        seconds: time of the last frame, the first being at 0; None: it goes on until it is stopped.
        height, width, frame_rate, num_inference_steps, sigmas, guidance_scale, guidance: see the pipeline's call.
        negative_prompt: what to keep out.
        generator: seed; the same gives the same video.
        window: blocks that a block sees, its own included; None: the checkpoint's own.
        context_noise: noise level in [0, 1] at which finished blocks are seen; None: the checkpoint's own.
        frames_per_block: latent frames that are made together.
        image, video: what comes first; the stream goes on from there. Times count from its beginning.
        fit: how given frames of another shape are fitted: "cover", "contain" or "stretch".
        output_type: of the chunks: "np", float (t, H, W, 3) in [0, 1]; "pt", (t, 3, H, W); "pil", a list;
            "latent", normalised latents (C, f, h, w), those of given frames included.
        attention_kwargs: for the transformer.

    Returns:
        A `VideoStream`; nothing is made before its first chunk is asked for.

    Raises:
        ValueError: inputs that do not fit, named with the nearest that do.
        TypeError: an autoencoder that cannot decode a stream.
    """
    own: Any = pipe.config
    steps = (
        len(sigmas) if sigmas is not None else first_given(num_inference_steps, own.default_num_inference_steps)
    )
    noise = first_given(context_noise, own.default_context_noise, DEFAULT_CONTEXT_NOISE)
    guiding, scale = guidance_of_call(guidance, guidance_scale, pipe._own_guidance, own.default_guidance_scale)

    # 1. Check inputs, read what is given
    wishes = Wishes.of(pipe, height, width, None, frame_rate)
    check_numbers(first_given(frame_rate, wishes.defaults[2]), steps, 1)
    check_output_type(output_type)
    check_encoder(pipe.text_encoder, True)
    _check_parts(pipe, output_type)
    if not 0 <= noise <= 1:
        raise ValueError(f"context_noise is {noise}; it needs a noise level from 0 to 1, such as 0.1")
    blocks = blocks_seen(
        window, own.default_stream_window or wishes.window, frames_per_block, wishes.grid.patch[0]
    )
    plan = plan_stream(
        wishes, prompt, seconds=seconds, image=image, video=video, fit=fit,
        longest_context=blocks * frames_per_block,
    )  # fmt: skip
    texts, generators = [span.text for span in plan.spans], per_video_generators(generator, 1)
    warnings = [*text_warnings(pipe.text_encoder, texts), *plan.notes]
    if negative_prompt and not guiding.is_on(scale):
        warnings.append(f"guidance_scale {scale} ignores negative_prompt; raise it above 1")

    # 2. How it is made, before any noise is drawn
    by_hand = {
        "sigmas": sigmas is not None,
        "guidance": guiding != pipe._own_guidance,
        "attention_kwargs": bool(attention_kwargs),
        "another scheduler": pipe.scheduler is not pipe._own_scheduler,
    }
    context = {"window": blocks, "context_noise": noise, "frames_per_block": frames_per_block}
    provenance = describe(
        pipe,
        prompts=[" | ".join(texts)],
        negative_prompts=[negative_prompt or ""],
        seeds=known_seeds(generators),
        by_hand=(*pipe._given_at_loading, *(name for name, given in by_hand.items() if given), *plan.in_memory),
        task="stream",
        settings={**plan.settings, **context},
        height=plan.height,
        width=plan.width,
        num_frames=plan.num_frames or 0,
        frame_rate=plan.frame_rate,
        num_inference_steps=steps,
        guidance_scale=float(scale),
        guidance=guiding.kind,
        guidance_interval=guiding.interval,
    )[0]

    # 3. The stream; its blocks are made when they are asked for
    pipe._interrupt, pipe._guidance, pipe._guidance_scale, pipe._num_timesteps = False, guiding, scale, steps
    rollout = Rollout(
        pipe,
        (plan.height // wishes.grid.spatial, plan.width // wishes.grid.spatial),
        plan.frame_rate,
        generators,
        num_inference_steps=steps,
        guidance_scale=scale,
        guidance=guiding,
        **context,
        sigmas=sigmas,
        attention_kwargs=attention_kwargs,
    )
    return VideoStream(pipe, rollout, plan, negative_prompt or "", output_type, warnings, provenance)


def _check_parts(pipe: "KinemaPipeline", output_type: str) -> None:
    """Raise an error unless the pipeline's parts can stream."""
    if output_type != "latent" and not hasattr(pipe.vae, "decode_stream"):
        raise TypeError(
            f"{type(pipe.vae).__name__} cannot decode a stream; use pipe(…) or pipe.extend(…), which decode whole "
            'clips, an AutoencoderKLKinema, or output_type="latent"'
        )
    if getattr(pipe.transformer, "is_cache_enabled", False):
        raise ValueError(
            "the transformer skips work by a step cache, and a stream needs all of it for the cache of its own; "
            "call pipe.transformer.disable_cache() first"
        )
