"""What a given picture or video is, whatever its form: what it holds, and its frames one by one."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from ..data.soundtrack import Soundtrack
from ..data.video_io import VideoError, iter_video, probe

# Formats that are opened as pictures; Pillow could open more, some with programs of their own.
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
ANIMATED_FORMATS = ("GIF", "PNG", "WEBP", "AVIF")
TAKEN = (
    "a path or URL of a video or picture, a PIL picture or a list of them, an array (T, H, W, 3) or (H, W, 3), "
    "a tensor (T, 3, H, W) or (3, H, W), or an output of the pipeline"
)
TOLERANCE = 1e-4  # how far values may lie outside [0, 1] by rounding; they are clipped
GRACE = 6e-3  # seconds; animated pictures round their times to hundredths


class MediaError(ValueError):
    """A given picture, video or mask that cannot be used; says what was given and what can be."""


@dataclass(frozen=True)
class Look:
    """What a given picture or video holds, found without decoding all of it.

    A `Look` can be given wherever its source can; a URL is then fetched only once.

    Attributes:
        source: a path, a list of pictures, or an array (T, H, W, 3).
        name: how messages call it.
        width, height: pixels, as shown.
        num_frames: None where the file does not say.
        frame_rate: frames per second; None for pictures, arrays and lists, which have none.
        is_video: False for a single picture.
        has_audio: whether there is sound that can be kept.
        seconds: how long it plays; None where that is unknown.
        owner: the download that a temporary file belongs to.
        soundtrack: the pieces of sound; times are those of the given video.
    """

    source: Any
    name: str
    width: int
    height: int
    num_frames: int | None
    frame_rate: float | None
    is_video: bool
    has_audio: bool = False
    seconds: float | None = None
    owner: Any = None
    soundtrack: tuple[Soundtrack, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width

    def __str__(self) -> str:
        count = "" if self.num_frames in (None, 1) else f", {self.num_frames} frames"
        rate = "" if self.frame_rate is None else f" at {self.frame_rate:.4g} frames/s"
        return f"{self.name}: {self.width} × {self.height}{count}{rate}"


def look(source: Any, name: str = "video") -> Look:
    """What a given picture or video holds.

    Args:
        source: a path (str or Path); an http or https URL, which is fetched (`kinema.data.fetch`); a PIL picture
            or a list of them (all of one size); a numpy array (T, H, W, 3) or (H, W, 3); a torch tensor
            (T, 3, H, W) or (3, H, W); either with a leading 1; uint8, or floating in [0, 1]; a
            `KinemaPipelineOutput` of one video; or a `Look`.
        name: how messages call it, such as "video", "image" or "keyframe 3".

    Raises:
        MediaError: it is empty, unreadable, or of another type, shape or value range.
        FetchError: a URL that cannot be fetched, or may not be.
    """
    if isinstance(source, Look):
        return source
    if isinstance(source, str | Path):
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", str(source)):
            from ..data.fetch import fetch

            download = fetch(str(source))
            seen = _look_at_file(download.path, f"{name} {download.name}")
            sound = tuple(replace(piece, owner=download) for piece in seen.soundtrack)
            return replace(seen, owner=download, soundtrack=sound)
        return _look_at_file(Path(source).expanduser(), f"{name} {Path(source).name}")
    if hasattr(source, "frames") and hasattr(source, "output_type"):
        return _look_at_output(source, name)
    if isinstance(source, Image.Image):
        source = [source]
    if isinstance(source, list | tuple):
        return _look_at_list(source, name)
    if isinstance(source, np.ndarray | torch.Tensor):
        frames = _as_frames(source, name)
        count, height, width, _ = frames.shape
        return Look(frames, name, width, height, count, None, is_video=count > 1)
    raise MediaError(f"{name} is {_kind(source)}; it needs to be {TAKEN}")


def frames_of(seen: Look, frame_rate: float | None = None) -> Iterator[np.ndarray]:
    """The frames of a given picture or video, one at a time.

    Args:
        seen: what `look` returned.
        frame_rate: frames per second of the result: frame k is what is shown at k / frame_rate. None, or a source
            without a rate of its own: its frames as they are.

    Yields:
        (H, W, 3), uint8, or float32 in [0, 1].

    Raises:
        MediaError: what was given turns out unreadable, or its values lie outside their range.
    """
    source = seen.source
    if isinstance(source, np.ndarray):
        for number in _shown(len(source), seen.frame_rate, frame_rate):
            yield _checked(source[number], f"{seen.name}, frame {number}" if seen.is_video else seen.name)
    elif isinstance(source, list):
        for number in _shown(len(source), seen.frame_rate, frame_rate):
            picture = _opaque(ImageOps.exif_transpose(source[number]), seen.name)
            if picture.size != (seen.width, seen.height):
                raise MediaError(
                    f"{seen.name}: picture {number} is {picture.width} × {picture.height} and the first "
                    f"{seen.width} × {seen.height}; give pictures of one size"
                )
            yield np.asarray(picture)
    elif seen.is_video and not _is_picture(source):
        try:
            for _, frame in iter_video(source, fps=frame_rate):
                yield frame
        except VideoError as error:
            raise MediaError(f"{seen.name}: {error.cause}{_at(error)}; give a file that plays") from error
    else:
        with _opened(source, seen.name) as picture:
            ends = _ends(picture) if frame_rate is not None and seen.is_video else None
            for number in range(_count(picture)) if ends is None else _at_rate(ends, frame_rate):
                picture.seek(number)
                yield np.asarray(_opaque(ImageOps.exif_transpose(picture), seen.name))


def has_alpha(seen: Look) -> bool:
    """Whether the given pictures have transparent parts, which are shown black."""
    if isinstance(seen.source, list):
        return any(picture.has_transparency_data for picture in seen.source)
    if isinstance(seen.source, Path) and _is_picture(seen.source):
        with _opened(seen.source, seen.name) as picture:
            return picture.has_transparency_data
    return False


def _look_at_file(path: Path, name: str) -> Look:
    if path.is_file() and path.stat().st_size and _is_picture(path):
        with _opened(path, name) as picture:
            width, height = picture.size
            if picture.getexif().get(0x0112, 1) >= 5:  # Orientation: a quarter turn, with or without a mirror
                width, height = height, width
            count = _count(picture)
            if count == 1:
                return Look(path, name, width, height, 1, None, is_video=False)
            seconds = _ends(picture)[-1]
            return Look(path, name, width, height, count, count / seconds, is_video=True, seconds=seconds)
    try:
        info = probe(path)
    except VideoError as error:
        raise MediaError(f"{name}: {error.cause}{_at(error)}; give {TAKEN} ({path})") from error
    seconds = info.duration or (info.frames / info.fps if info.frames and info.fps else None)
    sound = (Soundtrack(path, 0.0, seconds),) if info.has_audio and seconds else ()
    return Look(
        path, name, info.width, info.height, info.frames, info.fps, True, info.has_audio, seconds, None, sound
    )  # fmt: skip


def _look_at_output(output: Any, name: str) -> Look:
    if output.output_type == "latent":
        raise MediaError(f'{name} is an output of latents; make it with output_type "np", "pt" or "pil"')
    if len(output.frames) != 1:
        raise MediaError(
            f"{name} is an output of {len(output.frames)} videos; give one of them, such as output.frames[0]"
        )
    seen = look(output.frames[0], name)
    sound = tuple(getattr(output, "soundtrack", None) or ())
    count, rate = seen.num_frames, output.frame_rate
    seconds = count / rate if count and rate else None
    if count == 1:
        return seen
    return replace(seen, frame_rate=rate, seconds=seconds, has_audio=bool(sound), soundtrack=sound)


def _look_at_list(given: Sequence[Any], name: str) -> Look:
    if not given:
        raise MediaError(f"{name} is an empty list; it needs at least one picture")
    if len(given) == 1 and isinstance(given[0], list | tuple):
        return _look_at_list(given[0], name)
    if all(isinstance(item, Image.Image) for item in given):
        first = given[0]
        width, height = first.size
        if first.getexif().get(0x0112, 1) >= 5:
            width, height = height, width
        if min(width, height) < 1:
            raise MediaError(f"{name} is a picture of {width} × {height} pixels; it needs at least 1 × 1")
        return Look(list(given), name, width, height, len(given), None, is_video=len(given) > 1)
    if all(isinstance(item, np.ndarray | torch.Tensor) for item in given):
        frames = [_as_frames(item, f"{name}, frame {number}") for number, item in enumerate(given)]
        kinds = {(frame.shape[1:], frame.dtype) for frame in frames}
        if len(kinds) > 1 or any(len(frame) != 1 for frame in frames):
            raise MediaError(
                f"{name} is a list of arrays that differ: {_few(kinds)}; give frames of one shape and type"
            )
        stacked = np.concatenate(frames)
        return Look(
            stacked, name, stacked.shape[2], stacked.shape[1], len(stacked), None, is_video=len(stacked) > 1
        )
    kinds = {type(item).__name__ for item in given}
    raise MediaError(f"{name} is a list of {_few(kinds)}; it needs to be a list of PIL pictures, or {TAKEN}")


def _as_frames(given: np.ndarray | torch.Tensor, name: str) -> np.ndarray:
    """Any array or tensor of frames as (T, H, W, 3) uint8 or float32, values unchecked."""
    shape, is_tensor = tuple(given.shape), isinstance(given, torch.Tensor)
    channel = -3 if is_tensor else -1
    layout = "(T, 3, H, W) or (3, H, W)" if is_tensor else "(T, H, W, 3) or (H, W, 3)"
    problem = None
    if len(shape) not in (3, 4, 5):
        problem = "it needs"
    elif len(shape) == 5 and shape[0] != 1:
        problem = f"it holds {shape[0]} videos; give one of them,"
    elif shape[channel] != 3:
        problem = "it needs"
        if is_tensor and shape[-1] == 3:
            problem = "a tensor has its channels before its rows (x.movedim(-1, -3) moves them):"
        elif len(shape) > 3 and is_tensor and shape[-4] == 3:
            problem = "the channels come after the frames here (x.transpose(-4, -3) swaps them):"
        elif not is_tensor and len(shape) > 2 and shape[-3] == 3:
            problem = "an array has its channels last (np.moveaxis(x, -3, -1) moves them):"
        elif shape[channel] in (1, 4):
            problem = "there are 3 channels, red, green and blue:"
    elif 0 in shape:
        problem = "there is no frame or no pixel in it;"
    if problem:
        raise MediaError(f"{name} has shape {shape}; {problem} {layout}")
    if isinstance(given, torch.Tensor):
        tensor = given.detach().movedim(-3, -1).cpu()
        array = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    else:
        array = given
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise MediaError(f"{name} is {array.dtype}; give uint8 (0 to 255), or floating numbers in [0, 1]")
    if array.dtype != np.uint8:
        array = array.astype(np.float32, copy=False)
    return array.reshape(-1, *array.shape[-3:])


def _checked(frame: np.ndarray, name: str) -> np.ndarray:
    """One frame, its values in range."""
    if frame.dtype == np.uint8:
        return frame
    lowest, highest = float(frame.min()), float(frame.max())
    if lowest >= -TOLERANCE and highest <= 1 + TOLERANCE:
        return frame.clip(0, 1)
    what = f"{name} has values from {lowest:.4g} to {highest:.4g}; floating frames need [0, 1]"
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise MediaError(f"{what}, without NaN or infinity")
    if lowest < 0 and lowest >= -1 - TOLERANCE and highest <= 1 + TOLERANCE:
        raise MediaError(f"{what}; of values in [-1, 1], give (x + 1) / 2")
    raise MediaError(f"{what}; of values in [0, 255], give x / 255, or uint8")


def _shown(count: int, own: float | None, wanted: float | None) -> Iterator[int]:
    """Which of `count` frames at the rate `own` is on screen at 0, 1 / wanted, 2 / wanted …"""
    if own is None or wanted is None or own == wanted:
        return iter(range(count))
    return _at_rate([(number + 1) / own for number in range(count)], wanted, grace=1e-3)


def _at_rate(ends: list[float], wanted: float | None, grace: float = GRACE) -> Iterator[int]:
    """Which frame is on screen at k / wanted; frames last until `ends`, in seconds."""
    number = 0
    while wanted and (number == 0 or number / wanted < ends[-1] - grace):
        yield min(bisect_right(ends, number / wanted + grace), len(ends) - 1)
        number += 1


def _ends(picture: Image.Image) -> list[float]:
    """Seconds at which each frame of an animated picture ends; no duration means a tenth, as browsers play it."""
    ends, at = [], 0.0
    for number in range(_count(picture)):
        picture.seek(number)
        picture.load()
        at += (picture.info.get("duration") or 100) / 1000
        ends.append(at)
    picture.seek(0)
    return ends


def _count(picture: Image.Image) -> int:
    """Frames of an animation; the pages of a TIFF or the views of a JPEG are no frames."""
    return getattr(picture, "n_frames", 1) if picture.format in ANIMATED_FORMATS else 1


def _is_picture(path: Path) -> bool:
    Image.init()  # Pillow loads what it knows of rarer formats only when asked
    try:
        with Image.open(path, formats=PICTURE_FORMATS):
            return True
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return path.suffix.lower().removeprefix(".").upper() in PICTURE_FORMATS


@contextmanager
def _opened(path: Path, name: str) -> Iterator[Image.Image]:
    """A picture file; what goes wrong while it is read is said in the same way."""
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as picture:
            yield picture
    except MediaError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise MediaError(f"{name}: the picture cannot be opened ({error}); give one that can ({path})") from error


def _opaque(picture: Image.Image, name: str) -> Image.Image:
    """Any picture as RGB; transparent parts over black."""
    if picture.mode == "RGB":
        return picture
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture).astype(np.uint32) * 255 // 65535).astype(np.uint8)).convert(
            "RGB"
        )
    if picture.mode in ("I", "F"):
        raise MediaError(
            f"{name}: a picture of {picture.mode} (32-bit) pixels; give one of 8 or 16 bits a channel"
        )
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    clear = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", clear.size, (0, 0, 0, 255)), clear).convert("RGB")


def _at(error: VideoError) -> str:
    return "" if error.time is None else f" at {error.time:.3f} s"


def _kind(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) < 60 else text[:57] + '…'}"


def _few(items: Any) -> str:
    texts = sorted(str(item) for item in items)
    return ", ".join(texts[:3]) + (" …" if len(texts) > 3 else "")
