"""How well a captioner finds and describes clips: retrieval both ways, and attributes stated exactly."""

from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from tqdm import tqdm

from ..data.files import atomic_path
from ..data.sheets import contact_sheet
from .attributes import attribute_accuracy
from .captioner import ContrastiveCaptioner
from .corpus import facts_of
from .losses import meaning_keys

LEVEL = "dense"  # the level that states everything
SHEET_CLIPS = 8


@torch.no_grad()
def evaluate(
    model: ContrastiveCaptioner, dataset: Any, clips: int, sheet: Path | None = None, batch_size: int = 32
) -> dict[str, Any]:
    """Measure a captioner on the first `clips` clips of a dataset.

    Args:
        dataset: gives clip items; clips without scene facts are left out of the attributes.
        sheet: where to draw some clips under the captions written for them.

    Returns:
        clips; retrieval: text_to_video, video_to_text (recall at 1 over dense captions, texts of equal wording
        being one text) and chance; attributes: accuracy by name.
    """
    count = min(clips, len(dataset))
    videos, written, told, facts, rows = [], [], [], [], []
    for start in tqdm(
        range(0, count, batch_size), desc="held-out clips", leave=False, disable=count <= batch_size
    ):
        items = [dataset[i] for i in range(start, min(start + batch_size, count))]
        seen = [model.encode_video(item["pixel_values"][None], item["fps"]) for item in items]
        videos += [features for features, _ in seen]
        written += model.caption_tokens(torch.cat([tokens for _, tokens in seen]), LEVEL)
        told += [_densest(item["captions"]) for item in items]
        facts += [facts_of(item["scene"]) for item in items]
        for item, caption in zip(items, written[start:]):
            if len(rows) < SHEET_CLIPS:
                rows.append((caption or "(empty)", rearrange(item["pixel_values"], "c t h w -> t h w c").numpy()))
    if sheet is not None:
        with atomic_path(sheet) as path:
            contact_sheet(rows).save(path)
    texts = torch.cat([model.encode_text(told[i : i + batch_size]) for i in range(0, count, batch_size)])
    known = [i for i, each in enumerate(facts) if each is not None]
    return {
        "clips": count,
        "retrieval": recall(torch.cat(videos), texts, meaning_keys(told).to(texts.device)),
        "attributes": attribute_accuracy([written[i] for i in known], [facts[i] for i in known]) if known else {},
    }


def recall(videos: torch.Tensor, texts: torch.Tensor, keys: torch.Tensor) -> dict[str, float]:
    """Recall at 1 of unit features (N, E) of clips and their texts; texts with the same key (N,) are one text."""
    similarity = videos @ texts.T
    same = keys[:, None] == keys[None]
    rows = torch.arange(len(keys), device=keys.device)
    return {
        "text_to_video": same[rows, similarity.argmax(0)].float().mean().item(),
        "video_to_text": same[rows, similarity.argmax(1)].float().mean().item(),
        "chance": same.float().mean().item(),
    }


def _densest(captions: dict[str, str]) -> str:
    """The fullest caption a clip has."""
    return next((captions[level] for level in ("dense", "medium", "short", "original") if captions.get(level)), "")
