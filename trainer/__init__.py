"""What the three training loops share, as functions.

`vae/train.py`, `conditioner/train.py` and `dit/train.py` each hold a complete, visible loop; this package gives
them Accelerate's set-up, optimizers, the data order, averaging, checkpoints, logs and the command line.

A run is a folder:

    config.yaml              the resolved configuration
    origin.json              what it began from: empty, or the checkpoint of --from
    metrics.jsonl            one line a logged step
    logs/                    TensorBoard
    drawn/                   which caption each clip was shown with
    samples/                 pictures made on the way
    checkpoints/step-N/      everything needed to go on after N steps; written whole or not at all
    final/                   the finished component

The same command on the same folder goes on from the last checkpoint and gives the losses an uninterrupted run
would have given: the data order and every random draw are functions of (seed, epoch, sample), not of history.

| module        | purpose                                                        |
|---------------|----------------------------------------------------------------|
| `run`         | settings, folder, Accelerate, when to stop                     |
| `optimizers`  | AdamW and Muon by parameter group, learning rates, averages    |
| `origin`      | what a fine-tuning run begins from                             |
| `order`       | the order of samples and the loop over it                      |
| `logs`        | metrics and the check for NaN                                  |
| `drawn`       | which caption each clip was shown with                         |
| `checkpoints` | written whole or not at all, and resumed                       |
| `errors`      | how a run ends early                                           |
| `command`     | the command line of a stage                                    |
"""

from .checkpoints import checkpoint, environment, resume
from .command import main
from .drawn import Drawn, read_drawn
from .errors import TrainingError, TrainingPaused
from .logs import add_up, log, log_row
from .optimizers import (
    averaged,
    clip_and_step,
    ema_parameters,
    learning_rate_factor,
    make_ema,
    make_optimizers,
    set_learning_rates,
)
from .order import BatchOrder, open_data, sample_seed, training_steps
from .origin import copy_weights, origin_of
from .run import (
    SECONDS_LEFT,
    SHARD_SIZE,
    Run,
    checkpoint_due,
    due,
    finish,
    latest_checkpoint,
    start_run,
    time_is_up,
)

__all__ = [
    "SECONDS_LEFT",
    "SHARD_SIZE",
    "BatchOrder",
    "Drawn",
    "Run",
    "TrainingError",
    "TrainingPaused",
    "add_up",
    "averaged",
    "checkpoint",
    "checkpoint_due",
    "clip_and_step",
    "copy_weights",
    "due",
    "ema_parameters",
    "environment",
    "finish",
    "latest_checkpoint",
    "learning_rate_factor",
    "log",
    "log_row",
    "main",
    "make_ema",
    "make_optimizers",
    "open_data",
    "origin_of",
    "read_drawn",
    "resume",
    "sample_seed",
    "set_learning_rates",
    "start_run",
    "time_is_up",
    "training_steps",
]
