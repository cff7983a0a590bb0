"""Every request has an id, for whoever looks for it in the log, and a size that it may not exceed."""

import uuid
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import error_response

REQUEST_ID = "x-request-id"


class TooLargeError(Exception):
    """More came than may."""


class Requests:
    """A middleware that names requests and stops those that are too large, told so beforehand or not.

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
        most, taken, over, begun = self.most(), 0, False, False
        told = Headers(scope=scope).get("content-length", "")

        async def limited() -> Message:
            nonlocal taken, over
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                over = True
                raise TooLargeError
            return message

        async def named(message: Message) -> None:
            nonlocal begun
            if over and not begun:
                return  # what the app makes of its broken body; the answer is ours
            begun = True
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            over = told.isdigit() and int(told) > most
            if not over:
                await self.app(scope, limited, named)
        except Exception:  # of a body that was cut off where it grew too large; every other one goes on
            if not over or begun:
                raise
        if over and not begun:
            over = False
            said = f"at most {most / 1e6:g} MB are taken in one request"
            await error_response(413, said, "too_large", Connection="close")(scope, receive, named)
