"""What can be done with a video that is there, and the wish that comes of the choices on the page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .jobs.job import Job, JobError
from .jobs.wish import Wish, read_wish, wish_of
from .models.model import Model
from .service import Studio
from .stills import Still, look

RATE_FACTOR = (
    1.5  # a video's own frame rate is worked at if it is within this factor of the model's (docs/canvas.md)
)
ASPECTS = ("16:9", "4:3", "1:1", "3:4", "9:16", "21:9")
FREE = 0.6  # how freely remix and blend make their frames, unless told


@dataclass(frozen=True)
class Edit:
    """A way of editing, as the page offers it.

    Attributes:
        task: of the wish.
        words: its name for people.
        about: what it does.
        needs: settings of its own: "seconds", "other", "strength", "mask", "aspect".
        direction: of extend.
    """

    task: str
    words: str
    about: str
    needs: tuple[str, ...] = ()
    direction: str | None = None


EDITS = {
    "after": Edit("extend", "Extend →", "New frames follow the end.", ("seconds",), "forward"),
    "before": Edit("extend", "← Extend", "New frames lead up to the beginning.", ("seconds",), "backward"),
    "loop": Edit("loop", "Loop", "New frames lead from the end back to the beginning.", ("seconds",)),
    "remix": Edit("remix", "Remix", "The whole video again, as the prompt says.", ("strength",)),
    "connect": Edit("connect", "Connect", "New frames lead from this video to another.", ("other", "seconds")),
    "blend": Edit("blend", "Blend", "This video turns into another while it plays.", ("other", "strength")),
    "inpaint": Edit("inpaint", "Change a part", "What you mark is made anew; the rest stays as it is.", ("mask",)),
    "outpaint": Edit("outpaint", "Widen", "The picture is continued beyond its edges.", ("aspect",)),
}


@dataclass(frozen=True)
class Source:
    """A video that is edited.

    Attributes:
        id: of the job or upload.
        url: where its player finds it.
        prompt: that it was made of; "" of an upload.
        width, height: pixels.
        fps: frames a second; None: it is a picture.
        seconds: length; None: not known.
        poster: the address of its picture for the player; "".
    """

    id: str
    url: str
    prompt: str
    width: int
    height: int
    fps: float | None
    seconds: float | None
    poster: str = ""

    @property
    def words(self) -> str:
        """ "2.125 s, 64 × 64, 8 frames a second"."""
        told = [f"{self.width} × {self.height}"]
        if self.fps is not None:
            told = ([] if self.seconds is None else [f"{round(self.seconds, 3):g} s"]) + told
            told.append(f"{self.fps:.4g} frames a second")
        return ", ".join(told)


def source_of(studio: Studio, job: Job) -> Source:
    """A completed job as a source.

    Raises:
        JobError: it is not completed, or its files are gone.
    """
    studio.content(job.id)
    made = job.result
    still = made["num_frames"] == 1
    return Source(
        job.id, f"v1/videos/{job.id}/content", wish_of(job).prompt, made["width"], made["height"],
        None if still else made["fps"], None if still else made["seconds"],
        f"v1/videos/{job.id}/content?variant=thumbnail",
    )  # fmt: skip


def source_of_upload(studio: Studio, upload_id: str) -> Source:
    """An upload as a source.

    Raises:
        JobError: there is none, or it cannot be read.
    """
    still = look(studio.shelf.upload(upload_id))
    return Source(
        upload_id, f"v1/uploads/{upload_id}", "", still.width, still.height, still.fps, still.seconds, still.png
    )


def frame_of(studio: Studio, source: Source, at: float) -> Still:
    """The frame of a source to paint on.

    Raises:
        JobError: it cannot be read.
    """
    is_job = source.id.startswith("video_")
    return look(studio.content(source.id) if is_job else studio.shelf.upload(source.id), at)


def rate(model: Model, source: Source) -> float:
    """Frames a second at which a source is worked on."""
    own = source.fps
    return own if own and 1 / RATE_FACTOR <= own / model.fps <= RATE_FACTOR else model.fps


def step(model: Model, source: Source) -> float:
    """Seconds by which new frames come."""
    return model.frame_step / rate(model, source)


def fitting(seconds: float, model: Model, source: Source) -> float:
    """The nearest length of new frames that can be made."""
    return round(max(1, round(seconds / step(model, source))) * step(model, source), 6)


def offered(model: Model) -> dict[str, Edit]:
    """What a model can do."""
    return {name: edit for name, edit in EDITS.items() if edit.task not in model.off}


def lacking(model: Model) -> list[tuple[str, str]]:
    """(name, why) of what it cannot."""
    return [(edit.words, model.off[edit.task]) for edit in EDITS.values() if edit.task in model.off]


def aspects(source: Source) -> list[str]:
    """Shapes that a video can be widened to: those that are not its own."""
    own = source.width / source.height
    ratios = {name: int(name.split(":")[0]) / int(name.split(":")[1]) for name in ASPECTS}
    return [name for name, ratio in ratios.items() if abs(ratio / own - 1) > 0.03]


def values_of(name: str, model: Model, source: Source, given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a wish.

    Args:
        name: of `EDITS`.
        given: "prompt", "seconds", "strength", "other", "mask", "boxes", "aspect", "steps", "seed"; those that the
            edit does not need are left out, and so are None.

    Raises:
        JobError: something is missing.
    """
    edit = EDITS[name]
    values: dict[str, Any] = {"task": edit.task, "video": source.id, "prompt": given.get("prompt") or ""}
    if edit.direction is not None:
        values["direction"] = edit.direction
    if "other" in edit.needs and not given.get("other"):
        raise JobError(f"choose the second video to {edit.task} with")
    if "seconds" in edit.needs:
        values["seconds"] = fitting(float(given.get("seconds") or 1.0), model, source)
    needed = {"strength", "other", "aspect"} & set(edit.needs)
    needed |= {"mask", "boxes"} if "mask" in edit.needs else set()
    named = {each: each for each in needed} | {"seed": "seed", "num_inference_steps": "steps"}
    return values | {each: given[key] for each, key in named.items() if given.get(key) is not None}


def sized(name: str, model: Model, source: Source, given: Mapping[str, Any]) -> Wish:
    """A wish with the size and length that is worked on, for an estimate; what is still to be chosen is left open.

    Raises:
        JobError: something is out of range.
    """
    open_yet = {
        "other": source.id,
        "boxes": {0.0: (0.0, 0.0, 1.0, 1.0)},
        "mask": None,
        "aspect": aspects(source)[0],
    }
    wish = read_wish(values_of(name, model, source, {**given, **open_yet}))
    size: dict[str, Any] = {"width": source.width, "height": source.height}
    if "seconds" not in EDITS[name].needs:
        size["num_frames"] = round((source.seconds or 0.0) * rate(model, source)) or 1
    return wish.model_copy(update=size)


def smaller(nearest: Wish) -> dict[str, Any]:
    """Values that make a wish as small as another one that fits."""
    sizes = {"width": nearest.width, "height": nearest.height, "seconds": nearest.seconds}
    return {name: value for name, value in sizes.items() if value is not None}
