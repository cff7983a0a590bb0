"""The queue, in view below every screen: what is made, what waits, and what has ended last."""

import html
import threading
import time
from collections.abc import Mapping
from typing import Any

import gradio as gr

from ..jobs.job import ENDED, Job
from ..jobs.upkeep import Room, room
from ..rest.access import Owner
from ..rest.objects import prompt_of
from .live import LATER, SOON, about, bar, button, live, waiting_for
from .shared import Shared, media_url, preview_url, said
from .watching import QUEUED, do, words_of

LAST = 6  # ended ones that are shown
FULL = 0.9  # share of the disk budget from which on it is said what will go
LOOK_AT_DISK = 20.0  # seconds
STATUS = {"queued": "◷ Waiting", "in_progress": "▶ Being made", "completed": "✓ Done", "failed": "✕ Failed",
          "cancelled": "■ Cancelled"}  # fmt: skip
CSS = """
#queue:has(&) {position: sticky; bottom: 0; z-index: 5; background: var(--body-background-fill);
  border-top: 1px solid var(--border-color-primary)}
.gradio-container:has(&) {overflow: clip !important; width: 100%}  /* hidden would keep the queue from sticking */
html:has(&) {scroll-padding-bottom: calc(34vh + 5rem)}  /* more than it has: nothing hides beneath it */
.gradio-container:has(&) input:is([type=radio], [type=checkbox]) {min-width: 24px; min-height: 24px}
.body {max-height: 34vh; overflow-y: auto}
summary {cursor: pointer; font-weight: 600; padding: .5rem 0}
ol {list-style: none; margin: 0; padding: 0}
li {display: grid; grid-template-columns: 4rem 1fr; gap: .3rem .8rem; padding: .6rem 0;
  border-top: 1px solid var(--border-color-primary)}
.thumb {width: 4rem; height: 4rem; border-radius: var(--radius-md); background: var(--neutral-200);
  overflow: hidden}
.thumb img, .thumb canvas {width: 100%; height: 100%; object-fit: cover; display: block}
.what {overflow-wrap: anywhere; display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical;
  overflow: hidden; margin: 0}
.row {margin: .2rem 0}
li button, li a.button {min-height: 1.75rem; padding: .2rem .5rem}
"""


def build_queue(shared: Shared, page: gr.Blocks) -> None:
    """The queue of whoever looks."""
    disk = _Disk(shared)

    def draw(shared: Shared, owner: Owner, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        return draw_queue(shared, owner, disk.room())

    view = live(shared, draw, elem_id="queue", css=CSS)

    def act(
        event: gr.EventData, source: tuple[str, int], settings: tuple[dict, int], request: gr.Request
    ) -> list[Any]:
        job = shared.job(event.id, request)
        if job is None:
            raise gr.Error("This video was deleted.", print_exception=False)
        if event.act in ("up", "front", "down"):
            with said():
                move(shared, shared.owner(request), job, event.act)
            return [gr.skip()] * 4
        return do(shared, job, event.act, source, settings, request)

    outputs = [shared.followed, shared.source, shared.settings, shared.tabs]
    view.act(act, [shared.source, shared.settings], outputs, **QUEUED)


def move(shared: Shared, owner: Owner, job: Job, way: str) -> None:
    """Move a waiting job among those of its owner: nobody overtakes anybody else's.

    Raises:
        JobError: it does not wait any more.
    """
    store = shared.studio.store
    line = [each.id for each in store.waiting() if each.status == "queued"]
    mine = [each.id for each in store.waiting() if each.status == "queued" and owner.sees(each)]
    if job.id not in mine:
        store.move(job.id, job.id)  # says why not
        return
    at = mine.index(job.id)
    if way == "down":
        if at + 1 < len(mine):
            after = line.index(mine[at + 1]) + 1
            store.move(job.id, line[after] if after < len(line) else None)
    elif at > 0:
        store.move(job.id, mine[0 if way == "front" else at - 1])


def draw_queue(shared: Shared, owner: Owner, disk: Room) -> dict[str, Any]:
    """The queue as HTML, and what to announce of it."""
    store = shared.studio.store
    everybody = store.waiting()
    line = [job for job in everybody if owner.sees(job)]
    waits = [job for job in line if job.status == "queued"]
    making = len(line) - len(waits)
    told = f"{making} being made, {len(waits)} waiting" if line else "nothing to do"
    others = len(everybody) - len(line)
    if others:
        told += f" ({others} of other people)"
    rows = [
        _row_of(
            shared, job, place=waits.index(job) + 1 if job in waits else 0, last=bool(waits) and job is waits[-1]
        )
        for job in line
    ]
    body = waiting_for(shared) if not shared.served.workers.ready else ""
    body += f'<ol data-key="line">{"".join(rows)}</ol>' if rows else ""
    if ended := store.page(limit=LAST, statuses=ENDED, owner=owner.listed):
        rows = "".join(_row_of(shared, job) for job in ended)
        body += f'<details data-key="last"><summary>The last ones</summary><ol>{rows}</ol></details>'
    summary = f'<summary id="queue-summary">Queue: {told}{_percent(line)}</summary>'
    body = f'<div class="body" data-key="body">{body}{_doomed(disk, owner)}</div>'
    return {
        "html": f'<section aria-label="Queue"><details open data-wide>{summary}{body}</details></section>',
        "said": f"Queue: {told}." if line else "", "again": SOON if line else LATER,
    }  # fmt: skip


def _percent(line: list[Job]) -> str:
    """How far what is being made is: it is seen while the queue is folded, too."""
    shares = [f"{round(100 * job.progress)} %" for job in line if job.status == "in_progress"]
    return f" · {', '.join(shares)}" if shares else ""


def _row_of(shared: Shared, job: Job, place: int = 0, last: bool = False) -> str:
    prefix = f"queue-{job.id[6:14]}-"
    prompt = prompt_of(job)
    what = html.escape(prompt or f"({job.task})") + ("" if job.task == "generate" else f" <em>({job.task})</em>")
    name = html.escape(prompt[:60] or job.task, quote=True)
    status, more = STATUS[job.status], ""

    def act(name_: str, words: str) -> str:
        return button(name_, words, job.id, prefix, aria_label=f"{words}: {prompt[:60] or job.task}")

    match job.status:
        case "queued":
            if job.attempt:
                more = " · its worker ended, it is tried again"
            actions = act("watch", "Watch") + act("change", "Edit") + act("again", "Duplicate")
            actions += act("up", "Up") + act("front", "To the front") if place > 1 else ""
            actions += "" if last else act("down", "Down")
            actions += act("cancel", "Cancel")
            status = f"{status}, number {place}"
        case "in_progress":
            left = f" · {about(job.seconds_left)} left" if job.seconds_left is not None else ""
            more = f" · {html.escape('stopping' if job.stop else words_of(job.stage))}{left}"
            more += bar(job.progress, words_of(job.stage), f"Progress of {prompt[:60] or job.task}")
            actions = act("watch", "Watch") + act("again", "Duplicate")
            actions += "" if job.stop else act("keep", "Stop and keep") + act("cancel", "Cancel")
        case "completed":
            if job.cleaned:
                more = " · its files were deleted to make room"
            actions = act("watch", "Show") + act("again", "Make it again" if job.cleaned else "Duplicate")
        case "failed":
            more = f" · {html.escape(job.error or '')} ({html.escape(job.error_code or '')})"
            actions = act("watch", "Show") + act("retry", "Try it again") + act("reuse", "Change it")
        case _:
            actions = act("retry", "Try it again") + act("reuse", "Change it")
    return (
        f'<li data-key="{job.id}" data-status="{job.status}"><div class="thumb">{_thumb(job, name)}</div><div>'
        f'<p class="what">{what}</p><div class="quiet"><span class="status">{status}</span>{more}</div>'
        f'<div class="row">{actions}</div></div></li>'
    )


def _thumb(job: Job, name: str) -> str:
    if job.status == "completed" and not job.cleaned:
        return f'<img src="{media_url(job, "thumbnail")}" alt="" loading="lazy">'
    if job.status == "in_progress" and job.preview:
        return (
            f'<div data-key="picture" data-still="yes" data-picture="{preview_url(job)}" data-alt="{name}"></div>'
        )
    return ""


def _doomed(disk: Room, owner: Owner) -> str:
    """What clean-up takes next, before it does."""
    if not disk.budget or disk.used < FULL * disk.budget:
        return ""
    full = f"Results and given files take {disk.used / 1e9:.2f} of {disk.budget / 1e9:.2f} GB."
    mine = [job for job in disk.doomed if owner.sees(job)]
    given = sum(owner.sees(each.id) for each in disk.uploads)
    if not mine and not given:
        return (
            f'<p class="note">{full} When there is no more room, given files that no video is made from are '
            "deleted, then the videos that nobody looked at for longest; star what you want to keep.</p>"
        )
    files = f"{given} given {'file is' if given == 1 else 'files are'} deleted that no video is made from"
    told = f"<p>⚠ {full} Within a minute {files}.</p>" if given else f"<p>⚠ {full}</p>"
    if mine:
        rows = "".join(f"<li>{html.escape(prompt_of(job)[:80] or job.id)}</li>" for job in mine[:5])
        more = f" and {len(mine) - 5} more" if len(mine) > 5 else ""
        told += (
            f"<p>Within a minute the files of these are deleted{more}, unless they are starred (their settings "
        )
        told += f'stay):</p><ul class="doomed">{rows}</ul>'
    return f'<div class="problem" role="alert">{told}</div>'


class _Disk:
    """How full the disk is; looked at seldom, for it means a look at every file."""

    def __init__(self, shared: Shared) -> None:
        self.shared, self._lock = shared, threading.Lock()
        self._seen, self._at = Room(0, 0), float("-inf")

    def room(self) -> Room:
        with self._lock:
            if time.monotonic() - self._at >= LOOK_AT_DISK:
                studio, served = self.shared.studio, self.shared.served
                self._seen = room(studio.store, studio.shelf, served.serving.budget, served.boards.media())
                self._at = time.monotonic()
            return self._seen
