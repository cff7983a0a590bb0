"""The routes of `/v1/videos` that ask for videos and tell how they are."""

import asyncio
import logging
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from ..jobs.job import Job
from ..service import Studio
from .access import Asker, Owner
from .bodies import Body, open_body
from .objects import video_object, wish_values
from .references import Taker, card_pictures, reference
from .routes import PREFIX, Key, Served, mine
from .schema import DeletedVideo, Video, VideoList

POLL_MS = (250, 5000)  # between polls, by the time that is left

logger = logging.getLogger(__name__)
api = APIRouter(prefix=PREFIX, tags=["videos"])


def _answer(studio: Studio, job: Job) -> JSONResponse:
    headers = {}
    if not job.ended:
        left = 1000 * job.seconds_left if job.seconds_left is not None else 1000
        headers["openai-poll-after-ms"] = str(round(min(max(left, POLL_MS[0]), POLL_MS[1])))
    return JSONResponse(video_object(job, studio), headers=headers)


async def _submit(
    request: Request, studio: Studio, asker: Owner, key: str | None, task: str, video: str | None = None
) -> JSONResponse:
    """Queue what a body asks for.

    Args:
        request, studio, asker, key: of the route.
        task: of the wish.
        video: that it is made from; None: the body names it, if the task needs one.
    """
    asker.may_ask()
    taker = Taker(studio, asker.name)
    try:
        async with open_body(request) as body:
            foreseen = await _values(studio, None, body, task, video)
            await asyncio.to_thread(
                studio.foresee, foreseen, owner=asker.name, sees=asker.sees, idempotency_key=key
            )  # so that nothing is taken in for what will be refused
            values = await _values(studio, taker, body, task, video)
        source = values.get("video", "")
        job = await asyncio.to_thread(
            studio.submit, values, owner=asker.name, sees=asker.sees, idempotency_key=key,
            parent=source if source.startswith("video_") else None, request_id=request.state.request_id,
        )  # fmt: skip
    except Exception:  # it is refused all the same
        if taker.fresh:
            await _undo(taker)
        raise
    return _answer(studio, job)


async def _undo(taker: Taker) -> None:
    """Delete what a refused request gave; whatever goes wrong, it is told why it was refused."""
    try:
        await asyncio.to_thread(taker.undo)
    except Exception:  # the refusal is what the caller has to hear; the clean-up comes past here again
        logger.exception("files of a refused request are left until they are cleaned away")


async def _values(studio: Studio, taker: Taker | None, body: Body, task: str, video: str | None) -> dict[str, Any]:
    """The values of a wish, what was given for it taken in if there is a taker."""
    named = "input_reference" if task == "generate" else "video" if video is None else None
    values = wish_values(body, studio.model, task, named)
    if task == "generate":
        picture = await reference(taker, body, "input_reference")
        pictures = await card_pictures(taker, body, values)
        return values | pictures | ({} if picture is None else {"image": picture})
    video = video or await reference(taker, body, "video", needed=True)
    return values | {"task": task, "video": video}


@api.post("", response_model=Video)
async def create(request: Request, studio: Served, asker: Asker, key: Key = None) -> JSONResponse:
    """Queue a video of a prompt, of a prompt and a picture, or of a storyboard."""
    return await _submit(request, studio, asker, key, "generate")


@api.get("", response_model=VideoList)
def page(
    studio: Served,
    asker: Asker,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> JSONResponse:
    """Videos by the time they were asked for."""
    found = studio.store.page(limit=limit + 1, after=after, newest_first=order == "desc", owner=asker.listed)
    data = [video_object(job, studio) for job in found[:limit]]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return JSONResponse({"object": "list", "data": data, **ends, "has_more": len(found) > limit})


@api.post("/edits", response_model=Video)
async def edit(request: Request, studio: Served, asker: Asker, key: Key = None) -> JSONResponse:
    """Queue a video made from another one and a prompt."""
    return await _submit(request, studio, asker, key, "remix")


@api.post("/extensions", response_model=Video)
async def extend(request: Request, studio: Served, asker: Asker, key: Key = None) -> JSONResponse:
    """Queue a video that goes on after another one."""
    return await _submit(request, studio, asker, key, "extend")


@api.get("/{video_id}", response_model=Video)
def retrieve(video_id: str, studio: Served, asker: Asker) -> JSONResponse:
    """A video as it is now."""
    return _answer(studio, mine(studio, video_id, asker))


@api.delete("/{video_id}", response_model=DeletedVideo)
def delete(video_id: str, studio: Served, asker: Asker) -> JSONResponse:
    """Stop a video if it is being made, and delete it."""
    mine(studio, video_id, asker)
    studio.store.delete(video_id)
    return JSONResponse({"id": video_id, "object": "video.deleted", "deleted": True})


@api.post("/{video_id}/remix", response_model=Video)
async def remix(video_id: str, request: Request, studio: Served, asker: Asker, key: Key = None) -> JSONResponse:
    """Queue another one made from a video and a prompt."""
    await asyncio.to_thread(mine, studio, video_id, asker)
    return await _submit(request, studio, asker, key, "remix", video_id)


@api.post("/{video_id}/cancel", response_model=Video)
async def cancel(video_id: str, request: Request, studio: Served, asker: Asker) -> JSONResponse:
    """Stop a video within its next step; {"keep": true} keeps the frames as they are by then."""
    await asyncio.to_thread(mine, studio, video_id, asker)
    async with open_body(request) as body:
        keep = body.values.get("keep") in (True, "true", "True", "1")
    return _answer(studio, await asyncio.to_thread(studio.store.stop, video_id, "keep" if keep else "discard"))
