import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema.pipeline.guidance import KINDS, Guidance

LEVEL = torch.tensor([0.9, 0.5, 0.1])


def fields(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 4, 3, 2, 2, generator=generator) for _ in range(3)]


@pytest.mark.parametrize("kind", KINDS)
def test_scale_1_is_the_prompts_own_velocity(kind):
    uncond, cond, sample = fields()
    assert torch.allclose(Guidance(kind).combine(uncond, cond, 1.0, sample, LEVEL), cond, atol=1e-5)


@given(st.floats(1, 20))
def test_plain_guidance_goes_on_from_the_negative_through_the_prompt(scale):
    uncond, cond, sample = fields()
    expected = (1 - scale) * uncond + scale * cond
    assert torch.allclose(Guidance().combine(uncond, cond, scale, sample, LEVEL), expected, atol=1e-4)


def test_zero_star_takes_away_a_mere_difference_in_length():
    _, cond, sample = fields()
    guided = Guidance("zero-star").combine(cond * 0.3, cond, 7.0, sample, LEVEL)
    assert torch.allclose(guided, cond, atol=1e-4)


def test_projected_guidance_with_nothing_taken_away_is_plain_guidance():
    uncond, cond, sample = fields()
    plain = Guidance().combine(uncond, cond, 5.0, sample, LEVEL)
    assert torch.allclose(
        Guidance("apg", apg_parallel=1.0).combine(uncond, cond, 5.0, sample, LEVEL), plain, atol=1e-4
    )


def test_projected_guidance_moves_the_clean_estimate_at_a_right_angle():
    uncond, cond, sample = fields()
    level = torch.full((3,), 0.6)
    guided = Guidance("apg").combine(uncond, cond, 5.0, sample, level)
    clean, moved = sample - 0.6 * cond, sample - 0.6 * guided
    dot = ((moved - clean) * clean).flatten(1).sum(1)
    assert torch.allclose(dot, torch.zeros(2), atol=1e-3)
    assert (moved - clean).abs().max() > 0.1


def test_projected_guidance_shortens_a_long_update():
    uncond, cond, sample = fields()
    level = torch.full((3,), 0.6)
    guided = Guidance("apg", apg_parallel=1.0, apg_norm=0.2).combine(uncond, cond, 2.0, sample, level)
    update = 0.6 * (guided - cond)
    assert torch.allclose(update.square().flatten(1).mean(1).sqrt(), torch.full((2,), 0.2), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_only_frames_in_the_interval_are_guided(kind):
    uncond, cond, sample = fields()
    guided = Guidance(kind, interval=(0.2, 0.6)).combine(uncond, cond, 5.0, sample, LEVEL)
    assert torch.equal(guided[:, :, [0, 2]], cond[:, :, [0, 2]])
    assert not torch.allclose(guided[:, :, 1], cond[:, :, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_each_video_of_a_batch_is_guided_by_itself(kind):
    uncond, cond, sample = fields()
    guidance = Guidance(kind, apg_norm=0.5)
    both = guidance.combine(uncond, cond, 5.0, sample, LEVEL)
    alone = guidance.combine(uncond[1:], cond[1:], 5.0, sample[1:], LEVEL)
    assert torch.allclose(both[1:], alone, atol=1e-5)


@pytest.mark.parametrize("settings", [{"kind": "cgf"}, {"interval": (0.5, 0.2)}, {"interval": (0.0, 2.0)}])
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(ValueError, match="guidance"):
        Guidance(**settings)
