"""The `kinema` command: parses arguments and hands over; each command's work lives beside its subject.

Imports happen after parsing, so that `kinema --help` answers at once.
"""

import argparse
import atexit
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STAGES = ("conditioner", "vae", "dit", "judge")
TASKS = ("storyboard", "extend", "loop", "connect", "remix", "inpaint", "outpaint", "blend", "stream")
FITS = ("cover", "contain", "stretch")


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


def run() -> None:
    """`main` as the installed command; when videos were made, out at once.

    Taking torch, transformers and diffusers apart again, object by object, takes the interpreter over a second.
    Whatever is still at work (a thread that is no daemon) is waited for as usual.
    """
    main()
    at_work = [each for each in threading.enumerate() if not each.daemon and each is not threading.main_thread()]
    if sys.argv[1:2] and sys.argv[1] in ("generate", *TASKS) and not at_work:
        sys.stdout.flush()
        sys.stderr.flush()
        atexit._run_exitfuncs()  # closes logs, removes temporary folders
        os._exit(0)


class _Parser(argparse.ArgumentParser):
    """A parser to which --step is a mistake, not --steps; and which takes a prompt also after options."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        for option in ("--keyframe", "--box"):  # -1=last.png is no option
            while option in words[:-1]:
                at = words.index(option)
                words[at : at + 2] = [f"{option}={words[at + 1]}"]
        namespace, rest = super().parse_known_args(words, namespace)
        if getattr(namespace, "words", None) is not None:  # of caption: words also after options
            namespace.words += [word for word in rest if not word.startswith("-")]
            rest = [word for word in rest if word.startswith("-")]
        if len(rest) == 1 and not rest[0].startswith("-") and getattr(namespace, "prompt", None) == "":
            namespace.prompt = rest.pop()
        return namespace, rest


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command; building it imports nothing heavy."""
    from kinema import __version__

    parser = argparse.ArgumentParser(prog="kinema", description="Text-to-video, trained from scratch.")
    parser.add_argument("--version", action="version", version=f"kinema {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show the full traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    _add_making(commands)

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
    package.add_argument(
        "--from", dest="start", default=None, metavar="CHECKPOINT", help="of a fine-tuning run: what it began from"
    )

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

    _add_caption(commands)

    evaluate = commands.add_parser("eval", help="let a checkpoint sit the exam: does it do what prompts say?")
    evaluate.add_argument("checkpoint", nargs="*", help="one, or two to compare (default: the packaged one)")
    evaluate.add_argument("--out", type=Path, default=None, help="default: runs/eval; of --clips: runs/eval-clips")
    evaluate.add_argument("--show", action="store_true", help="print the list's ids and prompts, and stop")
    evaluate.add_argument("--quick", action="store_true", help="24 prompts instead of the whole exam")
    evaluate.add_argument(
        "--list", default="full", help="full, test, probe, dev, quick, simple-test, simple-dev, or a file"
    )
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

    from kinema.studio.command import add_options as add_serve_options

    add_serve_options(commands.add_parser("serve", help="open the studio: pages and REST API on one queue"))

    commands.add_parser("doctor", help="what this machine has, and how to mend what is missing")
    return parser


def _add_making(commands: Any) -> None:
    """The commands that make videos."""
    generate = commands.add_parser("generate", help="make a video or picture from a prompt")
    generate.add_argument("prompt", help="what should happen, in quotes")
    _add_pictures(generate)
    _add_length(generate)
    _add_sampling(generate, aspect=True)

    storyboard = commands.add_parser("storyboard", help="make a video whose texts follow one another")
    storyboard.add_argument(
        "texts", nargs="+", metavar="START:TEXT",
        help='such as "0:a red car drives left" "1.5:the car bounces", START in seconds; or one file, .json or '
        ".yaml, a list of {at, text} with an image where a text begins with one",
    )  # fmt: skip
    storyboard.add_argument(
        "--picture", action="append", default=[], metavar="START=FILE", help="what the text at START begins with"
    )
    _add_pictures(storyboard)
    _add_length(storyboard)
    _add_sampling(storyboard, aspect=True)

    extend = commands.add_parser("extend", help="make a video go on, or begin earlier")
    extend.add_argument("video", help="file or URL")
    extend.add_argument("prompt", nargs="?", default="", help="what happens in the new frames")
    extend.add_argument("--seconds", type=float, required=True, help="how much is added")
    extend.add_argument("--backward", action="store_true", help="before the beginning")
    extend.add_argument("--context", type=int, default=None, help="given frames that the model sees at a time")
    _add_sampling(extend, fit=True)

    loop = commands.add_parser("loop", help="make a video that can be played round and round")
    loop.add_argument("source", metavar="VIDEO_OR_PROMPT", help="file or URL; or the text of one to make first")
    loop.add_argument("prompt", nargs="?", default="", help="what happens in the transition")
    loop.add_argument("--seconds", type=float, default=None, help="of the transition (default: about 1)")
    loop.add_argument("--frames", type=int, default=None, help="of a prompt: length of what is made first")
    _add_sampling(loop, fit=True)

    connect = commands.add_parser("connect", help="join two videos by a transition")
    connect.add_argument("a", help="file or URL")
    connect.add_argument("b", help="file or URL")
    connect.add_argument("prompt", nargs="?", default="", help="what happens in the transition")
    connect.add_argument("--seconds", type=float, default=1.0, help="of the transition")
    _add_sampling(connect, fit=True)

    remix = commands.add_parser("remix", help="make a video into another by a text")
    remix.add_argument("video", help="file or URL")
    remix.add_argument("prompt", help="what it becomes")
    remix.add_argument("--strength", type=float, default=0.6, help="0 gives the video back, 1 ignores it")
    remix.add_argument("--frames", type=int, default=None, help="take only the first so many")
    _add_sampling(remix, fit=True)

    inpaint = commands.add_parser("inpaint", help="make a part of a video or picture anew")
    inpaint.add_argument("video", help="file or URL")
    inpaint.add_argument("prompt", help="what the whole shows then")
    where = inpaint.add_mutually_exclusive_group(required=True)
    where.add_argument("--mask", default=None, help="picture or video, white where it is made anew")
    where.add_argument(
        "--box", action="append", default=[], metavar="[TIME:]X0,Y0,X1,Y1",
        help="pixels, or fractions with a point in them; again with TIME (2 a frame, 0.5s seconds) it moves",
    )  # fmt: skip
    inpaint.add_argument("--strength", type=float, default=None, help="start from what is there: below 1")
    inpaint.add_argument("--frames", type=int, default=None, help="take only the first so many")
    _add_sampling(inpaint, fit=True)

    outpaint = commands.add_parser("outpaint", help="make what lies round a video or picture")
    outpaint.add_argument("video", help="file or URL")
    outpaint.add_argument("prompt", nargs="?", default="", help="what the whole shows")
    outpaint.add_argument("--frames", type=int, default=None, help="take only the first so many")
    _add_sampling(outpaint, aspect=True, fit=True)

    blend = commands.add_parser("blend", help="pass from one video to another of its length")
    blend.add_argument("a", help="file or URL")
    blend.add_argument("b", help="file or URL")
    blend.add_argument("prompt", nargs="?", default="", help="what the frames between show")
    blend.add_argument(
        "--schedule", default="linear", help="linear, ease, or a weight of b for each frame: 0,0.1,…"
    )
    blend.add_argument("--strength", type=float, default=0.6, help="how freely the frames between are made")
    blend.add_argument("--frames", type=int, default=None, help="take only the first so many")
    _add_sampling(blend, fit=True)

    stream = commands.add_parser("stream", help="make a video of any length, written while it is made")
    stream.add_argument(
        "texts", nargs="+", metavar="PROMPT", help="a prompt, or a storyboard: START:TEXT …, or a file"
    )
    stream.add_argument("--seconds", type=float, default=None, help="length (default: until Ctrl-C)")
    stream.add_argument("--image", default=None, metavar="FILE", help="the first frame")
    stream.add_argument("--video", default=None, metavar="FILE", help="what comes first, and goes on")
    stream.add_argument(
        "--picture", action="append", default=[], metavar="START=FILE", help="what the text at START begins with"
    )
    stream.add_argument("--window", type=int, default=None, help="blocks that a block sees, itself included")
    stream.add_argument("--context-noise", type=float, default=None, help="noise level at which it sees them")
    stream.add_argument("--block", type=int, default=None, help="latent frames that are made together")
    _add_sampling(stream, aspect=True, fit=True, num=False)


def _add_caption(commands: Any) -> None:
    caption = commands.add_parser(
        "caption",
        help="turn videos into a captioned, scored dataset that can be trained on",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="kinema caption SOURCE --out DATASET [section.key=value …]\n"
        "       kinema caption STAGE DATASET\n"
        "       kinema caption report|review DATASET",
        description="Turn videos into a captioned, scored dataset that can be trained on.\n\n"
        "  kinema caption videos --out dataset       all stages; the same command goes on after a kill\n"
        "  kinema caption --out dataset              go on with the dataset's own source and settings\n"
        "  kinema caption ingest videos --out dataset\n"
        "  kinema caption shots dataset              one stage alone, of: shots, signals, filters, captions,\n"
        "                                            checks, media, dataset\n"
        "  kinema caption report dataset             report.html: histograms, funnel, kept and rejected clips\n"
        "  kinema caption review dataset             a screen to edit, accept and reject captions",
        epilog="A setting is section.key=value, such as shots.max_seconds=6 or filters.max_text_area=0.05; the\n"
        "dataset's config.yaml lists all of them. A dataset keeps the settings it was begun with: others are\n"
        "refused there, unless --redo says from which stage on they hold.",
    )
    add = caption.add_argument
    add(
        "words", nargs="*", metavar="SOURCE",
        help="a folder, file list, glob, fsspec URL (s3://…), or manifest (Parquet, CSV, JSONL)",
    )  # fmt: skip
    add("--out", type=Path, default=None, metavar="DATASET", help="folder of the dataset, outside of the source")
    add("--config", type=Path, default=None, metavar="FILE", help="settings as YAML, by section")
    add("--redo", default=None, metavar="STAGE", help="make this stage and what follows from it anew")
    writer = caption.add_argument_group("who writes the captions")
    add = writer.add_argument
    add(
        "--backend", choices=["captioner", "transformers", "openai", "open_clip"], default=None,
        help="our captioner (default; it knows the built-in world only), a transformers vision-language model, "
        "any OpenAI-compatible endpoint, or an open_clip CoCa",
    )  # fmt: skip
    add("--model", default=None, help="name or folder of its model")
    add("--base-url", default=None, metavar="URL", help="of the endpoint; implies --backend openai")
    add("--captioner", type=Path, default=None, metavar="DIR", help="another model for our captioner")
    add("--budget", type=float, default=None, metavar="MONEY", help="stop, resumable, before spending more")
    run = caption.add_argument_group("how the work is done")
    add = run.add_argument
    add("--engine", choices=["local", "ray"], default=None, help="this machine (default), or Ray: kinema[ray]")
    add("--workers", type=int, default=None, help="default: one a core")
    add("--device", default=None, help="cpu, cuda, cuda:1 (default: cuda if there is one)")
    review = caption.add_argument_group("review")
    review.add_argument("--reviewer", default=None, metavar="NAME", help="who reviews (default: your user name)")
    review.add_argument("--port", type=int, default=None, help="of the screen (default: a free one)")


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", default=None, metavar="FILE", help="the first frame")
    parser.add_argument(
        "--keyframe", action="append", default=[], metavar="TIME=FILE",
        help="a picture on the way: TIME is a frame (-1: the last) or seconds (1.5s); may be given again",
    )  # fmt: skip
    parser.add_argument("--fit", choices=FITS, default="cover", help="of pictures of another shape")


def _add_length(parser: argparse.ArgumentParser) -> None:
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=float, default=None, help="length; the nearest that the model makes")
    length.add_argument("--frames", type=int, default=None, help="length in frames")


def _add_sampling(
    parser: argparse.ArgumentParser, *, aspect: bool = False, fit: bool = False, num: bool = True
) -> None:
    """What every command that makes videos has: where to, with which model, and how."""
    add = parser.add_argument
    add("-o", "--output", type=Path, default=Path("kinema.mp4"), help=".mp4, .mov, .mkv, .gif or .png")
    add("--model", default=None, help="folder or hub id (default: the packaged checkpoint)")
    add("--lora", action="append", default=[], metavar="PATH[:SCALE]", help="a LoRA adapter; may be given again")
    add("--negative", default=None, metavar="PROMPT", help="what to keep out")
    add("--seed", type=int, default=None, help="default: drawn, and written into the file")
    add("--steps", type=int, default=None, help="denoising steps")
    add("--guidance", type=float, default=None, help="guidance scale; 1 switches it off")
    add("--height", type=int, default=None, help="pixels (default: of what is given, else the model's own)")
    add("--width", type=int, default=None, help="pixels")
    if aspect:
        add("--aspect", default=None, metavar="W:H", help="such as 9:16, instead of height and width")
    add("--fps", type=float, default=None, help="frames per second")
    if fit:
        add("--fit", choices=FITS, default="cover", help="of given frames of another shape")
    if num:
        add(
            "--compatible", action="store_true",
            help="a file that every player shows, though given frames change a little in it",
        )  # fmt: skip
        add("--num", type=int, default=1, help="how many videos")
    add("--device", default=None, help="cpu, cuda, cuda:1, mps (default: the best there is)")
    add("--dtype", default=None, choices=["float32", "bfloat16", "float16"])
    add("--quiet", action="store_true", help="no progress bar")


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
        case name if name in TASKS:
            from kinema.pipeline import task_commands

            command = getattr(task_commands, name)
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
            from kinema.studio.command import command
        case _:
            from kinema.doctor import command
    command(args)


if __name__ == "__main__":
    run()
