"""The process that talks to the actors of a Ray cluster: a thread and a courier each. See `ray_workers`.

It is a worker process to the server: it says "ready" and for how many models, or what keeps it from working, and
ends when the server does. Its actors end with it, whatever way it ends.
"""

import argparse
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..jobs.shelf import Shelf
from ..jobs.store import JobStore
from ..making.worker import IDLE, READY, UNLOADABLE, only_our_words
from ..making.workers import PAUSES
from .courier import Courier, MakerLostError, StoppedError
from .ray_workers import Cluster
from .remote import Maker

ANSWER = 60.0  # seconds in which an actor answers, or is lost
AGAIN = 0.5  # seconds between tries to reach it
LOOK_IDLE = 1.0  # seconds between looks at one that makes nothing
GROW = 10.0  # seconds between looks at the size of the cluster
ROOM = 20.0  # seconds after which a worker that finds no machine says so
GOODBYE = 10.0  # seconds for the actors to clean up; the server waits a little longer
CONNECT = 60.0  # seconds in which Ray connects; left alone it may wait for ever
STORE_BYTES = 128 * 2**20  # object store of a Ray of this machine alone: pieces of files go through it

logger = logging.getLogger(__name__)


@dataclass
class _Place:
    """A place for an actor, and how things are there."""

    number: int
    actor: Any = None
    host: str = ""  # where the actor is
    ready: bool = False
    problem: str = ""  # why nothing can be made there now
    hopeless: bool = False  # trying again will not help
    failures: int = 0  # to start, in a row


class Driver:
    """Actors and their threads.

    Args:
        ray: connected.
        shelf: of the server.
        options: of a worker process.
        cluster: what the actors get.
        name: of this process; an actor's has it in front.
        say: tells the server some lines.
        stopped: is set when the server ends.
    """

    def __init__(
        self, ray: Any, shelf: Shelf, options: Sequence[str], cluster: Cluster, name: str,
        say: Callable[[str], None], stopped: threading.Event,
    ) -> None:  # fmt: skip
        self.ray, self.shelf, self.options, self.cluster, self.name = ray, shelf, list(options), cluster, name
        self._say_it, self.stopped = say, stopped
        self._places: list[_Place] = []
        self._threads: list[threading.Thread] = []
        self._said, self._saying = "", threading.Lock()
        self._cpus, self._gpus = share(self._machines(), cluster)

    def run(self) -> None:
        """Work until the server ends, or until nothing can be made anywhere; then end the actors."""
        while not self.stopped.is_set():
            wanted = self.cluster.workers or room(self._machines(), self._cpus, self._gpus)
            for number in range(len(self._places), wanted):
                self._places.append(place := _Place(number))
                self._threads.append(threading.Thread(target=self._fill, args=(place,), daemon=True))
                self._threads[-1].start()
            self.stopped.wait(GROW)
        end = time.monotonic() + GOODBYE
        goodbyes = [place.actor.close.remote() for place in self._places if place.actor and place.host]
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        if goodbyes:
            self.ray.wait(goodbyes, num_returns=len(goodbyes), timeout=max(0.0, end - time.monotonic()))

    @property
    def hopeless(self) -> bool:
        """Whether nothing can be made anywhere, and trying again will not help."""
        return bool(self._places) and all(place.hopeless for place in self._places)

    def _machines(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def _fill(self, place: _Place) -> None:
        """Keep an actor in a place, and jobs in the actor."""
        store = JobStore(self.shelf.database)
        try:
            while not place.hopeless:
                self._employ(place, store)
                place.failures = 0 if place.ready else place.failures + 1
                place.ready = False
                self._say()
                if place.failures:
                    self._wait(PAUSES[min(place.failures, len(PAUSES)) - 1])
        except StoppedError:
            pass
        finally:
            store.close()
            if self.hopeless:
                self.stopped.set()

    def _employ(self, place: _Place, store: JobStore) -> None:
        """Give an actor jobs, as long as it lives."""
        log = self.shelf.folder / "logs" / f"machine-{place.number}.log"
        courier = Courier(
            store, self.shelf, f"{self.name}/{place.number}-{secrets.token_hex(4)}",
            lambda *asked: self._ask(place, *asked), log, self.stopped,
        )  # fmt: skip
        try:
            self._begin(place)
            while not place.hopeless:
                self._serve(place, courier)
        except StoppedError:
            raise
        except MakerLostError as error:
            logger.warning("worker %s: %s", place.number, error)
            place.problem = str(error)
        except Exception as error:
            logger.exception("worker %s", place.number)
            place.problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
            courier.lost("the server could not go on with it")
        if place.actor is not None:
            self.ray.kill(place.actor)
            place.actor, place.host = None, ""

    def _begin(self, place: _Place) -> None:
        """Start an actor; this waits for as long as no machine has room for it."""
        options = {"num_cpus": self._cpus, "num_gpus": self._gpus, "scheduling_strategy": "SPREAD"}
        place.host = ""
        place.actor = self.ray.remote(Maker).options(max_restarts=0, **options).remote(self.options)
        asked, since = place.actor.about.remote(), time.monotonic()
        while not self.ray.wait([asked], timeout=AGAIN)[0]:
            self._heed_stop()
            if time.monotonic() - since > ROOM:
                place.problem = (
                    "no machine of the Ray cluster has room for a worker now; it needs "
                    f"CPUs: {self._cpus}, GPUs: {self._gpus:g}"
                )
                self._say()
        place.host, there = self._ask(place, "about")
        if there != (here := version("kinema")):
            place.problem = f"{place.host} has Kinema {there} and the server {here}; install the same"
            place.hopeless = True

    def _serve(self, place: _Place, courier: Courier) -> None:
        told = courier.look()
        place.ready, place.hopeless = told.ready, bool(told.problem)
        place.problem = f"{place.host}: {told.problem}" if told.problem else ""
        self._say()
        until = time.monotonic() + LOOK_IDLE
        while time.monotonic() < until and not place.hopeless:
            if place.ready and courier.carry():
                return
            self._wait(IDLE)

    def _ask(self, place: _Place, method: str, *given: Any) -> Any:
        """What a courier asks of its maker."""
        from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayError, RayTaskError

        why, end = "", time.monotonic() + ANSWER
        while time.monotonic() < end:
            self._heed_stop()
            try:
                answer = getattr(place.actor, method).remote(*given)
                while not self.ray.wait([answer], timeout=AGAIN)[0]:
                    self._heed_stop()
                    if time.monotonic() > end:
                        raise GetTimeoutError(f"no answer for {ANSWER:g} seconds")
                return self.ray.get(answer, timeout=ANSWER)
            except RayTaskError as error:
                raise (error.cause if isinstance(error.cause, Exception) else error) from None
            except ActorUnavailableError as error:  # the network may come back
                why = reason(error)
                self._wait(AGAIN)
            except (RayError, ConnectionError) as error:
                self._heed_stop()
                why = reason(error)
                break
        raise MakerLostError(f"its worker on {place.host or 'another machine'} was lost ({why})")

    def _wait(self, seconds: float) -> None:
        if self.stopped.wait(seconds):
            raise StoppedError

    def _heed_stop(self) -> None:
        if self.stopped.is_set():
            raise StoppedError

    def _say(self) -> None:
        """Tell the server how things are, if that is news."""
        with self._saying:
            ready = sum(place.ready for place in self._places)
            problems = dict.fromkeys(place.problem for place in self._places if place.problem)
            lines = f"{READY} {ready}\n" + ("" if ready else "; ".join(problems))
            if lines != self._said and (ready or self._said or problems):
                self._said = lines
                self._say_it(lines.rstrip())


def reason(error: Exception) -> str:
    """The line of one of Ray's long messages that says most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    best = [line for line in lines if "because" in line] + lines
    return best[0].partition(". ")[0].rstrip(".")[:200] if best else type(error).__name__


def share(machines: Sequence[Mapping[str, float]], cluster: Cluster) -> tuple[int, float]:
    """(CPUs, GPUs) that an actor gets.

    Args:
        machines: what each of them has.
        cluster: what was asked for.
    """
    gpus = cluster.gpus
    if gpus is None:
        gpus = 1.0 if any(machine.get("GPU", 0) >= 1 for machine in machines) else 0.0
    if cluster.cpus is not None or gpus:
        return cluster.cpus or 1, gpus
    cores = [int(machine["CPU"]) for machine in machines if machine.get("CPU", 0) >= 1]
    wanted = cluster.workers or len(cores)
    return next((each for each in range(max(cores, default=1), 1, -1) if sum(n // each for n in cores) >= wanted),
                1), gpus  # fmt: skip


def room(machines: Sequence[Mapping[str, float]], cpus: int, gpus: float) -> int:
    """How many actors find room at once, at least one."""
    fits = [
        min(int(machine.get("CPU", 0) // cpus), int(machine.get("GPU", 0) // gpus) if gpus else 1 << 16)
        for machine in machines
    ]
    return max(1, sum(fits))


def connect(cluster: Cluster) -> Any:
    """Ray, quiet and without a word to anybody else.

    Raises:
        OSError: there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as newer versions do; else they warn
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if cluster.address is not None:
        host, _, port = cluster.address.removeprefix("ray://").rpartition(":")
        if host and port.isdigit():
            socket.create_connection((host.strip("[]"), int(port)), CONNECT / 2).close()
        ray.init(address=cluster.address, **quiet)
    else:
        cpus = max(os.cpu_count() or 1, (cluster.workers or 1) * (cluster.cpus or 1))
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, object_store_memory=STORE_BYTES, **quiet)
    return ray


def main() -> None:
    """Connect, say how things are, and work."""
    parser = argparse.ArgumentParser(description="Let the actors of a Ray cluster make the jobs of a studio.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--address")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--cpus", type=int)
    parser.add_argument("--gpus", type=float)
    parser.add_argument("--option", action="append", default=[], help="of a worker process")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    say, stopped, connected = only_our_words(), threading.Event(), threading.Event()
    threading.Thread(target=_end_with_the_server, args=(stopped, connected), daemon=True).start()
    cluster = Cluster(args.address, args.workers, args.cpus, args.gpus)
    late = threading.Timer(CONNECT, _give_up, (say, args.address, f"it does not answer for {CONNECT:g} seconds"))
    late.daemon = True
    late.start()
    try:
        ray = connect(cluster)
    except Exception as error:
        logger.exception("no Ray")
        _give_up(say, args.address, " ".join(str(error).split()))
        return
    late.cancel()
    connected.set()
    driver = Driver(ray, Shelf(args.folder), args.option, cluster, args.name, say, stopped)
    driver.run()
    status = UNLOADABLE if driver.hopeless else 0
    threading.Timer(GOODBYE / 4, os._exit, (status,)).start()
    ray.shutdown()
    os._exit(status)  # whatever threads still wait for


def _give_up(say: Callable[[str], None], address: str | None, why: str) -> None:
    where = f"there is no Ray cluster at {address}" if address else "Ray cannot be started"
    say(f"{where}: {why}")
    os._exit(1)


def _end_with_the_server(stopped: threading.Event, connected: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    stopped.set()
    if not connected.is_set():
        os._exit(0)


if __name__ == "__main__":
    main()
