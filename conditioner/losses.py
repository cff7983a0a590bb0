"""The contrastive captioner's losses, equal on one process and on many."""

import hashlib
import re
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch.nn import functional as F


def meaning_keys(texts: Iterable[str]) -> torch.Tensor:
    """A 63-bit number for each text, equal for texts that differ only in case, space and punctuation: (B,)."""
    plain = (" ".join(re.findall(r"\w+", text.lower())) for text in texts)
    digests = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in plain)
    return torch.tensor([int.from_bytes(digest, "big") >> 1 for digest in digests], dtype=torch.int64)


def positive_pairs(keys: torch.Tensor) -> torch.Tensor:
    """Which texts describe which clips (N, N): a pair's own, and those of pairs that share one of their keys.

    Args:
        keys: (N, K) int64, for example a key of the caption and a key of the facts behind it; 0 is no key.
    """
    same = (keys[:, None] == keys[None]) & (keys[:, None] != 0)  # (N, N, K)
    own = torch.eye(len(keys), dtype=torch.bool, device=keys.device)
    return same.any(-1) | own


def contrastive_loss(
    video_features: torch.Tensor,
    text_features: torch.Tensor,
    positives: torch.Tensor,
    logit_scale: torch.Tensor,
    logit_bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """InfoNCE, or with a bias the sigmoid loss, over unit features (N, E) of clips and texts.

    InfoNCE (Radford et al. 2021) shares the target equally among a row's positives. The sigmoid loss (Zhai et al.
    2023, eq. 1) asks of each pair by itself whether it belongs together.

    Args:
        positives: (N, N) bool, which text (column) describes which clip (row).
    """
    logits = logit_scale * video_features.float() @ text_features.float().T  # (N, N)
    if logit_bias is not None:
        signs = positives.to(logits.dtype) * 2 - 1
        return -F.logsigmoid(signs * (logits + logit_bias)).sum() / len(logits)
    target = positives.to(logits.dtype)
    rows = F.cross_entropy(logits, target / target.sum(1, keepdim=True))
    columns = F.cross_entropy(logits.T, target.T / target.T.sum(1, keepdim=True))
    return (rows + columns) / 2


def caption_loss(logits: torch.Tensor, input_ids: torch.Tensor, pad_id: int) -> torch.Tensor:
    """Cross-entropy of each next token, averaged over the tokens of all processes that are not padding.

    Args:
        logits: (B, L - 1, V), prediction i is of token i + 1.
        input_ids: (B, L).
    """
    labels = input_ids[:, 1:]
    total = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=pad_id, reduction="sum")
    count = (labels != pad_id).sum().to(total.dtype)
    ranks = 1
    if dist.is_available() and dist.is_initialized():
        # Gradients are averaged over processes afterwards; this makes that the mean over all tokens.
        dist.all_reduce(count)
        ranks = dist.get_world_size()
    return total * ranks / count.clamp(min=1)


def gather(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Each tensor (B, …) of all processes, in order (B · ranks, …); gradients flow back to where they came from.

    Every process then computes the loss of the whole batch, and averaging the gradients over processes, as data
    parallelism does, gives exactly its gradient.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return tensors
    return tuple(_Gather.apply(tensor) for tensor in tensors)  # pyright: ignore[reportReturnType]


class _Gather(torch.autograd.Function):
    """All-gather whose gradient is summed over processes and cut back to this one's share."""

    @staticmethod
    def forward(ctx, tensor: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]
