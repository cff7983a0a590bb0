"""Between stored frames (uint8, 0 to 255) and the models' pixels (float, -1 to 1)."""

import numpy as np
import torch
from einops import rearrange


def to_pixels(frames: np.ndarray | torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Stored frames as model pixels.

    Args:
        frames: uint8; a (…, T, H, W, 3) array as in files, or a (…, 3, T, H, W) tensor as in datasets.
        dtype: floating type of the result.

    Returns:
        (…, 3, T, H, W) in [-1, 1].
    """
    if isinstance(frames, np.ndarray):
        frames = rearrange(torch.from_numpy(frames), "... t h w c -> ... c t h w")
    if frames.dtype != torch.uint8:
        raise TypeError(f"frames are {frames.dtype}; stored frames are uint8, 0 to 255")
    return frames.to(dtype) / 127.5 - 1


def to_frames(pixels: torch.Tensor | np.ndarray) -> np.ndarray:
    """Pixels as stored frames: what `write_video`, `contact_sheet` and `save_gif` take.

    Args:
        pixels: (…, 3, T, H, W), floating in [-1, 1] (values outside are clipped) or uint8. A uint8 array
            that ends in 3 channels is returned as it is.

    Returns:
        uint8 (…, T, H, W, 3).
    """
    if isinstance(pixels, np.ndarray):
        if pixels.dtype == np.uint8 and pixels.shape[-1] == 3:
            return pixels
        pixels = torch.from_numpy(pixels)
    if pixels.dtype != torch.uint8:
        pixels = ((pixels.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return rearrange(pixels, "... c t h w -> ... t h w c").contiguous().cpu().numpy()
