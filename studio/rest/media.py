"""The routes of `/v1/videos` that give files and streams: results, previews, what grows, and events."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import IO, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from ..jobs.job import Job, JobError, NoJobError
from ..service import Studio
from .access import Asker
from .contract import EVENTS, binary
from .errors import error_response
from .objects import video_object
from .routes import PREFIX, Served, mine

EVENTS_EVERY = 0.1  # seconds between looks for an event stream
STILL_THERE = 15.0  # seconds of silence after which a stream says that it lives, for what stands between
GROWS_EVERY = 0.2  # seconds between looks at a file that grows
PIECE = 1 << 18  # bytes

CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file."} | binary("video/mp4", "image/png", "image/webp"),
    206: {"description": "The part that the header Range asks for."},
    304: {"description": "It is the one that the header If-None-Match names."},
    416: {"description": "It has no such part."},
}
TOLD: dict[int | str, dict[str, Any]] = {
    200: {"description": EVENTS, "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}

media = APIRouter(prefix=PREFIX, tags=["media"])


class File(FileResponse):
    """A file with Range and ETag, whose errors have the API's shape."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        broken: Response | None = None

        async def told(message: Message) -> None:
            nonlocal broken
            if message["type"] == "http.response.start" and message["status"] >= 400:
                length = next((value for name, value in message["headers"] if name == b"content-range"), b"")
                more = {"Content-Range": length.decode()} if length else {}
                broken = error_response(message["status"], "this Range cannot be given", "invalid_range", "Range",
                                        **more)  # fmt: skip
            if broken is None:
                await send(message)

        await super().__call__(scope, receive, told)
        if broken is not None:
            await broken(scope, receive, send)


@media.get("/{video_id}/content", response_class=Response, responses=CONTENT)
def content(
    video_id: str,
    request: Request,
    studio: Served,
    asker: Asker,
    variant: Literal["video", "thumbnail", "spritesheet"] = "video",
) -> Response:
    """The file, its thumbnail or its contact sheet; with Range and ETag."""
    mine(studio, video_id, asker)
    path = studio.content(video_id, variant)
    try:
        about = path.stat()
    except FileNotFoundError:  # it was deleted this moment
        raise NoJobError(video_id) from None
    file = File(path, filename=f"{video_id}{path.suffix}", content_disposition_type="inline", stat_result=about,
                headers={"Cache-Control": "private, max-age=0, must-revalidate"})  # fmt: skip
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if known & {file.headers["etag"], "*"}:
        kept = {name: file.headers[name] for name in ("etag", "cache-control", "last-modified")}
        return Response(status_code=304, headers=kept)
    return file


media.head("/{video_id}/content", include_in_schema=False)(content)


@media.get("/{video_id}/preview", response_class=Response, responses={200: binary("image/webp")})
def preview(video_id: str, studio: Served, asker: Asker) -> FileResponse:
    """The newest preview of a video that is being made: an animated WebP."""
    mine(studio, video_id, asker)
    path = studio.shelf.preview(video_id)
    try:
        about = path.stat()
    except FileNotFoundError:
        raise JobError(f"{video_id} has no preview now", "not_ready") from None
    return File(path, headers={"Cache-Control": "no-store"}, stat_result=about)


@media.get("/{video_id}/stream", response_class=Response, responses={200: binary("video/mp4")})
def stream(video_id: str, studio: Served, asker: Asker) -> StreamingResponse:
    """A long video while it is made: a fragmented MP4 that goes on until it has ended."""
    job = mine(studio, video_id, asker)
    try:
        file = studio.shelf.growing(video_id).open("rb")
    except FileNotFoundError:
        raise JobError(f"there is nothing of {video_id} to be streamed now", "not_ready") from None
    return StreamingResponse(_growing(studio, job, file), media_type="video/mp4",
                             headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})  # fmt: skip


@media.get("/{video_id}/events", response_class=Response, responses=TOLD)
async def events(video_id: str, request: Request, studio: Served, asker: Asker) -> StreamingResponse:
    """Server-sent events: `video` with the object whenever it changes, until it has ended; then `done`."""
    await asyncio.to_thread(mine, studio, video_id, asker)
    return StreamingResponse(_events(studio, video_id, request), media_type="text/event-stream",
                             headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})  # fmt: skip


async def _growing(studio: Studio, job: Job, file: IO[bytes]) -> AsyncIterator[bytes]:
    """What a file has and will have, as long as the same attempt of the job writes it."""
    with file:
        last = False
        while True:
            while part := await asyncio.to_thread(file.read, PIECE):
                yield part
            if last:
                return
            try:
                now = await asyncio.to_thread(studio.store.get, job.id)
                last = now.ended or now.attempt != job.attempt
            except NoJobError:
                last = True
            if not last:
                await asyncio.sleep(GROWS_EVERY)


async def _events(studio: Studio, video_id: str, request: Request) -> AsyncIterator[str]:
    seen, silent = -1, 0.0
    while not await request.is_disconnected():
        try:
            job = await asyncio.to_thread(studio.store.get, video_id)
        except NoJobError:  # it was deleted meanwhile
            yield "event: done\ndata: {}\n\n"
            return
        silent += EVENTS_EVERY
        if job.changed != seen:
            seen, silent = job.changed, 0.0
            told = video_object(job, studio)
            yield f"event: video\nid: {job.changed}\ndata: {json.dumps(told)}\n\n"
        elif silent >= STILL_THERE:
            silent = 0.0
            yield ": still there\n\n"
        if job.ended:
            yield "event: done\ndata: {}\n\n"
            return
        await asyncio.sleep(EVENTS_EVERY)
