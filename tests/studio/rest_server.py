"""A REST API on a real socket, for tests."""

import contextlib
import socket
import threading
import time

import uvicorn
from starlette.applications import Starlette

from kinema.studio.jobs.shelf import Shelf
from kinema.studio.jobs.store import JobStore
from kinema.studio.making.worker import work
from kinema.studio.models.model import read_model
from kinema.studio.rest.access import Access
from kinema.studio.rest.api import build_api
from kinema.studio.service import Studio


@contextlib.contextmanager
def served(folder, model, *, pipe=None, access=None, limits=None, prompt_filter=lambda text: None):
    """A server on a free port; with a pipeline, a thread that makes what is asked for."""
    shelf = Shelf(folder)
    studio = Studio(JobStore(shelf.database), shelf, read_model(str(model)), limits, prompt_filter)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = build_api(studio, access or Access())
    app.mount("/", Starlette())  # where the pages are
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="error"))
    stopped = threading.Event()
    threads = [threading.Thread(target=server.run)]
    if pipe is not None:
        threads.append(threading.Thread(target=work, args=(JobStore(shelf.database), shelf, pipe, "w", stopped)))
    for thread in threads:
        thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}", studio
    finally:
        server.should_exit = True
        stopped.set()
        for thread in threads:
            thread.join()
        studio.close()
