"""Runs stages: rows that are still to be done go in batches to workers, which commit what becomes of them.

In this process and its children (`LocalEngine`) or on Ray (`ray_engine.RayEngine`): the same functions, the same
commits, the same rows. At any moment each worker has one batch, and that is what a kill loses.
"""

import os
import queue
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from ..captions.cost import spent_on
from ..settings import CaptionSettings
from ..stage import Stage
from ..tables import Row
from .commits import Fence, begin_run, only_writer
from .pending import Pending, Turns
from .workers import Job, Receipt, WorkerProcess, do_batch

OF_FILES = ("ingest", "shots")  # stages whose input rows are files
THREADS = 4  # at most, of a stage that runs in threads: one on the model, the others decoding for it


@dataclass
class StageReport:
    """What one run of a stage did."""

    stage: str
    before: int = 0  # input rows that were done already
    pending: int = 0  # input rows that were not
    done: Receipt = field(default_factory=Receipt)  # what was done of those
    result: Any = None  # what a stage over whole tables returned, if it ran


class Engine(Protocol):
    """Where the work is done."""

    def run(self, stage: Stage) -> StageReport:
        """Do what is still to be done of a stage.

        Raises:
            CaptionError: the run cannot go on; finished batches are kept.
            Exception: whatever a worker raised.
        """
        ...


def check_engine(settings: CaptionSettings) -> None:
    """Before anything is written: whether the engine that is asked for is there.

    Raises:
        ImportError: Ray is asked for and not installed.
    """
    if settings.run.engine == "ray":
        from .on_ray import import_ray

        import_ray()


@contextmanager
def open_engine(dataset: Path, settings: CaptionSettings, fence: Fence | None = None) -> Iterator[Engine]:
    """The engine that the settings name; inside of `only_writer`.

    Args:
        dataset: folder of the dataset.
        settings: of the run.
        fence: None: a new run begins.

    Raises:
        ImportError: Ray is asked for and not installed.
    """
    fence = fence or begin_run(dataset)
    if settings.run.engine == "ray":
        from .on_ray import open_ray

        with open_ray(dataset, settings, fence) as engine:
            yield engine
        return
    engine = LocalEngine(dataset, settings, fence)
    try:
        yield engine
    finally:
        engine.close()


def run_stage(stage: Stage, dataset: str | Path, settings: CaptionSettings | None = None) -> StageReport:
    """Do what is still to be done of one stage.

    Raises:
        CaptionError: another run is at work there, or this one cannot go on; finished batches are kept.
        Exception: whatever a worker raised.
    """
    dataset, settings = Path(dataset), settings or CaptionSettings()
    with only_writer(dataset), open_engine(dataset, settings) as engine:
        return engine.run(stage)


class LocalEngine:
    """Threads, each with its own worker process or all with one worker; they outlast a stage."""

    def __init__(self, dataset: Path, settings: CaptionSettings, fence: Fence) -> None:
        self._dataset, self._settings, self._fence = dataset, settings, fence
        self._processes: list[WorkerProcess] = []

    def run(self, stage: Stage) -> StageReport:
        """Do what is still to be done of a stage."""
        job = Job(stage, self._settings, self._fence)
        with Pending(stage, self._dataset, self._settings) as pending:
            report = StageReport(stage.name, pending.before, len(pending))
            if not len(pending):
                return report
            count = min(self._count(stage), len(pending.places()))
            turns = Turns(pending.batches())
            if stage.runs_in == "threads":
                work = job.work()
                doers: list[Doer] = [lambda rows: do_batch(job, work, rows)] * count
                receipts = _together(turns, doers, lambda: None)
            else:
                processes = self._started(count)
                doers = [_first_begin(process, job) for process in processes]
                receipts = _together(turns, doers, lambda: [process.stop() for process in processes])
            try:
                with closing(receipts):
                    show_progress(report, job, receipts)
            except KeyboardInterrupt:
                self.close()
                raise
        return report

    def close(self) -> None:
        """End the worker processes."""
        for process in self._processes:
            process.close()
        self._processes = []

    def _count(self, stage: Stage) -> int:
        if stage.one_worker(self._settings) and stage.runs_in == "processes":
            return 1
        if rows := stage.row_by_row(self._settings):
            return rows
        cores = self._settings.run.workers or len(os.sched_getaffinity(0))
        return cores if stage.runs_in == "processes" or self._settings.run.workers else min(cores, THREADS)

    def _started(self, count: int) -> list[WorkerProcess]:
        threads = max(1, len(os.sched_getaffinity(0)) // count)
        self._processes += [WorkerProcess(threads) for _ in range(count - len(self._processes))]
        return self._processes[:count]


Doer = Callable[[list[Row]], Receipt]


def _first_begin(process: WorkerProcess, job: Job) -> Doer:
    """Has a process take on the stage in the thread that will use it, so that all of them load at once."""
    begun = False

    def do(rows: list[Row]) -> Receipt:
        nonlocal begun
        if not begun:
            process.begin(job)
            begun = True
        return process.do(rows)

    return do


def _together(turns: Turns, doers: list[Doer], hurry: Callable[[], Any]) -> Generator[Receipt, None, None]:
    """The receipts of all batches, from one thread a doer, as they are finished.

    After an error no batch is begun, those in flight go on to their end, and the error is raised. An endpoint that
    ends the run begins no other request: of the clips in flight those are finished that need no more than the
    requests already sent. Ctrl-C hurries the doers up instead.
    """
    answers: queue.SimpleQueue[Receipt | BaseException | None] = queue.SimpleQueue()

    def work(do: Doer) -> None:
        try:
            for rows in turns:
                answers.put(do(rows))
        except BaseException as error:
            turns.stop()
            answers.put(error)
        finally:
            answers.put(None)

    # daemons: a second Ctrl-C need not wait for an endpoint
    threads = [threading.Thread(target=work, args=(do,), daemon=True) for do in doers]
    for thread in threads:
        thread.start()
    left, failure = len(threads), None
    try:
        while left:
            answer = answers.get()
            if answer is None:
                left -= 1
            elif isinstance(answer, BaseException):
                failure = failure or answer
            else:
                yield answer
    except BaseException:  # Ctrl-C, or the reader of the receipts is gone
        turns.stop()
        hurry()
        for thread in threads:
            thread.join()
        raise
    for thread in threads:
        thread.join()
    if failure is not None:
        raise failure


def show_progress(report: StageReport, job: Job, receipts: Iterable[Receipt]) -> None:
    """Add receipts to a report as they come, beside a line with rows a second, rejects, cost and time left."""
    before = 0.0
    for record in job.table.records() if report.before else ():
        before += record.get("told", {}).get("cost", 0.0)
    if ahead := job.stage.announce(report.pending, job.settings):
        sys.stderr.write(f"{job.stage.name}: {ahead}\n")
    unit = "file" if job.stage.name in OF_FILES else "clip"
    with tqdm(total=report.pending, desc=job.stage.name, unit=unit, dynamic_ncols=True, file=sys.stderr) as line:
        for receipt in receipts:
            report.done.add(receipt)
            told = report.done.told
            figures = {}
            if "rejects" in told or report.done.set_aside:
                figures["rejects"] = f"{told.get('rejects', 0.0):.0f}"
            if report.done.set_aside:
                figures["crashed"] = str(report.done.set_aside)
            if "cost" in told:
                cost = max(spent_on(job.fence.dataset), before + told["cost"])
                figures |= {"cost": f"{cost:.2f}"} if cost else {}
            line.set_postfix(figures, refresh=False)
            line.update(receipt.inputs)
