"""The look: a theme, and the little that a theme cannot say. Fonts are the system's: nothing is fetched."""

from typing import Any

CSS = """
footer {visibility: hidden}
.gradio-container {max-width: 80rem !important; margin: auto}
.sr-only {position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%)}
@media (prefers-reduced-motion: reduce) {
  *, ::before, ::after {animation: none !important; transition: none !important}
}
"""


def look() -> dict[str, Any]:
    """Theme and CSS, as `gr.mount_gradio_app` takes them."""
    from gradio.themes import Base, colors

    theme = Base(
        primary_hue=colors.amber,
        neutral_hue=colors.stone,
        font=("system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    ).set(  # dark enough under white text
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
    )
    return {"theme": theme, "css": CSS}
