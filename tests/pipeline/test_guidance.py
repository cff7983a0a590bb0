import pytest
import torch
from diffusers.guiders import (
    AdaptiveProjectedGuidance,
    AdaptiveProjectedMixGuidance,
    AutoGuidance,
    ClassifierFreeGuidance,
    ClassifierFreeZeroStarGuidance,
    FrequencyDecoupledGuidance,
    MagnitudeAwareGuidance,
    PerturbedAttentionGuidance,
    SkipLayerGuidance,
    SmoothedEnergyGuidance,
    TangentialClassifierFreeGuidance,
)
from diffusers.guiders.adaptive_projected_guidance import normalized_guidance
from hypothesis import given
from hypothesis import strategies as st

from kinema.pipeline.guidance import KINDS, Guidance, GuiderGuidance, as_guidance

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


def test_frames_with_nothing_to_sample_stay_out_of_every_measure():
    uncond, cond, sample = fields()
    unknown = torch.tensor([True, False, True])
    others = [tensor[:, :, [0, 2]] for tensor in (uncond, cond, sample)]
    for kind in KINDS:
        guidance = Guidance(kind, apg_norm=0.5)
        guided = guidance.combine(uncond, cond, 5.0, sample, LEVEL, unknown)
        alone = guidance.combine(*others[:2], 5.0, others[2], LEVEL[[0, 2]])
        assert torch.equal(guided[:, :, 1], cond[:, :, 1])
        assert torch.allclose(guided[:, :, [0, 2]], alone, atol=1e-5)
        # A frame that is clean already has nothing to sample either.
        clean = guidance.combine(uncond, cond, 5.0, sample, torch.tensor([0.9, 0.0, 0.1]))
        assert torch.allclose(clean, guided, atol=1e-5)
        assert not guidance.needs_negative(torch.tensor([0.9, 0.0]), torch.tensor([False, True]), 5.0)
        assert guidance.needs_negative(torch.tensor([0.9, 0.0]), torch.tensor([True, True]), 5.0)


# diffusers' guiders


def run(guidance, step=0, steps=4, unknown=None, seed=0, scale=None):
    """One step by a guidance, as the pipeline takes it."""
    uncond, cond, sample = fields(seed)
    unknown = torch.ones(3, dtype=torch.bool) if unknown is None else unknown
    scale = guidance.scale if scale is None else scale
    guidance.set_state(step, steps, torch.tensor(1000.0))
    negative = uncond if guidance.needs_negative(LEVEL, unknown, scale) else None
    return guidance.combine(negative, cond, scale, sample, LEVEL, unknown)


def theirs(guider, step=0, steps=4, frames=slice(None), seed=0):
    """The same step by diffusers' own protocol, on some of the frames."""
    uncond, cond, _ = (tensor[:, :, frames] for tensor in fields(seed))
    guider.set_state(step=step, num_inference_steps=steps, timestep=torch.tensor(1000.0))
    shape = cond.shape
    if isinstance(guider, MagnitudeAwareGuidance):  # fails on videos by itself
        cond, uncond = cond.flatten(2), uncond.flatten(2)
    batches = guider.prepare_inputs({"velocity": (cond, uncond)})
    for batch in batches:
        batch.noise_pred = batch.velocity
    return guider(batches).pred.view(shape)


GUIDERS = [
    lambda: ClassifierFreeGuidance(guidance_scale=5.0),
    lambda: ClassifierFreeGuidance(guidance_scale=4.0, use_original_formulation=True, guidance_rescale=0.7),
    lambda: ClassifierFreeGuidance(guidance_scale=0.5),
    lambda: ClassifierFreeZeroStarGuidance(guidance_scale=5.0),
    lambda: AdaptiveProjectedGuidance(
        guidance_scale=5.0,
        eta=0.3,
        adaptive_projected_guidance_momentum=-0.5,
        adaptive_projected_guidance_rescale=3.0,
    ),
    lambda: AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=1),
    lambda: TangentialClassifierFreeGuidance(guidance_scale=5.0),
    lambda: MagnitudeAwareGuidance(guidance_scale=5.0),
    lambda: ClassifierFreeGuidance(guidance_scale=5.0, start=0.25, stop=0.75),
]


@pytest.mark.parametrize("make", GUIDERS)
def test_a_guider_gives_what_it_gives_in_diffusers(make):
    guider, own = make(), as_guidance(make())
    assert isinstance(own, GuiderGuidance)
    for step in range(4):  # with the state that some keep between steps
        assert torch.equal(run(own, step, seed=step), theirs(guider, step, seed=step))
    known = make(), as_guidance(make())  # and measures only the frames that have something to sample
    unknown = torch.tensor([True, False, True])
    for step in range(4):
        guided = run(known[1], step, unknown=unknown, seed=step)
        assert torch.allclose(guided[:, :, [0, 2]], theirs(known[0], step, frames=[0, 2], seed=step), atol=1e-5)
        assert torch.equal(guided[:, :, 1], fields(step)[1][:, :, 1])


def test_ours_equal_theirs_where_both_exist():
    uncond, cond, sample = fields()
    plain = Guidance("cfg").combine(uncond, cond, 5.0, sample, LEVEL)
    assert torch.allclose(plain, theirs(ClassifierFreeGuidance(guidance_scale=5.0)), atol=1e-6)
    zero_star = Guidance("zero-star").combine(uncond, cond, 5.0, sample, LEVEL)
    guider = ClassifierFreeZeroStarGuidance(guidance_scale=5.0, zero_init_steps=0)
    assert torch.allclose(zero_star, theirs(guider), atol=1e-5)


@given(st.floats(1.1, 10), st.floats(0, 1), st.floats(0.1, 3), st.floats(0.05, 1))
def test_projection_at_equal_noise_is_theirs_on_clean_estimates(scale, parallel, norm, sigma):
    uncond, cond, sample = fields()
    guided = Guidance("apg", apg_parallel=parallel, apg_norm=norm).combine(
        uncond, cond, scale, sample, torch.full((3,), sigma)
    )
    clean_cond, clean_uncond = sample - sigma * cond, sample - sigma * uncond
    longest = norm * cond[0].numel() ** 0.5  # theirs is the whole update's length
    expected = normalized_guidance(
        clean_cond, clean_uncond, scale - 1, None, parallel, longest, use_original_formulation=True
    )
    assert torch.allclose(sample - sigma * guided, expected, atol=1e-4)


def test_a_guiders_own_start_and_stop_cut_the_steps():
    guidance = as_guidance(ClassifierFreeGuidance(guidance_scale=5.0, start=0.25, stop=0.75))
    unknown = torch.ones(3, dtype=torch.bool)
    wanted = []
    for step in range(4):
        guidance.set_state(step, 4, None)
        wanted.append(guidance.needs_negative(LEVEL, unknown, 5.0))
    assert wanted == [False, True, True, False]
    assert guidance.is_on(5.0)  # somewhere, so that negative prompts are needed
    equal, unequal = torch.tensor([[1.0, 1.0], [0.5, 0.5]]), torch.tensor([[1.0, 1.0], [1.0, 0.5]])
    guidance.check_levels(equal)
    with pytest.raises(ValueError, match=r"acts from 0\.25 to 0\.75 of the steps, which needs one noise level"):
        guidance.check_levels(unequal)
    as_guidance(ClassifierFreeGuidance()).check_levels(unequal)
    Guidance(interval=(0.2, 0.6)).check_levels(unequal)


def test_a_guider_is_copied_and_each_run_begins_afresh():
    guider = AdaptiveProjectedGuidance(guidance_scale=5.0, adaptive_projected_guidance_momentum=0.9)
    first, second = as_guidance(guider), as_guidance(guider)
    expected = [run(first, step, seed=step) for step in range(3)]
    assert guider.momentum_buffer is None and guider._step is None
    assert all(torch.equal(run(second, step, seed=step), expected[step]) for step in range(3))
    assert torch.equal(run(second, 0), run(as_guidance(guider), 0))


def test_a_callback_may_change_or_end_a_guiders_strength():
    uncond, cond, _ = fields()
    guidance = as_guidance(ClassifierFreeGuidance(guidance_scale=5.0))
    assert torch.allclose(run(guidance, 1, scale=2.0), uncond + 2 * (cond - uncond), atol=1e-5)
    assert torch.equal(run(guidance, 2, scale=0.0), cond)  # as diffusers' cutoff callbacks set it
    original = as_guidance(ClassifierFreeGuidance(guidance_scale=5.0, use_original_formulation=True))
    assert torch.allclose(run(original, 1, scale=1.0), cond + (cond - uncond), atol=1e-5)
    assert not as_guidance(ClassifierFreeGuidance(guidance_scale=5.0, enabled=False)).is_on(5.0)
    assert not as_guidance(ClassifierFreeGuidance(guidance_scale=1.0)).is_on(1.0)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: SkipLayerGuidance(skip_layer_guidance_layers=[1]), r"further passes .*pred_cond_skip"),
        (lambda: PerturbedAttentionGuidance(perturbed_guidance_layers=[1]), r"further passes .*pred_cond_skip"),
        (lambda: SmoothedEnergyGuidance(seg_guidance_layers=[1]), r"further passes .*pred_cond_seg"),
        (lambda: AutoGuidance(auto_guidance_layers=[1], dropout=0.1), "changes the transformer"),
        (lambda: FrequencyDecoupledGuidance.__new__(FrequencyDecoupledGuidance), "frequencies"),
    ],
)
def test_guiders_that_need_more_are_refused(make, reason):
    with pytest.raises(ValueError, match=reason) as error:
        as_guidance(make())
    assert "Use a guider that combines these two, such as ClassifierFreeGuidance" in str(error.value)


def test_what_is_no_guidance_or_has_two_strengths_is_refused():
    with pytest.raises(ValueError, match="guidance is 'apg'; it needs"):
        as_guidance("apg")
    with pytest.raises(ValueError, match=r"guidance_scale is 3.0 and the ClassifierFreeGuidance's own is 7.5"):
        as_guidance(ClassifierFreeGuidance(), 3.0)
    assert as_guidance(ClassifierFreeGuidance(), 7.5).scale == 7.5
    assert as_guidance(Guidance("apg"), 3.0) == Guidance("apg")


def test_a_guiders_kind_says_its_settings():
    guider = ClassifierFreeZeroStarGuidance(guidance_scale=3.0, zero_init_steps=2, stop=0.5)
    guider.guidance_rescale = 0.25
    kind = as_guidance(guider).kind
    assert kind.startswith("ClassifierFreeZeroStarGuidance(")
    for part in ("zero_init_steps=2", "stop=0.5", "start=0.0", "guidance_rescale=0.25"):
        assert part in kind


def calls_of(pipe):
    calls = []
    pipe.transformer.register_forward_pre_hook(
        lambda *args: calls.append(len(args[2]["hidden_states"])), with_kwargs=True
    )
    return calls


def test_the_pipeline_takes_a_guider_on_its_one_batched_forward(pipe):
    calls, options = calls_of(pipe), {"num_inference_steps": 4, "generator": 0, "output_type": "pt"}
    own = pipe("a red ball", guidance_scale=5.0, **options)
    guider = ClassifierFreeGuidance(guidance_scale=5.0)
    other = pipe("a red ball", guidance=guider, **options)
    assert torch.allclose(other.frames, own.frames, atol=1e-5)
    assert calls == [2] * 8 and pipe.guidance_scale == 5.0
    made = other.provenance[0]
    assert made.guidance.startswith("ClassifierFreeGuidance(") and made.guidance_scale == 5.0
    assert "guidance" in made.by_hand
    momentum = AdaptiveProjectedGuidance(guidance_scale=5.0, adaptive_projected_guidance_momentum=-0.5)
    first, again = (pipe("a red ball", guidance=momentum, **options).frames for _ in range(2))
    assert torch.equal(first, again) and (first - own.frames).abs().max() > 1e-3


def test_a_guiders_interval_skips_the_negative_forward(pipe):
    calls = calls_of(pipe)
    pipe("x", num_inference_steps=4, guidance=ClassifierFreeGuidance(guidance_scale=5.0, start=0.25, stop=0.75))
    assert calls == [1, 2, 2, 1]
    pipe("x", num_inference_steps=2, guidance=ClassifierFreeGuidance(guidance_scale=5.0, enabled=False))
    assert calls[4:] == [1, 1]


def test_a_guider_that_cannot_serve_is_refused_before_the_first_step(pipe):
    calls = calls_of(pipe)
    with pytest.raises(ValueError, match="further passes"):
        pipe("x", guidance=SkipLayerGuidance(skip_layer_guidance_layers=[1]))
    with pytest.raises(ValueError, match="needs one noise level for all frames"):
        pipe("x", guidance=ClassifierFreeGuidance(stop=0.5), schedule="staircase")
    assert not calls
