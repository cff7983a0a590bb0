"""The `kinema` command: parses arguments and hands over; each command's work lives beside its subject.

Imports happen after parsing, so that `kinema --help` answers at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STAGES = ("conditioner", "vae", "dit", "judge")


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; exits with 2 on wrong arguments and 1 on an error that the user can mend."""
    argv = list(sys.argv[1:] if argv is None else argv)
    asked = argv[:1] if argv[:1] == ["--traceback"] else []
    match argv[len(asked) :]:
        case ["train", stage, *rest] if stage in STAGES:  # each stage has its own parser
            return _train(stage, [*asked, *rest])
    args = build_parser().parse_args(argv)
    if args.command == "train":
        return _train(args.stage, [])
    try:
        _dispatch(args)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        if args.traceback:
            raise
        raise SystemExit(f"kinema {args.command}: {error}") from error


class _Parser(argparse.ArgumentParser):
    """A parser to which --step is a mistake, not --steps."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command; building it imports nothing heavy."""
    from kinema import __version__

    parser = argparse.ArgumentParser(prog="kinema", description="Text-to-video, trained from scratch.")
    parser.add_argument("--version", action="version", version=f"kinema {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show the full traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    generate = commands.add_parser("generate", help="make a video from a prompt")
    generate.add_argument("prompt", help="what should happen, in quotes")
    generate.add_argument(
        "-o", "--output", type=Path, default=Path("kinema.mp4"), help=".mp4, .mov, .mkv, .gif or .png"
    )
    generate.add_argument("--model", default=None, help="folder or hub id (default: the packaged checkpoint)")
    generate.add_argument("--negative", default=None, metavar="PROMPT", help="what to keep out")
    generate.add_argument("--seed", type=int, default=None, help="default: drawn, and written into the file")
    generate.add_argument("--steps", type=int, default=None, help="denoising steps")
    generate.add_argument("--guidance", type=float, default=None, help="guidance scale; 1 switches it off")
    generate.add_argument("--height", type=int, default=None, help="pixels")
    generate.add_argument("--width", type=int, default=None, help="pixels")
    length = generate.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=float, default=None, help="length; must fit the model's stride")
    length.add_argument("--frames", type=int, default=None, help="length in frames")
    generate.add_argument("--fps", type=float, default=None, help="frames per second")
    generate.add_argument("--num", type=int, default=1, help="how many videos")
    generate.add_argument("--device", default=None, help="cpu, cuda, cuda:1, mps (default: the best there is)")
    generate.add_argument("--dtype", default=None, choices=["float32", "bfloat16", "float16"])
    generate.add_argument("--quiet", action="store_true", help="no progress bar")

    info = commands.add_parser("info", help="how a video was made, from its own metadata")
    info.add_argument("file", type=Path)
    info.add_argument("--as-command", action="store_true", help="print the command that makes it again")

    train = commands.add_parser("train", help="train one model: kinema train vae --config cpu --out RUN")
    train.add_argument("stage", choices=STAGES)

    speedrun = commands.add_parser("speedrun", help="the whole recipe, from nothing to a report with pictures")
    speedrun.add_argument("--preset", default="cpu-nano", help="a preset or a YAML file")
    speedrun.add_argument("--out", type=Path, default=None, metavar="RUN", help="default: runs/NAME of the preset")
    speedrun.add_argument("--minutes", type=float, default=None, help="stop cleanly; the same command goes on")
    speedrun.add_argument("overrides", nargs="*", metavar="key=value")

    package = commands.add_parser("package", help="turn a finished run into one checkpoint folder")
    package.add_argument("run", type=Path, metavar="RUN")
    package.add_argument("--out", type=Path, required=True)

    corpus = commands.add_parser("corpus", help="write a corpus of clips with captions")
    corpus.add_argument("name", choices=["diorama"])
    corpus.add_argument("--n", type=int, default=64, help="clips")
    corpus.add_argument("--out", type=Path, required=True)
    corpus.add_argument("--seed", type=int, default=0)
    corpus.add_argument("--split", choices=["train", "heldout"], default="train")
    corpus.add_argument("--level", type=int, nargs="+", default=[0, 3], help="difficulty, or lowest and highest")
    corpus.add_argument("--height", type=int, default=128)
    corpus.add_argument("--width", type=int, default=128)
    corpus.add_argument("--frames", type=int, default=33)
    corpus.add_argument("--fps", type=float, default=8.0)
    corpus.add_argument("--workers", type=int, default=None, help="processes (default: one a core)")

    caption = commands.add_parser("caption", help="caption a folder of videos densely, with scores")
    caption.add_argument("source", type=Path)
    caption.add_argument("--out", type=Path, required=True)
    caption.add_argument("--captioner", type=Path, default=None, help="default: the packaged captioner")
    caption.add_argument("--device", default=None, help="cpu, cuda, cuda:1 (default: cuda if there is one)")

    evaluate = commands.add_parser("eval", help="let a checkpoint sit the exam: does it do what prompts say?")
    evaluate.add_argument("checkpoint", nargs="*", help="one, or two to compare (default: the packaged one)")
    evaluate.add_argument("--out", type=Path, default=None, help="default: runs/eval; of --clips: runs/eval-clips")
    evaluate.add_argument("--show", action="store_true", help="print the list's ids and prompts, and stop")
    evaluate.add_argument("--quick", action="store_true", help="24 prompts instead of the whole exam")
    evaluate.add_argument("--list", default="full", help="full, test, probe, dev, quick, or a file of prompts")
    evaluate.add_argument("--prompts", type=int, default=None, help="only the first so many of the list")
    evaluate.add_argument(
        "--repeats", type=int, default=None, help="clips a prompt (default: 4 of full, else 1 or 2)"
    )
    evaluate.add_argument(
        "--clips", type=Path, default=None, help="a folder of videos named after the prompts' ids"
    )
    evaluate.add_argument("--partial", action="store_true", help="with --clips: judge what is there")
    evaluate.add_argument("--seed", type=int, default=0, help="which sitting: another shares no noise with it")
    evaluate.add_argument("--steps", type=int, default=None)
    evaluate.add_argument("--guidance", type=float, default=None)
    evaluate.add_argument("--workers", type=int, default=None, help="reading processes (default: one a core)")
    evaluate.add_argument("--device", default=None, help="cpu, cuda, cuda:1, mps (default: the best there is)")
    evaluate.add_argument("--dtype", default=None, choices=["float32", "bfloat16", "float16"])
    evaluate.add_argument("--quiet", action="store_true", help="no progress bars")

    serve = commands.add_parser("serve", help="open the demo in a browser")
    serve.add_argument("--model", default=None, help="folder or hub id (default: the packaged checkpoint)")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=7860)

    commands.add_parser("doctor", help="what this machine has, and how to mend what is missing")
    return parser


def _train(stage: str, argv: Sequence[str]) -> None:
    if stage == "conditioner":
        from kinema.conditioner.train import train
    elif stage == "vae":
        from kinema.vae.train import train
    elif stage == "judge":
        from kinema.eval.judge.train import train
    else:
        from kinema.dit.train import train
    from kinema.trainer import main as train_main

    train_main(stage, train, argv)


def _dispatch(args: argparse.Namespace) -> None:
    match args.command:
        case "generate":
            from kinema.pipeline.command import generate as command
        case "info":
            from kinema.pipeline.command import info as command
        case "speedrun":
            from kinema.speedrun import command
        case "package":
            from kinema.speedrun import package_command as command
        case "corpus":
            from kinema.data.corpus import command
        case "caption":
            from kinema.captioner.command import command
        case "eval":
            from kinema.eval.command import command
        case "serve":
            from kinema.app import serve as command
        case _:
            from kinema.doctor import command
    command(args)


if __name__ == "__main__":
    main()
