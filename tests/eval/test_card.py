"""The report card and the comparison, of an exam made here: a reading is a dictionary of words."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.eval import drawings
from kinema.eval.card import LARGEST, fitted, shown_clips, write_card
from kinema.eval.outcome import build_report, text_table
from kinema.eval.questions import ATTRIBUTES, ExamPrompt
from kinema.eval.sitting import Sitting, deal_prompts, take_answers
from kinema.eval.versus import build_comparison, comparison_table, write_comparison

COLOURS, KINDS = ["red", "green", "blue"], ["ball", "cube", "cone"]
MEASURES = {
    "Fréchet": {"value": 41.27, "floor": 8.1, "low": 38.0, "high": 44.0, "unit": "", "meaning": "far < near"},
    "flicker": {"value": 0.0123, "floor": None, "low": None, "high": None, "unit": "levels", "meaning": "still"},
}


def make_prompts(tiers="PAC", each=10):
    prompts = []
    for number in range(each * len(tiers)):
        tier = tiers[number % len(tiers)]
        things = [{"kind": KINDS[number % 3], "colour": COLOURS[number % 7 % 3]}]
        if tier == "C":
            things.append({"kind": KINDS[(number + 1) % 3]})
        text = f"<i>{things[0]['colour']}</i> & no. {number}"
        facts = {"id": f"{tier.lower()}{number:03}", "tier": tier, "text": text, "objects": things}
        prompts.append(ExamPrompt.model_validate(facts))
    return tuple(prompts)


def answer(reading, prompt):
    return {name: reading.get(name) == word for name, word in prompt.asked.items()}


def read(rng, prompt, skill):
    wrong = {"object": "ball", "colour": "nothing", "count": "4"}
    return {name: word if rng.random() < skill else wrong[name] for name, word in prompt.asked.items()}


def make_report(skill=0.6, name="a <b> & c", seeds=2, prompts=None, seed=0, **options):
    prompts, rng = prompts or make_prompts(), np.random.default_rng(seed)
    shown = [(n, 10 * s + n, read(rng, p, skill)) for n, p in enumerate(prompts) for s in range(seeds)]
    true = [(n, 0, dict(prompt.asked)) for n, prompt in enumerate(prompts)]
    sitting = Sitting(
        prompts,
        take_answers(shown, prompts, answer, deal_prompts(prompts)),
        truth=take_answers(true, prompts, answer, None),
    )
    given = {
        "command": "kinema eval --out 'runs/x & y'",
        "settings": {"model": "m", "steps": 4, "guidance": [1, "<2>"]},
        "list_name": "test",
        "judges": {"pixel": "aaaa"},
        "measures": MEASURES,
        "draws": 100,
    }
    reads = {(prompts[n].id, s): words for n, s, words in shown}
    return build_report(sitting, reads, name=name, **(given | options))


def frames(prompt, seed):
    return np.full((5, 12, 20, 3), seed * len(prompt.id) % 256, np.uint8)


class Page(HTMLParser):
    """Checks that every opened element is closed, and collects elements."""

    VOID = ("meta", "img", "br", "rect", "path", "line", "circle")

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.words = [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data + " "

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    report = make_report()
    path = write_card(tmp_path_factory.mktemp("card"), report, frames, truth=frames)
    return report, path


def test_the_card_is_whole_and_needs_nothing_else(card):
    report, path = card
    text = path.read_text()
    page = Page(text)
    assert len(text.encode()) < LARGEST
    assert "http" not in text and "<script" not in text and not page.all("link")
    assert all(image["src"].startswith("data:image/webp;base64,") and image["alt"] for image in page.all("img"))
    assert all(svg["aria-label"] and svg["role"] == "img" for svg in page.all("svg"))
    assert page.all("html")[0]["lang"] == "en" and "prefers-color-scheme: dark" in text
    assert "<b>" not in re.sub(r"<b>[\w %–]+</b>", "", text) and "a &lt;b&gt; &amp; c" in text  # names are escaped
    assert json.loads((path.parent / "report.json").read_text()) == report
    for word in (
        "kinema eval --out 'runs/x & y'",
        "aaaa",
        report["list"]["digest"],
        "Fréchet",
        "far < near",
        "Probes",
    ):
        assert word in page.words


def test_the_card_says_which_bars_are_passed(tmp_path):
    report = make_report(1.0, prompts=make_prompts("A", 20), seeds=10)
    assert {row["attribute"]: row["passed"] for row in report["bars"]} == {"object": True, "colour": True}
    page = Page(write_card(tmp_path, report, frames).read_text())
    words = " ".join(page.words.split())
    assert "Bars" in words and "✓ passed" in words and "A 2 of 2 bars passed" in words


def test_the_card_shows_the_worst_and_some_others(card):
    report, path = card
    clips = shown_clips(report)
    page = Page(path.read_text())
    captions = re.findall(r"\b[pac]\d{3}-\d+\b", page.words)
    worst = sorted(clips, key=lambda clip: (clip.merit, clip.name))[:24]
    assert captions[:24] == [clip.name for clip in worst] and len(captions) == 48
    assert len(page.all("img")) == 48 + 3  # and a contact sheet a tier
    for clip in worst[:5]:
        for name, right in clip.answers.own.items():
            told = f"✗ {name}: {clip.read[name]}, asked {clip.prompt.asked[name]}"
            assert (told in page.words) or right


def test_the_worst_are_those_with_most_wrong():
    clips = shown_clips(make_report(skill=0.5))
    clips.sort(key=lambda clip: clip.merit)
    assert clips[0].right == 0 and len(clips[0].answers.own) == 3 and clips[-1].right == 1
    for better, worse in zip(clips[1:], clips):
        if len(better.answers.own) == len(worse.answers.own):
            assert better.right >= worse.right


def test_a_card_is_the_same_each_time_and_in_any_order(card, tmp_path):
    report, path = card
    again = write_card(tmp_path, json.loads(json.dumps(report)), frames, truth=frames)
    assert again.read_bytes() == path.read_bytes()
    turned = dict(report, sitting=report["sitting"] | {"samples": report["sitting"]["samples"][::-1]})
    assert write_card(tmp_path, turned, frames, truth=frames).read_bytes() == path.read_bytes()


def test_clips_that_are_gone_truth_that_never_was_and_measures_of_none(tmp_path):
    prompts = make_prompts("A", 3)
    report = make_report(prompts=prompts, seeds=1, measures=None)
    report["sitting"]["truth"] = []
    text = write_card(tmp_path, report, lambda *_: None).read_text()
    assert text.count("The clip is not kept") == 6 and "Further measures" not in text
    assert not Page(text).all("img")
    assert report["marks"]["A"]["mean"] is None and "–" in text_table(report)


def test_text_table_has_all_marks(card):
    report, _ = card
    lines = text_table(report).splitlines()
    assert len(lines) == 1 + sum(len(tier["attributes"]) + 1 for tier in report["marks"].values())
    score = report["marks"]["P"]["attributes"]["colour"]["score"]["value"]
    assert any(
        line.split()[:4] == ["P", "colour", "10", "20"] and f"{round(100 * score)} %" in line for line in lines
    )


def test_pictures_shrink_until_the_page_fits():
    asked = []

    def page(detail):
        asked.append(detail.quality * detail.scale)
        return "x" * int(40_000 * detail.quality * detail.scale)

    assert len(fitted(page)) <= LARGEST and asked == [80, 60, 40, 25]
    with pytest.raises(ValueError, match="at most 1500000"):
        fitted(lambda _: "x" * (LARGEST + 1))


def test_a_full_exam_of_large_clips_fits(tmp_path):
    report = make_report(prompts=make_prompts("PABC", 40), seeds=1, draws=20)
    noise = np.random.default_rng(0).integers(0, 256, (6, 90, 160, 3), np.uint8)  # as of an untrained model
    path = write_card(tmp_path, report, lambda *_: noise, truth=lambda *_: noise)
    assert 200_000 < path.stat().st_size <= LARGEST


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    a, b = make_report(0.3, "first"), make_report(0.9, "second <2>", seed=1)
    path = write_comparison(tmp_path_factory.mktemp("pair"), a, b, frames, frames)
    return a, b, path


def test_the_comparison_says_which_is_better(pair):
    a, b, path = pair
    page = Page(path.read_text())
    found = json.loads((path.parent / "compare.json").read_text())
    assert found == build_comparison(a, b) and found["differences"]["P"]["mean"]["verdict"] == "better"
    assert "▲ better" in page.words and "▼ worse" not in page.words and "second <2>" in page.words
    assert "gained most" in page.words and len(page.all("img")) % 2 == 0 and page.all("img")
    assert page.words.count("kinema eval --out") == 2
    table = comparison_table(found).splitlines()
    assert table[2].split()[:2] == ["P", "colour"] and table[2].endswith("better")
    assert len(path.read_bytes()) < LARGEST


def test_a_comparison_with_itself_finds_nothing(tmp_path, pair):
    text = write_comparison(tmp_path, pair[0], pair[0], frames, frames).read_text()
    assert "better</td>" not in text and "worse</td>" not in text and "gained most" not in text


def test_exams_that_cannot_be_compared(tmp_path, pair):
    a, _, _ = pair
    with pytest.raises(ValueError, match="read by other judges"):
        write_comparison(tmp_path, a, a | {"judges": {"pixel": "bbbb"}})
    with pytest.raises(ValueError, match="sit the same list"):
        write_comparison(tmp_path, a, make_report(prompts=make_prompts("A")))
    assert not list(tmp_path.iterdir())


estimates = st.tuples(*[st.floats(-0.5, 1.5)] * 3).map(lambda v: dict(zip(("low", "value", "high"), sorted(v))))


@given(estimates, st.none() | estimates, st.none() | estimates, st.none() | estimates)
@settings(deadline=None)
def test_bars_stay_within_their_picture(score, chance, ceiling, vae):
    mark = {"score": score, "chance": chance, "ceiling_true": ceiling, "ceiling_vae": vae}
    for text in (drawings.mark_bar(mark, 200), drawings.difference_bar(score, 200)):
        Page(text)
        places = [float(x) for x in re.findall(r'(?:x[12]?=|cx=|[MH])"?(-?[\d.]+)', text)]
        widths = [float(x) for x in re.findall(r'width="(-?[\d.]+)"', text)]
        assert all(0 <= x <= 200 for x in [*places, *widths])
    assert "-0 %" not in drawings.percent(score) and drawings.percent(None) == "–"


@given(
    st.dictionaries(st.sampled_from("PABC"), st.dictionaries(st.sampled_from(ATTRIBUTES), estimates), min_size=1)
)
@settings(deadline=None, max_examples=40)
def test_the_plot_of_shares_has_a_point_for_each(tiers):
    marks = {t: {"attributes": {a: {"share": share} for a, share in found.items()}} for t, found in tiers.items()}
    text = drawings.share_plot(marks, {})
    Page(text)
    assert text.count('class="whisker"') == sum(map(len, tiers.values()))


@given(st.lists(st.tuples(*[st.sampled_from([*COLOURS, "none"])] * 2), min_size=1, max_size=30))
@settings(deadline=None, max_examples=40)
def test_a_heat_table_counts_every_pair(pairs):
    text = drawings.heat_table(pairs, COLOURS, "<colours>")
    Page(text)
    assert sum(int(n) for n in re.findall(r">(\d+)</td>", text)) == len(pairs) and "&lt;colours&gt;" in text
    shades = [float(w) for w in re.findall(r"--w:([\d.]+)", text)]
    assert sum(shades) == pytest.approx(len({asked for asked, _ in pairs}), abs=0.05 * len(shades))


@given(st.lists(st.floats(0, 1), max_size=20), st.lists(st.floats(0, 1), max_size=20))
@settings(deadline=None, max_examples=30)
def test_a_histogram_may_be_empty(samples, true):
    Page(drawings.histogram({"samples": samples, "true clips": true}))


@pytest.mark.parametrize("shape", [(1, 8, 8, 3), (9, 64, 64, 3), (3, 40, 400, 3), (2, 90, 5, 3)])
def test_strips_and_mosaics_take_any_shape(shape):
    clip = np.zeros(shape, np.uint8)
    strip = drawings.strip([clip, np.zeros((20, 30, 30, 3), np.uint8)])
    assert strip.height == 2 * 76 + 2 and strip.width <= 6 * 192
    assert drawings.mosaic([clip[0]] * 21).size == (20 * 54, 2 * 54)


def test_text_stands_out_from_its_ground_in_both_schemes():
    from kinema.eval.style import STYLE

    def luminance(colour):
        digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
        parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    schemes = re.findall(r":root \{(.*?)\}", STYLE, re.S)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+): #(\w+)", scheme))
        for name in ("text", "muted", "good", "bad"):
            light, dark = sorted((luminance(colours[name]), luminance(colours["ground"])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, name
