"""Numbers of numpy and torch are written down as plain ones."""

import json

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema.pipeline.draft import Draft, named
from kinema.pipeline.seeds import per_video_generators


@given(value=st.floats(0, 1, width=32), count=st.integers(0, 2**31 - 1))
def test_settings_can_be_written_down_and_read_back(value, count):
    given = {"strength": np.float32(value), "box": [np.int64(count), (torch.tensor(value),)], "fit": "cover"}
    settings = named(Draft(17, 64, 64, 8.0), "inpaint", {}, **given).settings
    assert json.loads(json.dumps(settings)) == {"strength": value, "box": [count, [value]], "fit": "cover"}


def test_a_seed_may_be_any_whole_number():
    plain, numpy = (per_video_generators(seed, 2) for seed in (3, np.int64(3)))
    assert [g.initial_seed() for g in plain] == [g.initial_seed() for g in numpy] == [3, 4]
    assert per_video_generators([np.int64(7)], 1)[0].initial_seed() == 7
