"""How the command line asks for a task again: the verb, texts, files and options of what a provenance records."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FILES = ("video", "a", "b", "image", "mask")


@dataclass(frozen=True)
class Asked:
    """A task in the words of the command line.

    Attributes:
        verb: the command.
        positionals: files and texts, in order.
        options: the task's own options.
        num_frames: what --frames says; None: the task has no such option.
        sized: whether height and width are options of their own, and not decided by another.
        files: given files that are no longer there.
        doubts: what the command cannot promise.
    """

    verb: str
    positionals: tuple[str, ...]
    options: tuple[str, ...] = ()
    num_frames: int | None = None
    sized: bool = True
    files: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def asked_again(
    task: str, settings: Mapping[str, Any], prompt: str, num_frames: int, frame_rate: float
) -> Asked | None:
    """What to ask for; None for a task that no command does. Arguments are the fields of a `Provenance`.

    Things that were given from memory stand as capitals, such as VIDEO; the provenance tells of them.
    """
    storyboard = settings.get("storyboard")
    texts = [f"{entry[0]!r}:{entry[1]}" for entry in storyboard] if storyboard else [prompt]
    after = [prompt] if prompt else []
    video = settings.get("video", "VIDEO")
    options: list[Any] = []
    frames: int | None = num_frames
    doubts: list[str] = []
    match task:
        case "generate" | "canvas" | "image" | "keyframes" | "storyboard":
            verb = "storyboard" if storyboard else "generate"
            positionals = texts
            options += _pictures(settings)
        case "extend":
            verb, positionals, frames = task, [video, *after], None
            options += ["--seconds", settings["seconds"]]
            options += ["--backward"] if settings.get("direction") == "backward" else []
            options += _given(settings, context="--context")
        case "loop":
            first = settings.get("video_prompt")
            verb, positionals = task, [video if first is None else first, *(after if prompt != first else [])]
            frames = None if first is None else num_frames - round(settings["seconds"] * frame_rate)
            options += ["--seconds", settings["seconds"]]
        case "connect" | "blend":
            verb, positionals = task, [settings.get("a", "A"), settings.get("b", "B"), *after]
            frames = None if task == "connect" else num_frames
            options += _given(settings, seconds="--seconds", strength="--strength")
            schedule = settings.get("schedule")
            options += ["--schedule", schedule] if isinstance(schedule, str) else []
            options += ["--schedule", ",".join(map(repr, schedule))] if isinstance(schedule, list) else []
        case "remix":
            verb, positionals = task, [video, prompt]
            options += _given(settings, strength="--strength")
        case "inpaint":
            verb, positionals = task, [video, prompt]
            options += [*_mask(settings), *_given(settings, strength="--strength")]
        case "outpaint":
            verb, positionals = task, [video, *after]
            options += _given(settings, aspect="--aspect")
        case "stream":
            verb, positionals, frames = task, texts, None
            options += _given(settings, seconds="--seconds", video="--video", window="--window",
                              context_noise="--context-noise", frames_per_block="--block")  # fmt: skip
            options += _pictures(settings)
            if settings.get("seconds") is None:
                doubts.append("it was made until it was stopped; stop the command likewise")
        case _:
            return None
    fit = settings.get("fit", "cover")
    options += ["--fit", fit] if fit != "cover" else []
    sized = not (task == "outpaint" and settings.get("aspect") is not None)
    return Asked(
        verb,
        tuple(map(str, positionals)),
        tuple(map(str, options)),
        frames,
        sized,
        tuple(_missing(settings)),
        tuple(doubts),
    )


def _given(settings: Mapping[str, Any], **options: str) -> list[Any]:
    """The options whose settings were given."""
    return [word for name, option in options.items() if settings.get(name) is not None
            for word in (option, settings[name])]  # fmt: skip


def _pictures(settings: Mapping[str, Any]) -> Iterator[Any]:
    """Options of the image, the keyframes and the storyboard's pictures."""
    yield from _given(settings, image="--image")
    for name, picture in settings.items():
        if found := re.fullmatch(r"keyframe (-?\d+)(\.\d+)?", name):
            yield f"--keyframe={found[1]}{found[2] + 's' if found[2] else ''}={picture}"
    for start, _, *picture in settings.get("storyboard") or ():
        if picture:
            yield f"--picture={start!r}={picture[0]}"


def _mask(settings: Mapping[str, Any]) -> Iterator[Any]:
    """Options of the mask: a file, a box, or boxes at times."""
    mask = settings.get("mask", "MASK")
    if isinstance(mask, str):
        yield from ("--mask", mask)
        return
    for time, box in mask if isinstance(mask[0], list) else [(None, mask)]:
        at = "" if time is None else f"{time}:" if isinstance(time, int) else f"{time!r}s:"
        yield f"--box={at}{','.join(map(repr, box))}"


def _missing(settings: Mapping[str, Any]) -> Iterator[str]:
    """Given files that are no longer there; of URLs nothing is known."""
    named = [value for name, value in settings.items() if name in _FILES or name.startswith("keyframe ")]
    named += [entry[2] for entry in settings.get("storyboard") or () if len(entry) > 2]
    for value in named:
        if isinstance(value, str) and "://" not in value and not Path(value).expanduser().exists():
            yield value
