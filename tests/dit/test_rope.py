import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.dit.attention import normalize_and_rotate
from kinema.dit.rope import RotaryEmbedding3D, frame_position_features, pairs_per_axis, rotate


@given(half=st.integers(3, 128))
def test_pairs_fill_the_head_and_serve_every_axis(half):
    pairs = pairs_per_axis(2 * half)
    assert sum(pairs) == half and min(pairs) >= 1


def score(query, key, head_dim, time, row, column):
    """The product of a rotated query and key, one token each, on a grid that holds both."""
    angles = RotaryEmbedding3D(head_dim)(torch.tensor([time]), 8, 8).flatten(1, 2)  # (1, 128, 1, pairs, 2)
    tokens = [frame * 64 + r * 8 + c for frame, r, c in zip((0, 1), row, column)]
    rotated = rotate(torch.stack([query, key])[None, :, None], angles[:, tokens])
    return (rotated[0, 0] * rotated[0, 1]).sum()


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


@pytest.mark.parametrize(
    ("dtype", "seconds", "tolerance"), [(torch.float32, 3600.0, 2e-2), (torch.float64, 3e6, 1e-5)]
)
def test_times_an_hour_in_are_as_sharp_as_at_the_start_and_a_month_in_float64(dtype, seconds, tolerance):
    rope = RotaryEmbedding3D(48)
    start = rope(torch.tensor([[0.0, 0.137]], dtype=dtype), 1, 1)
    later = rope(torch.tensor([[seconds, seconds + 0.137]], dtype=dtype), 1, 1)

    def turn(angles):
        return (angles[0, 1] * angles[0, 0]).sum(-1).flatten()

    assert later.dtype == torch.float32
    torch.testing.assert_close(turn(start), turn(later), atol=tolerance, rtol=0)


@pytest.mark.parametrize("rotated", [False, True])
def test_gradients_written_by_hand_are_those_of_autograd(rotated):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, 3, 12, generator=generator)
    gain = torch.rand(3, generator=generator)
    angles = RotaryEmbedding3D(12)(torch.tensor([[0.0, 0.3]]), 1, 3).flatten(1, 2) if rotated else None
    weights = torch.randn(x.shape, generator=generator)

    def reference(x, gain):
        out = torch.nn.functional.rms_norm(x, (12,), eps=1e-6) * gain[:, None]
        if angles is None:
            return out
        first, second, (cos, sin) = out[..., ::2], out[..., 1::2], angles.unbind(-1)
        return torch.stack([first * cos - second * sin, second * cos + first * sin], -1).flatten(-2)

    results = []
    for function in (lambda x, gain: normalize_and_rotate(x, gain, angles), reference):
        leaves = [x.clone().requires_grad_(), gain.clone().requires_grad_()]
        out = function(*leaves)
        (out * weights).sum().backward()
        results.append([out, *(leaf.grad for leaf in leaves)])
    torch.testing.assert_close(results[0], results[1])


@settings(deadline=None)
@given(rows=st.integers(1, 6), columns=st.integers(1, 6))
def test_frame_features_tell_every_place_apart(rows, columns):
    features = frame_position_features(rows, columns, "cpu")
    distances = torch.cdist(features, features) + 9 * torch.eye(rows * columns)
    assert distances.min() > 1e-3 if rows * columns > 1 else True


def test_odd_heads_are_refused():
    with pytest.raises(ValueError, match="even number of at least 6"):
        pairs_per_axis(5)
