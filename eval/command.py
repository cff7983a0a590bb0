"""`kinema eval`: how well a checkpoint follows its prompts (docs/exam.md).

    kinema eval                                   # the packaged checkpoint sits the whole exam
    kinema eval runs/cpu/checkpoint --quick       # 24 prompts, a first look
    kinema eval --list simple-test                # what models of Diorama's levels 0 and 1 sit instead
    kinema eval A B                               # two checkpoints, compared prompt by prompt
    kinema eval --clips FOLDER                    # another system's videos, named after the prompts

Writes report.html, report.json and sheet.png into --out. Clips, true clips and readings are kept there too, so
that a stopped exam goes on where it was.
"""

import argparse
import io
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.files import atomic_path
from ..data.sheets import contact_sheet
from .bars import bars_table
from .card import write_card
from .exam import REPEATS, examine, examine_clips, prompts_of, wanted_clips
from .outcome import text_table
from .questions import ExamPrompt
from .store import read_arrays
from .versus import comparison_table, write_comparison

if TYPE_CHECKING:
    from ..pipeline.pipeline import KinemaPipeline

SHEET = 24  # clips on sheet.png


def command(args: argparse.Namespace) -> None:
    """Examine one or two checkpoints, or a folder of clips, and print the table.

    Raises:
        CheckpointError: a checkpoint that cannot be found.
        ValueError: more than two checkpoints; clips that fit no prompt; less than one prompt or clip asked for.
    """
    if args.quick and args.list not in ("full", "quick"):
        raise ValueError(f"--quick is the list quick, and --list says {args.list}; give one of the two")
    name = "quick" if args.quick else args.list
    out = args.out or Path("runs/eval" if args.clips is None else "runs/eval-clips")
    for option, count in (("--prompts", args.prompts), ("--repeats", args.repeats)):
        if count is not None and count < 1:
            raise ValueError(f"{option} {count} leaves nothing to examine; it needs to be 1 or more")
    whole = prompts_of(name)
    prompts = whole[: args.prompts]
    label = name if len(prompts) == len(whole) else f"{name}, the first {len(prompts)} of {len(whole)}"
    if args.show:
        sys.stdout.write("".join(f"{prompt.id}\t{prompt.text}\n" for prompt in prompts))
        return
    repeats = args.repeats or REPEATS.get(name, 1)
    if args.clips is not None:
        if args.checkpoint:
            raise ValueError("--clips examines videos, so no checkpoint is needed; leave out one of the two")
        if args.seed or args.repeats or args.steps or args.guidance is not None:
            raise ValueError(
                "--clips examines videos as they are; leave out --seed, --repeats, --steps and --guidance"
            )
        report = examine_clips(
            args.clips, prompts, out=out, list_name=label, partial=args.partial, command=_shell(),
            workers=args.workers, measures=name != "quick", progress=not args.quiet,
        )  # fmt: skip
        sys.stdout.write(f"{_tables(report)}\n{_card(out, report)}\n")
        return
    if args.partial:
        raise ValueError("--partial goes with --clips FOLDER: a checkpoint's clips are all made")
    checkpoints = args.checkpoint or [None]
    if len(checkpoints) > 2:
        raise ValueError(f"{len(checkpoints)} checkpoints were given; one is examined, two are compared")
    from ..pipeline.checkpoint import find_checkpoint
    from ..pipeline.command import load

    for checkpoint in checkpoints:  # one that is not there is told before another is examined for hours
        find_checkpoint(checkpoint)
    reports, places = [], [out] if len(checkpoints) == 1 else [out / "a", out / "b"]
    for checkpoint, place in zip(checkpoints, places):
        pipe = load(checkpoint, device=args.device, dtype=args.dtype, quiet=True)
        reports.append(
            evaluate(
                pipe, prompts, out=place, list_name=label, repeats=repeats, seed=args.seed,
                num_inference_steps=args.steps, guidance_scale=args.guidance, workers=args.workers,
                measures=name != "quick", progress=not args.quiet,
            )
        )  # fmt: skip
        sys.stdout.write(f"{_tables(reports[-1])}\n{place / 'report.html'}\n")
    if len(reports) == 2:
        page = write_comparison(out, *reports, *(_frames(place / "clips") for place in places))
        found = json.loads((out / "compare.json").read_text())
        sys.stdout.write(f"{comparison_table(found)}\n{page}\n")


def evaluate(
    pipe: "KinemaPipeline",
    prompts: Sequence[ExamPrompt] | str = "quick",
    *,
    out: str | Path,
    list_name: str | None = None,
    repeats: int | None = None,
    command: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Let a pipeline sit the exam and write its report card.

    Args:
        pipe: a pipeline.
        prompts: what to ask, or the name of a list: "full" or one of `questions.NAMES`.
        out: folder for clips and report.
        list_name: of the prompts, for the report.
        repeats: clips of each prompt; None: as the list says.
        command: what makes the card again, for the card; None: what was typed.
        options: further arguments of `exam.examine`.

    Returns:
        The report, see `outcome`.
    """
    if isinstance(prompts, str):
        list_name = list_name or prompts
        repeats = repeats or REPEATS.get(prompts, 1)
        prompts = prompts_of(prompts)
    repeats = repeats or 1
    command = _shell() if command is None else command
    report = examine(
        pipe, prompts, out=out, list_name=list_name or "own list", repeats=repeats, command=command, **options
    )
    _card(Path(out), report)
    frames = _frames(Path(out) / "clips")
    rows = []
    for prompt, seed in wanted_clips(prompts, repeats, options.get("seed", 0))[:SHEET]:
        shown = frames(prompt, seed)
        if shown is not None:
            rows.append((prompt.text, shown))
    buffer = io.BytesIO()
    contact_sheet(rows, columns=6).save(buffer, format="PNG")
    with atomic_path(Path(out) / "sheet.png") as temporary:
        temporary.write_bytes(buffer.getvalue())
    return report


def _tables(report: dict[str, Any]) -> str:
    """The marks and, if its prompts have any, the bars."""
    return "\n\n".join(filter(None, (text_table(report), bars_table(report["bars"]))))


def _card(out: Path, report: dict[str, Any]) -> Path:
    return write_card(out, report, _frames(out / "clips"), _frames(out / "truth"))


def _frames(folder: Path) -> Any:
    """The kept clips of a folder by prompt and seed, whatever made them."""

    def frames(prompt: ExamPrompt, seed: int) -> np.ndarray | None:
        arrays = read_arrays(folder / f"{prompt.id}-{seed}.npz", None)
        return None if arrays is None else arrays.get("frames")

    return frames


def _shell() -> str:
    """The command that was typed."""
    started = Path(sys.argv[0]).name in ("kinema", "cli.py", "__main__.py")
    return shlex.join(["kinema", *sys.argv[1:]]) if started else ""
