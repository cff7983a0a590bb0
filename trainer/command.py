"""The command line of a training stage."""

import argparse
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..configs import Config, ConfigError, dump_config, load_config
from ..configs.finetuning import LORA, fine_tuning, with_changes
from .errors import TrainingError, TrainingPaused

FINE_TUNED = ("conditioner", "vae", "dit")  # stages whose models are parts of a checkpoint
RECIPE = "recipe.yaml"  # of a checkpoint: the configuration that trained it


def main(stage: str, train: Callable[..., Path], argv: Sequence[str] | None = None) -> None:
    """The command line of one stage; `kinema train STAGE` and `accelerate launch -m kinema.STAGE.train` are this.

    A run folder holds the stages side by side (RUN/conditioner, RUN/vae, RUN/dit), so later ones find earlier.
    """
    parser = argparse.ArgumentParser(prog=f"kinema train {stage}", description=f"Train the {stage}.")
    parser.add_argument(
        "--config",
        default=None,
        help="a preset or a YAML file (default: cpu; with --from, the checkpoint's recipe)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="the run folder; holds all stages")
    parser.set_defaults(start=None, lora=None)
    if stage in FINE_TUNED:
        parser.add_argument(
            "--from", dest="start", metavar="CHECKPOINT",
            help="fine-tune: begin with this checkpoint's weights (a folder, a hub id, or default)",
        )  # fmt: skip
    if stage == "dit":
        parser.add_argument(
            "--lora", metavar="rank=16,…",
            help="with --from: train an adapter only; also alpha=16,target=attn+cross_attn+ff,rehearse=48",
        )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="print parameters, tokens, memory, FLOPs; stop")
    parser.add_argument("--traceback", action="store_true", help="show the full traceback of an error")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=f"e.g. train.{stage}.steps=200")
    args = parser.parse_args(argv)
    if args.lora is not None and args.start is None:
        parser.error("--lora trains an adapter of a checkpoint: say which, such as --from default")
    is_main = int(os.environ.get("RANK", "0")) == 0
    try:
        options = starting_options(args)
        config, said = configuration(stage, args, options.get("start"))
    except (ConfigError, OSError, ValueError, ImportError) as error:
        if args.traceback:
            raise
        parser.error(str(error))
    if args.dry_run:
        from kinema.dit.sizing import describe

        sys.stdout.write(describe(config) + "\n")
        return
    if is_main:
        sys.stdout.write(f"{said}{dump_config(config)}")
    try:
        train(config, args.out / stage, **options)
    except TrainingPaused as pause:
        sys.stdout.write(f"kinema train {stage}: {pause}\n")
    except (TrainingError, OSError, ValueError) as error:
        if args.traceback:
            raise
        sys.stdout.flush()
        raise SystemExit(f"kinema train {stage}: {error}") from error


def starting_options(args: argparse.Namespace) -> dict[str, Any]:
    """What the stage's `train` is given besides the configuration: `start`, `lora`.

    Raises:
        CheckpointError: the checkpoint cannot be found.
        ValueError: an adapter that cannot be.
        ImportError: adapters need PEFT.
    """
    options: dict[str, Any] = {}
    if args.start is not None:
        from kinema.pipeline.checkpoint import find_checkpoint

        options["start"] = find_checkpoint(None if args.start == "default" else args.start)
    if args.lora is not None:
        from kinema.dit.lora import read_settings

        options["lora"] = read_settings(args.lora)
    return options


def configuration(stage: str, args: argparse.Namespace, start: Path | None) -> tuple[Config, str]:
    """The configuration to train by, and a comment that says where it comes from if that was not asked for."""
    if start is None or args.config is not None:
        return load_config(args.config or "cpu", args.overrides), ""
    recipe = start / RECIPE
    if not recipe.is_file():
        raise ConfigError(f"{start} has no {RECIPE}; give the configuration that it was trained with (--config)")
    changes = dict(LORA) if args.lora is not None else fine_tuning(load_config(recipe), stage)
    said = ", ".join(f"{key}={value}" for key, value in changes.items())
    lines = textwrap.wrap(f"The recipe of {args.start}, with {said}", 100, break_long_words=False)
    return with_changes(str(recipe), changes, args.overrides), "".join(f"# {line}\n" for line in lines)
