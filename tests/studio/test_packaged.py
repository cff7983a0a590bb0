"""`kinema serve` as it is begun without any options, on the checkpoint that comes with Kinema."""

import httpx
import pytest
import yaml

from kinema.data.video_io import probe
from kinema.pipeline.checkpoint import DEFAULT_FOLDER
from kinema.pipeline.provenance import read_provenance

pytest.importorskip("axe_playwright_python", reason="pip install 'kinema[test]' brings it")
from browsing import CHROMIUM, expect, open_page, wait_for_player
from served import serving

PROMPT = "a blue cube slides to the right on sand"


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


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt install chromium)")
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
