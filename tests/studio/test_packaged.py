"""`kinema serve` as it is begun without any options, on the checkpoint that comes with Kinema.

What is seen and heard while it makes a video: the preview sharpens, the stages are announced, and nothing moves
for those who want less motion.
"""

import re

import httpx
import numpy as np
import pytest
import yaml

from kinema.data.video_io import probe, read_video
from kinema.pipeline.checkpoint import DEFAULT_FOLDER
from kinema.pipeline.provenance import read_provenance

pytest.importorskip("axe_playwright_python", reason="pip install 'kinema[test]' brings it")
from browsing import CHROMIUM, expect, go_to, open_page, wait_for_player
from served import serving

in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt install chromium)")
PROMPT = "a blue cube slides to the right on sand"
SCREENS = ("Edit", "Storyboard", "Library", "Captions", "Create")

# From the first moment on: all that is announced in a live region, and all that moves by itself or is made to.
RECORD = r"""
window.said = [], window.moved = [];
const MOVES = /transform|translate|scale|rotate|left|top|right|bottom|width|height/i;  // no mere fading
new MutationObserver(changes => {
  for (const {target} of changes) {
    const region = (target.nodeType === Node.TEXT_NODE ? target.parentElement : target)?.closest?.('[data-told]');
    const part = region?.closest('#watching, #queue')?.id;
    if (part && region.textContent) said.push(`${part}: ${region.textContent}`);
  }
}).observe(document, {subtree: true, childList: true, characterData: true});
for (const kind of ['animationstart', 'transitionrun'])
  addEventListener(kind, event => moved.push(`${kind} ${event.animationName || event.propertyName} `
    + `${event.target.id || event.target.className}`), true);
const look = () => {
  for (const {playState, effect, transitionProperty, animationName} of document.getAnimations())
    if (playState === 'running' && effect.getKeyframes().some(each => MOVES.test(Object.keys(each))))
      moved.push(`${transitionProperty || animationName || 'a script'}: ${effect.target.className}`);
  requestAnimationFrame(look);
};
look();
"""
# Numbers of what a picture shows: means of an 8 x 8 grid, of three colours each.
PIXELS = """picture => {
  const small = document.createElement('canvas');
  small.width = small.height = 8;
  const pen = small.getContext('2d', {willReadFrequently: true});
  pen.drawImage(picture, 0, 0, 8, 8);
  return [...pen.getImageData(0, 0, 8, 8).data].filter((_, place) => place % 4 < 3);
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """With a port and a folder of its own, as tests need; all else is as `kinema serve` has it."""
    with serving(tmp_path_factory.mktemp("packaged") / "studio") as server:
        yield server


def test_a_short_draft_is_made_and_found(server, tmp_path, waiting):
    (model,) = httpx.get(server.url + "v1/models").json()["data"]
    can = model["capabilities"]
    assert can["off"] == {} and can["needs"] == []
    asked = {"prompt": PROMPT, "seconds": 0.5, "num_inference_steps": can["drafts"]["draft"]}
    video = httpx.post(server.url + "v1/videos", data=asked).raise_for_status().json()
    assert video["model"] == model["id"]
    waiting(lambda: server.videos()[0]["status"] not in ("queued", "in_progress"), every=0.1)
    (made,) = server.videos()
    assert (made["id"], made["status"], made["error"]) == (video["id"], "completed", None)
    file = tmp_path / "made.mp4"
    file.write_bytes(httpx.get(f"{server.url}v1/videos/{made['id']}/content").raise_for_status().content)
    found, how = probe(file), read_provenance(file)
    assert (found.width, found.height, found.frames) == (can["width"], can["height"], made["num_frames"])
    assert 0.25 <= found.duration <= 0.75
    assert (how.prompt, how.num_inference_steps) == (PROMPT, can["drafts"]["draft"])


@in_a_browser
def test_the_cards_prompts_are_a_press_away_and_can_be_made(server, context):
    head = (DEFAULT_FOLDER / "README.md").read_text(encoding="utf-8").split("---\n")[1]
    prompts = [each["text"] for each in yaml.safe_load(head)["widget"]]
    page = open_page(context, server.url)
    examples = page.locator("#examples")
    examples.locator("summary").click()
    assert examples.get_by_role("button").all_inner_texts() == prompts[:6] and len(prompts) >= 6
    prompt = page.locator("#prompt textarea")
    for chosen in (prompts[0], prompts[5]):  # it takes the place of what was there
        examples.get_by_role("button", name=chosen, exact=True).click()
        expect(prompt).to_have_value(chosen)
        expect(prompt).to_be_focused()
    prompt.press("Tab")  # all of it is looked at
    page.wait_for_timeout(500)
    expect(page.locator("#unknown-words button")).to_have_count(0)  # the model knows all its words
    page.locator("#quality").get_by_label("draft").check()
    page.fill("#seconds input[type=number]", "0.5")
    page.press("#seconds input[type=number]", "Tab")
    page.click("#generate")
    wait_for_player(page, "#watching")
    made = server.videos()[0]
    assert (made["prompt"], made["status"]) == (prompts[5], "completed")
    expect(page.locator("#watching")).not_to_contain_text("Worth knowing")


def ask_for(page, prompt, steps):
    page.fill("#prompt textarea", prompt)
    for fold in ("#more", "#expert"):
        page.locator(f"{fold} > button").click()
    page.fill("#steps input[type=number]", str(steps))
    page.press("#steps input[type=number]", "Tab")
    page.click("#generate")
    expect(page.locator("#watching .prompt")).to_have_text(prompt)


def picture(page, kind, other_than=()):
    """What a preview shows that is really painted, when it shows something else."""
    shown = page.locator(f"#watching [data-picture] {kind}")
    for _ in range(300):
        shown.wait_for()
        if (pixels := shown.evaluate(PIXELS)) not in other_than:
            return pixels
        page.wait_for_timeout(100)
    pytest.fail("the preview stays as it is")


def until_preview(server, waiting, progress):
    """Until there is a preview of what is so far; percent."""
    waiting(
        lambda: server.videos()[0]["progress"] >= progress and list((server.folder / "previews").glob("*.webp"))
    )


@in_a_browser
def test_a_video_sharpens_in_view_and_its_stages_are_announced(server, context, waiting, tmp_path):
    context.add_init_script(RECORD)
    page = open_page(context, server.url)
    told = page.locator("#watching [data-told]")
    expect(told).to_have_attribute("role", "status")
    expect(told).to_have_attribute("aria-live", "polite")
    with server.at_rest():
        ask_for(page, PROMPT, 40)
        expect(told).to_have_text("Next in the queue.")
        expect(page.locator("#queue [data-told]")).to_have_text("Queue: 0 being made, 1 waiting.")
    seen = []
    for progress in (1, 30, 60):
        until_preview(server, waiting, progress)
        with server.at_rest():
            seen.append(picture(page, "img", seen))
            expect(told).to_have_text("Taking shape.")
            assert server.videos()[0]["status"] == "in_progress"
    expect(told).to_have_text("Done.")
    said = page.evaluate("said")
    watched = [each.removeprefix("watching: ") for each in said if each.startswith("watching")]
    assert watched[0] == "Next in the queue." and watched[-1] == "Done."
    assert len(watched) == len(set(watched)) <= 8, watched  # every stage once: nobody is told of each step
    assert not [each for each in said if re.search(r"\d %", each)]
    video = wait_for_player(page, "#watching")
    page.wait_for_function("video => !video.paused", arg=video.element_handle())
    final = httpx.get(f"{server.url}v1/videos/{server.videos()[0]['id']}/content").content
    (tmp_path / "made.mp4").write_bytes(final)
    first = read_video(tmp_path / "made.mp4").frames[0].reshape(8, 8, 8, 8, 3).mean((1, 3)).ravel()
    away = [np.abs(np.array(each) - first).mean() for each in seen]
    assert away[0] > away[1] > away[2], away
    assert page.evaluate("moved.length") > 0  # so that the next test can tell


@in_a_browser
def test_nothing_moves_for_those_who_want_less_motion(server, browser, waiting):
    context = browser.new_context(reduced_motion="reduce")
    context.add_init_script(RECORD)
    try:
        page = open_page(context, server.url)
        page.evaluate("moved.length = 0")  # colours fade in for 10 ms while Gradio finds its styles
        ask_for(page, "a pink ball falls on a wooden floor", 40)
        until_preview(server, waiting, 1)
        with server.at_rest():
            picture(page, "canvas")  # of a moving picture its first frame
            expect(page.locator("#watching [data-picture] img")).to_have_count(0)
            expect(page.locator("#watching").get_by_text("Hold the preview still")).to_be_hidden()
        for screen in SCREENS:
            go_to(page, screen)
            page.wait_for_timeout(300)
        video = wait_for_player(page, "#watching")
        page.fill("#prompt textarea", "")
        page.click("#generate")  # a message comes, outside of all screens
        close = page.locator(".toast-close")
        assert close.evaluate("button => parseFloat(getComputedStyle(button).transitionDuration)") == 0
        assert video.evaluate("video => video.paused && video.currentTime === 0")
        assert page.evaluate("moved") == []
    finally:
        context.close()
