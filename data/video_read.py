"""Reading video files into frames, at their own times or at a chosen frame rate.

Times are seconds from the first frame. Alpha is composited over black, as players show it. Frames come
with square pixels and turned as the file asks. High dynamic range is not tone-mapped.
"""

import math
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import av
import av.container
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import Colorspace, VideoReformatter

from .video_probe import (
    Orientation,
    VideoDamageError,
    VideoError,
    VideoOpenError,
    VideoRangeError,
    VideoWarning,
    average_fps,
    describe,
    display_size,
    open_video,
    orientation,
    read_tags,
    stream_duration,
)

GRACE = 1e-3  # seconds; many containers round times to milliseconds
SEEK_FROM = 1.0  # seconds; reading from the start is cheaper than seeking to anything earlier

UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
# swscale flags: bicubic | full chroma interpolation | full chroma input | accurate rounding.
SCALER = 0x4 | 0x2000 | 0x4000 | 0x40000


@dataclass(frozen=True)
class Video:
    """Frames of a video file."""

    frames: np.ndarray  # uint8 (T, H, W, 3)
    times: np.ndarray  # float64 (T,), seconds from the file's first frame
    fps: float  # the rate asked for, otherwise the file's average
    metadata: dict[str, str]
    has_audio: bool
    path: Path
    error: VideoError | None = None  # why the video ends early, when on_error="readable" met damage


def read_video(
    path: str | Path,
    *,
    start: float = 0.0,
    end: float | None = None,
    fps: float | None = None,
    num_frames: int | None = None,
    size: tuple[int, int] | None = None,
    crop: Sequence[int] | None = None,
    on_error: Literal["raise", "readable"] = "raise",
) -> Video:
    """Read part of a video file into memory.

    Args:
        path: a file in any container and codec that FFmpeg knows.
        start: seconds from the first frame.
        end: seconds, exclusive; None reads to the end.
        fps: frames per second of the result: frame k is what is on screen at start + k / fps. None keeps the
            file's own frames, whatever their times.
        num_frames: at most this many frames; a shorter video gives fewer.
        size: (height, width) in pixels: frames are scaled to cover it, then cropped about their centre.
        crop: x, y, width, height of the part of the picture that is read, in its own pixels; None: all of it.
        on_error: "raise", or "readable" to get what is before the damage, with a `VideoWarning`.

    Raises:
        VideoOpenError: missing, empty, not a video, or nothing in it can be decoded.
        VideoDamageError: the asked-for part is damaged or cut off; its `time` says from when on.
        VideoRangeError: `start` lies after the end of the video.
    """
    if num_frames is not None and num_frames < 1:
        raise ValueError(f"num_frames is {num_frames}; it needs to be at least 1")
    reader = _Reader(path, start, end, fps, size, on_error, crop)
    pairs = list(islice(reader, num_frames))
    times = np.array([time for time, _ in pairs])
    average = reader.fps or (len(times) - 1) / max(times[-1] - times[0], GRACE) or 1.0
    return Video(
        frames=np.stack([frame for _, frame in pairs]),
        times=times,
        fps=float(average if fps is None else fps),
        metadata=reader.metadata,
        has_audio=reader.has_audio,
        path=Path(path),
        error=reader.error,
    )


def iter_video(
    path: str | Path,
    *,
    start: float = 0.0,
    end: float | None = None,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    crop: Sequence[int] | None = None,
    on_error: Literal["raise", "readable"] = "raise",
) -> Iterator[tuple[float, np.ndarray]]:
    """Read a video frame by frame, in memory that does not grow with its length.

    Yields:
        (seconds from the first frame, uint8 (H, W, 3)). Arguments and errors are those of `read_video`.
    """
    return iter(_Reader(path, start, end, fps, size, on_error, crop))


@dataclass(frozen=True)
class Still:
    """A frame that is decoded, but not yet turned into pixels."""

    time: float  # seconds from the file's first frame
    pts: int  # the same in the stream's own clock and time base
    duration: float  # seconds it is shown for; the average if the file does not say
    time_base: Fraction  # seconds a unit of pts
    pixels: Callable[[tuple[int, int] | None], np.ndarray]  # (height, width) or None -> uint8 (H, W, 3)


def iter_stills(path: str | Path, *, start: float = 0.0, end: float | None = None) -> Generator[Still, None, None]:
    """Read a video frame by frame, leaving it to the caller which frames become pixels, and of what size.

    For looking at few frames of many: turning a frame into pixels can take longer than decoding it. `pixels` may
    be called later than the frame's turn, but what is kept keeps the decoded frame in memory. Arguments and errors
    are those of `read_video`, but that a part without a frame ends at once and is no error.
    """
    return _Reader(path, start, end, None, None, "raise").stills()


class _Reader:
    """One pass over part of a file; what it learns of the file is in its attributes afterwards."""

    def __init__(
        self,
        path: str | Path,
        start: float,
        end: float | None,
        fps: float | None,
        size: tuple[int, int] | None,
        on_error: str,
        crop: Sequence[int] | None = None,
    ) -> None:
        if start < 0 or (end is not None and end <= start):
            raise ValueError(f"{path}: the part from {start} s to {end} s is empty; it needs 0 <= start < end")
        if fps is not None and not (fps > 0 and math.isfinite(fps)):
            raise ValueError(f"{path}: fps is {fps}; it needs to be a positive number")
        if size is not None and min(size) < 1:
            raise ValueError(f"{path}: size is {size}; it needs (height, width) of at least 1 pixel")
        if on_error not in ("raise", "readable"):
            raise ValueError(f'on_error is {on_error!r}; it needs to be "raise" or "readable"')
        self.path, self.start, self.end, self.rate = Path(path), start, end, fps
        self.size, self.on_error, self.crop = size, on_error, crop
        self.fps: float | None = None
        self.metadata: dict[str, str] = {}
        self.has_audio = False
        self.error: VideoError | None = None
        self.last_end = 0.0  # seconds at which the last decoded frame ends
        self.sample_aspect: Any = None
        self.time_base: Any = None

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        converter = None
        shown, pixels = None, np.empty(0)
        for time, frame in self._chosen():
            if converter is None:
                converter = _Converter(frame, self.sample_aspect, self.metadata, self.size, self.crop)
            if frame is not shown:
                shown, pixels = frame, converter(frame)
            yield time, pixels
        if shown is None:
            if self.error is not None:
                raise self.error
            raise VideoRangeError(
                self.path,
                None,
                f"it has no frame at {self.start:.3f} s or later; it ends at {self.last_end:.3f} s",
            )

    def stills(self) -> Generator[Still, None, None]:
        """The frames of the asked-for part, undecided."""
        converters: dict[tuple[int, int] | None, _Converter] = {}

        def pixels(frame: Any, size: tuple[int, int] | None) -> np.ndarray:
            if size not in converters:
                converters[size] = _Converter(frame, self.sample_aspect, self.metadata, size)
            return converters[size](frame)

        for time, frame in self._chosen():
            base: Fraction = self.time_base
            pts = round(time / base) if frame.pts is None else frame.pts
            duration = float((getattr(frame, "duration", 0) or 0) * base) or 1 / (self.fps or 25.0)
            yield Still(time, pts, duration, base, partial(pixels, frame))

    def _chosen(self) -> Iterator[tuple[float, Any]]:
        """The frames of the asked-for part, at their own times or at those of the asked-for rate."""
        end = math.inf if self.end is None else self.end - GRACE
        if self.rate is None:
            for time, frame in self._decoded():
                if time >= end:
                    return
                if time >= self.start - GRACE:
                    yield time, frame
            return
        count, shown = 0, None
        for time, frame in self._decoded():
            while shown is not None and (at := self.start + count / self.rate) < min(time - GRACE, end):
                yield at, shown
                count += 1
            if time >= end:
                return
            shown = frame
        while shown is not None and (at := self.start + count / self.rate) < min(self.last_end - GRACE, end):
            yield at, shown
            count += 1

    def _decoded(self) -> Iterator[tuple[float, Any]]:
        """(time, frame) from a keyframe at or before the start on, sought or else read from the beginning."""
        last = -math.inf
        if self.start >= SEEK_FROM:
            try:
                for time, frame in self._decode(self.start):
                    if last == -math.inf and time > self.start + GRACE:
                        break  # the seek went too far
                    last = time
                    yield time, frame
                else:
                    if last > -math.inf:
                        return
            except VideoDamageError:
                pass  # it may be the seek's: read from the beginning, where errors count
        try:
            for time, frame in self._decode(0.0):
                if time > last:
                    last = time
                    yield time, frame
        except VideoDamageError as error:
            if self.on_error == "raise":
                raise
            self.error = error
            warnings.warn(f"{error}; read up to there", VideoWarning, stacklevel=2)

    def _decode(self, seek_to: float) -> Iterator[tuple[float, Any]]:
        with open_video(self.path) as (container, stream):
            self.sample_aspect, self.time_base = stream.sample_aspect_ratio, stream.time_base
            self.metadata = read_tags(container)
            self.has_audio, self.fps = bool(container.streams.audio), average_fps(stream)
            period = 1 / self.fps if self.fps else 0.04
            decoder = _decoder(stream)
            origin, count, gap, self.last_end = None, 0, period, 0.0
            try:
                if seek_to:  # times count from the first frame, which may lie after the stream's stated start
                    first = next((frame for frame, _ in _frames(container, stream, decoder)), None)
                    if first is None or first.pts is None:
                        return
                    origin = first.pts
                    container.seek(origin + int(seek_to / stream.time_base), stream=stream)
                    decoder.flush_buffers()
                tail = []  # where a file breaks off, the frames held to the end have holes between them
                for frame, held in _frames(container, stream, decoder):
                    if frame.pts is None:
                        time = count * period
                    else:
                        origin = frame.pts if origin is None else origin
                        time = float((frame.pts - origin) * stream.time_base)
                    duration = float((getattr(frame, "duration", 0) or 0) * stream.time_base) or period
                    gap = max(gap, time + duration - self.last_end) if count else gap
                    count, self.last_end = count + 1, time + duration
                    if held:
                        tail.append((time, frame))
                    else:
                        yield time, frame
                announced = stream_duration(container, stream)
                if count and announced and announced - self.last_end > max(3 * gap, 0.1):
                    self.last_end = tail[0][0] if tail else self.last_end
                    raise _Damage(f"the file announces {announced:.3f} s of video")
                yield from tail
            except (FFmpegError, _Damage) as error:
                if not count and seek_to:
                    return  # reading from the beginning tells from when on the file is damaged
                if not count:
                    raise VideoOpenError(
                        self.path, 0.0, f"nothing in it can be decoded ({describe(error)})"
                    ) from None
                raise VideoDamageError(
                    self.path, self.last_end, f"the data is damaged or cut off ({describe(error)})"
                ) from None
            if not count and not seek_to:
                raise VideoOpenError(self.path, None, "the file has a video stream without a frame")


class _Damage(Exception):
    """Damage that is no error to FFmpeg: a packet or frame marked as incomplete, or an early end."""


def _decoder(stream: Any) -> Any:
    """The stream's own decoder, told to report damage; for VP8 and VP9 with alpha, the one that knows alpha."""
    context = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and context.name in ("vp8", "vp9"):
        try:
            return av.CodecContext.create({"vp8": "libvpx", "vp9": "libvpx-vp9"}[context.name], "r")
        except ValueError:  # this build of FFmpeg lacks it; alpha is then dropped, as by the plain decoder
            return context
    context.options = {"err_detect": "explode"}
    return context


def _frames(container: Any, stream: Any, decoder: Any) -> Iterator[tuple[Any, bool]]:
    """All decoded frames up to the first damage, and whether the decoder held each until the file's end."""
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise _Damage("a packet is incomplete")
        for frame in decoder.decode(packet):
            if frame.is_corrupt:
                raise _Damage("a frame is incomplete")
            yield frame, packet.dts is None and packet.size == 0


class _Converter:
    """Decoded frames as uint8 (H, W, 3) arrays of one size."""

    def __init__(
        self,
        frame: Any,
        sample_aspect: Any,
        metadata: dict[str, str],
        size: tuple[int, int] | None,
        crop: Sequence[int] | None = None,
    ) -> None:
        self.turn: Orientation = orientation(frame)
        whole = display_size(frame, sample_aspect, {})
        shown = display_size(frame, sample_aspect, metadata)  # less than the whole where sides were padded
        left, top, width, height = crop or (0, 0, shown[1], shown[0])
        if min(left, top) < 0 or min(width, height) < 1 or left + width > shown[1] or top + height > shown[0]:
            raise ValueError(f"crop is {crop}; it needs to lie in a picture of {shown[1]}x{shown[0]} pixels")
        part = (height, width)
        self.output = size or part
        scale = max(out / side for out, side in zip(self.output, part))
        visible = [max(out, round(side * scale)) for out, side in zip(self.output, part)]
        before = [round(scale * top), round(scale * left)]
        behind = [round(scale * (all_ - first - side)) for all_, first, side in zip(whole, (top, left), part)]
        self.corner = [first + (side - out) // 2 for first, side, out in zip(before, visible, self.output)]
        rows, columns = (first + side + last for first, side, last in zip(before, visible, behind))
        self.scaled = (columns, rows) if self.turn.transpose else (rows, columns)
        self.scaler = VideoReformatter()

    def __call__(self, frame: Any) -> np.ndarray:
        names = {component.is_alpha for component in frame.format.components}
        alpha = True in names or frame.format.name == "pal8"
        colorspace = None
        if not frame.format.is_rgb and frame.colorspace == UNSPECIFIED:  # by height, as players guess
            colorspace = Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601
        pixels = self.scaler.reformat(
            frame,
            width=self.scaled[1],
            height=self.scaled[0],
            format="rgba" if alpha else "rgb24",
            src_colorspace=colorspace,
            dst_colorspace=Colorspace.DEFAULT,  # PyAV before 17 converts by the right matrix only if they differ
            interpolation=SCALER,
        ).to_ndarray()
        if alpha:
            opacity = pixels[..., 3:].astype(np.uint16)
            pixels = ((pixels[..., :3] * opacity + 127) // 255).astype(np.uint8)
        top, left = self.corner
        height, width = self.output
        return np.ascontiguousarray(self.turn.apply(pixels)[top : top + height, left : left + width])
