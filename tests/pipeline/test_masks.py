import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kinema.data.video_io import write_video
from kinema.pipeline.conform import FITS
from kinema.pipeline.masks import mask_notes, open_mask
from kinema.pipeline.media import MediaError, open_video
from kinema.pipeline.output import KinemaPipelineOutput


def opened(mask, num_frames=4, height=16, width=24, frame_rate=8.0, **options) -> torch.Tensor:
    made = open_mask(mask, num_frames=num_frames, height=height, width=width, frame_rate=frame_rate, **options)
    assert made.dtype == torch.bool and made.shape == (num_frames, height, width)
    return made


def spots(count: int, seed: int = 0) -> np.ndarray:
    """A bool mask (T, 16, 24) that differs from frame to frame and is nowhere empty or full."""
    made = np.random.default_rng(seed).random((count, 16, 24)) < 0.3
    made[:, 0, 0], made[:, 0, 1] = True, False
    return made


@pytest.mark.parametrize("count", [1, 3, 4])
def test_every_form_of_a_mask_is_the_same_mask(count):
    made = spots(count)
    grey = made.astype(np.uint8) * 255
    floats = made.astype(np.float32)
    masks = [made, grey, made.astype(np.int64), floats, made.astype(np.uint8), grey[..., None]]
    masks += [np.repeat(grey[..., None], 3, -1), torch.from_numpy(made), torch.from_numpy(grey)]
    masks += [torch.from_numpy(floats).bfloat16().requires_grad_(), torch.from_numpy(grey)[:, None], list(grey)]
    masks += [[Image.fromarray(frame) for frame in grey], [Image.fromarray(frame) for frame in made]]
    masks += [KinemaPipelineOutput(np.repeat(floats[None, ..., None], 3, -1), 8.0, output_type="np")]
    if count == 1:
        masks += [made[0], grey[0], torch.from_numpy(floats[0]), Image.fromarray(grey[0])]
    for mask in masks:
        assert (opened(mask, num_frames=count).numpy() == made).all()


def test_a_picture_serves_all_frames_and_a_file_is_taken(tmp_path):
    made = spots(1)[0]
    Image.fromarray(made).save(tmp_path / "mask.png")
    for mask in (tmp_path / "mask.png", str(tmp_path / "mask.png"), made, made[None]):
        assert (opened(mask).numpy() == made).all()
    halves = np.zeros((8, 16, 24, 3), np.uint8)
    for k in range(8):
        halves[k, :, : 3 * k + 3] = 255
    path = write_video(tmp_path / "mask.mp4", halves, 16)  # at twice the rate, so every second frame
    assert (opened(path).numpy() == (halves[::2, ..., 0] > 0)).all()


def test_a_mask_is_as_long_as_the_conformed_or_the_given_video():
    made = spots(12)
    assert (opened(made, 4, given_rate=24.0).numpy() == made[::3]).all()
    assert (opened(made, 12, given_rate=24.0).numpy() == made).all()
    with pytest.raises(MediaError, match="12 frames, and the video 4"):
        opened(made, 4)
    with pytest.raises(MediaError, match=r"12 frames, 6 at 8 frames/s, and the video 4"):
        opened(made, 4, given_rate=16.0)
    with pytest.raises(MediaError, match="3 frames, and the video 4"):
        opened(made[:3], 4)


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 40), st.integers(8, 40), st.sampled_from(FITS), st.data())
def test_a_mask_follows_the_fit_of_its_video(height, width, fit, data):
    """What a mask picture marks in the given video, it marks in the conformed one; a box as well."""
    top, left = data.draw(st.integers(0, height - 4)), data.draw(st.integers(0, width - 4))
    bottom, right = data.draw(st.integers(top + 4, height)), data.draw(st.integers(left + 4, width))
    given_video = np.zeros((1, height, width, 3), np.uint8)
    given_video[:, top:bottom, left:right] = 255
    size = {"height": 16, "width": 24, "frame_rate": 8.0, "fit": fit}
    white = open_video(given_video, **size).frames[:, 0]
    options = {"num_frames": 1, "given_size": (height, width), **size}
    try:
        made = open_mask(given_video[0, ..., 0], **options)
    except MediaError as error:
        assert "nothing in it is white" in str(error) and (white < 0.9).all()
        return
    assert made[white > 0.9].float().mean() > 0.85 if (white > 0.9).any() else True
    assert not made[white < 0.02].any() or made[white < 0.02].float().mean() < 0.1
    box = open_mask((left, top, right, bottom), **options)
    fractions = (left / width, top / height, right / width, bottom / height)
    assert (open_mask(fractions, **options) == box).all()
    assert box[made].all()  # a box takes every pixel that it touches
    assert not box[white <= 0.0].any() or (box & (white <= 0.0)).sum() <= 2 * (16 + 24)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 23), st.integers(0, 15), st.integers(1, 24), st.integers(1, 16))
def test_a_box_of_whole_pixels_is_exactly_these(x, y, w, h):
    x1, y1 = min(24, x + w), min(16, y + h)
    want = torch.zeros(4, 16, 24, dtype=torch.bool)
    want[:, y:y1, x:x1] = True
    for box in ((x, y, x1, y1), [x, y, x1, y1], np.array([x, y, x1, y1]), {0: (x, y, x1, y1)}):
        assert (opened(box) == want).all()
    assert (opened((x / 24, y / 16, x1 / 24, y1 / 16)) == want).all()


def test_a_box_moves_with_the_frames():
    boxes = {0.25: (4, 0, 8, 16), 1.0: (16, 0, 20, 16)}
    made = opened(boxes, num_frames=12)
    lefts = [int(frame.any(0).int().argmax()) for frame in made]
    assert lefts == [4, 4, 4, 6, 8, 10, 12, 14, 16, 16, 16, 16]  # held, evenly on, held
    assert (opened({2: (4, 0, 8, 16), -4: (16, 0, 20, 16)}, num_frames=12) == made).all()  # by frames
    mixed = {0.25: (4 / 24, 0.0, 8 / 24, 1.0), 8: (16, 0, 20, 16)}
    assert (opened(mixed, num_frames=12) == made).all()


def test_a_full_mask_is_said_and_an_empty_one_refused():
    assert mask_notes(opened((0, 0, 24, 16))) == (
        "mask: all of it is white, so that nothing of the video is kept",
    )
    assert mask_notes(opened((0, 0, 23, 16))) == ()
    with pytest.raises(MediaError, match="nothing to make"):
        opened(np.zeros((16, 24)))
    with pytest.raises(MediaError, match=r"cover: the left and right 20 pixels are cut off"):
        opened((0, 0, 15, 16), given_size=(16, 64))
    assert opened((0, 0, 15, 16), given_size=(16, 64), fit="contain").any()


@pytest.mark.parametrize(
    ("mask", "match"),
    [
        ((1, 2, 3), "four numbers"),
        ((0, 0, 25, 16), r"0 <= x0 < x1 <= 24 and 0 <= y0 < y1 <= 16"),
        ((5, 0, 5, 16), "x0 < x1"),
        ((-1, 0, 5, 16), "in pixels"),
        ((0.0, 0, 2, 1), "in fractions"),
        ((0.5, 0.5, 0.4, 0.9), "in fractions"),
        ((0.0, 0.0, float("nan"), 1.0), "in fractions"),
        ({}, "no box"),
        ({"0": (0, 0, 1, 1)}, "no time"),
        ({0.0: "left"}, "no box"),
        ({0.0: (0, 0, 1, 1), 9.0: (0, 0, 1, 1)}, "outside the video"),
        ({0: (0, 0, 1, 1), 4: (0, 0, 1, 1), 5: (0, 0, 1, 1)}, "outside the video"),
        ({-5: (0, 0, 1, 1)}, "outside the video"),
        ({4: (0, 0, 1, 1)}, "outside the video"),
        ({1: (0, 0, 1, 1), 0.125: (0, 0, 2, 2)}, "two boxes"),
        (np.ones((3, 16, 24)), "3 frames, and the video 4"),
        (np.ones((20, 20)), "20 × 20 and the video 24 × 16"),
        (np.ones(5), "shape"),
        (np.full((16, 24), 300), "0 to 255"),
        (np.full((16, 24), 1.5), "values from"),
        ("missing.png", "no such file"),
        (7, "a box"),
        (None, "a box"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_mask_is_said(mask, match):
    with pytest.raises(ValueError, match=match):
        opened(mask)
