"""A canvas before its pixels are encoded: everything is read and checked, and no model has run yet.

    seen = look("ball.mp4")  # a task's function reads what is given ...
    draft = remix_draft(...)  # ... and says how it lies on the canvas
    pipe("a blue ball", canvas=draft)  # checks the rest of the call, then encodes

A task is a function that writes on an empty canvas what it knows. `Encoder` gives it the three ways in which
pixels become latents.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from einops import rearrange

from ..data.soundtrack import Soundtrack
from ..vae.context import encode_still, encode_suffix
from ..vae.latents import encode_latents, temporal_stride
from .canvas import Canvas, text_to_video
from .grid import Grid


@dataclass(frozen=True)
class Encoder:
    """Frames (B, T, 3, H, W) in [0, 1] to normalised latents (B, C, F, h, w).

    Attributes:
        vae: the autoencoder.
        device: where it runs.
    """

    vae: Any
    device: torch.device

    @property
    def stride(self) -> int:
        """Pixel frames per latent frame."""
        return temporal_stride(self.vae)

    def clip(self, frames: torch.Tensor) -> torch.Tensor:
        """A clip of its own: 1 + k · stride frames to 1 + k latent frames."""
        return encode_latents(self.vae, self._pixels(frames))

    def suffix(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames that some to be made come before: m · stride frames to m latent frames."""
        return encode_suffix(self.vae, self._pixels(frames))

    def still(self, frame: torch.Tensor) -> torch.Tensor:
        """One frame (T = 1) to the latent frame that shows it throughout."""
        return encode_still(self.vae, self._pixels(frame))

    def _pixels(self, frames: torch.Tensor) -> torch.Tensor:
        return rearrange(frames.to(self.device) * 2 - 1, "b t c h w -> b c t h w")


LayOut = Callable[[Canvas, Encoder], Canvas]  # writes what is known on an empty canvas


def nothing_known(canvas: Canvas, encode: Encoder) -> Canvas:
    """Text to video: the canvas stays empty."""
    return canvas


@dataclass(frozen=True)
class Draft:
    """What is to be made, and what of it is given.

    Attributes:
        num_frames, height, width: of the video, in pixels, on the grid.
        frame_rate: frames per second.
        lay_out: writes the given things on the empty canvas; the only part that runs a model.
        prompts: the texts of a storyboard, which then stand for the call's prompt.
        num_texts: texts that each video's frames follow.
        batch: videos that are given; 1 serves any number.
        channels: of the latents, if a canvas was laid out already.
        task: what the call is, such as "inpaint".
        settings: its settings, simple values; files by the names that the caller gave.
        in_memory: the given things that are no files, so that a command cannot give them.
        notes: what was conformed, and what else the caller should know.
        soundtrack: sound of given videos whose frames are kept.
        exact: whether given frames come back exactly.
    """

    num_frames: int
    height: int
    width: int
    frame_rate: float
    lay_out: LayOut = nothing_known
    prompts: tuple[str, ...] = ()
    num_texts: int = 1
    batch: int = 1
    channels: int | None = None
    task: str = "generate"
    settings: Mapping[str, Any] = field(default_factory=dict)
    in_memory: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    soundtrack: tuple[Soundtrack, ...] = ()
    exact: bool = False

    def canvas(self, vae: Any, device: torch.device, grid: Grid, channels: int) -> Canvas:
        """Encode what is given and lay it out."""
        blank = text_to_video(channels, *grid.latent_shape(self.num_frames, self.height, self.width))
        return self.lay_out(blank.to(device), Encoder(vae, device)).to(device)


def draft_of_canvas(canvas: Canvas, grid: Grid, frame_rate: float) -> Draft:
    """A canvas that the caller has laid out."""
    frames, height, width = grid.pixel_shape(canvas.latents.shape[-3:])
    return Draft(
        frames, height, width, frame_rate, lambda blank, encode: canvas,
        num_texts=canvas.num_texts, batch=len(canvas.latents), channels=canvas.latents.shape[1],
        task="canvas", exact=canvas.keep is not None,
    )  # fmt: skip


def named(draft: Draft, task: str, sources: Mapping[str, Any], **settings: Any) -> Draft:
    """The same draft, saying which task it is of and what it was given.

    Args:
        draft: what is to be made.
        task: its name.
        sources: given media by the names of their arguments. Paths and URLs are told as they were given; others
            as things in memory.
        settings: the task's other settings, simple values.
    """
    files = {name: str(source) for name, source in sources.items() if isinstance(source, str | Path)}
    memory = tuple(f"{name} from memory" for name in sources if name not in files)
    plain = {name: plain_numbers(value) for name, value in settings.items()}
    return replace(draft, task=task, settings={**files, **plain}, in_memory=memory)


def plain_numbers(value: Any) -> Any:
    """Numpy's and torch's numbers, also in lists, as Python's own, which can be written down and read back."""
    if isinstance(value, list | tuple):
        return [plain_numbers(each) for each in value]
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
