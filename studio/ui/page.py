"""The page: its screens beside one another, the queue always in view."""

from typing import TYPE_CHECKING

from ..serving import Served
from .captions import build_captions
from .closed import close_downloads
from .create import build_create
from .edit import build_edit
from .library import build_library
from .queue import build_queue
from .shared import CAPTIONS, CREATE, EDIT, LIBRARY, STORYBOARD, Shared
from .storyboard import build_storyboard

if TYPE_CHECKING:
    import gradio as gr


def build_page(served: Served) -> "gr.Blocks":
    """All screens over one studio."""
    import gradio as gr

    close_downloads()
    with gr.Blocks(title="Kinema", delete_cache=(3600, 24 * 3600), analytics_enabled=False) as page:
        gr.Markdown("# Kinema")
        followed = gr.BrowserState("", storage_key="kinema-followed", secret="kinema")
        source, settings = gr.State(("", 0)), gr.State(({}, 0))
        with gr.Tabs(selected=CREATE) as tabs:
            shared = Shared(served, tabs, followed, source, settings)
            with gr.Tab("Create", id=CREATE):
                build_create(shared, page)
            with gr.Tab("Edit", id=EDIT):
                build_edit(shared, page)
            with gr.Tab("Storyboard", id=STORYBOARD):
                build_storyboard(shared, page)
            with gr.Tab("Library", id=LIBRARY):
                build_library(shared, page)
            with gr.Tab("Captions", id=CAPTIONS):
                build_captions(served.serving.captions, page, shared)
        build_queue(shared, page)
    return page.queue(max_size=200, api_open=False)
