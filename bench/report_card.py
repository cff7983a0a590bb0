"""Renews the packaged checkpoint's report card and all that quotes it: a page, two READMEs and a test's floor.

    python bench/report_card.py                            # sits all three lists; goes on where it was stopped
    python bench/report_card.py --lists quick              # some of them; the others' reports are kept if they fit
    python bench/report_card.py --full-repeats 1           # one clip of each prompt of the whole exam, not four

Writes docs/report-card.md with its sheet (the first eight prompts of the list quick, seed 0), docs/exam/ (each
list's page and numbers), the figures between marks in README.md and pipeline/default/README.md, and
eval/floor.json, the least that a test lets the checkpoint's quick exam find. A floor is only ever raised: lower it
by hand.
"""

import argparse
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kinema.data.sheets import BACKGROUND, contact_sheet
from kinema.eval.bars import bars, bars_markdown, summary
from kinema.eval.card import TIER_NAMES
from kinema.eval.command import evaluate
from kinema.eval.drawings import percent
from kinema.eval.exam import prompts_of, wanted_clips
from kinema.eval.marks import marks, to_dict
from kinema.eval.sampling import exam_settings
from kinema.eval.sitting import Sitting
from kinema.eval.store import read_arrays

ROOT = Path(__file__).resolve().parent.parent
LISTS = {"quick": "quick", "simple-test": "simple", "full": "report"}  # to the names of their files in docs/exam
WITH_PAGE = ("simple-test", "full")
NAMES = {"P": "probes", "A": "tier A", "B": "tier B", "C": "tier C"}
TITLES = {
    "quick": "A first look: `kinema eval --quick`",
    "simple-test": "Within Diorama's simple levels: `kinema eval --list simple-test`",
    "full": "The whole exam: `kinema eval`",
}
SHOWN = 8  # prompts of the sheet
LARGEST = 300_000  # bytes of the sheet
FLIPPED = 2  # clips that another machine's arithmetic may turn wrong
MEAN_MARGIN = 0.06
ASKED = 20  # prompts that must ask an attribute for a floor of its own
COLUMNS = ("score", "chance", "ceiling_true", "ceiling_vae", "share")
HEAD = "| | clips | score | chance | ceiling | after the VAE | share |\n|---|---|---|---|---|---|---|"
Reports = Mapping[str, dict[str, Any]]


def page(reports: Reports) -> str:
    """The text of docs/report-card.md."""
    one = next(iter(reports.values()))
    parts = [
        "# Report card of the packaged checkpoint",
        f"Made by one command, `python bench/report_card.py`, from the weights `{one['settings']['fingerprint']}` "
        f"(judge `{one['judges']['pixel']}`). How prompts are asked and clips are judged: [the exam](exam.md). "
        "Brackets are 95 % intervals over prompts.",
        "![What the packaged checkpoint makes of eight prompts](report-card.webp)",
        f"*The first {SHOWN} prompts of the list `quick`, seed 0, one try each.*",
        "## Bars",
        "What a packaged checkpoint [should reach](exam.md#the-bars). One that was trained on a CPU alone is held "
        "to tier A within the simple levels; the rest is reported.",
    ]
    for name in ("simple-test", "full"):
        title = f"### {TITLES[name]}"
        if name not in reports:
            parts += [title, "This checkpoint has not sat this list yet."]
            continue
        rows = bars(reports[name]["marks"])
        parts += [title, f"Of prompts: {summary(rows)}.", bars_markdown([r for r in rows if r["of"] == "prompt"])]
        decoded = [row for row in rows if row["of"] == "autoencoder"]
        told = f"Of the autoencoder: {summary(rows, 'autoencoder')}."
        parts.append(f"<details><summary>{told}</summary>\n\n{bars_markdown(decoded)}\n\n</details>")
    parts.append("## Marks")
    for name, report in reports.items():
        count = len(report["sitting"]["samples"])
        files = f"[Page with pictures](exam/{LISTS[name]}.html), " if name in WITH_PAGE else ""
        files += f"[every answer](exam/{LISTS[name]}.json)."
        parts += [f"### {TITLES[name]}", f"{len(report['sitting']['prompts'])} prompts, {count} clips. {files}"]
        parts += [f"**{TIER_NAMES[tier]}**\n\n{table(found)}" for tier, found in report["marks"].items()]
        parts += [measures(report)] if report["measures"] else []
    return "\n\n".join(parts) + "\n"


def table(tier: Mapping[str, Any]) -> str:
    """A tier's marks in Markdown."""
    rows = [*tier["attributes"].items(), *([("mean", tier["mean"])] if tier["mean"] else [])]
    lines = [
        f"| {name} | {'' if name == 'mean' else mark['n_clips']} | "
        f"{' | '.join(percent(mark[column]) for column in COLUMNS)} |"
        for name, mark in rows
    ]
    return "\n".join([HEAD, *lines])


def measures(report: Mapping[str, Any]) -> str:
    """The further measures in a line, each with its floor, the same of true clips."""
    found = [
        f"{name} {each['value']:.3g}" + ("" if each["floor"] is None else f" ({each['floor']:.3g})")
        for name, each in report["measures"].items()
        if each["value"] is not None
    ]
    return f"Further measures, true clips' in brackets: {', '.join(found)}."


def in_short(reports: Reports, docs: str) -> str:
    """The lines that quote the card elsewhere; `docs` is the way to the folder of documents from there."""
    quick = reports["quick"]["marks"]["P"]["attributes"]
    words = [
        f"{name} {mark['score']['value']:.0%} (chance {100 * mark['chance']['value']:.0f})".replace("%", " %")
        for name, mark in quick.items()
        if mark["share"]
    ]
    parts = [
        "On the 24 prompts of `kinema eval --quick`, one clip each, read by a judge that knows no generator: "
        f"{', '.join(words)}."
    ]
    if "simple-test" in reports:
        simple = reports["simple-test"]
        clips = len(simple["sitting"]["samples"])
        parts.append(
            f"Within Diorama's simple levels (`--list simple-test`, {clips} clips), mean share of the ceiling: "
            f"{_means(simple)}; {summary(bars(simple['marks']))}."
        )
    if "full" in reports:
        parts.append(
            f"The [whole exam]({docs}exam.md) asks for all of Diorama, most of which it was never shown; mean "
            f"share there: {_means(reports['full'])}."
        )
    return "\n".join([*parts, f"All of it: [report card]({docs}report-card.md)."])


def _means(report: Mapping[str, Any]) -> str:
    means = {tier: found["mean"]["share"] for tier, found in report["marks"].items() if found["mean"]}
    return ", ".join(f"{NAMES[tier]} {percent(mean)}" for tier, mean in means.items())


def between_marks(text: str, name: str, new: str, where: object) -> str:
    """`text` with what stands between <!-- name --> and <!-- /name --> replaced.

    Raises:
        ValueError: the marks are not there once each.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ValueError(
            f"{where} needs {start} and after it {end}, once each, for what this command writes there"
        )
    before, rest = text.split(start)
    return f"{before}{start}\n{new}\n{end}{rest.split(end)[1]}"


def floors(report: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The least shares that a test lets the quick exam find: a little below what was found.

    Below by `FLIPPED` clips, and the mean by 6 points; never below the old floors of the same list.
    """
    tier = report["marks"]["P"]
    found = {"mean": tier["mean"]["share"]["value"] - MEAN_MARGIN}
    for name, mark in tier["attributes"].items():
        if mark["share"] and mark["n_prompts"] >= ASKED:
            room = mark["ceiling_true"]["value"] - mark["chance"]["value"]
            found[name] = mark["share"]["value"] - FLIPPED / mark["n_clips"] / room
    shares = {name: round(value, 2) for name, value in found.items()}
    same = old is not None and old["list"] == report["list"]
    if old is not None and same:
        shares = {
            name: max(shares.get(name, 0), old["shares"].get(name, 0)) for name in {**old["shares"], **shares}
        }
    return {"list": report["list"], "shares": shares}


def sheet(rows: Sequence[tuple[str, np.ndarray]], path: Path) -> int:
    """Write prompts and their clips, in two columns, within `LARGEST` bytes; returns how many it took."""
    half = -(-len(rows) // 2)
    sides = [contact_sheet(part, columns=5, tile_height=96, font_size=13) for part in (rows[:half], rows[half:])]
    size = sum(side.width for side in sides), max(side.height for side in sides)
    whole, left = Image.new("RGB", size, BACKGROUND), 0
    for side in sides:
        whole.paste(side, (left, 0))
        left += side.width
    for quality in (90, 80, 65, 50, 30, 10):
        whole.save(path, quality=quality, method=6)
        if path.stat().st_size <= LARGEST:
            return path.stat().st_size
    raise ValueError(
        f"{path} takes {path.stat().st_size} bytes at the lowest quality; at most {LARGEST} are wanted"
    )


def first_clips(folder: Path, count: int = SHOWN) -> list[tuple[str, np.ndarray]]:
    """The first prompts of the list quick with their clips of seed 0, from an exam's folder."""
    rows = []
    for prompt, seed in wanted_clips(prompts_of("quick"), 1)[:count]:
        arrays = read_arrays(folder / "clips" / f"{prompt.id}-{seed}.npz", None)
        if arrays is None:
            raise FileNotFoundError(f"{folder} has no clip of {prompt.id}; run this command with --lists quick")
        rows.append((prompt.text, arrays["frames"]))
    return rows


def kept(path: Path, fingerprint: str | None) -> dict[str, Any] | None:
    """An earlier report of these weights; None if there is none. Marks that it lacks are made of its answers."""
    if not path.is_file():
        return None
    report = json.loads(path.read_text(encoding="utf-8"))
    if fingerprint is None or report["settings"].get("fingerprint") != fingerprint:
        return None
    if "bars" not in report:
        report["marks"] = to_dict(marks(Sitting.from_dict(report["sitting"])))
    return report


def main() -> None:
    """Sit the lists, write everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lists", nargs="*", choices=list(LISTS), default=list(LISTS))
    parser.add_argument("--model", default=None, help="a checkpoint (default: the packaged one)")
    parser.add_argument("--runs", type=Path, default=Path("runs/report-card"), help="where clips are kept")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder with docs, eval and README.md to renew")
    parser.add_argument(
        "--full-repeats", type=int, default=None, help="clips a prompt of the whole exam (default: 4)"
    )
    parser.add_argument("--workers", type=int, default=None)
    args = parser.parse_args()
    from kinema.pipeline.command import load

    docs, pipe = args.root / "docs", load(args.model, quiet=True)
    fingerprint = exam_settings(pipe)["fingerprint"]
    (docs / "exam").mkdir(parents=True, exist_ok=True)
    reports: dict[str, dict[str, Any]] = {}
    for name, file in LISTS.items():
        if name in args.lists:
            folder = args.runs / name
            asked = "--quick" if name == "quick" else f"--list {name}"
            repeats = args.full_repeats if name == "full" else None
            asked += f" --repeats {repeats}" if repeats else ""
            evaluate(
                pipe, name, out=folder, repeats=repeats, measures=name != "quick", workers=args.workers,
                command=f"kinema eval {asked} --out runs/{folder.name}",
            )  # fmt: skip
            for kind in ("html", "json") if name in WITH_PAGE else ("json",):
                shutil.copyfile(folder / f"report.{kind}", docs / "exam" / f"{file}.{kind}")
        report = kept(docs / "exam" / f"{file}.json", fingerprint)
        if report is not None:
            reports[name] = report
        else:
            for kind in ("html", "json"):  # of other weights
                (docs / "exam" / f"{file}.{kind}").unlink(missing_ok=True)
    if "quick" not in reports:
        raise SystemExit("there is no quick exam of these weights; run this command with --lists quick")
    if "quick" in args.lists:
        size = sheet(first_clips(args.runs / "quick"), docs / "report-card.webp")
        print(f"{docs / 'report-card.webp'}: {size} bytes")
    (docs / "report-card.md").write_text(page(reports), encoding="utf-8")
    for path, way in (("README.md", "docs/"), ("pipeline/default/README.md", "../../docs/")):
        text = (args.root / path).read_text(encoding="utf-8")
        new = between_marks(text, "report card", in_short(reports, way), path)
        (args.root / path).write_text(re.sub(r"[ \t]+\n", "\n", new), encoding="utf-8")
    floor = args.root / "eval" / "floor.json"
    old = json.loads(floor.read_text()) if floor.is_file() else None
    floor.write_text(json.dumps(floors(reports["quick"], old), indent=2) + "\n")
    print(
        docs / "report-card.md", *(path for path in ("README.md", "pipeline/default/README.md", floor)), sep="\n"
    )


if __name__ == "__main__":
    main()
