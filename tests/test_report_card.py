"""bench/report_card.py: what it writes about reports, and that floors only rise."""

import copy
import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def bench():
    """The script as a module."""
    sys.path.insert(0, str(ROOT / "bench"))
    yield import_module("report_card")
    sys.path.remove(str(ROOT / "bench"))


@pytest.fixture(scope="module")
def quick():
    return json.loads((ROOT / "docs" / "exam" / "quick.json").read_text())


def with_share(report, name, value):
    made = copy.deepcopy(report)
    tier = made["marks"]["P"]
    mark = tier["mean"] if name == "mean" else tier["attributes"][name]
    mark["share"]["value"] = value
    return made


def test_the_page_names_every_list_and_says_which_was_not_sat(bench, quick):
    page = bench.page({"quick": quick})
    assert page.count("has not sat this list yet") == 2 and quick["settings"]["fingerprint"] in page
    assert "| colour | 24 |" in page and "exam/quick.html" not in page
    simple = copy.deepcopy(quick)  # the same answers as if they were of tier A
    simple["marks"] = {"A": quick["marks"]["P"]}
    page = bench.page({"quick": quick, "simple-test": simple})
    assert page.count("has not sat this list yet") == 1 and "| A | colour | prompt | ≥ 95 % |" in page
    assert "| A | colour | autoencoder | ≥ 97 % |" in page and "exam/simple.html" in page
    told = bench.in_short({"quick": quick, "simple-test": simple}, "docs/")
    assert "object 100 % (chance 7)" in told and "tier A" in told and "docs/report-card.md" in told


def test_only_what_stands_between_the_marks_is_replaced(bench):
    text = "before\n<!-- report card -->\nold\nlines\n<!-- /report card -->\nafter\n"
    new = bench.between_marks(text, "report card", "new", "README.md")
    assert new == "before\n<!-- report card -->\nnew\n<!-- /report card -->\nafter\n"
    assert bench.between_marks(new, "report card", "new", "README.md") == new
    for broken in ("no marks", "<!-- /report card --><!-- report card -->", text + text):
        with pytest.raises(ValueError, match=r"README.md needs <!-- report card -->"):
            bench.between_marks(broken, "report card", "new", "README.md")


@pytest.mark.parametrize("path", ["README.md", "pipeline/default/README.md"])
def test_what_quotes_the_card_has_its_marks(bench, path):
    text = (ROOT / path).read_text()
    assert bench.between_marks(text, "report card", "x", path) != text


def test_floors_lie_below_what_was_found_and_only_rise(bench, quick):
    found = bench.floors(quick)
    shares = {name: mark["share"]["value"] for name, mark in quick["marks"]["P"]["attributes"].items()
              if mark["share"]}  # fmt: skip
    assert {"mean", "object", "colour", "motion"} <= set(found["shares"])
    for name, floor in found["shares"].items():
        value = quick["marks"]["P"]["mean"]["share"]["value"] if name == "mean" else shares[name]
        assert value - 0.15 < floor < value
    lower = bench.floors(with_share(with_share(quick, "mean", 0.3), "colour", 0.2), found)
    assert lower == found
    higher = bench.floors(with_share(quick, "motion", 0.95), found)
    assert higher["shares"]["motion"] > found["shares"]["motion"]
    other = bench.floors(with_share(quick, "colour", 0.2), found | {"list": {"name": "quick", "digest": "0"}})
    assert other["shares"]["colour"] < 0.2


def test_the_committed_floor_belongs_to_the_committed_report(bench, quick):
    committed = json.loads((ROOT / "eval" / "floor.json").read_text())
    assert bench.floors(quick, committed) == committed


def test_reports_of_other_weights_are_not_kept(bench, quick):
    path = ROOT / "docs" / "exam" / "quick.json"
    assert bench.kept(path, quick["settings"]["fingerprint"]) == quick
    assert bench.kept(path, "0") is None and bench.kept(path, None) is None
    assert bench.kept(path.with_name("none.json"), "0") is None


def test_a_sheet_of_any_clips_stays_small(bench, tmp_path):
    draw = np.random.default_rng(0)
    rows = [(f"prompt {n}", draw.integers(0, 255, (9, 96, 96, 3), dtype=np.uint8)) for n in range(8)]
    size = bench.sheet(rows, tmp_path / "sheet.webp")
    assert size == (tmp_path / "sheet.webp").stat().st_size <= bench.LARGEST
    with Image.open(tmp_path / "sheet.webp") as sheet:
        assert sheet.width > 2 * 5 * 96 and sheet.height > 4 * 96


def test_the_whole_exam_can_have_fewer_clips_a_prompt_and_says_so(bench, quick, tmp_path, monkeypatch):
    asked = {}

    def evaluate(pipe, name, *, out, repeats, command, **options):
        asked[name] = repeats, command
        out.mkdir(parents=True)
        (out / "report.html").touch()
        (out / "report.json").write_text(json.dumps(quick))

    for path in ("README.md", "pipeline/default/README.md"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("<!-- report card -->\n<!-- /report card -->\n")
    (tmp_path / "eval").mkdir()
    monkeypatch.setattr(bench, "evaluate", evaluate)
    monkeypatch.setattr(bench, "exam_settings", lambda pipe: quick["settings"])
    monkeypatch.setattr(bench, "first_clips", lambda folder: [("a", np.zeros((5, 8, 8, 3), np.uint8))] * 2)
    monkeypatch.setattr("kinema.pipeline.command.load", lambda *args, **options: None)
    folders = ["--root", str(tmp_path), "--runs", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", ["report_card.py", "--full-repeats", "1", *folders])
    bench.main()
    assert asked["full"] == (1, "kinema eval --list full --repeats 1 --out runs/full")
    assert asked["simple-test"] == (None, "kinema eval --list simple-test --out runs/simple-test")
    assert asked["quick"] == (None, "kinema eval --quick --out runs/quick")
