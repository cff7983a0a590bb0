"""The bars: each is where it was set, and passed by the point estimate alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.eval.bars import BARS, bars, bars_markdown, bars_table, summary, verdict
from kinema.eval.questions import ATTRIBUTES, load_prompts

SET = {  # tier A, B, C
    "colour": (0.95, 0.9, 0.85), "floor": (0.95, 0.9, 0.85), "background": (0.95, 0.9, 0.85),
    "time": (0.95, 0.9, 0.85), "object": (0.9, 0.8, 0.7), "motion": (0.9, 0.8, 0.7), "direction": (0.9, 0.8, 0.7),
    "camera": (0.9, 0.8, 0.7), "size": (0.85, 0.75, None), "style": (0.85, 0.75, None),
    "material": (0.85, 0.75, None), "pattern": (0.85, 0.75, None), "count": (None, None, 0.6),
    "relation": (None, None, 0.6), "event": (None, None, 0.6),
}  # fmt: skip


def estimate(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def marks(share, kept=0.98, clips=200, names=ATTRIBUTES):
    mark = {"share": share if share is None else estimate(share), "kept": estimate(kept), "n_clips": clips}
    mark["ceiling_vae"] = estimate(0.9)
    return {tier: {"attributes": dict.fromkeys(names, mark), "mean": None} for tier in "PABC"}


def test_every_bar_is_where_it_was_set():
    assert set(BARS) == set(SET)
    found = {(row["tier"], row["attribute"]): row["bar"] for row in bars(marks(1.0)) if row["of"] == "prompt"}
    wanted = {(tier, name): bar for name, each in SET.items() for tier, bar in zip("ABC", each) if bar}
    assert found == wanted
    decoded = [row for row in bars(marks(1.0)) if row["of"] == "autoencoder"]
    assert len(decoded) == 3 * len(ATTRIBUTES) and {row["bar"] for row in decoded} == {0.97}


@given(st.floats(-0.5, 1.5), st.floats(0.5, 1.1))
def test_the_point_estimate_decides(share, kept):
    for row in bars(marks(share, kept)):
        value = share if row["of"] == "prompt" else kept
        assert row["passed"] == (value >= row["bar"]) and row["found"]["value"] == value
        assert verdict(row).startswith("passed" if value >= row["bar"] else "missed")
        assert ("stretch" in verdict(row)) == (row["stretch"] is not None and value >= 0.8)


def test_what_cannot_be_said_is_not_called_missed():
    few = bars(marks(0.99, clips=199))
    assert {row["passed"] for row in few} == {None} and {verdict(row) for row in few} == {"fewer than 200 clips"}
    none = [row for row in bars(marks(None)) if row["of"] == "prompt"]
    assert {row["passed"] for row in none} == {None} and {verdict(row) for row in none} == {"no share"}
    assert bars({"P": marks(1.0)["P"]}) == [] and bars_table([]) == bars_markdown([]) == summary([]) == ""


def test_tables_have_a_line_a_bar():
    rows = bars(marks(0.82, names=("colour", "motion", "count")))
    assert summary(rows) == "A 0 of 2, B 1 of 2, C 2 of 3 bars passed"
    text, page = bars_table(rows).splitlines(), bars_markdown(rows).splitlines()
    assert len(text) == 1 + len(rows) and len(page) == 2 + len(rows)
    assert "| B | motion | prompt | ≥ 80 % | 82 % [72, 92] | 200 | passed |" in page
    assert json.loads(json.dumps(rows)) == rows


@pytest.mark.parametrize("name", ["simple-test", "test"])
def test_the_lists_ask_every_bar_in_enough_clips(name):
    asked: dict[tuple[str, str], int] = {}
    for prompt in load_prompts(name):
        for attribute in prompt.asked:
            asked[prompt.tier, attribute] = asked.get((prompt.tier, attribute), 0) + 4
    assert min(asked.values()) >= 200
