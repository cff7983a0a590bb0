"""Pictures of clips for people: contact sheets (one row a clip) and GIFs."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .files import atomic_path

BACKGROUND = (24, 24, 27)
TEXT = (228, 228, 231)
GAP = 4  # pixels between frames


def contact_sheet(
    rows: Sequence[tuple[str, np.ndarray]],
    columns: int = 8,
    *,
    tile_height: int | None = None,
    font_size: int = 14,
) -> Image.Image:
    """Draw clips as rows of evenly spaced frames under their titles.

    Args:
        rows: (title, frames) per clip; frames are uint8 (T, H, W, 3) and may differ in shape between rows.
        columns: frames shown of each clip, first and last included; a shorter clip shows all it has.
        tile_height: height of a drawn frame in pixels; None keeps the frames' own, doubled until it is at
            least 96 pixels so that small clips stay legible.
        font_size: height of the titles in pixels.

    Raises:
        ValueError: no row, or frames of another type or shape.
    """
    if not rows or columns < 1:
        raise ValueError(f"a contact sheet needs a row and a column; it got {len(rows)} rows, {columns} columns")
    strips = [(title, _strip(_checked(frames, title), columns, tile_height)) for title, frames in rows]
    font = ImageFont.load_default(font_size)
    width = max(strip.width for _, strip in strips) + 2 * GAP
    letters = max(8, int((width - 2 * GAP) / font.getlength("n")))
    line = math.ceil(font_size * 1.35)
    titles = [textwrap.wrap(title, letters) for title, _ in strips]
    heights = [line * len(lines) + strip.height + 3 * GAP for lines, (_, strip) in zip(titles, strips)]

    sheet = Image.new("RGB", (width, sum(heights) + GAP), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    top = GAP
    for lines, (_, strip), height in zip(titles, strips, heights):
        for number, text in enumerate(lines):
            draw.text((GAP, top + number * line), text, fill=TEXT, font=font)
        sheet.paste(strip, (GAP, top + len(lines) * line + GAP))
        top += height
    return sheet


def save_gif(frames: np.ndarray, fps: float, path: str | Path) -> Path:
    """Write frames as a GIF that loops for ever; returns its path.

    All frames share one palette, so still areas do not flicker. GIF times are hundredths of a second: each
    frame is rounded so that the whole keeps its length.

    Args:
        frames: uint8 (T, H, W, 3).
        fps: frames per second, at most 50 (browsers slow down anything faster).
    """
    frames = _checked(frames, str(path))
    if not 0 < fps <= 50:
        raise ValueError(f"{path}: a GIF cannot play {fps} frames per second; it needs 0 < fps <= 50")
    palette = Image.fromarray(np.concatenate(_spaced(frames, 16))).quantize(256)
    pictures = [Image.fromarray(frame).quantize(palette=palette) for frame in frames]
    ends = [round(100 * (k + 1) / fps) for k in range(len(frames))]
    durations = [10 * (end - start) for start, end in zip([0, *ends], ends)]
    with atomic_path(path) as temporary:
        pictures[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=durations,
            loop=0,
            disposal=1,
        )
    return Path(path)


def _checked(frames: np.ndarray, name: str) -> np.ndarray:
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(
            f"{name!r}: frames are {frames.dtype} {frames.shape}; they need to be uint8 (T, H, W, 3) "
            "(kinema.data.pixels.to_frames converts a tensor)"
        )
    return frames


def _spaced(frames: np.ndarray, count: int) -> list[np.ndarray]:
    count = min(count, len(frames))
    return [frames[k] for k in np.linspace(0, len(frames) - 1, count).round().astype(int)]


def _strip(frames: np.ndarray, columns: int, tile_height: int | None) -> Image.Image:
    _, height, width, _ = frames.shape
    rows: int = height << max(0, math.ceil(math.log2(96 / height))) if tile_height is None else tile_height
    tile = (max(1, round(width * rows / height)), rows)
    method = Image.Resampling.NEAREST if rows % height == 0 else Image.Resampling.LANCZOS
    shown = _spaced(frames, columns)
    strip = Image.new("RGB", (len(shown) * (tile[0] + GAP) - GAP, rows), BACKGROUND)
    for column, frame in enumerate(shown):
        strip.paste(Image.fromarray(frame).resize(tile, method), (column * (tile[0] + GAP), 0))
    return strip
