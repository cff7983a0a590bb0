"""Prompts on their way to the denoiser: encoded, laid along the frames, repeated and stacked for guidance."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import torch
from einops import rearrange
from torch.nn.functional import pad


class TextBatch(NamedTuple):
    """Embeddings and masks of a batch of videos, as `KinemaPipeline.encode_prompt` returns them."""

    prompt_embeds: torch.Tensor  # (B, L, D)
    prompt_attention_mask: torch.Tensor  # (B, L) or (B, F, L) bool
    negative_prompt_embeds: torch.Tensor | None  # (B, M, D); None without guidance
    negative_prompt_attention_mask: torch.Tensor | None  # (B, M) or (B, F, M) bool

    @classmethod
    def of(
        cls,
        prompt_embeds: torch.Tensor,
        prompt_attention_mask: torch.Tensor | None,
        negative_prompt_embeds: torch.Tensor | None,
        negative_prompt_attention_mask: torch.Tensor | None,
    ) -> Self:
        """The same, with all tokens counted where no mask is given."""

        def mask_of(embeds: torch.Tensor | None, mask: torch.Tensor | None) -> torch.Tensor | None:
            if embeds is None or mask is not None:
                return mask if mask is None else mask.bool()
            return torch.ones(embeds.shape[:2], dtype=torch.bool, device=embeds.device)

        positive, negative = prompt_embeds, negative_prompt_embeds
        masks = mask_of(positive, prompt_attention_mask), mask_of(negative, negative_prompt_attention_mask)
        return cls(positive, masks[0], negative, masks[1])  # pyright: ignore[reportArgumentType]

    def embeds(self) -> dict[str, torch.Tensor | None]:
        """What a callback may see and change."""
        return {
            "prompt_embeds": self.prompt_embeds,
            "negative_prompt_embeds": self.negative_prompt_embeds,
        }

    def along(self, text_of_frame: tuple[int, ...]) -> Self:
        """Join the K texts of each video; see `join_texts`."""
        positive = join_texts(self.prompt_embeds, self.prompt_attention_mask, text_of_frame)
        if self.negative_prompt_embeds is None or self.negative_prompt_attention_mask is None:
            return self._replace(prompt_embeds=positive[0], prompt_attention_mask=positive[1])
        negative = join_texts(self.negative_prompt_embeds, self.negative_prompt_attention_mask, text_of_frame)
        return type(self)(*positive, *negative)

    def repeated(self, videos_per_prompt: int) -> Self:
        """Each row as many times as there are videos of it, side by side."""
        if videos_per_prompt == 1:
            return self
        return self._each(lambda tensor: tensor.repeat_interleave(videos_per_prompt, dim=0))

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Self:
        """On a device, the embeddings in a dtype."""
        return self._each(lambda tensor: tensor.to(device, None if tensor.dtype == torch.bool else dtype))

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Self:
        return self._replace(**{k: change(v) for k, v in self._asdict().items() if v is not None})

    def stacked(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Negative rows above positive ones, the shorter texts padded: (2B, L, D) and their mask."""
        negative, negative_mask = self.negative_prompt_embeds, self.negative_prompt_attention_mask
        assert negative is not None and negative_mask is not None
        length = max(negative.shape[1], self.prompt_embeds.shape[1])
        embeds = [pad(t, (0, 0, 0, length - t.shape[1])) for t in (negative, self.prompt_embeds)]
        masks = [pad(m, (0, length - m.shape[-1])) for m in (negative_mask, self.prompt_attention_mask)]
        return torch.cat(embeds), torch.cat(masks)


def encode_texts(text_encoder: Any, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token features (B, L, D) and their mask (B, L) bool."""
    encoding = text_encoder.encode(list(texts))
    return encoding.encoder_hidden_states, encoding.attention_mask


def encode_batch(
    text_encoder: Any,
    prompt: str | list[str] | None,
    negative_prompt: str | list[str] | None,
    guided: bool,
    prompt_embeds: torch.Tensor | None = None,
    prompt_attention_mask: torch.Tensor | None = None,
    negative_prompt_embeds: torch.Tensor | None = None,
    negative_prompt_attention_mask: torch.Tensor | None = None,
) -> TextBatch:
    """Encode prompts and, if guided, the negative ones (all the same if one is given), unless embeddings are."""
    if prompt_embeds is None:
        texts = [prompt] if isinstance(prompt, str) else prompt or [""]
        prompt_embeds, prompt_attention_mask = encode_texts(text_encoder, texts)
    if guided and negative_prompt_embeds is None:
        texts = negative_prompt or ""
        texts = [texts] * len(prompt_embeds) if isinstance(texts, str) else texts
        negative_prompt_embeds, negative_prompt_attention_mask = encode_texts(text_encoder, texts)
    return TextBatch.of(
        prompt_embeds, prompt_attention_mask, negative_prompt_embeds, negative_prompt_attention_mask
    )


def join_texts(
    hidden_states: torch.Tensor, mask: torch.Tensor, text_of_frame: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Concatenate each video's texts; with several, the mask says which frame reads which.

    Args:
        hidden_states: (B·K, L, D), the K texts of a video in order, video after video.
        mask: (B·K, L) bool, true on real tokens.
        text_of_frame: F indices below K.

    Returns:
        (B, K·L, D) and a bool mask: (B, L) if K is 1, else (B, F, K·L).
    """
    texts = max(text_of_frame) + 1
    if texts == 1:
        return hidden_states, mask
    joined = rearrange(hidden_states, "(b k) l d -> b (k l) d", k=texts)
    own = torch.tensor(text_of_frame, device=mask.device)[:, None] == torch.arange(texts, device=mask.device)
    spans = rearrange(mask, "(b k) l -> b 1 k l", k=texts) & own[None, :, :, None]
    return joined, rearrange(spans, "b f k l -> b f (k l)")


def text_warnings(text_encoder: Any, prompts: Sequence[str]) -> list[str]:
    """What a caller should know about prompts: words the model never saw, and text that does not fit."""
    if text_encoder is None:
        return []
    warnings = []
    for prompt in dict.fromkeys(prompts):
        for word, near in text_encoder.unknown_words(prompt).items():
            hint = f"; the nearest it knows: {', '.join(near)}" if near else ""
            warnings.append(f"the model does not know the word {word!r}{hint}")
    for cut in text_encoder.tokenize(list(prompts)).truncated if prompts else []:
        if cut:
            warnings.append(f"the prompt is too long for the model; this part was left out: {cut!r}")
    return list(dict.fromkeys(warnings))


def per_video(texts: Sequence[str], videos: int, num_texts: int = 1) -> list[str]:
    """The text of each video; "" if there is none.

    Args:
        texts: one for all, one per prompt, or `num_texts` per prompt, which are joined by " | ".
        videos: how many, those of a prompt side by side.
        num_texts: texts that each video's frames follow.
    """
    if not texts:
        return [""] * videos
    each = num_texts if len(texts) % num_texts == 0 else 1
    joined = [" | ".join(texts[first : first + each]) for first in range(0, len(texts), each)]
    return [joined[video * len(joined) // videos] for video in range(videos)]
