"""What a request is made from: a file in the form, another video's id, or an address."""

import asyncio
import base64
import io
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.datastructures import UploadFile

from ...data.fetch import FetchError, fetch
from ..jobs.job import JobError
from ..service import TO_COME, Studio
from .bodies import Body

DATA = "data:"
FETCH_SECONDS = 60.0  # for a file of an address; its asker waits meanwhile
# Threads of their own, so that slow addresses and large files let no other call wait.
FETCHING, TAKING = ThreadPoolExecutor(8, "kinema-fetch"), ThreadPoolExecutor(4, "kinema-take")
ID = re.compile(r"(?:upload|video)_[0-9a-f]{32}")
CARD_PICTURE = re.compile(r"storyboard\[(\d{1,4})\]\[image\]")  # a file in a form


async def reference(
    studio: Studio | None, body: Body, name: str, owner: str, *, needed: bool = False
) -> str | None:
    """The id of what a field gives; None: it gives nothing.

    Args:
        studio: that takes it in; None: nothing is taken in, and what would be has the id `TO_COME`.
        body, name: and its field.
        owner: who gives it.
        needed: whether there must be something.

    Raises:
        JobError: it is needed and not there, cannot be used, or its address may not be asked.
    """
    if name in body.files:
        return await _taken(studio, name, body.files[name], owner)
    found = await _taken(studio, name, body.values.get(name), owner)
    if found is None and needed:
        raise JobError(f"{name}: a file, or the id of a video, is needed")
    return found


async def card_pictures(studio: Studio | None, body: Body, values: dict[str, Any], owner: str) -> dict[str, Any]:
    """The storyboard of a wish, whatever its pictures are given by replaced by their ids; {}: there is none.

    Args:
        studio, body, owner: see `reference`.
        values: of the wish.

    Raises:
        JobError: one of them cannot be used, or belongs to no card.
    """
    files = {int(found[1]): body.files[name] for name in body.files if (found := CARD_PICTURE.fullmatch(name))}
    cards = values.get("storyboard") or []
    if not isinstance(cards, list) or not all(isinstance(card, dict) for card in cards):
        return {}  # it is refused elsewhere
    if lost := set(files) - set(range(len(cards))):
        raise JobError(f"storyboard: a picture is given for card {min(lost)}, and there are {len(cards)} cards")
    taken = []
    for number, card in enumerate(cards):
        picture = files.get(number, card.get("image"))
        found = await _taken(studio, f"storyboard.{number}.image", picture, owner)
        taken.append(card | ({} if found is None else {"image": found}))
    return {"storyboard": taken} if taken else {}


async def _taken(studio: Studio | None, name: str, given: Any, owner: str) -> str | None:
    if isinstance(given, UploadFile):
        return await _in(TAKING, studio and studio.upload, given.file, owner)
    if isinstance(given, dict):
        given = given.get("id") or given.get("file_id") or given.get("image_url")
    if not given:
        return None
    if not isinstance(given, str):
        raise JobError(f"{name}: a file, an id or an address is needed, not {given!r:.80}")
    if given.startswith(DATA):
        return await _in(TAKING, studio and _of_data, studio, name, given, owner)
    if given.startswith(("http://", "https://")):
        return await _in(FETCHING, studio and _of_address, studio, name, given, owner)
    if not ID.fullmatch(given):
        raise JobError(f"{name}: {given!r:.80} is neither an id nor an address")
    return given


async def _in(pool: ThreadPoolExecutor, take: Callable[..., str] | None, *given: Any) -> str:
    return TO_COME if take is None else await asyncio.get_running_loop().run_in_executor(pool, take, *given)


def _of_data(studio: Studio, name: str, given: str, owner: str) -> str:
    head, comma, coded = given.partition(",")
    if not comma or not head.endswith(";base64"):
        raise JobError(f"{name}: a data address must be base64")
    try:
        content = base64.b64decode(coded, validate=True)
    except ValueError:
        raise JobError(f"{name}: the data address is no base64") from None
    return studio.upload(io.BytesIO(content), owner)


def _of_address(studio: Studio, name: str, given: str, owner: str) -> str:
    try:
        download = fetch(given, max_bytes=studio.limits.upload_bytes, max_seconds=FETCH_SECONDS)
    except FetchError as error:
        raise JobError(f"{name}: {error}", "input_not_usable") from None
    with download.path.open("rb") as file:
        return studio.upload(file, owner)
