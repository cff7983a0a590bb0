"""One unit vector for a clip, by our captioner or by an image tower of open_clip."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch.nn import functional as F

from ...conditioner.captioner import ContrastiveCaptioner
from ..backends.packaged import PACKAGED
from ..engine.commits import CaptionError

Embed = Callable[[np.ndarray, float], np.ndarray]  # (frames uint8 (T, H, W, 3), their rate) -> float32 (E,), unit


def open_embedding(name: str, device: str = "") -> Embed:
    """What makes the embeddings of clips.

    Args:
        name: "captioner": the packaged captioner, which sees all frames at once. "open_clip:MODEL:PRETRAINED", a
            name or a file: the mean over frames of an image tower's features.
        device: "": the captioner, which is small, on the processor; open_clip on a GPU if there is one.

    Raises:
        CaptionError: there is no such model.
    """
    if name == "captioner":
        return _captioner(device or "cpu")
    kind, _, rest = name.partition(":")
    model, _, pretrained = rest.partition(":")
    if kind != "open_clip" or not model or not pretrained:
        raise CaptionError(
            f'signals.embedding is {name!r}; it needs to be "captioner" or "open_clip:MODEL:PRETRAINED", such as '
            '"open_clip:ViT-B-32:laion2b_s34b_b79k" or "open_clip:ViT-B-32:/weights/vit.safetensors"'
        )
    return _open_clip(model, pretrained, device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _captioner(device: str) -> Embed:
    model: Any = ContrastiveCaptioner.from_pretrained(PACKAGED)
    model.to(device)

    def embed(frames: np.ndarray, fps: float) -> np.ndarray:
        clip = rearrange(torch.from_numpy(frames), "t h w c -> 1 c t h w")
        return model.encode_video(clip, fps)[0][0].cpu().numpy()

    return embed


def _open_clip(name: str, pretrained: str, device: str) -> Embed:
    import open_clip

    if pretrained not in open_clip.list_pretrained_tags_by_model(name) and not Path(pretrained).is_file():
        raise CaptionError(
            f"signals.embedding: open_clip has no {name} with weights {pretrained}, and that is no file either; "
            "open_clip.list_pretrained() names those there are"
        )
    model: Any
    model, _, transform = open_clip.create_model_and_transforms(name, pretrained, device=device)
    model.eval()
    prepare: Any = transform

    @torch.inference_mode()
    def embed(frames: np.ndarray, fps: float) -> np.ndarray:
        pictures = torch.stack([prepare(Image.fromarray(frame)) for frame in frames]).to(device)
        features = F.normalize(model.encode_image(pictures).float(), dim=-1)
        return F.normalize(features.mean(0), dim=-1).cpu().numpy()

    return embed
