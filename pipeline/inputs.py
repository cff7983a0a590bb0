"""Checks of a pipeline's parts and of a call's inputs, before any model runs."""

from collections.abc import Collection, Sequence
from typing import Any, TypeVar

import torch

from ..vae.latents import latent_channels
from .draft import Draft
from .output import OUTPUT_TYPES

T = TypeVar("T")


def check_parts(vae: Any, text_encoder: Any, transformer: Any) -> None:
    """Raise a ValueError if the parts were not made for one another; parts may be None."""
    if transformer is None:
        return
    channels, width = transformer.config.in_channels, transformer.config.cross_attention_dim
    if vae is not None and latent_channels(vae) != channels:
        raise ValueError(
            f"the autoencoder has {latent_channels(vae)} latent channels and the transformer {channels}; use the "
            "autoencoder that the transformer was trained on"
        )
    if text_encoder is not None and text_encoder.hidden_size != width:
        raise ValueError(
            f"the text encoder gives {text_encoder.hidden_size} features a token and the transformer takes "
            f"{width}; use the text encoder that the transformer was trained with"
        )


def check_prompts(
    prompt: str | list[str] | None,
    negative_prompt: str | list[str] | None,
    prompt_embeds: torch.Tensor | None,
    negative_prompt_embeds: torch.Tensor | None,
) -> int:
    """The number of prompts.

    Raises:
        ValueError: a prompt is missing, doubled or of another type, or the negative ones do not match.
    """
    if (prompt is None) == (prompt_embeds is None):
        given = "neither" if prompt is None else "both"
        raise ValueError(f"{given} of prompt and prompt_embeds given; give one of them")
    if negative_prompt is not None and negative_prompt_embeds is not None:
        raise ValueError("both of negative_prompt and negative_prompt_embeds given; give one of them")
    for name, value in (("prompt", prompt), ("negative_prompt", negative_prompt)):
        texts = [value] if isinstance(value, str) else value
        if texts is not None and not (
            isinstance(texts, list) and texts and all(isinstance(t, str) for t in texts)
        ):
            raise ValueError(f"{name} is {value!r}; it needs a string or a list of strings")
    if prompt_embeds is not None:
        prompts = len(prompt_embeds)
    else:
        prompts = 1 if isinstance(prompt, str) else len(prompt or [])
    negatives = len(negative_prompt) if isinstance(negative_prompt, list) else None
    negatives = len(negative_prompt_embeds) if negative_prompt_embeds is not None else negatives
    if negatives is not None and negatives != prompts:
        raise ValueError(
            f"{negatives} negative prompts for {prompts} prompts; give one each, or one string for all"
        )
    return prompts


def check_encoder(text_encoder: Any, needed: bool) -> None:
    """Raise a ValueError if texts are to be encoded and there is no encoder."""
    if text_encoder is None and needed:
        raise ValueError(
            "the pipeline has no text_encoder; give prompt_embeds and (unless guidance_scale is 1) "
            "negative_prompt_embeds"
        )


def check_output_type(output_type: str) -> None:
    """Raise a ValueError for a type of output that there is not."""
    if output_type not in OUTPUT_TYPES:
        raise ValueError(f"output_type is {output_type!r}; it is one of {', '.join(OUTPUT_TYPES)}")


def check_numbers(frame_rate: float, num_inference_steps: int, num_videos_per_prompt: int) -> None:
    """Raise a ValueError for a count below 1 or a frame rate that is not positive."""
    if not 0 < frame_rate < float("inf") or num_inference_steps < 1 or num_videos_per_prompt < 1:
        raise ValueError(
            f"frame_rate is {frame_rate}, num_inference_steps {num_inference_steps} and num_videos_per_prompt "
            f"{num_videos_per_prompt}; the first needs to be above 0, the others at least 1"
        )


def check_latents(
    latents: torch.Tensor | None,
    draft: Draft,
    cells: tuple[int, ...],
    prompts: int,
    num_videos_per_prompt: int,
) -> None:
    """Raise a ValueError if the latents or what is given do not have the shape (C, F, h, w) of the call."""
    texts = draft.num_texts
    if prompts % texts:
        raise ValueError(f"{prompts} prompts for a canvas with {texts} texts a video; give {texts} a video")
    batch = prompts // texts * num_videos_per_prompt
    if latents is not None and tuple(latents.shape) != (batch, *cells):
        raise ValueError(f"latents have shape {tuple(latents.shape)}; this call needs {(batch, *cells)}")
    if draft.batch not in (1, batch):
        raise ValueError(
            f"the canvas is of {draft.batch} videos and the call of {batch}; give a canvas of 1 or {batch}"
        )
    if draft.channels not in (None, cells[0]):
        raise ValueError(f"the canvas has latents of {draft.channels} channels; this call needs {(batch, *cells)}")


def check_no_prompt(prompt: Any, prompt_embeds: Any) -> None:
    """Raise a ValueError if a storyboard, which has its own texts, comes with a prompt."""
    if prompt is not None or prompt_embeds is not None:
        raise ValueError(
            "both of storyboard and a prompt given; the storyboard's texts stand for the prompt, give one of them"
        )


def check_callback_inputs(given: Sequence[str] | None, allowed: Collection[str]) -> None:
    """Raise a ValueError if a callback asks for tensors that there are not."""
    unknown = [name for name in given or () if name not in allowed]
    if unknown:
        raise ValueError(
            f"callback_on_step_end_tensor_inputs has {', '.join(unknown)}; it can have {', '.join(allowed)}"
        )


def first_given(*values: T | None) -> T:
    """The first value that is not None; 0 is a value.

    Raises:
        ValueError: all are None.
    """
    for value in values:
        if value is not None:
            return value
    raise ValueError(
        "the checkpoint has no default for this; give height, width, num_frames and frame_rate in the call"
    )
