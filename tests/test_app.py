import base64
import gc
import json
import os
import re
import sys
from pathlib import Path

import gradio_client
import httpx
import pytest
import torch

from kinema.app import EXAMPLES, build_app, explain, launch_options
from kinema.conditioner.vocabulary import unknown_words
from kinema.configs import load_config
from kinema.data.diorama import VOCABULARY
from kinema.pipeline.build import build_pipeline
from kinema.pipeline.provenance import read_provenance

sys.path.insert(0, str(Path(__file__).parent))
from browser import CHROMIUM, Browser

pytestmark = [
    # Gradio and its client leave sockets and event loops to the garbage collector,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    # and its queue sets an option that pandas 3 deprecates.
    pytest.mark.filterwarnings("ignore:.future.no_silent_downcasting"),
]


@pytest.fixture(scope="module")
def pipe():
    pipe = build_pipeline(load_config("tiny"))
    pipe.text_encoder.register_to_config(vocabulary=VOCABULARY)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def url(pipe):
    page = build_app(pipe)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield url
    page.close()
    gc.collect()


@pytest.fixture(scope="module")
def client(url, tmp_path_factory):
    client = gradio_client.Client(url, verbose=False, download_files=str(tmp_path_factory.mktemp("clips")))
    yield client
    client.close()


def test_a_prompt_comes_back_as_a_clip_that_says_how_it_was_made(client):
    clip, note = client.predict("a red ball rolls to the left", 7, 2, 4.0, 1.0, api_name="/generate")
    made = read_provenance(clip["video"] if isinstance(clip, dict) else clip)
    assert made.by_hand == ()
    assert (made.prompt, made.seed, made.num_frames) == ("a red ball rolls to the left", 7, 9)
    assert note == "Seed 7 · 9 frames at 8 a second · 32 × 32"


def test_words_the_model_does_not_know_are_named(client):
    _, note = client.predict("a red bal rolls", None, 1, 1.0, 0.5, api_name="/generate")
    assert "⚠ The model does not know the word 'bal'; the nearest it knows: ball" in note
    assert re.match(r"Seed \d+ · 5 frames", note)


@pytest.mark.parametrize("prompt", ["", "   "])
def test_an_empty_prompt_is_answered_with_an_example(client, prompt):
    with pytest.raises(Exception, match="Describe a video first"):
        client.predict(prompt, None, 1, 1.0, 1.0, api_name="/generate")


def test_an_error_in_the_model_is_said_without_its_details(client, pipe, monkeypatch, caplog):
    monkeypatch.setattr(pipe.transformer, "forward", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(Exception, match=r"Generation failed \(ZeroDivisionError\)"):
        client.predict("a red ball", None, 1, 1.0, 1.0, api_name="/generate")
    assert "division by zero" in caplog.text
    monkeypatch.undo()
    client.predict("a red ball", None, 1, 1.0, 1.0, api_name="/generate")  # and the next one works


def test_errors_are_explained():
    assert "ran out of memory" in explain(torch.OutOfMemoryError("CUDA out of memory: 3 GiB"))
    assert explain(ValueError("height 30 does not fit")) == "height 30 does not fit"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt install chromium)")
def test_a_person_types_a_prompt_and_sees_the_clip_play(url, tmp_path):
    browser = Browser(tmp_path / "profile")
    browser.ask("Page.navigate", url=url)
    browser.wait("!!document.querySelector('textarea')")
    browser.run("document.querySelector('textarea').focus()")
    browser.ask("Input.insertText", text="a red bal rolls to the left")
    done = "document.querySelector('#note')?.innerText.includes('Seed')"
    click = "[...document.querySelectorAll('button')].find(b => b.innerText == 'Generate').click()"
    browser.wait(
        f"{done} || (performance.now() - (window.clicked ?? -1e6) > 1e4 && "
        f"(window.clicked = performance.now(), {click}, false))",
        seconds=120,
    )  # a first click may come too early
    assert "'bal'; the nearest it knows: ball" in browser.run("document.querySelector('#note').innerText")
    browser.wait("document.querySelector('video')?.readyState >= 3")
    assert browser.run("document.querySelector('video').videoWidth") == 32
    assert browser.run("document.title") == "Kinema"
    if folder := os.environ.get("KINEMA_SCREENSHOTS"):
        picture = browser.ask("Page.captureScreenshot")["data"]
        (Path(folder) / "app.png").write_bytes(base64.b64decode(picture))
    elsewhere = [asked for asked in browser.requests if not asked.startswith((url, "data:", "blob:"))]
    assert elsewhere == []
    browser.close()


def test_the_page_asks_for_nothing_from_elsewhere(url):
    page = httpx.get(url).text
    config = json.dumps(httpx.get(url + "config").json())
    assert "Generate" in config
    assert 'analytics_enabled": false' in config
    theme = httpx.get(url + "theme.css").text
    assert "fonts.googleapis.com" not in theme
    assert "Kinema" in page


def test_examples_use_words_that_the_corpus_teaches():
    assert {word for example in EXAMPLES for word in unknown_words(example, VOCABULARY)} == set()
