"""Calls of an OpenAI-compatible endpoint that outlive its bad days: paced, retried, within a budget.

    CaptionError
    ├── BudgetExceeded    the next request could cost more than is left
    ├── EndpointDown      all retries failed for reasons that pass, and others' requests had no answer either
    └── EndpointRefused   the address, key or model is wrong; no retry would help

What is wrong with one request alone (a clip the server's filter blocks, a context that is too long) is no
exception but a `Refusal`, for that clip's row; so is a request that always fails while others are answered, or, if
there are no others, while the server is alive.
"""

import email.utils
import random
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from ..captions.cost import Meter
from ..engine.commits import CaptionError
from ..settings import RunSettings

LONGEST_WAIT = 60.0  # seconds between two tries, where the server does not say
LONGEST_OBEYED = 900.0  # seconds of Retry-After
MOST_UNANSWERED = 3  # requests in a row that get no answer from a server that is alive; then it is not well either
LONGEST_LOOK = 30.0  # seconds that a server may take to say that it is alive
FIRST_REFUSALS = 8  # so many requests refused and none answered: it is the settings, not the clips
PASSING = frozenset((408, 409, 425, 429))  # and all from 500 on
SETTINGS_WRONG = frozenset((401, 402, 403, 404, 405))
# Parameters some servers do not know, and what is sent in their place.
OPTIONAL = {"response_format": None, "seed": None, "top_p": None, "temperature": None}
OPTIONAL |= {"max_tokens": "max_completion_tokens"}
BLOCKED = (
    "content_filter",
    "content_policy",
    "content management policy",
    "content policy",
    "safety",
    "moderation",
)


class EndpointDown(CaptionError):
    """An endpoint did not answer however often it was asked."""


class EndpointRefused(CaptionError):
    """An endpoint that will not answer this configuration."""


class Stopped(CaptionError):
    """This request was given up because another one ended the run."""


@dataclass(frozen=True)
class Refusal:
    """Why the server would not answer one request."""

    status: Literal["blocked", "error"]
    error: str


class Ending:
    """What ends a run, for all endpoints of a writer: none goes on buying what can no longer be finished."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.by: CaptionError | None = None
        self.lock = threading.Lock()

    def give_up(self, error: CaptionError) -> None:
        """Let requests that wait raise `Stopped`, for the sake of one that failed."""
        with self.lock:
            if self.by is None and not isinstance(error, Stopped):
                self.by = error
        self.stop.set()


class Endpoint:
    """`POST base_url/chat/completions`, from any number of threads.

    Args:
        base_url: up to and with "/v1".
        api_key: sent, and written nowhere.
        meter: of the budget.
        first_wait: seconds before the first retry, at most; each next one at most twice that (full jitter:
            Brooker, "Exponential Backoff and Jitter", 2015).
        ending: shared with the other endpoints of the run; None: there are none.
        prefix: of the names of its settings, for messages: "densify_" where a text model writes.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        run: RunSettings,
        meter: Meter,
        *,
        first_wait: float = 0.5,
        ending: Ending | None = None,
        prefix: str = "",
    ) -> None:
        self.url = base_url.rstrip("/") + "/chat/completions"
        self.models_url = base_url.rstrip("/") + "/models"
        self.run, self.meter, self.first_wait, self.prefix = run, meter, first_wait, prefix
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        limits = httpx.Limits(max_connections=run.concurrency, max_keepalive_connections=run.concurrency)
        timeout = httpx.Timeout(run.request_seconds, connect=min(30.0, run.request_seconds))
        self.client = httpx.Client(headers=headers, limits=limits, timeout=timeout)
        weakref.finalize(self, self.client.close)
        self.refused: set[str] = set()  # of OPTIONAL, remembered for all requests to come
        self.lock = threading.Lock()
        self.next_slot = 0.0  # monotonic time before which no request may start
        self.answered = self.turned_away = 0
        self.unanswered = 0  # requests in a row that were given up, with no answer to any other between
        self.measuring = threading.Lock()  # held by the one request that goes out before there was an answer
        self.highest_prompt = 0.0  # tokens that a prompt took, as a multiple of what was guessed
        self.ending = ending or Ending()
        self.stop = self.ending.stop

    def ask(self, body: dict[str, Any], prompt_tokens: int) -> dict[str, Any] | Refusal:
        """The server's answer to a chat request.

        Args:
            body: of the request.
            prompt_tokens: about so many, for the budget.

        Raises:
            BudgetExceeded, EndpointDown, EndpointRefused, Stopped: see above.
        """
        tried: list[str] = []
        answered_before = self.answered
        wait, gone = 0.0, False
        while len(tried) <= self.run.max_retries:
            self._pause(wait)
            output_tokens = body.get("max_tokens") or 0
            with self._first_alone():
                reserved = self.meter.reserve(prompt_tokens * max(2.0, 1.25 * self.highest_prompt), output_tokens)
                without = frozenset(self.refused)
                try:
                    response = self.client.post(self.url, json=self._accepted(body))
                    answer: Any = response.json() if response.status_code == 200 else None
                except (httpx.RequestError, ValueError, RecursionError) as error:
                    # It may have been answered, and counted, on the way: what was put aside stays so.
                    tried.append(_said(error))
                    wait = self._backoff(len(tried))
                    gone = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
                    continue
                gone, code = False, response.status_code
                if code == 200:
                    whole = _is_whole(answer)
                    self._note_answer(answer, whole, prompt_tokens, output_tokens, reserved)
                    if whole:
                        return answer
                else:
                    self.meter.settle(reserved, 0, 0)
            words = _words(response)
            if code in PASSING or code >= 500 or code == 200:
                tried.append(f"{code} {'with no message: ' if code == 200 else ''}{words}".strip())
                wait = max(self._backoff(len(tried)), _retry_after(response))
                if code == 429:
                    self._hold_all(_retry_after(response))
                continue
            wait = 0.0
            if code in (400, 422) and self._drop_parameter(words, body, without):
                continue
            return self._refuse(code, words)
        if not gone and not any(each.startswith("429") for each in tried):
            # If others were answered meanwhile, it is this request that the server cannot bear. The last clip of a
            # run has no others: then it is, if the server is alive.
            if self.answered > answered_before:
                return Refusal(
                    "error", f"no answer after {len(tried)} tries, while others had theirs: {tried[-1]}"
                )
            with self.lock:
                self.unanswered += 1
                few = self.unanswered <= MOST_UNANSWERED
            if few and self._is_alive():
                return Refusal("error", f"no answer after {len(tried)} tries of a server that is up: {tried[-1]}")
        raise EndpointDown(
            f"{self.url} did not answer after {len(tried)} tries: {_counted(tried)}. Finished captions are kept; "
            "once it answers again, the same command goes on"
        )

    @contextmanager
    def _first_alone(self) -> Iterator[None]:
        """Send inside of this: with a budget one request at a time, until an answer tells what a prompt takes."""
        if self.meter.run.budget is None or not self.meter.counts or self.answered:
            yield
            return
        with self.measuring:
            if self.stop.is_set():
                raise Stopped("given up, since another request ended the run")
            if not self.answered:
                yield
                return
        yield

    def _is_alive(self) -> bool:
        """Whether the server says anything but that it is broken."""
        timeout = min(LONGEST_LOOK, self.run.request_seconds)
        try:
            return self.client.get(self.models_url, timeout=timeout).status_code < 500
        except httpx.RequestError:
            return False

    def _accepted(self, body: dict[str, Any]) -> dict[str, Any]:
        sent = {name: value for name, value in body.items() if name not in self.refused}
        for name in self.refused & body.keys():
            if (instead := OPTIONAL[name]) is not None:
                sent[instead] = body[name]
        return sent

    def _drop_parameter(self, words: str, body: dict[str, Any], without: frozenset[str]) -> bool:
        """Whether a refusal names a parameter that can be left out; it is, from now on."""
        with self.lock:
            if self.refused != without:
                return True  # another request has just found one: try again without it
            named = [
                name
                for name in OPTIONAL
                if name in body and name not in self.refused and (name in words or name.replace("_", " ") in words)
            ]
            if "guided" in words or "json_schema" in words or "structured output" in words.lower():
                named += [name for name in ("response_format",) if name in body and name not in self.refused]
            self.refused.update(named[:1])
            return bool(named)

    def _refuse(self, code: int, words: str) -> Refusal:
        lower = words.lower()
        if any(sign in lower for sign in BLOCKED):
            return Refusal("blocked", f"{code} {words}")
        if code in SETTINGS_WRONG:
            raise EndpointRefused(
                f"{self.url} answered {code} {words}\nCheck captions.{self.prefix}base_url, "
                f"captions.{self.prefix}model and the key in the environment variable that "
                f"captions.{self.prefix}api_key_env names. Finished captions are kept, and the same command "
                "goes on"
            )
        with self.lock:
            self.turned_away += 1
            hopeless = not self.answered and self.turned_away >= FIRST_REFUSALS
        if hopeless:
            raise EndpointRefused(
                f"{self.url} refused the first {FIRST_REFUSALS} requests, the last with {code} {words}\nDoes "
                "the model take pictures, and so many of them (captions.num_frames, captions.max_side)?"
            )
        return Refusal("error", f"{code} {words}")

    def _note_answer(self, answer: Any, whole: bool, guessed: int, most: int, reserved: float) -> None:
        """Count an answer of status 200, which was paid for whether or not (`whole`) it can be read."""
        prompt, output = tokens_of(answer)
        with self.lock:
            if whole:
                self.answered += 1
                self.unanswered = 0
            if prompt and guessed:
                self.highest_prompt = max(self.highest_prompt, prompt / guessed)
        if prompt is not None:  # a server that does not tell is taken at its worst
            self.meter.settle(reserved, prompt, most if output is None else output)

    def _backoff(self, tries: int) -> float:
        return random.uniform(0, min(LONGEST_WAIT, self.first_wait * 2 ** (tries - 1)))

    def _hold_all(self, seconds: float) -> None:
        with self.lock:
            self.next_slot = max(self.next_slot, time.monotonic() + seconds)

    def _pause(self, seconds: float) -> None:
        """Wait for a retry's time, and then for this request's turn under the rate limit."""
        stopped = self.stop.wait(seconds)
        with self.lock:
            now = time.monotonic()
            start = max(now, self.next_slot)
            if self.run.requests_per_minute:
                self.next_slot = start + 60 / self.run.requests_per_minute
        if stopped or self.stop.wait(start - now):
            raise Stopped("given up, since another request ended the run")


def tokens_of(answer: Any) -> tuple[int | None, int | None]:
    """Tokens of the prompt and of the answer, as the server counts them; None where it does not say."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    told = [
        usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")
    ]
    prompt, output = (each if isinstance(each, int) and 0 <= each < 1 << 31 else None for each in told)
    return prompt, output


def _is_whole(answer: Any) -> bool:
    """Whether an answer has a message, or says that a filter took it away."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict):
        return False
    return isinstance(first.get("message"), dict) or first.get("finish_reason") == "content_filter"


def _retry_after(response: httpx.Response) -> float:
    """Seconds that the server asks for; 0 if it does not."""
    value = response.headers.get("retry-after")
    if value is None:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        date = email.utils.parsedate_tz(value)
        seconds = email.utils.mktime_tz(date) - time.time() if date else 0.0
    return min(max(seconds, 0.0), LONGEST_OBEYED)


def _words(response: httpx.Response) -> str:
    """What an error response says, in a line."""
    try:
        found: Any = response.json()
    except (ValueError, RecursionError):
        return " ".join(response.text.split())[:300]
    if isinstance(found, dict):
        found = found.get("error", found)
    if isinstance(found, dict):
        parts = [found.get("message") or found.get("detail"), found.get("code"), found.get("param")]
        found = " ".join(str(part) for part in parts if part) or found
    return " ".join(str(found).split())[:300]


def _said(error: Exception) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return " ".join(f"{type(error).__name__} {error}".split())[:200]


def _counted(tried: list[str]) -> str:
    counts = {each: tried.count(each) for each in tried}
    return "; ".join(f"{count}× {each}" if count > 1 else each for each, count in counts.items())
