import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.pipeline.composite import REACH, put_back


def frames(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1))
def test_kept_pixels_come_back_bit_for_bit_whatever_is_kept(seed, share):
    made, given_frames = frames(2, 6, 3, 8, 8, seed=seed), frames(1, 6, 3, 8, 8, seed=seed + 1)
    keep = frames(1, 6, 1, 8, 8, seed=seed + 2) < share
    result = put_back(made, given_frames, keep, 4)
    mask = keep.expand_as(result)
    assert torch.equal(result[mask], given_frames.expand_as(result)[mask])
    assert result.min() >= 0 and result.max() <= 1


def test_the_difference_fades_out_over_one_group_after_and_before():
    made = torch.full((1, 13, 3, 4, 4), 0.5)
    given_frames = torch.full_like(made, 0.6)
    keep = torch.zeros(1, 13, 1, 1, 1, dtype=torch.bool)
    keep[:, 6] = True
    result = put_back(made, given_frames, keep.expand(1, 13, 1, 4, 4), 4)
    after = result[0, :, 0, 0, 0] - 0.5
    expected = [0, 0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.08, 0.06, 0.04, 0.02, 0, 0]
    assert torch.allclose(after, torch.tensor(expected), atol=1e-6)


def test_between_two_kept_stretches_differences_are_mixed_and_not_added_up():
    made = torch.full((1, 4, 3, 2, 2), 0.5)
    given_frames = torch.full_like(made, 0.7)
    keep = torch.tensor([True, False, False, True])[None, :, None, None, None].expand(1, 4, 1, 2, 2)
    result = put_back(made, given_frames, keep, 4)
    assert torch.allclose(result, torch.full_like(made, 0.7), atol=1e-6)


def test_beside_a_mask_the_difference_fades_over_a_few_pixels():
    made = torch.full((1, 1, 3, 1, 20), 0.5)
    keep = torch.zeros(1, 1, 1, 1, 20, dtype=torch.bool)
    keep[..., :5] = True
    result = put_back(made, torch.full_like(made, 0.6), keep, 4)[0, 0, 0, 0] - 0.5
    inside = result[5:]
    assert torch.allclose(inside[:REACH], 0.1 * (1 - torch.arange(1, REACH + 1) / (REACH + 1)), atol=1e-6)
    assert (inside[REACH:] == 0).all()


def test_where_the_decoder_was_right_nothing_else_changes():
    made = 0.9 * frames(1, 1, 3, 8, 8) + 0.02 * torch.arange(5)[None, :, None, None, None]
    keep = torch.zeros(1, 5, 1, 8, 8, dtype=torch.bool)
    keep[:, :2], keep[:, 3, :, 2:5] = True, True
    assert torch.allclose(put_back(made, made, keep, 4), made, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["before", "after", "both"]))
def test_no_step_into_or_out_of_given_frames_is_larger_than_those_inside(seed, side):
    calm = 0.02 * frames(1, 17, 3, 4, 4, seed=seed).cumsum(1) + 0.1
    made = calm + (0.4 if side != "after" else 0.0)  # a jump against what is given
    keep = torch.zeros(1, 17, 1, 4, 4, dtype=torch.bool)
    keep[:, :5] |= side != "after"
    keep[:, 13:] |= side != "before"
    given_frames = calm if side != "after" else calm + 0.4
    made = torch.where(keep, given_frames, made)  # the decoder is right, so that no difference is carried over
    result = put_back(made, given_frames, keep, 4)
    steps = result.diff(dim=1).abs().mean((0, 2, 3, 4))
    seams = [s for s, is_seam in ((4, side != "after"), (12, side != "before")) if is_seam]
    inside = [t for t in range(16) if t not in seams]
    assert steps[seams].max() <= steps[inside].max() + 1e-6
    assert steps.max() < 0.15  # the jump of 0.4 is shared out
