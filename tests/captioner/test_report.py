"""The report: right counts, at every point of a run, safe from hostile names, and self-contained."""

import argparse
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema import write_video
from kinema.captioner.engine.commits import StageTable
from kinema.captioner.filters.stage import STAGE as FILTERS
from kinema.captioner.report.captions import read_captions
from kinema.captioner.report.page import histogram, shown
from kinema.captioner.report.write import command, report, write_report
from kinema.captioner.settings import CaptionSettings
from kinema.captioner.tables import CAPTIONS, CHECKED, FILTERED, SHOTS, SIGNALS, SOURCES

HOSTILE = '<script>alert("x")</script>\n\u202e&amp;\' onload=x'
VOID = {"meta", "img", "rect", "line"}


class Page(HTMLParser):
    """Checks that a page is well formed and fetches nothing, and gathers what is in it."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.said, self.alts = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        assert tag not in ("script", "link", "iframe", "object") and not any(
            name.startswith("on") for name in attributes
        )
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))
        if tag == "img":
            self.alts.append(attributes["alt"])
        if tag == "svg":
            assert attributes["role"] == "img" and attributes["aria-label"]
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.said).split())


SCORES = {
    "duration": 1.0, "aspect": 4 / 3, "short_side": 24.0, "static": 0.0, "black": 0.0, "motion": 0.1,
    "camera": 0.0, "camera_move": "pan left", "sharpness": 0.5, "letterbox": 0.0, "colours": ["red", "grey"],
    "brightness": 0.5,
}  # fmt: skip


@pytest.fixture
def dataset(tmp_path):
    """Half a dataset by hand: c0 and c1 kept, c2 a copy of c1, c3 static, c4 unreadable."""
    out, video = tmp_path / "out", tmp_path / "<b>bold.mp4"
    write_video(video, np.random.default_rng(0).integers(0, 255, (6, 24, 32, 3), np.uint8), 8)
    names = [f"c{k}" for k in range(5)]

    def ingest():
        rows = [
            {"source_key": "a", "source_uri": str(video), "status": "ok"},
            {
                "source_key": "b",
                "source_uri": f"/videos/{HOSTILE}.mp4",
                "status": "quarantined",
                "reason": HOSTILE,
            },
        ]
        StageTable(out, "ingest", SOURCES).commit(["a", "b"], rows, seconds=2.0)

    def shots():
        row = {"path": str(video), "source_uri": str(video), "start_s": 0.0, "end_s": 0.75, "status": "ok"}
        rows = [row | {"clip_id": name} for name in names]
        rows[1]["path"] = str(tmp_path / "gone.mp4")
        StageTable(out, "shots", SHOTS).commit(["a"], rows, seconds=1.0)

    def signals():
        generator = np.random.default_rng(0)
        rows = [
            {"clip_id": name, "scores": SCORES, "phash": generator.bytes(16).hex(), "status": "ok"}
            for name in names
        ]
        rows[2]["phash"] = rows[1]["phash"]
        rows[1]["scores"] = SCORES | {"short_side": 48.0}
        rows[3]["scores"] = SCORES | {"static": 1.0, "camera_move": None}
        rows[4] = {"clip_id": "c4", "status": "quarantined", "reason": "it broke off"}
        StageTable(out, "signals", SIGNALS).commit(names, rows, seconds=4.0)

    def filters():
        StageTable(out, "filters", FILTERED).replace(names, FILTERS.run(out, CaptionSettings()))

    def captions():
        rows = []
        for clip in ("c0", "c1"):
            for level, status in (("structured", "success"), ("dense", "success"), ("short", "error")):
                rows.append({
                    "caption_id": f"{clip}-{level}", "clip_id": clip, "level": level, "status": status,
                    "text": f"{level} {HOSTILE}", "backend": "captioner", "model": "kinema/default",
                    "clip_mean": 0.2 + 0.1 * (clip == "c1"), "clip_min": 0.1, "repetition": 0.0,
                    "prompt_tokens": 100, "output_tokens": 10, 
                    "error": "repeats itself: 3 times" if status == "error" else None,
                })  # fmt: skip
        rows.append({"caption_id": "o", "clip_id": "c0", "level": "original", "status": "success", "text": "mine"})
        StageTable(out, "captions", CAPTIONS).commit(["c0", "c1"], rows, seconds=8.0, told={"cost": 1.25})

    def checks():
        rows = [
            {
                "caption_id": f"c1-{level}",
                "clip_id": "c1",
                "level": level,
                "status": "out_of_domain",
                "domain": 9.0,
            }
            for level in ("structured", "dense", "short")
        ]
        columns = ["caption_id", "clip_id", "level", "status", "error"]
        rest = [row for row in StageTable(out, "captions", CAPTIONS).rows(columns) if row["clip_id"] == "c0"]
        StageTable(out, "checks", CHECKED).replace(["c1"], rows + rest)

    return out, [ingest, shots, signals, filters, captions, checks]


def test_a_report_can_be_written_at_every_point_of_a_run(dataset):
    out, steps = dataset
    waiting = []
    for step in [out.mkdir, *steps]:
        step()
        waiting.append(Page(report(out)).text.count("has not run yet"))
    assert waiting == sorted(waiting, reverse=True) and waiting[0] >= 3 and waiting[-1] == 0


def test_the_counts_are_those_of_the_tables(dataset):
    out, steps = dataset
    for step in steps:
        step()
    found = Page(write_report(out).read_text(encoding="utf-8"))
    for row in ("found 2 100%", "readable 1 50%", "clips 5 100%", "measured 4 80%", "kept 2 40%",
                "captioned 2 40%", "well described 2 40%", "in domain 1 20%", "to train on 1 20%"):  # fmt: skip
        assert row in found.text
    assert "max_static 0.9 1 1 20.0%" in found.text and "duplicate 8 bits, cosine 0.98 1 1 20.0%" in found.text
    assert "Thresholds without a score" in found.text and "max_text_area, max_nsfw" in found.text
    assert "pan left 3" in found.text and "not measured 1" in found.text
    assert "it is a copy of this one" in found.text and "the file cannot be read any more" in found.text
    assert "repeats itself 1" in found.text  # the other one is out of domain now
    assert "dense 1 0 1" in found.text and "600 prompt tokens and 60 output tokens; cost so far 1.25" in found.text
    assert "captions 7 1 8 0.875 1.25" in found.text
    assert "1 in ingest, 1 in signals" in found.text and "it broke off" in found.text
    assert len(found.alts) >= 4 and all("bold.mp4" in alt for alt in found.alts)


def test_hostile_names_and_captions_are_only_text(dataset):
    out, steps = dataset
    for step in steps:
        step()
    text = report(out)
    found = Page(text)  # it refuses scripts, handlers and addresses
    assert 'alert("x")' in found.text and "<script" not in text and "\u202e" not in text
    assert any(attributes.get("name") == "viewport" for tag, attributes in found.tags if tag == "meta")


def test_the_best_and_worst_captions_are_those_that_passed(dataset):
    out, steps = dataset
    for step in steps[:-1]:
        step()
    captions = read_captions(out)
    assert [row["caption_id"] for row in captions.best] == ["c1-dense", "c0-dense"]
    assert captions.counts["success", "original"] == 1 and captions.models == ["captioner kinema/default"]
    steps[-1]()
    captions = read_captions(out)
    assert [row["caption_id"] for row in captions.best] == ["c0-dense"]
    assert (captions.clips, captions.described, captions.usable) == (2, 2, 1)


def test_the_command_says_where_the_report_is(dataset, capsys):
    out, steps = dataset
    steps[0]()
    command(argparse.Namespace(dataset=out))
    assert capsys.readouterr().out == f"{out / 'report.html'}\n"
    assert (out / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@settings(max_examples=80, deadline=None)
@given(
    values=st.lists(st.floats(allow_nan=True, width=32), max_size=30),
    low=st.none() | st.floats(-1e3, 1e3),
    high=st.none() | st.floats(-1e3, 1e3),
    name=st.text(max_size=12),
)
def test_any_values_make_a_well_formed_histogram(values, low, high, name):
    text = histogram(name, np.array(values, np.float64), low, high)
    Page(text)
    assert "nan" not in text.replace(shown(name), "")


@given(text=st.text())
def test_any_text_stays_text(text):
    found = Page(f"<p title='{shown(text)}'>{shown(text)}</p>")
    assert [tag for tag, _ in found.tags] == ["p"]
