"""The similarity judge: a second contrastive tower, for features of clips and the likeness of clip and text.

    judge = SimilarityJudge.from_pretrained()
    features = judge.video_features(clips, fps=8.0)       # (N, D)

It has another seed and size than any conditioner's tower and is used for measuring only: never to condition, to
filter captions, to choose a guidance strength or the best of several clips.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch

from ...conditioner.captioner import ContrastiveCaptioner
from ...pipeline.provenance import fingerprint

FOLDER = Path(__file__).parent / "weights" / "similarity"
BATCH = 32


class SimilarityJudge:
    """Features of clips and texts in one space.

    Args:
        model: a contrastive captioner.
    """

    def __init__(self, model: ContrastiveCaptioner) -> None:
        self.model = model.float().eval()

    @classmethod
    def from_pretrained(cls, folder: str | Path = FOLDER) -> "SimilarityJudge":
        """The judge in a folder; the packaged one by default."""
        return cls(cast(ContrastiveCaptioner, ContrastiveCaptioner.from_pretrained(folder)))

    @property
    def fingerprint(self) -> str:
        """A digest of its weights."""
        return fingerprint([self.model]) or "unknown"

    @torch.inference_mode()
    def video_features(self, clips: Sequence[np.ndarray], fps: float) -> np.ndarray:
        """Unit features (N, D) of clips, uint8 (T, H, W, 3) each; shapes may differ, the rate is one."""
        features: list[np.ndarray] = []
        for start in range(0, len(clips), BATCH):
            part = clips[start : start + BATCH]
            if len({clip.shape for clip in part}) == 1:
                features.append(self._features(np.stack(part), fps))
            else:
                features += [self._features(clip[None], fps) for clip in part]
        return np.concatenate(features)

    @torch.inference_mode()
    def similarity(self, clips: Sequence[np.ndarray], texts: Sequence[str], fps: float) -> np.ndarray:
        """Cosine (N,) of each clip and its text, -1 to 1.

        Raises:
            ValueError: another number of texts than of clips.
        """
        if len(clips) != len(texts):
            raise ValueError(f"{len(clips)} clips and {len(texts)} texts; each clip needs its text")
        return (self.video_features(clips, fps) * self.model.encode_text(list(texts)).float().numpy()).sum(1)

    def _features(self, clips: np.ndarray, fps: float) -> np.ndarray:
        frames = torch.from_numpy(np.array(clips)).permute(0, 4, 1, 2, 3)
        return self.model.encode_video(frames, fps)[0].numpy()
