"""The Library's videos as cards, as HTML; and what was deleted, and can be brought back."""

import html
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..jobs.job import ENDED, Job, Status
from ..jobs.upkeep import UNDO_SECONDS
from ..rest.access import Owner
from ..rest.objects import prompt_of
from .live import LATER, button
from .shared import Shared, media_url

PAGE = 24  # cards at a time
MOST = 50  # pages; deleted videos that are looked at
FINISHED, FAILED, ALL, DELETED = "finished", "failed", "all", "deleted"
SHOWN: dict[str, tuple[Status, ...]] = {
    FINISHED: ("completed",), FAILED: ("failed", "cancelled"), ALL: ENDED, DELETED: ENDED,
}  # fmt: skip
STATUS: dict[str, str] = {"completed": "✓ Done", "failed": "✕ Failed", "cancelled": "■ Cancelled"}
CSS = """
ul.cards {list-style: none; padding: 0; margin: .5rem 0; display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr))}
ul.cards > li {border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg); padding: .4rem;
  display: flex; flex-direction: column; gap: .4rem; background: var(--background-fill-primary)}
ul.cards > li.here {outline: 3px solid var(--primary-600)}
button.card {padding: 0; border: 0; background: none; text-align: left; width: 100%; flex: 1; display: flex;
  flex-direction: column; align-items: stretch; justify-content: flex-start}
button.card img, .blank {width: 100%; aspect-ratio: 4 / 3; object-fit: cover; display: flex;
  border-radius: var(--radius-md); background: var(--background-fill-secondary)}
.blank {align-items: center; justify-content: center; text-align: center; padding: .5rem; box-sizing: border-box;
  color: var(--body-text-color); font-size: var(--text-sm)}
.words {display: -webkit-box; -webkit-line-clamp: 3; -webkit-box-orient: vertical; overflow: hidden;
  overflow-wrap: anywhere; margin: .3rem 0 0}
.acts {display: flex; flex-wrap: wrap; gap: .3rem}
.undo {display: flex; flex-wrap: wrap; gap: .6rem; align-items: center}
"""


def draw_grid(shared: Shared, owner: Owner, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The cards that pass the filters.

    Args:
        shared, owner: the studio, and who looks.
        asked: "words" to look for, "starred", "show" (of `SHOWN`), "pages", the video "chosen", the one "beside"
            it, and the one that was "deleted" last.
    """
    show = asked.get("show") if asked.get("show") in SHOWN else FINISHED
    words, starred = str(asked.get("words") or "")[:200], bool(asked.get("starred"))
    limit = PAGE * min(MOST, max(1, int(asked.get("pages") or 1)))
    found = shared.studio.store.page(
        limit=limit + 1, statuses=SHOWN[str(show)], owner=owner.listed, contains=words, starred=starred,
        deleted=show == DELETED,
    )  # fmt: skip
    if show == DELETED:
        found = [job for job in found if _left(job) > 0]
    cards = "".join(_card(job, asked, deleted=show == DELETED) for job in found[:limit])
    undo = _undo(shared, owner, str(asked.get("deleted") or ""))
    count = f"{min(len(found), limit)}{' or more' if len(found) > limit else ''}"
    told = f"{count} video{'' if count == '1' else 's'}"
    body = f'<ul class="cards" data-key="cards">{cards}</ul>' if cards else _nothing(show, words, starred)
    more = button("more", f"Show {PAGE} more", "", "library-") if len(found) > limit else ""
    body = f'{undo}<p class="quiet" data-key="count">{told}</p>{body}{more}'
    gone = "Deleted; Undo brings it back. " if "library-undo-undelete" in undo else ""
    return {"html": body, "said": gone + told, "again": LATER}


def deleted_job(shared: Shared, owner: Owner, name: str) -> Job | None:
    """A deleted job that its owner may bring back; None: there is none."""
    for job in shared.studio.store.page(limit=1000, owner=owner.listed, deleted=True):
        if job.id == name and _left(job) > 0:
            return job
    return None


def _card(job: Job, asked: Mapping[str, Any], *, deleted: bool) -> str:
    name, here = prompt_of(job) or f"({job.task})", job.id == asked.get("chosen")
    prefix = f"library-{job.id[6:14]}-"
    if job.status == "completed" and not job.cleaned and not deleted:
        inner = f'<img src="{media_url(job, "thumbnail")}" alt="{html.escape(name[:300])}" loading="lazy">'
        said = ' aria-hidden="true"'  # the picture's words are the same
    else:
        inner, said = f'<span class="blank">{_blank(job, deleted=deleted)}</span>', ""
    inner += f'<span class="words"{said}>{html.escape(name)}</span>'
    inner += f'<span class="quiet">{_line(job)}</span>'
    if deleted:
        minutes = max(1, round(_left(job) / 60))
        body = f"{inner}<span class='quiet'>{minutes} min left</span>"
        return (
            f'<li data-key="{job.id}"><div>{body}</div><div class="acts">'
            + button("undelete", "Bring it back", job.id, prefix, aria_label=f"Bring it back: {name[:80]}")
            + "</div></li>"
        )
    open_ = button("open", inner, job.id, prefix, **{"class": "card", "aria_current": str(here).lower()})
    acts = star_button(job, prefix, name)
    if _plays(job):
        beside = job.id in (asked.get("chosen"), asked.get("beside")) and bool(asked.get("beside"))
        if not here and asked.get("chosen"):
            acts += button(
                "beside", "Side by side", job.id, prefix, aria_pressed=str(beside).lower(),
                aria_label=f"Side by side with the chosen one: {name[:80]}",
            )  # fmt: skip
    return (
        f'<li data-key="{job.id}" data-status="{job.status}"{" class=here" if here else ""}>{open_}'
        f'<div class="acts">{acts}</div></li>'
    )


def star_button(job: Job, prefix: str, name: str) -> str:
    """The button that gives a star or takes it away."""
    act, words = ("unstar", "★ Starred") if job.starred else ("star", "☆ Star")
    label = f"Starred, press to take the star away: {name[:80]}" if job.starred else f"Star: {name[:80]}"
    more = {"id": f"{prefix}star", "data_key": f"star {job.id}"}
    return button(act, words, job.id, prefix, aria_label=label, **more)


def _blank(job: Job, *, deleted: bool) -> str:
    if deleted:
        return "Deleted"
    if job.status == "completed":
        return "Cleaned away to make room; it can be made again"
    return STATUS[job.status]


def _line(job: Job) -> str:
    made = job.result
    told = [STATUS[job.status]] if job.status != "completed" else []
    if made:
        told += [f"{made['seconds']:g} s" if made.get("num_frames") != 1 else "picture",
                 f"{made['width']} × {made['height']}"]  # fmt: skip
    if made.get("interrupted"):
        told.append("stopped early")
    return " · ".join([*told, when(job.created_at)])


def when(at: float) -> str:
    """A time, of this server's clock."""
    day = datetime.fromtimestamp(at).astimezone()
    utc = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    return f'<time datetime="{utc}">{day:%d %b %Y, %H:%M}</time>'


def _plays(job: Job) -> bool:
    return job.status == "completed" and not job.cleaned and job.result.get("num_frames", 0) > 1


def _left(job: Job) -> float:
    """Seconds in which a deleted job can be brought back."""
    return UNDO_SECONDS - (time.time() - (job.deleted_at or 0.0))


def _undo(shared: Shared, owner: Owner, name: str) -> str:
    """What was deleted last, and the way back."""
    deleted = shared.studio.store.page(limit=MOST, owner=owner.listed, deleted=True)
    gone = [job for job in deleted if _left(job) > 0]
    last = next((job for job in gone if job.id == name), None)
    if last is not None:
        words = html.escape((prompt_of(last) or last.task)[:80])
        return (
            f'<div class="note undo" data-key="undo"><span>Deleted: “{words}”. It is kept for an hour.</span>'
            + button("undelete", "Undo", last.id, "library-undo-")
            + "</div>"
        )
    if gone:
        count = f"{len(gone)} deleted video{' is' if len(gone) == 1 else 's are'}"
        return f'<p class="quiet" data-key="undo">{count} kept for an hour: choose “Deleted” under Show.</p>'
    return ""


def _nothing(show: Any, words: str, starred: bool) -> str:
    if words or starred:
        told = "No video matches. Take a word out of the search, or “Starred only” away."
    elif show == FINISHED:
        told = "Finished videos come here by themselves. Make the first one on Create."
    else:
        told = "There is nothing here."
    return f'<p class="note" data-key="nothing">{told}</p>'
