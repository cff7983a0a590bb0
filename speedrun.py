"""The whole recipe in one command: from nothing to a checkpoint, an exam and a report with pictures.

    kinema speedrun --preset cpu-nano --out runs/nano      # a first look
    kinema speedrun --preset cpu --out runs/cpu            # the packaged checkpoint
    kinema speedrun --preset gpu --out runs/gpu            # one data-centre GPU

Five steps, each of which is skipped when it is finished, so the same command goes on after a stop:

    1. conditioner   contrastive captioner (text tower, captioner) on clips and captions
    2. vae           causal autoencoder
    3. dit           every clip through the autoencoder, once; then the denoiser, on latents and captions
    4. checkpoint    one diffusers folder with everything
    5. eval          a quick exam of 24 prompts; then RUN/report.html

A recipe with `legs` trains the denoiser further before the exam, by the recipe of each leg in turn: in RUN/LEG,
from the checkpoint of the one before; then, where the leg says `vae_loss.decoder_only`, the decoder.
RUN/checkpoint is what the last one made.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kinema.configs import Config, dump_config, load_config

STAGES = ("conditioner", "vae", "dit")


def command(args: argparse.Namespace) -> None:
    """`kinema speedrun`."""
    config = load_config(args.preset, args.overrides)
    own = [each for each in args.overrides if not each.startswith("legs=")]
    legs = [load_config(leg, own) for leg in config.legs]
    speedrun(config, args.out or Path("runs") / config.name, legs=legs, minutes=args.minutes)


def package_command(args: argparse.Namespace) -> None:
    """`kinema package`."""
    from kinema.pipeline.checkpoint import find_checkpoint

    start = None if args.start is None else find_checkpoint(None if args.start == "default" else args.start)
    parts = check_parts(args.run, start)
    trained = [stage for stage in reversed(STAGES) if parts[stage].is_relative_to(args.run)]
    if not trained:
        raise FileNotFoundError(
            f"{args.run} holds no finished stage; give the folder that a training run had as --out"
        )
    package(load_config(args.run / trained[0] / "config.yaml"), args.run, args.out, start)
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    sys.stdout.write(f"{args.out}: {size / 1e6:.1f} MB\n")


def speedrun(
    config: Config, out: Path, *, legs: Sequence[Config] = (), minutes: float | None = None
) -> Path | None:
    """Train everything, package it, sit the exam and write the report.

    Args:
        config: the recipe.
        out: the run folder; finished steps found there are not repeated.
        legs: the recipes of `config.legs`, in turn.
        minutes: pause cleanly after this many minutes; None runs to the end.

    Returns:
        The path of report.html, or None when paused.

    Raises:
        FileExistsError: the folder holds a run of another recipe.
        ValueError: two of the recipes have one name.
    """
    from kinema.trainer import SECONDS_LEFT, TrainingPaused

    out = Path(out)
    names = [config.name, *(leg.name for leg in legs)]
    if len(set(names)) < len(names):
        raise ValueError(f"legs need names of their own, and these are called {', '.join(names)}; change `name`")
    for recipe, folder in ((config, out), *((leg, out / leg.name) for leg in legs)):
        check_same_recipe(recipe, folder)
    for recipe, folder in ((config, out), *((leg, out / leg.name) for leg in legs)):
        print_plan(recipe, folder)
    start = time.monotonic()
    made = {name: (out if name == names[-1] else out / name) / "checkpoint" for name in names}
    steps: list[tuple[str, Path, Callable[[], object]]] = [
        ("conditioner", out / "conditioner" / "final", lambda: _train_conditioner(config, out)),
        ("vae", out / "vae" / "final", lambda: _train_vae(config, out)),
        ("dit", out / "dit" / "final", lambda: _train_dit(config, out)),
        ("checkpoint", made[config.name], lambda: package(config, out, made[config.name])),
        *(step for leg, before in zip(legs, names) for step in _leg_steps(leg, out, made[before], made[leg.name])),
        ("eval", out / "eval" / "report.json", lambda: _evaluate(config, out)),
    ]
    for name, result, work in steps:
        if result.exists():
            sys.stdout.write(f"== {name}: done before ({result})\n")
            continue
        left = None if minutes is None else minutes * 60 - (time.monotonic() - start)
        if left is not None and left <= 0:
            sys.stdout.write(f"== paused before {name}; the same command goes on\n")
            return None
        sys.stdout.write(f"== {name}\n")
        sys.stdout.flush()
        began = time.monotonic()
        os.environ.pop(SECONDS_LEFT, None)
        if left is not None:
            os.environ[SECONDS_LEFT] = str(left)
        try:
            work()
        except TrainingPaused as pause:
            sys.stdout.write(f"== {name}: {pause}\n")
            return None
        finally:
            os.environ.pop(SECONDS_LEFT, None)
            _add_time(out, name, time.monotonic() - began)
    report = write_report(config, out, legs)
    sys.stdout.write(f"== report: {report}\n")
    return report


def check_same_recipe(config: Config, out: Path) -> None:
    """Refuse a folder whose finished steps are of another recipe; its report would tell of the wrong one."""
    path = out / "config.yaml"
    if path.is_file() and load_config(path) != config:
        before, now = path.read_text().splitlines(), dump_config(config).splitlines()
        changed = [line.strip() for line in now if line not in before]
        raise FileExistsError(
            f"{out} holds a run of another recipe (now: {'; '.join(changed[:4])}). Give the same preset and "
            "settings to go on with it, or another --out to start anew"
        )


def print_plan(config: Config, out: Path) -> None:
    """Print and keep the resolved configuration."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.yaml").write_text(dump_config(config))
    sys.stdout.write(dump_config(config))
    sys.stdout.flush()


def _leg_steps(leg: Config, out: Path, start: Path, made: Path) -> list[tuple[str, Path, Callable[[], object]]]:
    """What a leg does: trains denoiser and perhaps decoder of `start` further, and packages what comes of it."""
    from kinema.dit.train import train
    from kinema.vae.train import train as train_vae

    run = out / leg.name
    steps: list[tuple[str, Path, Callable[[], object]]] = [
        (f"dit of {leg.name}", run / "dit" / "final", lambda: train(leg, run / "dit", start=start)),
    ]
    if leg.vae_loss.decoder_only:
        steps.append(
            (f"decoder of {leg.name}", run / "vae" / "final", lambda: train_vae(leg, run / "vae", start=start))
        )
    return [*steps, (f"checkpoint of {leg.name}", made, lambda: package(leg, run, made, start))]


def _add_time(out: Path, name: str, seconds: float) -> None:
    path = out / "times.json"
    times = json.loads(path.read_text()) if path.exists() else {}
    times[name] = times.get(name, 0.0) + seconds
    path.write_text(json.dumps(times, indent=2))


def _train_conditioner(config: Config, out: Path) -> None:
    from kinema.conditioner.train import train

    train(config, out / "conditioner")


def _train_vae(config: Config, out: Path) -> None:
    from kinema.vae.train import train

    train(config, out / "vae")


def _train_dit(config: Config, out: Path) -> None:
    from kinema.dit.train import train

    train(config, out / "dit")


def package(config: Config, run: Path, out: Path, start: Path | None = None) -> None:
    """Gather a finished run's parts into one checkpoint folder, in half precision, with its captioner.

    What a fine-tuning run has not trained is taken from the checkpoint `start`. The folder appears whole or not at
    all.

    Raises:
        FileNotFoundError: a part of the run is not finished; the message names the command that finishes it.
        FileExistsError: `out` holds something else than an older checkpoint, which alone is replaced.
    """
    import torch

    from kinema import ContrastiveCaptioner
    from kinema.pipeline.build import assemble_pipeline
    from kinema.trainer import SHARD_SIZE

    parts = check_parts(run, start)
    if out.exists() and any(out.iterdir()) and not (out / "model_index.json").is_file():
        raise FileExistsError(f"{out} holds something else than a checkpoint; give a new or empty folder as --out")
    partial = out.with_name(out.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    pipe = assemble_pipeline(
        config,
        dtype=torch.float16,
        vae=parts["vae"],
        text_encoder=parts["dit"] / "text_encoder",
        transformer=parts["dit"] / "transformer",
    )
    pipe.save_pretrained(partial, max_shard_size=SHARD_SIZE)
    captioner = ContrastiveCaptioner.from_pretrained(parts["conditioner"] / "captioner", dtype=torch.float16)
    captioner.save_pretrained(partial / "captioner", max_shard_size=SHARD_SIZE)
    for path in partial.rglob("config.json"):  # where a part was loaded from is nobody's business
        values = json.loads(path.read_text())
        values.pop("_name_or_path", None)
        path.write_text(json.dumps(values, indent=2) + "\n")
    (partial / "recipe.yaml").write_text(dump_config(config))
    if out.exists():
        shutil.rmtree(out)
    partial.replace(out)


def check_parts(run: Path, start: Path | None = None) -> dict[str, Path]:
    """The finished parts of a run, by stage; those that it lacks are the checkpoint's, if one is given.

    Raises:
        FileNotFoundError: one is missing; the message names the command that finishes it.
    """
    parts = {stage: run / stage / "final" for stage in STAGES}
    for stage, path in parts.items():
        if not path.exists() and start is not None:
            parts[stage] = start / "vae" if stage == "vae" else start
        elif not path.exists():
            raise FileNotFoundError(f"{path} is missing: finish it with `kinema train {stage} --out {run} …`")
    return parts


def _evaluate(config: Config, out: Path) -> dict[str, Any]:
    from kinema.eval.command import evaluate
    from kinema.pipeline.command import load

    pipe = load(str(out / "checkpoint"), quiet=True)
    return evaluate(pipe, "quick", out=out / "eval", measures=False, workers=0)


def write_report(config: Config, out: Path, legs: Sequence[Config] = ()) -> Path:
    """One self-contained page: settings, times, loss curves, sheets and the exam."""
    from kinema.eval.outcome import text_table
    from kinema.eval.page import curve, page, picture, table

    times = json.loads((out / "times.json").read_text())
    parts = [
        f"<h1>Kinema speedrun: {config.name}</h1>",
        table([("step", "minutes"), *((name, f"{seconds / 60:.1f}") for name, seconds in times.items())]),
    ]
    folders = [out / stage for stage in STAGES]
    for leg in legs:
        folders += [out / leg.name / stage for stage in ("dit", *(("vae",) if leg.vae_loss.decoder_only else ()))]
    for folder in folders:
        parts.append(f"<h2>{folder.relative_to(out)}</h2>")
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        names = sorted({key for row in rows for key in row} - {"step", "learning_rate_factor"})
        for name in names:
            points = [(row["step"], row[name]) for row in rows if name in row]
            if len(points) > 1:
                parts.append(curve(name, points))
        sheets = sorted((folder / "samples").glob("*.png"))
        parts += [picture(path) for path in sheets[-1:]]
    parts += ["<h2>exam</h2>", picture(out / "eval" / "sheet.png")]
    parts.append(f"<pre>{text_table(json.loads((out / 'eval' / 'report.json').read_text()))}</pre>")
    for recipe in (config, *legs):
        parts += [f"<h2>recipe: {recipe.name}</h2>", f"<pre>{dump_config(recipe)}</pre>"]
    path = out / "report.html"
    path.write_text(page(f"Kinema speedrun: {config.name}", parts))
    return path
