"""Captions: the captioner's review screen in a tab, or how to get it there."""

import atexit
import getpass
import html
import shutil
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import Context

from ...captioner.engine.commits import CaptionError
from ...captioner.review.keys import keys
from ...captioner.review.previews import Previews
from ...captioner.review.reviews import Reviews
from .shared import Shared

PREFIX = "review-"  # of the ids of its parts
NONE = """
<h2>Review captions here</h2>
<p>A model learns from clips with captions. This screen shows the clips of a dataset one by one; you accept, reject
or edit what is said of them, by keyboard.</p>
<p>Make a dataset of your videos, and start the studio with it:</p>
<pre tabindex="0"><code>kinema caption videos --out dataset
kinema serve --captions dataset</code></pre>
"""
CSS = "h2 {margin: .5rem 0} pre {overflow-x: auto; padding: .6rem; background: var(--background-fill-secondary)}"


def check_captions(dataset: Path) -> None:
    """
    Raises:
        ServeError: the folder is no dataset whose captions can be reviewed.
    """
    from ..serving import ServeError

    try:
        Reviews(dataset, "nobody")
    except CaptionError as error:
        raise ServeError(f"--captions: {error}") from None
    except Exception as error:  # pyarrow's, of a damaged file
        raise ServeError(f"--captions {dataset}: it cannot be read: {' '.join(str(error).split())}") from None


def build_captions(dataset: Path | None, page: gr.Blocks, shared: Shared | None = None) -> None:
    """The screen, in the tab that is being built; it looks at the dataset when that is chosen.

    Args:
        dataset: its folder; None: the tab says how to get one here.
        page: that the tab is on.
        shared: of the page: reviews are signed by the key of whoever looks, where there are keys.
    """
    if dataset is None:
        gr.HTML(NONE, css_template=CSS, elem_id="captions-how")
        return
    from ...captioner.review.screen import build_parts

    tab = Context.block
    assert isinstance(tab, gr.Tab)
    reviews = Reviews(dataset, _me())
    folder = tempfile.mkdtemp(prefix="kinema-review-")  # where pages may open files
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    gr.HTML(f"<h2>Captions of {html.escape(dataset.name)}</h2>", css_template=CSS)
    previews = Previews(dataset.resolve(), Path(folder).resolve(), beside=True)

    def who(request: gr.Request) -> str:
        return "" if shared is None else shared.owner(request).name

    build_parts(reviews, previews, tab.select, PREFIX, who)
    quiet: dict[str, Any] = {"queue": False, "api_visibility": "private"}
    page.load(None, js=keys(PREFIX), **quiet)


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "somebody"
