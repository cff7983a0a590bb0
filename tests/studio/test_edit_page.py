"""The Edit and Storyboard screens in a real browser: a video is chosen, marked, edited, and goes on as cards."""

import numpy as np
import pytest

from kinema import write_video

pytest.importorskip("axe_playwright_python", reason="pip install 'kinema[test]' brings it")
from browsing import CHROMIUM, PHONE, expect, findings, go_to, open_page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt install chromium)")


def made(page, within):
    expect(page.locator(within).get_by_text("Done.", exact=True).first).to_be_visible()


def give(page, button, file):
    with page.expect_file_chooser() as chooser:
        page.click(button)
    chooser.value.set_files(file)


def test_a_file_is_marked_and_edited_and_the_result_again(server, context, tmp_path, wait_until):
    page = open_page(context, server.url)
    go_to(page, "Edit")
    file = write_video(tmp_path / "given.mp4", np.full((9, 32, 32, 3), 120, np.uint8), 8.0)
    give(page, "#edit-upload", file)
    player = page.locator("#edit-player")
    page.wait_for_function("video => video.readyState >= 1", arg=player.element_handle())
    expect(page.locator("#edit-source")).to_contain_text("32 × 32")

    # what is to change is painted; nothing painted is said
    page.get_by_label("Change a part", exact=True).click()
    page.fill("#edit-prompt textarea", "a red ball")
    expect(page.locator("#edit-mask canvas")).to_be_visible()
    assert findings(page) == []  # before a message is open: in Gradio's own a button lies in a button
    page.click("#edit-make")
    expect(page.get_by_text("Paint over what is to be made anew").first).to_be_visible()
    canvas = page.locator("#edit-mask canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 60, steps=4)
    page.mouse.up()
    expect(page.locator("#edit-mask")).to_contain_text("Painted: 1 stroke.")
    page.click("#edit-make")
    made(page, "#edit-watching")
    assert server.videos()[0]["prompt"] == "a red ball"

    page.get_by_label("Blend", exact=True).click()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 99)
    give(page, "#edit-other-upload", broken)
    expect(page.get_by_text("The file cannot be used").first).to_be_visible()
    page.get_by_label("Change a part", exact=True).click()

    # the result goes on, without a pointer: a box in numbers
    page.locator("#edit-edit").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#edit-source")).to_contain_text("a red ball")
    page.get_by_role("radio", name="A box in numbers").focus()
    page.keyboard.press("Space")
    page.fill("#edit-box-left input", "80")
    page.press("#edit-box-left input", "Tab")
    page.click("#edit-make")
    expect(page.get_by_text("begin before it ends").first).to_be_visible()
    page.fill("#edit-box-left input", "10")
    page.press("#edit-box-left input", "Tab")
    page.locator("#edit-make").focus()
    page.keyboard.press("Enter")
    wait_until(lambda: [video["status"] for video in server.videos()] == ["completed"] * 2)
    second, first = server.videos()
    assert second["remixed_from_video_id"] == first["id"]

    # a reload finds the source again
    page.reload()
    page.locator("#queue-summary").wait_for()
    go_to(page, "Edit")
    expect(page.locator("#edit-source")).to_contain_text("a red ball")


def test_cards_become_a_video_and_one_is_made_anew(server, context):
    page = open_page(context, server.url, PHONE)
    go_to(page, "Storyboard")
    page.fill("#board-text textarea", "a red ball")
    page.locator("#board-make").click()  # what was typed is written down first
    made_all = page.locator("#board-made").get_by_text("All cards are made.").first
    expect(made_all).to_be_visible()
    page.click("#board-add")
    expect(page.get_by_role("heading", name="Card 2")).to_be_visible()
    page.fill("#board-text textarea", "a blue <b>cube</b>")
    page.press("#board-text textarea", "Tab")
    expect(page.locator("#board-1-card")).to_contain_text("a blue <b>cube</b>")
    expect(page.locator("#board-1-card")).to_contain_text("not made")
    page.locator("#board-make").focus()
    page.keyboard.press("Enter")
    expect(made_all).to_be_visible()
    expect(page.locator("#board-made")).to_contain_text("2 of 2 cards")
    newest = server.videos()[0]
    assert newest["remixed_from_video_id"] == server.videos()[1]["id"]
    page.locator("#board-0-card").click()
    expect(page.get_by_role("heading", name="Card 1")).to_be_visible()
    page.click("#board-alone")
    page.wait_for_function("id => !document.querySelector('#board-player')?.src.includes(id)", arg=newest["id"])
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.reload()
    page.locator("#queue-summary").wait_for()
    go_to(page, "Storyboard")
    expect(page.locator("#board-text textarea")).to_have_value("a red ball")
    page.click("#board-edit")
    expect(page.locator("#edit-player")).to_be_visible()
