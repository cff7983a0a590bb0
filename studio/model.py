"""What a server knows of its model without loading it: from the checkpoint's files."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..pipeline.checkpoint import find_checkpoint
from .wish import Wish

NAME = "kinema"  # of the packaged checkpoint


@dataclass(frozen=True)
class Model:
    """A checkpoint's own ways.

    Attributes:
        name: to be told to others: never a path.
        height, width: pixels.
        num_frames: of a clip.
        fps: frames a second.
        steps: of denoising.
        created: when its files were written, seconds since 1970.
    """

    name: str
    height: int
    width: int
    num_frames: int
    fps: float
    steps: int
    created: int = 0

    def size(self, wish: Wish) -> tuple[int, int]:
        """(width, height) that a wish will have, as far as it says."""
        return wish.width or self.width, wish.height or self.height

    def seconds(self, wish: Wish) -> float:
        """Length that a wish will have, as far as it says; the file's own is known when it is made."""
        if wish.num_frames is not None:
            return wish.num_frames / (wish.fps or self.fps)
        return wish.seconds or self.num_frames / self.fps


def read_model(model: str | None = None) -> Model:
    """
    Args:
        model: folder or hub id; None: the packaged checkpoint.

    Raises:
        CheckpointError: there is none.
    """
    folder = find_checkpoint(model)
    index: dict[str, Any] = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    return Model(
        name=NAME if model is None else Path(model).name,
        height=index["default_height"],
        width=index["default_width"],
        num_frames=index["default_num_frames"],
        fps=index["default_frame_rate"],
        steps=index["default_num_inference_steps"],
        created=int((folder / "model_index.json").stat().st_mtime),
    )
