from functools import partial

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kinema.pipeline.canvas import Canvas
from kinema.pipeline.schedules import SCHEDULES, equal, noise_levels, rolling, staircase

settings.register_profile("schedules", deadline=None, max_examples=50)
levels_in_order = st.lists(st.floats(1 / 64, 1, width=32), min_size=1, max_size=12, unique=True).map(
    lambda values: torch.tensor([*sorted(values, reverse=True), 0.0])
)


@st.composite
def canvases(draw, pure_noise=False):
    frames = draw(st.integers(1, 8))
    known = torch.tensor(draw(st.lists(st.booleans(), min_size=frames, max_size=frames)))
    start = torch.tensor(draw(st.lists(st.floats(0, 1, width=32), min_size=frames, max_size=frames)))
    if pure_noise:
        start = torch.where(known, start, 1.0)
    return Canvas(torch.zeros(1, 1, frames, 1, 1), known.view(1, 1, -1, 1, 1), start, (0,) * frames)


schedules = st.one_of(
    st.just(equal),
    st.integers(0, 15).map(lambda lag: partial(staircase, lag=lag)),
    st.integers(1, 10).map(lambda window: partial(rolling, window=window)),
)


@given(levels_in_order, canvases(), schedules)
@settings(settings.get_profile("schedules"))
def test_levels_descend_from_each_frames_start_to_nothing(sigmas, canvas, schedule):
    levels, unknown = noise_levels(sigmas, canvas, schedule), canvas.unknown_frames
    assert levels.shape[1] == len(unknown)
    assert (levels[1:] <= levels[:-1]).all()
    assert (levels <= canvas.start).all()
    assert (levels[-1, unknown] == 0).all()
    assert (levels[:, ~unknown] == canvas.start[~unknown]).all()
    assert len(levels) == 1 or (levels[0] != levels[1]).any()  # it does not begin by waiting
    frames_levels = {float(level) for level in levels[:, unknown].flatten()}
    assert frames_levels <= {*sigmas.tolist(), *canvas.start.tolist()}  # no level of its own invention


@given(levels_in_order, canvases(pure_noise=True), schedules)
@settings(settings.get_profile("schedules"))
def test_earlier_frames_are_never_noisier_and_each_takes_every_step(sigmas, canvas, schedule):
    unknown = canvas.unknown_frames
    levels = noise_levels(sigmas, canvas, schedule)[:, unknown]
    assert (levels[:, 1:] >= levels[:, :-1]).all()
    for column in levels.T:
        assert torch.unique_consecutive(column).tolist() == sigmas.tolist()


@given(levels_in_order, canvases(pure_noise=True), st.integers(0, 15))
@settings(settings.get_profile("schedules"))
def test_a_staircase_lags_by_its_lag_and_only_equal_rows_are_equal(sigmas, canvas, lag):
    steps, count = len(sigmas) - 1, int(canvas.unknown_frames.sum())
    assume(count > 0)
    levels = noise_levels(sigmas, canvas, partial(staircase, lag=lag))[:, canvas.unknown_frames]
    lag = min(lag, steps)
    assert len(levels) == steps + lag * (count - 1) + 1
    for frame in range(count):
        assert levels[lag * frame : lag * frame + steps + 1, frame].tolist() == sigmas.tolist()
    same = noise_levels(sigmas, canvas)[:, canvas.unknown_frames]
    assert (same == same[:, :1]).all() and len(same) == steps + 1
    assert torch.equal(same, levels) == (lag == 0 or count == 1)


@given(levels_in_order, st.integers(1, 30), st.integers(1, 10))
@settings(settings.get_profile("schedules"))
def test_a_rolling_window_holds_its_frames_and_no_more(sigmas, frames, window):
    canvas = Canvas(
        torch.zeros(1, 1, frames, 1, 1), torch.zeros(1, 1, frames, 1, 1, dtype=torch.bool), torch.ones(frames),
        (0,) * frames,
    )  # fmt: skip
    steps = len(sigmas) - 1
    levels = noise_levels(sigmas, canvas, partial(rolling, window=window))
    moving = (levels[1:] != levels[:-1]).sum(1)
    assert moving.max() == min(window, frames)
    assert len(levels) == steps + (frames - 1) * steps // window + 1
    starts = (levels[1:] != levels[:-1]).int().argmax(0)  # of each frame
    assert set(starts.diff().tolist()) <= {steps // window, -(-steps // window)}  # they set out evenly


@pytest.mark.parametrize("name", SCHEDULES)
def test_names_are_their_functions(name):
    sigmas = torch.tensor([1.0, 0.7, 0.3, 0.0])
    canvas = Canvas(
        torch.zeros(1, 1, 6, 1, 1), torch.zeros(1, 1, 6, 1, 1, dtype=torch.bool), torch.ones(6), (0,) * 6
    )
    assert torch.equal(noise_levels(sigmas, canvas, name), SCHEDULES[name](sigmas, canvas))


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("pyramid", "one of equal, staircase, rolling"),
        (None, "one of equal, staircase, rolling"),
        (lambda sigmas, canvas: torch.ones(3, 2), r"gave levels \(3, 2\); it needs \(steps \+ 1, 3\)"),
        (lambda sigmas, canvas: torch.tensor([[0.0, 0.5, 1.0], [0.0, 0.6, 0.0], [0.0, 0.0, 0.0]]), "rise"),
        (lambda sigmas, canvas: torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 0.5]]), "last row"),
        (lambda sigmas, canvas: torch.tensor([[0.5, 1.0, 1.0], [0.0, 0.0, 0.0]]), "above a frame's start"),
        (partial(staircase, lag=-1), "lag is -1"),
        (partial(rolling, window=0), "window is 0"),
    ],
)
def test_what_is_no_schedule_is_refused(schedule, message):
    known = torch.tensor([True, False, False]).view(1, 1, 3, 1, 1)
    canvas = Canvas(torch.zeros(1, 1, 3, 1, 1), known, torch.tensor([0.0, 1.0, 1.0]), (0,) * 3)
    with pytest.raises(ValueError, match=message):
        noise_levels(torch.tensor([1.0, 0.5, 0.0]), canvas, schedule)


def test_a_pipeline_takes_schedules_by_name_and_function(pipe):
    options = {"num_inference_steps": 3, "generator": 0, "output_type": "latent"}
    seen = []

    def count(pipe, step, timestep, tensors):
        seen.append(step)
        return {}

    frames = pipe.grid.latent_shape(*(pipe.config[f"default_{n}"] for n in ("num_frames", "height", "width")))[0]
    results = {}
    for schedule in ("equal", "staircase", "rolling", partial(staircase, lag=2)):
        output = pipe("a red ball", schedule=schedule, callback_on_step_end=count, **options)
        results[str(schedule)] = output.frames
        assert ("another schedule" in output.provenance[0].by_hand) == (schedule != "equal")
    assert len(seen) == 3 + (3 + frames - 1) + (3 + (frames - 1) * 3 // 4) + (3 + 2 * (frames - 1))
    assert torch.equal(results["equal"], pipe("a red ball", **options).frames)
    assert all(torch.isfinite(result).all() for result in results.values())
    assert len({float(result.sum()) for result in results.values()}) > 2
    with pytest.raises(ValueError, match="schedule is 'other'"):
        pipe("a red ball", schedule="other", **options)
