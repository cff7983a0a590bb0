"""What the three training loops share, as functions.

`vae/train.py`, `conditioner/train.py` and `dit/train.py` each hold a complete, visible loop; this module gives
them Accelerate's set-up, optimizers, the data order, averaging, checkpoints, logs and the command line.

A run is a folder:

    config.yaml              the resolved configuration
    metrics.jsonl            one line a logged step
    logs/                    TensorBoard
    samples/                 pictures made on the way
    checkpoints/step-N/      everything needed to go on after N steps; written whole or not at all
    final/                   the finished component

The same command on the same folder goes on from the last checkpoint and gives the losses an uninterrupted run
would have given: the data order and every random draw are functions of (seed, epoch, sample), not of history.
"""

import argparse
import json
import math
import os
import platform
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import accelerate
import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, send_to_device, set_seed
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from kinema.configs import Config, ConfigError, dump_config, load_config
from kinema.configs.schema import TrainConfig

# The environment variable by which a launcher bounds a stage's training time.
SECONDS_LEFT = "KINEMA_SECONDS_LEFT"

# Settings that may change between two starts of one run without making it another run.
_FREE_KEYS = ("log_every", "validate_every", "checkpoint_every", "keep_checkpoints", "num_workers", "steps")


class TrainingError(RuntimeError):
    """A run that cannot go on; the message says what happened, what is kept and the next step."""


@dataclass(frozen=True)
class Run:
    """One training run: its settings, its folder and Accelerate's state."""

    accelerator: Accelerator
    config: Config
    stage: str
    directory: Path
    progress: "_Progress" = field(default_factory=lambda: _Progress())

    @property
    def train(self) -> TrainConfig:
        """The settings of this stage's loop."""
        return getattr(self.config.train, self.stage)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return self.accelerator.is_main_process


class TrainingPaused(Exception):
    """A run that was asked to stop, did so after a checkpoint, and goes on when the same command is repeated."""


class _Progress:
    """The progress bar, the clock behind the logged rate, and whether the run was asked to stop."""

    bar: "tqdm | None" = None
    logged_step: int = 0
    logged_time: float = 0.0
    deadline: float = math.inf  # time.monotonic() at which the run pauses
    stop: bool = False


def start_run(config: Config, stage: str, directory: Path) -> Run:
    """Set up Accelerate, the folder, the seed and the loggers of one stage.

    Raises:
        TrainingError: the folder holds a run with other settings.
    """
    train: TrainConfig = getattr(config.train, stage)
    directory = Path(directory)
    accelerator = Accelerator(
        mixed_precision=train.mixed_precision,
        gradient_accumulation_steps=train.gradient_accumulation_steps,
        log_with=_loggers(),
        project_config=ProjectConfiguration(project_dir=str(directory), logging_dir=str(directory / "logs")),
    )
    _check_same_run(directory / "config.yaml", config, stage)
    if accelerator.is_main_process:
        for name in ("checkpoints", "samples"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        _write_text(directory / "config.yaml", dump_config(config))
    accelerator.wait_for_everyone()
    set_seed(config.seed)
    torch.set_float32_matmul_precision("medium")
    accelerator.init_trackers(stage)
    run = Run(accelerator, config, stage, directory)
    if seconds := os.environ.get(SECONDS_LEFT):
        run.progress.deadline = time.monotonic() + float(seconds)
    return run


def _loggers() -> list[str]:
    from importlib.util import find_spec

    return ["tensorboard", "wandb"] if find_spec("wandb") and os.environ.get("WANDB_API_KEY") else ["tensorboard"]


def _check_same_run(path: Path, config: Config, stage: str) -> None:
    if not path.is_file():
        return
    before, now = (_flatten(c.model_dump(mode="json")) for c in (load_config(path), config))
    ignored = [f"train.{other}." for other in ("conditioner", "vae", "dit") if other != stage] + [
        "name",
        "sample.",
    ]
    changed = [
        f"{key}: {before[key]} there, {now[key]} now"
        for key in now
        if before.get(key) != now[key]
        and key.rsplit(".", 1)[-1] not in _FREE_KEYS
        and not key.startswith(tuple(ignored))
    ]
    if changed:
        raise TrainingError(
            f"{path.parent} holds a run with other settings ({'; '.join(changed)}). "
            "Give the same settings to go on with it, or another --out to start anew."
        )


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


# ---------------------------------------------------------------------------------------------- optimizers


def make_optimizers(run: Run, *modules: nn.Module, rates: Sequence[float] | None = None) -> list[Any]:
    """The stage's optimizers over all trainable parameters of `modules`, prepared by Accelerate.

    "muon" gives the matrices inside repeated blocks (a `ModuleList`) to `torch.optim.Muon` (Jordan et al. 2024),
    with updates scaled to AdamW's size (Liu et al. 2025, eq. 4), and everything else to AdamW. A convolution's
    kernel counts as a matrix of (outputs, inputs × taps). Vectors and embeddings are not decayed.

    Args:
        rates: a factor on the learning rate of each module, 1 where not given.
    """
    train = run.train
    adamw: list[dict[str, Any]] = []
    muon: list[dict[str, Any]] = []
    for module, rate in zip(modules, rates or [1.0] * len(modules), strict=True):
        hidden, matrices, vectors = [], [], []
        blocks = tuple(f"{name}." for name, child in module.named_modules() if isinstance(child, nn.ModuleList))
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            if train.optimizer == "muon" and name.startswith(blocks) and _is_hidden_matrix(parameter):
                hidden.append(_matrix_view(parameter))
            elif parameter.ndim >= 2 and "embed" not in name:
                matrices.append(parameter)
            else:
                vectors.append(parameter)
        for group, decay in ((matrices, train.weight_decay), (vectors, 0.0)):
            if group:
                adamw.append({"params": group, "weight_decay": decay, "base_lr": train.learning_rate * rate})
        if hidden:
            muon.append({"params": hidden, "base_lr": train.muon_learning_rate * rate})
    optimizers: list[torch.optim.Optimizer] = []
    if adamw:
        optimizers.append(torch.optim.AdamW(adamw, lr=train.learning_rate, betas=train.betas))
    if muon:
        optimizers.append(
            torch.optim.Muon(
                muon,
                lr=train.muon_learning_rate,
                weight_decay=train.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return [run.accelerator.prepare(optimizer) for optimizer in optimizers]


def _is_hidden_matrix(parameter: nn.Parameter) -> bool:
    """A plain 2-D weight, or a convolution's kernel with enough inputs and outputs to have directions."""
    if type(parameter.data) is not torch.Tensor:  # a sharded tensor cannot be viewed as a matrix
        return parameter.ndim == 2
    return parameter.ndim == 2 or (parameter.ndim > 2 and min(parameter.shape[0], parameter[0].numel()) >= 16)


def _matrix_view(parameter: nn.Parameter) -> nn.Parameter:
    """The parameter itself if 2-D, else a matrix over the same memory, which is all that Muon takes."""
    if parameter.ndim == 2:
        return parameter
    view = nn.Parameter(parameter.detach().flatten(1))
    view.source = parameter  # type: ignore[attr-defined]
    return view


def learning_rate_factor(train: TrainConfig, step: int) -> float:
    """The share of the base learning rate at a step: linear warm-up, then the schedule's decay."""
    if step < train.warmup_steps:
        return (step + 1) / train.warmup_steps
    done = (step - train.warmup_steps) / max(1, train.steps - train.warmup_steps)
    low = train.final_lr_share
    if train.schedule == "cosine":
        return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    if train.schedule == "linear":
        return low + (1 - low) * (1 - min(1.0, done))
    return 1.0


def set_learning_rates(run: Run, optimizers: Sequence[Any], step: int) -> None:
    """Give every parameter group its learning rate for this step, a pure function of the step."""
    factor = learning_rate_factor(run.train, step)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor


def clip_and_step(run: Run, optimizers: Sequence[Any], *modules: nn.Module) -> torch.Tensor | None:
    """Clip the gradients over all modules, update, and clear. Returns the gradient norm on update steps."""
    norm = None
    if run.accelerator.sync_gradients:
        for view in (p for o in optimizers for g in o.param_groups for p in g["params"] if hasattr(p, "source")):
            view.grad = view.source.grad.flatten(1)
            view.source.grad = view.grad.view_as(view.source)  # one memory, so that clipping reaches both
        parameters = [p for module in modules for p in module.parameters() if p.grad is not None]
        norm = run.accelerator.clip_grad_norm_(parameters, run.train.max_grad_norm)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    if run.accelerator.sync_gradients:
        for module in modules:
            module.zero_grad(set_to_none=True)
    return norm


# ---------------------------------------------------------------------------------------------- averaging


def make_ema(run: Run, *modules: nn.Module) -> EMAModel | None:
    """An exponential moving average of the modules' trainable parameters, or None when ema_decay is 0."""
    if run.train.ema_decay == 0:
        return None
    return EMAModel(ema_parameters(*modules), decay=run.train.ema_decay)


def ema_parameters(*modules: nn.Module) -> list[nn.Parameter]:
    """The trainable parameters of the modules, in a fixed order."""
    return [p for module in modules for p in module.parameters() if p.requires_grad]


class averaged:
    """A context in which the modules carry their averaged weights; outside it, the trained ones."""

    def __init__(self, ema: EMAModel | None, *modules: nn.Module) -> None:
        self.ema, self.parameters = ema, ema_parameters(*modules)

    def __enter__(self) -> None:
        if self.ema:
            self.ema.store(self.parameters)
            self.ema.copy_to(self.parameters)

    def __exit__(self, *_: object) -> None:
        if self.ema:
            self.ema.restore(self.parameters)


# ---------------------------------------------------------------------------------------------- data order


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


class _Order(Sampler[list[tuple[int, int]]]):
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
    order = _Order(
        len(dataset), run.config.seed, first, accelerator.process_index, accelerator.num_processes, train
    )
    workers = run.config.data.num_workers
    loader = DataLoader(
        _Seeded(dataset, run.config.seed),
        batch_sampler=order,
        collate_fn=_Collate(collate),
        num_workers=workers,
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
            yield send_to_device(next(batches), accelerator.device)

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


# ---------------------------------------------------------------------------------------------- logs


def due(run: Run, step: int, every: int) -> bool:
    """Whether something done every so many steps is due once this step is finished (always at the last)."""
    return (step + 1) % every == 0 or step + 1 == run.train.steps


def checkpoint_due(run: Run, step: int) -> bool:
    """Whether to write a checkpoint after this step: at its interval, at the last step, or when asked to stop.

    All ranks get the same answer.
    """
    progress = run.progress
    progress.stop = progress.stop or time.monotonic() > progress.deadline
    if run.accelerator.num_processes > 1:
        asked = torch.tensor(float(progress.stop), device=run.accelerator.device)
        progress.stop = bool(run.accelerator.reduce(asked, "sum") > 0)
    return progress.stop or due(run, step, run.train.checkpoint_every)


def log(run: Run, step: int, values: dict[str, torch.Tensor | float | None]) -> None:
    """Check the loss and, when due, write the averages over ranks to the logs.

    Raises:
        TrainingError: values["loss"] is not finite; no checkpoint is written from this state.
    """
    train = run.train
    logging = due(run, step, train.log_every)
    if not (logging or due(run, step, train.checkpoint_every) or run.accelerator.device.type == "cpu"):
        return
    loss = float(values["loss"])  # type: ignore[arg-type]
    if not math.isfinite(loss):
        kept = latest_checkpoint(run.directory)
        raise TrainingError(
            f"the {run.stage} loss became {loss} at step {step}. The last good checkpoint is {kept or 'none'}. "
            f"Lower train.{run.stage}.learning_rate (now {train.learning_rate}) or max_grad_norm "
            f"(now {train.max_grad_norm}), then start again with another --out, or repeat the same command to "
            "go on from that checkpoint."
        )
    if not logging:
        return
    row: dict[str, float] = {}
    for name, value in values.items():
        if value is None:
            continue
        tensor = torch.as_tensor(value, dtype=torch.float64, device="cpu").reshape(())
        if run.accelerator.num_processes > 1:
            tensor = run.accelerator.reduce(tensor.to(run.accelerator.device, torch.float32), "mean").cpu()  # type: ignore[union-attr]
        row[name] = float(tensor)
    progress, now = run.progress, time.monotonic()
    clips = train.batch_size * train.gradient_accumulation_steps * run.accelerator.num_processes
    rate = (step + 1 - progress.logged_step) * clips / max(1e-9, now - progress.logged_time)
    progress.logged_step, progress.logged_time = step + 1, now
    row["learning_rate_factor"] = learning_rate_factor(train, step)
    log_row(run, step, row)
    run.accelerator.log({"clips_per_second": rate}, step=step)
    if progress.bar is not None:
        progress.bar.set_postfix({"loss": f"{row['loss']:.4f}", "clips/s": f"{rate:.1f}"})


def log_row(run: Run, step: int, row: dict[str, float]) -> None:
    """Write plain numbers of one step to metrics.jsonl and the trackers."""
    run.accelerator.log(row, step=step)
    if run.is_main:
        with (run.directory / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, **row}) + "\n")


# ---------------------------------------------------------------------------------------------- checkpoints


def latest_checkpoint(directory: Path) -> Path | None:
    """The newest complete checkpoint of a run folder, or None."""
    found = [p for p in (directory / "checkpoints").glob("step-*") if p.is_dir() and p.suffix != ".partial"]
    return max(found, default=None)


def checkpoint(run: Run, step: int, ema: EMAModel | None = None) -> None:
    """Write everything needed to go on after this step; a kill at any moment leaves the last good one.

    Raises:
        TrainingError: the disk is full or cannot be written; earlier checkpoints are untouched.
    """
    finished = run.directory / "checkpoints" / f"step-{step + 1:08d}"
    partial = finished.with_suffix(".partial")
    accelerator = run.accelerator
    try:
        if run.is_main and partial.exists():
            shutil.rmtree(partial)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(partial))
        if run.is_main:
            if ema:
                save_file(
                    {f"{i:05d}": p.detach().cpu().contiguous() for i, p in enumerate(ema.shadow_params)},
                    partial / "ema.safetensors",
                    metadata={"optimization_step": str(ema.optimization_step)},
                )
            _write_text(partial / "environment.json", json.dumps(environment(), indent=2))
            _write_text(partial / "config.yaml", dump_config(run.config))
            _sync(partial)
            if finished.exists():
                shutil.rmtree(finished)
            partial.replace(finished)
            kept = sorted(p for p in finished.parent.glob("step-*") if p.suffix != ".partial")
            for old in kept[: -run.train.keep_checkpoints]:
                shutil.rmtree(old)
    except OSError as error:
        raise TrainingError(
            f"could not write {finished}: {error}. Earlier checkpoints are untouched; free some space and repeat "
            "the same command to go on from the last one."
        ) from error
    accelerator.wait_for_everyone()


def resume(run: Run, ema: EMAModel | None = None) -> int:
    """Load the newest checkpoint into everything prepared, and return the first step still to do (or 0)."""
    found = latest_checkpoint(run.directory)
    if found is None:
        _cut_metrics(run, 0)
        return 0
    run.accelerator.load_state(str(found))
    if ema:
        with_step = load_file(found / "ema.safetensors")
        for shadow, name in zip(ema.shadow_params, sorted(with_step), strict=True):
            shadow.data.copy_(with_step[name])
        from safetensors import safe_open

        with safe_open(found / "ema.safetensors", "pt") as file:
            ema.optimization_step = int(file.metadata()["optimization_step"])
    there, here = json.loads((found / "environment.json").read_text()), environment()
    changed = [f"{key} was {there.get(key)}, is {here[key]}" for key in here if there.get(key) != here[key]]
    first = int(found.name.removeprefix("step-"))
    run.accelerator.print(f"going on from {found.name}" + (f" ({'; '.join(changed)})" if changed else ""))
    _cut_metrics(run, first)
    return first


def _cut_metrics(run: Run, first: int) -> None:
    """Drop logged lines of steps that will be done again."""
    path = run.directory / "metrics.jsonl"
    if run.is_main and path.exists():
        kept = [line for line in path.read_text().splitlines() if json.loads(line)["step"] < first]
        _write_text(path, "".join(line + "\n" for line in kept))
    run.accelerator.wait_for_everyone()


def environment() -> dict[str, Any]:
    """What bitwise repetition depends on: versions, machine and thread count."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {
        "torch": torch.__version__,
        "accelerate": accelerate.__version__,
        "python": platform.python_version(),
        "device": device,
        "threads": torch.get_num_threads(),
    }


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(text)
    temporary.replace(path)


def _sync(directory: Path) -> None:
    """Flush files and their folder to disk, so that the rename that follows never outruns them."""
    for path in (*directory.rglob("*"), directory):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def finish(run: Run) -> None:
    """Close loggers and process groups."""
    run.accelerator.wait_for_everyone()
    run.accelerator.end_training()


# ---------------------------------------------------------------------------------------------- command line


def main(stage: str, train: Callable[..., Path], argv: Sequence[str] | None = None) -> None:
    """The command line of one stage; `kinema train STAGE` and `accelerate launch -m kinema.STAGE.train` are this.

    A run folder holds the stages side by side (RUN/conditioner, RUN/vae, RUN/dit), so later ones find earlier.
    """
    parser = argparse.ArgumentParser(prog=f"kinema train {stage}", description=f"Train the {stage}.")
    parser.add_argument("--config", default="cpu", help="a preset or a YAML file (default: cpu)")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="the run folder; holds all stages")
    parser.add_argument("--dry-run", action="store_true", help="print parameters, tokens, memory, FLOPs; stop")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=f"e.g. train.{stage}.steps=200")
    args = parser.parse_args(argv)
    try:
        config = load_config(args.config, args.overrides)
    except ConfigError as error:
        parser.error(str(error))
    if args.dry_run:
        from kinema.dit.sizing import describe

        sys.stdout.write(describe(config) + "\n")
        return
    if int(os.environ.get("RANK", "0")) == 0:
        sys.stdout.write(dump_config(config))
    try:
        train(config, args.out / stage)
    except TrainingPaused as pause:
        sys.stdout.write(f"kinema train {stage}: {pause}\n")
    except TrainingError as error:
        sys.stdout.flush()
        raise SystemExit(f"kinema train {stage}: {error}") from error
