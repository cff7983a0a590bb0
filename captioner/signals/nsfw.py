"""How probable it is that a clip is not safe for work, by any image classifier of transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..engine.commits import CaptionError

UNSAFE = ("nsfw", "unsafe", "porn", "hentai", "sexy", "explicit")  # words of labels that count
LOOKS = 4  # frames of a clip


class UnsafeClassifier:
    """A transformers image classifier.

    Args:
        name: on the hub, or a folder.
        device: where it runs.

    Raises:
        CaptionError: it cannot be loaded, or none of its labels says that a picture is unsafe.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        what = "folder" if Path(name).is_dir() else "model"
        try:
            self.model: Any = AutoModelForImageClassification.from_pretrained(name).eval().to(device)
            self.processor: Any = AutoImageProcessor.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise CaptionError(f"signals.nsfw: the {what} {name} gives no image classifier: {error}") from error
        labels = {int(number): str(label) for number, label in self.model.config.id2label.items()}
        self.unsafe = [n for n, label in labels.items() if _unsafe(label)]
        if not self.unsafe:
            raise CaptionError(
                f"signals.nsfw: {name} tells {', '.join(labels.values())} apart; one label needs to be one of "
                f"{', '.join(UNSAFE)}, or to begin so"
            )

    @torch.inference_mode()
    def __call__(self, frames: np.ndarray) -> float:
        """The largest probability among `LOOKS` evenly spaced ones of frames, uint8 (T, H, W, 3)."""
        chosen = np.unique(np.linspace(0, len(frames) - 1, LOOKS).round().astype(int))
        pixels = self.processor(
            images=[frames[k] for k in chosen], return_tensors="pt", input_data_format="channels_last"
        )
        logits = self.model(**pixels.to(self.model.device)).logits  # (N, labels)
        return float(logits.float().softmax(-1)[:, self.unsafe].sum(-1).max().clamp(0, 1))


def _unsafe(label: str) -> bool:
    return label.lower().replace("-", "_").startswith(UNSAFE)
