"""How well texts fit a clip, by an encoder of pictures and texts.

`open_clip` models score every sentence against every frame. A sentence may tell of one moment, so it counts as
well as its best frame; `clip_mean` is the mean over sentences, `clip_min` the worst one. Scores are plain cosines;
CLIPScore (Hessel et al. 2021) is 2.5 times them, without those below 0.

Our captioner never saw one frame alone or one sentence torn out of its caption, and cannot judge them: over 180
unseen clips of its world, true dense captions score higher than other clips' in 99.5 % of pairs when read whole,
in 85.2 % by the mean of their sentences and in 68.1 % by the worst one (`bench/results/caption_checks.md`). So it
scores the clip as a whole against the longest runs of sentences that fit its context: mostly one, the caption.
And it can judge nothing but its world (`domain`): true captions of real videos score below 0. The packaged
captioner, whose world is measured, gives clips outside of it no score at all, whoever wrote their captions.
"""

import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from einops import rearrange

from ..engine.commits import CaptionError
from ..settings import CaptionSettings
from .domain import packaged_domain
from .sentences import split_to_fit
from .verdict import Scorer

if TYPE_CHECKING:
    from ..shots.frames import ClipFrames

MAX_FRAMES = 8  # scored a clip, evenly spaced
PACKAGED_LEAST = 0.4  # similarity; of true captions of its world under 1 % have less
NO_LEAST = -1.0  # of scorers whose scale is not known


class _Scores(ABC):
    @abstractmethod
    def similarity(self, frames: "ClipFrames", texts: list[str]) -> np.ndarray:
        """Cosines (T or 1, N) of frames, or of the clip as a whole, and texts."""

    @abstractmethod
    def pieces(self, text: str) -> list[str]:
        """The parts of a text that are scored one by one."""

    def knows(self, frames: "ClipFrames") -> bool:
        """Whether it can judge texts of such a clip."""
        return True

    def score(self, frames: "ClipFrames", text: str) -> tuple[float, float]:
        """Mean over pieces, and the worst piece, each at its best frame. Blank texts have NaN."""
        pieces = self.pieces(text)
        if not pieces:
            return float("nan"), float("nan")
        best = self.similarity(frames, pieces).max(0)  # (N,)
        return float(best.mean()), float(best.min())


class CaptionerScorer(_Scores):
    """Our contrastive captioner; the clip as a whole.

    Args:
        folder: of the captioner.
        min_similarity: below it a caption is wrong.
    """

    def __init__(self, folder: Path, device: str, min_similarity: float) -> None:
        from ...conditioner.captioner import ContrastiveCaptioner
        from ..backends.base import fingerprint

        captioner: Any = ContrastiveCaptioner.from_pretrained(folder)
        self.captioner: ContrastiveCaptioner = captioner.to(device).eval()
        self.name, self.min_similarity = "captioner", min_similarity
        self.world = packaged_domain(fingerprint(folder))  # None: not known, and anything is judged
        self.lock = threading.Lock()
        self._met: tuple[Any, bool] | None = None  # the clip that was asked about last

    def knows(self, frames: "ClipFrames") -> bool:
        """Whether the clip lies in its world, by the distance that marks captions as `out_of_domain` too."""
        if self.world is None:
            return True
        with self.lock:
            if self._met is None or self._met[0] is not frames:
                near = self.world.distance_of(self.captioner, frames) <= self.world.threshold
                self._met = frames, near
            return self._met[1]

    def similarity(self, frames: "ClipFrames", texts: list[str]) -> np.ndarray:
        """Cosines (1, N) of the clip and texts."""
        pixels = rearrange(torch.from_numpy(frames.frames), "t h w c -> 1 c t h w")
        with self.lock, torch.inference_mode():
            return self.captioner.similarity(pixels, texts, frames.fps).float().cpu().numpy()

    def pieces(self, text: str) -> list[str]:
        """Runs of whole sentences that fit the context; mostly the text itself."""
        pieces: list[str] = []
        for sentence in split_to_fit(text, self._fits):
            joined = f"{pieces[-1]} {sentence}" if pieces else sentence
            if pieces and self._fits(joined):
                pieces[-1] = joined
            else:
                pieces.append(sentence)
        return pieces

    def _fits(self, text: str) -> bool:
        return not self.captioner.tokenize([text]).truncated[0]


class OpenClipScorer(_Scores):
    """A model of open_clip: every frame against every sentence.

    Args:
        model: architecture, as `open_clip.list_models()` has it.
        pretrained: a tag of it, or a file of weights.
    """

    min_similarity = NO_LEAST

    def __init__(self, model: str, pretrained: str, device: str) -> None:
        import open_clip

        self.name = f"open_clip:{model}:{pretrained}"
        try:
            loaded, _, preprocess = open_clip.create_model_and_transforms(
                model, pretrained=pretrained, device=device
            )
            self.tokenizer: Any = open_clip.get_tokenizer(model)
        except Exception as error:  # whatever the hub, the file system or the registry raise
            raise CaptionError(
                f"checks.scorer is {self.name!r}, which cannot be loaded: {error}; give "
                "open_clip:MODEL:TAG or open_clip:MODEL:FILE, tags as `open_clip.list_pretrained()` has them"
            ) from error
        self.model: Any = loaded.eval()
        self.preprocess: Any = preprocess
        self.device, self.lock = device, threading.Lock()
        self._seen: tuple[Any, torch.Tensor] | None = None  # features of the clip that was scored last

    @torch.inference_mode()
    def similarity(self, frames: "ClipFrames", texts: list[str]) -> np.ndarray:
        """Cosines (T, N) of up to eight frames and texts."""
        with self.lock:
            said = self.model.encode_text(self.tokenizer(texts).to(self.device))
            said = torch.nn.functional.normalize(said.float(), dim=-1)
            return (self._features(frames) @ said.T).cpu().numpy()

    def pieces(self, text: str) -> list[str]:
        """Its sentences, those that do not fit by clauses."""
        return split_to_fit(text, self._fits)

    def _features(self, frames: "ClipFrames") -> torch.Tensor:
        if self._seen is None or self._seen[0] is not frames:
            from PIL import Image

            index = np.linspace(0, len(frames.frames) - 1, min(MAX_FRAMES, len(frames.frames))).round().astype(int)
            pictures = [self.preprocess(Image.fromarray(frames.frames[k])) for k in index]
            seen = self.model.encode_image(torch.stack(pictures).to(self.device))
            self._seen = frames, torch.nn.functional.normalize(seen.float(), dim=-1)
        return self._seen[1]

    def _fits(self, text: str) -> bool:
        tokenizer = self.tokenizer
        if hasattr(tokenizer, "encode"):  # open_clip's own, which adds a start and an end
            count = len(tokenizer.encode(text)) + 2
        else:
            count = len(tokenizer.tokenizer(text)["input_ids"])
        return count <= self.model.context_length


def open_scorer(settings: CaptionSettings, device: str = "cpu") -> Scorer:
    """The scorer of `checks.scorer`, loaded.

    "captioner" is the captioner that writes, or else the packaged one; "captioner:FOLDER" another;
    "open_clip:MODEL:PRETRAINED" a model of open_clip.

    Raises:
        CaptionError: there is no such model; the message says what to give.
    """
    from ..backends.packaged import checked

    kind, _, rest = settings.checks.scorer.partition(":")
    if kind == "captioner":
        folder = rest or (settings.captions.model if settings.captions.backend == "captioner" else "")
        return CaptionerScorer(checked(folder), device, NO_LEAST if folder else PACKAGED_LEAST)
    model, _, pretrained = rest.partition(":")
    if kind != "open_clip" or not model or not pretrained:
        raise CaptionError(
            f"checks.scorer is {settings.checks.scorer!r}; it needs to be captioner, captioner:FOLDER or "
            "open_clip:MODEL:PRETRAINED, for example open_clip:ViT-B-32:laion2b_s34b_b79k"
        )
    return OpenClipScorer(model, pretrained, device)
