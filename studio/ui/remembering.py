"""What a browser remembers of a screen."""

from typing import Any

import gradio as gr


def build_memory(page: gr.Blocks, name: str, default: Any) -> gr.BrowserState:
    """A value that outlives the tab of the browser.

    Gradio reads what the browser keeps when the part is drawn, and the screens behind unopened tabs are not: so it
    lies on the page itself, wherever it is built.

    Args:
        page: to lie on.
        name: in the browser.
        default: as long as nothing is kept.
    """
    memory = gr.BrowserState(default, storage_key=f"kinema-{name}", secret="kinema")
    if memory.parent is not None:
        memory.parent.children.remove(memory)
    memory.parent = page
    page.children.append(memory)
    return memory
