"""The order of the data, as a function of the step, and the loop over it."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, cast

import torch
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from ..configs.schema import DataConfig, TrainConfig
from ..data.buckets import BucketBatches
from ..data.source import open_dataset
from .errors import TrainingError, TrainingPaused
from .run import Run


def open_data(data: DataConfig, seed: int, split: Literal["train", "heldout"]) -> Any:
    """`open_dataset` for a training stage, before its folder is touched.

    Raises:
        TrainingError: there is no such source, or no clip of it can be used.
    """
    try:
        return open_dataset(data, seed=seed, split=split)
    except (OSError, ValueError) as error:
        raise TrainingError(f"{error}; change data.source") from error


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """A 63-bit seed for one sample in one epoch, mixed so that near inputs give unrelated outputs.

    The mixing is SplitMix64's finaliser (Steele, Lea and Flood 2014).
    """
    mask = (1 << 64) - 1
    state = 0
    for part in (seed, epoch, index):
        state = (state + 0x9E3779B97F4A7C15 + part) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
    return state >> 1


class BatchOrder(Sampler[list[tuple[int, int]]]):
    """Micro-batches of (epoch, index) for one rank, from a step on: a pure function of its arguments."""

    def __init__(self, size: int, seed: int, first: int, rank: int, ranks: int, train: TrainConfig) -> None:
        self.size, self.seed, self.first, self.rank, self.ranks, self.train = (
            size,
            seed,
            first,
            rank,
            ranks,
            train,
        )

    def __len__(self) -> int:
        return (self.train.steps - self.first) * self.train.gradient_accumulation_steps

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        local, micro = self.train.batch_size, self.train.gradient_accumulation_steps
        epoch, order = -1, None
        for number in range(self.first * micro, self.train.steps * micro):
            start = (number * self.ranks + self.rank) * local
            batch = []
            for position in range(start, start + local):
                if position // self.size != epoch or order is None:
                    epoch = position // self.size
                    generator = torch.Generator().manual_seed(sample_seed(self.seed, epoch, -1))
                    order = torch.randperm(self.size, generator=generator)
                batch.append((epoch, int(order[position % self.size])))
            yield batch


def batch_order(
    dataset: Any, seed: int, first: int, rank: int, ranks: int, train: TrainConfig
) -> Sampler[list[tuple[int, int]]]:
    """The micro-batches of one rank. Where a dataset has several shapes (`bucket_of`), each batch has one."""
    buckets = getattr(dataset, "bucket_of", ())
    if len(set(buckets)) < 2:
        return BatchOrder(len(dataset), seed, first, rank, ranks, train)
    micro = train.gradient_accumulation_steps
    return BucketBatches(
        buckets,
        train.batch_size,
        seed=seed,
        first=first * micro,
        steps=train.steps * micro,
        rank=rank,
        ranks=ranks,
    )


class _Seeded(Dataset):
    """A dataset whose items carry the seed of their own randomness in this epoch."""

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[dict[str, Any], int]:
        epoch, index = key
        return self.dataset[index], sample_seed(self.seed, epoch, index)


class _Collate:
    def __init__(self, collate: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> None:
        self.collate = collate

    def __call__(self, pairs: list[tuple[dict[str, Any], int]]) -> dict[str, Any]:
        items, seeds = zip(*pairs)
        return self.collate(list(items)) | {"sample_seed": torch.tensor(seeds, dtype=torch.int64)}


def _heed_only_the_trainer(worker: int) -> None:
    """Let a loader's process outlive a SIGTERM that the whole job is told, as Slurm does; the checkpoint needs it.

    It ends when the trainer tells it so, as torch does at the end of a run, and when the trainer is gone.
    """
    if not hasattr(signal, "sigwaitinfo"):  # macOS
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def training_steps(
    run: Run, dataset: Any, collate: Callable[[list[dict[str, Any]]], dict[str, Any]], first: int
) -> Iterator[tuple[int, Iterator[dict[str, Any]]]]:
    """Yield (step, micro-batches of this rank) from step `first` to the last, under a progress bar.

    The order of samples depends on the seed and the step alone. A batch is what `collate` makes of the items,
    plus "sample_seed": int64 (B,), the seed of each sample's own randomness; tensors are on the run's device.
    Two ranks with batch size B see together what one rank sees with batch size 2B.

    Raises:
        TrainingPaused: the run was asked to stop (SIGTERM, or its time is up) and has written a checkpoint.
    """
    accelerator, train = run.accelerator, run.train
    if len(dataset) == 0:
        raise TrainingError("the dataset has no usable clip; see its report of rejected files, or give another")
    order = batch_order(
        dataset, run.config.seed, first, accelerator.process_index, accelerator.num_processes, train
    )
    workers = run.config.data.num_workers
    loader = DataLoader(
        _Seeded(dataset, run.config.seed),
        batch_sampler=order,
        collate_fn=_Collate(collate),
        num_workers=workers,
        worker_init_fn=_heed_only_the_trainer,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    batches = iter(loader)
    progress = run.progress
    progress.bar = tqdm(
        total=train.steps,
        initial=first,
        desc=run.stage,
        unit="step",
        disable=not run.is_main,
        dynamic_ncols=True,
    )
    progress.logged_step, progress.logged_time = first, time.monotonic()

    def micro_batches() -> Iterator[dict[str, Any]]:
        for _ in range(train.gradient_accumulation_steps):
            yield cast(dict[str, Any], send_to_device(next(batches), accelerator.device))

    def ask_to_stop(*_: object) -> None:
        progress.stop = True

    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, ask_to_stop) if in_main_thread else None
    try:
        for step in range(first, train.steps):
            yield step, micro_batches()
            progress.bar.update()
            if progress.stop and step + 1 < train.steps:
                raise TrainingPaused(f"paused after {step + 1} of {train.steps} steps; the same command goes on")
    finally:
        progress.bar.close()
        if in_main_thread:
            signal.signal(signal.SIGTERM, before)
