"""What requests and answers look like: the OpenAPI file is written from these models, and tests hold both to it.

Answers are made as plain dictionaries, in `objects`; the fields of requests are those of a `Wish`, and its limits.
"""

from copy import copy
from typing import Any, Literal

from pydantic import BaseModel, Field, create_model

from ..jobs.job import ERRORS, Status
from ..jobs.wish import Wish
from .errors import OTHERS, STATUS
from .objects import fields_of

DESCRIBED = {
    "prompt": "What is to be seen. It may be empty where a picture or a storyboard says it.",
    "negative_prompt": "What is not to be seen.",
    "storyboard": "Texts from a time on, instead of a prompt; in a form as JSON, or as storyboard[0][at] …",
    "num_frames": "Instead of seconds: how many frames.",
    "width": "Pixels; `size` says both at once.",
    "height": "Pixels.",
    "fps": "Frames a second.",
    "num_inference_steps": "Steps of denoising: more take longer.",
    "guidance_scale": "How closely the prompt is followed; 1: no guidance.",
    "seed": "The same seed and settings make the same video; null: one is drawn, and told when it is made.",
    "strength": "How much of the given video is made anew, 0 to 1.",
    "direction": "Whether it goes on after the given video or leads up to it.",
}
CODES = sorted((*STATUS, *OTHERS))


class Reference(BaseModel):
    """Something given by its name or address instead of as a file."""

    id: str | None = Field(None, description="A video of this server: `video_…`.")
    image_url: str | None = Field(None, description="A public http(s) address, or a data: address in base64.")


class ErrorDetail(BaseModel):
    """What is wrong."""

    message: str = Field(description="For people; it may change.")
    type: Literal[
        "invalid_request_error", "authentication_error", "permission_error", "not_found_error",
        "rate_limit_error", "server_error",
    ]  # fmt: skip
    param: str | None = Field(description="The field that it is about.")
    code: str = Field(description="For programs; it stays.", json_schema_extra={"enum": [*CODES]})


class Error(BaseModel):
    """Every error of the API has this shape."""

    error: ErrorDetail


class VideoError(BaseModel):
    """Why a video could not be made."""

    code: str = Field(json_schema_extra={"enum": [*sorted(ERRORS)]})
    message: str


class Applied(BaseModel):
    """What was really done to the file, read back from it."""

    provenance: bool = Field(description="The file says how it was made.")
    mark: str | None = Field(None, description="The words of its visible mark.")
    c2pa: str | None = Field(None, description="Who signed it.")
    problems: list[str] = Field([], description="What was to be done and was not.")


class Video(BaseModel):
    """A video that is wanted, being made, or made."""

    id: str = Field(pattern="^video_[0-9a-f]{32}$")
    object: Literal["video"]
    model: str
    status: Status
    progress: int = Field(ge=0, le=100, description="Percent; 100 only when it is completed.")
    created_at: int = Field(description="Seconds since 1970, as all times.")
    completed_at: int | None
    expires_at: int | None = Field(description="Always null: files stay until they are deleted or room is needed.")
    prompt: str | None
    seconds: str = Field(description="Its length; a number as a text.")
    size: str = Field(pattern=r"^\d+x\d+$", description="WIDTHxHEIGHT in pixels.")
    remixed_from_video_id: str | None = Field(description="The video that it is made from.")
    error: VideoError | None = Field(description="Of one that failed.")
    request_id: str | None = Field(description="Of the request that asked for it; the server's log has it, too.")
    stage: str = Field("", description="While it is made: what is being done.")
    seconds_left: float | None = Field(None, description="While it is made: an estimate.")
    preview: str = Field("", description="While it is made: where its newest preview is, if there is one.")
    stream: str = Field("", description="While a long one is made: where what there is of it can be played.")
    seed: int | None = Field(None, description="When it is made, as all below: the values that were used.")
    fps: float | None = None
    num_frames: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    warnings: list[str] = Field([], description="What was done otherwise than asked, or may disappoint.")
    applied: Applied | None = Field(None, description="Marks and signatures that the file really has.")


class VideoList(BaseModel):
    """A page of videos."""

    object: Literal["list"]
    data: list[Video]
    first_id: str | None
    last_id: str | None = Field(description="Give it as `after` to have the next page.")
    has_more: bool


class DeletedVideo(BaseModel):
    """A video that is not there any more."""

    id: str
    object: Literal["video.deleted"]
    deleted: Literal[True]


class Aspect(BaseModel):
    """A shape that a model makes well."""

    name: str
    size: str


class Capabilities(BaseModel):
    """What a model can do. A field that a request leaves out has the value that is told here."""

    width: int
    height: int
    num_frames: int
    fps: float
    num_inference_steps: int
    guidance_scale: float
    max_seconds: float = Field(description="The longest video that is made here.")
    multiple: int = Field(description="Widths and heights are multiples of this.")
    aspects: list[Aspect]
    drafts: dict[str, int] = Field(description="Steps that are good for a draft, as usual, and at best.")
    needs: list[str] = Field(description="What every request has to give besides a text.")
    off: dict[str, str] = Field(description="What it cannot do: names of tasks and fields, to the reason.")
    vocabulary: list[str] | None = Field(description="The words that it knows; null: any.")
    examples: list[str] = Field(description="Prompts that work.")


class Model(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    kind: str = Field(description="`kinema`, or the class of the diffusers pipeline.")
    capabilities: Capabilities


class ModelList(BaseModel):
    """The models that are served."""

    object: Literal["list"]
    data: list[Model]


class State(BaseModel):
    """That all is well."""

    status: str


class CancelVideo(BaseModel):
    """How to stop."""

    keep: bool = Field(False, description="Keep the frames as they are by then, as a completed video.")


def body_model(name: str, text: str, task: str, named: str | None) -> type[BaseModel]:
    """The model of a request's body: the fields of a task, with the limits of a wish.

    Args:
        name, text: of the model.
        task: of `Wish`.
        named: the field that names what it is made from, or None.
    """
    own: dict[str, Any] = {
        "model": (str | None, Field(None, description="The model's name, of /v1/models; there is one.")),
        "size": (str | None, Field(None, pattern=r"^\d+x\d+$", description="WIDTHxHEIGHT in pixels.")),
        "seconds": (
            float | str | None,
            Field(None, description="Length of the video; of an extension: what is added. A number or its text."),
        ),
    }
    fields: dict[str, Any] = {}
    for field in fields_of(task, named):
        if field == named:
            about = "A file (in a form), or the id of a video, an address, or an object with one of them."
            needed = ... if task != "generate" else None
            fields[field] = (
                Reference | str if needed else Reference | str | None,
                Field(needed, description=about),
            )
        elif field in own:
            fields[field] = own[field]
        else:
            about_it = copy(Wish.model_fields[field])
            about_it.description = DESCRIBED[field]
            fields[field] = (about_it.annotation, about_it)
    return create_model(name, __doc__=text, **fields)


CreateVideo = body_model("CreateVideo", "A video that is wanted.", "generate", "input_reference")
EditVideo = body_model("EditVideo", "A video made from another one.", "remix", "video")
ExtendVideo = body_model("ExtendVideo", "A video that goes on after another one.", "extend", "video")
RemixVideo = body_model("RemixVideo", "A video made from the one in the address.", "remix", None)
