"""Two texts and what differs between them, as HTML that says so in words, too."""

import html
import re
from difflib import SequenceMatcher

_HIDDEN = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap"
_LINES = {"del": "line-through", "ins": "underline"}
_SAID = {"del": "removed", "ins": "added"}


def difference_html(before: str, after: str) -> str:
    """The new text with what was removed struck out and what was added underlined, word by word.

    Screen readers hear "removed:" and "added:", which are there but not seen. All text is escaped.
    """
    old, new = (re.findall(r"\s+|\w+|[^\w\s]", text) for text in (before, after))
    parts = []
    for what, i1, i2, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if what == "equal":
            parts.append(html.escape("".join(old[i1:i2])))
            continue
        parts.append(_changed("del", "".join(old[i1:i2])))
        parts.append(_changed("ins", "".join(new[j1:j2])))
    return f'<span class="difference">{"".join(parts)}</span>'


def _changed(element: str, text: str) -> str:
    if not text:
        return ""
    said = f'<span style="{_HIDDEN}">{_SAID[element]}: </span>'
    done = f'<span style="{_HIDDEN}"> (end) </span>'
    return f'<{element} style="text-decoration:{_LINES[element]}">{said}{html.escape(text)}{done}</{element}>'
