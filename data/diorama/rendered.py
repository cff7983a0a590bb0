"""Diorama clips that were rendered once into a folder of arrays: for loops that see each clip many times.

A folder holds scenes.jsonl (a scene a line) and frames.npy (N, T, H, W, 3) uint8, mapped into memory as needed.
`data.source` may name such a folder.
"""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from einops import rearrange
from torch.utils.data import Dataset

from .captions import captions
from .scene import Scene

SCENES, FRAMES = "scenes.jsonl", "frames.npy"
STORED_FPS = 8.0
HELDOUT_EVERY = 50  # of the clips, the first of every 50 is held out


def is_rendered(folder: str | Path) -> bool:
    """Whether the folder holds rendered clips."""
    return (Path(folder) / SCENES).is_file() and (Path(folder) / FRAMES).is_file()


class RenderedClips(Dataset[dict[str, Any]]):
    """Clips of a rendered folder, each `num_frames` frames at `fps` from its start.

    Raises:
        ValueError: another shape than the stored one, a rate that does not divide 8, or more frames than stored.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        height: int,
        width: int,
        num_frames: int,
        fps: float,
        seed: int = 0,
        split: Literal["train", "heldout"] = "train",
    ) -> None:
        self.folder, self.num_frames, self.fps, self.seed = Path(folder), num_frames, fps, seed
        every = STORED_FPS / fps
        self.every = round(every)
        stored = self.frames.shape
        if stored[2:4] != (height, width) or abs(every - self.every) > 1e-6 or self.every < 1:
            raise ValueError(
                f"{folder} holds {stored[2]} x {stored[3]} clips at {STORED_FPS:g} frames a second; "
                f"{height} x {width} at {fps:g} was asked for. It needs data.height and data.width as stored, "
                "and a data.fps that divides the rate"
            )
        if 1 + (num_frames - 1) * self.every > stored[1]:
            raise ValueError(
                f"{folder} holds clips of {stored[1]} frames; {num_frames} at {fps:g} a second need "
                f"{1 + (num_frames - 1) * self.every}; lower data.num_frames"
            )
        self.numbers = [n for n in range(len(self.scenes)) if (n % HELDOUT_EVERY == 0) == (split == "heldout")]

    @cached_property
    def frames(self) -> np.ndarray:
        """All clips, mapped into memory: (N, T, H, W, 3) uint8."""
        return np.load(self.folder / FRAMES, mmap_mode="r")

    @cached_property
    def scenes(self) -> list[str]:
        """A scene's JSON per clip."""
        return (self.folder / SCENES).read_text(encoding="utf-8").splitlines()

    def __len__(self) -> int:
        return len(self.numbers)

    def describe(self, index: int) -> dict[str, Any]:
        """All of clip `index` but its pixels."""
        number = self.numbers[index]
        scene = Scene.from_json(self.scenes[number])
        return {
            "id": f"{self.folder.name}-{number}",
            "index": index,
            "captions": captions(scene, self.seed),
            "fps": self.fps,
            "scene": self.scenes[number],
        }

    def __getitem__(self, index: int) -> dict[str, Any]:
        last = 1 + (self.num_frames - 1) * self.every
        clip = torch.from_numpy(self.frames[self.numbers[index], : last : self.every].copy())
        return self.describe(index) | {"pixel_values": rearrange(clip, "t h w c -> c t h w").contiguous()}
