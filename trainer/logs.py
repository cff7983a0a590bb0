"""What a run tells on the way: metrics.jsonl, the trackers, the progress bar; and the check for NaN."""

import json
import time
from typing import Any

import torch

from .optimizers import learning_rate_factor
from .run import Run, check_finite, due


def add_up(
    run: Run, total: dict[str, Any], grad_norm: torch.Tensor | None, **values: torch.Tensor
) -> dict[str, Any]:
    """The averages over a step's micro-batches so far; the gradient's norm comes with the last of them."""
    share = 1 / run.train.gradient_accumulation_steps
    added = {name: total.get(name, 0.0) + share * value.detach() for name, value in values.items()}
    return total | added | ({} if grad_norm is None else {"grad_norm": grad_norm})


def log(run: Run, step: int, values: dict[str, Any]) -> None:
    """Check the loss and the gradient and, when due, write the averages over ranks to the logs.

    On a GPU the check waits for steps that are logged or kept, since it has to wait for the device.

    Raises:
        TrainingError: values["loss"] or values["grad_norm"] is not finite; no checkpoint holds this state.
    """
    train = run.train
    run.progress.values = values
    logging = due(run, step, train.log_every)
    if logging or run.accelerator.device.type == "cpu":
        check_finite(run, step)
    if not logging:
        return
    row: dict[str, float] = {}
    for name, value in values.items():
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
