"""The Canvas: what is known of a video before sampling. Every task is a function that returns one.

Text to video knows nothing and starts every frame as noise. Animating an image knows the first latent frame;
extending a clip knows its last frames; inpainting knows the tokens outside a mask; remixing knows everything
but starts each frame half-way up the noise. The sampler sees no tasks, only the canvas.
"""

from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Canvas:
    """Known latents, and how noisy each latent frame starts. One canvas serves every video of a batch.

    Attributes:
        latents: (B or 1, C, F, h, w) normalised latents; anything where nothing is known and `start` is 1.
        known: (1, 1, F, h, w) bool, the tokens that are given and stay as they are.
        start: (F,) noise level in [0, 1]. A frame with an unknown token descends from here to 0 (1: from pure
            noise; less: from its latents, noised so far). A frame that is wholly known is held here (0: clean;
            a little more steadies long rollouts).
        text_of_frame: for each frame, which of the video's texts it follows; all zeros with one text.

    Raises:
        ValueError: shapes that do not agree, or levels outside [0, 1].
    """

    latents: torch.Tensor
    known: torch.Tensor
    start: torch.Tensor
    text_of_frame: tuple[int, ...]

    def __post_init__(self) -> None:
        frames, height, width = self.latents.shape[-3:]
        if self.latents.ndim != 5:
            raise ValueError(f"latents have shape {tuple(self.latents.shape)}; a canvas needs (B, C, F, h, w)")
        if self.known.shape != (1, 1, frames, height, width) or self.known.dtype != torch.bool:
            raise ValueError(
                f"known is {self.known.dtype} {tuple(self.known.shape)}; latents {tuple(self.latents.shape)} "
                f"need bool {(1, 1, frames, height, width)}"
            )
        if self.start.shape != (frames,) or not bool(((self.start >= 0) & (self.start <= 1)).all()):
            raise ValueError(f"start is {self.start.tolist()}; it needs {frames} noise levels in [0, 1]")
        if len(self.text_of_frame) != frames or min(self.text_of_frame) < 0:
            raise ValueError(f"text_of_frame is {self.text_of_frame}; it needs {frames} indices of texts")

    @property
    def unknown_frames(self) -> torch.Tensor:
        """(F,) bool: the frames that have something to sample."""
        return ~self.known.flatten(3).all(-1).flatten()

    @property
    def num_texts(self) -> int:
        """How many texts each video has: 1, or the number of spans of its storyboard."""
        return max(self.text_of_frame) + 1

    def to(self, device: torch.device | str) -> "Canvas":
        """The same canvas on a device."""
        return replace(
            self, latents=self.latents.to(device), known=self.known.to(device), start=self.start.to(device)
        )


def text_to_video(channels: int, frames: int, height: int, width: int) -> Canvas:
    """Nothing is known; sizes are those of the latents."""
    return Canvas(
        latents=torch.zeros(1, channels, frames, height, width),
        known=torch.zeros(1, 1, frames, height, width, dtype=torch.bool),
        start=torch.ones(frames),
        text_of_frame=(0,) * frames,
    )


def text_to_image(channels: int, height: int, width: int) -> Canvas:
    """An image is a video of one latent frame."""
    return text_to_video(channels, 1, height, width)


def with_known(canvas: Canvas, latents: torch.Tensor, known: torch.Tensor, held_at: float = 0.0) -> Canvas:
    """Write given latents on a canvas.

    Args:
        canvas: what is known already.
        latents: (B or 1, C, F, h, w) normalised latents, read where `known` is true.
        known: bool, broadcastable to (1, 1, F, h, w).
        held_at: noise level in [0, 1] at which frames that are now wholly known are shown to the model.
    """
    known = known.expand_as(canvas.known)
    merged = torch.where(known, latents, canvas.latents)
    result = replace(canvas, latents=merged, known=canvas.known | known)
    touched = known.flatten(3).any(-1).flatten()
    whole = ~result.unknown_frames & touched
    return replace(result, start=torch.where(whole, canvas.start.new_tensor(held_at), canvas.start))


def with_text_spans(canvas: Canvas, text_of_frame: tuple[int, ...]) -> Canvas:
    """Let each frame follow its own text: a storyboard."""
    return replace(canvas, text_of_frame=text_of_frame)
