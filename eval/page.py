"""Pieces of a self-contained HTML page: pictures are embedded, curves are inline SVG, nothing is fetched."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #223; }
img { max-width: 100%; image-rendering: auto; } pre { background: #f4f5f8; padding: 1rem; overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
td, th { padding: .25rem .8rem; border-bottom: 1px solid #dde; }
th { text-align: left; } figure { display: inline-block; margin: .5rem 1rem .5rem 0; }
figcaption { font-size: 13px; color: #556; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole HTML document from body parts."""
    body = "\n".join(parts)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><body>\n{body}\n</body></html>\n"
    )


def picture(path: Path) -> str:
    """A PNG file embedded in the page, captioned with its name."""
    return embedded(path.read_bytes(), path.stem)


def embedded(png: bytes, caption: str) -> str:
    """A PNG's bytes embedded in the page."""
    data, name = base64.b64encode(png).decode(), escape(caption)
    return f'<figure><img alt="{name}" src="data:image/png;base64,{data}"><figcaption>{name}</figcaption></figure>'


def table(rows: Sequence[Sequence[object]]) -> str:
    """A table whose first row is its header."""
    head, *body = rows
    lines = ["<tr>" + "".join(f"<th>{escape(str(cell))}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in body]
    return "<table>" + "".join(lines) + "</table>"


def curve(name: str, points: Sequence[tuple[float, float]], width: int = 300, height: int = 140) -> str:
    """A line through (step, value) points with its first, last and extreme values written out."""
    steps, values = zip(*points)
    low, high = min(values), max(values)
    across, up = max(steps) - min(steps) or 1, high - low or 1
    line = " ".join(
        f"{8 + (s - min(steps)) / across * (width - 16):.1f},{height - 8 - (v - low) / up * (height - 16):.1f}"
        for s, v in points
    )
    text = f"{escape(name)}: {values[0]:.4g} → {values[-1]:.4g} (lowest {low:.4g}, highest {high:.4g})"
    return (
        f'<figure><svg width="{width}" height="{height}" role="img" aria-label="{text}">'
        f'<rect width="{width}" height="{height}" fill="#f4f5f8"/>'
        f'<polyline points="{line}" fill="none" stroke="#3455db" stroke-width="1.5"/></svg>'
        f"<figcaption>{text}</figcaption></figure>"
    )
