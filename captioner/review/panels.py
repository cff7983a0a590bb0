"""What the review screen says beside a clip, as HTML: its captions and facts, and what is known of it."""

import html
from typing import Any

from ..tables import Row
from .reviews import Reviews, describe, facts_text


def captions_html(reviews: Reviews, name: str) -> str:
    """All captions of a clip with their scores, the one that is looked at marked; below them the facts."""
    clip = reviews.captions[name]["clip_id"]
    rows = []
    for each in reviews.of_clip[clip]:
        row, now = reviews.captions[each], reviews.now(each)
        here = ' class="here" aria-current="true"' if each == name else ""
        score = "" if row["clip_mean"] is None else f"{row['clip_mean']:.2f}"
        if row["clip_min"] is not None and row["clip_min"] != row["clip_mean"]:
            score += f" (worst {row['clip_min']:.2f})"
        said = (
            f'<span class="{now.verdict}">{now.verdict} by {_escaped(now.reviewer)}</span>' if now.verdict else ""
        )
        checks = _escaped(row["status"]) + (f": {_escaped(row['error'])}" if row["error"] else "")
        text = _escaped(now.text) or "<i>empty</i>"
        if now.text.strip() != (row["text"] or "").strip():
            text += f"<br><small>was: {_escaped(row['text'])}</small>"
        rows.append(
            f"<tr{here}><th scope=row>{_escaped(row['level'])}<br><small>{_escaped(row['backend'])}</small></th>"
            f"<td>{text}<br><small>{checks}</small> {said}</td><td>{score}</td></tr>"
        )
    head = "<tr><th scope=col>Level</th><th scope=col>Caption</th><th scope=col>Score</th></tr>"
    facts = facts_text(reviews.facts.get(clip))
    told = f"<p><b>Facts</b><br>{_escaped(facts).replace(chr(10), '<br>')}</p>" if facts else ""
    return f"<table>{head}{''.join(rows)}</table>{told}"


def about_html(reviews: Reviews, clip: Row) -> str:
    """What is known of a clip."""
    rows = (f"<tr><td>{_escaped(name)}</td><td>{_escaped(value)}</td></tr>" for name, value in describe(clip))
    return f"<details><summary>About this clip</summary><table>{''.join(rows)}</table></details>"


def _escaped(value: Any) -> str:
    return html.escape(str(value if value is not None else ""))
