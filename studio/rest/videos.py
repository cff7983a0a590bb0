"""The routes of `/v1/videos`."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from ..jobs import Job, JobError, NoJobError
from ..service import Studio
from .access import Asker, Owner
from .bodies import Body, read_body
from .objects import video_object, wish_values
from .references import reference

POLL_MS = (250, 5000)  # between polls, by the time that is left
EVENTS_EVERY = 0.1  # seconds between looks for an event stream


api = APIRouter(prefix="/v1/videos", tags=["videos"])
Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=255)]


def _studio(request: Request) -> Studio:
    return request.app.state.studio


Served = Annotated[Studio, Depends(_studio)]


def _answer(studio: Studio, job: Job, status: int = 200) -> JSONResponse:
    headers = {"x-request-id": job.request_id} if job.request_id else {}
    if not job.ended:
        left = 1000 * job.seconds_left if job.seconds_left is not None else 1000
        headers["openai-poll-after-ms"] = str(round(min(max(left, POLL_MS[0]), POLL_MS[1])))
    return JSONResponse(video_object(job, studio.model), status, headers)


def _mine(studio: Studio, video_id: str, asker: Owner) -> Job:
    job = studio.store.get(video_id)
    if not asker.sees(job):
        raise NoJobError(video_id)
    return job


async def _submit(
    studio: Studio, body: Body, asker: Owner, key: str | None, more: dict[str, Any], parent: str | None = None
) -> Job:
    asker.may_ask()
    values = wish_values(body.values, studio.model) | more
    return await asyncio.to_thread(
        studio.submit, values, owner=asker.name, sees=asker.sees, parent=parent,
        request_id=f"req_{uuid.uuid4().hex}", idempotency_key=key,
    )  # fmt: skip


@api.post("")
async def create(request: Request, studio: Served, asker: Asker, key: Key = None) -> JSONResponse:
    """Queue a video of a prompt, of a prompt and a picture, or of a storyboard."""
    body = await read_body(request)
    picture = await reference(studio, body, "input_reference")
    return _answer(studio, await _submit(studio, body, asker, key, {} if picture is None else {"image": picture}))


@api.get("")
def page(
    studio: Served,
    asker: Asker,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    """Videos by the time they were asked for."""
    owner = None if asker.sees_all else asker.name
    found = studio.store.page(limit=limit + 1, after=after, newest_first=order == "desc", owner=owner)
    data = [video_object(job, studio.model) for job in found[:limit]]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return {"object": "list", "data": data, **ends, "has_more": len(found) > limit}


@api.post("/edits")
async def edit(request: Request, studio: Served, asker: Asker, key: Key = None) -> JSONResponse:
    """Queue a video made from another one and a prompt."""
    body = await read_body(request)
    source = await reference(studio, body, "video", needed=True)
    return _answer(
        studio, await _submit(studio, body, asker, key, {"task": "remix", "video": source}, _parent(source))
    )


@api.post("/extensions")
async def extend(request: Request, studio: Served, asker: Asker, key: Key = None) -> JSONResponse:
    """Queue a video that goes on after another one."""
    body = await read_body(request)
    source = await reference(studio, body, "video", needed=True)
    return _answer(
        studio, await _submit(studio, body, asker, key, {"task": "extend", "video": source}, _parent(source))
    )


@api.get("/{video_id}")
def retrieve(video_id: str, studio: Served, asker: Asker) -> JSONResponse:
    """A video as it is now."""
    return _answer(studio, _mine(studio, video_id, asker))


@api.delete("/{video_id}")
def delete(video_id: str, studio: Served, asker: Asker) -> dict[str, Any]:
    """Stop a video if it is being made, and delete it."""
    _mine(studio, video_id, asker)
    studio.store.delete(video_id)
    return {"id": video_id, "object": "video.deleted", "deleted": True}


@api.get("/{video_id}/content")
def content(video_id: str, studio: Served, asker: Asker, variant: str = "video") -> FileResponse:
    """The file, its thumbnail or its contact sheet; with Range and ETag."""
    _mine(studio, video_id, asker)
    path = studio.content(video_id, variant)
    return FileResponse(path, filename=f"{video_id}{path.suffix}", content_disposition_type="inline")


@api.post("/{video_id}/remix")
async def remix(video_id: str, request: Request, studio: Served, asker: Asker, key: Key = None) -> JSONResponse:
    """Queue another one made from a video and a prompt."""
    _mine(studio, video_id, asker)
    body = await read_body(request)
    return _answer(studio, await _submit(studio, body, asker, key, {"task": "remix", "video": video_id}, video_id))


@api.post("/{video_id}/cancel")
async def cancel(video_id: str, request: Request, studio: Served, asker: Asker) -> JSONResponse:
    """Stop a video within its next step; {"keep": true} keeps the frames as they are by then."""
    _mine(studio, video_id, asker)
    keep = (await read_body(request)).values.get("keep") in (True, "true", "1")
    return _answer(studio, studio.store.stop(video_id, "keep" if keep else "discard"))


@api.get("/{video_id}/events")
async def events(video_id: str, request: Request, studio: Served, asker: Asker) -> StreamingResponse:
    """Server-sent events: `video` with the object whenever it changes, until it has ended; then `done`."""
    _mine(studio, video_id, asker)
    return StreamingResponse(_events(studio, video_id, request), media_type="text/event-stream",
                             headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})  # fmt: skip


@api.get("/{video_id}/preview")
def preview(video_id: str, studio: Served, asker: Asker) -> FileResponse:
    """The newest preview of a video that is being made: an animated WebP."""
    _mine(studio, video_id, asker)
    path = studio.shelf.preview(video_id)
    if not path.is_file():
        raise JobError(f"{video_id} has no preview now", "not_ready")
    return FileResponse(path, headers={"Cache-Control": "no-store"})


async def _events(studio: Studio, video_id: str, request: Request) -> AsyncIterator[str]:
    seen = -1
    while not await request.is_disconnected():
        try:
            job = await asyncio.to_thread(studio.store.get, video_id)
        except NoJobError:  # it was deleted meanwhile
            yield "event: done\ndata: {}\n\n"
            return
        if job.changed != seen:
            seen = job.changed
            told = video_object(job, studio.model)
            if job.preview and not job.ended:
                told["preview"] = f"/v1/videos/{video_id}/preview?number={job.preview}"
            yield f"event: video\nid: {job.changed}\ndata: {json.dumps(told)}\n\n"
        if job.ended:
            yield "event: done\ndata: {}\n\n"
            return
        await asyncio.sleep(EVENTS_EVERY)


def _parent(source: str | None) -> str | None:
    return source if source is not None and source.startswith("video_") else None
