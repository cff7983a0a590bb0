"""Writing frames to a file with their provenance: H.264 videos, GIFs, and PNGs of one frame."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from ..data.files import atomic_path
from ..data.soundtrack import Soundtrack
from .provenance import KEY, Provenance

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")


def check_suffix(path: str | Path, num_frames: int) -> None:
    """Raise a ValueError unless a file of this name can hold so many frames."""
    suffix = Path(path).suffix.lower()
    if suffix not in (*VIDEO_SUFFIXES, ".gif", ".png"):
        raise ValueError(
            f"{path}: cannot write {suffix or 'a name without suffix'}; use .mp4, .mov, .mkv, .gif or .png"
        )
    if suffix == ".png" and num_frames != 1:
        raise ValueError(f"{path}: a PNG holds one frame, and there are {num_frames}; use .mp4, or num_frames=1")


def save_video(
    path: Path,
    frames: np.ndarray,
    frame_rate: float,
    provenance: Provenance | None,
    *,
    soundtrack: Sequence[Soundtrack] = (),
    exact: bool = False,
) -> None:
    """Write uint8 frames (T, H, W, 3) in the format that the suffix names.

    Args:
        path, frames, frame_rate: what to write, and where.
        provenance: how they were made.
        soundtrack: pieces of sound; a format without sound loses them, which is logged.
        exact: every frame of a video comes back at 45 dB or better; a PNG is exact always, and that a GIF with its
            256 colours is not is logged.
    """
    check_suffix(path, len(frames))
    suffix = path.suffix.lower()
    if soundtrack and suffix in (".gif", ".png"):
        logger.warning("%s: a %s file has no sound, so the soundtrack is lost; .mp4 keeps it", path, suffix)
    if exact and suffix == ".gif":
        logger.warning("%s: a GIF has 256 colours, so the given frames are changed; .mp4 keeps them", path)
    metadata = provenance.to_metadata() if provenance else {}
    match suffix:
        case ".png":
            text = PngImagePlugin.PngInfo()
            for key, value in metadata.items():
                text.add_itxt(key, value)
            with atomic_path(path) as temporary:
                Image.fromarray(frames[0]).save(temporary, format="PNG", pnginfo=text)
        case ".gif":
            from ..data.sheets import save_gif

            save_gif(frames, frame_rate, path)
            if KEY in metadata:
                _add_gif_comment(path, metadata[KEY])
        case _:
            from ..data.video_io import write_video, write_video_exactly

            write = write_video_exactly if exact else write_video
            write(path, frames, frame_rate, metadata=metadata, soundtrack=soundtrack)


def _add_gif_comment(path: Path, text: str) -> None:
    """Put a comment extension (GIF89a, section 24) after the header: Pillow finds it with the first frame."""
    data = path.read_bytes()
    colours = 3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0
    start, body = 13 + colours, text.encode()
    blocks = b"".join(bytes([len(part)]) + part for part in (body[i : i + 255] for i in range(0, len(body), 255)))
    with atomic_path(path) as temporary:
        temporary.write_bytes(data[:start] + b"\x21\xfe" + blocks + b"\x00" + data[start:])
