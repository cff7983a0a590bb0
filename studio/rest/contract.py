"""The OpenAPI file: what the API promises. `python -m kinema.studio.rest.contract > docs/openapi.json` writes it.

Bodies are read by hand, since they come as forms or JSON with nested names in either, so they are described here.
"""

import json
import sys
from copy import deepcopy
from typing import Any, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .schema import CancelVideo, CreateVideo, EditVideo, Error, ExtendVideo, RemixVideo

PLACE = "#/components/schemas/"
JSON, FORM = "application/json", "multipart/form-data"
BODIES: dict[str, type[BaseModel]] = {
    "/v1/videos": CreateVideo, "/v1/videos/edits": EditVideo, "/v1/videos/extensions": ExtendVideo,
    "/v1/videos/{video_id}/remix": RemixVideo, "/v1/videos/{video_id}/cancel": CancelVideo,
}  # fmt: skip
FILES = {"video": "The file itself.", "input_reference": "A picture, as a file: the first frame."}
ABOUT = """Videos of prompts. The shape is that of OpenAI's `/v1/videos`, so the `openai` client speaks it; what is
added stands flat beside it (`seed`, `storyboard` …).

Ask for a video with `POST /v1/videos`, see how it is with `GET /v1/videos/{video_id}` after the milliseconds that
the header `openai-poll-after-ms` says (or follow `/events`), and fetch it from `/content`. Where the server has
keys, send one: `Authorization: Bearer KEY`."""
EVENTS = """Server-sent events. `event: video` has a Video as its data, the first one at once and another whenever
it changes; after the last one comes `event: done`. Lines with a colon in front only say that the stream lives."""
POLL_ABOUT = "Milliseconds until asking again makes sense; not sent once it has ended."
POLL = {"openai-poll-after-ms": {"description": POLL_ABOUT, "schema": {"type": "integer"}}}
AGAIN = {"Retry-After": {"description": "Seconds until asking again makes sense.", "schema": {"type": "integer"}}}


def describe(app: FastAPI) -> None:
    """Let an app tell its contract at /openapi.json."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _contract(app)
        return app.openapi_schema

    app.openapi = openapi


def contract() -> dict[str, Any]:
    """The contract of this version, whatever model is served."""
    from .access import Access
    from .api import build_api

    return build_api(cast(Any, None), Access()).openapi()  # nothing is asked of the studio until a request comes


def text() -> str:
    """The contract as it stands in docs/openapi.json."""
    return json.dumps(contract(), indent=1, ensure_ascii=False) + "\n"


def _contract(app: FastAPI) -> dict[str, Any]:
    told = get_openapi(title=app.title, version=app.version, description=ABOUT, routes=app.routes)
    parts = told["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        parts.pop(name, None)
    models = [(model, "validation") for model in (Error, *BODIES.values())]
    parts |= models_json_schema(cast(Any, models), ref_template=PLACE + "{model}")[1]["$defs"]
    for model in BODIES.values():
        form = _form(parts[model.__name__])
        if form != parts[model.__name__]:
            parts[f"{model.__name__}Form"] = form
    told["components"] |= {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
    told["security"] = [{}, {"key": []}]  # without keys everybody may ask
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            _complete(operation, BODIES.get(path) if method == "post" else None, set(parts))
    told["components"]["schemas"] = dict(sorted(parts.items()))
    return {"openapi": told["openapi"], "info": told["info"]} | {
        name: _untitled(told[name]) for name in ("security", "paths", "components")
    }


def _untitled(part: Any) -> Any:
    """Without the titles that only say a name again."""
    if isinstance(part, list):
        return [_untitled(each) for each in part]
    if isinstance(part, dict):
        return {
            name: _untitled(each) for name, each in part.items() if name != "title" or not isinstance(each, str)
        }
    return part


def _form(schema: dict[str, Any]) -> dict[str, Any]:
    """A body as a form: what is named can be a file."""
    form = deepcopy(schema)
    for name, about in FILES.items():
        if name in form["properties"]:
            file = {"type": "string", "format": "binary", "description": about}
            form["properties"][name] = {"anyOf": [file, {"$ref": f"{PLACE}Reference"}]}
            form["description"] += (
                f" Beside a file, {name}[id] and {name}[image_url] name what is here or elsewhere."
            )
    return form


def _complete(operation: dict[str, Any], body: type[BaseModel] | None, there: set[str]) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    error = {JSON: {"schema": {"$ref": f"{PLACE}Error"}}}
    answers["default"] = {"description": "Any error.", "content": error}
    if body is not None:
        form = f"{body.__name__}Form" if f"{body.__name__}Form" in there else body.__name__
        content = {FORM: {"schema": {"$ref": PLACE + form}}, JSON: {"schema": {"$ref": PLACE + body.__name__}}}
        operation["requestBody"] = {"content": content, "required": body is not CancelVideo}
        if body is not CancelVideo:
            answers["429"] = {"description": "The queue is full, or too much was asked for.", "content": error,
                              "headers": AGAIN}  # fmt: skip
    if answers["200"].get("content", {}).get(JSON, {}).get("schema", {}).get("$ref") == f"{PLACE}Video":
        answers["200"]["headers"] = POLL


def binary(*kinds: str) -> dict[str, Any]:
    """The content of an answer that is a file of one of some kinds."""
    return {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}}


if __name__ == "__main__":
    sys.stdout.write(text())
