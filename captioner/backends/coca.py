"""Our own contrastive captioner: small, offline, and honest only about the world it was trained on.

Greedy captions of several clips are written together, ten times as fast as one by one; draws are made clip by
clip, each with a generator of its own. So a clip's captions do not depend on the clips beside it, but for the last
bits of sums, which decide a word only where two are equally likely to six digits.
"""

import threading
import time
from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange

from ...conditioner.captioner import ContrastiveCaptioner, Level
from ...conditioner.vision import select_frames
from ..captions.facts import FactsError, facts_of_diorama
from .base import PROSE, Answer, Request, fingerprint, shown
from .packaged import PACKAGED_NAME, checked

# Our captioner's own name of each level.
SPOKEN: dict[str, Level] = {"structured": "facts", "short": "short", "medium": "medium", "dense": "dense"}


class CaptionerBackend:
    """`ContrastiveCaptioner` as a backend.

    Args:
        folder: of the captioner; "": the packaged one.
        device: where it runs.
        top_p: of attempts with a temperature.

    Raises:
        CaptionError: the folder holds no captioner.
    """

    name = "captioner"
    temperature: float | None = 1.0  # what it was trained for
    sees = True
    one_call_for_all_levels = False

    def __init__(self, folder: str = "", device: str = "cpu", top_p: float = 0.9) -> None:
        path = checked(folder)
        self.model, self.revision = shown(folder) if folder else PACKAGED_NAME, fingerprint(path)
        captioner: Any = ContrastiveCaptioner.from_pretrained(path)
        self.captioner: ContrastiveCaptioner = captioner.to(device).eval()
        self.num_frames: int | None = self.captioner.config["num_frames"]
        self.states_facts = self.captioner.config["vocabulary"] is not None  # trained on Diorama's scenes
        self.top_p = top_p
        self.lock = threading.Lock()

    def prompt_sha(self, levels: tuple[str, ...]) -> str | None:
        """None: it is asked by a token."""
        return None

    def write(self, requests: list[Request]) -> list[Answer]:
        """Captions of clips; those of one level are written together."""
        answers: list[Answer | None] = [None] * len(requests)
        groups: dict[tuple[str, Any], list[int]] = {}
        for index, request in enumerate(requests):
            (level,) = request.levels
            if level == "structured" and not self.states_facts:
                reason = "this captioner was trained on captions alone, and states no facts"
                answers[index] = Answer(status="skipped", error=reason, can_retry=False)
                continue
            # Draws are made clip by clip, each from its own seed.
            groups.setdefault((level, index if request.temperature else None), []).append(index)
        seen: dict[int, torch.Tensor] = {}  # a clip is looked at once for all its levels
        with self.lock, torch.inference_mode():
            for (level, _), indices in groups.items():
                start = time.perf_counter()
                texts, sizes = self._texts([requests[index] for index in indices], level, seen)
                each = 1000 * (time.perf_counter() - start) / len(indices)
                for index, text, size in zip(indices, texts, sizes):
                    answers[index] = _answer(level, text, size, each, self.captioner.config["context_length"])
        return [answer for answer in answers if answer is not None]

    def _texts(
        self, requests: Sequence[Request], level: str, seen: dict[int, torch.Tensor]
    ) -> tuple[list[str], list[int]]:
        """Captions of one level, and their numbers of tokens."""
        first = requests[0]
        drawn = bool(first.temperature)
        generator = torch.Generator().manual_seed(first.seed) if drawn else None
        for request in requests:
            if id(request.frames) not in seen:
                seen[id(request.frames)] = self._see(request)
        tokens = torch.cat([seen[id(request.frames)] for request in requests])  # (B, Q, D)
        texts = self.captioner.caption_tokens(tokens, SPOKEN[level], self.top_p if drawn else None, generator)
        sizes = [int(row.sum()) for row in self.captioner.tokenize(texts).attention_mask]
        return texts, sizes

    def _see(self, request: Request) -> torch.Tensor:
        """Caption tokens (1, Q, D) of one clip: clips differ in size, and each is made a small square alone."""
        if request.frames is None:
            raise ValueError("our captioner writes from frames; this request has none")
        config = self.captioner.config
        frames = rearrange(torch.from_numpy(request.frames.frames), "t h w c -> 1 c t h w")
        pixels, times = select_frames(
            frames.to(self.captioner.device), request.frames.fps, config["num_frames"], config["image_size"]
        )
        return self.captioner.visual(pixels.to(self.captioner.dtype), times)[1]


def _answer(level: str, text: str, size: int, latency_ms: float, context_length: int) -> Answer:
    figures: dict[str, Any] = {
        "raw": text,
        "output_tokens": size - 1,
        "latency_ms": latency_ms,
    }  # <start> is given
    if size >= context_length:
        error = f"cut off at {context_length} tokens"
        return Answer(
            texts={} if level == "structured" else {level: text}, status="truncated", error=error, **figures
        )
    if level in PROSE:
        return Answer(texts={level: text}, **figures)
    try:
        return Answer(texts={level: text}, facts=facts_of_diorama(text), **figures)
    except FactsError as error:
        return Answer(status="error", error=str(error), **figures)
