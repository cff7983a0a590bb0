"""Choosing a video to work with: one of those made here lately, or a file."""

import html
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from ..rest.access import Owner
from ..rest.objects import prompt_of
from .live import LATER, button, live
from .shared import Shared, media_url, said

SHOWN = 12  # videos to choose from
CSS = """
ul {list-style: none; padding: 0; margin: 0; display: grid; gap: .5rem;
  grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); max-height: 19rem; overflow-y: auto}
li button {width: 100%; height: 100%; padding: .25rem; text-align: left; overflow-wrap: anywhere}
li button[aria-pressed=true] {outline: 3px solid var(--primary-600); outline-offset: -3px; font-weight: 600}
li img {width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: var(--radius-sm); display: block}
li span {display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical; overflow: hidden}
"""
Take = Callable[..., Any]


def build_chooser(shared: Shared, prefix: str) -> tuple[gr.HTML, gr.UploadButton]:
    """Videos to choose from, whose event `act` has the chosen one's `id`, and a button to give a file.

    The part's value is {"chosen": id}.
    """

    def draw(shared: Shared, owner: Owner, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        done = shared.studio.store.page(limit=SHOWN, statuses=("completed",), owner=owner.listed)
        items = [
            "<li data-key='{}'>{}</li>".format(
                job.id,
                button(
                    "pick",
                    f'<img src="{media_url(job, "thumbnail")}" alt="" loading="lazy">'
                    f"<span>{html.escape(prompt_of(job)[:80] or job.task)}</span>",
                    job.id, f"{prefix}{job.id[-8:]}-", aria_pressed=str(asked.get("chosen") == job.id).lower(),
                ),
            )
            for job in done if not job.cleaned
        ]  # fmt: skip
        if not items:
            return {"html": '<p class="quiet">Nothing is made yet; upload a file, or make a video first.</p>',
                    "said": "", "again": LATER}  # fmt: skip
        return {"html": f"<ul>{''.join(items)}</ul>", "said": "", "again": LATER}

    view = live(shared, draw, elem_id=f"{prefix}picker", css=CSS, value={"chosen": ""})
    upload = gr.UploadButton(
        "Upload a video or picture", file_types=["video", "image"], elem_id=f"{prefix}upload", size="sm"
    )
    return view, upload


def taken(shared: Shared, path: str | None, request: gr.Request) -> str:
    """The id of a file that was given to the page; the page's own copy of it is deleted.

    Raises:
        gr.Error: it is too large or long, or no video or picture; the page says which.
    """
    owner = shared.owner(request)
    if not path:
        raise gr.Error("No file was given.", print_exception=False)
    with said():
        given = Path(path)
        try:
            with given.open("rb") as file:
                return shared.studio.upload(file, owner.name)
        finally:
            given.unlink(missing_ok=True)
