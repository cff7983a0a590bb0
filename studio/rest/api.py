"""The whole API as one FastAPI app: videos, models, health and figures."""

import time
from collections.abc import Callable
from importlib.metadata import version

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from ..service import Studio
from .access import Access
from .contract import describe
from .docs import docs
from .errors import add_error_handlers
from .media import media
from .requests import Requests
from .server import server
from .uploads import uploads
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
    app = FastAPI(title="Kinema", version=version("kinema"), docs_url=None, redoc_url=None)
    describe(app)
    add_error_handlers(app)
    app.add_middleware(Requests, most=lambda: studio.limits.upload_bytes + FORM_BYTES)
    app.state.studio, app.state.access = studio, access
    app.state.problem, app.state.ready, app.state.begin = problem, ready, time.time()
    for router in (videos, media, server, docs, uploads):
        app.include_router(router)

    @app.api_route("/v1/{path:path}", methods=list(METHODS), include_in_schema=False)
    def nothing(request: Request, path: str) -> None:
        """Else the pages, which are mounted beside the API, would answer in their own way."""
        others = [
            route for route in app.router.routes
            if getattr(route, "endpoint", None) is not nothing and not isinstance(route, Mount)
        ]  # fmt: skip
        methods = [
            method for method in METHODS
            if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in others)
        ]  # fmt: skip
        if methods:
            raise HTTPException(405, "Method Not Allowed", {"Allow": ", ".join(methods)})
        raise HTTPException(404, "there is no such address; /docs has those there are")

    return app
