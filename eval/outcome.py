"""What one exam found, as plain dictionaries: all that report.json holds.

format     1
name       what was examined
command    the shell command that makes the report again
settings   how the clips were made
list       {"name", "digest"} of the prompts
judges     judge to fingerprint
marks      tier to {"attributes": {attribute: mark}, "mean": mark or None}; see `marks.Mark`
bars       which of a packaged checkpoint's bars are passed; see `bars.bars`
measures   name to {"value", "floor", "low", "high", "unit", "meaning"}; floor: real clips against real ones;
           floor, low and high may be None
reads      "<prompt id>-<seed>" to {attribute: what was read}
sitting    prompts and answers, for `kinema eval A B`; see `sitting.Sitting`
"""

import json
from collections.abc import Mapping
from typing import Any

from .bars import bars
from .drawings import percent
from .marks import marks, to_dict
from .questions import digest
from .sitting import Sitting

FORMAT = 1


def build_report(
    sitting: Sitting,
    reads: Mapping[tuple[str, int], Mapping[str, str]],
    *,
    name: str,
    command: str,
    settings: Mapping[str, Any],
    list_name: str,
    judges: Mapping[str, str],
    measures: Mapping[str, Mapping[str, Any]] | None = None,
    draws: int = 2000,
) -> dict[str, Any]:
    """Everything about one exam.

    Args:
        sitting: its answers.
        reads: (prompt id, seed) of a sampled clip to the words the judge read, by attribute.
        name: what was examined.
        command: the shell command that makes the card again.
        settings: how the clips were made.
        list_name: of the prompts: "test", "dev", a file, several joined by " + ".
        judges: judge to fingerprint.
        measures: name to {"value", "floor", "low", "high", "unit", "meaning"}.
        draws: bootstrap draws.
    """
    found = to_dict(marks(sitting, draws=draws))
    return {
        "format": FORMAT,
        "name": name,
        "command": command,
        "settings": dict(settings),
        "list": {"name": list_name, "digest": digest(sitting.prompts)},
        "judges": dict(judges),
        "marks": found,
        "bars": bars(found),
        "measures": {name: dict(measure) for name, measure in (measures or {}).items()},
        "reads": {f"{prompt}-{seed}": dict(words) for (prompt, seed), words in reads.items()},
        "sitting": sitting.to_dict(),
    }


def to_json(report: Mapping[str, Any]) -> str:
    """JSON with a line for each part."""
    lines = [f"{json.dumps(name)}: {json.dumps(part, ensure_ascii=False)}" for name, part in report.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def text_table(report: Mapping[str, Any]) -> str:
    """The marks as lines of text: percentages, brackets are 95 % intervals."""
    columns = ("score", "chance", "ceiling_true", "ceiling_vae", "share")
    lines: list[tuple[str, ...]] = [("tier", "attribute", "prompts", "clips", *columns)]
    for tier, found in report["marks"].items():
        rows = [*found["attributes"].items(), *([("mean", found["mean"])] if found["mean"] else [])]
        for name, mark in rows:
            numbers = (
                "" if name == "mean" else str(mark["n_prompts"]),
                "" if name == "mean" else str(mark["n_clips"]),
            )
            lines.append((tier, name, *numbers, *(percent(mark[column]) for column in columns)))
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)
