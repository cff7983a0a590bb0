"""Writing frames as H.264 files that any browser plays, with text entries that can be read back."""

import math
import re
from collections.abc import Iterable, Sequence, Sized
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import av.container
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from .files import atomic_path
from .soundtrack import Soundtrack, SoundWriter
from .video_probe import SIZE_KEY, VideoWriteError, describe
from .video_read import SCALER

PIXEL_FORMATS = ("yuv420p", "yuv444p")
SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")


def write_video(
    path: str | Path,
    frames: np.ndarray | Iterable[np.ndarray],
    fps: float,
    *,
    metadata: dict[str, str] | None = None,
    crf: float = 18,
    pixel_format: str = "yuv420p",
    soundtrack: Sequence[Soundtrack] = (),
) -> Path:
    """Write frames as H.264 (BT.709, index first), with or without sound; returns the path.

    The file appears whole or not at all, and equal input gives equal bytes under equal library versions,
    whatever the number of cores. Players need even sides for this format: an odd side is padded by repeating
    its last row or column, and the true size is noted in the file, so `read_video` gives it back exactly
    while other programs show the extra line. `video_exact` writes frames that are to come back almost as given.

    Args:
        path: ends in .mp4, .m4v, .mov or .mkv. Missing parent folders are made.
        frames: uint8 (T, H, W, 3), or an iterable of (H, W, 3) frames, taken one at a time.
        fps: frames per second.
        metadata: text entries, kept exactly; `read_metadata` gives them back. Names are small letters, digits
            and underscores.
        crf: quality, lower is better: 18 looks the same, 51 is worst. 0 is lossless in what `pixel_format` keeps,
            but as rarely played as "yuv444p".
        pixel_format: "yuv420p" halves the resolution of colour and plays everywhere; "yuv444p" keeps it, and
            Safari, Apple's players and many televisions do not play it.
        soundtrack: pieces of sound, encoded as AAC; what lies beyond the frames is cut off. It needs the number of
            frames in advance, so an array or a list of them.

    Raises:
        ValueError: no frame, frames of another type or of changing size, or an argument out of range.
        VideoWriteError: the file cannot be written, for example on a full disk.
    """
    path = Path(path)
    metadata = dict(metadata or {})
    check_arguments(path, fps, metadata, crf, pixel_format)
    count = len(frames) if isinstance(frames, Sized) else None
    if soundtrack and count is None:
        raise ValueError(f"{path}: a soundtrack needs frames that can be counted, an array or a list")
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError(f"{path}: there are no frames to write")
    height, width = checked_frame(path, first, 0, None).shape[:2]
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
            stream.pix_fmt = pixel_format
            # For equal bytes: x264's output depends on the thread count, and its macroblock tree changes
            # from run to run (seen with x264 core 165). bitexact leaves library versions out.
            # swscale puts halved colour in the middle of its four pixels; untold, decoders look for it at the left
            # two (H.264, E.2.1), half a pixel off.
            stream.options = {
                "crf": f"{crf:g}",
                "threads": "4",
                "x264-params": "no-mbtree=1" + (":chromaloc=1" if pixel_format == "yuv420p" else ""),
                "flags": "+bitexact",
            }
            context = stream.codec_context
            context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1, 1
            scaler = VideoReformatter()
            sound = SoundWriter(container, soundtrack, count / float(rate)) if soundtrack and count else None
            for number, frame in enumerate(chain([first], iterator)):
                frame = checked_frame(path, frame, number, (height, width))
                if height % 2 or width % 2:
                    frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
                picture = scaler.reformat(
                    picture,
                    format=pixel_format,
                    dst_colorspace=Colorspace.ITU709,
                    dst_color_range=ColorRange.MPEG,
                    interpolation=SCALER,
                )
                picture.pts, picture.time_base = number, 1 / rate
                container.mux(stream.encode(picture))
                if sound is not None:
                    sound.write_until((number + 1) / float(rate))
            container.mux(stream.encode(None))
            if sound is not None:
                sound.finish()
    except (FFmpegError, OSError) as error:
        raise VideoWriteError(path, None, f"it could not be written ({describe(error)})") from error
    return path


def check_arguments(path: Path, fps: float, metadata: dict[str, str], crf: float, pixel_format: str) -> None:
    """Raise a ValueError for what cannot be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"{path}: cannot write {path.suffix or 'a name without suffix'}; use {', '.join(SUFFIXES)}"
        )
    if not (math.isfinite(fps) and 0 < fps <= 1000):
        raise ValueError(f"{path}: fps is {fps}; it needs 0 < fps <= 1000")
    if not 0 <= crf <= 51:
        raise ValueError(f"{path}: crf is {crf}; it needs 0 (best) to 51 (worst)")
    if pixel_format not in PIXEL_FORMATS:
        raise ValueError(f"{path}: pixel_format is {pixel_format!r}; it is one of {', '.join(PIXEL_FORMATS)}")
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


def checked_frame(path: Path, frame: np.ndarray, number: int, size: tuple[int, int] | None) -> np.ndarray:
    """A frame as an array; a ValueError unless it is uint8 (H, W, 3) and, if `size` is given, of that size."""
    frame = np.asarray(frame)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ValueError(
            f"{path}: frame {number} is {frame.dtype} {frame.shape}; it needs to be uint8 (H, W, 3) "
            "(kinema.data.pixels.to_frames converts a tensor)"
        )
    if size is not None and frame.shape[:2] != size:
        raise ValueError(f"{path}: frame {number} has size {frame.shape[:2]}; the first has {size}")
    return frame
