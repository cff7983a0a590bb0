"""A worker: loads the model once and makes one job after another. `python -m kinema.studio.making.worker`.

It ends when the server does: it holds the other end of a pipe, and a process that goes on alone would make what
nobody is told of.
"""

import argparse
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..jobs.claims import claim, fail
from ..jobs.job import Job, JobError, LostJobError
from ..jobs.shelf import Shelf
from ..jobs.store import JobStore
from ..models.memory import Meter
from ..options import add_finish_options, finish_of
from .finishing import PLAIN, Finish
from .make import make, recover

IDLE = 0.1  # seconds between looks at an empty queue
ROOM = 1.0  # seconds between looks whether a full disk has room again
UNLOADABLE = 3  # exit status: trying again will not help
READY = "ready"

logger = logging.getLogger(__name__)


def work(
    store: JobStore, shelf: Shelf, pipe: Any, name: str, stopped: threading.Event, finish: Finish = PLAIN,
    most_memory: int = 0,
) -> None:  # fmt: skip
    """Make jobs until told to stop, with so many bytes of memory at most; 0: with what is free."""
    meter = Meter(pipe, most_memory)
    meter.tell(shelf.folder / "logs", name)
    while not stopped.is_set():
        try:
            job = claim(store, name)
        except JobError as error:
            logger.warning("%s", error)
            stopped.wait(ROOM)
            continue
        if job is None:
            stopped.wait(IDLE)
            continue
        begin = time.monotonic()
        try:
            make(store, shelf, pipe, job, finish, meter)
        except LostJobError as error:
            logger.warning("%s", error)
        except JobError as error:
            say_it_failed(store, shelf, job, error, stopped)
        logger.info("%s: %.1f s", job.id, time.monotonic() - begin)


def say_it_failed(store: JobStore, shelf: Shelf, job: Job, why: JobError, stopped: threading.Event) -> None:
    """Let a job fail as soon as there is room to write that down; if its result is there it is complete."""
    logger.warning("%s: %s", job.id, why)
    while not stopped.wait(ROOM):
        try:
            if recover(store, shelf, job) is None:
                fail(store, job, why.code, str(why))
        except LostJobError:
            return
        except JobError:
            continue
        return


def main() -> None:
    """Load the model, say so, and work."""
    parser = argparse.ArgumentParser(description="Make the jobs of a studio.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--model")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--memory", type=int, default=0, help="bytes to take at most; 0: what is free")
    add_finish_options(parser)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    say = only_our_words()
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    from .loading import load_model

    try:
        finish = finish_of(args)
        finish.check()
        pipe = load_model(args.model, device=args.device, dtype=args.dtype)
    except Exception as error:
        logger.exception("the worker cannot begin")
        say(f"{type(error).__name__}: {' '.join(str(error).split())}")
        sys.exit(UNLOADABLE)
    shelf = Shelf(args.folder)
    say(READY)
    work(JobStore(shelf.database), shelf, pipe, args.name, threading.Event(), finish, args.memory)


def only_our_words() -> Callable[[str], None]:
    """What tells the server a line. What libraries print goes to the log from now on."""
    told = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return lambda line: print(line, file=told)


def _end_with_the_server() -> None:
    while os.read(0, 1024):
        pass
    os._exit(0)  # in the middle of a job, too: whoever serves next tries it again


if __name__ == "__main__":
    main()
