"""Better prompts: by rules, by a text model, and the difference between two."""

import contextlib
import json
import re
import threading
from dataclasses import replace
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from kinema.data.diorama import VOCABULARY, captions, sample_scene
from kinema.studio.models.model import read_model
from kinema.studio.prompts.difference import difference_html
from kinema.studio.prompts.improve import OPEN, ImproveError, improve, improver_of
from kinema.studio.prompts.near_words import nearest_word
from kinema.studio.prompts.phrases import Said
from kinema.studio.prompts.writers import KEY

OURS = read_model()
ALL = replace(OURS, vocabulary=tuple(VOCABULARY))
STRANGE = [
    "dragon",
    "4k",
    "the",
    "cinematic",
    "dog",
    "yelow",
    "über",
    "(",
    "!",
    ",",
    ".",
    "“",
    "7",
    "castle's",
    "-",
]
TOLD = ("kind", "colour", "verb", "floor", "time", "camera")


def words_of(text):
    return re.findall(r"[a-z]+", text.lower())


def is_within(words, others):
    """Whether some words stand among others in their order."""
    rest = iter(others)
    return all(word in rest for word in words)


@st.composite
def jumbles(draw, words):
    return " ".join(draw(st.lists(st.sampled_from(words + STRANGE) | st.text(max_size=6), max_size=12)))


@settings(deadline=None, max_examples=150)
@given(st.one_of(jumbles(VOCABULARY), jumbles(list(OURS.vocabulary))), st.booleans())
@example("turns ball", True)
@example("a tree behind a house", True)
def test_an_improved_prompt_has_only_known_words_and_is_not_improved_again(prompt, ours):
    model = OURS if ours else ALL
    once = improve(prompt, model)
    assert model.unknown(once.text) == {}
    assert improve(once.text, model) == replace(once, changes=())
    assert improve(prompt, model) == once
    assert once.changes or once.text == prompt


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from(["short", "medium", "dense"]), st.booleans())
def test_what_is_said_in_known_words_stays_and_the_rest_is_added_once(number, level, simple):
    scene = sample_scene(5, number, difficulty=(0, 0) if simple else (2, 3))
    prompt = captions(scene, number)[level]
    model = OURS if simple and not OURS.unknown(prompt) else ALL
    better = improve(prompt, model)
    assert is_within(words_of(prompt), words_of(better.text)), better.text
    said, told = Said(prompt), Said(better.text)
    for kind in TOLD:
        hidden = kind in ("colour", "time") and told.colourless
        assert told.has(kind) or (kind == "verb" and told.has("event")) or hidden, (kind, better.text)
        if said.has(kind) and kind != "colour":
            assert len(told.values(kind)) == len(said.values(kind)), (kind, better.text)
    assert all(change.startswith("added") for change in better.changes)


@pytest.mark.parametrize(
    "prompt, kept, told",
    [
        ("a crimson truck drives on the beach", "a red car drives", "“truck”; “car” stands in"),
        ("a yelow duck walks", "a yellow duck walks", "“yelow”; “yellow” stands in"),
        ("a dragon at night", "at night", "“dragon”; it is left out"),
        ("a stunning 4k shot of a red heart", "a red heart", "“stunning”; it is left out"),
    ],
)
def test_unknown_words_are_replaced_or_left_out_and_named(prompt, kept, told):
    better = improve(prompt, OURS)
    assert kept in better.text and any(told in change for change in better.changes), better
    assert not OURS.unknown(better.text)


def test_common_words_are_no_slips_of_known_ones():
    for word in ("light", "show", "robot", "plane", "read", "wall"):
        assert nearest_word(word, OURS.vocabulary, VOCABULARY) in (None, "duck", "car"), word
    assert nearest_word("snwo", OURS.vocabulary) == "snow"


def test_a_model_that_takes_any_words_has_no_rules():
    better = improve("a dragon over Prague", replace(OURS, vocabulary=()))
    assert better.text == "a dragon over Prague" and better.changes == (OPEN,)
    other = replace(OURS, vocabulary=("a", "dog", "runs", "walks"))
    assert improve("a dog rums", other).text == "a dog"


@contextlib.contextmanager
def answering(reply, status=200):
    """An OpenAI-compatible server that always says the same, and what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, self.headers["Authorization"], json.loads(body)))
            found = {"choices": [{"message": {"content": reply}, "finish_reason": "stop"}]}
            said = json.dumps(found if status == 200 else {"error": {"message": reply}}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_endpoint_writes_and_its_unknown_words_are_named(monkeypatch):
    monkeypatch.setenv(KEY, "secret")
    with answering('"A red car drives\n through fog."') as (url, asked):
        better = improver_of(url, "writer")("a car", OURS)
    assert better.text == "A red car drives through fog."
    assert [change for change in better.changes if "“fog”" in change and "does not know" in change]
    ((path, key, body),) = asked
    assert path == "/v1/chat/completions" and key == "Bearer secret" and body["model"] == "writer"
    system, user = body["messages"]
    assert "cylinder" in system["content"] and user == {"role": "user", "content": "a car"}


@pytest.mark.parametrize(
    "reply, status, told",
    [
        ("", 200, "answered nothing"),
        ("long " * 400, 200, "at most 1000"),
        ("no such model", 404, "404 no such model"),
        ("your content policy", 400, "would not write"),
    ],
)
def test_an_endpoint_that_gives_nothing_of_use_says_why(reply, status, told):
    with answering(reply, status) as (url, _), pytest.raises(ImproveError, match=told) as error:
        improver_of(url, "writer")("a car", OURS)
    assert "captions." not in str(error.value)
    with pytest.raises(ImproveError, match="--improve-model"):
        improver_of("http://127.0.0.1:9/v1", None)


def test_a_transformers_model_writes(tmp_path):
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[END]": 1, "car": 2, "red": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", eos_token="[END]")
    config = LlamaConfig(
        vocab_size=4, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=1024, bos_token_id=None, eos_token_id=1,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.lm_head.weight.data.zero_()  # all words are as likely: it writes the first, always
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    write = improver_of(model=str(tmp_path))
    assert write is improver_of(model=str(tmp_path)), "it would be loaded every time"
    with pytest.raises(ImproveError, match="answered nothing"):
        write("a red car", OURS)  # unknown words are left out of its answer
    model.generation_config.suppress_tokens = [0, 1]
    model.save_pretrained(tmp_path)
    improver_of.cache_clear()
    better = improver_of(model=str(tmp_path))("a red car", OURS)
    assert set(better.text.split()) == {"car"} and len(better.text.split()) == 220
    with pytest.raises(ImproveError, match="too long"):
        improver_of(model=str(tmp_path))("car " * 900, OURS)
    with pytest.raises(ImproveError, match="cannot be loaded"):
        improver_of(model=str(tmp_path / "none"))("a red car", OURS)


class Reader(HTMLParser):
    """The text outside of `del`, that outside of `ins`, and what only screen readers are told."""

    def __init__(self):
        super().__init__()
        self.open, self.after, self.before, self.heard, self.elements = [], "", "", [], set()

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.open.append("heard" if tag == "span" and dict(attrs).get("style") else tag)

    def handle_endtag(self, tag):
        self.open.pop()

    def handle_data(self, data):
        if "heard" in self.open:
            self.heard.append(data)
            return
        self.after += data if "del" not in self.open else ""
        self.before += data if "ins" not in self.open else ""


@settings(deadline=None, max_examples=100)
@given(st.text("ab<&> \"'\n.", max_size=20), st.text("ab<&> \"'\n.", max_size=20))
@example("a car", "a <script>alert(1)</script> car")
def test_the_difference_has_both_texts_and_nothing_of_them_is_markup(before, after):
    reader = Reader()
    reader.feed(difference_html(before, after))
    reader.close()
    assert (reader.before, reader.after) == (before, after)
    assert reader.elements <= {"span", "del", "ins"} and not reader.open
    assert ("added: " in reader.heard) == ("ins" in reader.elements)
    assert before == after or reader.elements & {"del", "ins"}
