import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kinema.eval.score import chance, score, share, summarise

words = st.lists(st.tuples(*[st.sampled_from(["left", "right", "none"])] * 3), min_size=2, max_size=12)


@given(st.lists(st.tuples(*[st.sampled_from("abc")] * 2), min_size=2, max_size=6))
def test_chance_is_the_mean_over_all_derangements(pairs):
    asked, measured = zip(*pairs)
    n = len(pairs)
    derangements = [p for p in itertools.permutations(range(n)) if all(i != p[i] for i in range(n))]
    scores = [score([asked[j] for j in p], measured) for p in derangements]
    assert chance(asked, measured) == pytest.approx(np.mean(scores))


@given(words)
def test_intervals_contain_their_values(rows):
    asked, measured, truth = zip(*rows)
    result = summarise(asked, measured, truth, samples=400)
    assert result.score.value == pytest.approx(score(asked, measured))
    for estimate in (result.score, result.chance, result.ceiling):
        if estimate is not None:
            assert 0 <= estimate.low <= estimate.value + 1e-9 and estimate.value - 1e-9 <= estimate.high <= 1
    if result.share is not None and result.chance is not None and result.ceiling is not None:
        expected = share(result.score.value, result.chance.value, result.ceiling.value)
        assert result.share.value == pytest.approx(expected)


@given(st.integers(0, 1000), st.floats(0.1, 0.9))
def test_interval_has_the_width_of_a_binomial(seed, rate):
    n = 200
    right = np.random.default_rng(seed).random(n) < rate
    result = summarise(["x"] * n, ["x" if r else "y" for r in right])
    expected = 2 * 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / n)
    assert result.score.high - result.score.low == pytest.approx(expected, rel=0.15)


@given(words)
def test_truth_has_share_one_and_order_does_not_matter(rows):
    asked, truth, _ = zip(*rows)
    result = summarise(asked, truth, truth, samples=50)
    assume(result.share is not None)
    assert result.share and result.share.value == pytest.approx(1)
    turned = summarise(asked[::-1], truth[::-1], truth[::-1], samples=50)
    assert turned.score.value == result.score.value and turned.share == pytest.approx(turned.share)


def test_a_model_deaf_to_its_prompts_has_no_share():
    rng = np.random.default_rng(0)
    asked = rng.choice(["red", "green", "blue", "white"], 300)
    deaf = rng.permutation(asked)
    always = ["red"] * 300
    for measured in (deaf, always):
        result = summarise(asked.tolist(), list(measured), asked.tolist())
        assert result.share and abs(result.share.value) < 0.1 and result.share.low <= 0 <= result.share.high


def test_marks_that_do_not_exist_are_absent():
    same = summarise(["yes"] * 5, ["yes"] * 4 + ["no"], ["yes"] * 5)
    assert same.chance is None and same.share is None and same.score.value == 0.8
    assert summarise(["a", "b"], ["a", "b"]).ceiling is None
    hopeless = summarise(["a", "b"], ["a", "b"], ["b", "a"])
    assert hopeless.share is None


def test_wrong_counts_are_refused():
    with pytest.raises(ValueError, match="2 words were asked and 1 measured"):
        score(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="at least 2"):
        chance(["a"], ["a"])
    with pytest.raises(ValueError, match="not above chance"):
        share(0.5, 0.5, 0.5)
