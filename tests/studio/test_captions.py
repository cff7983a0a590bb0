"""The review screen in a tab: what it needs, and that its keys act there only."""

import gc
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from kinema.captioner.review.reviews import Reviews
from kinema.studio.rest.access import Access
from kinema.studio.serving import ServeError
from kinema.studio.ui.captions import build_captions, check_captions
from kinema.studio.ui.shared import Shared
from kinema.studio.ui.theme import look

pytest.importorskip("axe_playwright_python", reason="pip install 'kinema[test]' brings it")
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "captioner"))
from browsing import CHROMIUM, DESKTOP, browsing, expect, findings
from published import build

pytestmark = [
    # Gradio leaves sockets and event loops to the garbage collector,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    # and its queue uses what pandas 3 deprecates.
    pytest.mark.filterwarnings("ignore:.future.no_silent_downcasting"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return build(tmp_path_factory.mktemp("published"))[0]


def page_of(dataset):
    """Two tabs, the second with the captions."""
    served: Any = SimpleNamespace(access=Access(["secret"]))
    nothing: Any = None
    with gr.Blocks(title="Kinema", analytics_enabled=False) as page, gr.Tabs():
        with gr.Tab("Create"):
            gr.Textbox(label="Describe your video", elem_id="text")
        with gr.Tab("Captions"):
            build_captions(dataset, page, Shared(served, *[nothing] * 4))
    return page


def test_what_is_no_dataset_is_said_before_anything_is_served(dataset, tmp_path):
    check_captions(dataset)
    with pytest.raises(ServeError, match=r"--captions: .*kinema caption dataset"):
        check_captions(tmp_path)
    for name in ("clips.parquet", "captions.parquet"):
        for path in dataset.rglob(name):
            copy = tmp_path / path.relative_to(dataset)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ServeError, match="cannot be read"):
        check_captions(tmp_path)


def test_without_a_dataset_the_tab_says_how_to_get_there():
    config = str(page_of(None).get_config_file()["components"])
    assert "kinema serve --captions dataset" in config and "review-accept" not in config


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt install chromium)")
def test_keys_review_while_the_tab_is_in_sight_and_not_otherwise(dataset):
    page_ = page_of(dataset)
    _, url, _ = page_.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, footer_links=[], **look())
    queue = Reviews(dataset, "ann").queue()
    try:
        with browsing() as browser:
            page = browser.new_context(viewport=DESKTOP, reduced_motion="reduce").new_page()
            page.set_extra_http_headers({"authorization": "Bearer secret"})
            page.goto(url)
            page.get_by_role("tab", name="Captions").click()
            where = page.locator("#review-where")
            expect(where).to_contain_text("1 of 14")
            page.wait_for_function("document.querySelector('#review-clip video')?.readyState >= 2")
            page.wait_for_function("document.querySelector('#review-clip video').paused")  # less motion is wanted
            page.locator("#review-about").click()
            page.keyboard.press("a")
            expect(where).to_contain_text("2 of 14")
            assert findings(page) == []
            page.get_by_role("tab", name="Create").click()
            page.locator("h1, body").first.click()
            page.keyboard.press("a")
            page.locator("#text textarea").press_sequentially("rain")
            page.get_by_role("tab", name="Captions").click()
            expect(where).to_contain_text("2 of 14")
            reviews = Reviews(dataset, "ben")
            assert [reviews.now(name).verdict for name in queue[:2]] == ["accepted", None]
            assert reviews.now(queue[0]).reviewer == Access(["secret"]).name_of("secret")
    finally:
        page_.close(verbose=False)
        gc.collect()
