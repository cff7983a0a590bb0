"""What the pipeline returns: frames, how they were made, and a way to save them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.utils import BaseOutput
from PIL import Image, PngImagePlugin

from ..data.files import atomic_path
from .provenance import KEY, Provenance

OUTPUT_TYPES = ("np", "pt", "pil", "latent")
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv")


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
    """

    frames: Any
    frame_rate: float | None = None
    provenance: list[Provenance] | None = None
    warnings: list[str] | None = None
    output_type: str | None = None

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

    def save(self, path: str | Path) -> list[Path]:
        """Write the videos, with their provenance inside.

        Args:
            path: .mp4, .mov or .mkv; .gif; or .png for single frames. Several videos get "-0", "-1" … before
                the suffix.

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
            save_video(name, frames, self.frame_rate or 1.0, made)
        return names


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
