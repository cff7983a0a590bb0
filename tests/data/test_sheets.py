import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from kinema.data.files import atomic_path
from kinema.data.pixels import to_frames, to_pixels
from kinema.data.sheets import contact_sheet, save_gif


def clip(frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def test_sheet_shows_first_and_last_frames_of_every_row():
    a, b = clip(9, 96, 128), clip(3, 128, 96, seed=1)
    sheet = contact_sheet([("a title", a), ("another", b)], columns=4)
    pixels = np.asarray(sheet).astype(int)

    def contains(frame: np.ndarray) -> bool:
        height, width = frame.shape[:2]
        corners = np.argwhere((pixels[: -height + 1 or None, : -width + 1 or None] == frame[0, 0]).all(-1))
        return any((pixels[y : y + height, x : x + width] == frame).all() for y, x in corners)

    assert contains(a[0]) and contains(a[8]) and not contains(a[1])
    assert contains(b[0]) and contains(b[1]) and contains(b[2])


def test_titles_are_drawn_and_long_ones_are_wrapped():
    frames = clip(2, 96, 96)
    blank, short, long = (contact_sheet([(t, frames)]) for t in ("", "ball", "a red ball rolls left " * 8))
    assert blank.height < short.height < long.height
    assert long.width == short.width


def test_small_frames_are_enlarged_by_whole_pixels():
    frames = clip(1, 24, 24)
    sheet = np.asarray(contact_sheet([("", frames)]))
    first = np.argwhere((sheet == frames[0, 0, 0]).all(-1))[0]
    tile = sheet[first[0] : first[0] + 96, first[1] : first[1] + 96]
    assert (tile == frames[0].repeat(4, 0).repeat(4, 1)).all()


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8)]
)
def test_frames_of_another_shape_or_type_are_refused(bad, tmp_path):
    with pytest.raises(ValueError, match="uint8"):
        contact_sheet([("x", bad)])
    with pytest.raises(ValueError, match="uint8"):
        save_gif(bad, 8, tmp_path / "x.gif")


@pytest.mark.parametrize("fps", [7.0, 12.5, 24.0, 50.0])
def test_gif_keeps_frames_size_and_length(fps, tmp_path):
    frames = clip(24, 16, 20)
    path = save_gif(frames, fps, tmp_path / "made" / "clip.gif")
    with Image.open(path) as picture:
        assert picture.size == (20, 16) and picture.info["loop"] == 0
        durations = [frame.info["duration"] for frame in ImageSequence.Iterator(picture)]
    assert len(durations) == 24 and abs(sum(durations) / 1000 - 24 / fps) <= 0.005


def test_gif_colours_are_kept_when_few(tmp_path):
    colours = np.array([[200, 30, 30], [30, 90, 220], [240, 230, 40]], np.uint8)
    frames = colours[np.arange(12).reshape(3, 2, 2) % 3].repeat(8, 1).repeat(8, 2)
    with Image.open(save_gif(frames, 10, tmp_path / "clip.gif")) as picture:
        for k in range(3):
            picture.seek(k)
            assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - frames[k]).max() <= 3


def test_a_failed_write_leaves_the_previous_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("whole")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "whole" and list(tmp_path.iterdir()) == [path]


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_frames_survive_the_way_to_pixels_and_back(frames, height, width, seed):
    stored = clip(frames, height, width, seed)
    pixels = to_pixels(stored)
    assert pixels.shape == (3, frames, height, width) and pixels.min() >= -1 and pixels.max() <= 1
    assert (to_frames(pixels) == stored).all()
    assert torch.equal(to_pixels(pixels.new_tensor(stored).byte().permute(3, 0, 1, 2)), pixels)


def test_pixels_outside_the_range_are_clipped():
    assert to_frames(torch.tensor([-3.0, 0.0, 3.0]).view(3, 1, 1, 1)).ravel().tolist() == [0, 128, 255]
