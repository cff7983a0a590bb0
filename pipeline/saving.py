"""Writing frames to a file with their provenance: H.264 videos, GIFs, and PNGs of one frame."""

from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from ..data.files import atomic_path
from .provenance import KEY, Provenance

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


def save_video(path: Path, frames: np.ndarray, frame_rate: float, provenance: Provenance | None) -> None:
    """Write uint8 frames (T, H, W, 3) in the format that the suffix names."""
    check_suffix(path, len(frames))
    metadata = provenance.to_metadata() if provenance else {}
    match path.suffix.lower():
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
            from ..data.video_io import write_video

            write_video(path, frames, frame_rate, metadata=metadata)


def _add_gif_comment(path: Path, text: str) -> None:
    """Put a comment extension (GIF89a, section 24) after the header: Pillow finds it with the first frame."""
    data = path.read_bytes()
    colours = 3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0
    start, body = 13 + colours, text.encode()
    blocks = b"".join(bytes([len(part)]) + part for part in (body[i : i + 255] for i in range(0, len(body), 255)))
    with atomic_path(path) as temporary:
        temporary.write_bytes(data[:start] + b"\x21\xfe" + blocks + b"\x00" + data[start:])
