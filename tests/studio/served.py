"""`kinema serve` in a process of its own, as people start it."""

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
import time

import httpx
import psutil

STARTED = 120  # seconds it may take on a machine that is busy


class Server:
    """A running `kinema serve`; `url` is where."""

    def __init__(self, folder, *options, model=None, env=None, before=()):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.folder, self.url = folder, f"http://127.0.0.1:{port}/"
        self.log = folder.with_name(folder.name + ".log")
        words = ["serve", "--folder", str(folder), "--port", str(port), *options]
        words += ["--model", str(model)] if model else []
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-m", "kinema.cli", *words], stdout=log, stderr=log,
                env=os.environ | {"OMP_NUM_THREADS": "1"} | (env or {}),
            )  # fmt: skip

    def wait(self, path="readyz"):
        """Until it answers, with a worker that has its model."""
        end = time.monotonic() + STARTED
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(self.url + path, timeout=20).status_code == 200:
                    return self
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)

    def videos(self):
        """The newest first, as the API tells them."""
        return httpx.get(self.url + "v1/videos").json()["data"]

    def worker(self):
        """The process that makes its videos."""
        (worker,) = [
            child for child in psutil.Process(self.process.pid).children(recursive=True)
            if "kinema.studio.making.worker" in " ".join(child.cmdline())
        ]  # fmt: skip
        return worker

    @contextlib.contextmanager
    def at_rest(self):
        """Nothing is made within the block: the worker is suspended, when it is not writing to the database."""
        worker, held = self.worker(), True
        while held:
            worker.suspend()
            try:
                with contextlib.closing(sqlite3.connect(self.folder / "studio.db", timeout=0.2)) as db:
                    db.execute("BEGIN IMMEDIATE")
                    held = False
            except sqlite3.OperationalError:
                worker.resume()
                time.sleep(0.05)
        try:
            yield
        finally:
            worker.resume()

    def stop(self):
        """As Ctrl+C does."""
        if self.process.poll() is None:
            self.process.send_signal(2)
        return self.process.wait(60)

    def kill(self):
        """As nobody should."""
        self.process.kill()
        return self.process.wait(60)


@contextlib.contextmanager
def serving(folder, *options, **more):
    """A server for the block, ready."""
    server = Server(folder, *options, **more)
    try:
        yield server.wait()
    finally:
        server.stop()
