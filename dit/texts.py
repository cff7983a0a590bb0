"""Captions of training clips: which one each clip is shown, its spans in time, and their encoding."""

from typing import Any, NamedTuple

import torch
from einops import rearrange

from ..conditioner.corpus import known_words, some_captions
from ..configs import Config
from ..data.blend import draw_original
from ..vae.latents import latent_frame_times
from . import flow

VOCABULARY_CLIPS = 4096  # whose captions tell which words are known


class Span(NamedTuple):
    """A text and the part of its clip that follows it."""

    start: float  # share of the clip's length, in [0, 1]
    end: float
    text: str
    level: str = ""  # of the caption: short, original, …; "timed" if it is a part of one, "" for the empty text


def draw_captions(batch: dict[str, Any], config: Config, dropout: bool = True) -> list[list[Span]]:
    """What each clip is told: one caption, or for some clips with timed ones those; or nothing.

    The empty text stands for none, from which classifier-free guidance learns the unconditional velocity. A clip
    with original captions is shown one in `config.data.original_captions` of the draws (`blend.draw_original`).
    """
    seeds = batch["sample_seed"].tolist()
    dropped = flow.draw_caption_dropout(seeds, config.flow.caption_dropout if dropout else 0.0)
    timed = flow.draw_shares(seeds, "timed")
    told = []
    for number, (captions, seed) in enumerate(zip(batch["captions"], seeds)):
        timed_captions = batch["timed_captions"][number] if "timed_captions" in batch else []
        spans = [Span(start, end, text, "timed") for start, end, text in timed_captions]
        if dropped[number]:
            spans = [Span(0.0, 1.0, "")]
        elif not spans or timed[number] >= config.flow.timed_captions:
            mix = config.data.caption_mix
            level = draw_original(captions, mix, config.data.original_captions, seed)
            level = level or flow.draw_level(captions, mix, seed)
            spans = [Span(0.0, 1.0, captions.get(level, ""), level)]
        told.append(spans)
    return told


def encode_captions(
    encode: Any, text: Any, told: list[list[Span]], num_frames: int, stride: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token features (B, L, D), and a mask (B, L) bool, or (B, F, L) if some clip has several spans.

    Args:
        encode: `text` as Accelerate prepared it, if it learns.
        text: the text encoder.
        told: each clip's spans.
        num_frames: latent frames of the clips.
        stride: pixel frames per latent frame.
    """
    most = max(len(spans) for spans in told)
    padded = [spans + [Span(2.0, 2.0, "")] * (most - len(spans)) for spans in told]  # padding is never reached
    tokens = text.tokenize([span.text for spans in padded for span in spans])
    encoding = encode(tokens.input_ids, tokens.attention_mask)
    states, mask = encoding.encoder_hidden_states, encoding.attention_mask
    if most == 1:
        return states, mask
    share = frame_shares(num_frames, stride)
    starts = torch.tensor([[span.start for span in spans] for spans in padded])  # (B, K)
    spoken = (starts[:, None] <= share[:, None]).sum(-1) - 1  # (B, F): the last span that has begun
    own = spoken[:, :, None] == torch.arange(most)  # (B, F, K)
    mask = rearrange(mask, "(b k) l -> b 1 k l", k=most) & own.to(mask.device)[..., None]
    return rearrange(states, "(b k) l d -> b (k l) d", k=most), rearrange(mask, "b f k l -> b f (k l)")


def frame_shares(num_frames: int, stride: int) -> torch.Tensor:
    """Where in its clip each latent frame lies, by its mid-time: (F,), 0 the first pixel frame, 1 the last."""
    return latent_frame_times(num_frames, 1.0, stride) / max(1, (num_frames - 1) * stride)


def freeze_unused(text: Any) -> None:
    """Let those weights learn that the token features depend on (not, say, those of the pooled features)."""
    text.requires_grad_(True)
    tokens = text.tokenize(["a"])
    text(tokens.input_ids, tokens.attention_mask).encoder_hidden_states.sum().backward()
    for parameter in text.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None


def learn_words(text: Any, config: Config, clips: Any) -> None:
    """Add the words of the clips' captions to the closed vocabulary of a text encoder that learns along."""
    known = text.config.get("vocabulary")
    if not known:
        return
    words = known_words(config.data, some_captions(config.data, clips, VOCABULARY_CLIPS))
    text.register_to_config(vocabulary=None if words is None else sorted({*known, *words}))
