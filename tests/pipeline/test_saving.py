import logging

import numpy as np
import torch
from PIL import Image

from kinema.data.soundtrack import Soundtrack
from kinema.data.video_io import probe, read_video
from kinema.pipeline.media import open_video
from kinema.pipeline.output import KinemaPipelineOutput


def edges(count: int = 5) -> np.ndarray:
    """Frames (T, H, W, 3) with edges between strong colours, which halved colour resolution blurs."""
    frames = np.zeros((count, 32, 32, 3), np.uint8)
    frames[..., 0] = 255
    for k, frame in enumerate(frames):
        frame[:, 5 + k : 18 + k] = (0, 0, 255)
    return frames


def output(frames: np.ndarray, **options) -> KinemaPipelineOutput:
    return KinemaPipelineOutput(frames[None] / np.float32(255), 8.0, output_type="np", **options)


def psnr(path, frames: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.square(read_video(path).frames.astype(float) - frames).mean((1, 2, 3)).max())


def test_an_output_with_given_frames_is_saved_at_45_db(tmp_path, caplog):
    frames = edges()
    with caplog.at_level(logging.WARNING):
        (path,) = output(frames, exact=True).save(tmp_path / "exact.mp4")
    assert psnr(path, frames) >= 45 and "full colour resolution" in caplog.text
    for options, arguments in (({}, {}), ({"exact": True}, {"exact": False})):
        (path,) = output(frames, **options).save(tmp_path / "common.mp4", **arguments)
        assert probe(path).pixel_format == "yuv420p" and psnr(path, frames) < 45
    (path,) = output(frames).save(tmp_path / "asked.mp4", exact=True)
    assert psnr(path, frames) >= 45


def test_a_saved_video_can_be_given_again(tmp_path):
    """What is saved exactly stays at 45 dB when it is read and saved again."""
    frames = edges()
    first = frames
    for number in range(3):
        (path,) = output(frames, exact=True).save(tmp_path / f"{number}.mp4")
        clip = open_video(path, height=32, width=32, frame_rate=8.0)
        assert not clip.notes
        frames = (clip.frames * 255).round().to(torch.uint8).movedim(1, -1).numpy()
    assert psnr(path, first) >= 44


def test_what_a_format_cannot_hold_is_said(tmp_path, caplog):
    sound = (Soundtrack(tmp_path / "clip.mp4", 0.0, 1.0),)
    with caplog.at_level(logging.WARNING):
        output(edges(), soundtrack=sound, exact=True).save(tmp_path / "a.gif")
    assert "a .gif file has no sound" in caplog.text and "256 colours" in caplog.text
    caplog.clear()
    (path,) = output(edges(1), soundtrack=sound, exact=True).save(tmp_path / "a.png")
    assert "a .png file has no sound" in caplog.text and "colours" not in caplog.text
    assert (np.asarray(Image.open(path)) == edges(1)[0]).all()


def test_fields_that_are_not_used_stay_out_of_the_tuple():
    frames = np.zeros((1, 1, 4, 4, 3))
    made = KinemaPipelineOutput(frames, 8.0)
    assert made.soundtrack is None and made.exact is None and made[0] is frames
    assert "soundtrack" not in made and "exact" not in made
