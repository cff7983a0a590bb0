"""Optimizers and learning rates by parameter group, and averaged weights."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import nn

from ..configs.schema import TrainConfig
from .run import Run


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
        tables = {id(child.weight) for child in module.modules() if isinstance(child, nn.Embedding)}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            hidden_matrix = name.startswith(blocks) and "embed" not in name and _is_hidden_matrix(parameter)
            if train.optimizer == "muon" and hidden_matrix and id(parameter) not in tables:
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
