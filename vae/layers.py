"""The autoencoder's layers: everything is causal in time and local in space.

Inside the model a video is channels-last, (B, T, H, W, C): normalisation then runs over contiguous memory and
both convolutions are plain 2-D ones, which CPUs and GPUs run fastest (a fp32 3-D convolution costs a CPU about
1.4 times as much). A temporal convolution is a 2-D one over (time, position) with a (3, 1) kernel.

Streaming: a module that looks back keeps what it needs of the past in a `StreamCache`. `cache=None` means that
the input is a whole clip. Either way the first frame's past is that frame repeated, so a single image is a clip
in which nothing moves.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

StreamCache = dict[nn.Module, torch.Tensor]


class RMSNorm(nn.RMSNorm):
    """Root-mean-square normalisation over channels at each position (Zhang and Sennrich 2019).

    Statistics over space or time (GroupNorm, global attention) would break causality, streaming and tiling.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (..., C)."""
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class SpatialConv(nn.Conv2d):
    """A 3×3 convolution of every frame, zero-padded to keep the size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve (B, T, H, W, C)."""
        batch = x.shape[0]
        x = rearrange(x, "b t h w c -> (b t) c h w")  # a channels-last view: nothing is copied
        return rearrange(super().forward(x), "(b t) c h w -> b t h w c", b=batch)


class TemporalConv(nn.Conv1d):
    """A causal convolution over three frames: the present one and the two before it."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3)

    def forward(self, x: torch.Tensor, cache: StreamCache | None = None) -> torch.Tensor:
        """Convolve (B, T, H, W, C) over time."""
        height = x.shape[2]
        past = None if cache is None else cache.get(self)
        x = torch.cat([x[:, :1], x[:, :1], x] if past is None else [past, x], dim=1)  # (B, 2+T, H, W, C)
        if cache is not None:
            cache[self] = x[:, -2:].clone()  # a view would keep the whole chunk in memory
        x = rearrange(x, "b t h w c -> b c t (h w)")
        x = F.conv2d(x, self.weight.unsqueeze(-1), self.bias)
        return rearrange(x, "b c t (h w) -> b t h w c", h=height)


class ResidualBlock(nn.Module):
    """x + temporal(spatial(x)), each convolution after a norm and SiLU; the identity at initialisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = RMSNorm(channels)
        self.spatial = SpatialConv(channels, channels)
        self.norm2 = RMSNorm(channels)
        self.temporal = TemporalConv(channels, channels)
        nn.init.zeros_(self.temporal.weight)
        nn.init.zeros_(self.temporal.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor, cache: StreamCache | None = None) -> torch.Tensor:
        """Keep the shape (B, T, H, W, C)."""
        h = self.spatial(F.silu(self.norm1(x)))  # (B, T, H, W, C)
        h = self.temporal(F.silu(self.norm2(h)), cache)  # (B, T, H, W, C)
        return x + h


class Downsample(nn.Module):
    """Folds `time` frames and `space`×`space` cells into channels, then projects them.

    The shortcut averages what was folded (residual autoencoding: Chen et al. 2024, "Deep Compression
    Autoencoder"); it is left out where the channel counts do not divide. The first frame is a group of its own,
    filled by repetition, so 1 + k·time frames become 1 + k.
    """

    def __init__(self, in_channels: int, out_channels: int, time: int, space: int) -> None:
        super().__init__()
        self.time, self.space, self.out_channels = time, space, out_channels
        folded = in_channels * time * space**2
        self.proj = nn.Linear(folded, out_channels)
        self.has_shortcut = folded % out_channels == 0

    def forward(self, x: torch.Tensor, cache: StreamCache | None = None) -> torch.Tensor:
        """Map (B, T, H, W, C) to (B, T', H/space, W/space, C')."""
        if self.time > 1 and _is_start(self, x, cache):
            x = torch.cat([x[:, :1].expand(-1, self.time - 1, -1, -1, -1), x], dim=1)
        s = self.space
        x = rearrange(x, "b (t r) (h p) (w q) c -> b t h w (c r p q)", r=self.time, p=s, q=s)
        h = self.proj(x)  # (B, T', H', W', C')
        return h + x.unflatten(-1, (self.out_channels, -1)).mean(-1) if self.has_shortcut else h


class Upsample(nn.Module):
    """The mirror image of `Downsample`: projects, then unfolds channels into frames and cells.

    The shortcut repeats each channel over what it unfolds into (nearest-neighbour upsampling), so there is no
    checkerboard to unlearn. Of the first latent frame only the last of its `time` frames is kept, so 1 + k
    frames become 1 + k·time.
    """

    def __init__(self, in_channels: int, out_channels: int, time: int, space: int) -> None:
        super().__init__()
        self.time, self.space = time, space
        unfolded = out_channels * time * space**2
        self.proj = nn.Linear(in_channels, unfolded)
        self.repeats = unfolded // in_channels if unfolded % in_channels == 0 else 0

    def forward(self, x: torch.Tensor, cache: StreamCache | None = None) -> torch.Tensor:
        """Map (B, T, H, W, C) to (B, T', H·space, W·space, C')."""
        drop = self.time - 1 if self.time > 1 and _is_start(self, x, cache) else 0
        h = self.proj(x)  # (B, T, H, W, C'·time·space²)
        if self.repeats:
            h = h + x.repeat_interleave(self.repeats, dim=-1)
        s = self.space
        h = rearrange(h, "b t h w (c r p q) -> b (t r) (h p) (w q) c", r=self.time, p=s, q=s)
        return h[:, drop:]


def _is_start(module: nn.Module, x: torch.Tensor, cache: StreamCache | None) -> bool:
    """Whether this is the first chunk that the module sees; a stream's cache then remembers that it came."""
    if cache is None:
        return True
    seen = module in cache
    cache[module] = x.new_empty(0)
    return not seen


class _Stage(nn.Module):
    """What encoder and decoder share: running layers with the stream's cache or with checkpointed gradients."""

    _gradient_checkpointing_func: Callable[..., torch.Tensor]  # set by ModelMixin

    def __init__(self) -> None:
        super().__init__()
        self.gradient_checkpointing = False

    def _run(self, layer: nn.Module, x: torch.Tensor, cache: StreamCache | None) -> torch.Tensor:
        if self.gradient_checkpointing and cache is None and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(layer, x)
        return layer(x, cache)


class Encoder(_Stage):
    """Pixels to the mean and log-variance of the latents.

    Args:
        temporal_factors: one a level, by how much time shrinks after that level.
    """

    def __init__(
        self,
        latent_channels: int,
        patch_size: int,
        block_channels: tuple[int, ...],
        layers_per_block: int,
        temporal_factors: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.conv_in = SpatialConv(3 * patch_size**2, block_channels[0])
        self.layers = nn.ModuleList()
        last = len(block_channels) - 1
        for level, (channels, time) in enumerate(zip(block_channels, temporal_factors)):
            self.layers.extend(ResidualBlock(channels) for _ in range(layers_per_block))
            space, below = (2, block_channels[level + 1]) if level < last else (1, channels)
            if time * space > 1:
                self.layers.append(Downsample(channels, below, time, space))
        self.layers.append(ResidualBlock(block_channels[-1]))
        self.proj_out = nn.Linear(block_channels[-1], 2 * latent_channels)
        # Posteriors start narrow (standard deviation 0.05): at 1 the first thing learnt would be to fight noise.
        nn.init.constant_(self.proj_out.bias[latent_channels:], -6.0)

    def forward(self, x: torch.Tensor, cache: StreamCache | None = None) -> torch.Tensor:
        """Map pixels (B, 3, T, H, W) to mean and log-variance (B, 2·latent_channels, F, h, w)."""
        p = self.patch_size
        x = rearrange(x, "b c t (h p) (w q) -> b t h w (c p q)", p=p, q=p)
        x = self.conv_in(x)  # (B, T, H/p, W/p, C0)
        for layer in self.layers:
            x = self._run(layer, x, cache)
        x = self.proj_out(x)  # (B, F, h, w, 2·latent_channels)
        return rearrange(x, "b f h w c -> b c f h w").contiguous()


class Decoder(_Stage):
    """Latents to pixels: the encoder's mirror image."""

    def __init__(
        self,
        latent_channels: int,
        patch_size: int,
        block_channels: tuple[int, ...],
        layers_per_block: int,
        temporal_factors: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.conv_in = SpatialConv(latent_channels, block_channels[-1])
        self.layers = nn.ModuleList([ResidualBlock(block_channels[-1])])
        last = len(block_channels) - 1
        for level in range(last, -1, -1):
            channels, time = block_channels[level], temporal_factors[level]
            space, below = (2, block_channels[level + 1]) if level < last else (1, channels)
            if time * space > 1:
                self.layers.append(Upsample(below, channels, time, space))
            self.layers.extend(ResidualBlock(channels) for _ in range(layers_per_block))
        # A 3×3 convolution into p×p pixels is a transposed one with a 3p×3p kernel: patches overlap.
        self.conv_out = SpatialConv(block_channels[0], 3 * patch_size**2)

    def forward(self, z: torch.Tensor, cache: StreamCache | None = None) -> torch.Tensor:
        """Map latents (B, latent_channels, F, h, w) to pixels (B, 3, T, H, W)."""
        p = self.patch_size
        x = self.conv_in(rearrange(z, "b c f h w -> b f h w c"))  # (B, F, h, w, C)
        for layer in self.layers:
            x = self._run(layer, x, cache)
        x = self.conv_out(x)  # (B, T, H/p, W/p, 3·p·p)
        return rearrange(x, "b t h w (c p q) -> b c t (h p) (w q)", p=p, q=p).contiguous()
