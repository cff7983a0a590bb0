"""Pieces of a self-contained HTML page. All text that goes in is escaped: file names and captions are hostile."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from ...data.sheets import contact_sheet

BINS = 24
WIDTH, HEIGHT = 320, 132  # of a histogram, pixels
STRIP_HEIGHT, STRIP_WIDTH = 90, 360  # pixels of a strip's frames, at most
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 0 auto; padding: 1rem; color: #1c2030;
  background: #fff; overflow-wrap: break-word; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccd; } h3 { margin: 1.5rem 0 .25rem; }
nav a { margin-right: 1rem; white-space: nowrap; } a { color: #2340b0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: .5rem 0; }
caption { text-align: left; color: #4a5068; padding: .25rem 0; }
td, th { padding: .25rem .7rem; border-bottom: 1px solid #dde; text-align: left; vertical-align: top; }
th[scope=col] { vertical-align: bottom; } th[scope=row] { min-width: 5rem; }
td:not(.n):last-child { min-width: 14rem; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { background: #3455db; height: .8rem; min-width: 1px; }
.grid { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; max-width: 100%; }
.clip { margin: .6rem 0; } img, svg { max-width: 100%; height: auto; display: block; }
figcaption { font-size: 14px; color: #4a5068; max-width: 46rem; } .grid figcaption { max-width: 20rem; }
.figures { display: flex; flex-wrap: wrap; gap: .5rem 2rem; padding: 0; list-style: none; }
.figures b { display: block; font-size: 1.6rem; line-height: 1.2; }
.note { background: #fff6dc; padding: .5rem .8rem; }
"""


def shown(text: object) -> str:
    """A text for the page: escaped, with characters that cannot be seen or turn the line round written out."""
    seen = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" if c != "\n" else "⏎" for c in str(text))
    return escape(seen, quote=True)


def page(title: str, sections: Sequence[tuple[str, Iterable[str]]]) -> str:
    """A whole HTML document of (heading, parts) sections."""
    links, body = [], []
    for number, (heading, parts) in enumerate(sections):
        name = shown(heading)
        links.append(f'<a href="#s{number}">{name}</a>')
        body.append(f'<section id="s{number}"><h2>{name}</h2>\n' + "\n".join(parts) + "\n</section>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{shown(title)}</title><style>{_STYLE}</style></head>\n<body><main><h1>{shown(title)}</h1>\n"
        f'<nav aria-label="Sections">{" ".join(links)}</nav>\n' + "\n".join(body) + "\n</main></body></html>\n"
    )


def paragraph(text: str, *, note: bool = False) -> str:
    """A paragraph; a note stands out."""
    return f'<p class="note">{shown(text)}</p>' if note else f"<p>{shown(text)}</p>"


def heading(text: str) -> str:
    """A heading inside a section."""
    return f"<h3>{shown(text)}</h3>"


def figures(pairs: Iterable[tuple[str, object]]) -> str:
    """A few large figures, each with what it counts."""
    items = "".join(f"<li><b>{shown(value)}</b>{shown(name)}</li>" for name, value in pairs)
    return f'<ul class="figures">{items}</ul>'


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with a caption and a header; the first cell of a row is its header, numbers stand right."""
    top = "".join(f'<th scope="col">{shown(cell)}</th>' if cell else "<td></td>" for cell in head)
    lines = []
    for first, *rest in rows:
        cells = "".join(
            f'<td class="n">{number(cell)}</td>' if isinstance(cell, int | float) else f"<td>{_cell(cell)}</td>"
            for cell in rest
        )
        lines.append(f'<tr><th scope="row">{shown(first)}</th>{cells}</tr>')
    name = shown(title)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{name}"><table><caption>{name}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


class Bar(float):
    """A share, 0 to 1, that a table draws as a bar; its number stands in another cell."""


def _cell(cell: object) -> str:
    return shown("" if cell is None else cell)


def number(value: float) -> str:
    """A number as a person writes it; a `Bar` as a bar."""
    if isinstance(value, Bar):
        return f'<div class="bar" aria-hidden="true" style="width:{100 * min(max(value, 0), 1):.1f}px"></div>'
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def histogram(name: str, values: np.ndarray, low: float | None = None, high: float | None = None) -> str:
    """A histogram of values that are numbers, with the thresholds below and above which clips are rejected.

    Everything that it shows is also said in words.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return f"<figure><figcaption>{shown(name)}: not measured</figcaption></figure>"
    limits = [limit for limit in (low, high) if limit is not None]
    # Far values do not squeeze the rest together: they are counted in the outermost bars.
    left, right = np.quantile(values, [0.002, 0.998])
    left, right = min(left, *limits, right), max(right, *limits, left)
    if right - left <= 1e-9 * max(abs(left), abs(right)):  # too little to draw bars in
        right = left + (abs(left) or 1) * 0.1
    counts = np.histogram(np.clip(values, left, right), BINS, (left, right))[0]
    step, floor = WIDTH / BINS, HEIGHT - 16
    beyond = np.zeros(len(values), bool)
    beyond |= values < low if low is not None else False
    beyond |= values > high if high is not None else False
    said = f"{name}: median {np.median(values):.3g}, from {values.min():.3g} to {values.max():.3g}"
    said += f", n = {len(values):,}"
    if limits:
        bounds = [f"at least {low:g}" if low is not None else "", f"at most {high:g}" if high is not None else ""]
        said += f"; wanted {' and '.join(filter(None, bounds))}: {int(beyond.sum()):,} beyond"
    bars = []
    for k, count in enumerate(counts):
        tall = max(floor * 0.92 * count / counts.max(), 1.0 if count else 0.0)
        middle = left + (k + 0.5) * (right - left) / BINS
        rejected = (low is not None and middle < low) or (high is not None and middle > high)
        bars.append(
            f'<rect x="{k * step + 0.5:.1f}" y="{floor - tall:.1f}" width="{step - 1:.1f}" height="{tall:.1f}" '
            f'fill="{"#c2410c" if rejected else "#3455db"}"/>'
        )
    for limit in limits:
        x = (limit - left) / (right - left) * WIDTH
        bars.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{floor}" stroke="#1c2030" stroke-dasharray="4 3"/>'
        )
    ends = (
        f'<text x="0" y="{HEIGHT - 3}" font-size="12" fill="#4a5068">{left:.3g}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT - 3}" font-size="12" fill="#4a5068" text-anchor="end">{right:.3g}</text>'
    )
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{shown(said)}"><rect width="{WIDTH}" height="{floor}" fill="#f2f3f8"/>'
        f"{''.join(bars)}{ends}</svg>"
        f"<figcaption>{shown(said)}</figcaption></figure>"
    )


def strip(frames: np.ndarray | None, alt: str, said: str) -> str:
    """Frames of a clip in a row, with a text beneath; `frames` None: it cannot be read any more."""
    below = f"<figcaption>{shown(said)}</figcaption>"
    if frames is None:
        return f'<figure class="clip"><p>(the file cannot be read any more)</p>{below}</figure>'
    height, width = frames.shape[1:3]
    tall = max(1, min(STRIP_HEIGHT, STRIP_WIDTH * height // width))
    sheet, data = contact_sheet([("", frames)], tile_height=tall), io.BytesIO()
    sheet.save(data, "JPEG", quality=82)
    url = f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
    size = f'width="{sheet.width}" height="{sheet.height}"'
    return f'<figure class="clip"><img loading="lazy" {size} alt="{shown(alt)}" src="{url}">{below}</figure>'
