"""The look: a theme, and the little that a theme cannot say. Fonts are the system's: nothing is fetched."""

from typing import Any

CSS = """
footer {visibility: hidden}
.gradio-container {max-width: 80rem !important; margin: auto}
:is(a, button, input, select, summary, textarea, video, [tabindex="0"]):focus-visible {
  outline: 3px solid var(--primary-600) !important; outline-offset: 1px}
.sr-only {position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%)}
"""
# Of the whole page: Gradio confines the rules above to the screens, and its messages are not in them.
HEAD = """<style>
@media (prefers-reduced-motion: reduce) {
  *, ::before, ::after {animation: none !important; transition: none !important}
}
</style>"""


def look() -> dict[str, Any]:
    """Theme, CSS and a part of the page's head, as `gr.mount_gradio_app` takes them."""
    from gradio.themes import Base, colors

    theme = Base(
        primary_hue=colors.amber,
        neutral_hue=colors.stone,
        font=("system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    ).set(  # dark enough under white text, or on white
        color_accent="*primary_700",
        color_accent_soft="*primary_100",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_title_text_color="*neutral_700",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
    )
    return {"theme": theme, "css": CSS, "head": HEAD}
