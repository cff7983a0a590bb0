"""What `KinemaTransformer3DModel.forward` accepts; everything else is refused before any work."""

from collections.abc import Mapping
from typing import Any

import torch

from .cache import KVCache


def check_inputs(
    config: Mapping[str, Any],
    gradient_checkpointing: bool,
    hidden_states: torch.Tensor,
    timestep: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    encoder_attention_mask: torch.Tensor | None,
    frame_times: torch.Tensor | None,
    frame_control: torch.Tensor | None,
    frames_per_block: int | None,
    window: int | None,
    kv_cache: KVCache | None,
) -> tuple[int, int, int, int, int]:
    """Raise a ValueError that says what does not fit; return B, C, F, H, W."""
    if hidden_states.ndim != 5 or hidden_states.shape[1] != config["in_channels"]:
        raise ValueError(
            f"hidden_states has shape {tuple(hidden_states.shape)}; it needs (B, {config['in_channels']}, F, H, W)"
        )
    batch, channels, frames, height, width = hidden_states.shape
    for name, size, patch in zip(("F", "H", "W"), (frames, height, width), config["patch_size"]):
        if size == 0 or size % patch:
            raise ValueError(
                f"hidden_states has {name} = {size}; it needs a positive multiple of {patch} "
                f"(patch_size is {tuple(config['patch_size'])})"
            )
    if tuple(timestep.shape) not in ((batch,), (batch, frames)):
        raise ValueError(
            f"timestep has shape {tuple(timestep.shape)}; it needs ({batch},) or ({batch}, {frames}): "
            "1000 · σ per clip or per latent frame"
        )
    text = encoder_hidden_states
    if text.ndim != 3 or text.shape[0] != batch or text.shape[2] != config["cross_attention_dim"]:
        raise ValueError(
            f"encoder_hidden_states has shape {tuple(text.shape)}; it needs "
            f"({batch}, L, {config['cross_attention_dim']})"
        )
    mask, length = encoder_attention_mask, text.shape[1]
    if mask is not None:
        if tuple(mask.shape) not in ((batch, length), (batch, frames, length)):
            raise ValueError(
                f"encoder_attention_mask has shape {tuple(mask.shape)}; it needs ({batch}, {length}) or "
                f"({batch}, {frames}, {length})"
            )
        if mask.dtype != torch.bool:
            raise ValueError(f"encoder_attention_mask is {mask.dtype}; it needs torch.bool, True where text is")
    if frame_times is not None and tuple(frame_times.shape) not in ((batch, frames), (1, frames)):
        raise ValueError(
            f"frame_times has shape {tuple(frame_times.shape)}; it needs ({batch}, {frames}) or (1, {frames})"
        )
    if frame_control is not None:
        if not config["control_dim"]:
            raise ValueError("frame_control was given to a model with control_dim = 0, which has no control")
        if tuple(frame_control.shape) != (batch, frames, config["control_dim"]):
            raise ValueError(
                f"frame_control has shape {tuple(frame_control.shape)}; it needs "
                f"({batch}, {frames}, {config['control_dim']})"
            )
    if kv_cache is not None:
        for name, given, held in (
            ("frames_per_block", frames_per_block, kv_cache.frames_per_block),
            ("window", window, kv_cache.window),
        ):
            if given is not None and given != held:
                raise ValueError(f"{name} is {given}, the cache has {held}; leave it out or make a new KVCache")
        if kv_cache.is_recording and gradient_checkpointing and torch.is_grad_enabled():
            raise ValueError(
                "kv_cache.recording() under gradient checkpointing would record every frame twice; "
                "record under torch.no_grad(), or call disable_gradient_checkpointing()"
            )
    elif window is not None and frames_per_block is None:
        raise ValueError(f"window is {window} blocks but frames_per_block is not given; give both")
    for name, value in (("frames_per_block", frames_per_block), ("window", window)):
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; it needs at least 1, or None")
    frames_per_block = kv_cache.frames_per_block if kv_cache is not None else frames_per_block
    if frames_per_block is not None and frames_per_block % config["patch_size"][0]:
        raise ValueError(
            f"frames_per_block is {frames_per_block}; it needs a multiple of {config['patch_size'][0]}, the "
            "latent frames that one token covers (patch_size[0])"
        )
    return batch, channels, frames, height, width
