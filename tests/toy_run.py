"""A whole training run on a toy problem, through every function of kinema.trainer; run as a program by its tests.

python toy_run.py FOLDER STEPS BATCH [key=value ...]; the environment's KILL_AT ends the process hard at that step.
"""

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from kinema.configs import load_config
from kinema.trainer import (
    add_up,
    checkpoint,
    checkpoint_due,
    clip_and_step,
    finish,
    log,
    make_ema,
    make_optimizers,
    resume,
    set_learning_rates,
    start_run,
    training_steps,
)


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.filters = nn.ModuleList([nn.Conv1d(16, 16, 3, padding=1)])  # its kernel is Muon's through a view
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        for block in self.blocks:
            x = x + torch.tanh(block(x))
        seen = self.filters[0](x[:, None].expand(-1, 16, -1)).mean(dim=1)
        return self.head(x + seen)


class Points:
    """Item i is a fixed point; its target is the sum of its coordinates."""

    def __len__(self):
        return 24

    def __getitem__(self, index):
        x = torch.randn(8, generator=torch.Generator().manual_seed(index))
        return {"x": x, "y": x.sum()[None]}


def collate(items):
    return {key: torch.stack([item[key] for item in items]) for key in items[0]}


def main(folder, steps, batch, *overrides):
    torch.set_num_threads(1)
    sizes = [f"train.vae.steps={steps}", f"train.vae.batch_size={batch}", "train.vae.checkpoint_every=2"]
    config = load_config("tiny", [*sizes, "train.vae.log_every=1", "train.vae.optimizer=muon", *overrides])
    run = start_run(config, "vae", Path(folder))
    model = run.accelerator.prepare(Toy())
    optimizers = make_optimizers(run, model)
    ema = make_ema(run, model)
    first = resume(run, ema)
    for step, batches in training_steps(run, Points(), collate, first):
        set_learning_rates(run, optimizers, step)
        values = {}
        for data in batches:
            with run.accelerator.accumulate(model):
                noise = [torch.Generator().manual_seed(int(s)) for s in data["sample_seed"]]
                jitter = torch.stack([torch.randn(8, generator=g) for g in noise])
                loss = (model(data["x"] + 0.1 * jitter) - data["y"]).square().mean()
                if os.environ.get("POISON_GRADIENT_AT") == str(step):
                    loss = loss + (0.0 * run.accelerator.unwrap_model(model).head.bias.sum()).sqrt()
                run.accelerator.backward(loss)
                norm = clip_and_step(run, optimizers, model)
                values = add_up(run, values, norm, loss=loss)
        if ema:
            ema.step(model.parameters())
        if os.environ.get("POISON_AT") == str(step):
            values["loss"] = torch.tensor(float("nan"))
        log(run, step, values)
        if os.environ.get("KILL_AT") == str(step):
            os.kill(os.getpid(), 9)
        if os.environ.get("TERM_AT") == str(step):
            os.kill(os.getpid(), 15)
        if os.environ.get("TERM_ALL_AT") == str(step):
            subprocess.run(["kill", "-TERM", "--", f"-{os.getpgrp()}"])  # loaders know the trainer's own signal
        if checkpoint_due(run, step):
            checkpoint(run, step, ema)
    finish(run)


if __name__ == "__main__":
    main(sys.argv[1], *sys.argv[2:])
