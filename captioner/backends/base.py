"""What every captioning backend is: requests in, as many answers out, in order.

A backend writes facts first (level "structured"), then prose levels, several of them in one request if it can.
What it cannot do is an answer that says so; what it raises (a `CaptionError`) ends the run.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal, Protocol

from ..facts import Facts
from ..tables import Row

if TYPE_CHECKING:
    from ..frames import ClipFrames

PROSE = ("short", "medium", "dense")  # levels that are derived from the facts
AnswerStatus = Literal["success", "truncated", "blocked", "error", "skipped"]


@dataclass(frozen=True)
class Request:
    """One thing to be written about one clip."""

    clip: Row  # of the table `shots`
    levels: tuple[str, ...]  # ("structured",), or some of PROSE
    frames: "ClipFrames | None" = None  # None: a text model writes from the facts alone
    facts: Facts | None = None  # that the prose must keep to
    original: str = ""  # the clip's original caption, which may be wrong
    seed: int = 0  # of this attempt at this clip; nothing else may decide what is drawn
    temperature: float = 0.0  # 0 is greedy


@dataclass(frozen=True)
class Answer:
    """What became of a request."""

    texts: dict[str, str] = field(default_factory=dict)  # by level
    facts: Facts | None = None  # of level "structured"
    raw: str = ""  # what the model said, word for word
    status: AnswerStatus = "success"
    error: str = ""
    can_retry: bool = True  # another seed could do better
    prompt_tokens: int = 0
    output_tokens: int = 0
    latency_ms: float = 0.0


class Backend(Protocol):
    """A captioner. `write` may be called from several threads at once."""

    name: str  # as in the settings: captioner, transformers, openai, open_clip
    model: str
    revision: str  # of the weights: a fingerprint, a commit, or "" where an endpoint does not say
    num_frames: int | None  # it wants exactly so many frames; None: as configured
    one_call_for_all_levels: bool  # False: a request has one level

    def write(self, requests: list[Request]) -> list[Answer]:
        """An answer to every request, in order."""
        ...

    def prompt_sha(self, levels: tuple[str, ...]) -> str | None:
        """Digest of the prompt's template for these levels; None if the model takes no words."""
        ...


@cache
def prompt(name: str) -> str:
    """The template `captioner/prompts/NAME.txt`."""
    return (files("kinema.captioner") / "prompts" / f"{name}.txt").read_text(encoding="utf-8")


def sha(name: str) -> str:
    """Digest of a template, for the rows that it made."""
    return hashlib.sha256(prompt(name).encode()).hexdigest()[:16]
