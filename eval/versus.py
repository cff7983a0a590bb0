"""Two exams side by side: compare.json and compare.html, with the same prompts drawn for both."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from . import drawings
from .card import TIER_MEANINGS, TIER_NAMES, Draw, Frames, Pieces, figure, fitted, measure_table, save, shown_clips
from .drawings import Detail
from .marks import compare, to_dict
from .outcome import to_json
from .sitting import Sitting
from .style import document

SHOWN = 12  # clips that gained most, and as many that lost most
SIGNS = {"better": "▲ better", "worse": "▼ worse", "no difference": "= no difference"}


def build_comparison(a: Mapping[str, Any], b: Mapping[str, Any], *, draws: int = 2000) -> dict[str, Any]:
    """How report b differs from report a.

    Args:
        a, b: of `build_report`, or report.json read back.
        draws: bootstrap draws.

    Returns:
        What compare.json holds: "a" and "b" (name, command, marks, measures of each), "list", and "differences",
        tier to {"attributes": {attribute: difference}, "mean"}; see `marks.Difference`.

    Raises:
        ValueError: the two sat other prompts.
    """
    sittings = [Sitting.from_dict(report["sitting"]) for report in (a, b)]
    kept = ("name", "command", "settings", "judges", "marks", "measures")
    return {
        "format": 1,
        "list": a["list"],
        "a": {part: a[part] for part in kept},
        "b": {part: b[part] for part in kept},
        "differences": to_dict(compare(*sittings, draws=draws)),
    }


def write_comparison(
    out: str | Path,
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    frames_a: Frames | None = None,
    frames_b: Frames | None = None,
) -> Path:
    """Write compare.json and compare.html into the folder `out`; returns the path of compare.html.

    Args:
        out: folder; made if missing.
        a, b: reports.
        frames_a, frames_b: the clips of each, see `write_card`; None shows none.

    Raises:
        ValueError: the two sat other prompts, or other judges read them.
    """
    differing = {
        judge for judge in {*a["judges"], *b["judges"]} if a["judges"].get(judge) != b["judges"].get(judge)
    }
    if differing:
        raise ValueError(
            f"the two reports were read by other judges ({', '.join(sorted(differing))}), so they cannot be held "
            "against each other; run kinema eval on both again"
        )
    found = build_comparison(a, b)
    out = Path(out)
    save(out / "compare.json", to_json(found))
    parts = [
        f"<h1>{escape(b['name'])} against {escape(a['name'])}</h1>",
        f'<p class="muted">List {escape(a["list"]["name"])} ({escape(a["list"]["digest"])}); the same prompts are '
        "drawn for both.</p>",
        f"<p>A is {escape(a['name'])}, B is {escape(b['name'])}. Differences are B − A in points of 100, with "
        "95 % intervals over prompts; “better” and “worse” speak of B’s share, and need an interval without 0. Of "
        "20 attributes that do not differ, one is called different by accident.</p>",
        *(_table(tier, found) for tier in found["differences"]),
    ]
    if a["measures"] or b["measures"]:
        parts += ["<h2>Further measures</h2>", measure_table([a, b])]
    pictures = _changed(a, b, frames_a, frames_b)
    foot = [
        "<h2>Made with</h2>",
        *(f"<p>{escape(r['name'])}</p><pre>{escape(r['command'])}</pre>" for r in (a, b)),
    ]

    def page(detail: Detail) -> str:
        drawn = [piece if isinstance(piece, str) else piece(detail) for piece in pictures]
        return document(f"{b['name']} against {a['name']}", [*parts, *drawn, *foot])

    return save(out / "compare.html", fitted(page))


def comparison_table(found: Mapping[str, Any]) -> str:
    """The differences as lines of text: of shares, or of scores where there is no share."""
    lines = [("tier", "attribute", "of", "A", "B", "B − A", "verdict")]
    for tier, differences in found["differences"].items():
        for name, difference in _rows(differences):
            key, a, b = _judged(difference), *(_mark(found[system], tier, name) for system in "ab")
            numbers = drawings.percent(a and a[key]), drawings.percent(b and b[key])
            lines.append((tier, name, key, *numbers, drawings.points(difference[key]), difference["verdict"]))
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def _rows(differences: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    mean = differences["mean"]
    return [*differences["attributes"].items(), *([("mean", mean)] if mean else [])]


def _judged(difference: Mapping[str, Any]) -> str:
    return "share" if difference["share"] else "score"


def _mark(report: Mapping[str, Any], tier: str, name: str) -> Mapping[str, Any] | None:
    marks = report["marks"][tier]
    return marks["mean"] if name == "mean" else marks["attributes"].get(name)


def _table(tier: str, found: Mapping[str, Any]) -> str:
    rows = ""
    for name, difference in _rows(found["differences"][tier]):
        a, b = (_mark(found[system], tier, name) for system in "ab")
        cells = "".join(drawings.percent_cell(mark and mark[key]) for key in ("score", "share") for mark in (a, b))
        style = {"better": "good", "worse": "bad"}.get(difference["verdict"], "muted")
        judged, verdict = difference[_judged(difference)], SIGNS[difference["verdict"]]
        points = drawings.points(judged).removesuffix(" points")
        rows += (
            f'<tr><th scope="row">{escape(name)}</th>{cells}<td>{drawings.difference_bar(judged)}</td>'
            f'<td class="n">{points}</td><td class="{style}">{verdict}</td></tr>'
        )
    head = "".join(f'<th class="n">{word}</th>' for word in ("score A", "score B", "share A", "share B"))
    return (
        f"<h2>{TIER_NAMES[tier]}</h2><p>{TIER_MEANINGS[tier]}</p>"
        f'<div class="wide"><table><tr><th>attribute</th>{head}<th>B − A, −50 to +50</th>'
        f'<th class="n">points</th><th>verdict</th></tr>{rows}</table></div>'
    )


def _changed(
    a: Mapping[str, Any], b: Mapping[str, Any], frames_a: Frames | None, frames_b: Frames | None
) -> Pieces:
    """The clips of both that differ most in how much is right."""
    if frames_a is None or frames_b is None:
        return []
    before, after = ({clip.name: clip for clip in shown_clips(report)} for report in (a, b))
    both = sorted(set(before) & set(after))
    gains = {name: after[name].right - before[name].right for name in both}

    def pair(name: str) -> Pieces:
        return [_titled("A", figure(before[name], [frames_a])), _titled("B", figure(after[name], [frames_b]))]

    parts: Pieces = []
    for title, sign in (("gained most", 1), ("lost most", -1)):
        chosen = sorted((name for name in both if sign * gains[name] > 0), key=lambda name: -sign * gains[name])
        if chosen:
            parts += [f"<h2>What {title} from A to B</h2><div class=clips>"]
            parts += [piece for name in chosen[:SHOWN] for piece in pair(name)]
            parts.append("</div>")
    return parts


def _titled(title: str, draw: Draw) -> Draw:
    return lambda detail: f"<div><b>{title}</b>{draw(detail)}</div>"
