""" "Improve my prompt": the difference is shown and can be changed before anything is taken."""

import html
from typing import Any

import gradio as gr

from ..prompts.improve import difference_html, improver_of
from .live import CSS
from .shared import Shared, said

QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
RULES = """
ins {background: #d1fae5; color: #064e3b; text-decoration: underline}
del {background: #fee2e2; color: #7f1d1d; text-decoration: line-through}
"""


def build_improving(shared: Shared, prompt: gr.Textbox) -> None:
    """The button, and the box in which its proposal can be changed, taken or left."""
    ask = gr.Button("Improve my prompt", size="sm", elem_id="improve")
    with gr.Column(visible=False, elem_id="improving") as box:
        difference = gr.HTML(css_template=CSS + RULES, apply_default_css=False)
        text = gr.Textbox(label="The proposal; change it as you like", lines=2, max_lines=8, max_length=4000,
                          elem_id="improved")  # fmt: skip
        with gr.Row():
            use = gr.Button("Use it", size="sm", variant="primary", elem_id="use-improved", min_width=100)
            keep = gr.Button("Keep mine", size="sm", elem_id="keep-mine", min_width=100)

    serving = shared.served.serving

    def improve(words: str) -> list[Any]:
        if not (words or "").strip():
            raise gr.Error("Write a prompt first.", print_exception=False)
        with said():
            found = improver_of(serving.improve_url, serving.improve_model)(words, shared.studio.model)
        changes = "".join(f"<li>{html.escape(each)}</li>" for each in found.changes)
        told = f"<ul>{changes}</ul>" if changes else "<p>There is nothing to improve.</p>"
        shown = f"<p>{difference_html(words, found.text)}</p>{told}"
        return [gr.Column(visible=True), f'<div role="status" aria-live="polite">{shown}</div>', found.text]

    def close() -> Any:
        return gr.Column(visible=False)

    to_box = "() => { setTimeout(() => document.querySelector('#improved textarea')?.focus(), 200); }"
    to_prompt = "() => { document.querySelector('#prompt textarea')?.focus(); }"
    ask.click(improve, prompt, [box, difference, text], show_progress="minimal", api_visibility="private").success(
        None, js=to_box, api_visibility="private"
    )
    use.click(lambda text: [text, close()], text, [prompt, box], **QUIET).then(
        None, js=to_prompt, api_visibility="private"
    )
    keep.click(close, None, box, **QUIET).then(None, js=to_prompt, api_visibility="private")
