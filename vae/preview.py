"""Latent previews: a picture of latents by one linear map to colours, instead of the decoder.

    python -m kinema.vae.preview RUN/vae/final --config cpu

fits the map of an existing autoencoder to clips of that configuration's data and writes it to its config.json, in
seconds; the weights stay as they are. `kinema train vae` does the same at its end.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from einops import rearrange, reduce

from .latents import encode_latents, spatial_stride, temporal_stride

CONFIG_KEYS = ("latent_rgb_weights", "latent_rgb_bias")
CLIPS = 64  # clips the map is fitted to; it has only C × 3 + 3 numbers
_DIGITS = 5  # in config.json: far finer than a shade of 1/255


def has_preview(vae: Any) -> bool:
    """Whether an autoencoder's map has been fitted."""
    return all(getattr(vae.config, key, None) is not None for key in CONFIG_KEYS)


def check_preview(vae: Any) -> None:
    """Raise a ValueError that says what to do if an autoencoder has no map, or one of other channels."""
    if not has_preview(vae):
        raise ValueError(
            f"this {type(vae).__name__} has no preview: {' and '.join(CONFIG_KEYS)} are missing from its config. "
            "Fit them with kinema.vae.preview.fit_preview(vae, [pixels, ...]), or for a saved Kinema autoencoder "
            "with `python -m kinema.vae.preview FOLDER`"
        )


def preview(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Small pictures of latents, one a latent frame and one pixel a latent cell, at the cost of a tiny product.

    Args:
        vae: an autoencoder with a fitted map.
        latents: normalised (B, C, F, h, w), best the clean estimates of a step.

    Returns:
        float32 (B, F, 3, h, w) in [0, 1], on the latents' device.

    Raises:
        ValueError: no map has been fitted; see `fit_preview`.
    """
    check_preview(vae)
    weights, bias = (
        torch.tensor(getattr(vae.config, key), device=latents.device, dtype=torch.float32) for key in CONFIG_KEYS
    )
    colours = weights.T @ latents.float().flatten(2) + bias[:, None]  # (B, 3, F·h·w)
    return rearrange(colours.unflatten(2, latents.shape[2:]), "b c f h w -> b f c h w").clamp(0, 1)


@torch.no_grad()
def fit_preview(vae: Any, clips: Iterable[torch.Tensor]) -> tuple[list[list[float]], list[float]]:
    """Fit an autoencoder's map by least squares, and store it in its configuration.

    A latent's target is the mean colour of the pixels that it stands for: its cell's square, over its group of
    frames. Sums only are kept, so that any number of clips fits into memory.

    For diffusers' own autoencoders the map lives in `vae.config` as well and is saved with it.

    Args:
        vae: AutoencoderKLKinema, AutoencoderKLWan or AutoencoderKLLTXVideo.
        clips: pixels (B, 3, T, H, W) in [-1, 1], T = 1 + k·temporal stride, on the autoencoder's device.

    Returns:
        The weights (C × 3) of normalised latents and the bias (3) that give colours in [0, 1].

    Raises:
        ValueError: no clip, or a shape that does not fit.
    """
    gram, moment = torch.zeros(()), torch.zeros(())
    for pixels in clips:
        latents = encode_latents(vae, pixels)
        rows = rearrange(latents.double().cpu(), "b c f h w -> (b f h w) c")
        rows = torch.cat([rows, torch.ones_like(rows[:, :1])], 1)  # the last column is the bias
        colours = _mean_colours(pixels, temporal_stride(vae), spatial_stride(vae))
        colours = rearrange(colours.double().cpu(), "b c f h w -> (b f h w) c")
        gram, moment = gram + rows.T @ rows, moment + rows.T @ colours
    if gram.ndim == 0:
        raise ValueError("no clip was given; a preview is fitted to at least one clip (B, 3, T, H, W)")
    solution = torch.linalg.lstsq(gram, moment, driver="gelsd").solution  # gelsd: flat clips leave directions free
    *weights, bias = ([round(value, _DIGITS) for value in row] for row in solution.tolist())
    vae.register_to_config(**dict(zip(CONFIG_KEYS, (weights, bias))))
    return weights, bias


def _mean_colours(pixels: torch.Tensor, stride: int, cell: int) -> torch.Tensor:
    """Each latent's mean colour: (B, 3, T, H, W) in [-1, 1] -> (B, 3, F, h, w) in [0, 1]."""
    cells = reduce(pixels.float() / 2 + 0.5, "b c t (h p) (w q) -> b c t h w", "mean", p=cell, q=cell)
    groups = reduce(cells[:, :, 1:], "b c (f s) h w -> b c f h w", "mean", s=stride)
    return torch.cat([cells[:, :, :1], groups], 2)  # the first latent stands for the first frame alone


def main(arguments: list[str] | None = None) -> None:
    """Fit the preview of a saved `AutoencoderKLKinema`; see the module's docstring."""
    from ..configs import load_config
    from ..data.files import atomic_path
    from ..data.pixels import to_pixels
    from ..data.source import open_dataset
    from .model import AutoencoderKLKinema

    parser = argparse.ArgumentParser(prog="python -m kinema.vae.preview", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="the autoencoder's folder, with its config.json")
    parser.add_argument("--config", default="cpu", help="whose data to fit it to: a preset's name or a file")
    parser.add_argument("--clips", type=int, default=CLIPS, help=f"how many; {CLIPS} if not given")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes of the configuration")
    options = parser.parse_args(arguments)

    vae = AutoencoderKLKinema.from_pretrained(options.folder)
    config = load_config(options.config, options.overrides)
    dataset = open_dataset(config.data, seed=config.seed)
    items = (dataset[index] for index in range(min(options.clips, len(dataset))))
    weights, bias = fit_preview(vae, (to_pixels(item["pixel_values"][None]) for item in items))
    path = options.folder / "config.json"
    stored = json.loads(path.read_text()) | dict(zip(CONFIG_KEYS, (weights, bias)))
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
