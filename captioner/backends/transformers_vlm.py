"""Any vision-language or text model of the transformers library, by name or folder.

Frames go in as a video where the model's processor and chat template take one, with the true time of each frame in
its metadata; else as pictures, each behind a line that says its time. Processors would take every nth frame of a
video by themselves: ours are chosen already, so that is switched off.
"""

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import torch

from ..engine.commits import CaptionError
from .asking import prompt_sha, read_answer, seconds_of, words_of
from .base import Answer, Request, fingerprint, shown

CLOCK = 1000  # ticks a second of the clock that frames are dated with, since processors count in whole frames


class TransformersBackend:
    """A model that sees frames, or one that reads facts only.

    On a CPU, and when drawn, answers are written one by one, so that a clip's captions do not depend on the clips
    beside it. On a GPU greedy answers of a batch are written together: there padding and low precision may turn a
    word when the batch is another one.

    Args:
        model: name or folder.
        revision: of a hub model; "": its main one.
        sees: False for a text model.
        device: where it runs.

    Raises:
        CaptionError: it cannot be loaded.
    """

    name = "transformers"
    num_frames: int | None = None
    temperature: float | None = None
    one_call_for_all_levels = True

    def __init__(
        self,
        model: str,
        revision: str = "",
        *,
        sees: bool = True,
        device: str = "cpu",
        top_p: float = 0.9,
        max_tokens: int = 512,
    ) -> None:
        import transformers

        self.model, self.sees, self.device = shown(model), sees, device
        self.top_p, self.max_tokens = top_p, max_tokens
        chosen: dict[str, Any] = {"revision": revision} if revision else {}
        auto: Any = transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM
        reader: Any = transformers.AutoProcessor if sees else transformers.AutoTokenizer
        try:
            self.revision = revision_of(model, revision)
            self.reader = reader.from_pretrained(model, **chosen)
            dtype = "auto" if device.startswith("cuda") else torch.float32
            self.network = auto.from_pretrained(model, dtype=dtype, **chosen).to(device).eval()
        except (OSError, ValueError, ImportError, KeyError) as error:
            kind = "an image-text-to-text model" if sees else "a causal language model"
            raise CaptionError(
                f"{model} cannot be loaded as {kind} of transformers: {error}\nGive captions.model a hub name or "
                "a folder with config.json, weights, and the processor's or tokenizer's files"
            ) from error
        self.tokenizer = getattr(self.reader, "tokenizer", self.reader)
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        if not (getattr(self.reader, "chat_template", None) or getattr(self.tokenizer, "chat_template", None)):
            raise CaptionError(
                f"{model} has no chat template, so it cannot be asked; give its instruction-tuned sibling"
            )
        self.takes_video = sees and self._takes_video()
        self.lock = threading.Lock()

    def prompt_sha(self, levels: tuple[str, ...]) -> str | None:
        """Digest of the template that asks for these levels."""
        return prompt_sha(levels, self.sees)

    def write(self, requests: list[Request]) -> list[Answer]:
        """An answer to every request."""
        together = self.device.startswith("cuda") and not any(request.temperature for request in requests)
        batches = [requests] if together and requests else [[request] for request in requests]
        return [answer for batch in batches for answer in self._write(batch)]

    def _write(self, requests: list[Request]) -> list[Answer]:
        start = time.perf_counter()
        inputs = self._inputs(requests).to(self.device)
        for name, value in inputs.items():
            if torch.is_tensor(value) and value.is_floating_point():
                inputs[name] = value.to(self.network.dtype)
        asked = inputs["input_ids"].shape[1]
        first = requests[0]
        how: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if first.temperature:
            how = {"do_sample": True, "temperature": first.temperature, "top_p": self.top_p, "top_k": 0}
        with self.lock, torch.inference_mode(), _seeded(first.seed, self.device):
            ids = self.network.generate(
                **inputs, **how, max_new_tokens=self.max_tokens, pad_token_id=self.tokenizer.pad_token_id
            )[:, asked:]
        latency_ms = 1000 * (time.perf_counter() - start) / len(requests)
        prompts = inputs["attention_mask"].sum(-1).tolist()
        return [
            self._answer(request, row, int(prompt), latency_ms)
            for request, row, prompt in zip(requests, ids.tolist(), prompts)
        ]

    def _answer(self, request: Request, ids: list[int], prompt_tokens: int, latency_ms: float) -> Answer:
        ends = self.network.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends]) | {self.tokenizer.eos_token_id}
        size = next((index + 1 for index, token in enumerate(ids) if token in ends), len(ids))
        finished = bool(size) and ids[size - 1] in ends
        raw = self.tokenizer.decode(ids[:size], skip_special_tokens=True).strip()
        figures = {"prompt_tokens": prompt_tokens, "output_tokens": size, "latency_ms": latency_ms}
        return read_answer(request, raw, finished=finished, **figures)

    def _inputs(self, requests: list[Request]) -> Any:
        """What the model takes, of requests of one kind."""
        talks = [[{"role": "user", "content": self._content(request)}] for request in requests]
        if not self.sees:
            talks = [[{"role": "user", "content": words_of(request)}] for request in requests]
            texts = self.tokenizer.apply_chat_template(talks, tokenize=False, add_generation_prompt=True)
            return self.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        settings: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
        if self.takes_video:
            settings |= {"do_sample_frames": False, "video_metadata": [dated(each) for each in requests]}
        return self.reader.apply_chat_template(
            talks, tokenize=True, return_dict=True, add_generation_prompt=True, processor_kwargs=settings
        )

    def _content(self, request: Request) -> list[dict[str, Any]]:
        """The message: frames, then words."""
        words = {"type": "text", "text": words_of(request)}
        if request.frames is None:
            return [words]
        if self.takes_video:
            return [{"type": "video", "video": request.frames.frames}, words]
        from PIL import Image

        content: list[dict[str, Any]] = []
        for seconds, frame in zip(seconds_of(request), request.frames.frames):
            content.append({"type": "text", "text": f"Frame at {seconds:.2f} s:"})
            content.append({"type": "image", "image": Image.fromarray(frame)})
        return [*content, words]

    def _takes_video(self) -> bool:
        """Whether the processor has a part for videos, and the chat template a place for one."""
        token = getattr(self.reader, "video_token", None)
        if getattr(self.reader, "video_processor", None) is None or not token:
            return False
        talk = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "?"}]}]
        with contextlib.suppress(Exception):  # a template that cannot render a video has no place for one
            return str(token) in self.reader.apply_chat_template(talk, tokenize=False)
        return False


def dated(request: Request) -> dict[str, Any]:
    """Metadata of a request's frames as transformers' video processors read it.

    They take a frame's time to be its index over `fps`, so the indices are ticks of a fine clock; those that want
    one rate take len(frames_indices) / total_num_frames · fps for it, which is the frames' own.
    """
    frames = request.frames
    if frames is None:
        raise ValueError("this request has no frames")
    seconds = seconds_of(request)
    rate = frames.fps if len(seconds) > 1 else 1.0
    return {
        "fps": float(CLOCK),
        "frames_indices": [round(CLOCK * time) for time in seconds],
        "total_num_frames": round(CLOCK * len(seconds) / rate),
        "duration": len(seconds) / rate,
        "height": int(frames.frames.shape[1]),
        "width": int(frames.frames.shape[2]),
    }


def revision_of(model: str, revision: str = "") -> str:
    """What names a model's weights: a digest of a folder's files, or the commit of a hub model.

    Raises:
        OSError: there is no such model.
    """
    if Path(model).is_dir():
        return fingerprint(Path(model))
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model, **({"revision": revision} if revision else {}))
    return getattr(config, "_commit_hash", None) or revision


@contextlib.contextmanager
def _seeded(seed: int, device: str) -> Any:
    """Draws of `generate` come from torch's one generator: set it, and put it back."""
    devices = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
