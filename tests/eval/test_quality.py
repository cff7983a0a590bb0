"""True clips against true clips sit at the floor; each fault moves its own measure."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from kinema.data.diorama import render
from kinema.eval.judge.reading import Reading
from kinema.eval.measures import measures
from kinema.eval.quality import flicker, frechet_distance, leading_axes, mean_distance, resized, sharpness
from kinema.eval.questions import load_prompts
from kinema.eval.staging import stage
from kinema.eval.store import Clip

SIDE, FRAMES, FPS = 24, 6, 3.0
SEEDS = range(4)
PROMPTS = [prompt for prompt in load_prompts("probe") if prompt.camera is None][::13][:10]
READING = Reading((), *(np.zeros(n) for n in (13, 8, 4, 4, 6)), FRAMES / FPS)


def film(seeds) -> dict[tuple[str, int], np.ndarray]:
    size = {"height": SIDE, "width": SIDE, "num_frames": FRAMES, "fps": FPS, "supersample": 1}
    return {
        (prompt.id, seed): render(stage(prompt, seed), **size).frames.numpy()
        for prompt in PROMPTS
        for seed in seeds
    }


@pytest.fixture(scope="module")
def truth() -> dict[tuple[str, int], np.ndarray]:
    return film(SEEDS)


@pytest.fixture(scope="module")
def samples() -> dict[tuple[str, int], np.ndarray]:
    """Other true clips of the same prompts."""
    return film(range(4, 6))


def features(clips) -> np.ndarray:
    """Coarse colours, and how much they change: what a real video tower tells, roughly."""
    rows = []
    for clip in clips:
        coarse = resized(clip.frames, 4).reshape(len(clip.frames), -1) / 255
        rows.append(np.concatenate([coarse.mean(0), 10 * np.abs(np.diff(coarse, axis=0)).mean(0)]))
    return np.stack(rows)


def measured(samples, truth, prompts=PROMPTS, **options):
    both = ({key: (Clip(frames, FPS), READING) for key, frames in clips.items()} for clips in (samples, truth))
    return measures(*both, prompts, **({"features": features, "draws": 100, "splits": 6} | options))


@pytest.fixture(scope="module")
def plain(samples, truth):
    return measured(samples, truth)


def test_true_clips_sit_at_the_floor(plain):
    distance, sharp, diverse = (plain[name] for name in ("Fréchet distance", "sharpness", "diversity"))
    assert distance["floor"] > 0 and distance["low"] <= distance["floor"] <= distance["high"]
    assert 1 <= sharp["floor"] < 1.2 and sharp["value"] == pytest.approx(1, abs=0.2)
    assert 1 <= diverse["floor"] < 1.5 and diverse["value"] == pytest.approx(1, abs=0.5)
    assert plain["flicker"]["value"] == pytest.approx(plain["flicker"]["floor"], abs=0.2)
    for name in ("Fréchet distance", "sharpness", "flicker", "diversity"):
        entry = plain[name]
        assert set(entry) == {"value", "floor", "low", "high", "unit", "meaning"}
        assert entry["low"] <= entry["value"] <= entry["high"] and entry["meaning"].endswith(".")


def blurred(frames: np.ndarray) -> np.ndarray:
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    pixels = torch.nn.functional.avg_pool2d(pixels, 3, 1, 1, count_include_pad=False)
    return pixels.permute(0, 2, 3, 1).round().byte().numpy()


def flickering(frames: np.ndarray) -> np.ndarray:
    steps = np.where(np.arange(len(frames)) % 2, 6, -6)[:, None, None, None]
    return np.clip(frames.astype(int) + steps, 0, 255).astype(np.uint8)


def frozen(frames: np.ndarray) -> np.ndarray:
    return frames[[0]].repeat(len(frames), 0)


def test_blur_lowers_the_sharpness_and_leaves_flicker_and_diversity(samples, truth, plain):
    soft = measured({key: blurred(frames) for key, frames in samples.items()}, truth)
    assert soft["sharpness"]["high"] < 0.7 * plain["sharpness"]["value"]
    assert soft["flicker"]["value"] == pytest.approx(plain["flicker"]["value"], abs=0.3)
    assert soft["diversity"]["value"] == pytest.approx(plain["diversity"]["value"], rel=0.15)


def test_flicker_is_seen_and_is_not_blur(samples, truth, plain):
    rough = measured({key: flickering(frames) for key, frames in samples.items()}, truth)
    assert rough["flicker"]["low"] > plain["flicker"]["high"] + 15
    assert rough["sharpness"]["value"] == pytest.approx(plain["sharpness"]["value"], rel=0.1)
    assert rough["Fréchet distance"]["value"] > 2 * plain["Fréchet distance"]["value"]


def test_frozen_clips_are_far_from_true_ones(samples, truth, plain):
    still = measured({key: frozen(frames) for key, frames in samples.items()}, truth)
    assert still["Fréchet distance"]["value"] > 1.3 * plain["Fréchet distance"]["value"]
    assert still["flicker"]["value"] == 0
    assert still["sharpness"]["value"] == pytest.approx(plain["sharpness"]["value"], rel=0.2)


def test_one_clip_for_all_seeds_has_no_diversity(samples, truth, plain):
    same = measured({key: samples[key[0], 4] for key in samples}, truth)
    assert same["diversity"]["value"] == same["diversity"]["high"] == 0
    assert same["flicker"]["value"] == pytest.approx(plain["flicker"]["value"], abs=0.5)
    assert same["sharpness"]["value"] == pytest.approx(plain["sharpness"]["value"], rel=0.2)


def test_what_one_true_clip_a_prompt_cannot_tell_is_said(samples, truth):
    single = {key: frames for key, frames in truth.items() if key[1] == 0}
    found = measured(samples, single)
    assert found["diversity"]["value"] is None and "0 of 10 prompts" in found["diversity"]["meaning"]
    assert found["sharpness"]["floor"] == 1 and "1 by definition" in found["sharpness"]["meaning"]
    assert found["Fréchet distance"]["value"] is None and "needs 16 clips" in found["Fréchet distance"]["meaning"]


def test_halves_of_prompts_make_a_floor_where_truth_has_one_seed():
    rng = np.random.default_rng(0)
    prompts = load_prompts("probe", 40)
    clips = {(prompt.id, 0): rng.integers(0, 256, (3, 16, 16, 3), np.uint8) for prompt in prompts}
    brighter = {key: frames // 2 + 127 for key, frames in clips.items()}
    options = {
        "draws": 20,
        "splits": 3,
        "features": lambda some: np.stack([c.frames[:, :2, :2].mean((0, 1, 2)) for c in some]),
    }
    found = measured(brighter, clips, prompts, **options)["Fréchet distance"]
    assert "20 clips on each side" in found["meaning"] and "halves of the prompts" in found["meaning"]
    assert found["value"] > 5 * found["floor"] > 0


def test_without_features_their_measures_are_left_out(samples, truth):
    found = measured(samples, truth, features=None, draws=5)
    assert "Fréchet distance" not in found and "diversity" not in found and "sharpness" in found


def test_wrong_clips_are_refused(samples, truth):
    with pytest.raises(ValueError, match="1 prompts that are not in the list: p9999"):
        measured({("p9999", 0): next(iter(samples.values()))}, truth)
    with pytest.raises(ValueError, match="0 samples"):
        measured({}, truth)
    with pytest.raises(ValueError, match=r"need to be \(clips, D\)"):
        measured(samples, truth, features=lambda clips: np.zeros(len(clips)))


def gaussian(seed: int, clips: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(clips, size)) @ rng.normal(size=(size, size))


@given(st.integers(0, 10_000), st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_frechet_distance_is_the_published_formula(seed, size):
    one, other = gaussian(seed, 40, size), gaussian(seed + 1, 30, size) + 1
    first, second = (np.atleast_2d(np.cov(side, rowvar=False)) for side in (one, other))
    root = np.real(np.atleast_2d(sqrtm(first @ second)))
    wanted = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(wanted, rel=1e-4, abs=1e-4)
    assert frechet_distance(other, one) == pytest.approx(wanted, rel=1e-4, abs=1e-4)
    assert frechet_distance(one, one + 2) == pytest.approx(4 * size, rel=1e-5)


@given(st.integers(0, 10_000), st.integers(2, 60))
@settings(max_examples=25, deadline=None)
def test_axes_keep_shifts_and_spreads_in_all_directions(seed, clips):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(clips, 20)) * np.linspace(4, 0.1, 20)
    axes = leading_axes(truth, clips)
    assert axes.shape == (20, max(1, min(clips // 8, clips - 1))) and np.allclose(
        axes.T @ axes, np.eye(axes.shape[1])
    )
    assert frechet_distance(truth, truth, axes) == pytest.approx(0, abs=1e-6)
    off = rng.normal(size=20)
    off -= axes @ (axes.T @ off)
    assert frechet_distance(truth, truth + off, axes) == pytest.approx((off**2).sum())
    wide = truth + (truth - truth.mean(0)) @ (np.eye(20) - axes @ axes.T)  # twice as spread off the axes
    spread = ((truth - truth.mean(0)) @ (np.eye(20) - axes @ axes.T)).var(0, ddof=1).sum()
    assert frechet_distance(truth, wide, axes) == pytest.approx(spread)


def test_frechet_distance_refuses_other_shapes():
    with pytest.raises(ValueError, match="N and M >= 2"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="have no pairs"):
        mean_distance(np.zeros((1, 3)))


@given(st.integers(0, 1000), st.floats(0.3, 0.9))
@settings(max_examples=20, deadline=None)
def test_sharpness_falls_with_blur_and_not_with_contrast(seed, contrast):
    picture = np.random.default_rng(seed).integers(0, 256, (2, 12, 16, 3)).astype(np.uint8)
    assert sharpness(picture * contrast) == pytest.approx(sharpness(picture), rel=0.02)
    assert sharpness(blurred(picture)) < 0.6 * sharpness(picture)
    assert sharpness(np.full((2, 12, 16, 3), 80)) < 0.01


@given(st.integers(1, 20))
@settings(max_examples=10, deadline=None)
def test_flicker_counts_what_should_be_still(step):
    still = np.full((7, 12, 12, 3), 100)
    there = np.arange(7)[:, None, None, None]
    assert flicker(still) == flicker(still + step * there) == 0  # a steady fade
    assert flicker(still + step * (there % 2)) == pytest.approx(2 * step)
    moving = still.copy()
    moving[:, :5] = np.random.default_rng(step).integers(0, 256, (7, 5, 12, 3))
    assert flicker(moving) == 0
    with pytest.raises(ValueError, match="at least 3"):
        flicker(still[:2])


@given(st.integers(8, 40), st.integers(8, 40))
@settings(max_examples=10, deadline=None)
def test_resizing_keeps_shape_and_brightness(height, width):
    frames = np.full((3, height, width, 3), 77, np.uint8)
    small = resized(frames, 8)
    assert min(small.shape[1:3]) == 8 and np.allclose(small, 77) and small.dtype == np.float32
