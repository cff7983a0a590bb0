import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema.pipeline.canvas import Canvas, text_to_image, text_to_video, with_known, with_text_spans


def test_nothing_is_known_of_a_new_video():
    canvas = text_to_video(4, 3, 2, 2)
    assert canvas.latents.shape == (1, 4, 3, 2, 2)
    assert not canvas.known.any()
    assert canvas.unknown_frames.all()
    assert (canvas.start == 1).all()
    assert canvas.num_texts == 1


def test_an_image_is_a_video_of_one_latent_frame():
    image, video = text_to_image(4, 2, 2), text_to_video(4, 1, 2, 2)
    assert torch.equal(image.known, video.known)
    assert image.latents.shape == video.latents.shape


def test_known_frames_are_held_and_partly_known_frames_descend():
    known = torch.zeros(1, 1, 3, 2, 2, dtype=torch.bool)
    known[:, :, 0] = True
    known[:, :, 1, 0] = True
    given = torch.full((1, 4, 3, 2, 2), 7.0)
    canvas = with_known(text_to_video(4, 3, 2, 2), given, known, held_at=0.1)
    assert canvas.unknown_frames.tolist() == [False, True, True]
    assert canvas.start.tolist() == pytest.approx([0.1, 1, 1])
    assert (canvas.latents[:, :, 0] == 7).all()
    assert (canvas.latents[:, :, 1, 1] == 0).all()


def test_what_is_known_adds_up():
    first = torch.zeros(1, 1, 2, 2, 2, dtype=torch.bool)
    first[:, :, 0] = True
    canvas = with_known(text_to_video(1, 2, 2, 2), torch.ones(1, 1, 2, 2, 2), first)
    canvas = with_known(canvas, torch.full((1, 1, 2, 2, 2), 2.0), ~first)
    assert canvas.known.all()
    assert canvas.latents.flatten(3).mean(-1).flatten().tolist() == [1, 2]
    assert canvas.start.tolist() == [0, 0]


def test_a_frame_that_becomes_known_in_two_halves_is_shown_to_the_model():
    left = torch.zeros(1, 1, 2, 2, 2, dtype=torch.bool)
    left[:, :, 0, :, 0] = True
    right = torch.zeros_like(left)
    right[:, :, 0, :, 1] = True
    canvas = with_known(text_to_video(1, 2, 2, 2), torch.ones(1, 1, 2, 2, 2), left)
    assert canvas.start.tolist() == [1, 1]
    canvas = with_known(canvas, torch.ones(1, 1, 2, 2, 2), right, held_at=0.25)
    assert canvas.unknown_frames.tolist() == [False, True] and canvas.start.tolist() == [0.25, 1]


@given(st.lists(st.integers(0, 3), min_size=3, max_size=3))
def test_texts_are_counted(spans):
    assert with_text_spans(text_to_video(1, 3, 1, 1), tuple(spans)).num_texts == max(spans) + 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"known": torch.zeros(1, 1, 2, 2, 2, dtype=torch.bool)}, r"known is .* need bool \(1, 1, 3, 2, 2\)"),
        ({"start": torch.tensor([0.0, 0.5, 1.5])}, r"start is .* 3 noise levels in \[0, 1\]"),
        ({"text_of_frame": (0, 0)}, "text_of_frame is .* 3 indices"),
        ({"latents": torch.zeros(4, 3, 2, 2)}, r"needs \(B, C, F, h, w\)"),
    ],
)
def test_a_canvas_that_does_not_agree_with_itself_is_refused(change, message):
    canvas = text_to_video(4, 3, 2, 2)
    fields = {"latents": canvas.latents, "known": canvas.known, "start": canvas.start, "text_of_frame": (0, 0, 0)}
    with pytest.raises(ValueError, match=message):
        Canvas(**{**fields, **change})
