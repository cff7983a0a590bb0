"""A model and its tokenizer, saved into one folder and loaded from it."""

from pathlib import Path
from typing import Any

from diffusers.models.modeling_utils import ModelMixin
from transformers import PreTrainedTokenizerBase

from .encoding import attach_tokenizer, load_tokenizer


class SavedWithTokenizer(ModelMixin):
    """A diffusers model with a `tokenizer` whose files lie beside its weights.

    The arguments of `save_pretrained` are written out because a pipeline hands a component only those that it
    finds there.
    """

    tokenizer: PreTrainedTokenizerBase | None

    def save_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        save_directory: str | Path,
        is_main_process: bool = True,
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str = "10GB",
        **kwargs: Any,
    ) -> None:
        """Write config, weights and tokenizer files into one folder; takes the arguments of diffusers models."""
        super().save_pretrained(
            save_directory,
            is_main_process=is_main_process,
            safe_serialization=safe_serialization,
            variant=variant,
            max_shard_size=max_shard_size,
            **kwargs,
        )
        if self.tokenizer is not None and is_main_process:
            self.tokenizer.save_pretrained(save_directory)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Any:
        """Load a folder that `save_pretrained` wrote; takes the arguments of diffusers models."""
        loaded = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.tokenizer = attach_tokenizer(load_tokenizer(pretrained_model_name_or_path, **kwargs))
        return loaded
