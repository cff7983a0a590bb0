"""The report card of one exam: report.html, one page that needs nothing else, and report.json beside it.

report = build_report(sitting, reads, name="packaged checkpoint", …)
write_card(out, report, frames=lambda prompt, seed: store.read(prompt, seed).frames)
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..data.diorama.scene import COLOURS, KINDS
from ..data.files import atomic_path
from . import drawings
from .bars import COLUMNS, bars, cells, summary
from .drawings import Detail
from .outcome import to_json
from .questions import MOTIONS, ExamPrompt
from .sitting import ClipAnswers, Sitting
from .style import document

LARGEST = 1_500_000  # bytes of a page
SHOWN = 24  # worst clips, and as many typical ones
DETAILS = [Detail(80, 1), Detail(60, 1), Detail(40, 1), Detail(50, 0.5), Detail(30, 0.5), Detail(30, 0.25)]
NO_WORD = "none"  # in a heat table: nothing was found, or not one word
TIER_NAMES = {"P": "Probes", "A": "Tier A", "B": "Tier B", "C": "Tier C"}
TIER_MEANINGS = {
    "P": "One question at a time on a plain stage: still camera (but for camera probes), by day, solid and matte.",
    "A": "One object, in other wording than the training captions'.",
    "B": "Compositions that were held out of training.",
    "C": "Several objects with relations, counts and events, and one thing after another.",
}
MEANINGS = {
    "object": "it is the asked kind of thing; all of them, if several are asked",
    "colour": "the asked colour of twelve, of each object",
    "size": "small or large",
    "material": "shiny, metallic or glowing",
    "pattern": "striped, spotted or checkered",
    "count": "as many things as asked",
    "relation": "where the others stand as seen from the first",
    "event": "what the two do with each other",
    "motion": "what it does, of eleven motions",
    "then": "what it does in the second half",
    "direction": "left, right, towards or away, relative to the background",
    "speed": "slow or fast",
    "camera": "the camera's move, of thirteen",
    "floor": "the ground, of eight",
    "background": "what stands at the horizon",
    "time": "day, dawn, sunset or night",
    "style": "how the picture is drawn",
}
Frames = Callable[[ExamPrompt, int], np.ndarray | None]  # prompt, seed → uint8 (T, H, W, 3)
Draw = Callable[[Detail], str]  # HTML, with its pictures as finely as asked
Pieces = list[str | Draw]


def write_card(out: str | Path, report: Mapping[str, Any], frames: Frames, truth: Frames | None = None) -> Path:
    """Write report.json and report.html into the folder `out`; returns the path of report.html.

    Args:
        out: folder; made if missing.
        report: of `build_report`.
        frames: the sampled clip of a prompt and seed; None where it is gone, and then no picture is shown.
        truth: the true clip of a prompt and seed, shown under the sample.

    Raises:
        ValueError: the page cannot be made smaller than 1.5 MB.
    """
    out = Path(out)
    save(out / "report.json", to_json(report))
    sitting = Sitting.from_dict(report["sitting"])
    clips = shown_clips(report)
    parts = [
        *_head(report, sitting),
        *_bars(report),
        *_tables(report),
        *_measures(report),
        *_plots(report, sitting, clips),
    ]
    pictures = [_sheets(sitting, frames), _worst(clips, frames, truth), _typical(clips, frames, truth)]

    def page(detail: Detail) -> str:
        drawn = [piece if isinstance(piece, str) else piece(detail) for some in pictures for piece in some]
        return document(f"Exam: {report['name']}", [*parts, *drawn, *_foot(report)])

    return save(out / "report.html", fitted(page))


@dataclass(frozen=True)
class Shown:
    """A sampled clip with all that a page says of it."""

    prompt: ExamPrompt
    answers: ClipAnswers
    read: Mapping[str, str]

    @property
    def name(self) -> str:
        """ "<prompt id>-<seed>"."""
        return f"{self.prompt.id}-{self.answers.seed}"

    @property
    def right(self) -> float:
        """Share of what was asked that is right."""
        return sum(self.answers.own.values()) / len(self.answers.own)

    @property
    def merit(self) -> float:
        """By which the worst are found, (right + 1) / (asked + 2): five wrong of five are worse than one."""
        return (sum(self.answers.own.values()) + 1) / (len(self.answers.own) + 2)


def shown_clips(report: Mapping[str, Any]) -> list[Shown]:
    """The sampled clips of a report."""
    sitting = Sitting.from_dict(report["sitting"])
    return [
        Shown(prompt, clip, report["reads"].get(f"{prompt.id}-{clip.seed}", {}))
        for clip in sitting.samples
        for prompt in (sitting.prompts[clip.prompt],)
    ]


def figure(clip: Shown, sources: Sequence[Frames | None]) -> Draw:
    """A clip's pictures, one row from each source, with what was asked and what was read."""
    found = [source(clip.prompt, clip.answers.seed) for source in sources if source is not None]
    rows = [frames for frames in found if frames is not None]
    picture = drawings.strip(rows) if rows else None
    said = []
    for name, asked in clip.prompt.asked.items():
        read, right = clip.read.get(name), clip.answers.own[name]
        told = f"{name}: {asked}" if right else f"{name}: {read or 'something else'}, asked {asked}"
        said.append(f'<li class="{"good" if right else "bad"}">{"✓" if right else "✗"} {escape(told)}</li>')
    caption = (
        f"<figcaption>“{escape(clip.prompt.text)}” <span class=muted>{escape(clip.name)}</span>"
        f'<ul class="said">{"".join(said)}</ul></figcaption>'
    )
    alt = f"Frames of the clip of: {clip.prompt.text}"

    def draw(detail: Detail) -> str:
        shown = drawings.image(picture, alt, detail) if picture else "<p class=muted>The clip is not kept.</p>"
        return f"<figure>{shown}{caption}</figure>"

    return draw


def fitted(page: Draw) -> str:
    """The page with the finest pictures that keep it within 1.5 MB."""
    size = 0
    for detail in DETAILS:
        text = page(detail)
        size = len(text.encode())
        if size <= LARGEST:
            return text
    raise ValueError(f"the page has {size} bytes with the coarsest pictures; it needs to be at most {LARGEST}")


def save(path: Path, text: str) -> Path:
    """Write a text file that appears whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _head(report: Mapping[str, Any], sitting: Sitting) -> list[str]:
    figures = "".join(
        f"<div><b>{drawings.percent(tier['mean']['share']).split(' [')[0]}</b>{TIER_NAMES[name]}"
        f"<br><small>mean share [{drawings.percent(tier['mean']['share']).split('[')[1]}</small></div>"
        for name, tier in report["marks"].items()
        if tier["mean"] and tier["mean"]["share"]
    )
    return [
        f"<h1>Exam: {escape(report['name'])}</h1>",
        f'<p class="muted">{len(sitting.samples)} clips of {len(sitting.prompts)} prompts, list '
        f"{escape(report['list']['name'])} ({escape(report['list']['digest'])}).</p>",
        f'<div class="figures">{figures}</div>' if figures else "",
        "<p><b>Score</b>: clips that show what was asked. <b>Chance</b>: the same with the prompts dealt to the "
        "clips at random. <b>Ceiling</b>: true clips of the same prompts, read by the same judge, and those clips "
        "after the autoencoder. <b>Share</b>: (score − chance) / (ceiling − chance); 0 % ignores the prompt, "
        "100 % is as good as truth. Brackets are 95 % intervals over prompts.</p>",
        f'<div class="wide">{drawings.bar_legend()}</div>',
    ]


def _bars(report: Mapping[str, Any]) -> list[str]:
    rows = bars(report["marks"])
    if not rows:
        return []
    head = "".join(f"<th>{column}</th>" for column in COLUMNS)
    lines = ""
    for row in rows:
        style = {True: ' class="good"', False: ' class="bad"', None: ""}[row["passed"]]
        *most, said = (escape(cell) for cell in cells(row))
        mark = {True: "✓ ", False: "✗ ", None: ""}[row["passed"]]
        lines += f"<tr>{''.join(f'<td>{cell}</td>' for cell in most)}<td{style}>{mark}{said}</td></tr>"
    said = [f"Prompts: {summary(rows)}.", f"Autoencoder: {summary(rows, 'autoencoder')}."]
    told = " ".join(line for line in said if "bars" in line)
    return [
        "<h2>Bars</h2><p>What a packaged checkpoint should reach. A bar is passed when the point estimate reaches "
        f"it. Of “prompt”: the share; of “autoencoder”: the ceiling after it, of that before it. {told}</p>",
        f'<details open><summary>All {len(rows)}</summary><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div></details>",
    ]


def _tables(report: Mapping[str, Any]) -> list[str]:
    parts = []
    for name, tier in report["marks"].items():
        rows = "".join(_row(attribute, mark) for attribute, mark in tier["attributes"].items())
        if tier["mean"]:
            rows += _row("mean", tier["mean"])
        head = "<th>attribute</th><th class=n>prompts<br><small>clips</small></th><th>score, 0 to 100 %</th>"
        head += "".join(
            f'<th class="n">{word}</th>'
            for word in ("score", "chance", "ceiling", "after VAE", "share", "of VAE’s")
        )
        parts.append(
            f"<h2>{TIER_NAMES[name]}</h2><p>{TIER_MEANINGS[name]}</p>"
            f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        )
    return parts


def _row(name: str, mark: Mapping[str, Any]) -> str:
    meaning = MEANINGS.get(name, "of the attributes that have a share")
    cells = "".join(
        drawings.percent_cell(mark[key])
        for key in ("score", "chance", "ceiling_true", "ceiling_vae", "share", "share_vae")
    )
    count = "" if name == "mean" else f"{mark['n_prompts']}<small>{mark['n_clips']}</small>"
    return (
        f'<tr><th scope="row">{escape(name)}<br><small style="font-weight:400">{escape(meaning)}</small></th>'
        f'<td class="n">{count}</td><td>{drawings.mark_bar(mark)}</td>{cells}</tr>'
    )


def _measures(report: Mapping[str, Any]) -> list[str]:
    if not report["measures"]:
        return []
    return [
        "<h2>Further measures</h2><p>The floor is the same measure of true clips against other true clips.</p>",
        measure_table([report]),
    ]


def measure_table(reports: Sequence[Mapping[str, Any]]) -> str:
    """The further measures of one or more reports, side by side."""

    def number(measure: Mapping[str, Any] | None) -> str:
        if not measure or measure["value"] is None:
            return '<td class="n">–</td>'
        ends = [measure.get(end) for end in ("low", "high")]
        interval = "" if None in ends else f"<small>[{ends[0]:.3g}, {ends[1]:.3g}]</small>"
        return f'<td class="n">{measure["value"]:.3g} {escape(measure.get("unit") or "")}{interval}</td>'

    rows = ""
    for name in dict.fromkeys(name for report in reports for name in report["measures"]):
        found = [report["measures"].get(name) for report in reports]
        known = next(measure for measure in found if measure)
        floor = "–" if known.get("floor") is None else f"{known['floor']:.3g}"
        rows += (
            f'<tr><th scope="row">{escape(name)}</th>{"".join(map(number, found))}'
            f'<td class="n">{floor}</td><td>{escape(known["meaning"])}</td></tr>'
        )
    columns = ["value"] if len(reports) == 1 else [escape(report["name"]) for report in reports]
    head = "".join(f'<th class="n">{column}</th>' for column in (*columns, "floor"))
    return f'<div class="wide"><table><tr><th>measure</th>{head}<th>what it is</th></tr>{rows}</table></div>'


def _plots(report: Mapping[str, Any], sitting: Sitting, clips: Sequence[Shown]) -> list[str]:
    parts = ["<h2>Shares</h2>"]
    if any(m["share"] for tier in report["marks"].values() for m in tier["attributes"].values()):
        parts.append(f'<div class="wide">{drawings.share_plot(report["marks"], TIER_NAMES)}</div>')
    true = [sum(clip.own.values()) / len(clip.own) for clip in sitting.truth]
    series = {"samples": [clip.right for clip in clips]} | ({"true clips": true} if true else {})
    parts.append(
        "<h3>How much of its prompt a clip shows</h3><p>Share of the asked attributes that are right.</p>"
    )
    parts.append(f'<div class="wide">{drawings.histogram(series)}</div>')
    parts.append("<h2>What was read for what was asked</h2><p>Samples of prompts with one object.</p>")
    for name, order in (("colour", COLOURS), ("object", KINDS), ("motion", MOTIONS)):
        one = [clip for clip in clips if len(clip.prompt.objects) == 1]
        asked = [(clip.prompt.asked.get(name, ""), clip.read.get(name, "")) for clip in one]
        pairs = [(word, read if read in order else NO_WORD) for word, read in asked if word in order and read]
        if pairs:
            parts.append(
                drawings.heat_table(pairs, order, f"{name}: rows asked, columns read, {len(pairs)} clips")
            )
    return parts


def _sheets(sitting: Sitting, frames: Frames) -> Pieces:
    parts: Pieces = [
        "<h2>Contact sheets</h2><p>The middle frame of one clip of each prompt, in the list’s order.</p>"
    ]
    first = {clip.prompt: clip.seed for clip in sorted(sitting.samples, key=lambda clip: -clip.seed)}
    for tier, name in TIER_NAMES.items():
        found = [frames(p, first[n]) for n, p in enumerate(sitting.prompts) if p.tier == tier]
        tiles = [clip[len(clip) // 2] for clip in found if clip is not None]
        if tiles:
            sheet, alt = drawings.mosaic(tiles), f"{name}: middle frames of {len(tiles)} clips"
            parts += [
                f"<h3>{name}</h3>",
                lambda detail, sheet=sheet, alt=alt: drawings.image(sheet, alt, detail),
            ]
    return parts


def _worst(clips: Sequence[Shown], frames: Frames, truth: Frames | None) -> Pieces:
    worst = sorted(clips, key=lambda clip: (clip.merit, clip.name))[:SHOWN]
    return [
        f"<h2>The worst {len(worst)}</h2><p>The clips that show least of what their prompts ask, by (right + 1) / "
        f"(asked + 2). {'Above the sample, below the true clip.' if truth else ''}</p><div class=clips>",
        *(figure(clip, (frames, truth)) for clip in worst),
        "</div>",
    ]


def _typical(clips: Sequence[Shown], frames: Frames, truth: Frames | None) -> Pieces:
    drawn = sorted(clips, key=lambda clip: hashlib.sha256(clip.name.encode()).digest())[:SHOWN]
    return [
        f"<h2>{len(drawn)} clips drawn at random</h2><p>Drawn by a digest of their names, so the same in every "
        "card of this list.</p><div class=clips>",
        *(figure(clip, (frames, truth)) for clip in drawn),
        "</div>",
    ]


def _foot(report: Mapping[str, Any]) -> list[str]:
    facts = {
        "prompts": f"{report['list']['name']}, digest {report['list']['digest']}",
        **{f"{judge} judge": fingerprint for judge, fingerprint in report["judges"].items()},
        **report["settings"],
    }
    rows = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th><td><code>{escape(_plain(value))}</code></td></tr>'
        for name, value in facts.items()
    )
    return [
        "<h2>Made with</h2>",
        f'<div class="wide"><table>{rows}</table></div>',
        f"<p>To make this card again:</p><pre>{escape(report['command'])}</pre>" if report["command"] else "",
        "<p>report.json beside this page holds every number and answer.</p>",
    ]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
