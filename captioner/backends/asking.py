"""How a model that takes words is asked, and how its answers are read. The words themselves are in `prompts/`."""

import dataclasses
import json
from string import Template
from typing import Any

from ..captions.facts import FIELDS, FactsError, find_object, parse_facts, to_json
from .base import Answer, Request, prompt, sha

STRUCTURED = ("structured",)


def template_of(levels: tuple[str, ...], sees_frames: bool = True) -> str:
    """Name of the template that asks for these levels."""
    if levels == STRUCTURED:
        return "facts"
    return "captions" if sees_frames else "densify"


def prompt_sha(levels: tuple[str, ...], sees_frames: bool = True) -> str:
    """Digest of that template."""
    return sha(template_of(levels, sees_frames))


def seconds_of(request: Request) -> list[float]:
    """When the frames are shown, in seconds from the clip's beginning."""
    frames = request.frames
    if frames is None:
        return []
    start = request.clip.get("start_s")
    start = float(frames.times[0] if start is None else min(start, frames.times[0]))
    return [float(time) - start for time in frames.times]


def words_of(request: Request) -> str:
    """What the model is told, besides the frames."""
    times = seconds_of(request)
    start, end = request.clip.get("start_s"), request.clip.get("end_s")
    duration = end - start if start is not None and end is not None else (times or [0.0])[-1]
    return Template(prompt(template_of(request.levels, request.frames is not None))).substitute(
        count=len(times),
        times=", ".join(f"{time:.2f}" for time in times),
        duration=f"{duration:.2f}",
        facts=to_json(request.facts) if request.facts is not None else "none",
        levels=", ".join(json.dumps(level) for level in request.levels),
    )


def schema_of(levels: tuple[str, ...]) -> dict[str, Any]:
    """JSON schema of the answer, of the strict kind: all fields required, no others."""
    text, texts = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    if levels != STRUCTURED:
        return _object({level: text for level in levels})
    subject = _object({"name": text, "count": {"type": ["integer", "null"]}, "attributes": texts})
    kinds = {"subjects": {"type": "array", "items": subject}, "on_screen_text": texts}
    kinds |= {"actions": texts, "relations": texts}
    return _object({name: kinds.get(name, text) for name in FIELDS})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read_answer(request: Request, raw: str, *, finished: bool = True, **figures: Any) -> Answer:
    """What a model said, as an answer.

    Args:
        raw: its words.
        finished: False if it was stopped at the limit of tokens.
        figures: tokens and time, for the answer.
    """
    answer = Answer(raw=raw, **figures)
    try:
        if request.levels == STRUCTURED:
            return dataclasses.replace(answer, facts=parse_facts(raw))
        texts = _texts(request.levels, raw)
    except FactsError as error:
        status = "error" if finished else "truncated"
        return dataclasses.replace(answer, status=status, error=str(error))
    if not finished:  # the JSON is whole, and what is cut off came behind it; or plain words were cut off
        whole = "{" in raw
        return dataclasses.replace(answer, texts=texts, status="success" if whole else "truncated")
    return dataclasses.replace(answer, texts=texts)


def _texts(levels: tuple[str, ...], raw: str) -> dict[str, str]:
    """Captions by level. One level alone may come as plain words."""
    if len(levels) == 1 and "{" not in raw and raw.strip():
        return {levels[0]: " ".join(raw.split())}
    found = find_object(raw, levels)
    texts = {level: " ".join(found[level].split()) for level in levels if isinstance(found.get(level), str)}
    texts = {level: text for level, text in texts.items() if text}
    if missing := [level for level in levels if level not in texts]:
        raise FactsError(f"the answer has no text for {', '.join(missing)}")
    return texts
