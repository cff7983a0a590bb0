"""How much clips move and what the camera does: known moves of real pictures, and Diorama's cameras."""

import importlib.util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kinema.captioner.signals.measures import grey
from kinema.captioner.signals.motion import SPREAD, measure_motion
from kinema.data.diorama import render, sample_scene

WORDS = {"static", "pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out", "roll", "mixed"}
MOVES = {  # (zoom, roll, right, down) of what is shown, a second → what the camera does
    "pan left": (0, 0, 0.3, 0), "pan right": (0, 0, -0.05, 0), "tilt up": (0, 0, 0, 0.2),
    "tilt down": (0, 0, 0, -1.0), "zoom in": (0.3, 0, 0, 0), "zoom out": (-0.05, 0, 0, 0), "roll": (0, 0.4, 0, 0),
    "static": (0, 0, 0, 0), "mixed": (0, 0, 0.2, 0.2),
}  # fmt: skip


@pytest.fixture(scope="module")
def still():
    spec: Any = importlib.util.find_spec("gradio")
    picture = Path(spec.submodule_search_locations[0]) / "media_assets" / "images" / "tower.jpg"
    return cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)


def filmed(picture, move, count=8, fps=10, size=(180, 320)):
    """A picture that moves as told in diagonals and radians a second, and the frames' times."""
    height, width = size
    scale = 1.9 * max(height / picture.shape[0], width / picture.shape[1])
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    centre, frames = np.array(picture.shape[::-1]) / 2, []
    for k in range(count):
        zoom, roll, right, down = (speed * (k - (count - 1) / 2) / fps for speed in move)
        turn = np.exp(zoom) * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        middle = np.array([width, height]) / 2 + np.array([right, down]) * np.hypot(width, height)
        matrix = np.column_stack([turn, middle - turn @ centre])
        frames.append(cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_AREA))
    return np.stack(frames), np.arange(count) / fps


NEAR = [(k, k + 1) for k in range(7)]


@pytest.mark.parametrize("word", MOVES)
def test_a_known_move_of_a_real_picture_is_named_and_measured(still, word):
    zoom, roll, right, down = MOVES[word]
    true = np.hypot(np.hypot(zoom, roll) * SPREAD, np.hypot(right, down))
    found = measure_motion(*filmed(still, MOVES[word]), NEAR)
    assert found.camera_move == word
    assert found.camera == pytest.approx(true, rel=0.15, abs=1e-3)
    assert found.motion == pytest.approx(true, rel=0.2, abs=1e-3)


def test_what_moves_before_a_still_camera_is_motion_but_not_the_cameras(still):
    frames, times = filmed(still, MOVES["static"])
    thing = cv2.resize(still, (80, 80))[::-1]
    for k, frame in enumerate(frames):
        frame[50:130, 20 + 12 * k : 100 + 12 * k] = thing
    found = measure_motion(frames, times, NEAR)
    assert found.camera_move == "static" and found.camera == pytest.approx(0, abs=0.005)
    share = 80 * 80 / (180 * 320)
    assert found.motion == pytest.approx(share * 120 / np.hypot(180, 320), rel=0.4)


def test_a_shaking_camera_goes_nowhere(still):
    there, _ = filmed(still, (0, 0, 0.6, 0), count=2)
    found = measure_motion(np.concatenate([there] * 4), np.arange(8) / 10, NEAR)
    assert found.camera_move == "mixed" and found.camera == pytest.approx(0.6, rel=0.1)


def test_a_single_frame_has_no_motion(still):
    assert measure_motion(still[None], np.zeros(1), []) == (None, None, None)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_pictures_give_numbers_in_their_ranges(data):
    shape = (2, data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40)))
    found = measure_motion(data.draw(arrays(np.uint8, shape)), np.array([0.0, 0.1]), [(0, 1)])
    motion, camera, word = found
    assert word in WORDS and motion is not None and camera is not None
    assert np.isfinite([motion, camera]).all() and motion >= 0 and camera >= 0


def _diorama(move, count):
    index = 0
    while count:
        scene = sample_scene(777, index, difficulty=(2, 3))
        index += 1
        if scene.camera.move == move:
            count -= 1
            yield render(scene, height=64, width=64, num_frames=9, fps=8.0, supersample=1).frames


def _right(wanted, each):
    """Share of Diorama's clips with a camera move whose word is the wanted one, by move."""
    torch.set_num_threads(1)
    shares = {}
    for move, word in wanted.items():
        found = []
        for frames in _diorama(move, each):
            pictures = np.stack([grey(frame) for frame in frames.numpy()])
            found.append(measure_motion(pictures, np.arange(9) / 8, [(k, k + 1) for k in range(8)]).camera_move)
        shares[move] = found.count(word) / each
    return shares


def test_cameras_of_the_built_in_world_are_named():
    shares = _right({"static": "static", "pan left": "pan left", "tilt up": "tilt up"}, 2)
    assert sum(shares.values()) >= 2.5, shares  # of 3


@pytest.mark.soak
def test_cameras_of_the_built_in_world_are_named_at_length():
    wanted = {m: m for m in ("static", "pan left", "pan right", "tilt up", "tilt down")}
    shares = _right(wanted | {"dolly in": "zoom in", "dolly out": "zoom out"}, 10)
    assert sum(shares.values()) / len(shares) >= 0.8, shares  # measured: 0.93
