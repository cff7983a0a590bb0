"""What every captioning backend is: requests in, as many answers out, in order.

A backend writes facts first (level "structured"), then prose levels, several of them in one request if it can.
What it cannot do is an answer that says so; what it raises (a `CaptionError`) ends the run.
"""

import hashlib
import re
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from ..captions.facts import Facts
from ..tables import Row

if TYPE_CHECKING:
    from ..shots.frames import ClipFrames

PROSE = ("short", "medium", "dense")  # levels that are derived from the facts
AnswerStatus = Literal["success", "truncated", "blocked", "error", "skipped"]


@dataclass(frozen=True)
class Request:
    """One thing to be written about one clip."""

    clip: Row  # of the table `shots`
    levels: tuple[str, ...]  # ("structured",), or some of PROSE
    frames: "ClipFrames | None" = None  # None: a text model writes from the facts alone
    facts: Facts | None = None  # that the prose must keep to
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
    refused: tuple[str, ...] = ()  # parameters of sampling that the server does not take


class Backend(Protocol):
    """A captioner. `write` may be called from several threads at once."""

    name: str  # as in the settings: captioner, transformers, openai, open_clip
    model: str
    revision: str  # of the weights: a fingerprint, a commit, or "" where an endpoint does not say
    num_frames: int | None  # it wants exactly so many frames; None: as configured
    temperature: float | None  # that it draws with, if not the one asked for
    sees: bool  # False: it writes from facts alone
    one_call_for_all_levels: bool  # False: a request has one level

    def write(self, requests: list[Request]) -> list[Answer]:
        """An answer to every request, in order."""
        ...

    def prompt_sha(self, levels: tuple[str, ...]) -> str | None:
        """Digest of the prompt's template for these levels; None if the model takes no words."""
        ...


@cache
def prompt(name: str) -> str:
    """The template `captioner/captions/prompts/NAME.txt`."""
    return (files("kinema.captioner.captions") / "prompts" / f"{name}.txt").read_text(encoding="utf-8")


def sha(name: str) -> str:
    """Digest of a template, for the rows that it made."""
    return hashlib.sha256(prompt(name).encode()).hexdigest()[:16]


def shown(model: str) -> str:
    """A model's name for rows and cards: of a folder or file its own name, since paths are nobody's business.

    What is told are names of a hub ("owner/name"), and "KIND:NAME:WEIGHTS" of which a part may be a path.
    """
    whole = model.startswith(("/", "~", ".")) or Path(model).exists()
    return ":".join(_last(part) for part in ([model] if whole else model.split(":")))


def _last(model: str) -> str:
    if model and Path(model).is_dir():
        return Path(model).resolve().name
    return re.split(r"[/\\]", model.rstrip("/\\"))[-1] if _is_path(model) else model


def _is_path(model: str) -> bool:
    """Whether it is a place on a disk, be it there or not."""
    return model.startswith(("/", "~", ".")) or "\\" in model or model.count("/") > 1 or Path(model).exists()


@cache
def fingerprint(folder: Path) -> str:
    """Digest of the files of a model's folder that decide what it says."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", ".safetensors", ".bin", ".pt", ".txt", ".jinja", ".model") and path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode())
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()
