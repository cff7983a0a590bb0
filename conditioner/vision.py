"""The captioner's eyes: several frames of a clip, in order, as a few tokens and one feature.

open_clip's CoCa sees one image; these modules stand in its place and give what its decoder and its contrastive
loss take.
"""

import math

import torch
from einops import rearrange
from open_clip.transformer import AttentionalPooler, LayerNorm, Transformer
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def select_frames(
    frames: torch.Tensor, fps: float | torch.Tensor, num_frames: int, image_size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Evenly spaced frames of clips, first and last among them, resized to a square.

    Args:
        frames: (B, 3, T, H, W), uint8 in [0, 255] or float in [-1, 1].
        fps: frames per second, one number or one for each clip (B,).

    Returns:
        pixel_values (B, 3, num_frames, image_size, image_size) float in [-1, 1], and their times
        (B, num_frames) in seconds from the first frame. A clip of fewer frames repeats some.
    """
    if frames.ndim != 5 or frames.shape[1] != 3:
        raise ValueError(f"frames have the shape {tuple(frames.shape)}; the captioner needs (B, 3, T, H, W)")
    batch, _, length, height, width = frames.shape
    index = torch.linspace(0, length - 1, num_frames, device=frames.device).round().long()
    chosen = frames[:, :, index]
    if not chosen.is_floating_point():
        chosen = chosen.float() / 127.5 - 1
    if (height, width) != (image_size, image_size):
        flat = rearrange(chosen, "b c k h w -> (b k) c h w")
        flat = F.interpolate(flat, (image_size, image_size), mode="bilinear", antialias=True, align_corners=False)
        chosen = rearrange(flat, "(b k) c h w -> b c k h w", b=batch)
    rate = torch.as_tensor(fps, dtype=torch.float32, device=frames.device).expand(batch)
    return chosen, index.float()[None] / rate[:, None]


class VideoTower(nn.Module):
    """A transformer over the patches of all frames together, pooled by attention.

    Two poolers in cascade, as in CoCa (Yu et al. 2022, section 3.2): queries for the caption decoder, and over
    them one query for the contrastive loss.

    Args:
        output_width: width of the caption tokens, the decoder's.
        embed_dim: width of the contrastive features.
        caption_tokens: queries of the first pooler.
    """

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        width: int,
        layers: int,
        heads: int,
        output_width: int,
        output_heads: int,
        embed_dim: int,
        caption_tokens: int,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(f"image_size is {image_size}; it needs to be a multiple of patch_size {patch_size}")
        self.stem = Stem(patch_size, width)
        # As large as the patches: at the usual 0.02 places drown in colours, and shapes are learned half as fast.
        self.position_embedding = nn.Parameter(torch.randn((image_size // patch_size) ** 2, width) * 0.5)
        self.time = TimeEmbedding(width)
        self.norm_in = LayerNorm(width)
        self.transformer = Transformer(width, layers, heads, block_type="custom")
        self.caption_pool = AttentionalPooler(output_width, width, output_heads, caption_tokens)
        self.contrast_pool = AttentionalPooler(embed_dim, output_width, output_heads, 1)
        self.norm_out = LayerNorm(embed_dim)
        self.projection = nn.Linear(embed_dim, embed_dim, bias=False)
        self.gradient_checkpointing = False
        init_blocks(self.transformer)

    def forward(self, pixel_values: torch.Tensor, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Contrastive features (B, E) and caption tokens (B, Q, D) of frames and their times in seconds."""
        x = self.stem(pixel_values)  # (B, K, N, D)
        x = x + self.position_embedding  # (B, K, N, D)
        x = x + self.time(times).unsqueeze(2).to(x.dtype)  # (B, K, N, D)
        x = self.norm_in(rearrange(x, "b k n d -> b (k n) d"))  # (B, K N, D)
        for block in self.transformer.resblocks:
            x = checkpoint(block, x, use_reentrant=False) if self.gradient_checkpointing else block(x)
        tokens = self.caption_pool(x)  # (B, Q, D)
        pooled = self.norm_out(self.contrast_pool(tokens)[:, 0])  # (B, E)
        return self.projection(pooled), tokens  # pyright: ignore[reportReturnType]


class Stem(nn.Module):
    """Frames to patches by halving convolutions, each frame beside what changed since the one before.

    Shapes are learned from far fewer clips than with one linear map a patch (Xiao et al. 2021), and so are
    motions when the change is given.

    Args:
        patch_size: pixels a patch side; one convolution for each factor of two, and one for the odd rest.
        width: channels of the patches.
    """

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        strides = []
        while patch_size % 2 == 0:
            strides.append(2)
            patch_size //= 2
        if patch_size > 1:
            strides.append(patch_size)
        layers: list[nn.Module] = []
        inputs = 6
        for stage, stride in enumerate(strides):
            outputs = min(width, max(8, (width // 4) << stage))
            kernel, padding = (3, 1) if stride == 2 else (stride, 0)
            layers += [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.GroupNorm(1, outputs), nn.SiLU()]
            inputs = outputs
        self.layers = nn.Sequential(*layers, nn.Conv2d(inputs, width, 1))

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, 3, K, H, W) in [-1, 1] to (B, K, N, D)."""
        x = beside_changes(pixel_values)  # (B, K, 6, H, W)
        count = len(x)
        x = self.layers(rearrange(x, "b k c h w -> (b k) c h w"))  # (B K, D, h, w)
        return rearrange(x, "(b k) d h w -> b k (h w) d", b=count)


class ConvolutionalTower(nn.Module):
    """A small residual network over each frame, whose features are averaged and maximised, per frame and over all.

    What is local is looked for everywhere alike, and few tokens reach the decoder: so shapes and motions are
    learned from fewer clips than by `VideoTower`.

    Args:
        patch_size: pixels a side of the last features' cells, a power of two.
        width: channels of the last features.
        output_width: width of the caption tokens, the decoder's; there are as many as frames, and one.
        embed_dim: width of the contrastive features.
    """

    def __init__(self, *, image_size: int, patch_size: int, width: int, output_width: int, embed_dim: int) -> None:
        super().__init__()
        if image_size % patch_size or patch_size & (patch_size - 1) or patch_size < 2:
            raise ValueError(
                f"image_size is {image_size}, patch_size {patch_size}; a convolutional tower needs a patch_size "
                "that is a power of two and divides image_size"
            )
        stages = patch_size.bit_length() - 1
        widths = [max(8, width >> (stages - 1 - stage)) for stage in range(stages)]
        layers: list[nn.Module] = []
        for inputs, outputs in zip([6, *widths], widths):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), ResidualBlock(outputs)]
        self.layers = nn.Sequential(*layers, nn.GroupNorm(1, width), nn.SiLU())
        self.position_embedding = nn.Parameter(torch.randn((image_size // patch_size) ** 2, width) * 0.5)
        self.mix = nn.Linear(width, width)
        self.time = TimeEmbedding(output_width)
        self.frame_token = nn.Linear(2 * width, output_width)
        self.clip_token = nn.Linear(2 * width, output_width)
        self.norm_tokens = LayerNorm(output_width)
        self.projection = nn.Linear(2 * width, embed_dim)
        self.gradient_checkpointing = False

    def forward(self, pixel_values: torch.Tensor, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Contrastive features (B, E) and caption tokens (B, K + 1, D) of frames and their times in seconds."""
        x = beside_changes(pixel_values)  # (B, K, 6, H, W)
        count, x = len(x), rearrange(x, "b k c h w -> (b k) c h w").contiguous(memory_format=torch.channels_last)
        x = checkpoint(self.layers, x, use_reentrant=False) if self.gradient_checkpointing else self.layers(x)
        x = rearrange(x, "(b k) d h w -> b k (h w) d", b=count)  # (B, K, N, D)
        x = F.silu(self.mix(x + self.position_embedding.to(x.dtype))) + x
        frames = torch.cat([x.mean(2), x.amax(2)], dim=-1)  # (B, K, 2 D)
        clip = torch.cat([x.mean((1, 2)), x.amax((1, 2))], dim=-1)  # (B, 2 D)
        told = self.frame_token(frames) + self.time(times).to(x.dtype)  # (B, K, D')
        tokens = self.norm_tokens(torch.cat([self.clip_token(clip)[:, None], told], dim=1))  # (B, K + 1, D')
        return self.projection(clip), tokens


class ResidualBlock(nn.Module):
    """Two convolutions added to their input (He et al. 2016), normalised over all channels and places."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, D, H, W) to the same shape."""
        return x + self.second(F.silu(self.first(F.silu(self.norm(x)))))


def beside_changes(pixel_values: torch.Tensor) -> torch.Tensor:
    """(B, 3, K, H, W) to (B, K, 6, H, W): each frame beside what changed since the one before."""
    frames = rearrange(pixel_values, "b c k h w -> b k c h w")
    change = torch.cat([torch.zeros_like(frames[:, :1]), frames[:, 1:] - frames[:, :-1]], dim=1)
    return torch.cat([frames, change], dim=2)


class TimeEmbedding(nn.Module):
    """Seconds to vectors: sines and cosines of periods from 0.25 to 32 s, then a linear map."""

    def __init__(self, width: int, periods: int = 8) -> None:
        super().__init__()
        frequencies = 2 * math.pi / torch.logspace(math.log10(0.25), math.log10(32), periods)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.linear = nn.Linear(2 * periods, width)

    def forward(self, times: torch.Tensor) -> torch.Tensor:
        """(B, K) to (B, K, D)."""
        angles = times.float().unsqueeze(-1) * self.frequencies.float()  # pyright: ignore  # (B, K, periods)
        return self.linear(torch.cat([angles.sin(), angles.cos()], dim=-1).to(self.linear.weight.dtype))


def init_blocks(transformer: nn.Module) -> None:
    """GPT-2's initialisation of open_clip's blocks, which only its own towers apply: narrower residual outputs."""
    for blocks in (transformer.resblocks, getattr(transformer, "cross_attn", ())):
        for block in blocks:  # pyright: ignore[reportGeneralTypeIssues]
            width = block.attn.in_proj_weight.shape[1]
            residual = width**-0.5 * (2 * len(blocks)) ** -0.5  # pyright: ignore[reportArgumentType]
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=residual)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=residual)
