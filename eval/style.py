"""The look of the exam's pages: one style sheet, light and dark, and the frame of a self-contained document."""

from collections.abc import Iterable
from html import escape

# Text and its ground differ by at least 4.5 : 1 in both schemes; marks differ in shape as well as in colour.
STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1a1d24; --muted: #565d6b; --line: #d9dce3;
  --track: #eceef3; --score: #2f5bd3; --chance: #b23a24; --true: #1c7440; --vae: #7a4fc0; --heat: 47 91 211;
  --good: #1c7440; --bad: #b23a24; }
@media (prefers-color-scheme: dark) { :root { --ground: #14161b; --text: #e8eaef; --muted: #a5acb9;
  --line: #343944; --track: #262a33; --score: #7da1ff; --chance: #ff9277; --true: #6fd496; --vae: #c3a3ff;
  --heat: 80 122 240;
  --good: #6fd496; --bad: #ff9277; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1.5rem 1rem 4rem;
  background: var(--ground); color: var(--text); }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
p { max-width: 46rem; margin: .5rem 0; } small, .muted { color: var(--muted); }
.figures { display: flex; flex-wrap: wrap; gap: 2.5rem; margin: 1.25rem 0; }
.figures div { min-width: 8rem; } .figures b { display: block; font-size: 2.2rem; line-height: 1.1; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); padding-bottom: .25rem; }
th, td { text-align: left; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; } tbody th { min-width: 8rem; } td.n, th.n { text-align: right; white-space: nowrap; }
td.n small { display: block; }
svg { display: block; } svg text { fill: var(--text); font: 12px system-ui, sans-serif; }
svg .muted { fill: var(--muted); }
.track { fill: var(--track); } .score { fill: var(--score); } .axis { stroke: var(--line); }
.whisker { stroke: var(--text); stroke-width: 1.5; } .halo { stroke: var(--ground); stroke-width: 4; }
.chance { stroke: var(--chance); fill: none; stroke-width: 2.5; } .true { stroke: var(--true); stroke-width: 2.5; }
.vae { stroke: var(--vae); stroke-width: 2.5; stroke-dasharray: 3 2; }
.other { fill: var(--true); } .P { fill: var(--score); } .A { fill: var(--true); } .B { fill: var(--chance); }
.C { fill: var(--vae); }
table.heat { font-size: 11px; }
table.heat th, table.heat td { padding: .1rem .25rem; border: 1px solid var(--line); }
table.heat tbody th { min-width: 0; white-space: nowrap; font-weight: 400; }
table.heat td { text-align: right; background: rgb(var(--heat) / calc(var(--w, 0) * .55)); min-width: 1.6rem; }
table.heat td.same { outline: 2px solid var(--text); outline-offset: -2px; }
table.heat thead th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; font-weight: 400; }
.clips { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); gap: 1.5rem; }
figure { margin: 0; } img { max-width: 100%; height: auto; display: block; border-radius: 3px; }
figcaption { margin-top: .35rem; font-size: 13px; } ul.said { list-style: none; margin: .2rem 0 0; padding: 0; }
ul.said li { display: inline-block; margin-right: .9rem; } .good { color: var(--good); }
.bad { color: var(--bad); font-weight: 600; }
pre { background: var(--track); padding: .75rem; overflow-x: auto; } td code { overflow-wrap: anywhere; }
summary { cursor: pointer; }
"""


def document(title: str, parts: Iterable[str]) -> str:
    """A whole HTML document from body parts; nothing is fetched."""
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n"
        "</html>\n"
    )
