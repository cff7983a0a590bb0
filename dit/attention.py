"""Self- and cross-attention with RMS-normed queries and keys, in diffusers' conventions.

The processor calls `dispatch_attention_fn`, so `transformer.set_attention_backend(...)` works. On a CPU in half
precision, softmax(QKᵀ)V written out takes over: the fused kernel needs 1.5 times as long there (1,280 tokens,
forward) to 4 times (80 tokens, with its backward pass). In float32 the fused kernel wins.

Normalisation has one learned factor per head, not one per channel: rows of `to_q` and `to_k` can already weigh
the channels against each other, and only the overall size of the products is left to learn.
"""

from typing import Any

import torch
from diffusers.hooks._helpers import AttentionProcessorMetadata, AttentionProcessorRegistry
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import nn
from torch.autograd.function import once_differentiable

from .cache import LayerCache
from .rope import rotate

PLAIN_ATTENTION_MAX_SCORES = 2**25  # B · heads · N · L that may lie in memory at once: 64 MiB
EPSILON = 1e-6  # of the RMS norm, in squared units


class _NormalizeAndRotate(torch.autograd.Function):
    """`normalize_and_rotate` in few passes over memory; autograd's own backward takes two to three times as long.

    With r = 1 / rms(x), y = rotate(x · r · gain): writing g for the gradient turned back, the gradient of x is
    r·gain·(g - x · r² · mean(g · x)), and that of a head's gain the sum of r · (g · x).
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, gain: torch.Tensor, rotary_emb: torch.Tensor | None) -> torch.Tensor:
        wide = x.float()
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)  # (B, N, heads, 1), in one pass
        inverse_rms = torch.rsqrt(norm.square() / x.shape[-1] + EPSILON)
        ctx.save_for_backward(x, inverse_rms, gain, rotary_emb)
        out = wide * (inverse_rms * gain[:, None])
        return (out if rotary_emb is None else rotate(out, rotary_emb)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        x, inverse_rms, gain, rotary_emb = ctx.saved_tensors
        wide, grad = x.float(), grads[0].float()
        if rotary_emb is not None:
            grad = rotate(grad.contiguous(), rotary_emb, sign=-1)
        product = (grad * wide).sum(-1, keepdim=True)  # (B, N, heads, 1)
        scale = inverse_rms * gain[:, None]
        grad_x = torch.addcmul(grad * scale, wide, product * scale * inverse_rms.square() / -x.shape[-1])
        return grad_x.to(x.dtype), (product * inverse_rms).sum((0, 1, 3)).to(gain.dtype), None


def normalize_and_rotate(
    x: torch.Tensor, gain: torch.Tensor, rotary_emb: torch.Tensor | None = None
) -> torch.Tensor:
    """Divide each head of `x` (B, N, heads, head_dim) by its root mean square, scale it, and rotate it.

    Computed in float32 and returned in the type of `x`. `gain` is (heads,), `rotary_emb` as in `rotate`.
    """
    if not torch.compiler.is_compiling():
        return _NormalizeAndRotate.apply(x, gain, rotary_emb)
    wide = x.float()
    out = wide * (torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPSILON) * gain[:, None])
    return (out if rotary_emb is None else rotate(out, rotary_emb)).to(x.dtype)


def plain_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """softmax(QKᵀ/√d)V with tensors (B, N, heads, head_dim); `mask` is bool, broadcastable to (B, heads, N, L)."""
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return (scores.softmax(dim=-1) @ value).transpose(1, 2)


def _plain_is_faster(query: torch.Tensor, key: torch.Tensor) -> bool:
    half = query.dtype in (torch.bfloat16, torch.float16)
    batch, tokens, heads, _ = query.shape
    return (
        query.device.type == "cpu" and half and batch * heads * tokens * key.shape[1] <= PLAIN_ATTENTION_MAX_SCORES
    )


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
        rotary_emb: torch.Tensor | None = None,
        kv_cache: LayerCache | None = None,
        record: bool = False,
        keep: int | None = None,
    ) -> torch.Tensor:
        """Attend; shapes as in `KinemaAttention.forward`."""
        query, key, value = attn.project(hidden_states, encoder_hidden_states)  # (B, N or L, heads, head_dim)
        query = normalize_and_rotate(query, attn.gain_q, rotary_emb)
        key = normalize_and_rotate(key, attn.gain_k, rotary_emb)
        if kv_cache is not None:
            key, value = kv_cache.extend(key, value, record=record, keep=keep)

        if self._attention_backend is None and self._parallel_config is None and _plain_is_faster(query, key):
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
    """One multi-head attention layer without biases.

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
        self.gain_q = nn.Parameter(torch.ones(heads))
        self.gain_k = nn.Parameter(torch.ones(heads))
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
        rotary_emb: torch.Tensor | None = None,  # (B or 1, N, 1, head_dim / 2, 2)
        **kwargs: Any,  # the processor's cache arguments
    ) -> torch.Tensor:
        """Attend; returns (B, N, D)."""
        return self.processor(self, hidden_states, encoder_hidden_states, attention_mask, rotary_emb, **kwargs)


def _first_argument(module: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
    return kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]


AttentionProcessorRegistry.register(
    KinemaAttnProcessor, AttentionProcessorMetadata(skip_processor_output_fn=_first_argument)
)
