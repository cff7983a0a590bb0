"""A creator's day in a real browser: from the first prompt to the file that gives its settings back."""

import re
import signal
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from kinema import app
from kinema.data.video_io import probe

pytest.importorskip("axe_playwright_python", reason="pip install 'kinema[test]' brings it")
sys.path.insert(0, str(Path(__file__).parent))
from browsing import (
    CHROMIUM,
    DESKTOP,
    PATIENCE,
    PHONE,
    browsing,
    expect,
    findings,
    go_to,
    open_page,
    wait_for_player,
)
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


def shown(server, video):
    return httpx.get(f"{server.url}v1/videos/{video}").json()


def made_of(server, page, source):
    """The newest video, made from another one, when it is completed."""
    end = time.monotonic() + PATIENCE / 1000
    while (now := newest(server))["remixed_from_video_id"] != source or now["status"] != "completed":
        assert now["status"] not in ("failed", "cancelled") and time.monotonic() < end, now
        page.wait_for_timeout(200)
    return now


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
    page.locator("#edit-task").get_by_label("Extend →").check()
    page.click("#edit-make")
    longer = made_of(server, page, first["id"])
    assert float(longer["seconds"]) > float(first["seconds"])
    wait_for_player(page, f"#edit-watching:has(video[data-key='{longer['id']} done'])")
    page.locator("#edit-watching").get_by_role("button", name="Edit this").click()
    expect(page.locator("#edit-source video")).to_have_attribute("src", re.compile(longer["id"]))
    page.locator("#edit-task").get_by_label("Loop").check()
    page.click("#edit-make")
    loop = made_of(server, page, longer["id"])
    expect(page.locator(f"#edit-watching video[data-key='{loop['id']} done']")).to_be_visible()

    # save the file, and get its settings back from it
    go_to(page, "Create")
    file = tmp_path / "saved.mp4"
    go_to(page, "Library")
    page.locator("#library").get_by_role("button", name=re.compile("a blue cube")).first.click()
    expect(page.locator("#library-video")).to_contain_text("a blue cube")
    with page.expect_download() as saved:
        page.locator("#library").get_by_role("link", name="Download").click()
    saved.value.save_as(file)
    assert probe(file).frames == shown(server, long["id"])["num_frames"]
    page.locator("#restore input[type=file]").set_input_files(str(file))
    expect(page.locator("#prompt textarea")).to_have_value("a blue cube slides to the right")
    expect(page.locator("#seconds input[type=number]")).to_have_value(re.compile("^10"))

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
            if "kinema.studio.making.worker" in " ".join(child.cmdline()):
                child.send_signal(signal.SIGKILL)
        if attempt == 1:
            expect(page.locator("#watching")).to_contain_text("tried again")
    problem = page.locator("#watching .problem")
    expect(problem).to_contain_text("was killed (signal 9)")
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


def test_the_pages_and_the_api_share_one_address(server):
    with httpx.Client(base_url=server.url) as client:
        page, config = client.get("/"), client.get("/config").json()
        assert "Kinema" in page.text and config["analytics_enabled"] is False
        assert "fonts.googleapis.com" not in client.get("/theme.css").text
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert client.get("/healthz").json() == {"status": "ok"}
        lost = client.get("/v1/nothing")
        assert (lost.status_code, lost.json()["error"]["code"]) == (404, "not_found")


def test_python_app_py_is_kinema_serve(capsys):
    with pytest.raises(SystemExit) as ended:
        app.main(["--help"])
    assert ended.value.code == 0 and "kinema serve" in capsys.readouterr().out


def focused(page):
    """The words of the control that has the focus."""
    return page.evaluate(
        "(() => { const it = document.activeElement; return (it.getAttribute('aria-label') || it.innerText"
        " || it.labels?.[0]?.innerText || '').trim() })()"
    )


def tab_to(page, words, most=250):
    """Press Tab until a control has the focus whose words are these."""
    seen = []
    for _ in range(most):
        page.keyboard.press("Tab")
        seen.append(focused(page)[:40])
        if re.search(words, seen[-1]):
            return
    pytest.fail(f"{words} cannot be reached with Tab; what can: {list(dict.fromkeys(seen))}")


def test_editing_library_and_storyboard_go_by_keyboard_alone(server, context):
    page = open_page(context, server.url)
    page.keyboard.type("a yellow star rises")
    page.keyboard.press("Enter")
    wait_for_player(page, "#watching")
    made = newest(server)

    # edit it
    tab_to(page, "^Edit this$")
    page.keyboard.press("Enter")
    expect(page.locator("#edit-source video")).to_be_visible()
    tab_to(page, "Extend →")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    tab_to(page, "^Make it$")
    page.keyboard.press("Enter")
    assert made_of(server, page, made["id"])["status"] == "completed"

    # find it, star it, delete it and bring it back
    tab_to(page, "^Library$")
    page.keyboard.press("Enter")
    tab_to(page, "^a yellow star rises")
    page.keyboard.press("Enter")
    expect(page.locator("#library-video video")).to_be_visible()
    tab_to(page, "^Star: ")
    page.keyboard.press("Enter")
    expect(page.locator("#library").get_by_text("★ Starred").first).to_be_visible()
    tab_to(page, "^Delete$")
    page.keyboard.press("Enter")
    undo = page.locator("#library").get_by_role("button", name=re.compile("^Undo"))
    expect(undo).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#library-told")).to_contain_text("It is back.")

    # a storyboard of one card
    tab_to(page, "^Storyboard$")
    page.keyboard.press("Enter")
    expect(page.locator("#board-cards")).to_contain_text("Nothing yet")
    tab_to(page, "^What is seen")
    page.keyboard.type("a green cube spins")
    expect(page.locator("#board-cards")).to_contain_text("a green cube spins")
    tab_to(page, "^Make all cards")
    page.keyboard.press("Enter")
    expect(page.locator("#board-made")).to_contain_text("All cards are made")
    assert (newest(server)["prompt"], newest(server)["status"]) == ("a green cube spins", "completed")
