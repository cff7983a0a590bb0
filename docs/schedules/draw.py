"""Draws the pictures of docs/schedules.md: `python docs/schedules/draw.py`."""

from functools import partial
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from kinema.pipeline.canvas import Canvas, text_to_video, with_known
from kinema.pipeline.schedules import Schedule, equal, noise_levels, rolling, staircase

FOLDER = Path(__file__).parent
CELL_WIDTH, CELL_HEIGHT, LEFT, TOP = 34, 16, 46, 40
CLEAN, NOISE = (255, 247, 224), (38, 52, 110)  # colours of levels 0 and 1
STEPS = 12


def empty(frames: int) -> Canvas:
    """Nothing is known."""
    return text_to_video(1, frames, 1, 1)


def with_known_ends(frames: int) -> Canvas:
    """The first frame and the last are known."""
    known = torch.zeros(1, 1, frames, 1, 1, dtype=torch.bool)
    known[:, :, [0, -1]] = True
    return with_known(empty(frames), torch.zeros(1, 1, frames, 1, 1), known)


PICTURES: dict[str, tuple[Schedule, Canvas]] = {
    "equal": (equal, empty(5)),
    "equal-known": (equal, with_known_ends(5)),
    "staircase": (partial(staircase, lag=1), empty(5)),
    "staircase-3": (partial(staircase, lag=3), empty(5)),
    "rolling": (partial(rolling, window=4), empty(16)),
}


def draw(levels: torch.Tensor) -> Image.Image:
    """One row a step and one column a latent frame, the darker the noisier."""
    rows, frames = levels.shape
    size = (LEFT + frames * CELL_WIDTH + 8, TOP + rows * CELL_HEIGHT + 8)
    picture = Image.new("RGB", size, (255, 255, 255))
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    pen.text((6, 4), "step   latent frame", fill=(60, 60, 60), font=font)
    for frame in range(frames):
        pen.text((LEFT + frame * CELL_WIDTH + 12, 22), str(frame), fill=(60, 60, 60), font=font)
    for row, of_row in enumerate(levels.tolist()):
        top = TOP + row * CELL_HEIGHT
        name = "end" if row == rows - 1 else str(row)
        pen.text((12, top + 1), name, fill=(60, 60, 60), font=font)
        for frame, level in enumerate(of_row):
            colour = tuple(round(clean + level * (noise - clean)) for clean, noise in zip(CLEAN, NOISE))
            left = LEFT + frame * CELL_WIDTH
            pen.rectangle((left, top, left + CELL_WIDTH - 2, top + CELL_HEIGHT - 2), fill=colour)
            ink = (255, 255, 255) if level > 0.3 else (90, 90, 90)
            pen.text((left + 5, top + 1), f"{level:.2f}", fill=ink, font=font)
    return picture


def main() -> None:
    """Draw them all."""
    sigmas = torch.linspace(1, 0, STEPS + 1)
    for name, (schedule, canvas) in PICTURES.items():
        picture = draw(noise_levels(sigmas, canvas, schedule))
        picture.quantize(64).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
