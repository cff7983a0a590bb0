"""`kinema caption`: a heap of videos becomes a curated, captioned, scored dataset.

kinema caption SOURCE --out DATASET                every stage; the same command goes on after a kill
kinema caption --out DATASET                       goes on with the dataset's own source and settings
kinema caption ingest SOURCE --out DATASET         the first stage alone
kinema caption shots DATASET                       another stage alone
kinema caption report DATASET                      report.html: histograms, funnel, examples
kinema caption review DATASET                      a screen to edit, accept and reject captions
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ..configs.load import ConfigError
from .engine.claim import check_dataset, is_dataset, load_settings, settings_of, source_of
from .engine.commits import CaptionError
from .flow import STAGES, run_all, run_one, stages
from .settings import CaptionSettings
from .summary import lines, other_backends, summarise

VIEWS = ("report", "review")
# --option: the setting it is short for
SHORT = {
    "backend": "captions.backend",
    "model": "captions.model",
    "base_url": "captions.base_url",
    "engine": "run.engine",
    "workers": "run.workers",
    "device": "run.device",
    "budget": "run.budget",
}


def command(args: argparse.Namespace) -> None:
    """`kinema caption`.

    Raises:
        CaptionError: the run cannot start or go on, see the message; finished batches are kept.
        ConfigError: a setting that cannot be.
        FileNotFoundError: there is no such source.
        ImportError: an extra is missing; the message says how to install it.
    """
    words, overrides = _split(args.words)
    overrides = [*shortcuts(args), *overrides]
    first = words[0] if words else None
    if first in VIEWS:
        return _view(args, words, overrides)
    stage = first if first in STAGES and first != "ingest" and args.out is None else None
    try:
        dataset = _one_stage(stage, words, args, overrides) if stage else _from_source(words, args, overrides)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped. What is finished is kept, and the same command goes on from there\n")
        raise
    found = summarise(dataset)
    advice = other_backends(found, dataset) if stage in (None, "captions", "checks") else []
    sys.stdout.write("\n".join([*lines(found, dataset), *advice]) + "\n")
    if found.files and not found.files["ok"] and not found.files["unreached"]:
        raise CaptionError("no file of SOURCE can be used; the reasons are above and in quarantine.jsonl")


def shortcuts(args: argparse.Namespace) -> list[str]:
    """The overrides that the short options stand for.

    Raises:
        ConfigError: two options that contradict each other.
    """
    given = {name: getattr(args, name) for name in SHORT if getattr(args, name) is not None}
    if args.captioner is not None:
        if given.get("backend", "captioner") != "captioner" or "model" in given:
            raise ConfigError("--captioner is the folder of our own captioner; leave out --backend and --model")
        given |= {"backend": "captioner", "model": str(args.captioner.expanduser().absolute())}
    if "base_url" in given:
        given.setdefault("backend", "openai")
    if "model" in given and "backend" not in given and args.out is not None and not is_dataset(args.out):
        raise ConfigError("--model needs --backend: captioner, transformers, openai or open_clip")
    return [f"{SHORT[name]}={value}" for name, value in given.items()]


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Sources and stages, and overrides."""
    overrides = [word for word in words[1:] if "=" in word] + [word for word in words[:1] if _is_override(word)]
    return [word for word in words if word not in overrides], overrides


def _is_override(word: str) -> bool:
    section, _, _ = word.partition("=")[0].partition(".")
    return "=" in word and section in CaptionSettings.model_fields


def _from_source(words: list[str], args: argparse.Namespace, overrides: list[str]) -> Path:
    only_ingest = words[:1] == ["ingest"] and len(words) > 1
    if only_ingest:
        words = words[1:]
    if args.out is None:
        raise CaptionError(_usage(words))
    if len(words) > 1:
        raise CaptionError(
            f"one source at a time, not {', '.join(words)}; a list file or a glob names many videos"
        )
    if words:
        source, settings = words[0], load_settings(args.config, overrides)
        _say_if_dataset(source)
    else:
        source, settings = source_of(args.out), _own_settings(args, args.out, overrides)
    run_all(source, args.out, settings, redo=args.redo, only=stages()[:1] if only_ingest else None)
    return args.out


def _one_stage(name: str, words: list[str], args: argparse.Namespace, overrides: list[str]) -> Path:
    if len(words) != 2:
        raise CaptionError(f"stage {name} works on a dataset: kinema caption {name} DATASET")
    dataset = Path(words[1])
    check_dataset(dataset)
    if args.redo is not None:
        raise CaptionError(
            f"--redo goes through all stages: kinema caption --out {shlex.quote(words[1])} --redo {args.redo}"
        )
    run_one(name, dataset, _own_settings(args, dataset, overrides))
    return dataset


def _own_settings(args: argparse.Namespace, dataset: Path, overrides: list[str]) -> CaptionSettings:
    """Those of --config, else the dataset's own, with overrides."""
    if args.config is not None:
        check_dataset(dataset)
        return load_settings(args.config, overrides)
    return settings_of(dataset, overrides)


def _view(args: argparse.Namespace, words: list[str], overrides: list[str]) -> None:
    name = words[0]
    if len(words) != 2:
        raise CaptionError(f"{name} shows a dataset: kinema caption {name} DATASET")
    args.dataset = Path(words[1])
    check_dataset(args.dataset)
    if overrides:
        raise CaptionError(f"{name} takes no settings: {' '.join(overrides)}")
    if name == "report":
        from .report.write import command as show
    else:
        from .review.screen import command as show
    show(args)


def _usage(words: list[str]) -> str:
    if len(words) == 2 and is_dataset(Path(words[1])):
        return f"there is no stage {words[0]}; the stages are {', '.join(STAGES)}"
    if words and is_dataset(Path(words[-1])):
        return (
            f"{words[-1]} is a captioned dataset; `kinema caption --out {words[-1]}` goes on making it, and "
            f"`kinema caption STAGE {words[-1]}` runs one stage of {', '.join(STAGES)}"
        )
    if not words:
        return "give the videos and where the dataset goes: kinema caption SOURCE --out DATASET"
    return f"say where the dataset goes: kinema caption {shlex.join(words)} --out DATASET"


def _say_if_dataset(source: str) -> None:
    if is_dataset(Path(source)):
        raise CaptionError(
            f"{source} is a captioned dataset, not a source of videos; to caption its clips anew: "
            f"kinema caption --out {source} --redo captions"
        )
