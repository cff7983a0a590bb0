"""Buckets: the nearest shape, and an order that is a function of the step."""

from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.data.buckets import BucketBatches, nearest_bucket

SHAPES = [(17, 64, 64), (17, 48, 80), (17, 80, 48), (33, 64, 64), (1, 64, 64)]


def test_a_clip_goes_to_the_nearest_aspect_and_the_longest_that_it_fills():
    assert nearest_bucket(20, 480, 480, SHAPES) == 0
    assert nearest_bucket(50, 480, 480, SHAPES) == 3
    assert nearest_bucket(20, 360, 640, SHAPES) == 1
    assert nearest_bucket(20, 640, 360, SHAPES) == 2
    assert nearest_bucket(3, 640, 360, SHAPES) == 4
    assert nearest_bucket(3, 640, 360, SHAPES[:2]) is None


buckets = st.lists(st.integers(0, 3), min_size=1, max_size=30)


@given(buckets, st.integers(1, 4), st.integers(1, 3), st.integers(0, 99))
def test_a_batch_has_one_shape_and_an_epoch_has_every_clip(bucket_of, batch_size, ranks, seed):
    parts = [BucketBatches(bucket_of, batch_size, seed=seed, rank=rank, ranks=ranks) for rank in range(ranks)]
    batches = [[index for _, index in chain(*step)] for step in zip(*parts)]
    assert all(len({bucket_of[i] for i in batch}) == 1 and len(batch) == batch_size * ranks for batch in batches)
    seen = Counter(chain(*batches))
    assert set(seen) == set(range(len(bucket_of)))
    assert seen.total() - len(bucket_of) < len(set(bucket_of)) * batch_size * ranks  # only fillers are repeated


@given(buckets, st.integers(1, 4), st.integers(0, 10), st.integers(0, 10))
def test_the_order_can_start_at_any_step(bucket_of, batch_size, first, more):
    whole = list(BucketBatches(bucket_of, batch_size, seed=1, steps=first + more))
    assert list(BucketBatches(bucket_of, batch_size, seed=1, first=first, steps=first + more)) == whole[first:]


@given(buckets, st.integers(1, 4))
def test_every_epoch_has_every_clip_and_says_its_number(bucket_of, batch_size):
    per_epoch = len(BucketBatches(bucket_of, batch_size, seed=1))
    batches = list(BucketBatches(bucket_of, batch_size, seed=1, steps=2 * per_epoch))
    assert [{epoch for epoch, _ in batch} for batch in batches] == [{0}] * per_epoch + [{1}] * per_epoch
    assert {i for batch in batches[per_epoch:] for _, i in batch} == set(range(len(bucket_of)))


def test_no_clips_is_an_error():
    with pytest.raises(ValueError, match="no clip"):
        BucketBatches([], 2, seed=0)
