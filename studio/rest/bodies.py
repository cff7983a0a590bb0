"""Request bodies, however they come: multipart or urlencoded forms with bracketed keys, or JSON."""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile

from ..jobs.job import JobError

MOST_FIELDS, MOST_FILES, MOST_JSON = 1000, 32, 1_000_000  # bytes
DEEPEST = 6
_PARTS = re.compile(r"\[([^\[\]]*)\]")


@dataclass
class Body:
    """What was sent: values, and files by the same kind of key ("input_reference", "storyboard[0][image]")."""

    values: dict[str, Any] = field(default_factory=dict)
    files: dict[str, UploadFile] = field(default_factory=dict)


@asynccontextmanager
async def open_body(request: Request) -> AsyncIterator[Body]:
    """A request's body, its files open until the block ends.

    Raises:
        JobError: it is none of the forms, or contradicts itself.
    """
    try:
        yield await _read(request)
    finally:
        await request.close()


async def _read(request: Request) -> Body:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        raw = b""
        async for part in request.stream():
            raw += part
            if len(raw) > MOST_JSON:
                raise JobError("the JSON is larger than a megabyte; send files in a form", "too_large")
        try:
            values = json.loads(raw or b"{}")
        except (ValueError, RecursionError) as error:
            raise JobError(f"the body is no JSON: {error}") from None
        if not isinstance(values, dict):
            raise JobError("the body must be a JSON object")
        return Body(values)
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded", ""):
        form = await request.form(max_files=MOST_FILES, max_fields=MOST_FIELDS)
        body, texts = Body(), []
        for key, value in form.multi_items():
            if isinstance(value, UploadFile):
                body.files[key] = value
            else:
                texts.append((key, value))
        body.values = unbracketed(texts)
        return body
    raise JobError(f"the body is {kind}; send multipart/form-data or application/json", "unsupported_media_type")


def unbracketed(fields: list[tuple[str, str]]) -> dict[str, Any]:
    """Values by keys such as "video[id]", "storyboard[0][text]" or "storyboard[][text]", nested as they say.

    The `openai` client writes a list of objects as "storyboard[][at]" once for each of them, and then
    "storyboard[][text]" so: the second time that a key comes it belongs to the second object.

    Raises:
        JobError: keys contradict one another, or are nested too deeply.
    """
    nested: dict[str, Any] = {}
    times: Counter[str] = Counter()
    for key, value in fields:
        name, bracket, rest = key.partition("[")
        inner = _PARTS.findall(bracket + rest)
        if (
            "".join(f"[{part}]" for part in inner) != bracket + rest
            or len(inner) > DEEPEST
            or inner.count("") > 1
            or not name
        ):
            raise JobError(f"the field {key!r} has no name that can be read")
        at: Any = nested
        for part, following in zip([name, *inner], [*inner, None]):
            part = str(times[key]) if part == "" else part
            if following is None:
                if part in at:
                    raise JobError(f"the field {key!r} is given twice")
                at[part] = value
            else:
                at = at.setdefault(part, {})
                if not isinstance(at, dict):
                    raise JobError(f"the field {key!r} contradicts another one")
        times[key] += 1
    return {name: _listed(value) for name, value in nested.items()}


def _listed(value: Any) -> Any:
    """Objects whose keys are 0, 1, 2 … are lists; more than four digits number nothing here."""
    if not isinstance(value, Mapping):
        return value
    inner = {name: _listed(each) for name, each in value.items()}
    if inner and all(name.isascii() and name.isdigit() and len(name) < 5 for name in inner):
        return [inner[name] for name in sorted(inner, key=int)]
    return inner
