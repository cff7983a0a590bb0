"""The studio without a pointer: everything is reached with Tab, is in view when it is, and does what it says."""

import re
import sys
from pathlib import Path

import httpx
import pytest

from kinema.captioner.review.reviews import Reviews

pytest.importorskip("axe_playwright_python", reason="pip install 'kinema[test]' brings it")
sys.path.insert(0, str(Path(__file__).parents[1] / "captioner"))
from browsing import CHROMIUM, PHONE, expect, made_of, open_page, wait_for_player
from published import build
from served import serving

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt install chromium)")

# What has the focus: its words; whether it is seen that it has; and whether any of it is in view, not beneath the
# queue, say. (A player's own controls lie within it, out of reach: the browser draws the focus there.)
FOCUSED = """() => {
  const it = document.activeElement, box = it.getBoundingClientRect(), style = getComputedStyle(it);
  const label = it.labels?.[0];
  const words = it.getAttribute('aria-label') || it.innerText || label?.innerText || it.id;
  const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1;
  const inView = [1, 3, 5, 7].some(part => {
    const there = document.elementFromPoint(box.left + box.width / 2, box.top + part * box.height / 8);
    return there && (it.contains(there) || label?.contains(there));
  });
  return [words.trim(), outlined || it.matches('video'), inView || it === document.body];
}"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return build(tmp_path_factory.mktemp("published"))[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_model, dataset):
    folder = tmp_path_factory.mktemp("keyboard") / "studio"
    with serving(folder, "--captions", str(dataset), model=tiny_model) as server:
        yield server


@pytest.fixture(scope="module")
def two(server, waiting):
    """Prompts of two videos."""
    prompts = ("a red ball bounces", "a blue cube spins")
    for prompt in prompts:
        httpx.post(server.url + "v1/videos", data={"prompt": prompt, "num_inference_steps": 1}).raise_for_status()
    waiting(lambda: {video["status"] for video in server.videos()} == {"completed"}, every=0.1)
    return prompts


def tab_to(page, words, *, back=False):
    """Press Tab, or Shift and Tab, until what has the focus has these words; what lies between is seen, too."""
    seen = []
    for _ in range(250):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        for _ in range(20):
            now, outlined, in_view = page.evaluate(FOCUSED)
            if in_view:
                break
            page.wait_for_timeout(100)  # it is scrolled to smoothly
        assert in_view, f"{now} is out of view when it has the focus"
        seen.append(now[:40])
        assert outlined or now.startswith("Kinema"), f"it is not seen that {now} has the focus"
        if re.search(words, now):
            return
    pytest.fail(f"{words} cannot be reached with Tab; what can: {list(dict.fromkeys(seen))}")


def press(page, words, key="Enter", **more):
    """Go there, and press it."""
    tab_to(page, words, **more)
    page.keyboard.press(key)


def test_a_prompt_becomes_a_video_and_a_video_another_one(server, context):
    page = open_page(context, server.url)
    expect(page.locator("#prompt textarea")).to_be_focused()
    page.keyboard.type("a yellow star rises")
    page.keyboard.press("Enter")
    wait_for_player(page, "#watching")
    made = server.videos()[0]
    press(page, "^Edit this$")
    expect(page.locator("#edit-source video")).to_be_visible()
    press(page, "^← Extend$", "Space")
    expect(page.locator("#edit-about")).to_contain_text("lead up to the beginning")
    press(page, "^Make it$")
    assert made_of(server, page, made["id"])["status"] == "completed"


def test_the_folded_parts_of_create(server, context):
    page = open_page(context, server.url)
    prompt = page.locator("#prompt textarea")
    page.keyboard.type("a red ball rolling")
    press(page, "^More: ")

    # a better prompt: left, then taken after a change
    press(page, "^Improve my prompt$")
    better = page.locator("#improved textarea")
    expect(better).to_be_focused()
    press(page, "^Keep mine$")
    expect(prompt).to_be_focused()
    expect(prompt).to_have_value("a red ball rolling")
    press(page, "^Improve my prompt$")
    expect(better).to_be_focused()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("a red ball rolls to the left")
    press(page, "^Use it$")
    expect(prompt).to_be_focused()
    expect(prompt).to_have_value("a red ball rolls to the left")

    tab_to(page, "^Style")
    page.keyboard.type("at night")
    page.keyboard.press("Enter")
    expect(page.locator("#style input")).to_have_value("at night")
    press(page, "^Expert: ")
    tab_to(page, "^Seed")
    page.keyboard.type("42")
    press(page, "^Lock the seed", "Space")
    tab_to(page, "number input for Steps")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("4")
    tab_to(page, "range slider for Steps")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#steps input[type=number]")).to_have_value("3")
    press(page, "^Generate$", back=True)
    wait_for_player(page, "#watching")
    made = server.videos()[0]
    assert made["prompt"] == "a red ball rolls to the left at night"
    assert (made["seed"], made["num_inference_steps"]) == (42, 3)


def test_finding_starring_deleting_and_bringing_back(server, context, two):
    page = open_page(context, server.url)
    press(page, "^Library$")
    press(page, f"^{two[0]}")
    expect(page.locator("#library-video video")).to_be_visible()
    press(page, "^Star: ")
    expect(page.locator("#library").get_by_text("★ Starred").first).to_be_visible()
    press(page, "^Delete$")
    expect(page.locator("#library").get_by_role("button", name=re.compile("^Undo"))).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#library-told")).to_contain_text("It is back.")


def test_two_videos_side_by_side(server, context, two):
    page = open_page(context, server.url)
    press(page, "^Library$")
    press(page, f"^{two[0]}")
    expect(page.get_by_role("heading", name=two[0])).to_be_focused()
    press(page, f"^Side by side with the chosen one: {two[1]}", back=True)
    expect(page.get_by_role("heading", name="Side by side")).to_be_focused()
    place, play = page.locator("#compare-place"), page.locator("#compare-play")
    expect(place).to_contain_text("0.00 s · frame 1 of 9 and 1 of 9")
    page.keyboard.press("ArrowRight")
    expect(place).to_contain_text("frame 2 of 9 and 2 of 9")
    page.keyboard.press("End")
    expect(place).to_contain_text("frame 9 of 9 and 9 of 9")
    page.keyboard.press("ArrowLeft")
    expect(place).to_contain_text("frame 8 of 9 and 8 of 9")
    page.keyboard.press("Space")
    expect(play).to_contain_text("Pause")
    page.keyboard.press("Space")
    expect(play).to_contain_text("Play")
    press(page, "^One frame forward$", "Home")
    page.keyboard.press("Enter")
    expect(place).to_contain_text("frame 2 of 9 and 2 of 9")
    tab_to(page, "^Time$")
    page.keyboard.press("ArrowRight")
    expect(place).to_contain_text("frame 3 of 9 and 3 of 9")
    tab_to(page, "^as it is")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#compare-speed")).to_have_value("0.5")
    press(page, "^Close$")
    expect(place).to_be_hidden()
    beside = page.get_by_role("button", name=f"Side by side with the chosen one: {two[1]}")
    expect(beside).to_be_focused()  # where it was begun


def test_a_storyboard_of_one_card(server, context):
    page = open_page(context, server.url)
    press(page, "^Storyboard$")
    expect(page.locator("#board-cards")).to_contain_text("Nothing yet")
    tab_to(page, "^What is seen")
    page.keyboard.type("a green cube spins")
    expect(page.locator("#board-cards")).to_contain_text("a green cube spins")
    press(page, "^Make all cards")
    expect(page.locator("#board-made")).to_contain_text("All cards are made")
    newest = server.videos()[0]
    assert (newest["prompt"], newest["status"]) == ("a green cube spins", "completed")


def test_captions_are_reviewed(server, context, dataset):
    page = open_page(context, server.url)
    press(page, "^Captions$")
    where, text = page.locator("#review-where"), page.locator("#review-text textarea")
    expect(where).to_contain_text("1 of 14")
    queue = Reviews(dataset, "ann").queue()
    tab_to(page, "^Filter")  # on the tabs themselves keys choose tabs
    page.keyboard.press("a")
    expect(where).to_contain_text("2 of 14")
    page.keyboard.press("e")
    expect(text).to_be_focused()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("a caption of my own")
    page.keyboard.press("Control+Enter")
    expect(where).to_contain_text("3 of 14")
    press(page, r"^Reject \(R\)$")
    expect(where).to_contain_text("4 of 14")
    page.keyboard.press("k")
    expect(where).to_contain_text("3 of 14")
    page.keyboard.press("u")
    expect(where).to_contain_text("0 rejected")
    press(page, "^Filter", back=True)
    press(page, "^Unreviewed only", "Space")
    expect(where).to_contain_text("of 12")
    reviews = Reviews(dataset, "ben")
    assert [reviews.now(name).verdict for name in queue[:4]] == ["accepted", "edited", None, None]
    assert reviews.now(queue[1]).text == "a caption of my own"
    page.keyboard.press("Space")  # takes the tick away: a control keeps the keys that it knows
    expect(where).to_contain_text("of 14")


def test_nothing_that_has_the_focus_is_beneath_the_queue(server, context):
    page = open_page(context, server.url, PHONE)
    press(page, "^Queue: ")  # it is folded
    expect(page.locator("#queue .body")).to_be_visible()
    page.add_style_tag(content="#queue .body {min-height: 34vh}")  # as high as it gets, with many videos in it
    press(page, "^More: ")
    press(page, "^Expert: ")
    for back in (False, True):
        tab_to(page, "^Queue: ", back=back)
        tab_to(page, "^Describe your video", back=back)


def test_the_queue_is_reordered_changed_duplicated_and_cancelled(server, context):
    with server.at_rest():
        for name in ("a red cone", "a green cone", "a blue cone"):
            asked = {"prompt": name, "num_inference_steps": 1}
            httpx.post(server.url + "v1/videos", data=asked).raise_for_status()
        page = open_page(context, server.url)
        expect(page.locator("#queue [data-status=queued]")).to_have_count(3)

        def becomes(*prompts):
            expect(page.locator("#queue [data-status=queued] .what")).to_have_text(list(prompts))

        becomes("a red cone", "a green cone", "a blue cone")
        press(page, "^To the front: a blue cone$")
        becomes("a blue cone", "a red cone", "a green cone")
        press(page, "^Down: a blue cone$")
        becomes("a red cone", "a blue cone", "a green cone")
        press(page, "^Up: a green cone$")
        becomes("a red cone", "a green cone", "a blue cone")
        # what waits is changed, and keeps its place
        press(page, "^Edit: a green cone$")
        expect(page.locator("#prompt textarea")).to_have_value("a green cone")
        expect(page.locator("#prompt textarea")).to_be_focused()
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type("a yellow cone")
        press(page, "^Save the change$")
        becomes("a red cone", "a yellow cone", "a blue cone")
        press(page, "^Duplicate: a red cone$")
        becomes("a red cone", "a yellow cone", "a blue cone", "a red cone")
        press(page, "^Cancel: a blue cone$")
        becomes("a red cone", "a yellow cone", "a red cone")
        # what was cancelled is tried again
        press(page, "^The last ones$")
        press(page, "^Try it again: a blue cone$")
        becomes("a red cone", "a yellow cone", "a red cone", "a blue cone")
    expect(page.locator("#queue [data-status=queued]")).to_have_count(0)
    expect(page.locator("#queue-summary")).to_contain_text("nothing to do")
    made = [(each["prompt"], each["status"]) for each in server.videos()[:4]]
    assert made == [(f"a {colour} cone", "completed") for colour in ("red", "blue", "yellow", "red")]


def test_two_are_connected_and_one_is_made_wider(server, context, two, waiting):
    page = open_page(context, server.url)
    press(page, "^Edit$")
    press(page, f"^{two[0]}")
    expect(page.locator("#edit-source video")).to_be_visible()
    first = page.locator("#edit-source video").get_attribute("src").split("/")[2]
    press(page, "^Connect$", "Space")
    expect(page.locator("#edit-other-picker")).to_be_visible()
    press(page, f"^{two[1]}")
    expect(page.locator("#edit-other video")).to_be_visible()
    press(page, "^Make it$")
    connected = made_of(server, page, first)
    wait_for_player(page, f"#edit-watching:has(video[data-key='{connected['id']} done'])")
    press(page, "^Widen$", "Space", back=True)
    expect(page.locator("#edit-aspect")).to_be_visible()
    tab_to(page, "New shape")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#edit-aspect input")).not_to_have_value("16:9")
    press(page, "^Make it$")
    waiting(
        lambda: server.videos()[0]["id"] != connected["id"] and server.videos()[0]["status"] == "completed", 60
    )
    assert server.videos()[0]["remixed_from_video_id"] == first and server.videos()[0]["size"] != connected["size"]
