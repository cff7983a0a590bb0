"""A real browser on a served studio, and what a person does with it."""

import contextlib
import shutil
import time

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PATIENCE = 60_000  # milliseconds: machines that run tests are busy

expect.set_options(timeout=PATIENCE)


@contextlib.contextmanager
def browsing():
    """Chromium, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def open_page(context, url, size=DESKTOP):
    """A page of the studio, when it can be used; `page.elsewhere` lists what it asked of other servers."""
    page = context.new_page()
    page.set_viewport_size(size)
    page.set_default_timeout(PATIENCE)
    page.elsewhere = []
    page.on(
        "request", lambda asked: asked.url.startswith((url, "data:", "blob:")) or page.elsewhere.append(asked.url)
    )
    page.goto(url)
    page.locator("#queue-summary").wait_for()
    expect(page.locator("#estimate")).to_contain_text("frames")  # the page's own first questions are answered
    return page


def go_to(page, name):
    """Choose a screen; on a narrow page it may be behind the button with the dots."""
    tab = page.get_by_role("tab", name=name, exact=True)
    if not tab.is_visible():
        page.locator(".overflow-menu > button").first.click()
        tab = page.locator(".overflow-dropdown").get_by_text(name, exact=True)
    tab.click()


def wait_for_player(page, within):
    """Until a video can be played there."""
    video = page.locator(f"{within} video[data-key$=' done']")
    video.wait_for()
    page.wait_for_function("video => video.readyState >= 2", arg=video.element_handle())
    return video


def made_of(server, page, source):
    """The newest video, made from another one, when it is completed."""
    end = time.monotonic() + PATIENCE / 1000
    while (now := server.videos()[0])["remixed_from_video_id"] != source or now["status"] != "completed":
        assert now["status"] not in ("failed", "cancelled") and time.monotonic() < end, now
        page.wait_for_timeout(200)
    return now


def findings(page):
    """What axe finds that is serious: rule, and where."""
    found = Axe().run(page).response["violations"]
    return [
        (each["id"], each["impact"], [node["target"] for node in each["nodes"]][:3])
        for each in found if each["impact"] in ("serious", "critical")
    ]  # fmt: skip
