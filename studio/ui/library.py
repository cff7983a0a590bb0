"""Library: find a finished video, see how it was made, compare two, and go on from one."""

from typing import Any

import gradio as gr

from ..jobs.job import JobError
from ..restoring import SUFFIXES
from .cards import ALL, DELETED, FAILED, FINISHED, draw_grid
from .cards import CSS as CARDS
from .compare import build_compare
from .library_acts import OUTPUTS, Visit, told_html
from .live import CSS as LIVE
from .live import live
from .one_video import CSS as ONE
from .one_video import draw_video
from .shared import Shared, said

QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
# Gradio tells the listeners of a State, and shows errors, of queued events only.
QUEUED: dict[str, Any] = {"concurrency_limit": 8, "show_progress": "hidden", "api_visibility": "private"}
SHOW = [("Finished", FINISHED), ("Failed or cancelled", FAILED), ("All", ALL), ("Deleted, to be undone", DELETED)]
# The focus goes to what was chosen, or to the way back from a deletion: both are drawn a moment later.
TO_NEWS = """(video, grid) => {
  const seen = window.kinemaSeen ??= {};
  const wanted = grid?.deleted && grid.deleted !== seen.deleted ? '#library-undo-undelete'
    : video?.id && video.id !== seen.id ? `#library-video [data-heading="${video.id}"]` : '';
  const back = !wanted && seen.id && !video?.id ? `#library-${seen.id.slice(6, 14)}-open` : '';
  window.kinemaSeen = {id: video?.id, deleted: grid?.deleted};
  let tries = 0;
  const timer = setInterval(() => {
    const news = (wanted || back) && document.querySelector(wanted || back);
    if (!news && ++tries < 60) return;
    clearInterval(timer);
    if (!news) return;
    news.focus({preventScroll: true});
    news.scrollIntoView({block: 'nearest'});
  }, 50);
}"""
STATUS = "element.setAttribute('role', 'status'); element.setAttribute('aria-live', 'polite');"
PROGRAMS = (("python", "Python"), ("cli", "Command line"), ("curl", "Request (curl)"))


def build_library(shared: Shared, page: gr.Blocks) -> None:
    """Search and cards; beside them the chosen video; above them two that are compared."""
    with gr.Column(elem_id="library"):
        with gr.Row(equal_height=False):
            with gr.Column(min_width=220, scale=3):
                words = gr.Textbox(label="Search", elem_id="library-search", max_length=200)
                with gr.Row():
                    show = gr.Dropdown(SHOW, value=FINISHED, label="Show", elem_id="library-show", min_width=150)
                    starred = gr.Checkbox(False, label="Starred only", elem_id="library-starred", min_width=130)
            with gr.Column(min_width=220, scale=2):
                dropped = gr.File(
                    label="Use the settings of a file made by Kinema", file_types=list(SUFFIXES),
                    type="filepath", height=130, elem_id="restore",
                )  # fmt: skip
        parts: dict[str, Any] = {
            "told": gr.HTML(
                "", css_template=LIVE, js_on_load=STATUS, elem_id="library-told", apply_default_css=False
            ),
            "pair": build_compare(), "source": shared.source, "settings": shared.settings, "tabs": shared.tabs,
            "followed": shared.followed,
        }  # fmt: skip
        with gr.Row(equal_height=False):
            with gr.Column(min_width=300, scale=3):
                first = {"show": FINISHED, "pages": 1}
                grid = parts["grid"] = live(shared, draw_grid, elem_id="library-grid", css=CARDS, value=first)
            with gr.Column(min_width=300, scale=2):
                none = {"id": ""}
                video = parts["video"] = live(shared, draw_video, elem_id="library-video", css=ONE, value=none)
                with gr.Accordion("Copy as a program", open=False, visible=False, elem_id="library-copy") as copy:
                    for name, label in PROGRAMS:
                        parts[name] = gr.Textbox(
                            label=label, lines=2, max_lines=14, buttons=["copy"], interactive=False,
                            elem_id=f"library-{name}",
                        )  # fmt: skip
                    parts["notes"] = gr.HTML("", elem_id="library-notes")
                parts["copy"] = copy
    outputs, pair = [parts[name] for name in OUTPUTS], parts["pair"]
    hands = [grid, shared.source, shared.settings]

    def changed(changes: dict[str, Any]) -> list[Any]:
        return [changes.get(name, gr.skip()) for name in OUTPUTS]

    def act(
        event: gr.EventData, asked: dict, source: tuple[str, int], settings: tuple[dict, int], request: gr.Request
    ) -> list[Any]:
        with said():
            visit = Visit(shared, request, asked, source, settings)
            return changed(visit.press(str(event._data.get("act") or ""), str(event._data.get("id") or "")))

    for part in (grid, video):
        part.act(act, hands, outputs, **QUEUED).then(None, [video, grid], js=TO_NEWS, api_visibility="private")
    pair.away(lambda asked: [dict(asked) | {"beside": ""}, ""], grid, [grid, pair], **QUIET)

    def sift(asked: dict, words: str, show: str, starred: bool) -> dict[str, Any]:
        return dict(asked or {}) | {"words": words, "show": show, "starred": starred, "pages": 1}

    for part in (words, show, starred):
        part.change(sift, [grid, words, show, starred], grid, trigger_mode="always_last", **QUIET)

    def take(
        path: str, asked: dict, source: tuple[str, int], settings: tuple[dict, int], request: gr.Request
    ) -> list[Any]:
        try:
            with said():
                visit = Visit(shared, request, asked, source, settings)
            return [*changed(visit.restore_file(path)), None]
        except JobError as error:
            text = str(error)
            return [*changed({"told": told_html(f"✕ {text[:1].upper()}{text[1:]}")}), None]

    dropped.upload(take, [dropped, *hands], [*outputs, dropped], show_progress="full", api_visibility="private")

    def arrive(asked: dict, request: gr.Request) -> list[Any]:
        name = str(dict(request.query_params).get("video") or "")
        if not name:
            return changed({})
        with said():
            return changed(Visit(shared, request, asked, ("", 0), ({}, 0)).arrive(name))

    page.load(arrive, grid, outputs, **QUIET).then(None, [video, grid], js=TO_NEWS, api_visibility="private")
