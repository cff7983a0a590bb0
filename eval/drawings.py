"""Figures of the exam's pages: bars, points, a histogram and a heat table in SVG and HTML, and pictures of clips.

Estimates are {"value", "low", "high"} as in report.json, or None. Every figure has a text for those who cannot see
it.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from .questions import ATTRIBUTES

Estimate = Mapping[str, float]


class Detail(NamedTuple):
    """How finely a page keeps its pictures."""

    quality: int  # of WebP, 0 to 100
    scale: float  # of their sides


SHAPES = {"P": "circle", "A": "square", "B": "diamond", "C": "triangle"}


def percent(estimate: Estimate | None) -> str:
    """ "83 % [80, 86]", or a dash."""
    if estimate is None:
        return "–"
    value, low, high = (round(100 * estimate[end]) for end in ("value", "low", "high"))  # whole, so never "-0"
    return f"{value} % [{low}, {high}]"


def percent_cell(estimate: Estimate | None) -> str:
    """A table cell with the value and, below it, its interval."""
    if estimate is None:
        return '<td class="n">–</td>'
    value, interval = percent(estimate).split(" [")
    return f'<td class="n">{value}<small>[{interval}</small></td>'


def mark_bar(mark: Mapping[str, Any], width: int = 260) -> str:
    """An attribute's score as a bar from 0 to 100 %, its interval, and chance and ceilings as ticks."""

    def x(value: float) -> float:
        return 4 + (width - 8) * min(max(value, 0.0), 1.0)

    score = mark["score"]
    ticks = "".join(
        f'<path class="{style}" d="M{x(mark[name]["value"]):.1f} 1V21"/>'
        for name, style in (("ceiling_vae", "vae"), ("ceiling_true", "true"))
        if mark[name]
    )
    if mark["chance"]:
        at = x(mark["chance"]["value"])
        ticks += f'<path class="chance" d="M{at:.1f} 1V21M{at - 3:.1f} 1h6M{at - 3:.1f} 21h6"/>'
    label = ", ".join(
        f"{name} {percent(mark[key])}"
        for name, key in (("score", "score"), ("chance", "chance"), ("ceiling", "ceiling_true"))
    )
    return (
        f'<svg width="{width}" height="22" viewBox="0 0 {width} 22" role="img" aria-label="{label}">'
        f'<rect class="track" x="4" y="4" width="{width - 8}" height="14"/>'
        f'<rect class="score" x="4" y="6" width="{x(score["value"]) - 4:.1f}" height="10"/>'
        f"{_whisker(x(score['low']), x(score['high']), 11)}{ticks}</svg>"
    )


def bar_legend() -> str:
    """What the parts of `mark_bar` are."""
    parts = (
        ('<rect class="score" x="1" y="4" width="18" height="10"/>', "score"),
        ('<line class="whisker" x1="1" x2="19" y1="9" y2="9"/>', "its 95 % interval"),
        ('<path class="chance" d="M10 1V17M7 1h6M7 17h6"/>', "chance"),
        ('<line class="true" x1="10" x2="10" y1="1" y2="17"/>', "ceiling: true clips"),
        ('<line class="vae" x1="10" x2="10" y1="1" y2="17"/>', "ceiling: reconstructions"),
    )
    items, left = "", 0
    for drawing, name in parts:
        items += f'<g transform="translate({left} 0)">{drawing}<text x="26" y="13">{name}</text></g>'
        left += 50 + 6.6 * len(name)
    size = f'width="{left:.0f}" height="20" viewBox="0 0 {left:.0f} 20"'
    return f'<svg {size} role="img" aria-label="legend">{items}</svg>'


def share_plot(tiers: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """Shares of all attributes in all tiers, as points with their intervals on -25 to 125 %.

    Args:
        tiers: "marks" of a report.
        names: tier to what the legend calls it.
    """
    shared = {name for tier in tiers.values() for name, mark in tier["attributes"].items() if mark["share"]}
    attributes = [name for name in ATTRIBUTES if name in shared]
    step, left, width = 11, 90, 560
    row = step * len(tiers) + 10
    height = row * len(attributes) + 50

    def x(value: float) -> float:
        return left + width * (min(max(value, -0.25), 1.25) + 0.25) / 1.5

    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<line class="axis" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="26" y2="{height - 22}"/>')
        parts.append(
            f'<text class="muted" x="{x(tick):.1f}" y="{height - 6}" text-anchor="middle">{tick:.0%}</text>'
        )
    for number, tier in enumerate(tiers):
        at = left + 130 * number
        parts.append(point(tier, at, 10) + f'<text x="{at + 12}" y="14">{escape(names.get(tier, tier))}</text>')
    for number, attribute in enumerate(attributes):
        top = 32 + row * number
        parts.append(f'<text x="0" y="{top + row / 2:.1f}">{escape(attribute)}</text>')
        for line, (tier, marks) in enumerate(tiers.items()):
            share = marks["attributes"].get(attribute, {}).get("share")
            if share:
                y = top + step * line + 5
                parts.append(_whisker(x(share["low"]), x(share["high"]), y))
                parts.append(point(tier, x(share["value"]), y))
    across = left + width + 20
    return (
        f'<svg width="{across}" height="{height}" viewBox="0 0 {across} {height}" role="img" '
        f'aria-label="Shares by attribute and tier; the tables above hold the numbers">{"".join(parts)}</svg>'
    )


def point(tier: str, x: float, y: float) -> str:
    """A tier's mark: each has a shape and a colour of its own."""
    shapes = {
        "circle": f'<circle class="{tier}" cx="{x:.1f}" cy="{y}" r="4.5"/>',
        "square": f'<rect class="{tier}" x="{x - 4:.1f}" y="{y - 4}" width="8" height="8"/>',
        "diamond": f'<path class="{tier}" d="M{x:.1f} {y - 5.5}l5.5 5.5l-5.5 5.5l-5.5-5.5z"/>',
        "triangle": f'<path class="{tier}" d="M{x:.1f} {y - 5}l5 9h-10z"/>',
    }
    return shapes[SHAPES.get(tier, "circle")]


def difference_bar(estimate: Estimate | None, width: int = 220, reach: float = 0.5) -> str:
    """A difference and its interval about a middle line; what lies beyond ±50 points is drawn at the edge."""
    if estimate is None:
        return ""

    def x(value: float) -> float:
        return width / 2 * (1 + min(max(value, -reach), reach) / reach * 0.96)

    low, value, high = x(estimate["low"]), x(estimate["value"]), x(estimate["high"])
    return (
        f'<svg width="{width}" height="18" viewBox="0 0 {width} 18" role="img" aria-label="{points(estimate)}">'
        f'<rect class="track" width="{width}" y="2" height="14"/>'
        f'<line class="chance" x1="{width / 2}" x2="{width / 2}" y1="0" y2="18"/>'
        f"{_whisker(low, high, 9)}{point('P', value, 9)}</svg>"
    )


def points(estimate: Estimate | None) -> str:
    """ "+4 [−1, +9] points", or a dash."""
    if estimate is None:
        return "–"
    value, low, high = (f"{round(100 * estimate[end]):+d}".replace("-", "−") for end in ("value", "low", "high"))
    return f"{value} [{low}, {high}] points"


def histogram(series: Mapping[str, Sequence[float]], bins: int = 10) -> str:
    """How often shares from 0 to 1 occur, as bars side by side: up to two series, each in percent of its own."""
    width, height, left = 560, 170, 40
    counts = {name: np.histogram(values, bins, (0, 1))[0] / max(len(values), 1) for name, values in series.items()}
    most = max((float(c.max()) for c in counts.values()), default=0) or 1
    slot = width / bins
    parts = [f'<line class="axis" x1="{left}" x2="{left + width}" y1="{height}" y2="{height}"/>']
    for number, (name, found) in enumerate(counts.items()):
        style, thick = ("score", "other")[number % 2], slot * 0.8 / len(counts)
        for place, value in enumerate(found):
            tall, at = (height - 30) * value / most, left + slot * (place + 0.1) + thick * number
            box = f'x="{at:.1f}" y="{height - tall:.1f}" width="{thick:.1f}" height="{tall:.1f}"'
            parts.append(f'<rect class="{style}" {box}/>')
        at = left + 150 * number
        parts.append(f'<rect class="{style}" x="{at}" y="2" width="10" height="10"/>')
        parts.append(f'<text x="{at + 16}" y="12">{escape(name)} ({len(series[name])})</text>')
    for tick in range(0, bins + 1, 2):
        parts.append(
            f'<text class="muted" x="{left + slot * tick:.1f}" y="{height + 16}" text-anchor="middle">'
            f"{tick / bins:.0%}</text>"
        )
    parts.append(f'<text class="muted" x="0" y="36">{most:.0%}</text>')
    told = "; ".join(f"{name}: mean {np.mean(values):.0%}" for name, values in series.items() if len(values))
    return (
        f'<svg width="{left + width + 20}" height="{height + 24}" viewBox="0 0 {left + width + 20} {height + 24}" '
        f'role="img" aria-label="Histogram of the share of asked attributes that are right. {escape(told)}">'
        f"{''.join(parts)}</svg>"
    )


def heat_table(pairs: Sequence[tuple[str, str]], order: Sequence[str], caption: str) -> str:
    """How often each asked word (rows) was read as each word (columns); shading is the share of its row.

    Args:
        pairs: (asked, read).
        order: the words' order; others follow.
        caption: what the table is.
    """
    words = [*order, *sorted({word for pair in pairs for word in pair} - set(order))]
    rows = [word for word in words if any(asked == word for asked, _ in pairs)]
    columns = [word for word in words if any(word in pair for pair in pairs)]
    lines = []
    for asked in rows:
        counts = [sum(pair == (asked, read) for pair in pairs) for read in columns]
        cells = "".join(
            f'<td{" class=same" if read == asked else ""} style="--w:{n / sum(counts):.2f}">{n or ""}</td>'
            for read, n in zip(columns, counts)
        )
        lines.append(f'<tr><th scope="row">{escape(asked)}</th>{cells}</tr>')
    head = "".join(f'<th scope="col">{escape(word)}</th>' for word in columns)
    return (
        f'<div class="wide"><table class="heat"><caption>{escape(caption)}</caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def strip(clips: Sequence[np.ndarray], columns: int = 6, tile: int = 76) -> Image.Image:
    """Evenly spaced frames of clips, uint8 (T, H, W, 3), a row each; frames are `tile` pixels high."""
    rows = []
    for frames in clips:
        shown = np.linspace(0, len(frames) - 1, min(columns, len(frames))).round().astype(int)
        width = max(1, round(tile * min(frames.shape[2] / frames.shape[1], 2.5)))
        rows.append([_scaled(frames[k], width, tile) for k in shown])
    across = max(len(row) * (row[0].width + 2) - 2 for row in rows)
    picture = Image.new("RGB", (across, len(rows) * (tile + 2) - 2), (127, 127, 127))
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            picture.paste(image, (x * (image.width + 2), y * (tile + 2)))
    return picture


def mosaic(frames: Sequence[np.ndarray], columns: int = 20, tile: int = 54) -> Image.Image:
    """Single frames, uint8 (H, W, 3), side by side; each is fitted to a square."""
    picture = Image.new("RGB", (columns * tile, -(-len(frames) // columns) * tile), (127, 127, 127))
    for number, frame in enumerate(frames):
        side = min(frame.shape[:2])
        top, left = (frame.shape[0] - side) // 2, (frame.shape[1] - side) // 2
        square = _scaled(frame[top : top + side, left : left + side], tile - 2, tile - 2)
        picture.paste(square, (number % columns * tile + 1, number // columns * tile + 1))
    return picture


def image(picture: Image.Image, alt: str, detail: Detail) -> str:
    """A picture within the page, as WebP; it is shown at its own size also where it is stored smaller."""
    kept = (max(1, round(detail.scale * picture.width)), max(1, round(detail.scale * picture.height)))
    buffer = io.BytesIO()
    stored = picture if kept == picture.size else picture.resize(kept, Image.Resampling.BOX)
    stored.save(buffer, format="WEBP", quality=detail.quality, method=2)
    data = base64.b64encode(buffer.getvalue()).decode()
    size = f'width="{picture.width}" height="{picture.height}"'
    return f'<img alt="{escape(alt)}" {size} loading="lazy" src="data:image/webp;base64,{data}">'


def _whisker(low: float, high: float, y: float) -> str:
    """An interval as a line, with a halo so that it shows on a bar of any colour."""
    line = f"M{low:.1f} {y}H{high:.1f}"
    return f'<path class="halo" d="{line}"/><path class="whisker" d="{line}"/>'


def _scaled(frame: np.ndarray, width: int, height: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(frame)).resize((width, height), Image.Resampling.LANCZOS)
