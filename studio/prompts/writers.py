"""Text models that write prompts: behind an OpenAI-compatible server, or here with transformers."""

import os
import threading
from typing import Any

from ...captioner.backends.calling import Endpoint, Refusal
from ...captioner.captions.cost import Meter
from ...captioner.engine.commits import CaptionError
from ...captioner.settings import RunSettings
from .improve import ImproveError

KEY = "KINEMA_IMPROVE_KEY"  # environment; servers on one's own machine want none
TOKENS = 220  # of an answer, at most
PATIENCE = 45.0  # seconds for an answer: somebody is waiting for it


class EndpointWriter:
    """A model behind an endpoint: vLLM, SGLang, Ollama, llama.cpp, hosted ones.

    Args:
        url: up to and with "/v1".
        model: as the server calls it.
    """

    def __init__(self, url: str, model: str) -> None:
        self.url, self.model = url, model
        run = RunSettings(max_retries=1, request_seconds=PATIENCE, concurrency=4)
        self.endpoint = Endpoint(url, os.environ.get(KEY, ""), run, Meter(None, run), first_wait=0.2)

    def __call__(self, instructions: str, prompt: str) -> str:
        """What it writes.

        Raises:
            ImproveError: it does not answer, or will not.
        """
        messages = [{"role": "system", "content": instructions}, {"role": "user", "content": prompt}]
        body = {"model": self.model, "messages": messages, "max_tokens": TOKENS, "temperature": 0.0}
        try:
            found = self.endpoint.ask(body, 0)
        except CaptionError as error:
            raise ImproveError(f"{self.url} did not write the prompt: {_first_line(error)}") from None
        if isinstance(found, Refusal):
            raise ImproveError(f"{self.url} would not write this prompt: {found.error}")
        choice = found["choices"][0]
        if choice.get("finish_reason") == "content_filter":
            raise ImproveError(f"{self.url} would not write this prompt: its content filter stopped it")
        content = choice["message"].get("content")
        return content if isinstance(content, str) else ""


def _first_line(error: Exception) -> str:
    """What a caption run's error says, without what only its own command has."""
    return str(error).split("\n")[0].split(". Finished captions")[0]


class TransformersWriter:
    """A causal language model, loaded when it is first asked; one prompt at a time.

    Args:
        model: folder or hub id.
        device: to run on; the video model has the others.
    """

    def __init__(self, model: str, device: str = "cpu") -> None:
        self.model, self.device = model, device
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def __call__(self, instructions: str, prompt: str) -> str:
        """What it writes, its likeliest words.

        Raises:
            ImproveError: it cannot be loaded, or the prompt is too long for it.
        """
        with self._lock:
            tokenizer, model = self._loaded = self._loaded or self._load()
            return self._write(tokenizer, model, instructions, prompt)

    def _load(self) -> tuple[Any, Any]:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self.model)
            model: Any = AutoModelForCausalLM.from_pretrained(self.model)
        except (OSError, ValueError, ImportError) as error:
            raise ImproveError(f"the text model {self.model} cannot be loaded: {_first_line(error)}") from None
        return tokenizer, model.to(self.device).eval()

    def _write(self, tokenizer: Any, model: Any, instructions: str, prompt: str) -> str:
        import torch

        if tokenizer.chat_template:
            messages = [{"role": "system", "content": instructions}, {"role": "user", "content": prompt}]
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            given = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        else:
            given = tokenizer(f"{instructions}\n\nPrompt: {prompt}\nRewritten prompt:", return_tensors="pt")
        given = given.to(self.device)
        length = given["input_ids"].shape[1]
        room = getattr(model.config, "max_position_embeddings", None)
        if room is not None and length + TOKENS > room:
            raise ImproveError(
                f"the prompt is too long for {self.model}, which takes {room} tokens with its answer"
            )
        end = tokenizer.eos_token_id
        with torch.inference_mode():
            written = model.generate(
                input_ids=given["input_ids"], attention_mask=given["attention_mask"], max_new_tokens=TOKENS,
                do_sample=False, pad_token_id=tokenizer.pad_token_id if end is None else end,
            )  # fmt: skip
        text = tokenizer.decode(written[0, length:], skip_special_tokens=True)
        return text if tokenizer.chat_template else text.strip().split("\n")[0]
