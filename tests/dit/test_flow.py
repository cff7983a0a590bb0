from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.configs.schema import FlowConfig
from kinema.dit.flow import (
    STILL,
    SUFFIX,
    Parts,
    add_noise,
    draw_batch_kind,
    draw_caption,
    draw_caption_dropout,
    draw_noise,
    draw_plan,
    flow_loss,
    shift_sigma,
    velocity,
)

CONFIG = FlowConfig()
seeds = st.lists(st.integers(0, 2**62), min_size=1, max_size=5)


@settings(deadline=None)
@given(seeds=seeds, frames=st.integers(1, 7), per_block=st.integers(1, 3))
def test_known_frames_are_clean_and_carry_no_loss(seeds, frames, per_block):
    plan = draw_plan(seeds, frames, CONFIG, per_block)
    assert plan.sigmas.shape == plan.loss_mask.shape == (len(seeds), frames)
    assert torch.equal(plan.sigmas > 0, plan.loss_mask)
    assert (plan.sigmas < 1).all()
    assert plan.loss_mask.any(dim=1).all()


@settings(deadline=None, max_examples=30)
@given(seeds=seeds, other=st.integers(0, 2**62), frames=st.integers(1, 5))
def test_draws_depend_on_the_samples_seed_alone(seeds, other, frames):
    alone, among = draw_plan(seeds, frames, CONFIG), draw_plan([other, *seeds], frames, CONFIG)
    assert torch.equal(alone.sigmas, among.sigmas[1:]) and alone.kinds == among.kinds[1:]
    assert torch.equal(draw_noise(seeds, (2, 3)), draw_noise([other, *seeds], (2, 3))[1:])
    assert draw_caption_dropout(seeds, 0.5) == draw_caption_dropout([other, *seeds], 0.5)[1:]


def test_shares_of_the_plans_are_those_asked_for():
    count = 4000
    kinds = Counter(draw_plan(range(count), 5, CONFIG).kinds)
    for kind, share in CONFIG.plans.items():
        assert kinds[kind] / count == pytest.approx(share, abs=4 * (share * (1 - share) / count) ** 0.5)
    dropped = sum(draw_caption_dropout(range(count), 0.1)) / count
    assert dropped == pytest.approx(0.1, abs=0.02)


@settings(deadline=None)
@given(seeds=seeds, frames=st.integers(1, 7), data=st.data())
def test_encoded_parts_are_shown_only_where_they_are(seeds, frames, data):
    parts = None
    if frames > 1:
        stills = data.draw(st.lists(st.integers(1, frames - 1), min_size=1, max_size=2, unique=True))
        start = data.draw(st.integers(1, frames - 1))
        parts = [Parts(start, tuple(sorted(stills)))] * len(seeds)
    plan = draw_plan(seeds, frames, CONFIG, parts=parts)
    assert torch.equal(plan.sigmas > 0, plan.loss_mask) and plan.loss_mask.any(dim=1).all()
    for kind, shown, loss in zip(plan.kinds, plan.context, plan.loss_mask):
        where = set(shown.nonzero().flatten().tolist())
        assert not (shown.bool() & loss).any()
        if kind == "keyframes":
            assert where and where <= set(stills) and set(shown[shown > 0].tolist()) == {STILL}
        elif kind in ("suffix", "both_ends"):
            assert where == set(range(start, frames)) and set(shown[shown > 0].tolist()) == {SUFFIX}
        else:
            assert not where


@pytest.mark.parametrize("kind", sorted(CONFIG.plans))
def test_each_plan_looks_like_its_name(kind):
    plan = draw_plan(range(200), 6, FlowConfig(plans={kind: 1.0}))
    known = ~plan.loss_mask
    first, last, count = known[:, 0], known[:, -1], known.sum(1)
    changes = (known[:, 1:] != known[:, :-1]).sum(1)
    levels = torch.tensor([len(set(row[mask].tolist())) for row, mask in zip(plan.sigmas, plan.loss_mask)])
    if kind in ("equal", "independent"):
        assert not known.any()
    else:
        assert (count >= 1).all() and set(count.tolist()) >= {2, 3, 4}
    if kind == "independent":
        assert (levels == 6).all()
        blocks = draw_plan(range(50), 6, FlowConfig(plans={kind: 1.0}), frames_per_block=2).sigmas
        assert torch.equal(blocks[:, ::2], blocks[:, 1::2])
    else:
        assert (levels == 1).all()
    if kind == "prefix":
        assert first.all() and not last.any() and (changes == 1).all()
    if kind == "suffix":
        assert last.all() and not first.any() and (changes == 1).all()
    if kind == "both_ends":
        assert first.all() and last.all() and (changes == 2).all()
    if kind in ("scattered", "keyframes"):
        assert (changes > 2).any()


@given(shift=st.floats(0.1, 10), low=st.floats(0, 1), high=st.floats(0, 1))
def test_shift_keeps_order_and_ends(shift, low, high):
    low, high = sorted((low, high))
    levels = shift_sigma(torch.tensor([0.0, low, high, 1.0], dtype=torch.float64), shift)
    assert levels[0] == 0 and levels[3] == pytest.approx(1)
    assert (levels.diff() >= 0).all()
    back = shift_sigma(levels, 1 / shift)
    torch.testing.assert_close(back, torch.tensor([0.0, low, high, 1.0], dtype=torch.float64))


def test_shift_must_be_positive():
    with pytest.raises(ValueError, match="shift is 0"):
        shift_sigma(torch.rand(2), 0)


def test_noising_and_its_velocity_lead_back():
    latents, noise = torch.randn(2, 3, 4, 2, 2), torch.randn(2, 3, 4, 2, 2)
    sigmas = torch.rand(2, 4)
    sigmas[0, 0], sigmas[0, 1] = 0, 1
    noisy = add_noise(latents, noise, sigmas)
    assert torch.equal(noisy[0, :, 0], latents[0, :, 0]) and torch.equal(noisy[0, :, 1], noise[0, :, 1])
    back = noisy - sigmas[:, None, :, None, None] * velocity(latents, noise)
    torch.testing.assert_close(back, latents)
    with pytest.raises(ValueError, match="one level per latent frame"):
        add_noise(latents, noise, torch.rand(2))


def test_loss_counts_unmasked_frames_and_weighs_clips_equally():
    target = torch.zeros(2, 1, 3, 2, 2)
    prediction = torch.zeros_like(target)
    prediction[0, :, 0], prediction[0, :, 1], prediction[1] = 3.0, 5.0, 1.0
    mask = torch.tensor([[True, False, False], [True, True, True]])
    assert flow_loss(prediction, target, mask).item() == pytest.approx((9 + 1) / 2)
    each = [flow_loss(prediction[i : i + 1], target[i : i + 1], mask[i : i + 1]) for i in range(2)]
    assert flow_loss(prediction, target, mask) == torch.stack(each).mean()


def test_batch_kinds():
    config = FlowConfig(image_fraction=0.2, image_warmup=0.1, block_causal=0.5)
    kinds = [draw_batch_kind(7, step, 4000, config) for step in range(4000)]
    assert all(kind.images for kind in kinds[:400])
    later = kinds[400:]
    assert sum(k.images for k in later) / len(later) == pytest.approx(0.2, abs=0.03)
    videos = [k for k in later if not k.images]
    assert sum(k.block_causal for k in videos) / len(videos) == pytest.approx(0.5, abs=0.04)
    assert not any(k.images and k.block_causal for k in kinds)
    windows = [k for k in videos if k.skipped]
    assert all(k.block_causal and k.skipped < 1 for k in windows)
    share = len(windows) / sum(k.block_causal for k in videos)
    assert share == pytest.approx(config.mid_clip, abs=0.05)
    assert kinds[1000:1010] == [draw_batch_kind(7, step, 4000, config) for step in range(1000, 1010)]


def test_captions_follow_the_mix_of_their_levels():
    captions = {"short": "s", "medium": "m", "dense": "d"}
    drawn = Counter(
        draw_caption(captions, {"short": 0.5, "medium": 0.2, "dense": 0.3}, seed) for seed in range(2000)
    )
    assert drawn["s"] / 2000 == pytest.approx(0.5, abs=0.05) and drawn["m"] / 2000 == pytest.approx(0.2, abs=0.04)
    assert draw_caption({"short": "s", "dense": ""}, {"short": 0.1, "dense": 0.9}, 3) == "s"
    assert draw_caption({}, {"short": 1.0}, 3) == ""
