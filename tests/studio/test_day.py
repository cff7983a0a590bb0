"""A creator's day in a real browser: from the first prompt to the file that gives its settings back."""

import json
import re

import httpx
import psutil
import pytest

from kinema import app
from kinema.data.video_io import probe
from kinema.studio.jobs.wish import read_wish
from kinema.studio.models.estimate import UNMEASURED, bytes_taken
from kinema.studio.models.memory import TOLD
from kinema.studio.models.model import read_model

pytest.importorskip("axe_playwright_python", reason="pip install 'kinema[test]' brings it")
from browsing import (
    CHROMIUM,
    DESKTOP,
    PHONE,
    expect,
    findings,
    go_to,
    made_of,
    open_page,
    wait_for_player,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt install chromium)")
SCREENS = ("Create", "Edit", "Storyboard", "Library", "Captions")


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


def workers(server):
    """The server's processes that make videos."""
    children = psutil.Process(server.process.pid).children(recursive=True)
    return [child for child in children if "kinema.studio.making.worker" in " ".join(child.cmdline())]


def shown(server, video):
    return httpx.get(f"{server.url}v1/videos/{video}").json()


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
    first = server.videos()[0]
    expect(page.locator("#watching")).to_contain_text(f"Seed{first['seed']}".replace("Seed", ""))
    expect(page.locator("#watching")).to_contain_text("32 × 32")
    expect(page.locator("#watching")).to_contain_text("are in the file")

    # a long one: the tab is closed in its middle, and it is there again in a new one
    ask_for(page, "a blue cube slides to the right", seconds=10, steps=40)
    expect(page.locator("#watching [role=progressbar]")).to_be_visible()
    page.wait_for_function("document.querySelector('#watching')?.innerText.includes('a blue cube')")
    long = server.videos()[0]
    assert long["prompt"] == "a blue cube slides to the right"
    page.close()
    page = open_page(context, server.url)
    expect(page.locator("#watching")).to_contain_text("a blue cube slides to the right")
    expect(page.locator("#watching").get_by_role("strong").get_by_text("Done.")).to_be_visible()
    assert server.videos()[0]["id"] == long["id"]

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
    assert server.videos()[0]["status"] == "cancelled"
    assert page.elsewhere == []


def test_what_breaks_says_why_and_can_be_tried_again(server, context, tmp_path):
    page = open_page(context, server.url)
    ask_for(page, "a red star rises", seconds=60, steps=50)
    for attempt in (1, 2):
        video = server.videos()[0]["id"]
        expect(page.locator("#watching [role=progressbar]")).to_have_attribute(
            "aria-valuenow", re.compile(r"[1-9]")
        )
        for worker in workers(server):
            worker.kill()
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


def test_a_long_one_plays_from_its_first_blocks_on(server, context, wait_until):
    page = open_page(context, server.url)
    ask_for(page, "a red ball rolls", seconds=60, steps=50)
    expect(page.locator("#watching")).to_contain_text("a red ball rolls")
    video = server.videos()[0]["id"]
    (worker,) = workers(server)
    path = server.folder / "previews" / f"{video}.mp4"
    wait_until(lambda: path.exists() and path.read_bytes().count(b"moof") >= 8)  # a frame each
    worker.suspend()  # nothing comes any more, until what there is plays
    try:
        page.wait_for_function("document.querySelector('#watching video[data-key$=stream]')?.currentTime > 0")
        assert shown(server, video)["status"] == "in_progress"
        assert path.read_bytes().count(b"moof") < 40
    finally:
        worker.resume()
    page.locator("#watching").get_by_role("button", name="Cancel and discard").click()
    expect(page.locator("#watching")).to_contain_text("Cancelled.")


def test_what_does_not_fit_is_said_and_a_press_makes_it_fit(server, context, tiny_model):
    model = read_model(str(tiny_model))
    (told,) = (server.folder / "logs").glob(f"*.{TOLD}")
    memory = json.loads(told.read_text())
    frames = model.num_frames + model.frame_step
    fits = read_wish({"prompt": "a red ball", "num_frames": frames})
    room = memory["base"] + int(UNMEASURED * bytes_taken(model, fits, memory["value"])) + 1
    told.write_text(json.dumps(memory | {"most": room}))  # as a worker tells it that may take so much
    page = open_page(context, server.url)
    estimate, fit, seconds = (page.locator(each) for each in ("#estimate", "#fit", "#seconds input[type=number]"))
    expect(estimate).not_to_contain_text("will not fit")
    expect(fit).to_be_hidden()
    seconds.fill("2")
    seconds.press("Tab")
    expect(estimate).to_contain_text("It will not fit")
    expect(fit).to_have_text(f"Use what fits: 1.5 s ({frames} frames) instead of 2 s")
    fit.click()
    expect(seconds).to_have_value("1.5")
    expect(estimate).to_contain_text(f"{frames} frames of 32 × 32")
    expect(estimate).not_to_contain_text("will not fit")
    expect(fit).to_be_hidden()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_screen_is_open_to_everybody(server, context, size):
    page = open_page(context, server.url, size)
    for screen in SCREENS:
        go_to(page, screen)
        page.wait_for_timeout(500)
        assert findings(page) == [], screen
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{screen} is {wide} pixels wider than the page"


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
