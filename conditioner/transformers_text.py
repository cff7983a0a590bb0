"""Text encoders of transformers (T5, UMT5, Qwen, Gemma, MiniLM …) as a diffusers component."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING, AutoModelForTextEncoding

from .encoding import (
    Padding,
    TextEncoding,
    TextTokens,
    attach_tokenizer,
    check_prompts,
    computing_device,
    tokenize,
)
from .saving import SavedWithTokenizer
from .vocabulary import unknown_words

Pooling = Literal["mean", "first", "last"]


class TransformersConditioner(SavedWithTokenizer, ConfigMixin):
    """A text encoder, or a decoder-only language model read at one of its layers, with its tokenizer.

    T5's family overflows in float16; load it in bfloat16 or float32.

    Args:
        text_config: `to_dict()` of the transformers configuration.
        hidden_layer: which hidden state conditions, as an index into transformers' `hidden_states`: -1 is the
            last one, after the final norm; -2 the layer before it, which often serves better with
            decoder-only models.
        pooling: how a prompt becomes one vector: "mean" over its tokens, its "first" or its "last" token.
        max_length: tokens a prompt may have.
        vocabulary: every word the encoder was trained on, lower case; None if any word may be known.
        tokenizer: a fast tokenizer of transformers; saved and loaded with the weights.
    """

    __module__ = "kinema"  # diffusers finds the class by this name when it loads a pipeline
    ignore_for_config = ["tokenizer"]  # noqa: RUF012

    @register_to_config
    def __init__(
        self,
        text_config: dict[str, Any],
        hidden_layer: int = -1,
        pooling: Pooling = "mean",
        max_length: int = 256,
        vocabulary: list[str] | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        super().__init__()
        if pooling not in ("mean", "first", "last"):
            raise ValueError(f"pooling is {pooling!r}; it needs to be 'mean', 'first' or 'last'")
        settings = dict(text_config)
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
        states = int(config.num_hidden_layers) + 1
        if not -states <= hidden_layer < states:
            raise ValueError(f"hidden_layer is {hidden_layer}; this model has {states} hidden states")
        self.encoder = _encoder_of(_auto_class(config).from_config(config))
        self.tokenizer = attach_tokenizer(tokenizer)

    @property
    def hidden_size(self) -> int:
        """Width of `encoder_hidden_states`."""
        return int(self.encoder.config.hidden_size)  # pyright: ignore

    @property
    def max_length(self) -> int:
        """Tokens a prompt may have, start and end included."""
        return int(self.config["max_length"])

    def tokenize(self, prompts: Sequence[str], padding: Padding = "longest") -> TextTokens:
        """Token ids, mask and cut-off texts of prompts, on the module's device."""
        return tokenize(
            self.tokenizer,
            check_prompts(prompts),
            self.max_length,
            pad_id=_pad_id(self.tokenizer),
            padding=padding,
            device=computing_device(self),
        )

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> TextEncoding:
        """Features of token ids (B, L) and their mask (B, L) bool, padded on the right."""
        layer = self.config["hidden_layer"]
        output = self.encoder(input_ids, attention_mask=attention_mask.long(), output_hidden_states=layer != -1)
        states = output.last_hidden_state if layer == -1 else output.hidden_states[layer]  # (B, L, D)
        return TextEncoding(
            states, attention_mask, _pool(states, attention_mask, self.config["pooling"]), [""] * len(input_ids)
        )

    def encode(self, prompts: Sequence[str], padding: Padding = "longest") -> TextEncoding:
        """Features of prompts, no longer than the longest of them (or `max_length`, if so asked)."""
        ids, mask, truncated = self.tokenize(prompts, padding)
        states, mask, pooled, _ = self(ids, mask)
        return TextEncoding(states, mask, pooled, truncated)

    def unknown_words(self, prompt: str) -> dict[str, list[str]]:
        """Words of the prompt outside the closed vocabulary, with the nearest known ones; {} if it is open."""
        return unknown_words(prompt, self.config["vocabulary"])

    @classmethod
    def from_transformers(cls, name: str | Path, *, dtype: torch.dtype | None = None, **kwargs: Any) -> Self:
        """Any text encoder or language model of transformers, pretrained, with its tokenizer.

        Args:
            name: a hub id or a local folder.
            dtype: of the weights; None: float32.
            kwargs: hidden_layer, pooling, max_length and vocabulary of this class.
        """
        config = AutoConfig.from_pretrained(name)
        weights, loading = _auto_class(config).from_pretrained(
            name, dtype=dtype or torch.float32, output_loading_info=True
        )
        pretrained = _encoder_of(weights)
        # Heads that pool are not read here, so their absence is no fault.
        missing = [key for key in loading["missing_keys"] if "pooler" not in key]
        if missing:
            raise ValueError(f"{name} lacks weights of its text encoder: {', '.join(sorted(missing)[:5])} …")
        conditioner: Any = cls(
            text_config=pretrained.config.to_dict(), tokenizer=AutoTokenizer.from_pretrained(name), **kwargs
        )
        conditioner.encoder.load_state_dict(pretrained.state_dict())
        return conditioner.to(pretrained.dtype).eval()


def _auto_class(config: PreTrainedConfig) -> Any:
    """transformers' own choice of the text-encoding class of a configuration, else its base model."""
    return AutoModelForTextEncoding if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING else AutoModel


def _encoder_of(model: Any) -> Any:
    """The part that reads text: a vision-language model's language model, an encoder without its tied copy."""
    if hasattr(model, "language_model"):
        return model.language_model
    return model.encoder if hasattr(model, "shared") else model  # T5's family


def _pad_id(tokenizer: PreTrainedTokenizerBase | None) -> int:
    """The id that fills short rows; models that never pad end their rows with the end token."""
    for token in ("pad_token_id", "eos_token_id"):
        if getattr(tokenizer, token, None) is not None:
            return int(getattr(tokenizer, token))
    return 0


def _pool(states: torch.Tensor, mask: torch.Tensor, how: Pooling) -> torch.Tensor:
    """(B, L, D) and (B, L) to (B, D)."""
    if how == "first":
        return states[:, 0]
    if how == "last":
        return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)
