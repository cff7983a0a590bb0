"""Jobs as the Video objects of the API, and requests as wishes."""

import json
import math
from typing import Any

from ..jobs.job import Job, JobError
from ..jobs.wish import Wish
from ..making.make import wish_of
from ..models.model import Model
from ..service import Studio
from .bodies import Body
from .references import CARD_PICTURE
from .routes import PREFIX

# Flat extensions of the request, by their names in a wish; the others are those of the `openai` client.
SAMPLING = ("seed", "fps", "width", "height", "num_inference_steps", "guidance_scale", "negative_prompt")
EXTENSIONS = {
    "generate": (*SAMPLING, "num_frames", "storyboard"), "extend": (*SAMPLING, "direction"),
    "remix": (*SAMPLING, "strength"),
}  # fmt: skip
KNOWN = ("prompt", "model", "seconds", "size", "input_reference", *EXTENSIONS["generate"])


def fields_of(task: str, named: str | None) -> tuple[str, ...]:
    """The fields of a request.

    Args:
        task: of `Wish`: "generate", "extend" or "remix".
        named: the field that names what it is made from, if there is one.
    """
    length = () if task == "remix" else ("seconds",)
    return ("prompt", *((named,) if named else ()), "model", *length, "size", *EXTENSIONS[task])


def video_object(job: Job, studio: Studio) -> dict[str, Any]:
    """A job as a Video: `seconds` a text, times whole numbers, `progress` in percent."""
    wish, result, model = _wish(job), job.result, studio.model
    width, height = (result["width"], result["height"]) if result else model.size(wish)
    seconds = result["seconds"] if result else model.seconds(wish)
    video = {
        "id": job.id, "object": "video", "model": model.name, "status": job.status,
        "progress": 100 if job.status == "completed" else min(99, math.floor(100 * job.progress)),
        "created_at": int(job.created_at), "completed_at": None, "expires_at": None, "prompt": prompt_of(job),
        "seconds": f"{seconds:g}", "size": f"{width}x{height}", "remixed_from_video_id": job.parent, "error": None,
        "request_id": job.request_id or None,
    }  # fmt: skip
    if job.status == "completed" and job.finished_at is not None:
        video["completed_at"] = int(job.finished_at)
    if job.status == "failed":
        video["error"] = {"code": job.error_code, "message": job.error}
    if job.status == "in_progress":
        video |= {"stage": job.stage, "seconds_left": job.seconds_left}
        if job.preview:
            video["preview"] = f"{PREFIX}/{job.id}/preview?number={job.preview}"
        if studio.shelf.growing(job.id).exists():
            video["stream"] = f"{PREFIX}/{job.id}/stream"
    told = ("seed", "fps", "num_frames", "num_inference_steps", "guidance_scale", "warnings", "applied")
    return video | {name: result[name] for name in told if name in result}


def _wish(job: Job) -> Wish:
    """What it is to become; of one that another version of Kinema took and this one would not, its prompt."""
    try:
        return wish_of(job)
    except JobError:
        return Wish.model_construct(prompt=str(job.request.get("prompt", "")))


def prompt_of(job: Job) -> str:
    """What was written, of a storyboard all texts."""
    wish = _wish(job)
    return wish.prompt or " | ".join(card.text for card in wish.storyboard or ())


def wish_values(body: Body, model: Model, task: str, named: str | None) -> dict[str, Any]:
    """The values of a wish from those of a request; given files are the caller's.

    Args:
        body, model, task: of the request.
        named: the field that names what it is made from; None: there is none.

    Raises:
        JobError: another model, an unknown name, or a size or length that cannot be read.
    """
    known, values = fields_of(task, named), body.values
    files = [name for name in body.files if name != named and not (named and CARD_PICTURE.fullmatch(name))]
    for name in (*values, *files):
        if name in files and name in known:
            raise JobError(f"{name}: this is no file")
        if name not in known:
            raise JobError(
                f"{name[:80]}: there is no such parameter; there are {', '.join(known)}", "unknown_parameter"
            )
    asked = values.get("model")
    if asked not in (None, "", model.name):
        raise JobError(f"the model {asked!r:.80} is not served here; {model.name!r} is", "model_not_found")
    wish = {name: values[name] for name in ("prompt", *EXTENSIONS[task]) if values.get(name) not in (None, "")}
    if values.get("size"):
        wish |= _size(values["size"])
    if values.get("seconds"):
        wish["seconds"] = values["seconds"]
    if isinstance(wish.get("storyboard"), str):  # of a form
        try:
            wish["storyboard"] = json.loads(wish["storyboard"])
        except (ValueError, RecursionError):
            raise JobError("storyboard: this text is no JSON") from None
    return wish


def _size(text: Any) -> dict[str, int]:
    width, cross, height = str(text).lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and len(width + height) < 12):
        raise JobError(f"size: {text!r:.80} is none; write WIDTHxHEIGHT in pixels, such as '64x64'")
    return {"width": int(width), "height": int(height)}
