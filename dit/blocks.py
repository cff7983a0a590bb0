"""The transformer block and the embedding of noise levels."""

import math

import torch
import torch.nn.functional as F
from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from torch import nn

from .attention import KinemaAttention
from .cache import LayerCache


class SwiGLU(nn.Module):
    """Gated feed-forward layer: down(silu(gate) * up) (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, dim: int, hidden_dim: int):
        super().__init__()
        self.proj_in = nn.Linear(dim, 2 * hidden_dim, bias=False)  # gate and up in one product
        self.proj_out = nn.Linear(hidden_dim, dim, bias=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(..., dim) to (..., dim)."""
        gate, up = self.proj_in(hidden_states).chunk(2, dim=-1)
        return self.proj_out(F.silu(gate) * up)


class NoiseLevelEmbedding(nn.Module):
    """Each frame's noise level, and its control vector if there is one, as adaLN input.

    Sinusoidal features of the timestep, a two-layer network, and one shared projection to the six modulation
    vectors; each block adds its own table to these (PixArt-alpha, Chen et al. 2023, arXiv:2310.00426).
    """

    NUM_FEATURES = 256

    def __init__(self, dim: int, control_dim: int = 0):
        super().__init__()
        self.linear_1 = nn.Linear(self.NUM_FEATURES, dim)
        self.linear_2 = nn.Linear(dim, dim)
        self.control = nn.Linear(control_dim, dim, bias=False) if control_dim else None
        self.modulation = nn.Linear(dim, 6 * dim)

    def forward(
        self, timestep: torch.Tensor, frame_control: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embedding (B, F, D) and modulation (B, F, 6, D) of `timestep` (B, F) and `frame_control` (B, F, K)."""
        half = self.NUM_FEATURES // 2
        exponents = torch.arange(half, device=timestep.device, dtype=torch.float32) / half
        angles = timestep.float()[..., None] * torch.exp(-math.log(10000.0) * exponents)
        features = torch.cat([angles.cos(), angles.sin()], dim=-1).to(self.linear_1.weight.dtype)
        temb = self.linear_2(F.silu(self.linear_1(features)))  # (B, F, D)
        if self.control is not None and frame_control is not None:
            temb = temb + self.control(frame_control.to(temb.dtype))
        temb = F.silu(temb)
        return temb, self.modulation(temb).unflatten(-1, (6, -1))


class KinemaTransformerBlock(nn.Module):
    """Self-attention over all visible tokens, cross-attention to the text, SwiGLU.

    Self-attention and SwiGLU are modulated by each frame's own noise level (adaLN, Peebles & Xie 2022,
    arXiv:2212.09748). Tokens keep the shape (B, F, S, D), so that a frame's six vectors broadcast over its S
    tokens and are never expanded. Cross-attention needs no norm of its own: its queries are RMS-normed.
    """

    def __init__(self, dim: int, num_attention_heads: int, attention_head_dim: int, hidden_dim: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.attn = KinemaAttention(dim, num_attention_heads, attention_head_dim)
        self.cross_attn = KinemaAttention(dim, num_attention_heads, attention_head_dim, is_cross_attention=True)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.ff = SwiGLU(dim, hidden_dim)
        # Flat, since optimizers give matrices weight decay or Muon's orthogonal updates, wrong for a table.
        self.scale_shift_table = nn.Parameter(torch.zeros(6 * dim))

    def forward(
        self,
        hidden_states: torch.Tensor,  # (B, F, S, D)
        encoder_hidden_states: torch.Tensor,  # (B, L, D)
        temb: torch.Tensor,  # (B, F or 1, 6, D)
        rotary_emb: torch.Tensor,  # (B or 1, F * S, 1, head_dim / 2, 2)
        attention_mask: torch.Tensor | None = None,  # (1, 1, F * S, cached + F * S) bool
        encoder_attention_mask: torch.Tensor | None = None,  # (B, F or 1, L) bool
        kv_cache: LayerCache | None = None,
        record: bool = False,  # store this pass's keys and values in the cache
        keep: int | None = None,  # tokens to keep in the cache
    ) -> torch.Tensor:
        """Returns (B, F, S, D)."""
        _, frames, space, _ = hidden_states.shape
        table = (self.scale_shift_table.unflatten(0, (6, -1)) + temb).to(hidden_states.dtype)[
            :, :, :, None
        ]  # (B, F or 1, 6, 1, D)
        shift_attn, scale_attn, gate_attn, shift_ff, scale_ff, gate_ff = table.unbind(dim=2)

        # 1. Self-attention
        x = torch.addcmul(shift_attn, self.norm1(hidden_states), 1 + scale_attn).flatten(1, 2)  # (B, N, D)
        x = self.attn(x, None, attention_mask, rotary_emb, kv_cache=kv_cache, record=record, keep=keep)
        hidden_states = torch.addcmul(hidden_states, gate_attn, x.unflatten(1, (frames, space)))

        # 2. Cross-attention; a mask per frame is spread over the frame's tokens
        text_mask = None
        if encoder_attention_mask is not None:
            per_token = space if encoder_attention_mask.shape[1] > 1 else 1
            text_mask = encoder_attention_mask.repeat_interleave(per_token, dim=1)[:, None]  # (B, 1, N or 1, L)
        x = self.cross_attn(hidden_states.flatten(1, 2), encoder_hidden_states, text_mask)
        hidden_states = hidden_states + x.unflatten(1, (frames, space))

        # 3. Feed-forward
        x = self.ff(torch.addcmul(shift_ff, self.norm2(hidden_states), 1 + scale_ff))
        return torch.addcmul(hidden_states, gate_ff, x)


# Lets diffusers' step caches (first-block cache, FasterCache, TaylorSeer, ...) find and skip our blocks.
TransformerBlockRegistry.register(
    KinemaTransformerBlock,
    TransformerBlockMetadata(return_hidden_states_index=0),
)
