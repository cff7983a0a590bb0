"""queue."""

from typing import TYPE_CHECKING

from .shared import Shared

if TYPE_CHECKING:
    import gradio as gr


def build_queue(shared: Shared, page: "gr.Blocks") -> None:
    """Being written."""
