"""What a request is made from: a file in the form, another video's id, or an address."""

import asyncio
import base64
import binascii
import io
from typing import Any

from ...data.fetch import FetchError, fetch
from ..jobs import JobError
from ..service import Studio
from .bodies import Body

DATA = "data:"


async def reference(studio: Studio, body: Body, name: str, *, needed: bool = False) -> str | None:
    """The id of what a field gives; None: it gives nothing.

    Raises:
        JobError: it is needed and not there, cannot be used, or its address may not be asked.
    """
    if name in body.files:
        return await asyncio.to_thread(studio.upload, body.files[name].file)
    given: Any = body.values.get(name)
    if isinstance(given, dict):
        given = given.get("id") or given.get("file_id") or given.get("image_url")
    if not given:
        if needed:
            raise JobError(f"{name}: a file, or the id of a video, is needed", "invalid_request")
        return None
    if not isinstance(given, str):
        raise JobError(f"{name}: a file, an id or an address is needed, not {given!r:.80}")
    if given.startswith(DATA):
        return await asyncio.to_thread(_of_data, studio, name, given)
    if given.startswith(("http://", "https://")):
        return await asyncio.to_thread(_of_address, studio, name, given)
    return given


def _of_data(studio: Studio, name: str, given: str) -> str:
    head, comma, coded = given.partition(",")
    if not comma or not head.endswith(";base64"):
        raise JobError(f"{name}: a data address must be base64")
    try:
        return studio.upload(io.BytesIO(base64.b64decode(coded, validate=True)))
    except binascii.Error:
        raise JobError(f"{name}: the data address is no base64") from None


def _of_address(studio: Studio, name: str, given: str) -> str:
    try:
        download = fetch(given, max_bytes=studio.limits.upload_bytes)
    except FetchError as error:
        raise JobError(f"{name}: {error}", "input_not_usable") from None
    with download.path.open("rb") as file:
        return studio.upload(file)
