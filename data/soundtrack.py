"""Soundtracks: pieces of the sound of given files, laid in a new video and encoded beside its frames."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import av.container
import numpy as np
from av.error import FFmpegError

from .video_probe import VideoError, VideoOpenError, describe, open_video

logger = logging.getLogger(__name__)

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)  # samples/s
BIT_RATE = 96_000  # bits per second and channel; beyond it AAC's loss is hard to hear
LEAD = 0.2  # seconds decoded before a piece, since AAC frames need the ones before them
BLOCK = 4096  # samples written at a time


@dataclass(frozen=True)
class Soundtrack:
    """A piece of a file's sound, placed in a video.

    Attributes:
        path: the file whose sound it is.
        start_s: seconds into that file, from its first picture, at which the piece begins.
        duration_s: seconds that it lasts.
        offset_s: seconds into the new video at which it is heard.
        owner: kept alive as long as the piece is; the download that a temporary file belongs to.
    """

    path: Path
    start_s: float
    duration_s: float
    offset_s: float = 0.0
    owner: Any = field(default=None, compare=False, repr=False)

    def shifted(self, seconds: float) -> "Soundtrack":
        """The same piece, heard later."""
        return replace(self, offset_s=self.offset_s + seconds)

    @property
    def end_s(self) -> float:
        """Seconds into the new video at which it ends."""
        return self.offset_s + self.duration_s


class SoundWriter:
    """Encodes pieces of sound as AAC into a container, step by step with the pictures.

    Pieces are heard one after another; where two overlap, the later one cuts the earlier off. Between them there
    is silence. A piece whose file is gone or damaged is silent too, with a logged warning: the pictures are not
    lost for it.
    """

    def __init__(self, container: av.container.OutputContainer, pieces: Sequence[Soundtrack], seconds: float):
        """Add the stream.

        Args:
            container: before its first packet.
            pieces: at least one.
            seconds: length of the video; sound beyond it is cut off.
        """
        ordered = sorted(pieces, key=lambda piece: piece.offset_s)
        ends = [piece.offset_s for piece in ordered[1:]] + [seconds]
        self._pieces = [
            replace(piece, duration_s=min(piece.end_s, end, seconds) - piece.offset_s)
            for piece, end in zip(ordered, ends)
        ]
        forms = [form for piece in self._pieces if (form := _form(piece)) is not None]
        rate = max((rate for rate, _ in forms), default=48000)
        self.rate = rate if rate in AAC_RATES else 48000
        self.channels = min(2, max((channels for _, channels in forms), default=1))
        self._container = container
        self._stream: Any = container.add_stream("aac", rate=self.rate)
        self._stream.layout = self._layout = "stereo" if self.channels == 2 else "mono"
        self._stream.bit_rate = BIT_RATE * self.channels
        self._stream.options = {"flags": "+bitexact"}
        self._seconds = seconds
        self._blocks = self._samples()
        self._written = 0

    def write_until(self, seconds: float) -> None:
        """Encode up to this time of the video, so that sound and pictures lie side by side in the file."""
        while self._written < min(seconds, self._seconds) * self.rate:
            block = next(self._blocks, None)
            if block is None:
                return
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=self._layout)
            frame.sample_rate, frame.pts = self.rate, self._written
            self._written += block.shape[1]
            self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Encode the rest."""
        self.write_until(self._seconds)
        self._container.mux(self._stream.encode(None))

    def _samples(self) -> Iterator[np.ndarray]:
        """All of the sound, float32 (channels, n) at a time, silence included."""
        at = 0
        for piece in self._pieces:
            begin, length = round(piece.offset_s * self.rate), round(piece.duration_s * self.rate)
            if length <= 0:
                continue
            yield from self._silence(begin - at)
            at = begin
            try:
                for block in _decoded(piece, self.rate, self._layout, length):
                    yield block
                    at += block.shape[1]
            except (FFmpegError, VideoError, OSError, ValueError) as error:
                cause = error.cause if isinstance(error, VideoError) else describe(error)
                logger.warning(
                    "the sound of %s could not be read (%s); the video is silent there", piece.path, cause
                )
        yield from self._silence(round(self._seconds * self.rate) - at)

    def _silence(self, length: int) -> Iterator[np.ndarray]:
        for start in range(0, length, BLOCK):
            yield np.zeros((self.channels, min(BLOCK, length - start)), np.float32)


def _form(piece: Soundtrack) -> tuple[int, int] | None:
    """(samples per second, channels) of a piece's file; None if it cannot be read, which is said when it is."""
    try:
        with open_video(piece.path) as (container, _):
            sound = container.streams.audio[0]
            return sound.rate, sound.channels
    except (VideoError, IndexError):
        return None


def _decoded(piece: Soundtrack, rate: int, layout: str, length: int) -> Iterator[np.ndarray]:
    """At most `length` samples (channels, n) of a piece from its beginning on, silence before its first sound."""
    with open_video(piece.path) as (container, video):
        if not container.streams.audio:
            raise VideoOpenError(piece.path, None, "the file has no sound")
        sound: Any = container.streams.audio[0]
        begin = piece.start_s + float((video.start_time or 0) * video.time_base)
        if piece.start_s > 1:
            container.seek(int(max(0.0, begin - LEAD) / sound.time_base), stream=sound)
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
        given, skip = 0, None
        for frame in _with_end(container.decode(sound)):
            if skip is None:
                if frame is None:
                    return
                skip = round((begin - float((frame.pts or 0) * frame.time_base)) * rate)
                if skip < 0:
                    given = min(-skip, length)
                    yield np.zeros((2 if layout == "stereo" else 1, given), np.float32)
                    skip = 0
            for part in resampler.resample(frame):
                samples = part.to_ndarray()
                samples, skip = samples[:, skip:], max(0, skip - samples.shape[1])
                samples = samples[:, : length - given]
                given += samples.shape[1]
                if samples.shape[1]:
                    yield samples
            if given >= length:
                return


def _with_end(frames: Iterator[Any]) -> Iterator[Any]:
    """The frames, then None, which asks the resampler for what it holds back."""
    yield from frames
    yield None
