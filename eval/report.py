"""The report of one evaluation: report.json, report.html (one file, pictures inside) and sheet.png."""

import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..data.files import atomic_path
from ..data.sheets import contact_sheet
from .page import embedded, page

MEANINGS = {
    "object": "something stands out from its surroundings",
    "colour": "the object's colour is the asked one of twelve",
    "moving": "the object moves where motion is asked, and stands still where not",
    "direction": "it goes left, right, up, down, nearer, farther or nowhere, as asked",
    "time": "day, sunset, dawn or night, where asked",
    "floor": "the ground has the asked floor's colour",
}
MARKS = ("score", "chance", "ceiling", "share")


def write_report(
    out: str | Path,
    report: dict[str, Any],
    clips: Sequence[np.ndarray],
    truth: Sequence[np.ndarray] | None = None,
) -> Path:
    """Write the report's files into the folder `out`; returns the path of report.html.

    Args:
        out: folder; made if missing.
        report: what `evaluate_clips` returns.
        clips: uint8 (T, H, W, 3) per prompt, in the report's order.
        truth: true clips in the same order, shown under each sample.
    """
    out = Path(out)
    titles = [f"{number}. {entry['prompt']}" for number, entry in enumerate(report["prompts"], 1)]
    _save(out / "sheet.png", _png(contact_sheet(list(zip(titles, clips, strict=True)), columns=6)))
    text = _html(report, titles, clips, truth)
    _save(out / "report.json", (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode())
    return _save(out / "report.html", text.encode())


def text_table(report: dict[str, Any]) -> str:
    """The attributes as lines of text: percentages, brackets are 95 % intervals."""
    lines: list[tuple[str, ...]] = [("attribute", "n", *MARKS)]
    for name, result in report["attributes"].items():
        lines.append((name, str(result["n"]), *(_percent(result[mark]) for mark in MARKS)))
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def _html(
    report: dict[str, Any], titles: list[str], clips: Sequence[np.ndarray], truth: Sequence[np.ndarray] | None
) -> str:
    head = "".join(f"<th>{word}</th>" for word in ("attribute", "prompts", *MARKS, ""))
    rows = "".join(
        f"<tr><td><b>{name}</b><br><small>{escape(MEANINGS[name])}</small></td><td>{result['n']}</td>"
        + "".join(f"<td>{_percent(result[mark])}</td>" for mark in MARKS)
        + f"<td>{_bar(result)}</td></tr>"
        for name, result in report["attributes"].items()
    )
    settings = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>"
        for name, value in report["settings"].items()
    )
    parts = [
        "<h1>Kinema evaluation</h1>",
        f"<p>{len(titles)} prompts, measured from pixels. <b>Score</b>: share of clips that show what was asked. "
        "<b>Chance</b>: the score with the prompts dealt to the clips at random. <b>Ceiling</b>: the score of "
        "true clips of the same prompts. <b>Share</b>: (score − chance) / (ceiling − chance). Brackets are 95 % "
        "bootstrap intervals over prompts.</p>",
        f"<table><tr>{head}</tr>{rows}</table>",
        f"<h2>Settings</h2><table>{settings}</table>",
        "<h2>Every clip</h2>" + ("<p>Above the sample, below the true clip.</p>" if truth is not None else ""),
    ]
    for number, (entry, title, clip) in enumerate(zip(report["prompts"], titles, clips)):
        strips = [("", clip)] if truth is None else [("", clip), ("", truth[number])]
        parts.append(
            f"<h3>{escape(title)}</h3><p>{_verdicts(entry)}</p>"
            + embedded(_png(contact_sheet(strips, columns=8)), f"frames of clip {number + 1}")
        )
    return page("Kinema evaluation", parts)


def _verdicts(entry: dict[str, Any]) -> str:
    words = []
    for name, asked in entry["asked"].items():
        measured = entry["measured"][name]
        right = measured == asked
        text = f"{'✓' if right else '✗'} {name}: {measured}" + ("" if right else f", asked {asked}")
        words.append(f"<span>{escape(text)}</span>" if right else f"<strong>{escape(text)}</strong>")
    return " · ".join(words)


def _bar(result: dict[str, Any]) -> str:
    """The score as a bar on a track from 0 to 100 %, with chance and ceiling as ticks."""
    ticks = "".join(
        f'<line x1="{200 * result[mark]["value"]:.1f}" x2="{200 * result[mark]["value"]:.1f}" y1="0" y2="16" '
        f'stroke="{stroke}" stroke-width="2"/>'
        for mark, stroke in (("chance", "#a3231b"), ("ceiling", "#17692a"))
        if result[mark] is not None
    )
    return (
        '<svg width="204" height="16" role="img" aria-label="score as a bar; red: chance, green: ceiling">'
        '<rect width="200" height="16" fill="#eee"/>'
        f'<rect width="{200 * result["score"]["value"]:.1f}" y="3" height="10" fill="#3455db"/>{ticks}</svg>'
    )


def _percent(mark: dict[str, float] | None) -> str:
    if mark is None:
        return "–"
    value, low, high = (round(100 * mark[end]) for end in ("value", "low", "high"))  # whole, so never "-0"
    return f"{value} % [{low}, {high}]"


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _save(path: Path, content: bytes) -> Path:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path
