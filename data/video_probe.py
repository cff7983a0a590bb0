"""Opening video files: what they hold, and the errors of those that cannot be used.

VideoError                 path, time, cause
├── VideoOpenError         missing, empty, not a video, or nothing in it can be decoded
├── VideoDamageError       the file breaks off or its data is damaged from a certain time on
├── VideoRangeError        the asked-for part lies outside the video
└── VideoWriteError        the file could not be written
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.container
import av.stream
import numpy as np
from av.error import FFmpegError

from .archives import member

# Demuxers that open other files named inside the file, or that make pictures of text.
_NOT_VIDEOS = {"concat", "dash", "hls", "lavfi", "tty", "vapoursynth", "avisynth"}

SIZE_KEY = "kinema_size"  # metadata entry of files whose odd sides were padded: the true "WIDTHxHEIGHT"


class VideoError(RuntimeError):
    """A video file that cannot be read or written as asked.

    Attributes:
        path: the file.
        time: seconds from the first frame at which the trouble begins; None if it concerns the whole file.
        cause: what is wrong, in words.
    """

    def __init__(self, path: str | Path, time: float | None, cause: str) -> None:
        super().__init__(path, time, cause)  # the arguments, so that worker processes can hand it on
        self.path, self.time, self.cause = Path(path), time, cause

    def __str__(self) -> str:
        return f"{self.path}: {self.cause}" + ("" if self.time is None else f" (at {self.time:.3f} s)")


class VideoOpenError(VideoError):
    """The file is missing, empty, not a video, or nothing in it can be decoded."""


class VideoDamageError(VideoError):
    """The file breaks off, or its data is damaged, from `time` on; what is before can be read."""


class VideoRangeError(VideoError):
    """The asked-for part lies outside the video."""


class VideoWriteError(VideoError):
    """The file could not be written; what was there before is still there."""


class VideoWarning(UserWarning):
    """Only part of a video was read, as `on_error="readable"` allows."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself. Sizes are those of the frames that `read_video` returns."""

    path: Path
    width: int  # pixels, after rotation, and with square pixels
    height: int  # pixels
    frames: int | None  # None where the container does not say
    duration: float | None  # seconds of the video stream; None where the container does not say
    fps: float | None  # frames per second, on average
    has_audio: bool
    rotation: int  # degrees clockwise that the file asks players to turn its frames: 0, 90, 180 or 270
    codec: str
    pixel_format: str  # as stored, such as "yuv420p10le"
    metadata: dict[str, str]


@dataclass(frozen=True)
class Orientation:
    """How stored frames are turned for display: swap rows and columns, then mirror."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    def apply(self, frame: np.ndarray) -> np.ndarray:
        """Turn one (H, W, 3) frame."""
        if self.transpose:
            frame = frame.swapaxes(0, 1)
        if self.flip_x:
            frame = frame[:, ::-1]
        if self.flip_y:
            frame = frame[::-1]
        return np.ascontiguousarray(frame)

    @property
    def rotation(self) -> int:
        """Degrees clockwise; a mirrored frame counts as turned only."""
        return (90 if self.flip_x else 270) if self.transpose else (180 if self.flip_x and self.flip_y else 0)


def probe(path: str | Path) -> VideoInfo:
    """What a video file holds, from its header and its first frame.

    Raises:
        VideoOpenError: missing, empty, not a video, or its first frame cannot be decoded.
    """
    with open_video(path) as (container, stream):
        try:
            frame = next(iter(container.decode(stream)), None)
        except (FFmpegError, ValueError) as error:
            raise VideoOpenError(path, 0.0, f"the first frame cannot be decoded ({describe(error)})") from None
        if frame is None:
            raise VideoOpenError(path, None, "the file has a video stream without a frame")
        metadata = read_tags(container)
        height, width = display_size(frame, stream.sample_aspect_ratio, metadata)
        duration = stream_duration(container, stream)
        return VideoInfo(
            path=Path(path),
            width=width,
            height=height,
            frames=stream.frames or None,
            duration=duration,
            fps=average_fps(stream),
            has_audio=bool(container.streams.audio),
            rotation=orientation(frame).rotation,
            codec=stream.codec_context.name,
            pixel_format=frame.format.name,
            metadata=metadata,
        )


def read_metadata(path: str | Path) -> dict[str, str]:
    """The text entries that a video file carries; `write_video(metadata=…)` writes them.

    Raises:
        VideoOpenError: missing, empty or not a video.
    """
    with open_video(path) as (container, _):
        return read_tags(container)


@contextmanager
def open_video(path: str | Path) -> Iterator[tuple[av.container.InputContainer, Any]]:
    """The opened container and its video stream; of a file, or of one in a tar file ("shard.tar/cat.mp4").

    Raises:
        VideoOpenError: missing, empty, not a media file, a playlist, or without a video stream.
    """
    path = Path(path)
    url, protocols, packed = f"file:{path}", "file", None if path.exists() else member(path)
    if packed is not None:
        url, protocols = packed.url, "file,subfile"
    elif not path.exists():
        raise VideoOpenError(path, None, "no such file")
    elif not path.is_file():
        raise VideoOpenError(path, None, "not a file but a folder or a device; give one video file")
    if (packed.size if packed is not None else path.stat().st_size) == 0:
        raise VideoOpenError(path, None, "the file is empty (0 bytes)")
    try:
        # "file:" keeps a colon in a name from being read as a protocol; the whitelist keeps a crafted
        # file from fetching anything else.
        container = av.container.open(
            url, "r", container_options={"protocol_whitelist": protocols}, metadata_errors="replace"
        )
    except (FFmpegError, ValueError, OSError) as error:
        cause = f"not a video that can be opened ({describe(error)}); its header is damaged, missing or of "
        raise VideoOpenError(path, None, cause + "another kind of file") from None
    with container:
        names = set(container.format.name.split(","))
        if names & _NOT_VIDEOS:
            raise VideoOpenError(path, None, f"a {container.format.name} playlist or script, not a video file")
        attached = av.stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & attached]
        if not streams:
            held = sorted({s.type for s in container.streams}) or ["nothing"]
            raise VideoOpenError(path, None, f"the file has no video stream; it holds {', '.join(held)}")
        yield container, streams[0]


def describe(error: BaseException) -> str:
    """FFmpeg's words for an error, without its numbers and the file's name."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def read_tags(container: Any) -> dict[str, str]:
    """The container's text entries. Matroska writes names in capitals, so names are given in small letters."""
    return {key.lower(): value for key, value in container.metadata.items()}


def average_fps(stream: Any) -> float | None:
    """The stream's average frame rate, or None where the container gives none."""
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None


def stream_duration(container: Any, stream: Any) -> float | None:
    """Seconds that the container announces for its video, or None."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if "DURATION" in stream.metadata:  # Matroska, such as 00:00:01.667000000
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        start = float((stream.start_time or 0) * stream.time_base)
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - start
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / av.time_base
    return None


def orientation(frame: Any) -> Orientation:
    """How the file asks for this frame to be turned, to the nearest quarter turn.

    The display matrix [[a, b], [c, d]] maps stored (x, y) to shown (a x + c y, b x + d y), y downwards
    (ISO/IEC 14496-12, section 6.2.2).
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0)
    return Orientation(flip_x=a < 0, flip_y=d < 0)


def display_size(frame: Any, sample_aspect: Any, metadata: dict[str, str]) -> tuple[int, int]:
    """(height, width) of a frame as shown: square pixels, turned, padding taken off."""
    if true_size := padded_from(frame.width, frame.height, metadata):
        return true_size
    height, width = frame.height, frame.width
    if sample_aspect and sample_aspect != 1:
        width = max(1, round(width * float(sample_aspect)))
    return (width, height) if orientation(frame).transpose else (height, width)


def padded_from(width: int, height: int, metadata: dict[str, str]) -> tuple[int, int] | None:
    """The true (height, width) of a file whose odd sides `write_video` made even; None for other files."""
    parts = metadata.get(SIZE_KEY, "").split("x")
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        return None
    true_width, true_height = map(int, parts)
    same = (2 * math.ceil(true_width / 2), 2 * math.ceil(true_height / 2)) == (width, height)
    return (true_height, true_width) if same else None
