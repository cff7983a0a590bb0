"""Writing frames as H.264 files that any browser plays, with text entries that can be read back."""

import math
import re
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import av.container
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from .files import atomic_path
from .video_probe import SIZE_KEY, VideoWriteError, describe
from .video_read import SCALER

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")


def write_video(
    path: str | Path,
    frames: np.ndarray | Iterable[np.ndarray],
    fps: float,
    *,
    metadata: dict[str, str] | None = None,
    crf: float = 18,
) -> Path:
    """Write frames as H.264 (yuv420p, BT.709, index first); returns the path.

    The file appears whole or not at all, and equal input gives equal bytes under equal library versions,
    whatever the number of cores. Players need even sides for this format: an odd side is padded by repeating
    its last row or column, and the true size is noted in the file, so `read_video` gives it back exactly
    while other programs show the extra line.

    Args:
        path: ends in .mp4, .m4v, .mov or .mkv. Missing parent folders are made.
        frames: uint8 (T, H, W, 3), or an iterable of (H, W, 3) frames, taken one at a time.
        fps: frames per second.
        metadata: text entries, kept exactly; `read_metadata` gives them back. Names are small letters, digits
            and underscores.
        crf: quality, lower is better: 0 is lossless up to colour subsampling, 18 looks the same, 51 is worst.

    Raises:
        ValueError: no frame, frames of another type or of changing size, or an argument out of range.
        VideoWriteError: the file cannot be written, for example on a full disk.
    """
    path = Path(path)
    metadata = dict(metadata or {})
    _check(path, fps, metadata, crf)
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError(f"{path}: there are no frames to write")
    height, width = _checked(path, first, 0, None).shape[:2]
    if height % 2 or width % 2:
        metadata[SIZE_KEY] = f"{width}x{height}"
    rate = Fraction(fps).limit_denominator(1001)
    options = {"fflags": "+bitexact"}
    if path.suffix.lower() != ".mkv":
        options["movflags"] = "+faststart+use_metadata_tags"
    try:
        with (
            atomic_path(path) as temporary,
            av.container.open(f"file:{temporary}", "w", container_options=options) as container,
        ):
            container.metadata.update(metadata)
            stream = container.add_stream("libx264", rate=rate)
            stream.width, stream.height = width + width % 2, height + height % 2
            stream.pix_fmt = "yuv420p"
            # For equal bytes: x264's output depends on the thread count, and its macroblock tree changes
            # from run to run (seen with x264 core 165). bitexact leaves library versions out.
            stream.options = {
                "crf": f"{crf:g}",
                "threads": "4",
                "x264-params": "no-mbtree=1",
                "flags": "+bitexact",
            }
            context = stream.codec_context
            context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1, 1
            scaler = VideoReformatter()
            for number, frame in enumerate(chain([first], iterator)):
                frame = _checked(path, frame, number, (height, width))
                if height % 2 or width % 2:
                    frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
                picture = scaler.reformat(
                    picture,
                    format="yuv420p",
                    dst_colorspace=Colorspace.ITU709,
                    dst_color_range=ColorRange.MPEG,
                    interpolation=SCALER,
                )
                picture.pts, picture.time_base = number, 1 / rate
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
    except (FFmpegError, OSError) as error:
        raise VideoWriteError(path, None, f"it could not be written ({describe(error)})") from error
    return path


def _check(path: Path, fps: float, metadata: dict[str, str], crf: float) -> None:
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"{path}: cannot write {path.suffix or 'a name without suffix'}; use {', '.join(SUFFIXES)}"
        )
    if not (math.isfinite(fps) and 0 < fps <= 1000):
        raise ValueError(f"{path}: fps is {fps}; it needs 0 < fps <= 1000")
    if not 0 <= crf <= 51:
        raise ValueError(f"{path}: crf is {crf}; it needs 0 (best) to 51 (worst)")
    for name, text in metadata.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(
                f"{path}: the metadata name {name!r} needs small letters, digits and underscores only"
            )
        if not isinstance(text, str) or not text or "\0" in text:
            raise ValueError(
                f"{path}: metadata {name!r} is {type(text).__name__} {str(text)[:40]!r}; it needs to be "
                "text that is not empty and has no NUL (json.dumps makes text of anything else)"
            )


def _checked(path: Path, frame: np.ndarray, number: int, size: tuple[int, int] | None) -> np.ndarray:
    frame = np.asarray(frame)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ValueError(
            f"{path}: frame {number} is {frame.dtype} {frame.shape}; it needs to be uint8 (H, W, 3) "
            "(kinema.data.pixels.to_frames converts a tensor)"
        )
    if size is not None and frame.shape[:2] != size:
        raise ValueError(f"{path}: frame {number} has size {frame.shape[:2]}; the first has {size}")
    return frame
