"""What every text encoder of the project takes and gives: the one interface behind `encode(prompts)`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

Padding = Literal["longest", "max_length"]

# Arguments of from_pretrained that say where files come from; a tokenizer is fetched with the same ones.
_WHERE = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")


class TextTokens(NamedTuple):
    """Prompts as token ids, padded on the right."""

    input_ids: torch.Tensor  # (B, L) int64
    attention_mask: torch.Tensor  # (B, L) bool, True on tokens of the prompt; at least one in every row
    truncated: list[str]  # per prompt, the text that did not fit; "" where all of it did


class TextEncoding(NamedTuple):
    """Prompts as features."""

    encoder_hidden_states: torch.Tensor  # (B, L, D)
    attention_mask: torch.Tensor  # (B, L) bool, True on tokens of the prompt
    pooled: torch.Tensor  # (B, P), one vector a prompt
    truncated: list[str]  # per prompt, the text that did not fit; "" where all of it did


@runtime_checkable
class Conditioner(Protocol):
    """A text encoder as the pipeline and the denoiser's training see it.

    `encode` is `tokenize` followed by `forward`; training calls the two itself, so that gradients reach the
    text encoder. Gradients, dtype and device are the module's own.
    """

    @property
    def hidden_size(self) -> int:
        """D, the width of `encoder_hidden_states`."""
        ...

    @property
    def max_length(self) -> int:
        """Tokens a prompt may have, start and end included."""
        ...

    def tokenize(self, prompts: Sequence[str], padding: Padding = "longest") -> TextTokens:
        """Token ids on the module's device."""
        ...

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> TextEncoding:
        """Features of token ids (B, L) and their mask (B, L)."""
        ...

    def encode(self, prompts: Sequence[str], padding: Padding = "longest") -> TextEncoding:
        """Features of prompts; `[""]` is a valid list of prompts."""
        ...

    def unknown_words(self, prompt: str) -> dict[str, list[str]]:
        """Words outside a closed vocabulary, each with its nearest known words; {} if the vocabulary is open."""
        ...


def check_prompts(prompts: Sequence[str]) -> list[str]:
    """The prompts as a list.

    Raises:
        TypeError: prompts is one string, or holds something else than strings.
        ValueError: there is no prompt.
    """
    if isinstance(prompts, str):
        raise TypeError(f"encode takes a list of prompts and was given the string {prompts!r}; put it in a list")
    prompts = list(prompts)
    if not prompts:
        raise ValueError('encode was given an empty list of prompts; an empty prompt is [""]')
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise TypeError(f"every prompt is a string, and one is {prompt!r} ({type(prompt).__name__})")
    return prompts


def attach_tokenizer(tokenizer: PreTrainedTokenizerBase | None) -> PreTrainedTokenizerBase | None:
    """Ready a tokenizer for `tokenize`: no cutting or padding of its own, and "<end>" typed by a user is text.

    Raises:
        TypeError: the tokenizer is not of the "fast" kind that knows which characters a token came from.
    """
    if tokenizer is None:
        return None
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise TypeError(
            f"{type(tokenizer).__name__} has no tokenizer.json; a conditioner needs a fast tokenizer, for example "
            "AutoTokenizer.from_pretrained(...) of a model that ships a tokenizer.json"
        )
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    return tokenizer


def computing_device(module: torch.nn.Module) -> torch.device:
    """Where a module computes: not where its weights wait, if they are offloaded between calls."""
    for part in module.modules():
        device = getattr(getattr(part, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return torch.device(device)
    return module.device  # pyright: ignore[reportReturnType]


def load_tokenizer(folder: str | Path, **kwargs: Any) -> PreTrainedTokenizerBase:
    """Load the tokenizer files saved beside a conditioner's weights; takes from_pretrained's arguments."""
    where = {key: value for key, value in kwargs.items() if key in _WHERE and value is not None}
    return AutoTokenizer.from_pretrained(folder, **where)


def tokenize(
    tokenizer: PreTrainedTokenizerBase | None,
    prompts: Sequence[str],
    max_length: int,
    *,
    pad_id: int,
    padding: Padding,
    device: torch.device | str,
) -> TextTokens:
    """Turn prompts into ids of at most `max_length` tokens, start and end tokens included and always kept.

    Args:
        pad_id: fills the tail of shorter rows; it also stands for a prompt that has no token at all.
        padding: "longest" pads to the longest prompt given, "max_length" to `max_length`.
    """
    if tokenizer is None:
        raise ValueError(
            "this conditioner has no tokenizer; pass tokenizer=… when building it, or load it with from_pretrained"
        )
    backend: Any = tokenizer.backend_tokenizer  # pyright: ignore[reportAttributeAccessIssue]
    rows, truncated = [], []
    for prompt, encoding in zip(prompts, backend.encode_batch(list(prompts)), strict=True):
        ids, cut = encoding.ids, ""
        if len(ids) > max_length:
            special = encoding.special_tokens_mask
            tail = next((n for n in range(len(ids)) if not special[-1 - n]), 0)  # end tokens
            kept = max_length - tail
            cut = prompt[encoding.offsets[kept][0] :].strip()
            ids = ids[:kept] + ids[len(ids) - tail :]
        rows.append(ids or [pad_id])
        truncated.append(cut)
    length = max_length if padding == "max_length" else max(map(len, rows))
    input_ids = torch.full((len(rows), length), pad_id, dtype=torch.int64)
    attention_mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for i, ids in enumerate(rows):
        input_ids[i, : len(ids)] = torch.tensor(ids)
        attention_mask[i, : len(ids)] = True
    return TextTokens(input_ids.to(device), attention_mask.to(device), truncated)
