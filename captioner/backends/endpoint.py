"""Any OpenAI-compatible endpoint: vLLM, SGLang, Ollama, llama.cpp, hosted ones.

Frames go as JPEG data addresses, each behind a line that says its time. All requests of all threads share one pool
of `run.concurrency` connections.
"""

import base64
import io
import os
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from typing import Any

from PIL import Image

from ..captions.cost import Meter, picture_tokens
from ..engine.commits import CaptionError
from ..settings import RunSettings
from .asking import prompt_sha, read_answer, schema_of, seconds_of, words_of
from .base import Answer, Request
from .calling import Ending, Endpoint, Refusal, Stopped, tokens_of

JPEG_QUALITY = 90
LETTERS = 3  # a token, at least: fewer than in most languages, for the budget's sake
SAMPLING = ("seed", "top_p", "temperature")


class EndpointBackend:
    """A model behind an endpoint.

    Args:
        model: as the server calls it.
        base_url: up to and with "/v1".
        api_key_env: environment variable of the key; it may be unset for servers that want none.
        sees: False for a text model.
        meter: of the budget; None: of `run`'s, in memory.
        first_wait, ending: see `Endpoint`.

    Raises:
        CaptionError: no model is named.
    """

    name = "openai"
    revision = ""  # servers do not say which weights they have
    num_frames: int | None = None
    temperature: float | None = None
    one_call_for_all_levels = True

    def __init__(
        self,
        model: str,
        base_url: str,
        api_key_env: str,
        run: RunSettings,
        *,
        sees: bool = True,
        top_p: float = 0.9,
        max_tokens: int = 512,
        meter: Meter | None = None,
        first_wait: float = 0.5,
        ending: Ending | None = None,
    ) -> None:
        if not model:
            raise CaptionError(
                f"which model of {base_url}? Give its name, as the server lists it under {base_url}/models, as "
                "captions.model"
            )
        self.model, self.sees, self.top_p, self.max_tokens = model, sees, top_p, max_tokens
        key = os.environ.get(api_key_env, "") if api_key_env else ""
        self.endpoint = Endpoint(
            base_url,
            key,
            run,
            meter or Meter(None, run),
            first_wait=first_wait,
            ending=ending,
            prefix="" if sees else "densify_",
        )
        self.pool = ThreadPoolExecutor(run.concurrency, thread_name_prefix="endpoint")

    def prompt_sha(self, levels: tuple[str, ...]) -> str | None:
        """Digest of the template that asks for these levels."""
        return prompt_sha(levels, self.sees)

    def write(self, requests: list[Request]) -> list[Answer]:
        """An answer to every request, as many at a time as the server is to bear."""
        futures = [self.pool.submit(self._write, request) for request in requests]
        wait_for(futures)
        failures = [error for future in futures if (error := future.exception()) is not None]
        if failures:
            # The one that ended the run tells why, be it of another thread's; others were given up for its sake.
            told = next((each for each in failures if not isinstance(each, Stopped)), self.endpoint.ending.by)
            raise told or failures[0]
        return [future.result() for future in futures]

    def _write(self, request: Request) -> Answer:
        body, prompt_tokens = self._body(request)
        start = time.perf_counter()
        try:
            found = self.endpoint.ask(body, prompt_tokens)
        except CaptionError as error:
            self.endpoint.ending.give_up(error)
            raise
        latency_ms = 1000 * (time.perf_counter() - start)
        refused = tuple(sorted(self.endpoint.refused.intersection(SAMPLING)))
        if isinstance(found, Refusal):
            return Answer(status=found.status, error=found.error, can_retry=False, latency_ms=latency_ms)
        return self._read(request, found, latency_ms, refused)

    def _read(
        self, request: Request, found: dict[str, Any], latency_ms: float, refused: tuple[str, ...]
    ) -> Answer:
        choice = found["choices"][0]
        message, reason = choice.get("message"), choice.get("finish_reason")
        message = message if isinstance(message, dict) else {}
        prompt, output = tokens_of(found)
        figures: dict[str, Any] = {
            "prompt_tokens": prompt or 0,
            "output_tokens": output or 0,
            "latency_ms": latency_ms,
            "refused": refused,
        }
        raw = _content(message)
        refusal = message.get("refusal")
        if reason == "content_filter" or refusal:
            error = f"refused: {refusal}" if refusal else "stopped by the server's content filter"
            return Answer(raw=raw, status="blocked", error=error, can_retry=False, **figures)
        return read_answer(request, raw, finished=reason != "length", **figures)

    def _body(self, request: Request) -> tuple[dict[str, Any], int]:
        """The chat request, and about how many tokens its prompt has."""
        words = words_of(request)
        tokens = len(words) // LETTERS
        content: Any = words
        if request.frames is not None:
            content = []
            height, width = request.frames.frames.shape[1:3]
            tokens += len(request.frames.frames) * (picture_tokens(width, height) + 10)
            for seconds, frame in zip(seconds_of(request), request.frames.frames):
                content.append({"type": "text", "text": f"Frame at {seconds:.2f} s:"})
                content.append({"type": "image_url", "image_url": {"url": _data_address(frame)}})
            content.append({"type": "text", "text": words})
        name = "facts" if request.levels == ("structured",) else "captions"
        schema = {"name": name, "strict": True, "schema": schema_of(request.levels)}
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed % 2**31,
            "response_format": {"type": "json_schema", "json_schema": schema},
        }
        if request.temperature:
            body["top_p"] = self.top_p
        return body, tokens


def _content(message: dict[str, Any]) -> str:
    """The words of a message, which may come in parts."""
    content = message.get("content")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _data_address(frame: Any) -> str:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
