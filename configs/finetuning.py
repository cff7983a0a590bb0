"""What changes in a checkpoint's recipe when it is trained further and no other configuration is given."""

from collections.abc import Mapping
from typing import Any

from .load import load_config
from .schema import Config

RATE = 0.2  # of the recipe's learning rates: what is learned already is to be kept

# An adapter for a folder of some dozen clips; a few minutes on one CPU core for the packaged checkpoint.
LORA: Mapping[str, Any] = {
    "data.fps_choices": [],
    "data.num_workers": 0,
    "flow.image_warmup": 0,
    "flow.image_fraction": 0.05,
    "train.dit.steps": 400,
    "train.dit.batch_size": 8,
    "train.dit.gradient_accumulation_steps": 1,
    "train.dit.optimizer": "adamw",
    "train.dit.learning_rate": 2e-3,
    "train.dit.weight_decay": 0.0,
    "train.dit.warmup_steps": 10,
    "train.dit.schedule": "cosine",
    "train.dit.ema_decay": 0.98,
    "train.dit.log_every": 10,
    "train.dit.validate_every": 100,
    "train.dit.checkpoint_every": 100,
    "train.dit.validation_clips": 4,
    "train.dit.train_text_encoder": False,
    "sample.prompts": [],  # captions of the clips instead
}


def fine_tuning(recipe: Config, stage: str) -> dict[str, Any]:
    """Changes for training a whole model further: no warm-up on images, gentler learning rates."""
    train = getattr(recipe.train, stage)
    return {
        "flow.image_warmup": 0,
        f"train.{stage}.learning_rate": round(train.learning_rate * RATE, 10),
        f"train.{stage}.muon_learning_rate": round(train.muon_learning_rate * RATE, 10),
    }


def with_changes(recipe: str, changes: Mapping[str, Any], overrides: list[str]) -> Config:
    """A recipe's file with changes, and over these the overrides."""
    return load_config(recipe, [*(f"{key}={value}" for key, value in changes.items()), *overrides])
