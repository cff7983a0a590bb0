"""What a request is made from: a file in the form, another video's id, or an address."""

import asyncio
import base64
import io
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, BinaryIO

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


@dataclass(frozen=True)
class Taker:
    """Takes in what one request gives.

    Attributes:
        studio, owner: where to, and who gives it.
        fresh: what was not there before, see `Given.take`.
    """

    studio: Studio
    owner: str
    fresh: dict[str, int] = field(default_factory=dict)

    def take(self, file: BinaryIO) -> str:
        """The id of a file."""
        return self.studio.upload(file, self.owner, self.fresh)

    def undo(self) -> None:
        """The request is refused: delete what was taken in for it alone."""
        self.studio.given.undo(self.fresh)


async def reference(taker: Taker | None, body: Body, name: str, *, needed: bool = False) -> str | None:
    """The id of what a field gives; None: it gives nothing.

    Args:
        taker: that takes it in; None: nothing is taken in, and what would be has the id `TO_COME`.
        body, name: and its field.
        needed: whether there must be something.

    Raises:
        JobError: it is needed and not there, cannot be used, or its address may not be asked.
    """
    if name in body.files:
        return await _taken(taker, name, body.files[name])
    found = await _taken(taker, name, body.values.get(name))
    if found is None and needed:
        raise JobError(f"{name}: a file, or the id of a video, is needed")
    return found


async def card_pictures(taker: Taker | None, body: Body, values: dict[str, Any]) -> dict[str, Any]:
    """The storyboard of a wish, whatever its pictures are given by replaced by their ids; {}: there is none.

    Args:
        taker, body: see `reference`.
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
        found = await _taken(taker, f"storyboard.{number}.image", picture)
        taken.append(card | ({} if found is None else {"image": found}))
    return {"storyboard": taken} if taken else {}


async def _taken(taker: Taker | None, name: str, given: Any) -> str | None:
    if isinstance(given, UploadFile):
        return await _in(TAKING, taker and taker.take, given.file)
    if isinstance(given, dict):
        given = given.get("id") or given.get("file_id") or given.get("image_url")
    if not given:
        return None
    if not isinstance(given, str):
        raise JobError(f"{name}: a file, an id or an address is needed, not {given!r:.80}")
    if given.startswith(DATA):
        return await _in(TAKING, taker and _of_data, taker, name, given)
    if given.startswith(("http://", "https://")):
        return await _in(FETCHING, taker and _of_address, taker, name, given)
    if not ID.fullmatch(given):
        raise JobError(f"{name}: {given!r:.80} is neither an id nor an address")
    return given


async def _in(pool: ThreadPoolExecutor, take: Callable[..., str] | None, *given: Any) -> str:
    return TO_COME if take is None else await asyncio.get_running_loop().run_in_executor(pool, take, *given)


def _of_data(taker: Taker, name: str, given: str) -> str:
    head, comma, coded = given.partition(",")
    if not comma or not head.endswith(";base64"):
        raise JobError(f"{name}: a data address must be base64")
    try:
        content = base64.b64decode(coded, validate=True)
    except ValueError:
        raise JobError(f"{name}: the data address is no base64") from None
    return taker.take(io.BytesIO(content))


def _of_address(taker: Taker, name: str, given: str) -> str:
    try:
        download = fetch(given, max_bytes=taker.studio.limits.upload_bytes, max_seconds=FETCH_SECONDS)
    except FetchError as error:
        raise JobError(f"{name}: {error}", "input_not_usable") from None
    with download.path.open("rb") as file:
        return taker.take(file)
