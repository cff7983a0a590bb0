"""Encoded files that the data tests read: frames that carry their number, in any codec and container."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest


def numbered_frame(number: int, height: int = 48, width: int = 64, noise: bool = False) -> np.ndarray:
    """A frame whose upper half spells `number` in eight black or white bars; the rest is plain, or noise."""
    frame = np.empty((height, width, 3), np.uint8)
    frame[:] = (70, 120, 160)
    if noise:
        frame[:] = np.random.default_rng(number).integers(0, 256, frame.shape)
    for bit in range(8):
        left, right = bit * width // 8, (bit + 1) * width // 8
        frame[: height // 2, left:right] = 235 if number >> bit & 1 else 20
    return frame


def number_of(frame: np.ndarray) -> int:
    """The number that `numbered_frame` wrote, at any size and after lossy coding."""
    height, width = frame.shape[:2]
    middles = [frame[height // 8 : height * 3 // 8, int((bit + 0.5) * width / 8)].mean() for bit in range(8)]
    return sum((middle > 128) << bit for bit, middle in enumerate(middles))


def encode(
    path: Path,
    frames,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    fps: int | Fraction = 24,
    times=None,
    options: dict[str, str] | None = None,
    source_format: str = "rgb24",
    audio: bool = False,
    sample_aspect: Fraction | None = None,
    faststart: bool = True,
) -> Path:
    """Encode frames with PyAV alone, independently of `write_video`; `times` in seconds make it variable."""
    base = Fraction(1, 12000)
    index_first = {"movflags": "faststart"} if faststart and path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=index_first) as file:
        stream: Any = file.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if times is not None:
            stream.codec_context.time_base = base
        if sample_aspect is not None:
            stream.codec_context.sample_aspect_ratio = sample_aspect
        sound: Any = file.add_stream("aac", rate=16000) if audio else None
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format=source_format).reformat(format=pix_fmt)
            if times is not None:
                picture.pts, picture.time_base = round(times[number] / base), base
            file.mux(stream.encode(picture))
        file.mux(stream.encode())
        if sound is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 32000), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = 16000, 0
            file.mux(sound.encode(silence))
            file.mux(sound.encode())
    return path


@pytest.fixture(scope="session")
def make():
    """`encode`, as a fixture, since test folders are not importable."""
    return encode


@pytest.fixture(scope="session")
def numbered():
    return numbered_frame


@pytest.fixture(scope="session")
def number():
    return number_of
