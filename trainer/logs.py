"""What a run tells on the way: metrics.jsonl, the trackers, the progress bar; and the check for NaN."""

import json
import math
import time

import torch

from .checkpoints import latest_checkpoint
from .optimizers import learning_rate_factor
from .run import Run, TrainingError, due


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
