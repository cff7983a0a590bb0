"""A run: its settings, its folder, Accelerate's state, and when it stops."""

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import ProjectConfiguration, set_seed
from tqdm import tqdm

from ..configs import Config, dump_config, load_config
from ..configs.schema import TrainConfig
from .errors import TrainingError
from .origin import record_origin

# The environment variable by which a launcher bounds a stage's training time.
SECONDS_LEFT = "KINEMA_SECONDS_LEFT"

# Of a finished weight file, so that mail, forges and slow lines take it.
SHARD_SIZE = "15MB"

# Settings that may change between two starts of one run without making it another run.
_FREE_KEYS = ("log_every", "validate_every", "checkpoint_every", "keep_checkpoints", "num_workers", "steps",
              "learning_rate", "muon_learning_rate", "max_grad_norm")  # fmt: skip


@dataclass
class _Progress:
    """The progress bar, the clock behind the logged rate, and whether the run was asked to stop."""

    bar: "tqdm | None" = None
    logged_step: int = 0
    logged_time: float = 0.0
    deadline: float = math.inf  # time.monotonic() at which the run pauses
    stop: bool = False
    values: dict[str, Any] = field(default_factory=dict)  # of the last step: loss, grad_norm, …


@dataclass(frozen=True)
class Run:
    """One training run: its settings, its folder and Accelerate's state."""

    accelerator: Accelerator
    config: Config
    stage: str
    directory: Path
    progress: _Progress = field(default_factory=_Progress)

    @property
    def train(self) -> TrainConfig:
        """The settings of this stage's loop."""
        return getattr(self.config.train, self.stage)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return self.accelerator.is_main_process


def start_run(config: Config, stage: str, directory: Path, origin: Mapping[str, Any] | None = None) -> Run:
    """Set up Accelerate, the folder, the seed and the loggers of one stage.

    Args:
        config: the recipe.
        stage: which of its sections.
        directory: the run's folder.
        origin: what it begins from (`origin_of`); None: random weights.

    Raises:
        TrainingError: the folder holds a run with other settings, or begun from other weights; or the launch asks
            for sharded weights.
    """
    train: TrainConfig = getattr(config.train, stage)
    directory = Path(directory)
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        raise TrainingError(
            "this launch asks for FSDP, which the training loops do not do yet: they keep whole weights on every "
            "process. Choose plain multi-GPU in `accelerate config`"
        )
    accelerator = Accelerator(
        mixed_precision=train.mixed_precision,
        gradient_accumulation_steps=train.gradient_accumulation_steps,
        log_with=[*_loggers()],
        project_config=ProjectConfiguration(project_dir=str(directory), logging_dir=str(directory / "logs")),
    )
    begun = latest_checkpoint(directory) is not None
    if begun:
        _check_same_run(directory / "config.yaml", config, stage)
    if accelerator.is_main_process:
        for name in ("checkpoints", "samples"):
            (directory / name).mkdir(parents=True, exist_ok=True)
    record_origin(directory, origin or {}, begun=begun, write=accelerator.is_main_process)
    if accelerator.is_main_process:
        write_text(directory / "config.yaml", dump_config(config))
    accelerator.wait_for_everyone()
    set_seed(config.seed)
    accelerator.init_trackers(stage)
    run = Run(accelerator, config, stage, directory)
    if seconds := os.environ.get(SECONDS_LEFT):
        run.progress.deadline = time.monotonic() + float(seconds)
    return run


def latest_checkpoint(directory: Path) -> Path | None:
    """The newest complete checkpoint of a run folder, or None."""
    found = [p for p in (directory / "checkpoints").glob("step-*") if p.is_dir() and p.suffix != ".partial"]
    return max(found, default=None)


def check_finite(run: Run, step: int) -> None:
    """Raise a TrainingError if the loss or the gradient of the last step was not finite."""
    train = run.train
    for name in ("loss", "grad_norm"):
        value = float(run.progress.values.get(name, 0.0))
        if not math.isfinite(value):
            kept = latest_checkpoint(run.directory) or "none"
            raise TrainingError(
                f"the {run.stage} {name.replace('_', ' ')} became {value} at step {step}. The last good "
                f"checkpoint is {kept}. Lower learning_rate, muon_learning_rate or max_grad_norm of "
                f"train.{run.stage} (now {train.learning_rate}, {train.muon_learning_rate}, "
                f"{train.max_grad_norm}) and repeat the command to go on from there"
            )


def _loggers() -> list[str]:
    from importlib.util import find_spec

    return ["tensorboard", "wandb"] if find_spec("wandb") and os.environ.get("WANDB_API_KEY") else ["tensorboard"]


def _check_same_run(path: Path, config: Config, stage: str) -> None:
    if not path.is_file():
        return
    before, now = (_flatten(c.model_dump(mode="json")) for c in (load_config(path), config))
    ignored = [f"train.{other}." for other in ("conditioner", "vae", "dit", "judge") if other != stage] + [
        "name",
        "sample.",
    ]
    changed = [
        f"{key}: {before.get(key, 'nothing')} there, {now.get(key, 'nothing')} now"
        for key in {**before, **now}  # mappings, such as the shares of captions, have keys of their own
        if before.get(key) != now.get(key)
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


def time_is_up(run: Run) -> bool:
    """Whether this process was asked to stop, or has used the time it was given."""
    return run.progress.stop or time.monotonic() > run.progress.deadline


def due(run: Run, step: int, every: int) -> bool:
    """Whether something done every so many steps is due once this step is finished (always at the last)."""
    return (step + 1) % every == 0 or step + 1 == run.train.steps


def checkpoint_due(run: Run, step: int) -> bool:
    """Whether to write a checkpoint after this step: at its interval, at the last step, or when asked to stop.

    All ranks get the same answer.
    """
    progress = run.progress
    progress.stop = time_is_up(run)
    if run.accelerator.num_processes > 1:
        asked = torch.tensor(float(progress.stop), device=run.accelerator.device)
        progress.stop = bool(cast(torch.Tensor, run.accelerator.reduce(asked, "sum")).item() > 0)
    return progress.stop or due(run, step, run.train.checkpoint_every)


def write_text(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(text)
    temporary.replace(path)


def finish(run: Run) -> None:
    """Close loggers and process groups."""
    run.accelerator.wait_for_everyone()
    run.accelerator.end_training()
    # Accelerate keeps one precision per process; the next stage of a speedrun may want another.
    AcceleratorState._reset_state()
