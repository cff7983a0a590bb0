"""Settings of a video that was made before, for another one: from its job, or from its file alone.

A given file is looked into by a child process with little memory and time, as everything is that strangers give.
"""

import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..pipeline.provenance import Provenance, read_provenance
from .jobs.job import Job, JobError
from .jobs.wish import read_wish
from .models.model import Model, name_of

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".gif", ".png")  # that carry a provenance
SECONDS, MEMORY, MOST_TEXT = 20, 2 << 30, 1_000_000  # of the child; bytes; characters of a provenance
CHILD = [sys.executable, "-P", "-c", "from kinema.studio.restoring import serve; serve()"]
KEPT = (
    "prompt",
    "negative_prompt",
    "storyboard",
    "image",
    "keyframes",
    "schedule",
    "sampler",
    "fit",
)  # of a request
USED = ("seed", "width", "height", "fps", "num_inference_steps", "guidance_scale")  # of a result
ANYWHERE = ("seed", "num_inference_steps", "guidance_scale")  # of a result, whatever the task
OF_TEXTS = (
    "generate",
    "image",
    "keyframes",
    "storyboard",
    "canvas",
    "stream",
)  # tasks of a provenance that are "generate"
SAMPLERS = {  # schedulers by class, as a wish names them
    "FlowMatchHeunDiscreteScheduler": "heun", "UniPCMultistepScheduler": "unipc",
    "DPMSolverMultistepScheduler": "dpm++",
}  # fmt: skip
_ID = re.compile(r"(?:video|upload)_[0-9a-f]{32}")


@dataclass(frozen=True)
class Restored:
    """What Create can take over.

    Attributes:
        values: of a `Wish`.
        notes: what could not be taken over, and what may differ; for people.
    """

    values: dict[str, Any]
    notes: tuple[str, ...] = ()


def of_job(job: Job, there: Callable[[str], bool]) -> Restored:
    """The settings that a job really used, or of one that did not end well those it was asked for.

    Args:
        job: whichever.
        there: whether an upload or a video is still here.
    """
    request, result = job.request, job.result
    used = {name: result[name] for name in USED if result.get(name) is not None}
    if job.task != "generate":
        of_media = dict(request) | {name: used[name] for name in ANYWHERE if name in used}
        return _of_media(of_media, there) or _checked(_text_only(dict(request) | used), [_lost(job.task)], there)
    values = {name: request[name] for name in (*KEPT, *USED) if request.get(name) is not None} | used
    stopped = result.get("interrupted") and not result.get(
        "streamed"
    )  # a stream's beginning is whole at any length
    length = request if stopped or "num_frames" not in result else result
    if length.get("num_frames") is not None:
        values["num_frames"] = length["num_frames"]
    elif request.get("seconds") is not None:
        values["seconds"] = request["seconds"]
    return _checked(values, [], there)


def of_provenance(made: Provenance, model: Model, there: Callable[[str], bool]) -> Restored:
    """The settings of a file.

    Args:
        made: how it was made.
        model: that would make the next one.
        there: whether an upload or a video is still here.

    Raises:
        JobError: they are out of every range, so the file is damaged or forged.
    """
    try:
        return _of_provenance(made, model, there)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError):
        raise JobError("what the file says of itself cannot be read; it is damaged or forged") from None


def _of_provenance(made: Provenance, model: Model, there: Callable[[str], bool]) -> Restored:
    notes = []
    values: dict[str, Any] = {
        "seed": made.seed, "width": made.width, "height": made.height, "fps": made.frame_rate,
        "num_inference_steps": made.num_inference_steps, "guidance_scale": max(1.0, made.guidance_scale),
        "negative_prompt": made.negative_prompt or None,
    }  # fmt: skip
    values = {name: value for name, value in values.items() if value is not None}
    if made.seed is None:
        notes.append("Its noise was not drawn from a seed, so the same settings make another video.")
    if made.scheduler in SAMPLERS:
        values["sampler"] = SAMPLERS[made.scheduler]
    by_hand = [each for each in made.by_hand if each != "another scheduler" or "sampler" not in values]
    if by_hand:
        notes.append(f"It was made in Python with {', '.join(by_hand)}, which cannot be taken over.")
    name = name_of(made.model)
    if name != model.name:
        notes.append(f"It was made by the model {name}, and this is {model.name}: the video will be another one.")
    if made.task not in OF_TEXTS:
        kept = {name: values[name] for name in (*ANYWHERE, "negative_prompt") if name in values}
        if restored := _of_media(_task(made) | kept, there):
            return Restored(restored.values, tuple(notes))
        return _checked(_text_only(values | {"prompt": made.prompt}), [*notes, _lost(made.task)], there)
    values |= {"num_frames": made.num_frames} | _words(made) | _pictures(made, notes)
    streams = model.is_streamed(read_wish({"prompt": "anything", **_sizes(values)}))
    if streams != (made.task == "stream"):  # otherwise than it would be made of itself
        values["schedule"] = "stream" if made.task == "stream" else "equal"
    return _checked(values, notes, there)


def _sizes(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in ("num_frames", "fps") if name in values}


def read_file(path: str | Path) -> Provenance:
    """How a file was made, by what stands in it; a child process reads it.

    Raises:
        JobError: it was not made by Kinema, or cannot be read; the message is for people.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise JobError(f"a {path.suffix or 'nameless'} file cannot say how it was made; an MP4 by Kinema can")
    try:
        done = subprocess.run([*CHILD, str(path)], capture_output=True, timeout=SECONDS + 10, text=True)
    except subprocess.TimeoutExpired:
        raise JobError("the file takes too long to read", "input_not_usable") from None
    told = done.stdout.strip()
    if done.returncode == 0:
        return Provenance.from_json(told)
    if done.returncode == 2:
        raise JobError(
            "this file does not say how it was made: it is not by Kinema, or another program has rewritten it "
            "(messengers and editors do). Drop the file as it was downloaded here.", "input_not_usable",
        )  # fmt: skip
    raise JobError("this file cannot be read; it is damaged, or no video", "input_not_usable")


def serve() -> None:
    """The child: the path of a file; it writes the provenance as JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    try:
        text = json.dumps(asdict(read_provenance(sys.argv[1])))
    except ValueError:
        sys.exit(2)
    except Exception:  # of a crafted file anything
        sys.exit(1)
    if len(text) > MOST_TEXT:
        sys.exit(1)
    sys.stdout.write(text)


def _words(made: Provenance) -> dict[str, Any]:
    board = made.settings.get("storyboard")
    if not board:
        return {"prompt": made.prompt}
    cards = []
    for start, text, *picture in board:
        found = _ID.search(str(picture[0])) if picture else None
        cards.append({"at": float(start), "text": text} | ({"image": found[0]} if found else {}))
    return {"storyboard": cards}


def _pictures(made: Provenance, notes: list[str]) -> dict[str, Any]:
    """The image and keyframes that are ids of ours; others are on somebody else's disk."""
    values: dict[str, Any] = {}
    frames: dict[float, str] = {}
    for name, file in made.settings.items():
        if name != "image" and not name.startswith("keyframe "):
            continue
        if not (found := _ID.search(str(file))):
            notes.append(f"The {name} was a file that is not here; give it again.")
        elif name == "image":
            values["image"] = found[0]
        else:
            frames[_seconds(name.removeprefix("keyframe "), made)] = found[0]
    return values | ({"keyframes": frames} if frames else {})


def _seconds(time: str, made: Provenance) -> float:
    if "." in time:
        return float(time)
    frame = int(time)
    return (frame if frame >= 0 else made.num_frames + frame) / made.frame_rate


def _task(made: Provenance) -> dict[str, Any]:
    """A task that is made from media, as a wish; media that are no ids of ours are left out."""
    settings = made.settings
    files = {"video": "video", "a": "video", "b": "other", "mask": "mask"}
    values: dict[str, Any] = {"task": made.task, "prompt": made.prompt}
    for name, ours in files.items():
        if found := _ID.search(str(settings.get(name, ""))):
            values[ours] = found[0]
    for name in ("seconds", "direction", "strength", "aspect", "fit"):
        if settings.get(name) is not None:
            values[name] = settings[name]
    if isinstance(mask := settings.get("mask"), list):
        values["boxes"] = dict(mask) if isinstance(mask[0], list) else {0.0: mask}
    if "video_prompt" in settings:
        values["prompt"] = settings["video_prompt"]
    return values


def _of_media(values: dict[str, Any], there: Callable[[str], bool]) -> Restored | None:
    """The same task from the same media; None: they are not all here."""
    try:
        wish = read_wish(values)
    except JobError:
        return None
    return Restored(values) if all(map(there, wish.media())) else None


def _text_only(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in ("prompt", "negative_prompt", *USED) if values.get(name) is not None}


def _lost(task: str) -> str:
    return (
        f"It was made by the task “{task}” from media that are not here any more. Create takes over its words "
        "and settings without them."
    )


def _checked(values: dict[str, Any], notes: list[str], there: Callable[[str], bool]) -> Restored:
    """Without the media that are gone, and within every range."""
    values, gone = _with_what_is_there(values, there)
    lost = [f"The {name} is not here any more; give it again." for name in gone]
    asked = values | {"prompt": values.get("prompt") or "anything"}  # an empty one is for Create to complain of
    read_wish(asked)
    return Restored(values, (*notes, *lost))


def _with_what_is_there(
    values: Mapping[str, Any], there: Callable[[str], bool]
) -> tuple[dict[str, Any], list[str]]:
    kept, gone = dict(values), []
    if kept.get("image") and not there(kept["image"]):
        gone.append("first frame")
        del kept["image"]
    if kept.get("keyframes"):
        frames = {time: name for time, name in kept["keyframes"].items() if there(name)}
        gone += ["picture of a keyframe"] * (len(frames) < len(kept["keyframes"]))
        kept["keyframes"] = frames
        if not frames:
            del kept["keyframes"]
    if kept.get("storyboard"):
        cards = list(_cards(kept["storyboard"], there))
        gone += ["picture of a card"] * (cards != [dict(card) for card in kept["storyboard"]])
        kept["storyboard"] = cards
    return kept, gone


def _cards(cards: Any, there: Callable[[str], bool]) -> Iterator[dict[str, Any]]:
    for card in cards:
        if card.get("image") and not there(card["image"]):
            card = {name: value for name, value in card.items() if name != "image"}
        yield dict(card)
