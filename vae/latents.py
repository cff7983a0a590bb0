"""Pixels to normalised latents and back, for our autoencoder and for diffusers' Wan and LTX ones.

A denoiser sees (z - mean) / std only. Each family keeps those statistics, its strides and its decoder's extra
arguments elsewhere; this module is the one place that knows.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch


def temporal_stride(vae: Any) -> int:
    """Pixel frames per latent frame."""
    stride = getattr(vae, "temporal_compression_ratio", None) or getattr(vae.config, "scale_factor_temporal", None)
    return int(_known(vae, stride, "temporal_compression_ratio"))


def spatial_stride(vae: Any) -> int:
    """Pixels per latent cell side."""
    return int(_known(vae, getattr(vae, "spatial_compression_ratio", None), "spatial_compression_ratio"))


def latent_channels(vae: Any) -> int:
    """Channels of a latent."""
    channels = getattr(vae.config, "latent_channels", None) or getattr(vae.config, "z_dim", None)
    return int(_known(vae, channels, "config.latent_channels"))


def num_latent_frames(num_frames: int, stride: int) -> int:
    """Latent frames of a clip: F for T = 1 + (F-1)·stride.

    Raises:
        ValueError: a frame count that no latent frames cover exactly.
    """
    groups, rest = divmod(num_frames - 1, stride)
    if num_frames < 1 or rest:
        below = max(1, 1 + groups * stride)
        raise ValueError(
            f"the clip has {num_frames} frames; the autoencoder's temporal stride {stride} needs 1 + k·{stride} "
            f"frames, such as {below} or {below + stride}"
        )
    return groups + 1


def num_pixel_frames(latent_frames: int, stride: int) -> int:
    """Pixel frames that so many latent frames decode to: 1 + (F-1)·stride."""
    return 1 + (latent_frames - 1) * stride


def latent_frame_times(num_latent_frames: int, fps: float | torch.Tensor, temporal_stride: int) -> torch.Tensor:
    """The mid-time in seconds of the pixel frames that each latent frame covers, float32.

    Pixel frame k is at k / fps. Latent 0 covers pixel 0, latent f ≥ 1 pixels 1 + (f-1)·stride … f·stride.

    Args:
        fps: a number, or one a clip (B,).

    Returns:
        (F,), or (B, F).
    """
    index = torch.arange(num_latent_frames, dtype=torch.float32)
    middle = (index * temporal_stride - (temporal_stride - 1) / 2).clamp(min=0)  # in pixel frames
    if isinstance(fps, torch.Tensor) and fps.ndim:
        return middle.to(fps.device) / fps.to(torch.float32)[:, None]
    return middle / float(fps)


def normalize_latents(vae: Any, z: torch.Tensor) -> torch.Tensor:
    """(z - mean) / std by channel, in float32; z is (B, C, F, h, w)."""
    mean, std = _statistics(vae, z)
    return (z.float() - mean) / std


def denormalize_latents(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """The inverse of `normalize_latents`, in float32."""
    mean, std = _statistics(vae, latents)
    return latents.float() * std + mean


def encode_latents(
    vae: Any, pixels: torch.Tensor, generator: torch.Generator | None = None, sample: bool = False
) -> torch.Tensor:
    """Encode clips to normalised latents.

    Args:
        vae: AutoencoderKLKinema, AutoencoderKLWan or AutoencoderKLLTXVideo.
        pixels: (B, 3, T, H, W) in [-1, 1].
        generator: of the posterior's sample.
        sample: sample the posterior instead of taking its mean.

    Returns:
        float32 (B, C, F, h, w), about zero mean and unit variance.

    Raises:
        ValueError: a shape that does not fit the strides.
    """
    num_latent_frames(pixels.shape[2], temporal_stride(vae))
    stride = spatial_stride(vae)
    if pixels.shape[3] % stride or pixels.shape[4] % stride:
        raise ValueError(
            f"frames are {pixels.shape[3]} × {pixels.shape[4]} pixels (height × width); the autoencoder's "
            f"spatial stride needs multiples of {stride}: crop or resize them first"
        )
    posterior = vae.encode(pixels.to(vae.dtype), return_dict=False)[0]
    return normalize_latents(vae, posterior.sample(generator) if sample else posterior.mode())


def decode_latents(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Decode normalised latents (B, C, F, h, w) to float32 pixels (B, 3, T, H, W), clipped to [-1, 1]."""
    z = denormalize_latents(vae, latents).to(vae.dtype)
    extra = {}
    if getattr(vae.config, "timestep_conditioning", False):  # LTX from 0.9.1 on: the decoder removes noise too
        extra["temb"] = torch.zeros(z.shape[0], device=z.device, dtype=z.dtype)
    return vae.decode(z, return_dict=False, **extra)[0].float().clamp(-1, 1)


def decode_latents_stream(vae: Any, chunks: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Decode a clip chunk by chunk in constant memory.

    Args:
        vae: AutoencoderKLKinema.
        chunks: normalised latents (B, C, f, h, w) in order.

    Yields:
        float32 pixels of each chunk, clipped to [-1, 1]; together they equal `decode_latents` of the whole.

    Raises:
        TypeError: an autoencoder that cannot stream.
    """
    if not hasattr(vae, "decode_stream"):
        raise TypeError(
            f"{type(vae).__name__} cannot decode a stream; use decode_latents on the whole clip, or an "
            "AutoencoderKLKinema"
        )
    normal = (denormalize_latents(vae, chunk).to(vae.dtype) for chunk in chunks)
    return (part.float().clamp(-1, 1) for part in vae.decode_stream(normal))


def _statistics(vae: Any, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation, float32 (1, C, 1, 1, 1) on the latents' device; LTX keeps them as buffers."""
    values = []
    for name, default in (("latents_mean", 0.0), ("latents_std", 1.0)):
        value = getattr(vae.config, name, None)
        if value is None:
            value = vae.__dict__.get("_buffers", {}).get(name)
        if value is None:
            value = [default] * like.shape[1]
        value = torch.as_tensor(value, dtype=torch.float32, device=like.device)
        if len(value) != like.shape[1]:
            raise ValueError(
                f"{type(vae).__name__} has {len(value)} values of {name} for {like.shape[1]} latent channels; "
                "they must be as many: correct its config.json"
            )
        values.append(value.view(1, -1, 1, 1, 1))
    mean, std = values
    return mean, std / float(getattr(vae.config, "scaling_factor", None) or 1.0)


def _known(vae: Any, value: int | None, name: str) -> int:
    if not value:
        raise TypeError(
            f"{type(vae).__name__} has no {name}; Kinema works with AutoencoderKLKinema, AutoencoderKLWan and "
            "AutoencoderKLLTXVideo"
        )
    return value
