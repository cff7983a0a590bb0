"""What the pipeline returns: frames, how they were made, and a way to save them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.utils.outputs import BaseOutput
from PIL import Image

from ..data.soundtrack import Soundtrack
from .provenance import Provenance
from .saving import save_video

OUTPUT_TYPES = ("np", "pt", "pil", "latent")


def as_output_type(frames: torch.Tensor, output_type: str) -> Any:
    """Frames (B, T, 3, H, W) in [0, 1] as "np", "pt" or "pil", see `KinemaPipelineOutput.frames`."""
    if output_type == "pt":
        return frames
    array = frames.movedim(2, -1).contiguous().cpu().numpy()
    if output_type == "np":
        return array
    return [[Image.fromarray(frame) for frame in video] for video in (array * 255).round().astype(np.uint8)]


@dataclass
class KinemaPipelineOutput(BaseOutput):
    """Videos and their provenance.

    Attributes:
        frames: by `output_type`: "np", float array (B, T, H, W, 3) in [0, 1]; "pt", tensor (B, T, 3, H, W) in
            [0, 1]; "pil", a list of pictures per video; "latent", normalised latents (B, C, F, h, w).
        frame_rate: frames per second.
        provenance: one entry per video.
        warnings: what the caller should know: words the model does not know, prompts cut short.
        output_type: one of `OUTPUT_TYPES`, what `frames` are.
        soundtrack: pieces of given videos' sound, saved with every video; None: silent.
        exact: whether some of the frames are given ones; they are then saved at 45 dB or better.
        interrupted: whether the call was stopped before its last step; the frames are then the estimate of its
            last finished step. Before the first step it is what was given, and the mean of all videos elsewhere.
    """

    frames: Any
    frame_rate: float | None = None
    provenance: list[Provenance] | None = None
    warnings: list[str] | None = None
    output_type: str | None = None
    soundtrack: tuple[Soundtrack, ...] | None = None
    exact: bool | None = None
    interrupted: bool = False

    def videos(self) -> list[np.ndarray]:
        """Every video as uint8 (T, H, W, 3), whatever the output type.

        Raises:
            ValueError: the output is latents.
        """
        if self.output_type == "latent":
            raise ValueError(
                'these frames are latents (output_type="latent"); decode them with '
                'kinema.vae.latents.decode_latents, or call the pipeline with output_type "np", "pt" or "pil"'
            )
        if isinstance(self.frames, list):
            return [np.stack([np.asarray(picture.convert("RGB")) for picture in video]) for video in self.frames]
        frames = self.frames
        if isinstance(frames, torch.Tensor):
            frames = frames.float().permute(0, 1, 3, 4, 2).cpu().numpy()
        return list((frames * 255).round().clip(0, 255).astype(np.uint8))

    def __repr__(self) -> str:
        """What it is, without its numbers."""
        frames = self.frames
        shape = tuple(frames.shape) if hasattr(frames, "shape") else f"{len(frames)} lists of pictures"
        return f"KinemaPipelineOutput({self.output_type} frames {shape}, {self.frame_rate} a second)"

    def save(self, path: str | Path, exact: bool | None = None) -> list[Path]:
        """Write the videos, with their soundtrack, and with their provenance inside.

        Args:
            path: .mp4, .m4v, .mov or .mkv; .gif; or .png for single frames. Several videos get "-0", "-1" … before
                the suffix.
            exact: whether every frame of a video file must come back at 45 dB or better. That often takes full
                colour resolution, which not every player shows; False makes a file that plays everywhere. None: if
                some of the frames are given ones.

        Returns:
            The files written.

        Raises:
            ValueError: a suffix that cannot hold the frames.
        """
        path, videos = Path(path), self.videos()
        names = [path]
        if len(videos) > 1:
            names = [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(len(videos))]
        provenance = self.provenance or [None] * len(videos)
        for name, frames, made in zip(names, videos, provenance):
            save_video(
                name,
                frames,
                self.frame_rate or 1.0,
                made,
                soundtrack=self.soundtrack or (),
                exact=bool(self.exact) if exact is None else exact,
            )
        return names
