"""Every request has an id, for whoever looks for it in the log, and a size and a time that it may not exceed."""

import asyncio
import time
import uuid
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import error_response

REQUEST_ID = "x-request-id"


PATIENCE = 60.0  # seconds that a body may be waited for, and a second more for every so many bytes of it:
SLOWEST = 50_000
SLOW = "the request came too slowly: {:.0f} seconds for {:.3g} MB; send it again over a faster connection"


class CutOffError(Exception):
    """More came than may, or it came too slowly."""


class Requests:
    """A middleware that names requests and stops those that are too large, told so beforehand or not, or too slow.

    Args:
        app: what is asked.
        most: bytes of a body, asked anew every time.
    """

    def __init__(self, app: ASGIApp, most: Callable[[], int]) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request_id = f"req_{uuid.uuid4().hex}"
        scope.setdefault("state", {})["request_id"] = request_id
        most, taken, waited, whole, begun = self.most(), 0, 0.0, False, False
        refusal: Response | None = None
        told = Headers(scope=scope).get("content-length", "")

        async def limited() -> Message:
            nonlocal taken, waited, whole, refusal
            if whole:
                return await receive()  # that nobody listens any more
            since = time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE + taken / SLOWEST - waited):
                    message = await receive()
            except TimeoutError:
                waited += time.monotonic() - since
                refusal = _refusal(408, SLOW.format(waited, taken / 1e6), "too_slow")
                raise CutOffError from None
            waited += time.monotonic() - since
            taken += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if taken > most:
                refusal = _too_large(most)
                raise CutOffError
            return message

        async def named(message: Message) -> None:
            nonlocal begun
            if refusal is not None and not begun:
                return  # what the app makes of its broken body; the answer is ours
            begun = True
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        if told.isdigit() and int(told) > most:
            refusal = _too_large(most)
        try:
            if refusal is None:
                await self.app(scope, limited, named)
        except Exception:  # of a body that was cut off; every other one goes on
            if refusal is None or begun:
                raise
        if refusal is not None and not begun:
            answer, refusal = refusal, None
            await answer(scope, receive, named)


def _too_large(most: int) -> Response:
    return _refusal(413, f"at most {most / 1e6:g} MB are taken in one request", "too_large")


def _refusal(status: int, said: str, code: str) -> Response:
    return error_response(status, said, code, Connection="close")  # what is on its way is not read
