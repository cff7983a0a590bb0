"""The bars of a packaged checkpoint, and which of them an exam passes.

A bar is passed when the point estimate reaches it; its interval stands beside it. "Share" is
(score − chance) / (ceiling − chance), by tier: one object (A), held-out pairs (B), several things (C). Probes have
no bars. The autoencoder has one for every attribute: what the judge reads right after it, as a part of what it
reads right in the true clips.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .drawings import percent
from .questions import ATTRIBUTES

ENOUGH = 200  # clips of an attribute in a tier, for a bar to count
AUTOENCODER = 0.97
STRETCH = 0.80  # of bars of 60 %

_FIRST = {"A": 0.95, "B": 0.90, "C": 0.85}
_SECOND = {"A": 0.90, "B": 0.80, "C": 0.70}
_THIRD = {"A": 0.85, "B": 0.75}
_LAST = {"C": 0.60}
BARS: dict[str, dict[str, float]] = {
    "colour": _FIRST, "floor": _FIRST, "background": _FIRST, "time": _FIRST,
    "object": _SECOND, "motion": _SECOND, "direction": _SECOND, "camera": _SECOND,
    "size": _THIRD, "style": _THIRD, "material": _THIRD, "pattern": _THIRD,
    "count": _LAST, "relation": _LAST, "event": _LAST,
}  # fmt: skip
COLUMNS = ("tier", "attribute", "of", "bar", "found", "clips", "")


def bars(marks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What an exam's marks say of each bar that its prompts ask.

    Args:
        marks: "marks" of a report.

    Returns:
        A dictionary for each: "tier", "attribute", "of" ("prompt": the share; "autoencoder": of reconstructions),
        "bar", "stretch" (None: there is none), "found" (an estimate; None: there is no share), "n_clips" and
        "passed" (None where nothing was found, or in fewer than 200 clips).
    """
    rows = []
    for of, name in (("prompt", "share"), ("autoencoder", "kept")):
        for tier in ("A", "B", "C"):
            asked = marks.get(tier, {}).get("attributes", {})
            for attribute in ATTRIBUTES:
                bar = BARS.get(attribute, {}).get(tier) if of == "prompt" else AUTOENCODER
                mark = asked.get(attribute)
                if mark is None or bar is None or (of == "autoencoder" and not mark.get("ceiling_vae")):
                    continue
                found, clips = mark.get(name), mark["n_clips"]
                rows.append(
                    {
                        "tier": tier,
                        "attribute": attribute,
                        "of": of,
                        "bar": bar,
                        "stretch": STRETCH if BARS.get(attribute) is _LAST and of == "prompt" else None,
                        "found": found,
                        "n_clips": clips,
                        "passed": None if not found or clips < ENOUGH else found["value"] >= bar,
                    }
                )
    return rows


def verdict(row: Mapping[str, Any]) -> str:
    """ "passed", "missed", or why neither can be said."""
    if row["passed"] is None:
        return "no share" if not row["found"] else f"fewer than {ENOUGH} clips"
    stretched = row["stretch"] and row["found"]["value"] >= row["stretch"]
    return ("passed, stretch too" if stretched else "passed") if row["passed"] else "missed"


def summary(rows: Sequence[Mapping[str, Any]], of: str = "prompt") -> str:
    """ "A 6 of 8, B 3 of 8 bars passed": of those that could be said."""
    parts = []
    for tier in dict.fromkeys(row["tier"] for row in rows):
        said = [
            row["passed"] for row in rows if row["tier"] == tier and row["of"] == of and row["passed"] is not None
        ]
        parts += [f"{tier} {sum(said)} of {len(said)}"] if said else []
    return f"{', '.join(parts)} bars passed" if parts else ""


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row's `COLUMNS` as text."""
    bar = f"≥ {row['bar']:.0%}".replace("%", " %")
    return (
        row["tier"], row["attribute"], row["of"], bar, percent(row["found"]), str(row["n_clips"]), verdict(row)
    )  # fmt: skip


def bars_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The bars as lines of text; "" without any."""
    if not rows:
        return ""
    lines = [COLUMNS, *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def bars_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The bars as a table of Markdown; "" without any."""
    if not rows:
        return ""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *map(cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


__all__ = ["BARS", "bars", "bars_markdown", "bars_table", "summary", "verdict"]
