"""The workers of a studio on many machines: Ray actors, and one process here that talks to them. kinema[ray].

    kinema serve --engine ray                                # a Ray of this machine alone
    RAY_ADDRESS=… kinema serve --engine ray                  # a cluster that is there already

The server does not join the cluster itself: Ray ends every process that has joined when its head is lost, and the
queue must outlive that. The process that does join, `ray_driver`, is a worker like others, started again when it
ends. The machines need Kinema and the model, and share no files with the server.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..jobs.job import Job
from ..jobs.shelf import Shelf
from ..jobs.store import JobStore
from ..making.workers import Workers


@dataclass(frozen=True)
class Cluster:
    """Where the actors run, and what each of them gets.

    Attributes:
        address: "auto", "HOST:PORT" or "ray://HOST:PORT"; None: RAY_ADDRESS, else a Ray of this machine alone.
        workers: actors; None: as many as find room, as the cluster grows.
        cpus: of an actor, which is also how many threads its model uses on a CPU; None: 1 beside a GPU, else the
            most that let as many actors run at once as are asked for, or as there are machines.
        gpus: of an actor; None: 1 if the cluster has any.
    """

    address: str | None = None
    workers: int | None = None
    cpus: int | None = None
    gpus: float | None = None


class RayWorkers(Workers):
    """Workers on a Ray cluster, with the face of those on this machine.

    Args:
        store, shelf: of the studio; no other server may use them.
        command: what would start a worker process here, of `worker_command`; its options go to every machine, so
            paths in them must be good there.
        cluster: where.
        on_lost: called with what became of the jobs of this machine's process, should it end.

    Raises:
        ImportError: Ray is not installed.
    """

    blamed = False  # what ended was the way to the machines
    patience = 15.0  # they clean up first

    def __init__(
        self, store: JobStore, shelf: Shelf, command: Sequence[str], cluster: Cluster | None = None,
        on_lost: Callable[[list[Job]], None] = lambda jobs: None,
    ) -> None:  # fmt: skip
        if importlib.util.find_spec("ray") is None:
            raise ImportError("--engine ray needs Ray: pip install 'kinema[ray]'")
        folder = str(shelf.folder)
        options = command[list(command).index(folder) + 1 :]
        super().__init__(store, shelf, [driver_command(shelf.folder, options, cluster or Cluster())], on_lost)


def driver_command(folder: Path, options: Sequence[str], cluster: Cluster) -> list[str]:
    """What starts the process that talks to the actors.

    Args:
        folder: of the studio.
        options: of a worker process.
        cluster: where.
    """
    address = cluster.address or os.environ.get("RAY_ADDRESS")
    given = {"--address": address, "--workers": cluster.workers, "--cpus": cluster.cpus, "--gpus": cluster.gpus}
    words = [f"{name}={value}" for name, value in given.items() if value is not None]
    words += [f"--option={option}" for option in options]
    return [sys.executable, "-m", "kinema.studio.cluster.ray_driver", str(folder), *words]
