"""Text towers of open_clip (CLIP, SigLIP, CoCa; ours or any pretrained name) as a diffusers component."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from open_clip.model import _build_text_tower
from open_clip.tokenizer import SimpleTokenizer, get_clean_fn
from open_clip.transformer import QuickGELU, TextTransformer, text_global_pool
from transformers import CLIPTokenizer, PreTrainedTokenizerBase

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


def build_text_tower(embed_dim: int, text_cfg: dict[str, Any], quick_gelu: bool = False) -> "TextTower":
    """A tower of open_clip from its own settings.

    open_clip's "custom" block has the same weights as the default one and is built of plain modules, which
    weight offloading needs.

    Args:
        embed_dim: width of the pooled features.
        text_cfg: fields of `open_clip.model.CLIPTextCfg`.
    """
    _check_kind(text_cfg)
    settings: Any = {**text_cfg, "block_type": "custom", "output_tokens": True}
    tower: Any = _build_text_tower(embed_dim, settings, quick_gelu)
    tower.__class__ = TextTower  # open_clip's builder knows its own class only
    return tower


def _check_kind(text_cfg: dict[str, Any]) -> None:
    if text_cfg.get("hf_model_name"):
        raise ValueError(
            f"open_clip builds this tower from the transformers model {text_cfg['hf_model_name']!r}; "
            "use TransformersConditioner.from_transformers with that name"
        )


class TextTower(TextTransformer):
    """A tower of open_clip that gives its token features at any length.

    All of it runs in `forward`, since whoever offloads weights brings a module's own ones for its forward only.
    """

    def forward(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Pooled features (B, P) and token features after the final norm (B, L, D) of ids padded to any L.

        Causal towers pooled at the end token give the same features at every length, so they run at the length
        given; the others see their padding, or add a class token behind it, and run at their full length.
        """
        length, full = input_ids.shape[1], self.context_length
        if self.attn_mask is not None and self.cls_emb is None and self.pool_type in ("argmax", "eos"):
            dtype = self.transformer.get_cast_dtype()
            x = self.token_embedding(input_ids).to(dtype) + self.positional_embedding[:length].to(dtype)
            x = self.transformer(x, attn_mask=self.attn_mask[:length, :length])
            tokens = self.ln_final(x)
            pooled = text_global_pool(tokens, input_ids, self.pool_type, self.eos_id)
            projection = self.text_projection
            if isinstance(projection, torch.nn.Linear):
                pooled = projection(pooled)
            elif projection is not None:
                pooled = pooled @ projection
            return pooled, tokens
        if length != full:
            raise ValueError(f"this tower sees its padding: it needs {full} ids a prompt and was given {length}")
        pooled, tokens = super().forward(input_ids)
        if self.cls_emb is not None:  # CoCa gives its tokens without the final norm
            tokens = self.ln_final(tokens)
        return pooled, tokens


class OpenCLIPConditioner(SavedWithTokenizer, ConfigMixin):
    """One text tower of open_clip with its tokenizer.

    Args:
        embed_dim: width of the pooled features.
        text_cfg: fields of `open_clip.model.CLIPTextCfg`.
        quick_gelu: the activation of the weights OpenAI released.
        clean: how open_clip cleans a prompt before its tokenizer: "lower", "canonicalize", "whitespace"
            or "none".
        pad_id: the token behind the end of shorter prompts.
        vocabulary: every word the tower was trained on, lower case; None if any word may be known.
        tokenizer: a fast tokenizer of transformers; saved and loaded with the weights.
    """

    __module__ = "kinema"  # diffusers finds the class by this name when it loads a pipeline
    ignore_for_config = ["tokenizer"]  # noqa: RUF012

    @register_to_config
    def __init__(
        self,
        embed_dim: int,
        text_cfg: dict[str, Any],
        quick_gelu: bool = False,
        clean: str = "none",
        pad_id: int = 0,
        vocabulary: list[str] | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        super().__init__()
        self.tower = build_text_tower(embed_dim, text_cfg, quick_gelu)
        self.tokenizer = attach_tokenizer(tokenizer)
        self._clean = (lambda text: text) if clean == "none" else get_clean_fn(clean)
        causal = self.tower.attn_mask is not None and self.tower.cls_emb is None
        self._any_length = causal and self.tower.pool_type in ("argmax", "eos")

    @property
    def hidden_size(self) -> int:
        """Width of `encoder_hidden_states`."""
        return self.tower.width

    @property
    def max_length(self) -> int:
        """Tokens a prompt may have, start and end included."""
        return self.tower.context_length

    def tokenize(self, prompts: Sequence[str], padding: Padding = "longest") -> TextTokens:
        """Token ids, mask and cut-off texts of prompts, on the module's device.

        Towers that see their padding always get their full context length.
        """
        return tokenize(
            self.tokenizer,
            [self._clean(prompt) for prompt in check_prompts(prompts)],
            self.max_length,
            pad_id=self.config["pad_id"],
            padding=padding if self._any_length else "max_length",
            device=computing_device(self),
        )

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> TextEncoding:
        """Features of token ids (B, L) and their mask (B, L) bool."""
        pooled, tokens = self.tower(input_ids)  # (B, P), (B, L, D)
        return TextEncoding(tokens, attention_mask, pooled, [""] * len(input_ids))

    def encode(self, prompts: Sequence[str], padding: Padding = "longest") -> TextEncoding:
        """Features of prompts, no longer than the longest of them (or the context length, if so asked)."""
        ids, mask, truncated = self.tokenize(prompts, padding)
        states, _, pooled, _ = self(ids, mask)
        length = ids.shape[1] if padding == "max_length" else int(mask.sum(1).max())
        return TextEncoding(states[:, :length], mask[:, :length], pooled, truncated)

    def unknown_words(self, prompt: str) -> dict[str, list[str]]:
        """Words of the prompt outside the closed vocabulary, with the nearest known ones; {} if it is open."""
        return unknown_words(prompt, self.config["vocabulary"])

    @classmethod
    def from_open_clip(cls, name: str, pretrained: str | None = None, **kwargs: Any) -> Self:
        """The text tower of any open_clip model, with its tokenizer.

        Args:
            name: an entry of `open_clip.list_models()`, or "hf-hub:…", or "local-dir:…".
            pretrained: a tag of `open_clip.list_pretrained_tags_by_model(name)` or a file; None: random weights.
            kwargs: for `open_clip.create_model`, for example `cache_dir`.
        """
        import open_clip

        config = open_clip.get_model_config(name)
        if config is None:
            raise ValueError(f"open_clip has no settings for {name}; open_clip.list_models() names those it has")
        _check_kind(config["text_cfg"])
        model = open_clip.create_model(name, pretrained=pretrained, force_custom_text=True, **kwargs)
        tower: Any = model.text  # pyright: ignore[reportAttributeAccessIssue]
        tokenizer = open_clip.get_tokenizer(name)
        if isinstance(tokenizer, SimpleTokenizer):
            clean, fast, pad_id = _name_of(tokenizer.clean_fn), _clip_tokenizer(tokenizer), 0
        else:
            clean, fast = _name_of(tokenizer.clean_fn), tokenizer.tokenizer  # pyright: ignore[reportAttributeAccessIssue]
            pad_id = fast.pad_token_id
        conditioner = cls(
            embed_dim=config["embed_dim"],
            text_cfg=config["text_cfg"],
            quick_gelu=any(isinstance(module, QuickGELU) for module in tower.modules()),
            clean=clean,
            pad_id=pad_id,
            tokenizer=fast,
        )
        conditioner.tower.load_state_dict(tower.state_dict())
        return conditioner.eval()


def _name_of(clean_fn: Any) -> str:
    """The name under which open_clip's get_clean_fn gives this function."""
    return next(name for name in ("lower", "canonicalize", "whitespace") if get_clean_fn(name) is clean_fn)


def _clip_tokenizer(simple: SimpleTokenizer) -> PreTrainedTokenizerBase:
    """open_clip's own tokenizer, which cannot be saved, as a transformers one with the same ids."""
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocab = {names.get(token, token): i for token, i in simple.encoder.items()}
    return CLIPTokenizer(vocab=vocab, merges=[tuple(merge) for merge in simple.bpe_ranks])  # pyright: ignore
