"""Pipelines with random weights, from a configuration; and from the parts that a run has trained."""

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

import kinema

from ..conditioner.captioner import ContrastiveCaptioner
from ..conditioner.tokenizer import train_tokenizer
from ..configs import Config
from ..dit.transformer import KinemaTransformer3DModel
from ..vae.model import AutoencoderKLKinema
from .checkpoint import CheckpointError
from .pipeline import KinemaPipeline


def build_pipeline(config: Config, seed: int | None = None) -> KinemaPipeline:
    """A pipeline with random weights and a tokenizer learned from the configured prompts.

    Args:
        config: sizes of every part.
        seed: of the weights; None: the configuration's. The global generator is left as it was.
    """
    texts = config.conditioner
    tokenizer = train_tokenizer(config.sample.prompts, texts.vocab_size, texts.context_length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed if seed is None else seed)
        vae = AutoencoderKLKinema(**config.vae.model_dump())
        captioner = ContrastiveCaptioner(**texts.model_dump(), tokenizer=tokenizer)
        text_encoder = captioner.text_conditioner()
        transformer = KinemaTransformer3DModel(
            **config.dit.model_dump(),
            in_channels=config.vae.latent_channels,
            cross_attention_dim=text_encoder.hidden_size,
            **sample_shape(config),
        )
    return _pipeline(config, vae, text_encoder, transformer)


def assemble_pipeline(
    config: Config,
    *,
    vae: str | Path,
    text_encoder: str | Path,
    transformer: str | Path,
    dtype: torch.dtype = torch.float32,
) -> KinemaPipeline:
    """A pipeline of trained parts, with the configuration's size, steps and guidance as its defaults.

    Args:
        config: the recipe that trained them.
        vae, text_encoder, transformer: folders that `save_pretrained` wrote.
        dtype: of the weights, but for those that a model keeps in float32.

    Raises:
        CheckpointError: a folder holds no part.
    """
    parts = [load_part(folder, dtype=dtype) for folder in (vae, text_encoder, transformer)]
    return _pipeline(config, *parts)


def load_part(folder: str | Path, **options: Any) -> Any:
    """Load a model of Kinema or diffusers from its own folder, whatever its class.

    Args:
        folder: what the model's `save_pretrained` wrote.
        options: for the model's `from_pretrained`.

    Raises:
        CheckpointError: there is no config.json, or its class is unknown.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no model: it has no config.json; is its training finished?")
    name = json.loads(path.read_text(encoding="utf-8")).get("_class_name", "")
    for library in (kinema, diffusers):
        if isinstance(name, str) and name and hasattr(library, name):
            return getattr(library, name).from_pretrained(str(folder), **options)
    raise CheckpointError(f"{path} names the class {name!r}, which neither kinema nor diffusers has")


def sample_shape(config: Config) -> dict[str, Any]:
    """What the transformer remembers of the clips it is trained on."""
    return {
        "sample_height": config.data.height,
        "sample_width": config.data.width,
        "sample_frames": config.data.num_frames,
        "sample_fps": config.data.fps,
        "sample_temporal_stride": config.vae.temporal_stride,
    }


def _pipeline(config: Config, vae: Any, text_encoder: Any, transformer: Any) -> KinemaPipeline:
    for part in (vae, text_encoder, transformer):
        part.eval()
    return KinemaPipeline(
        vae=vae,
        text_encoder=text_encoder,
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=config.flow.shift),
        default_height=config.data.height,
        default_width=config.data.width,
        default_num_frames=config.data.num_frames,
        default_frame_rate=config.data.fps,
        default_num_inference_steps=config.sample.num_inference_steps,
        default_guidance_scale=config.sample.guidance_scale,
        default_guidance=config.sample.guidance,
        default_guidance_lowest=config.sample.guidance_interval[0],
        default_guidance_highest=config.sample.guidance_interval[1],
        default_stream_window=config.sample.stream_window,
        default_context_noise=config.sample.context_noise,
    )
