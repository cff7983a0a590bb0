"""The command line of a training stage."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..configs import ConfigError, dump_config, load_config
from .run import TrainingError, TrainingPaused


def main(stage: str, train: Callable[..., Path], argv: Sequence[str] | None = None) -> None:
    """The command line of one stage; `kinema train STAGE` and `accelerate launch -m kinema.STAGE.train` are this.

    A run folder holds the stages side by side (RUN/conditioner, RUN/vae, RUN/dit), so later ones find earlier.
    """
    parser = argparse.ArgumentParser(prog=f"kinema train {stage}", description=f"Train the {stage}.")
    parser.add_argument("--config", default="cpu", help="a preset or a YAML file (default: cpu)")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="the run folder; holds all stages")
    parser.add_argument(
        "--from", dest="start", default=None, metavar="CHECKPOINT",
        help="fine-tune: begin with this checkpoint's weights (a folder, a hub id, or default)",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="print parameters, tokens, memory, FLOPs; stop")
    parser.add_argument("--traceback", action="store_true", help="show the full traceback of an error")
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
        if args.start is None:
            train(config, args.out / stage)
        else:
            from kinema.pipeline.checkpoint import find_checkpoint

            start = find_checkpoint(None if args.start == "default" else args.start)
            train(config, args.out / stage, start=start)
    except TrainingPaused as pause:
        sys.stdout.write(f"kinema train {stage}: {pause}\n")
    except (TrainingError, OSError, ValueError) as error:
        if args.traceback:
            raise
        sys.stdout.flush()
        raise SystemExit(f"kinema train {stage}: {error}") from error
