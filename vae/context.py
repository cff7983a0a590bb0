"""Known frames without a past of their own: how a suffix and a single picture become latents.

The autoencoder is causal, so a clip's end or a picture in its middle is encoded as if something had come before
it. Training shows the denoiser context made by these same functions (`flow.plans`), so that it meets nothing new
when the pipeline extends a clip backwards, connects two, or fills in between pictures.
"""

from dataclasses import dataclass

import torch

from .latents import encode_latents, temporal_stride

SUFFIX_REPEATS = 0  # for our autoencoder the error is the same from 0 to 4 (`python bench/context.py`)


@torch.no_grad()
def encode_suffix(vae: torch.nn.Module, pixels: torch.Tensor, repeats: int = SUFFIX_REPEATS) -> torch.Tensor:
    """Encode whole groups of frames that some frames to be made come before.

    A made-up past is encoded with them and dropped: the first frame once, as the clip's image latent, then
    `repeats` groups of it.

    Args:
        vae: any autoencoder that `encode_latents` takes.
        pixels: (B, 3, m · stride, H, W) in [-1, 1].
        repeats: groups of the first frame before the given ones.

    Returns:
        Normalised latents (B, C, m, h, w).

    Raises:
        ValueError: frames that do not fill their groups.
    """
    stride = temporal_stride(vae)
    if pixels.shape[2] % stride or not pixels.shape[2]:
        raise ValueError(
            f"the suffix has {pixels.shape[2]} frames; it needs whole groups of {stride}, the autoencoder's stride"
        )
    past = pixels[:, :, :1].expand(-1, -1, 1 + repeats * stride, -1, -1)
    return encode_latents(vae, torch.cat([past, pixels], dim=2))[:, :, 1 + repeats :]


@torch.no_grad()
def encode_still(vae: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    """The latent of a group that is one picture throughout: a keyframe fills its latent by repetition.

    Args:
        vae: any autoencoder that `encode_latents` takes.
        image: (B, 3, 1, H, W) in [-1, 1].

    Returns:
        Normalised latents (B, C, 1, h, w).
    """
    return encode_latents(vae, image.expand(-1, -1, 1 + temporal_stride(vae), -1, -1))[:, :, 1:]


STILLS_PER_CLIP = 2


@dataclass(frozen=True)
class Contexts:
    """Of one clip: context for training, in latents of the clip's own shape (C, F, h, w).

    Attributes:
        suffix: from frame `suffix_start` on, the clip's end encoded as a suffix; before, its own latents.
        suffix_start: in [1, F).
        stills: at `still_frames`, one pixel frame of that latent frame encoded as a still; elsewhere its own.
        still_frames: of [1, F), in order.
    """

    suffix: torch.Tensor
    suffix_start: int
    stills: torch.Tensor
    still_frames: tuple[int, ...]


@torch.no_grad()
def encode_contexts(
    vae: torch.nn.Module, pixels: torch.Tensor, latents: torch.Tensor, seed: int
) -> Contexts | None:
    """Encode parts of a clip as the pipeline encodes context.

    Args:
        vae: any autoencoder that `encode_latents` takes.
        pixels: (3, T, H, W) in [-1, 1].
        latents: (C, F, h, w), those of the clip.
        seed: decides which parts.

    Returns:
        None for a clip of one latent frame, which has no parts.
    """
    stride, frames = temporal_stride(vae), latents.shape[1]
    if frames < 2:
        return None
    generator = torch.Generator().manual_seed(seed)
    start = int(torch.randint(1, frames, (), generator=generator))
    suffix = latents.clone()
    suffix[:, start:] = encode_suffix(vae, pixels[None, :, 1 + (start - 1) * stride :])[0]
    chosen = (1 + torch.randperm(frames - 1, generator=generator)[:STILLS_PER_CLIP]).sort().values
    within = torch.randint(0, stride, (len(chosen),), generator=generator)
    pictures = pixels[:, 1 + (chosen - 1) * stride + within].movedim(1, 0)[:, :, None]  # (K, 3, 1, H, W)
    stills = latents.clone()
    stills[:, chosen] = encode_still(vae, pictures)[:, :, 0].movedim(0, 1)
    return Contexts(suffix, start, stills, tuple(chosen.tolist()))
