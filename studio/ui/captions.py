"""captions."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio as gr


def build_captions(dataset: Path, page: "gr.Blocks") -> None:
    """Being written."""
