import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FlowMatchLCMScheduler,
    UniPCMultistepScheduler,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.pipeline.canvas import text_to_video, with_known
from kinema.pipeline.sampler import SchedulerError, choose_step, euler_step, flow_sigmas, sample
from kinema.pipeline.schedules import noise_levels

# diffusers' multistep schedulers turn tensors into arrays in the way of numpy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FRAMES = 4
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
SCHEDULERS = {
    "euler": FlowMatchEulerDiscreteScheduler(),
    "euler, shifted": FlowMatchEulerDiscreteScheduler(shift=3.0),
    "euler, dynamic": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    "euler, stochastic": FlowMatchEulerDiscreteScheduler(stochastic_sampling=True),
    "heun": FlowMatchHeunDiscreteScheduler(),
    "lcm": FlowMatchLCMScheduler(),
    "dpm++": DPMSolverMultistepScheduler(**FLOW),
    "unipc": UniPCMultistepScheduler(**FLOW),
}


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def field_to(target):
    """The exact velocity of rectified flow when all data is one point: (x - x0) / σ."""

    def predict(latents, level, index):
        return (latents - target) / level[:, None, None].clamp(min=1e-6)

    return predict


def run(scheduler, canvas, predict, noise, steps=6, **options):
    sigmas = flow_sigmas(scheduler, steps, num_tokens=64)
    levels = noise_levels(sigmas, canvas)
    generators = [torch.Generator().manual_seed(0)] * len(noise)
    return sample(predict, choose_step(scheduler, levels, canvas, generators), canvas, noise, levels, **options)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_every_flow_scheduler_reaches_the_only_data_point(name, steps):
    target, noise = randn(2, 3, FRAMES, 4, 4, seed=1), randn(2, 3, FRAMES, 4, 4)
    result = run(SCHEDULERS[name], text_to_video(3, FRAMES, 4, 4), field_to(target), noise, steps)
    assert torch.allclose(result, target, atol=2e-3)


@given(
    st.lists(st.floats(0.05, 1), min_size=FRAMES, max_size=FRAMES), st.integers(1, 9), st.integers(0, FRAMES - 1)
)
@settings(deadline=None, max_examples=50)
def test_frames_that_start_apart_all_arrive_and_known_ones_stay(start, steps, known_frame):
    target, noise = randn(2, 3, FRAMES, 4, 4, seed=1), randn(2, 3, FRAMES, 4, 4)
    canvas = text_to_video(3, FRAMES, 4, 4)
    known = torch.zeros(1, 1, FRAMES, 4, 4, dtype=torch.bool)
    known[:, :, known_frame] = True
    canvas = with_known(canvas, randn(2, 3, FRAMES, 4, 4, seed=2), known)
    levels = torch.tensor(start)
    levels[known_frame] = 0
    canvas = type(canvas)(canvas.latents, canvas.known, levels, canvas.text_of_frame)
    result = run(FlowMatchEulerDiscreteScheduler(), canvas, field_to(target), noise, steps)
    assert torch.equal(result[:, :, known_frame], canvas.latents[:, :, known_frame])
    others = [frame for frame in range(FRAMES) if frame != known_frame]
    assert torch.allclose(result[:, :, others], target[:, :, others], atol=1e-3)


def test_equal_rows_are_the_schedulers_own_euler_steps():
    canvas, noise = text_to_video(3, FRAMES, 4, 4), randn(1, 3, FRAMES, 4, 4)
    weights = randn(3, 3, seed=3) / 3

    def predict(latents, level, index):
        return torch.einsum("bcfhw,cd->bdfhw", latents, weights) * (1 + level[:, None, None])

    scheduler = FlowMatchEulerDiscreteScheduler(shift=2.0)
    levels = noise_levels(flow_sigmas(scheduler, 8), canvas)
    theirs = sample(predict, choose_step(scheduler, levels, canvas), canvas, noise, levels)
    assert torch.equal(sample(predict, euler_step(levels), canvas, noise, levels), theirs)

    plain = noise  # the same without any of our machinery
    scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / 8, 8).tolist())
    for t in scheduler.timesteps:
        plain = scheduler.step(predict(plain, (t / 1000).expand(FRAMES), 0), t, plain).prev_sample
    assert torch.allclose(theirs, plain, atol=1e-5)


def test_known_tokens_are_shown_at_their_frames_level_with_the_same_noise():
    canvas, noise = text_to_video(2, 3, 4, 4), randn(1, 2, 3, 4, 4)
    known = torch.zeros(1, 1, 3, 4, 4, dtype=torch.bool)
    known[:, :, 0], known[:, :, 1, :2] = True, True  # a whole frame, and half of one
    clean = randn(1, 2, 3, 4, 4, seed=5)
    canvas = with_known(canvas, clean, known, held_at=0.05)
    seen = []

    def predict(latents, level, index):
        seen.append((latents.clone(), level))
        return torch.ones_like(latents)

    result = run(FlowMatchEulerDiscreteScheduler(), canvas, predict, noise, steps=5)
    assert len(seen) == 5
    for latents, level in seen:
        sigma = level[:, None, None]
        expected = (1 - sigma) * clean + sigma * noise
        assert torch.allclose(latents[known.expand_as(latents)], expected[known.expand_as(latents)], atol=1e-6)
        assert level[0] == pytest.approx(0.05)
        assert level[1] == level[2]
    assert torch.equal(result[known.expand_as(result)], clean[known.expand_as(clean)])


def test_a_frame_that_starts_lower_waits_for_the_others():
    canvas = text_to_video(1, 2, 1, 1)
    canvas = type(canvas)(canvas.latents, canvas.known, torch.tensor([1.0, 0.5]), canvas.text_of_frame)
    levels = noise_levels(torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0]), canvas)
    assert levels.tolist() == [[1, 0.5], [0.75, 0.5], [0.5, 0.5], [0.25, 0.25], [0, 0]]


@given(st.floats(0.01, 1), st.integers(1, 20))
def test_steps_in_which_nothing_moves_are_left_out(start, steps):
    canvas = text_to_video(1, 2, 1, 1)
    canvas = type(canvas)(canvas.latents, canvas.known, torch.full((2,), start), canvas.text_of_frame)
    levels = noise_levels(torch.linspace(1, 0, steps + 1), canvas)
    assert levels[0].tolist() == pytest.approx([start, start])
    assert (levels[1:] < levels[:-1]).all()
    assert (levels[-1] == 0).all()


def test_a_video_that_is_wholly_known_takes_no_step():
    canvas = text_to_video(1, 2, 1, 1)
    canvas = with_known(canvas, torch.ones(1, 1, 2, 1, 1), torch.ones(1, 1, 2, 1, 1, dtype=torch.bool))
    result = run(FlowMatchEulerDiscreteScheduler(), canvas, None, randn(1, 1, 2, 1, 1))
    assert torch.equal(result, canvas.latents)


@pytest.mark.parametrize("name", ["heun", "dpm++", "unipc", "lcm", "euler, stochastic"])
def test_a_foreign_scheduler_takes_known_frames_but_no_unequal_ones(name):
    target, noise = randn(1, 2, 3, 4, 4, seed=1), randn(1, 2, 3, 4, 4)
    known = torch.zeros(1, 1, 3, 1, 1, dtype=torch.bool)
    known[:, :, 0] = True
    canvas = with_known(text_to_video(2, 3, 4, 4), target + 1, known.expand(1, 1, 3, 4, 4))
    result = run(SCHEDULERS[name], canvas, field_to(target), noise)
    assert torch.equal(result[:, :, 0], target[:, :, 0] + 1)
    assert torch.allclose(result[:, :, 1:], target[:, :, 1:], atol=2e-3)
    for start in ([0.0, 0.5, 1.0], [0.0, 0.95, 0.95]):
        apart = type(canvas)(canvas.latents, canvas.known, torch.tensor(start), canvas.text_of_frame)
        with pytest.raises(SchedulerError, match="one noise level for all frames"):
            run(SCHEDULERS[name], apart, field_to(target), noise)


@pytest.mark.parametrize(
    "scheduler",
    [DDIMScheduler(), EulerDiscreteScheduler(), DPMSolverMultistepScheduler(), UniPCMultistepScheduler()],
)
def test_a_scheduler_that_is_no_flow_is_refused_with_the_way_out(scheduler):
    with pytest.raises(SchedulerError, match="use_flow_sigmas=True"):
        flow_sigmas(scheduler, 5)


def test_own_noise_levels_are_used_where_the_scheduler_can():
    levels = flow_sigmas(FlowMatchEulerDiscreteScheduler(), 3, sigmas=[1.0, 0.6, 0.1])
    assert levels.tolist() == pytest.approx([1.0, 0.6, 0.1, 0.0])
    with pytest.raises(SchedulerError, match="takes no sigmas"):
        flow_sigmas(FlowMatchHeunDiscreteScheduler(), 3, sigmas=[1.0, 0.6, 0.1])


def test_an_interrupt_ends_the_loop_before_the_next_step():
    canvas, noise = text_to_video(1, 2, 2, 2), randn(1, 1, 2, 2, 2)
    done = []
    run(
        FlowMatchEulerDiscreteScheduler(),
        canvas,
        lambda latents, level, index: torch.zeros_like(latents),
        noise,
        steps=6,
        on_step_end=lambda index, latents: done.append(index) or latents,
        interrupted=lambda: len(done) == 2,
    )
    assert done == [0, 1]
