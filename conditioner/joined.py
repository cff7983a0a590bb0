"""Several text encoders read as one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin
from torch import nn
from torch.nn import functional as F

from .encoding import Padding, TextEncoding, TextTokens, check_prompts
from .open_clip_text import OpenCLIPConditioner
from .transformers_text import TransformersConditioner

_CLASSES: dict[str, Any] = {each.__name__: each for each in (OpenCLIPConditioner, TransformersConditioner)}


class JoinedConditioner(ModelMixin, ConfigMixin):
    """Conditioners one after the other along the sequence, as Stable Diffusion 3 joins its encoders.

    Narrower features are padded with zeros to the widest (Esser et al. 2024, section 4); pooled features are
    concatenated. A text is reported as cut off only where no member read it.

    Args:
        conditioners: at least one `OpenCLIPConditioner` or `TransformersConditioner`.
    """

    __module__ = "kinema"  # diffusers finds the class by this name when it loads a pipeline

    def __init__(self, conditioners: Sequence[nn.Module]) -> None:
        super().__init__()
        if not conditioners:
            raise ValueError("a joined conditioner needs at least one conditioner and was given none")
        self.members = nn.ModuleList(conditioners)
        self.register_to_config(classes=[type(member).__name__ for member in conditioners])

    @property
    def conditioners(self) -> list[Any]:
        """The joined conditioners, in order."""
        return list(self.members)

    @property
    def hidden_size(self) -> int:
        """Width of `encoder_hidden_states`: the widest member's."""
        return max(member.hidden_size for member in self.conditioners)

    @property
    def max_length(self) -> int:
        """Columns that `tokenize` gives: the members' lengths together."""
        return sum(member.max_length for member in self.conditioners)

    def tokenize(self, prompts: Sequence[str], padding: Padding = "max_length") -> TextTokens:
        """Token ids of every member, side by side; each member's part has its full length.

        `padding` is accepted for the shared interface: `forward` finds the parts by their full lengths.
        """
        parts = [member.tokenize(check_prompts(prompts), "max_length") for member in self.conditioners]
        return TextTokens(
            torch.cat([part.input_ids for part in parts], dim=1),
            torch.cat([part.attention_mask for part in parts], dim=1),
            _unread([part.truncated for part in parts]),
        )

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> TextEncoding:
        """Features of token ids (B, L) and their mask (B, L) bool, as `tokenize` lays them out."""
        lengths = [member.max_length for member in self.conditioners]
        if input_ids.shape[1] != sum(lengths):
            raise ValueError(
                f"input_ids has {input_ids.shape[1]} columns; its members need {' + '.join(map(str, lengths))}, "
                "which tokenize gives"
            )
        parts = zip(self.conditioners, input_ids.split(lengths, 1), attention_mask.split(lengths, 1))
        return self._join([member(ids, mask) for member, ids, mask in parts])

    def encode(self, prompts: Sequence[str], padding: Padding = "longest") -> TextEncoding:
        """Features of prompts, each member's part no longer than its longest prompt (unless so asked)."""
        return self._join([member.encode(check_prompts(prompts), padding) for member in self.conditioners])

    def _join(self, parts: list[TextEncoding]) -> TextEncoding:
        width = self.hidden_size
        return TextEncoding(
            torch.cat([F.pad(states, (0, width - states.shape[-1])) for states, *_ in parts], dim=1),
            torch.cat([part.attention_mask for part in parts], dim=1),
            torch.cat([part.pooled for part in parts], dim=-1),
            _unread([part.truncated for part in parts]),
        )

    def unknown_words(self, prompt: str) -> dict[str, list[str]]:
        """Words that every member's closed vocabulary lacks; {} as soon as one member has an open one."""
        found = [member.unknown_words(prompt) for member in self.conditioners]
        shared = set(found[0]).intersection(*found[1:])
        return {
            word: list(dict.fromkeys(near for each in found for near in each[word]))[:3]
            for word in found[0]
            if word in shared
        }

    def save_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        save_directory: str | Path,
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str = "10GB",
        **kwargs: Any,
    ) -> None:
        """Write each member, with its tokenizer, into a numbered folder of its own."""
        self.save_config(save_directory)
        kwargs |= {"safe_serialization": safe_serialization, "variant": variant, "max_shard_size": max_shard_size}
        for number, member in enumerate(self.conditioners):
            member.save_pretrained(Path(save_directory) / str(number), **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Self:
        """Load a local folder that `save_pretrained` wrote; takes the arguments of diffusers models."""
        folder = Path(pretrained_model_name_or_path) / (kwargs.pop("subfolder", None) or "")
        if not (folder / "config.json").is_file():
            raise ValueError(f"{folder} holds no config.json; joined conditioners load from a local folder")
        names = json.loads((folder / "config.json").read_text())["classes"]
        return cls([_CLASSES[name].from_pretrained(folder / str(i), **kwargs) for i, name in enumerate(names)])


def _unread(truncated: list[list[str]]) -> list[str]:
    """Per prompt, the shortest of the cut-off texts: what even the longest-reading member did not see."""
    return [min(cut, key=len) for cut in zip(*truncated)]
