"""The live view of one job: what is being done, its preview, and at last its video, with what can be done next."""

import html
from collections.abc import Mapping
from typing import Any

import gradio as gr

from ..jobs.job import ERRORS, Job
from ..models.estimate import seconds_until
from ..models.model import name_of
from ..rest.access import Owner
from ..rest.objects import prompt_of
from . import estimating
from .live import LATER, SOON, about, bar, button, live, seen_job, waiting_for
from .shared import CREATE, EDIT, Shared, media_url, preview_url, said

# Through Gradio's queue: what is answered without it does not tell that a State has changed.
QUEUED: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 8}
STAGES = {"starting": "Starting", "reading the prompt": "Reading the prompt", "denoising": "Taking shape",
          "decoding": "Turning it into frames", "writing": "Writing the file"}  # fmt: skip
CSS = """
.screen {background: var(--neutral-900); border-radius: var(--radius-lg); overflow: hidden; text-align: center;
  margin: .5rem 0}
.screen video, .screen img, .screen canvas {width: 100%; max-height: 60vh; object-fit: contain; display: block}
ul {margin: .2rem 0; padding-left: 1.2rem}
@media (max-width: 700px) { &:has(.prompt) {min-height: 75vh} }
@media (prefers-reduced-motion: reduce) { [data-hold] {display: none} }
.prompt {font-size: var(--text-lg); overflow-wrap: anywhere; margin: 0; display: -webkit-box;
  -webkit-line-clamp: 4; -webkit-box-orient: vertical; overflow: hidden}
.empty {border: 2px dashed var(--border-color-primary); border-radius: var(--radius-lg); padding: 3rem 1rem;
  text-align: center; margin: 0}
dl {display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem;
  font-size: var(--text-sm); margin: .5rem 0}
dt {opacity: .8}
dd {margin: 0; overflow-wrap: anywhere}
"""
EMPTY = '<p class="empty">Your video appears here: first as a sketch that sharpens, then to be played.</p>'
FOLLOW = "(id) => ({id: id || '', at: Date.now()})"


def build_watching(shared: Shared, page: gr.Blocks, prefix: str = "", *, lock: bool = False) -> gr.HTML:
    """The view of the job that this browser follows; any screen may have one.

    Args:
        shared, page: of the page.
        prefix: of the ids in it: two of them may be on the page.
        lock: whether seeds can be locked there: the part then has an event `lock`, whose `value` is the seed.
    """

    def draw(shared: Shared, owner: Owner, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        job_id = str(asked.get("id") or "")
        if not job_id:
            return {"html": waiting_for(shared) + EMPTY, "said": "", "again": LATER}
        job = seen_job(shared, owner, job_id)
        if job is None:
            return {"html": '<p class="empty">This video was deleted.</p>', "said": "This video was deleted.",
                    "again": LATER}  # fmt: skip
        return draw_job(shared, owner, job, prefix, lock=lock)

    view = live(shared, draw, elem_id=f"{prefix}watching", css=CSS)
    for event in (page.load, shared.followed.change):
        event(None, shared.followed, view, js=FOLLOW, api_visibility="private")

    def act(
        event: gr.EventData, source: tuple[str, int], settings: tuple[dict, int], request: gr.Request
    ) -> list[Any]:
        job = shared.job(event.id, request)
        if job is None:
            raise gr.Error("This video was deleted.", print_exception=False)
        return do(shared, job, event.act, source, settings, request)

    outputs = [shared.followed, shared.source, shared.settings, shared.tabs]
    view.act(act, [shared.source, shared.settings], outputs, **QUEUED)
    return view


def do(
    shared: Shared, job: Job, act: str, source: tuple[str, int], settings: tuple[dict, int], request: gr.Request
) -> list[Any]:
    """What the buttons of a job do, here and in the queue; the new (followed, source, settings, tabs)."""
    followed, tabs, store = gr.skip(), gr.skip(), shared.studio.store
    new_source, new_settings = gr.skip(), gr.skip()
    with said():
        match act:
            case "cancel":
                store.stop(job.id, "discard")
            case "keep":
                store.stop(job.id, "keep")
            case "retry":
                owner = shared.owner(request)
                owner.may_ask()
                followed = shared.studio.retry(job.id, owner.sees).id
            case "another":
                values = {name: value for name, value in job.request.items() if name != "seed"}
                followed = shared.submit(values, request, parent=job.parent).id
            case "again":
                followed = shared.submit(job.request, request, parent=job.parent).id
            case "smaller":
                fitting = estimating.fitting(shared, job.request)
                if fitting is None:
                    raise gr.Error("Nothing smaller is known to fit.", print_exception=False)
                followed = shared.submit(fitting[0], request, parent=job.parent).id
            case "edit":
                new_source, tabs = (job.id, source[1] + 1), gr.Tabs(selected=EDIT)
            case "change":
                new_settings = ({"job": job.id, **job.request}, settings[1] + 1)
                tabs = gr.Tabs(selected=CREATE)
            case "reuse":
                new_settings, tabs = (dict(job.request), settings[1] + 1), gr.Tabs(selected=CREATE)
            case "star" | "unstar":
                store.star(job.id, act == "star")
            case "watch":
                followed, tabs = job.id, gr.Tabs(selected=CREATE)
    return [followed, new_source, new_settings, tabs]


def draw_job(shared: Shared, owner: Owner, job: Job, prefix: str = "", *, lock: bool = False) -> dict[str, Any]:
    """A job as HTML, and what to announce of it."""
    head = f'<h2 class="prompt">{html.escape(prompt_of(job)) or _task(job)}</h2>'
    match job.status:
        case "queued":
            told, body = _queued(shared, job, prefix)
        case "in_progress":
            told, body = _in_progress(shared, job, prefix)
        case "completed":
            told, body = _completed(job, prefix, lock=lock)
        case "failed":
            told, body = _failed(shared, job, prefix)
        case _:
            told = "Cancelled. Nothing was kept."
            body = f'<p class="note">■ <strong>{told}</strong></p>' + _row(
                button("retry", "Try it again", job.id, prefix), button("reuse", "Change it", job.id, prefix)
            )
    return {"html": head + body, "said": told, "again": LATER if job.ended else SOON}


def _queued(shared: Shared, job: Job, prefix: str) -> tuple[str, str]:
    line = shared.studio.store.waiting()
    before = next((place for place, each in enumerate(line) if each.id == job.id), 0)
    told = "Next in the queue." if before == 0 else f"Waiting: {before} before it."
    left = about(
        seconds_until(shared.studio.store, shared.studio.model, max(shared.served.workers.ready, 1), job.id)
    )
    done = f'<p class="quiet">Done in {left}.</p>' if left else ""
    if job.attempt:
        done += '<p class="note">Its worker ended; it is tried again.</p>'
    actions = _row(button("cancel", "Cancel", job.id, prefix), button("change", "Change it", job.id, prefix))
    return told, f"<p>◷ <strong>{told}</strong></p>{waiting_for(shared)}{done}{bar(0, 'waiting')}{actions}"


def _in_progress(shared: Shared, job: Job, prefix: str) -> tuple[str, str]:
    stage = words_of(job.stage)
    if job.stop is not None:
        stage = "Stopping; what there is is kept" if job.stop == "keep" else "Stopping"
    left = f" · {about(job.seconds_left)} left" if job.seconds_left is not None else ""
    line = f"<p>▶ <strong>{html.escape(stage)}</strong>{left}</p>{bar(job.progress, stage)}"
    screen = _growing(shared, job) or (_preview(job) if job.preview else "")
    if not screen:
        why = shared.studio.model.off.get("preview")
        screen = f'<p class="quiet">{html.escape(why[:1].upper() + why[1:])}.</p>' if why else ""
    actions = "" if job.stop is not None else _row(
        button("keep", "Stop and keep what there is", job.id, prefix),
        button("cancel", "Cancel and discard", job.id, prefix),
    )  # fmt: skip
    return f"{stage.partition(',')[0]}.", line + screen + actions


def _growing(shared: Shared, job: Job) -> str:
    """The player of a long video that is still being made; "": it cannot be played yet."""
    if not shared.studio.shelf.growing(job.id).is_file():
        return ""
    sketch = f'poster="{preview_url(job)}"' if job.preview else ""  # a player takes a while until it begins
    return _screen(
        f'<video data-key="{job.id} stream" data-play src="v1/videos/{job.id}/stream" {sketch} controls muted '
        'playsinline aria-label="The video as far as it is made"></video>'
    ) + '<p class="quiet">It plays while the rest is being made.</p>'  # fmt: skip


def _preview(job: Job) -> str:
    return (
        '<div data-key="preview" data-still="no">'
        + _screen(
            f'<div data-key="picture" data-picture="{preview_url(job)}" data-alt="Preview, still rough"></div>'
        )
        + _row('<button type="button" data-key="hold" data-hold="yes">Hold the preview still</button>')
        + "</div>"
    )


def _completed(job: Job, prefix: str, *, lock: bool) -> tuple[str, str]:
    if job.cleaned:
        told = "Its files were deleted to make room. Its settings are here, and make it again."
        return told, f'<p class="note">{told}</p>' + _row(
            button("again", "Make it again", job.id, prefix), button("reuse", "Use its settings", job.id, prefix)
        )
    made = job.result
    told = "Done: stopped early, with what there was." if made.get("interrupted") else "Done."
    url, name = media_url(job), html.escape(prompt_of(job)[:100] or _task(job))
    if made.get("num_frames") == 1:
        screen = _screen(f'<img data-key="{job.id} done" src="{url}" alt="{name}">')
    else:
        screen = _screen(
            f'<video data-key="{job.id} done" data-play src="{url}" poster="{media_url(job, "thumbnail")}" '
            f'controls loop muted playsinline id="{prefix}player" aria-label="{name}"></video>'
        )
    warned = "".join(f"<li>{html.escape(each)}</li>" for each in made.get("warnings") or ())
    warned = (
        f'<div class="note" data-key="warned"><strong>Worth knowing</strong><ul>{warned}</ul></div>'
        if warned
        else ""
    )
    seed = made["seed"]
    file = "picture.png" if made.get("num_frames") == 1 else "video.mp4"
    actions = _row(
        button("another", "Make another", job.id, prefix, title="The same with a new seed"),
        button("edit", "Edit this", job.id, prefix),
        button("unstar" if job.starred else "star", "★ Starred" if job.starred else "☆ Star", job.id, prefix,
               id=f"{prefix}star", data_key="star", aria_pressed=str(job.starred).lower(),
               title="Starred videos are never deleted to make room"),
        f'<a class="button" id="{prefix}download" href="{url}" download="kinema-{seed}-{file}">Download</a>',
        f'<button type="button" id="{prefix}copy-link" data-copy="{url}">Copy link</button>',
        button("reuse", "Use its settings", job.id, prefix),
        button("lock", f"Lock seed {seed}", job.id, prefix, data_event="lock", data_value=str(seed))
        if lock
        else "",
    )  # fmt: skip
    return told, f"<p>✓ <strong>{told}</strong></p>{screen}{actions}{warned}{_facts(job)}"


def _facts(job: Job) -> str:
    """What was really used, and what was really done to the file."""
    made = job.result
    frames = f"{made['num_frames']} at {made['fps']:g} a second: {made['seconds']:g} s"
    facts = {"Size": f"{made['width']} × {made['height']}", "Frames": frames,
             "Steps": made.get("num_inference_steps"), "Guidance": made.get("guidance_scale"),
             "Seed": made.get("seed"), "Model": name_of(made["model"]) if made.get("model") else None,
             "Made in": about(made.get("making_seconds"))}  # fmt: skip
    applied = made.get("applied")
    if applied:
        kept = (
            "prompt, seed, model and versions are in the file" if applied.get("provenance") else "not in the file"
        )
        facts |= {"Provenance": kept, "Visible mark": applied.get("mark") or "none",
                  "C2PA": applied.get("c2pa") or "not signed"}  # fmt: skip
    rows = "".join(
        f"<dt>{name}</dt><dd>{html.escape(f'{value:g}' if isinstance(value, float) else str(value))}</dd>"
        for name, value in facts.items() if value is not None
    )  # fmt: skip
    problems = "".join(
        f'<p class="problem">{html.escape(each)}</p>' for each in (applied or {}).get("problems") or ()
    )
    return f'<dl data-key="facts">{rows}</dl>{problems}'


def _failed(shared: Shared, job: Job, prefix: str) -> tuple[str, str]:
    message = job.error or ERRORS.get(job.error_code or "", "")
    told = f"Failed: {message[:1].upper() + message[1:]}"
    fit = ""
    if job.error_code == "out_of_memory" and (smaller := estimating.fitting(shared, job.request)) is not None:
        fit = button("smaller", f"Make it smaller: {html.escape(smaller[1])}", job.id, prefix)
    asked = f" · request {html.escape(job.request_id)}" if job.request_id else ""
    return told, (
        f'<div class="problem"><p>✕ <strong>{html.escape(told)}.</strong></p>'
        f'<p class="quiet">Code: {html.escape(job.error_code or "")}{asked}</p></div>'
        + _row(fit, button("retry", "Try it again", job.id, prefix), button("reuse", "Change it", job.id, prefix))
    )  # fmt: skip


def words_of(stage: str) -> str:
    """A stage, in words for people."""
    known, _, rest = stage.partition(",")
    words = STAGES.get(known, known[:1].upper() + known[1:]) or "Starting"
    return f"{words},{rest}" if rest else words


def _task(job: Job) -> str:
    return f"({job.task})"


def _screen(inner: str) -> str:
    return f'<div class="screen" data-key="screen">{inner}</div>'


def _row(*buttons: str) -> str:
    return f'<div class="row" data-key="row">{"".join(buttons)}</div>'
