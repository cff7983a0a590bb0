"""CoCa models of open_clip: they look at one picture and write one phrase.

So they write only the level "short", of single frames, and say so of the others. open_clip's own `generate` cannot
run with transformers 5 (open_clip issue 1129); `kinema.conditioner.decoding` writes instead.
"""

import threading
import time
from pathlib import Path
from typing import Any

import torch

from ...conditioner.decoding import decode
from ..engine.commits import CaptionError
from .base import Answer, Request, fingerprint, shown

LOCAL = "local-dir:"
SKIPPED = {
    "structured": "a CoCa model of open_clip writes phrases about pictures, and states no facts",
    "medium": "a CoCa model of open_clip writes one phrase about a picture; set captions.densify_model, or use "
    "another backend, for longer captions",
}
SKIPPED["dense"] = SKIPPED["medium"]


class OpenClipBackend:
    """A CoCa model of open_clip.

    A clip's text is what it says of its first, middle and last frame, each different phrase once.

    Args:
        model: "coca_ViT-L-14:mscoco_finetuned_laion2b_s13b_b90k", or a folder with open_clip_config.json and
            weights.
        device: where it runs.
        top_p: of attempts with a temperature.

    Raises:
        CaptionError: it cannot be loaded, or writes no captions.
    """

    name = "open_clip"
    num_frames: int | None = 3
    temperature: float | None = 1.0
    sees = True
    one_call_for_all_levels = False

    def __init__(self, model: str, device: str = "cpu", top_p: float = 0.9) -> None:
        import open_clip

        self.model, self.device, self.top_p = shown(model), device, top_p
        self.revision = revision_of(model)
        name, _, pretrained = model.partition(":")
        local = Path(model).is_dir()
        if not local and not pretrained:
            raise CaptionError(f"which weights of {model}? Give {model}:PRETRAINED; open_clip lists their names")
        try:
            network, _, see = open_clip.create_model_and_transforms(
                LOCAL + model if local else name, pretrained=None if local else pretrained or None
            )
            self.see: Any = see
            self.tokenizer: Any = open_clip.get_tokenizer(LOCAL + model if local else name)
        except (OSError, RuntimeError, ValueError) as error:
            raise CaptionError(
                f"{model} cannot be loaded by open_clip: {error}\nGive captions.model NAME:PRETRAINED, such as "
                "coca_ViT-L-14:mscoco_finetuned_laion2b_s13b_b90k, or a folder with open_clip_config.json"
            ) from error
        if not hasattr(network, "text_decoder"):
            raise CaptionError(f"{model} writes no captions; give a CoCa model, such as coca_ViT-L-14")
        self.network: Any = network.to(device).eval()
        self.length = int(self.network.context_length)
        self.lock = threading.Lock()

    def prompt_sha(self, levels: tuple[str, ...]) -> str | None:
        """None: it takes no words."""
        return None

    def write(self, requests: list[Request]) -> list[Answer]:
        """Phrases of clips, clip by clip."""
        return [self._write(request) for request in requests]

    def _write(self, request: Request) -> Answer:
        (level,) = request.levels
        if level in SKIPPED:
            return Answer(status="skipped", error=SKIPPED[level], can_retry=False)
        if request.frames is None:
            raise ValueError("a CoCa model writes from frames; this request has none")
        from PIL import Image

        start = time.perf_counter()
        pictures = torch.stack(
            [self.see(Image.fromarray(frame)) for frame in request.frames.frames]
        )  # (K, 3, S, S)
        with self.lock, torch.inference_mode():
            ids = self._decode(pictures.to(self.device), request)
        phrases = [_plain(self.tokenizer.decode(row)) for row in self._bodies(ids)]
        finished = all(self.tokenizer.eot_token_id in row for row in ids.tolist()) and ids.shape[1] < self.length
        latency_ms = 1000 * (time.perf_counter() - start)
        size = sum(len(row) + 1 for row in self._bodies(ids))
        text = ". ".join(dict.fromkeys(filter(None, phrases)))
        figures: dict[str, Any] = {"raw": "\n".join(phrases), "output_tokens": size, "latency_ms": latency_ms}
        if not text:
            return Answer(status="error", error="it wrote nothing", **figures)
        status = "success" if finished else "truncated"
        return Answer(texts={level: text}, status=status, **figures)

    def _decode(self, pictures: torch.Tensor, request: Request) -> torch.Tensor:
        """Token ids (K, ≤ L) of the pictures' phrases."""
        latent, embs = self.network._encode_image(pictures)  # (K, E), (K, Q, D)
        drawn = bool(request.temperature)

        def next_logits(ids: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            output = self.network(None, ids, image_latent=latent[rows], image_embs=embs[rows], output_labels=False)
            return output["logits"][:, -1]  # (R, V)

        start = torch.full((len(pictures),), self.tokenizer.sot_token_id, device=pictures.device)
        return decode(
            next_logits,
            start,
            end_id=self.tokenizer.eot_token_id,
            pad_id=self.network.pad_id,
            max_length=self.length,
            banned_ids=[self.tokenizer.sot_token_id],
            top_p=self.top_p if drawn else None,
            generator=torch.Generator().manual_seed(request.seed) if drawn else None,
        )

    def _bodies(self, ids: torch.Tensor) -> list[list[int]]:
        """The tokens of each phrase, without start, end and padding."""
        rows = [row[1:] for row in ids.tolist()]
        end = self.tokenizer.eot_token_id
        return [row[: row.index(end)] if end in row else row for row in rows]


def _plain(text: str) -> str:
    """A phrase without the spaces that the tokenizer leaves before its marks."""
    return " ".join(text.split()).replace(" ,", ",").rstrip(" .")


def revision_of(model: str) -> str:
    """What names a model's weights."""
    return fingerprint(Path(model)) if Path(model).is_dir() else model.partition(":")[2]
