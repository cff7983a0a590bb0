"""Self- and cross-attention with RMS-normed queries and keys, in diffusers' conventions.

The processor calls `dispatch_attention_fn`, so `transformer.set_attention_backend(...)` works. On a CPU, short
sequences take softmax(QKᵀ)V written out, which is several times faster than the fused kernel there.
"""

from typing import Any

import torch
from diffusers.hooks._helpers import AttentionProcessorMetadata, AttentionProcessorRegistry
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import nn

from .cache import LayerCache
from .rope import apply_rotary

PLAIN_ATTENTION_MAX_KEYS = 512  # on a CPU; beyond it the N² scores cost more memory traffic than they save


def plain_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """softmax(QKᵀ/√d)V with tensors (B, N, heads, head_dim); `mask` is bool, broadcastable to (B, heads, N, L)."""
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return (scores.softmax(dim=-1) @ value).transpose(1, 2)


class KinemaAttnProcessor:
    """Computes one attention layer of `KinemaAttention`."""

    _attention_backend: Any = None  # set by diffusers; None: the active default
    _parallel_config: Any = None  # set by diffusers' context parallelism

    def __call__(
        self,
        attn: "KinemaAttention",
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
        kv_cache: LayerCache | None = None,
        record: bool = False,
        keep: int | None = None,
    ) -> torch.Tensor:
        """Attend; shapes as in `KinemaAttention.forward`."""
        query, key, value = attn.project(hidden_states, encoder_hidden_states)  # (B, N or L, heads, head_dim)
        query, key = attn.norm_q(query), attn.norm_k(key)
        if rotary_emb is not None:
            query, key = apply_rotary(query, *rotary_emb), apply_rotary(key, *rotary_emb)
        if kv_cache is not None:
            key, value = kv_cache.extend(key, value, record=record, keep=keep)

        is_short = query.device.type == "cpu" and key.shape[1] <= PLAIN_ATTENTION_MAX_KEYS
        if is_short and self._attention_backend is None and self._parallel_config is None:
            out = plain_attention(query, key, value, attention_mask)
        else:
            out = dispatch_attention_fn(
                query,
                key,
                value,
                attn_mask=attention_mask,
                backend=self._attention_backend,
                # Text is not split among devices, so cross-attention needs no exchange.
                parallel_config=None if attn.is_cross_attention else self._parallel_config,
            )
        return attn.to_out[0](out.flatten(2))  # (B, N, D)


class KinemaAttention(nn.Module, AttentionModuleMixin):
    """One multi-head attention layer without biases; RMSNorm over each head's channels of query and key.

    Args:
        dim: width of the tokens.
        heads: attention heads.
        head_dim: channels per head.
        is_cross_attention: keys and values come from `encoder_hidden_states` (B, L, dim).
    """

    _default_processor_cls = KinemaAttnProcessor
    _available_processors = [KinemaAttnProcessor]  # noqa: RUF012
    processor: KinemaAttnProcessor

    def __init__(self, dim: int, heads: int, head_dim: int, is_cross_attention: bool = False):
        super().__init__()
        self.heads = heads
        self.inner_dim = heads * head_dim
        self.is_cross_attention = is_cross_attention
        self.use_bias = False
        self.to_q = nn.Linear(dim, self.inner_dim, bias=False)
        self.to_k = nn.Linear(dim, self.inner_dim, bias=False)
        self.to_v = nn.Linear(dim, self.inner_dim, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(self.inner_dim, dim, bias=False)])
        self.norm_q = nn.RMSNorm(head_dim, eps=1e-6)
        self.norm_k = nn.RMSNorm(head_dim, eps=1e-6)
        processor: Any = self._default_processor_cls()
        self.set_processor(processor)

    def project(
        self, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Query, key and value, each (B, tokens, heads, head_dim); fused weights if diffusers made them."""
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if self.fused_projections and not self.is_cross_attention:
            query, key, value = self.to_qkv(hidden_states).chunk(3, dim=-1)
        elif self.fused_projections:
            query = self.to_q(hidden_states)
            key, value = self.to_kv(source).chunk(2, dim=-1)
        else:
            query, key, value = self.to_q(hidden_states), self.to_k(source), self.to_v(source)
        shape = (self.heads, -1)
        return query.unflatten(-1, shape), key.unflatten(-1, shape), value.unflatten(-1, shape)

    def forward(
        self,
        hidden_states: torch.Tensor,  # (B, N, D)
        encoder_hidden_states: torch.Tensor | None = None,  # (B, L, D)
        attention_mask: torch.Tensor | None = None,  # bool, broadcastable to (B, heads, N, L); True: may attend
        rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,  # 2 x (B or 1, N, 1, head_dim / 2)
        **kwargs: Any,  # the processor's cache arguments
    ) -> torch.Tensor:
        """Attend; returns (B, N, D)."""
        return self.processor(self, hidden_states, encoder_hidden_states, attention_mask, rotary_emb, **kwargs)


def _first_argument(module: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
    return kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]


AttentionProcessorRegistry.register(
    KinemaAttnProcessor, AttentionProcessorMetadata(skip_processor_output_fn=_first_argument)
)
