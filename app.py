"""The studio: pages for creators and the REST API, on one queue. `kinema serve`, or `python app.py`.

The API's routes come first; the pages are mounted at "/" beside them. Nothing is made in this process: its workers
make videos, and it owns the queue they make them from.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported

if TYPE_CHECKING:
    import socket

    from fastapi import FastAPI

    from kinema.studio.serving import Served, Serving

DRAIN = 3  # seconds that open connections have when the server stops


def build_app(served: "Served") -> "FastAPI":
    """The API with the pages mounted beside it.

    Args:
        served: an open studio.
    """
    import gradio as gr

    from kinema.studio.rest.api import build_api
    from kinema.studio.rest.guard import add_guard
    from kinema.studio.rest.login import Door, login, user_of
    from kinema.studio.ui.page import build_page
    from kinema.studio.ui.theme import look

    serving, workers, access = served.serving, served.workers, served.access
    app = build_api(served.studio, access, lambda: workers.problem, lambda: workers.ready)
    app.include_router(login)

    app.add_middleware(Door, access=access)
    if serving.mcp:
        from kinema.studio.mcp_server import add_mcp

        add_mcp(app, served)
    add_guard(app, [serving.host, *serving.hosts], serving.origins)
    return gr.mount_gradio_app(
        app,
        build_page(served),
        "/",
        server_name=serving.host,
        server_port=serving.port,
        auth_dependency=(lambda request: user_of(access, request)) if access.keys else None,
        max_file_size=serving.limits.upload_bytes,
        footer_links=[],
        run_history=False,
        show_error=True,
        ssr_mode=False,
        enable_monitoring=False,
        **look(),
    )


def serve(serving: "Serving") -> None:
    """Serve until interrupted. What can be known to be wrong is said before anything large is imported.

    Raises:
        ServeError: it cannot start; the message says what to change.
    """
    from kinema.studio.serving import check_serving, open_studio

    check_serving(serving)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))  # uvicorn raises it again when it has stopped
    import uvicorn

    from kinema.studio.ui.captions import check_captions

    if serving.captions is not None:
        check_captions(serving.captions)

    class Server(uvicorn.Server):
        """One that says when it listens, and when it does not any more."""

        async def startup(self, sockets: "list[socket.socket] | None" = None) -> None:
            await super().startup(sockets)
            if self.started:
                say(f"ready at {address_of(serving)} (API: /docs)")
                say(f"results are kept in {served.studio.shelf.folder}; Ctrl+C ends it and loses nothing")

        async def shutdown(self, sockets: "list[socket.socket] | None" = None) -> None:
            ending = asyncio.create_task(super().shutdown(sockets))
            await asyncio.sleep(0)  # so that it has begun, whatever becomes of the words
            try:
                say(f"stopping; {left_of(served)}")
            finally:
                await ending

    begun = False
    try:
        with open_studio(serving) as served:
            app = build_app(served)
            config = uvicorn.Config(
                app, serving.host, serving.port, log_level="warning", timeout_graceful_shutdown=DRAIN
            )
            begun = True
            Server(config).run()
    finally:
        if begun:
            say("stopped; the same command starts it again")


def say(what: str) -> None:
    """Tell whoever started the server how it is; who does not listen any more is told nothing, from then on."""
    try:
        sys.stdout.write(f"Kinema: {what}\n")
        sys.stdout.flush()
    except OSError:  # Ctrl+C has ended what it was piped into, too
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else it is tried again at the exit


def address_of(serving: "Serving") -> str:
    """Where a browser finds the pages."""
    host = f"[{serving.host}]" if ":" in serving.host else serving.host
    return f"http://{host}:{serving.port}"


def left_of(served: "Served") -> str:
    """What becomes of the queue when the server stops."""
    jobs = served.studio.store.waiting()
    making = sum(job.status == "in_progress" for job in jobs)
    if not jobs:
        return "nothing is being made, and nothing waits"
    parts = [f"{making} being made (begun anew next time)"] if making else []
    parts += [f"{len(jobs) - making} waiting"] if len(jobs) > making else []
    return f"{' and '.join(parts)}: made when it is started again. All that is finished is kept"


def main(argv: Sequence[str] | None = None) -> None:
    """`python app.py`."""
    from kinema.cli import main as command

    command(["serve", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    main()
