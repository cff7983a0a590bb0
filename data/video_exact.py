"""Writing frames that must come back almost as given: the setting is chosen by reading the file back."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from .files import atomic_path
from .soundtrack import Soundtrack
from .video_probe import VideoWriteError, open_video
from .video_read import SCALER
from .video_write import check_arguments, checked_frame, write_video

logger = logging.getLogger(__name__)

AT_LEAST = 45.0  # dB in the worst frame
# From what plays everywhere to what loses nothing but the rounding of RGB to YUV (about 52 dB). crf 0 is left out
# of the first, since lossless H.264 plays no more widely than full colour does.
SETTINGS = (("yuv420p", 14), ("yuv420p", 7), ("yuv420p", 1), ("yuv444p", 12), ("yuv444p", 5), ("yuv444p", 0))


@dataclass(frozen=True)
class Written:
    """How a file was written, and how well its frames come back.

    Attributes:
        path: the file.
        pixel_format, crf: see `write_video`.
        psnr: dB of the worst frame, as any player's decoder gives it.
    """

    path: Path
    pixel_format: str
    crf: float
    psnr: float


def write_video_exactly(
    path: str | Path,
    frames: np.ndarray,
    fps: float,
    *,
    metadata: dict[str, str] | None = None,
    soundtrack: Sequence[Soundtrack] = (),
    at_least: float = AT_LEAST,
) -> Written:
    """Write frames so that every one of them comes back at `at_least` dB or better.

    Halved colour resolution costs more than compression does: sharp edges between strong colours come back at 20
    to 40 dB however fine the compression. Such frames are written as yuv444p, which is logged, since it does not
    play everywhere.

    Args:
        path, fps, metadata, soundtrack: as for `write_video`.
        frames: uint8 (T, H, W, 3).
        at_least: dB of peak signal to noise over a frame's red, green and blue, up to about 51.

    Raises:
        ValueError: as `write_video`.
        VideoWriteError: it cannot be written, or no setting reaches `at_least`.
    """
    path, frames = Path(path), np.asarray(frames)
    check_arguments(path, fps, dict(metadata or {}), 0, "yuv444p")
    if not len(frames):
        raise ValueError(f"{path}: there are no frames to write")
    for number, frame in enumerate(frames):
        checked_frame(path, frame, number, frames.shape[1:3])
    best = -math.inf
    with atomic_path(path) as temporary:
        for pixel_format, crf in SETTINGS:
            if pixel_format == "yuv420p" and _psnr_of_halved_colour(frames) < at_least:
                continue
            write_video(
                temporary,
                frames,
                fps,
                metadata=metadata,
                crf=crf,
                pixel_format=pixel_format,
                soundtrack=soundtrack,
            )
            best = worst_psnr(temporary, frames)
            if best >= at_least:
                break
        else:
            cause = f"its frames come back at {best:.1f} dB at best, and {at_least:.1f} dB was asked for"
            raise VideoWriteError(path, None, cause)
    if pixel_format != "yuv420p":
        logger.warning(
            "%s is written in full colour resolution (yuv444p), so that the given frames come back at %.1f dB; "
            "Safari and some other players cannot show that; exact=False, or --compatible, makes a file for all",
            path,
            best,
        )
    return Written(path, pixel_format, crf, best)


def worst_psnr(path: str | Path, frames: np.ndarray) -> float:
    """dB of the frame of a file that differs most from what was written; infinite if all are equal.

    The file is decoded as other programs do it, with FFmpeg's plain conversion to RGB, which is rougher on halved
    colour than `read_video` is.

    Args:
        path: a video file.
        frames: uint8 (T, H, W, 3), what it should hold.

    Raises:
        VideoWriteError: it holds another number of frames.
    """
    height, width = frames.shape[1:3]
    scaler = VideoReformatter()
    with open_video(path) as (container, stream):
        found = [
            _psnr(scaler.reformat(picture, format="rgb24").to_ndarray()[:height, :width], frame)
            for picture, frame in zip(container.decode(stream), frames)
        ]
    if len(found) != len(frames):
        raise VideoWriteError(path, None, f"{len(found)} frames of {len(frames)} can be read back")
    return min(found)


def _psnr_of_halved_colour(frames: np.ndarray) -> float:
    """dB that the worst frame keeps in yuv420p before any compression."""
    halve, restore = VideoReformatter(), VideoReformatter()

    def kept(frame: np.ndarray) -> float:
        even = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
        picture = halve.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=SCALER,
        )
        picture = restore.reformat(picture, format="rgb24", src_colorspace=Colorspace.ITU709)
        return _psnr(picture.to_ndarray()[: frame.shape[0], : frame.shape[1]], frame)

    return min(kept(frame) for frame in frames)


def _psnr(found: np.ndarray, frame: np.ndarray) -> float:
    error = float(np.square(found.astype(np.float32) - frame).mean())
    return 10 * math.log10(255**2 / error) if error else math.inf
