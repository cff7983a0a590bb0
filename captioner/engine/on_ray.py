"""The same stages on Ray Data, on this machine or on many: kinema[ray].

    kinema caption SOURCE --out DATASET --engine ray
    RAY_ADDRESS=… kinema caption SOURCE --out DATASET --engine ray      # a cluster that is there already

The driver streams the places of batches; actors read the rows, work on them and commit the result, so that
only counts come back. DATASET and the videos must therefore be on paths that every node sees, on a file system
with locks (flock), and kinema must be installed on every node.
"""

import contextlib
import logging
import os
import pickle
import platform
import sys
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ..settings import CaptionSettings
from ..stage import Stage
from .commits import CaptionError, Fence, current_run
from .local import THREADS, StageReport, show_progress
from .pending import Pending, read_batch
from .workers import Job, Receipt, WorkerProcess, do_batch, portable, receipt_of

MOST_BLOCKS = 4096  # of a Ray Dataset; more only cost time
RETRIES = 3  # of a batch whose actor or node is lost
STORE_BYTES = 128 * 2**20  # object store of a local Ray: only counts go through it


def import_ray() -> Any:
    """Ray, told to be quiet about itself.

    Raises:
        ImportError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as newer versions do; else they warn
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(f"--engine ray needs Ray: pip install 'kinema[ray]' ({error})") from error
    return ray


@contextmanager
def open_ray(dataset: Path, settings: CaptionSettings, fence: Fence) -> Iterator["RayEngine"]:
    """The engine, connected to the Ray that this program has begun, else RAY_ADDRESS's, else a local one.

    Raises:
        ImportError: Ray is not installed.
        CaptionError: there is no Ray at RAY_ADDRESS.
    """
    ray = import_ray()
    ours = not ray.is_initialized()
    if ours:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            if os.environ.get("RAY_ADDRESS"):
                ray.init(address="auto", **quiet)
            else:
                ray.init(
                    address="local",
                    num_cpus=settings.run.workers or None,
                    include_dashboard=False,
                    object_store_memory=STORE_BYTES,
                    **quiet,
                )
        except ConnectionError as error:
            raise CaptionError(
                f"there is no Ray cluster at RAY_ADDRESS={os.environ.get('RAY_ADDRESS')} ({error}); start one, or "
                "unset RAY_ADDRESS to use this machine"
            ) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield RayEngine(dataset, settings, fence)
    finally:
        if ours:
            ray.shutdown()


class RayEngine:
    """Stages as `map_batches` of actors that are built once each."""

    def __init__(self, dataset: Path, settings: CaptionSettings, fence: Fence) -> None:
        # absolute: the actors work in another folder
        self._dataset, self._settings = dataset.absolute(), settings
        self._fence = Fence(self._dataset, fence.run)

    def run(self, stage: Stage) -> StageReport:
        """Do what is still to be done of a stage.

        Raises:
            CaptionError: the run cannot go on; finished batches are kept.
            Exception: whatever a worker raised.
        """
        job = Job(stage, self._settings, self._fence)
        with Pending(stage, self._dataset, self._settings) as pending:
            report = StageReport(stage.name, pending.before, len(pending))
            if len(pending):
                with closing(self._receipts(job, pending)) as receipts:
                    show_progress(report, job, receipts)
        return report

    def _receipts(self, job: Job, pending: Pending) -> Generator[Receipt, None, None]:
        import ray
        import ray.exceptions

        places = [{"offset": offset, "count": count} for offset, count in pending.places()]
        threads = job.stage.row_by_row(self._settings) or (THREADS if job.stage.runs_in == "threads" else 1)
        calls = -(-len(places) // threads)
        actors, gpus = self._actors(job.stage, calls)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.actor_task_retry_on_errors = False
        receipts = ray.data.from_items(places, override_num_blocks=min(calls, MOST_BLOCKS)).map_batches(
            BatchActor,
            batch_size=threads,
            compute=ray.data.ActorPoolStrategy(size=actors),
            num_cpus=1,
            num_gpus=gpus,
            fn_constructor_args=(pickle.dumps(job), str(pending.path), threads, sys.path),
        )
        try:
            for row in receipts.iter_rows():
                kind, what = pickle.loads(row["answer"])
                if kind == "raised":
                    raise what
                yield what
        except ray.exceptions.RayError as error:
            raise CaptionError(
                f"Ray could not go on with stage {job.stage.name}; what is finished is kept, and the same command "
                f"goes on. kinema must be installed on every node, and a worker must fit there. Ray says: {error}"
            ) from error

    def _actors(self, stage: Stage, calls: int) -> tuple[int, int | None]:
        """How many actors a stage gets, and how many GPUs each of them."""
        import ray

        there = ray.cluster_resources()
        cores, cards = max(1, int(there.get("CPU", 1))), int(there.get("GPU", 0))
        gpus = 1 if stage.gpu and cards and self._settings.run.device != "cpu" else None
        if stage.one_worker(self._settings):
            return 1, gpus
        count = self._settings.run.workers or (
            cards if gpus else cores if stage.runs_in == "processes" else max(1, cores // THREADS)
        )
        return max(1, min(count, calls, cards if gpus else cores)), gpus


class BatchActor:
    """A stage's worker in a Ray actor, built once; what goes wrong is an answer, not an exception.

    Args:
        job: pickled.
        path: of the pending rows.
        threads: batches at a time.
        modules: where the driver finds its modules, those of the stages among them.
    """

    def __init__(self, job: bytes, path: str, threads: int, modules: list[str]) -> None:
        self._path, self._threads = Path(path), threads
        self._process: WorkerProcess | None = None
        self._failure: Exception | None = None
        sys.path += [folder for folder in modules if folder not in sys.path]
        try:
            self._job: Job = pickle.loads(job)
            self._build()
        except Exception as error:
            self._failure = portable(error)

    def _build(self) -> None:
        dataset = self._job.fence.dataset
        if current_run(dataset) != self._job.fence.run:
            raise CaptionError(
                f"node {platform.node()} does not see {dataset} as the driver does; put the dataset on a file "
                "system that all nodes share, under the same path"
            )
        if self._job.stage.runs_in == "processes":
            self._process = WorkerProcess()
            self._process.begin(self._job)
            self._do = self._process.do
        else:
            work = self._job.work()
            self._do = lambda rows: do_batch(self._job, work, rows)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Work on the batches at these places."""
        places = list(zip(batch["offset"].tolist(), batch["count"].tolist()))
        with ThreadPoolExecutor(self._threads) as pool:
            return {"answer": [pickle.dumps(answer) for answer in pool.map(self._answer, places)]}

    def _answer(self, place: tuple[int, int]) -> tuple[str, Any]:
        if self._failure is not None:  # the driver ends the run when it hears of it; begin nothing more
            return "raised", self._failure
        try:
            with self._path.open("rb") as file:
                rows = read_batch(file, *place)
            # Ray gives a block again, as often as its actor or node is lost.
            record = self._job.table.recorded([row[self._job.stage.key] for row in rows])
            if record is None and self._tries(place[0]) > RETRIES:
                names = ", ".join(row[self._job.stage.key] for row in rows)
                raise CaptionError(f"a Ray actor has ended {RETRIES} times on the same batch, of {names}")
            return "done", self._do(rows) if record is None else receipt_of(record)
        except Exception as error:
            self._failure = portable(error)
            return "raised", self._failure

    def _tries(self, offset: int) -> int:
        """How often a batch has been begun, this time included."""
        with self._path.with_name(f"{self._path.name}.{offset}").open("ab") as file:
            file.write(b".")
            return file.tell()

    def __del__(self) -> None:
        if self._process is not None:
            with contextlib.suppress(Exception):
                self._process.close()
