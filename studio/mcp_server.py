"""Tools for language models (the Model Context Protocol): `kinema serve --mcp` answers at /mcp.

The same queue and the same keys as the API: a model sees what its key sees. It is asked over streamable HTTP
without sessions, so a restart of the server loses nothing.
"""

import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from .jobs.job import ENDED, Job, JobError, NoJobError, Status
from .rest.access import Owner
from .rest.errors import error_response
from .rest.objects import video_object
from .serving import Served, ServeError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from mcp.server.mcpserver import MCPServer

PATH = "/mcp"
LONGEST_WAIT, LOOK = 50.0, 0.25  # seconds: below the time that clients give a call; between looks
ABOUT = (
    "Makes videos. make_video answers at once with an id; video_status waits for it, and then has the address of "
    "its file. {model} makes them: {about}"
)
STATUSES: dict[str, tuple[Status, ...] | None] = {
    "all": None, "waiting": ("queued", "in_progress"), "completed": ("completed",),
    "failed": ("failed", "cancelled"),
}  # fmt: skip

Seconds = Annotated[float | None, Field(description="length; the model's own if left out", gt=0)]
Side = Annotated[int | None, Field(description="pixels; the model's own if left out", gt=0)]
Seed = Annotated[int | None, Field(description="the same seed and settings make the same video", ge=0)]


def add_mcp(app: "FastAPI", served: Served) -> None:
    """Let an app answer language models at /mcp. Call it before the pages are mounted.

    Raises:
        ServeError: the extra is not installed.
    """
    try:
        from mcp.server.mcpserver import MCPServer
        from mcp.server.transport_security import TransportSecuritySettings
    except ImportError:
        raise ServeError("--mcp needs another package: pip install 'kinema[mcp]'") from None
    with _same_logging():
        server = MCPServer("kinema", instructions=_about(served))
    add_tools(server, served)
    guarded = TransportSecuritySettings(enable_dns_rebinding_protection=False)  # ours is before it: `rest.guard`
    server.streamable_http_app(stateless_http=True, json_response=True, transport_security=guarded)
    manager = server.session_manager
    door: Any = _Door(served, manager.asgi_app)  # a whole ASGI app, which a route takes, too
    app.router.add_route(PATH, door, ["GET", "POST", "DELETE"], include_in_schema=False)
    before = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        async with before(app) as state, manager.run():
            yield state

    app.router.lifespan_context = lifespan


@contextlib.contextmanager
def _same_logging() -> Iterator[None]:
    """Leave the process's logging as it is: the package would set up its own for everything."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class _Door:
    """Lets in whoever has a key."""

    def __init__(self, served: Served, inside: Callable[..., Any]) -> None:
        self.served, self.inside = served, inside

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.requests import Request

        request = Request(scope)
        try:
            self.served.access.owner(request.headers, request.cookies)
        except JobError as error:
            refusal = error_response(401, str(error), error.code, None, **{"WWW-Authenticate": "Bearer"})
            return await refusal(scope, receive, send)
        await self.inside(scope, receive, send)


def add_tools(server: "MCPServer", served: Served) -> None:
    """What a model can do."""
    from mcp.server.mcpserver import Context
    from mcp_types import CallToolResult

    studio = served.studio

    @server.tool()
    async def make_video(
        ctx: Context,
        prompt: Annotated[str, Field(description="what happens, in plain words", min_length=1, max_length=4000)],
        seconds: Seconds = None,
        width: Side = None,
        height: Side = None,
        seed: Seed = None,
        negative_prompt: Annotated[str | None, Field(description="what to keep out", max_length=4000)] = None,
        from_video: Annotated[str | None, Field(description="id of a finished video to begin from")] = None,
        task: Annotated[
            Literal["generate", "extend", "remix", "loop"],
            Field(description="with from_video: let it go on by `seconds`, turn it into another, or close it"),
        ] = "generate",
    ) -> CallToolResult:
        """Queue a video; answers at once with its id."""
        wish = {
            "task": task, "prompt": prompt, "seconds": seconds, "width": width, "height": height, "seed": seed,
            "negative_prompt": negative_prompt, "video": from_video,
        }  # fmt: skip
        wish = {name: value for name, value in wish.items() if value is not None}
        with _said():
            owner, parent = _owner(served, ctx), from_video
            owner.may_ask()
            job = await asyncio.to_thread(
                studio.submit, wish, owner=owner.name, sees=owner.sees, parent=parent,
                request_id=f"req_{uuid.uuid4().hex}",
            )  # fmt: skip
        return _answer(served, ctx, job)

    @server.tool()
    async def video_status(
        ctx: Context,
        video_id: Annotated[str, Field(description="of make_video or list_videos")],
        wait: Annotated[float, Field(description="seconds to wait for its end", ge=0, le=LONGEST_WAIT)] = 0,
    ) -> CallToolResult:
        """How far a video is, and where its file is when it is done."""
        with _said():
            owner, end = _owner(served, ctx), time.monotonic() + wait
            job = await asyncio.to_thread(_seen, served, owner, video_id)
            while job.status not in ENDED and time.monotonic() < end:
                await asyncio.sleep(LOOK)
                job = await asyncio.to_thread(_seen, served, owner, video_id)
        return _answer(served, ctx, job)

    @server.tool()
    async def list_videos(
        ctx: Context,
        contains: Annotated[str, Field(description="words that all stand in its prompt", max_length=200)] = "",
        which: Literal["all", "waiting", "completed", "failed"] = "all",
        limit: Annotated[int, Field(ge=1, le=50)] = 10,
    ) -> CallToolResult:
        """Videos, the newest first."""
        with _said():
            owner = _owner(served, ctx)
            found = await asyncio.to_thread(
                studio.store.page, limit=limit, statuses=STATUSES[which], owner=owner.listed, contains=contains
            )
        videos = [_told(served, ctx, job) for job in found]
        return _result({"videos": videos})

    @server.tool()
    async def cancel_video(
        ctx: Context,
        video_id: str,
        keep: Annotated[bool, Field(description="keep the frames as they are by then")] = False,
    ) -> CallToolResult:
        """Stop a video that waits or is being made."""
        with _said():
            owner = _owner(served, ctx)
            await asyncio.to_thread(_seen, served, owner, video_id)
            job = await asyncio.to_thread(studio.store.stop, video_id, "keep" if keep else "discard")
        return _answer(served, ctx, job)


def _about(served: Served) -> str:
    model = served.studio.model
    seconds = round(model.num_frames / model.fps, 3)
    about = f"{model.width} x {model.height} pixels and {seconds:g} s if nothing is said"
    if model.vocabulary:
        about += f"; it knows {len(model.vocabulary)} words only"
    if model.examples:
        about += f"; a prompt that works: {model.examples[0]!r}"
    return ABOUT.format(model=model.name, about=about) + "."


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """Let the model be told what is wrong."""
    from mcp.server.mcpserver.exceptions import ToolError

    try:
        yield
    except JobError as error:
        raise ToolError(f"{error} ({error.code})") from error


def _owner(served: Served, ctx: Any) -> Owner:
    request = ctx.request_context.request
    if request is None:  # not asked over HTTP: by this process itself
        return served.access.owner({}, {})
    return served.access.owner(request.headers, request.cookies)


def _seen(served: Served, owner: Owner, video_id: str) -> Job:
    job = served.studio.store.get(video_id)
    if not owner.sees(job):
        raise NoJobError(video_id)
    return job


def _told(served: Served, ctx: Any, job: Job) -> dict[str, Any]:
    told = video_object(job, served.studio)
    if job.status == "completed" and not job.cleaned:
        request = ctx.request_context.request
        base = str(request.base_url) if request is not None else "/"
        told["file"] = f"{base}v1/videos/{job.id}/content"
    return told


def _answer(served: Served, ctx: Any, job: Job) -> Any:
    from mcp_types import ResourceLink

    told = _told(served, ctx, job)
    answer = _result(told)
    if "file" in told:
        picture = job.result.get("num_frames") == 1
        name, kind = (f"{job.id}.png", "image/png") if picture else (f"{job.id}.mp4", "video/mp4")
        key = "; it needs the same API key" if served.access.keys else ""
        answer.content.append(
            ResourceLink(uri=told["file"], name=name, mime_type=kind, description=f"the finished file{key}")
        )
    return answer


def _result(told: dict[str, Any]) -> Any:
    from mcp_types import CallToolResult, TextContent

    return CallToolResult(content=[TextContent(type="text", text=json.dumps(told))], structured_content=told)
