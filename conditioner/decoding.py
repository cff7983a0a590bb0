"""Writing captions token by token: greedy or nucleus sampling over any next-token function."""

from collections.abc import Callable, Sequence

import torch


@torch.no_grad()
def decode(
    next_logits: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    start_ids: torch.Tensor,
    *,
    end_id: int,
    pad_id: int,
    max_length: int,
    banned_ids: Sequence[int] = (),
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Token ids (B, ≤ max_length), each row from its start token to its end token, then padding.

    Args:
        next_logits: (token ids so far (R, L), which rows of the batch these are (R,)) to the logits of the next
            token (R, V). Finished rows are not asked for.
        start_ids: (B,) first tokens.
        max_length: tokens a row may have; the last one is then the end token.
        banned_ids: tokens that are never written.
        top_p: None takes the likeliest token; otherwise one is drawn from the smallest set whose probability
            reaches top_p, in (0, 1] (Holtzman et al. 2020).
        generator: of the draws.
    """
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}; it needs to be in (0, 1], or None for greedy decoding")
    device = start_ids.device
    ids = start_ids[:, None]
    alive = torch.arange(len(ids), device=device)
    while len(alive) and ids.shape[1] < max_length:
        token = torch.full((len(ids),), pad_id, dtype=ids.dtype, device=device)
        if ids.shape[1] == max_length - 1:
            token[alive] = end_id
        else:
            logits = next_logits(ids[alive], alive).float()  # (R, V)
            logits[:, [pad_id, *banned_ids]] = -torch.inf
            token[alive] = logits.argmax(-1) if top_p is None else _nucleus(logits, top_p, generator)
        ids = torch.cat([ids, token[:, None]], dim=1)
        alive = alive[token[alive] != end_id]
    return ids


def _nucleus(logits: torch.Tensor, top_p: float, generator: torch.Generator | None) -> torch.Tensor:
    """(R, V) to (R,)."""
    probabilities, order = logits.softmax(-1).sort(-1, descending=True)
    before = probabilities.cumsum(-1) - probabilities
    kept = probabilities.masked_fill(before >= top_p, 0)
    device = generator.device if generator is not None else kept.device
    drawn = torch.multinomial(kept.to(device), 1, generator=generator).to(order.device)
    return order.gather(-1, drawn)[:, 0]
