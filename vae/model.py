"""`AutoencoderKLKinema`: a causal video autoencoder, registered as a diffusers model.

Pixels are (B, 3, T, H, W) in [-1, 1], latents (B, C, F, h, w) with T = 1 + (F-1)·temporal_stride: one image is
one latent frame. No frame's latent depends on later frames, so clips of any length stream in constant memory.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar, Literal, overload

import diffusers
import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import AutoencoderMixin, DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook

from .layers import Decoder, Encoder
from .tiling import StreamState, run_tiled


class AutoencoderKLKinema(ModelMixin, AutoencoderMixin, ConfigMixin):
    """A variational autoencoder of videos and images, causal in time.

    Args:
        latent_channels: channels of a latent.
        patch_size: pixels (a square's side) folded into channels before the first convolution.
        block_channels: width of each level; every level after the first halves height and width.
        layers_per_block: residual blocks a level, in encoder and decoder each.
        temporal_stride: pixel frames per latent frame, a power of two; its halvings are shared out over the
            levels, the first level first.
        latents_mean, latents_std: of each latent channel over the training data; (z - mean) / std is what a
            denoiser sees. None until training has measured them.
        latent_rgb_weights, latent_rgb_bias: (latent_channels × 3) and (3), the colours in [0, 1] that normalised
            latents stand for, see `vae/preview.py`. None until they are fitted.

    Attributes:
        temporal_compression_ratio: pixel frames per latent frame.
        spatial_compression_ratio: pixels per latent cell side.

    Raises:
        ValueError: an argument that no such model can have.
    """

    __module__ = "kinema"  # diffusers looks a component's class up by this in model_index.json

    _supports_gradient_checkpointing = True
    _no_split_modules: ClassVar[list[str]] = ["ResidualBlock", "Downsample", "Upsample"]
    _repeated_blocks: ClassVar[list[str]] = ["ResidualBlock"]
    _skip_layerwise_casting_patterns: ClassVar[list[str]] = ["norm", "conv_in", "conv_out", "proj_out"]

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 16,
        patch_size: int = 4,
        block_channels: Sequence[int] = (96, 192),
        layers_per_block: int = 2,
        temporal_stride: int = 4,
        latents_mean: Sequence[float] | None = None,
        latents_std: Sequence[float] | None = None,
        latent_rgb_weights: Sequence[Sequence[float]] | None = None,
        latent_rgb_bias: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if not block_channels:
            raise ValueError("block_channels is empty; it needs the width of at least one level")
        halvings = temporal_stride.bit_length() - 1
        if temporal_stride != 2**halvings:
            raise ValueError(f"temporal_stride is {temporal_stride}; it needs a power of two: 1, 2, 4, 8 …")
        for name, values in (("latents_mean", latents_mean), ("latents_std", latents_std)):
            if values is not None and len(values) != latent_channels:
                raise ValueError(
                    f"{name} has {len(values)} values; it needs latent_channels = {latent_channels}, or None"
                )
        for name, values, shape in (
            ("latent_rgb_weights", latent_rgb_weights, (latent_channels, 3)),
            ("latent_rgb_bias", latent_rgb_bias, (3,)),
        ):
            if values is not None and np.shape(values) != shape:
                raise ValueError(f"{name} has shape {np.shape(values)}; it needs {shape}, or None")
        levels = len(block_channels)
        factors = tuple(2 ** len(range(level, halvings, levels)) for level in range(levels))
        shape = (latent_channels, patch_size, tuple(block_channels), layers_per_block, factors)
        self.encoder = Encoder(*shape)
        self.decoder = Decoder(*shape)
        self.temporal_compression_ratio = temporal_stride
        self.spatial_compression_ratio = patch_size * 2 ** (levels - 1)
        self.use_slicing = False
        self.use_tiling = False
        self.tile_size, self.tile_overlap = 256, 64  # pixels

    def enable_tiling(self, tile_size: int | None = None, overlap: int | None = None) -> None:
        """Encode and decode frames larger than a tile tile by tile: memory then depends on the tile's size.

        Args:
            tile_size: a tile's side in pixels; None keeps the present one (256 at first).
            overlap: pixels that neighbours share and blend over; None: a quarter of the tile, at least a cell.

        Raises:
            ValueError: a size that is no multiple of the spatial stride, or an overlap not below the tile.
        """
        cell = self.spatial_compression_ratio
        size = self.tile_size if tile_size is None else tile_size
        shared = max(cell, size // 4 // cell * cell) if overlap is None else overlap
        if size % cell or shared % cell or not 0 <= shared < size:
            raise ValueError(
                f"tile_size is {size} and overlap {shared} pixels; both need to be multiples of the spatial "
                f"stride {cell}, and the overlap less than the tile"
            )
        self.tile_size, self.tile_overlap, self.use_tiling = size, shared, True

    @overload
    def encode(self, x: torch.Tensor, return_dict: Literal[True] = True) -> AutoencoderKLOutput: ...

    @overload
    def encode(self, x: torch.Tensor, return_dict: Literal[False]) -> tuple[DiagonalGaussianDistribution]: ...

    @apply_forward_hook
    def encode(self, x: torch.Tensor, return_dict: bool = True) -> AutoencoderKLOutput | tuple:
        """Encode whole clips.

        Args:
            x: pixels (B, 3, T, H, W) in [-1, 1]; T = 1 + k·temporal_stride; H, W multiples of the spatial stride.

        Returns:
            `latent_dist`, a diagonal Gaussian over latents (B, C, F, h, w), not normalised.

        Raises:
            ValueError: a shape that does not fit; the message says what is needed.
        """
        self._check_pixels(x)
        stride = self.temporal_compression_ratio
        if (x.shape[2] - 1) % stride:
            below = 1 + (x.shape[2] - 1) // stride * stride
            raise ValueError(
                f"the clip has {x.shape[2]} frames; the temporal stride {stride} needs 1 + k·{stride} frames, "
                f"such as {below} or {below + stride}"
            )
        posterior = DiagonalGaussianDistribution(self._slices(self._encode, x))
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    @overload
    def decode(self, z: torch.Tensor, return_dict: Literal[True] = True) -> DecoderOutput: ...

    @overload
    def decode(self, z: torch.Tensor, return_dict: Literal[False]) -> tuple[torch.Tensor]: ...

    @apply_forward_hook
    def decode(self, z: torch.Tensor, return_dict: bool = True) -> DecoderOutput | tuple:
        """Decode whole clips.

        Args:
            z: latents (B, C, F, h, w), not normalised.

        Returns:
            `sample`, pixels (B, 3, 1 + (F-1)·temporal_stride, H, W), in [-1, 1] but for small overshoots.

        Raises:
            ValueError: a shape that does not fit.
        """
        self._check_latents(z)
        sample = self._slices(self._decode, z)
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    @apply_forward_hook
    def encode_stream(
        self, chunks: torch.Tensor | Iterable[torch.Tensor]
    ) -> Iterator[DiagonalGaussianDistribution]:
        """Encode a clip of any length in constant memory.

        Args:
            chunks: pixels (B, 3, t, H, W) in order, any t each (frames that do not fill a latent frame wait for
                the next chunk); or one whole clip, which is then encoded one latent frame at a time.

        Yields:
            The posterior of each run of new latent frames; together they equal `encode` of the whole clip.

        Raises:
            ValueError: a shape that does not fit, or a total of frames that is not 1 + k·temporal_stride.
        """
        return self._encode_chunks(_chunks(chunks, self.temporal_compression_ratio))

    @apply_forward_hook
    def decode_stream(self, chunks: torch.Tensor | Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Decode a clip of any length in constant memory.

        Args:
            chunks: latents (B, C, f, h, w) in order, any f ≥ 1 each, not normalised; or one whole clip, which is
                then decoded one latent frame at a time.

        Yields:
            Pixels (B, 3, t, H, W) of each chunk; together they equal `decode` of the whole clip.

        Raises:
            ValueError: a shape that does not fit.
        """
        return self._decode_chunks(_chunks(chunks, 1))

    def forward(
        self,
        sample: torch.Tensor,
        sample_posterior: bool = False,
        generator: torch.Generator | None = None,
        return_dict: bool = True,
        noise: torch.Tensor | None = None,
    ) -> DecoderOutput | tuple:
        """Encode and decode: what training runs.

        Args:
            sample: pixels (B, 3, T, H, W) in [-1, 1].
            sample_posterior: decode a sample of the posterior instead of its mean.
            generator: of that sample.
            noise: standard normal values to sample with, (B, C, F, h, w), instead of the generator's.
            return_dict: False gives (pixels, posterior).
        """
        posterior = self.encode(sample, return_dict=False)[0]
        if noise is not None:
            z = posterior.mean + posterior.std * noise.to(posterior.mean)
        else:
            z = posterior.sample(generator) if sample_posterior else posterior.mode()
        pixels = self.decode(z, return_dict=False)[0]  # (B, 3, T, H, W)
        return DecoderOutput(sample=pixels) if return_dict else (pixels, posterior)

    def _encode_chunks(self, chunks: Iterable[torch.Tensor]) -> Iterator[DiagonalGaussianDistribution]:
        stride, state, waiting, seen = self.temporal_compression_ratio, StreamState(), None, 0
        for chunk in chunks:
            self._check_pixels(chunk)
            waiting = chunk if waiting is None else torch.cat([waiting, chunk], dim=2)
            lead = 1 if seen == 0 else 0  # the clip's first frame is a latent frame of its own
            ready = waiting.shape[2] - (waiting.shape[2] - lead) % stride if waiting.shape[2] >= lead else 0
            if ready > 0:
                part, waiting = waiting[:, :, :ready], waiting[:, :, ready:].clone()
                seen += ready
                yield DiagonalGaussianDistribution(self._encode(part, state))
        left = 0 if waiting is None else waiting.shape[2]
        if left:
            raise ValueError(
                f"the stream ended after {seen + left} frames; the temporal stride {stride} needs 1 + k·{stride}: "
                f"give {stride - left} more, or drop the last {left}"
            )

    def _decode_chunks(self, chunks: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        state = StreamState()
        for chunk in chunks:
            self._check_latents(chunk)
            yield self._decode(chunk, state)

    def _encode(self, x: torch.Tensor, state: StreamState | None = None) -> torch.Tensor:
        cell = self.spatial_compression_ratio
        if self.use_tiling and max(x.shape[-2:]) > self.tile_size:
            return run_tiled(
                self.encoder,
                x,
                tile=self.tile_size // cell,
                overlap=self.tile_overlap // cell,
                in_cell=cell,
                out_cell=1,
                state=state,
            )
        return self.encoder(x, state.cache() if state else None)

    def _decode(self, z: torch.Tensor, state: StreamState | None = None) -> torch.Tensor:
        cell = self.spatial_compression_ratio
        if self.use_tiling and max(z.shape[-2:]) * cell > self.tile_size:
            return run_tiled(
                self.decoder,
                z,
                tile=self.tile_size // cell,
                overlap=self.tile_overlap // cell,
                in_cell=1,
                out_cell=cell,
                state=state,
            )
        return self.decoder(z, state.cache() if state else None)

    def _slices(self, run: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        if self.use_slicing and x.shape[0] > 1:
            return torch.cat([run(part) for part in x.split(1)])
        return run(x)

    def _check_pixels(self, x: torch.Tensor) -> None:
        cell = self.spatial_compression_ratio
        if x.ndim != 5 or x.shape[1] != 3 or 0 in x.shape:
            raise ValueError(f"pixels have shape {tuple(x.shape)}; they need (batch, 3, frames, height, width)")
        if x.shape[3] % cell or x.shape[4] % cell:
            raise ValueError(
                f"frames are {x.shape[3]} × {x.shape[4]} pixels (height × width); the spatial stride needs "
                f"multiples of {cell}: crop or resize them first"
            )

    def _check_latents(self, z: torch.Tensor) -> None:
        channels = self.config["latent_channels"]
        if z.ndim != 5 or z.shape[1] != channels or 0 in z.shape:
            raise ValueError(
                f"latents have shape {tuple(z.shape)}; they need (batch, {channels}, frames, height, width)"
            )


# diffusers looks classes up by name among its own, as AutoModel does.
setattr(diffusers, AutoencoderKLKinema.__name__, AutoencoderKLKinema)


def _chunks(given: torch.Tensor | Iterable[torch.Tensor], frames: int) -> Iterable[torch.Tensor]:
    """The chunks given, or those of one whole clip."""
    return given.split(frames, dim=2) if isinstance(given, torch.Tensor) else given
