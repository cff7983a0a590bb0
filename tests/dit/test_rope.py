import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.dit.rope import RotaryEmbedding3D, apply_rotary, frame_position_features, pairs_per_axis


@given(half=st.integers(3, 128))
def test_pairs_fill_the_head_and_serve_every_axis(half):
    pairs = pairs_per_axis(2 * half)
    assert sum(pairs) == half and min(pairs) >= 1


def score(query, key, head_dim, time, row, column):
    """The product of a rotated query and key, one token each, on a grid that holds both."""
    cos, sin = RotaryEmbedding3D(head_dim)(torch.tensor([[time[0], time[1]]]), 8, 8)
    tokens = [t * 64 + r * 8 + c for t, r, c in zip((0, 1), row, column)]
    (cos_q, cos_k), (sin_q, sin_k) = (x.flatten(1, 2)[0, tokens, 0] for x in (cos, sin))
    rotated = [
        apply_rotary(x[None, None, None], c[None, None, None], s[None, None, None])
        for x, c, s in ((query, cos_q, sin_q), (key, cos_k, sin_k))
    ]
    return (rotated[0] * rotated[1]).sum()


@settings(deadline=None, max_examples=30)
@given(
    times=st.tuples(st.floats(0, 60), st.floats(0, 60)),
    later=st.floats(0, 60),
    rows=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    columns=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    down=st.integers(0, 3),
    right=st.integers(0, 3),
)
def test_products_depend_on_distances_alone(times, later, rows, columns, down, right):
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 48, generator=generator)
    here = score(query, key, 48, times, rows, columns)
    moved = score(
        query, key, 48, [t + later for t in times], [r + down for r in rows], [c + right for c in columns]
    )
    torch.testing.assert_close(here, moved, atol=5e-3, rtol=0)


def test_times_an_hour_in_are_as_sharp_as_at_the_start():
    rope = RotaryEmbedding3D(48)
    start = rope(torch.tensor([[0.0, 0.125]]), 1, 1)
    later = rope(torch.tensor([[3600.0, 3600.125]]), 1, 1)

    def turn(cos, sin):
        return (cos[0, 1] * cos[0, 0] + sin[0, 1] * sin[0, 0]).flatten()

    torch.testing.assert_close(turn(*start), turn(*later), atol=2e-2, rtol=0)


@settings(deadline=None)
@given(rows=st.integers(1, 6), columns=st.integers(1, 6))
def test_frame_features_tell_every_place_apart(rows, columns):
    features = frame_position_features(rows, columns, "cpu")
    distances = torch.cdist(features, features) + 9 * torch.eye(rows * columns)
    assert distances.min() > 1e-3 if rows * columns > 1 else True


def test_odd_heads_are_refused():
    with pytest.raises(ValueError, match="even number of at least 6"):
        pairs_per_axis(5)
