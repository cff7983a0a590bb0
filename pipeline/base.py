"""What a pipeline is before it is called: parts and defaults, loading and saving, and what callbacks see."""

from pathlib import Path
from typing import Any, Self

import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx import AutoencoderKLLTXVideo
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.video_processor import VideoProcessor

from ..conditioner.joined import JoinedConditioner
from ..conditioner.open_clip_text import OpenCLIPConditioner
from ..conditioner.transformers_text import TransformersConditioner
from ..dit.transformer import KinemaTransformer3DModel
from ..vae.model import AutoencoderKLKinema
from ..vae.preview import has_preview
from .checkpoint import find_checkpoint
from .grid import Grid
from .guidance import Guidance, GuiderGuidance
from .inputs import check_parts
from .lora import KinemaLoraLoaderMixin
from .text import encode_batch

_HUB_ARGUMENTS = ("revision", "token", "cache_dir", "local_files_only", "force_download")

_LOADER = '"""Lets diffusers load this checkpoint; it needs Kinema to be installed."""\n\n'
_LOADER += "from kinema import KinemaPipeline  # noqa: F401\n"


class PipelineBase(DiffusionPipeline, KinemaLoraLoaderMixin):
    """`KinemaPipeline` without its calls; its arguments are described there."""

    model_cpu_offload_seq = "text_encoder->transformer->vae"
    _guidance: Guidance | GuiderGuidance = Guidance()  # of the call under way

    vae: Any
    text_encoder: Any
    transformer: Any
    scheduler: Any

    def __init__(
        self,
        vae: AutoencoderKLKinema | AutoencoderKLWan | AutoencoderKLLTXVideo,
        text_encoder: OpenCLIPConditioner | TransformersConditioner | JoinedConditioner,
        transformer: KinemaTransformer3DModel,
        scheduler: SchedulerMixin,
        default_height: int | None = None,
        default_width: int | None = None,
        default_num_frames: int | None = None,
        default_frame_rate: float | None = None,
        default_num_inference_steps: int | None = None,
        default_guidance_scale: float | None = None,
        default_guidance: str = "cfg",
        default_guidance_lowest: float = 0.0,
        default_guidance_highest: float = 1.0,
        default_stream_window: int | None = None,
        default_context_noise: float | None = None,
    ):
        super().__init__()
        self.register_modules(vae=vae, text_encoder=text_encoder, transformer=transformer, scheduler=scheduler)
        trained = transformer.config if transformer is not None else {}
        self.register_to_config(
            default_height=default_height or trained.get("sample_height"),
            default_width=default_width or trained.get("sample_width"),
            default_num_frames=default_num_frames or trained.get("sample_frames"),
            default_frame_rate=default_frame_rate or trained.get("sample_fps"),
            default_num_inference_steps=default_num_inference_steps or 30,
            default_guidance_scale=4.0 if default_guidance_scale is None else default_guidance_scale,
            default_guidance=default_guidance,
            default_guidance_lowest=default_guidance_lowest,
            default_guidance_highest=default_guidance_highest,
            default_stream_window=default_stream_window,
            default_context_noise=default_context_noise,
        )
        check_parts(vae, text_encoder, transformer)
        self._own_scheduler = scheduler
        self._given_at_loading: tuple[str, ...] = ()
        self.video_processor = VideoProcessor()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path | None = None, **kwargs: Any) -> Self:
        """Load a saved pipeline.

        Args:
            pretrained_model_name_or_path: a folder, a hub id, or None for the packaged checkpoint.
            kwargs: those of `DiffusionPipeline.from_pretrained`: dtype, components to use instead of the
                saved ones, revision, token, cache_dir …

        Raises:
            CheckpointError: it is missing, incomplete or of another pipeline.
        """
        download = {key: kwargs.pop(key) for key in _HUB_ARGUMENTS if key in kwargs}
        folder = find_checkpoint(pretrained_model_name_or_path, given=kwargs, **download)
        pipe = super().from_pretrained(str(folder), **kwargs)
        name = pretrained_model_name_or_path
        pipe.register_to_config(_name_or_path="default" if name is None else str(name))
        pipe._given_at_loading = tuple(f"another {part}" for part in kwargs if part in pipe.components)
        pipe._given_at_loading += tuple(f"{key} {download[key]}" for key in ("revision",) if download.get(key))
        return pipe

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Save as diffusers does, with the code by which its own `DiffusionPipeline` finds this class.

        A process that has not imported Kinema then loads it by `DiffusionPipeline.from_pretrained(folder,
        custom_pipeline=folder, trust_remote_code=True)`.
        """
        Path(save_directory).mkdir(parents=True, exist_ok=True)
        (Path(save_directory) / "pipeline.py").write_text(_LOADER, encoding="utf-8")
        super().save_pretrained(save_directory, *args, **kwargs)

    @property
    def grid(self) -> Grid:
        """The sizes and lengths this pipeline can make."""
        return Grid.of(self.vae, self.transformer)

    @property
    def _own_guidance(self) -> Guidance:
        own: Any = self.config
        return Guidance(own.default_guidance, (own.default_guidance_lowest, own.default_guidance_highest))

    @property
    def _callback_tensor_inputs(self) -> list[str]:
        """What a callback may ask for; previews where the autoencoder has a map of them."""
        names = ["latents", "prompt_embeds", "negative_prompt_embeds"]
        return [*names, "previews"] if self.vae is not None and has_preview(self.vae) else names

    @property
    def guidance_scale(self) -> float:
        """Strength of guidance; 1 or less switches it off. Callbacks may change `_guidance_scale` midway."""
        return self._guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether guidance is on."""
        return self._guidance.is_on(self._guidance_scale)

    @property
    def num_timesteps(self) -> int:
        """Model evaluations of the call."""
        return self._num_timesteps

    @property
    def current_timestep(self) -> torch.Tensor | None:
        """1000 · σ of the step under way, the highest over the frames."""
        return self._current_timestep

    @property
    def attention_kwargs(self) -> dict[str, Any] | None:
        """What the call gave the transformer's attention."""
        return self._attention_kwargs

    @property
    def interrupt(self) -> bool:
        """Set `_interrupt = True` (from a callback or another thread) to stop before the next step.

        The call then returns what the last finished step would have ended in, decoded as ever, and its output
        says `interrupted`. To be spared the decoding, call with output_type="latent".
        """
        return self._interrupt

    def encode_prompt(
        self,
        prompt: str | list[str] | None = None,
        negative_prompt: str | list[str] | None = None,
        do_classifier_free_guidance: bool = True,
        num_videos_per_prompt: int = 1,
        prompt_embeds: torch.Tensor | None = None,
        prompt_attention_mask: torch.Tensor | None = None,
        negative_prompt_embeds: torch.Tensor | None = None,
        negative_prompt_attention_mask: torch.Tensor | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Encode prompts, unless their embeddings are given.

        Returns:
            prompt_embeds (B, L, D), prompt_attention_mask (B, L) bool, and the same of the negative prompts
            (None without guidance), B = prompts · num_videos_per_prompt, a prompt's videos side by side.
        """
        batch = encode_batch(
            self.text_encoder, prompt, negative_prompt, do_classifier_free_guidance, prompt_embeds,
            prompt_attention_mask, negative_prompt_embeds, negative_prompt_attention_mask,
        )  # fmt: skip
        batch = batch.to(device or self._execution_device, dtype).repeated(num_videos_per_prompt)
        # By these names diffusers' tools hand them on to `__call__`.
        prompt_embeds, prompt_attention_mask, negative_prompt_embeds, negative_prompt_attention_mask = batch
        return prompt_embeds, prompt_attention_mask, negative_prompt_embeds, negative_prompt_attention_mask
