"""The routes about the server itself: its model, its health and its figures."""

import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from ..jobs.job import STATUSES, JobError
from ..service import Studio
from .access import owner_of
from .errors import error_response
from .routes import Served
from .schema import Model, ModelList, State

server = APIRouter()


def model_object(studio: Studio) -> dict[str, Any]:
    """The model that is served, and what it can do."""
    model = studio.model
    aspects = [{"name": name, "size": f"{width}x{height}"} for name, width, height in model.aspects]
    can = {
        "width": model.width, "height": model.height, "num_frames": model.num_frames, "fps": model.fps,
        "num_inference_steps": model.steps, "guidance_scale": model.guidance_scale,
        "max_seconds": min(model.max_seconds, studio.limits.video_seconds), "multiple": model.multiple,
        "aspects": aspects, "drafts": dict(model.drafts), "needs": list(model.needs), "off": dict(model.off),
        "vocabulary": list(model.vocabulary) or None, "examples": list(model.examples),
    }  # fmt: skip
    return {"id": model.name, "object": "model", "created": model.created, "owned_by": "kinema",
            "kind": model.kind, "capabilities": can}  # fmt: skip


@server.get("/v1/models", tags=["models"], response_model=ModelList, dependencies=[Depends(owner_of)])
def models(studio: Served) -> JSONResponse:
    """The model that is served, and what it can do."""
    return JSONResponse({"object": "list", "data": [model_object(studio)]})


@server.get("/v1/models/{model}", tags=["models"], response_model=Model, dependencies=[Depends(owner_of)])
def model(model: str, studio: Served) -> JSONResponse:
    """A model by its name."""
    if model != studio.model.name:
        return error_response(404, f"the model {model!r:.80} is not served here", "model_not_found", "model")
    return JSONResponse(model_object(studio))


@server.get("/healthz", tags=["server"], response_model=State)
def healthz() -> JSONResponse:
    """The server answers."""
    return JSONResponse({"status": "ok"})


@server.get("/readyz", tags=["server"], response_model=State)
def readyz(request: Request) -> JSONResponse:
    """A worker has the model loaded; if not, a 503 says why."""
    problem: Callable[[], str] = request.app.state.problem
    ready: Callable[[], int] = request.app.state.ready
    if why := problem():
        try:
            owner_of(request)
        except JobError:
            why = "the model cannot be loaded; the server's log says why"  # paths are not for strangers
        return error_response(503, why, "model_not_loaded")
    if not ready():
        return error_response(503, "the model is being loaded", "model_not_loaded", **{"Retry-After": "2"})
    return JSONResponse({"status": "ready"})


@server.get("/metrics", tags=["server"], response_class=PlainTextResponse, dependencies=[Depends(owner_of)])
def metrics(request: Request, studio: Served) -> PlainTextResponse:
    """Figures for Prometheus."""
    state, counts = request.app.state, studio.store.counts()
    lines = ["# HELP kinema_videos Videos by status, deleted ones left out.", "# TYPE kinema_videos gauge"]
    lines += [f'kinema_videos{{status="{status}"}} {counts.get(status, 0)}' for status in STATUSES]
    for name, about, value in (
        ("kinema_workers_ready", "Workers whose model is loaded.", state.ready()),
        ("kinema_seconds_a_video", "Mean of the last videos.", round(studio.store.seconds_a_job(), 3)),
        ("kinema_up_seconds", "Since the server began.", round(time.time() - state.begin, 1)),
    ):
        lines += [f"# HELP {name} {about}", f"# TYPE {name} gauge", f"{name} {value}"]
    return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")
