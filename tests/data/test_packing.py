"""Packing: every clip once, never over the budget, hardly any padding."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.data.packing import pack, padding_share


@given(st.integers(1, 60).flatmap(lambda b: st.tuples(st.just(b), st.lists(st.integers(1, b), max_size=40))))
def test_every_clip_is_packed_once_within_the_budget(case):
    budget, counts = case
    packs = pack(counts, budget)
    assert sorted(i for p in packs for i in p.indices) == list(range(len(counts)))
    for p in packs:
        assert p.starts[0] == 0 and p.tokens <= budget
        assert [b - a for a, b in zip(p.starts, p.starts[1:])] == [counts[i] for i in p.indices]
    half_full = sum(p.tokens <= budget // 2 for p in packs)
    assert half_full <= 1  # two such sequences would have been one


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_a_realistic_mixture_leaves_under_two_percent_padding(seed):
    draw = random.Random(seed)
    shapes = [(f, h, w) for f in (1, 3, 5, 9) for h, w in ((8, 8), (6, 10), (10, 6), (12, 5), (4, 4))]
    counts = [f * h * w for f, h, w in (draw.choice(shapes) for _ in range(2000))]
    assert padding_share(pack(counts, 2048), 2048) < 0.02


@pytest.mark.parametrize("counts", [[3, 11], [0, 3]])
def test_a_clip_that_fits_no_sequence_is_named(counts):
    with pytest.raises(ValueError, match=r"clip \d has (11|0) tokens"):
        pack(counts, 10)
