"""The whole API as one FastAPI app: videos, models, health and figures."""

import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from ..jobs import STATUSES
from ..service import Studio
from .access import Access, owner_of
from .errors import add_error_handlers, error_response
from .media import media
from .requests import Requests
from .videos import api as videos

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
FORM_BYTES = 1_000_000  # of a request besides the file in it


def build_api(
    studio: Studio, access: Access, problem: Callable[[], str] = lambda: "", ready: Callable[[], int] = lambda: 1
) -> FastAPI:
    """
    Args:
        studio: what is asked.
        access: who may.
        problem: why nothing can be made; "": it can.
        ready: workers whose model is loaded.
    """
    app = FastAPI(
        title="Kinema", version=version("kinema"), docs_url="/docs", redoc_url=None, openapi_url="/openapi.json",
        description="Videos of prompts. The shape is OpenAI's `/v1/videos`; the `openai` client speaks it.",
    )  # fmt: skip
    add_error_handlers(app)
    begin = time.time()

    app.add_middleware(Requests, most=lambda: studio.limits.upload_bytes + FORM_BYTES)
    app.state.studio, app.state.access = studio, access
    app.include_router(media)
    app.include_router(videos)

    @app.get("/v1/models", tags=["models"], dependencies=[Depends(owner_of)])
    def models() -> dict[str, Any]:
        """The model that is served, and what it makes."""
        model = studio.model
        can = {"width": model.width, "height": model.height, "num_frames": model.num_frames, "fps": model.fps,
               "num_inference_steps": model.steps, "max_seconds": studio.limits.video_seconds}  # fmt: skip
        made = {"id": model.name, "object": "model", "created": model.created, "owned_by": "kinema"}
        return {"object": "list", "data": [made | {"capabilities": can}]}

    @app.get("/healthz", tags=["server"])
    def healthz() -> dict[str, str]:
        """The server answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["server"])
    def readyz() -> JSONResponse:
        """A worker has the model loaded, or why not."""
        if why := problem():
            return error_response(503, why, "model_not_loaded")
        if not ready():
            return error_response(503, "the model is being loaded", "model_not_loaded", **{"Retry-After": "2"})
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", tags=["server"], dependencies=[Depends(owner_of)])
    def metrics() -> PlainTextResponse:
        """Figures for Prometheus."""
        counts = studio.store.counts()
        lines = ["# TYPE kinema_videos gauge"]
        lines += [f'kinema_videos{{status="{status}"}} {counts.get(status, 0)}' for status in STATUSES]
        for name, value in (
            ("kinema_workers_ready", ready()),
            ("kinema_seconds_a_video", round(studio.store.seconds_a_job(), 3)),
            ("kinema_up_seconds", round(time.time() - begin, 1)),
        ):
            lines += [f"# TYPE {name} gauge", f"{name} {value}"]
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")

    @app.api_route("/v1/{path:path}", methods=list(METHODS), include_in_schema=False)
    def nothing(request: Request, path: str) -> None:
        """Else the pages, which are mounted beside the API, would answer in their own way."""
        others = [route for route in app.router.routes if getattr(route, "endpoint", None) is not nothing]
        methods = [
            method for method in METHODS
            if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in others)
        ]  # fmt: skip
        if methods:
            raise HTTPException(405, "Method Not Allowed", {"Allow": ", ".join(methods)})
        raise HTTPException(404, "there is no such address; /docs has those there are")

    return app
