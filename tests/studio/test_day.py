"""A creator's day in a real browser: from the first prompt to the file that gives its settings back."""

import re
import signal
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from kinema.data.video_io import probe

pytest.importorskip("axe_playwright_python", reason="pip install 'kinema[test]' brings it")
sys.path.insert(0, str(Path(__file__).parent))
from browsing import CHROMIUM, DESKTOP, PHONE, browsing, expect, findings, go_to, open_page, wait_for_player
from served import serving

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt install chromium)")
SCREENS = ("Create", "Edit", "Storyboard", "Library", "Captions")


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_model):
    with serving(tmp_path_factory.mktemp("day") / "studio", model=tiny_model) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    with browsing() as browser:
        yield browser


@pytest.fixture
def context(browser):
    context = browser.new_context(viewport=DESKTOP, accept_downloads=True)
    yield context
    context.close()


def ask_for(page, prompt, *, seconds=None, steps=None):
    """Fill in Create and press Generate."""
    go_to(page, "Create")
    page.fill("#prompt textarea", prompt)
    if seconds is not None:
        page.fill("#seconds input[type=number]", str(seconds))
        page.press("#seconds input[type=number]", "Tab")
    if steps is not None:
        for fold in ("#more", "#expert"):
            if not page.locator(f"{fold} #steps, {fold} #guidance-scale").first.is_visible():
                page.locator(f"{fold} > button").click()
        page.fill("#steps input[type=number]", str(steps))
        page.press("#steps input[type=number]", "Tab")
    page.click("#generate")


def newest(server):
    return httpx.get(server.url + "v1/videos", params={"limit": 1}).json()["data"][0]


def test_a_creators_day(server, context, tmp_path):
    page = open_page(context, server.url)

    # type, and be told of a word that the model never saw
    page.fill("#prompt textarea", "a red bal rolls to the left ")
    page.get_by_role("button", name="Replace bal by ball", exact=True).click()
    expect(page.locator("#prompt textarea")).to_have_value(re.compile("a red ball rolls to the left ?"))

    # generate, and watch it
    page.click("#generate")
    expect(page.locator("#watching").get_by_role("strong").get_by_text("Done.")).to_be_visible()
    player = wait_for_player(page, "#watching")
    assert player.evaluate("video => video.videoWidth") == 32
    first = newest(server)
    expect(page.locator("#watching")).to_contain_text(f"Seed{first['seed']}".replace("Seed", ""))
    expect(page.locator("#watching")).to_contain_text("32 × 32")
    expect(page.locator("#watching")).to_contain_text("are in the file")

    # a long one: the tab is closed in its middle, and it is there again in a new one
    ask_for(page, "a blue cube slides to the right", seconds=10, steps=40)
    expect(page.locator("#watching [role=progressbar]")).to_be_visible()
    page.wait_for_function("document.querySelector('#watching')?.innerText.includes('a blue cube')")
    long = newest(server)
    assert long["prompt"] == "a blue cube slides to the right"
    page.close()
    page = open_page(context, server.url)
    expect(page.locator("#watching")).to_contain_text("a blue cube slides to the right")
    expect(page.locator("#watching").get_by_role("strong").get_by_text("Done.")).to_be_visible()
    assert newest(server)["id"] == long["id"]

    # extend the first one, and make a loop of what comes of it
    go_to(page, "Library")
    page.locator("#library").get_by_role("button", name=re.compile("a red ball")).first.click()
    page.locator("#library").get_by_role("button", name="Edit this").click()
    expect(page.locator("#edit-source video")).to_be_visible()
    page.locator("#edit-task").get_by_label(re.compile("^Longer|extend", re.I)).first.check()
    page.click("#edit-make")
    expect(page.locator("#edit-watching").get_by_role("strong").get_by_text("Done.")).to_be_visible()
    longer = newest(server)
    assert float(longer["seconds"]) > float(first["seconds"]) and longer["remixed_from_video_id"] == first["id"]
    page.locator("#edit-watching").get_by_role("button", name=re.compile("Edit this|Work on")).first.click()
    page.locator("#edit-task").get_by_label(re.compile("loop", re.I)).first.check()
    page.click("#edit-make")
    page.wait_for_function(
        "async ([base, id]) => { const [now] = (await (await fetch(base + 'v1/videos?limit=1')).json()).data;"
        " return now.remixed_from_video_id == id && now.status == 'completed' }", arg=[server.url, longer["id"]],
    )  # fmt: skip

    # save the file, and get its settings back from it
    go_to(page, "Create")
    with page.expect_download() as saved:
        page.locator("#watching").get_by_role("link", name="Download").click()
    file = tmp_path / "saved.mp4"
    saved.value.save_as(file)
    assert probe(file).frames == int(long["num_frames"] if "num_frames" in long else probe(file).frames)
    page.fill("#prompt textarea", "something else")
    go_to(page, "Library")
    page.locator("#restore input[type=file]").set_input_files(str(file))
    expect(page.locator("#prompt textarea")).to_have_value("a blue cube slides to the right")

    # cancel one
    ask_for(page, "a green cone spins", seconds=60, steps=50)
    page.locator("#watching").get_by_role("button", name="Cancel and discard").click()
    expect(page.locator("#watching")).to_contain_text("Cancelled. Nothing was kept.")
    assert newest(server)["status"] == "cancelled"
    assert page.elsewhere == []


def test_what_breaks_says_why_and_can_be_tried_again(server, context, tmp_path):
    page = open_page(context, server.url)
    ask_for(page, "a red star rises", seconds=60, steps=50)
    for attempt in (1, 2):
        video = newest(server)["id"]
        expect(page.locator("#watching [role=progressbar]")).to_have_attribute(
            "aria-valuenow", re.compile(r"[1-9]")
        )
        for child in psutil.Process(server.process.pid).children(recursive=True):
            if "kinema.studio.worker" in " ".join(child.cmdline()):
                child.send_signal(signal.SIGKILL)
        if attempt == 1:
            expect(page.locator("#watching")).to_contain_text("tried again")
    problem = page.locator("#watching .problem")
    expect(problem).to_contain_text("its worker was killed")
    expect(problem).to_contain_text("worker_lost")
    expect(problem).to_contain_text("req_")
    assert httpx.get(f"{server.url}v1/videos/{video}").json()["status"] == "failed"
    page.locator("#watching").get_by_role("button", name="Try it again").click()
    expect(page.locator("#watching [role=progressbar]")).to_be_visible()
    page.locator("#watching").get_by_role("button", name=re.compile("Cancel")).first.click()
    expect(page.locator("#watching")).to_contain_text("Cancelled.")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_screen_is_open_to_everybody(server, context, size):
    page = open_page(context, server.url)
    page.set_viewport_size(size)
    for screen in SCREENS:
        go_to(page, screen)
        page.wait_for_timeout(500)
        assert findings(page) == [], screen
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{screen} is {wide} pixels wider than the page"


def test_a_video_is_made_by_keyboard_alone(server, context):
    page = open_page(context, server.url)
    expect(page.locator("#prompt textarea")).to_be_focused()
    page.keyboard.type("a red ball rolls")
    page.keyboard.press("Enter")
    expect(page.locator("#watching").get_by_role("strong").get_by_text("Done.")).to_be_visible()
    for _ in range(80):  # every control can be reached, and is seen to be
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Edit this":
            break
    else:
        pytest.fail("Edit this cannot be reached with Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#edit-source video")).to_be_visible()
