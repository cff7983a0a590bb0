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
        given: (B or 1, T, 3, H, W) float32 pixels in [0, 1]; None: none are to come back.
        keep: (1, T, 1, H, W) bool, the pixels that come back exactly as given (`composite`); None like `given`.

    Raises:
        ValueError: shapes that do not agree, or levels outside [0, 1].
    """

    latents: torch.Tensor
    known: torch.Tensor
    start: torch.Tensor
    text_of_frame: tuple[int, ...]
    given: torch.Tensor | None = None
    keep: torch.Tensor | None = None

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
        if self.given is not None or self.keep is not None:
            _check_given(self.given, self.keep)

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
        names = ("latents", "known", "start", "given", "keep")
        moved = {name: value.to(device) for name in names if (value := getattr(self, name)) is not None}
        return replace(self, **moved)


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


def with_known_frames(canvas: Canvas, first: int, latents: torch.Tensor) -> Canvas:
    """Write whole latent frames (B or 1, C, f, h, w) on a canvas, from frame `first` on."""
    frames = torch.arange(len(canvas.start), device=latents.device)
    span = (frames >= first) & (frames < first + latents.shape[2])
    placed = latents.new_zeros(*latents.shape[:2], *canvas.latents.shape[2:])
    placed[:, :, span] = latents
    return with_known(canvas, placed, span[:, None, None])


def with_given(canvas: Canvas, given: torch.Tensor, keep: torch.Tensor) -> Canvas:
    """Let given pixels come back exactly.

    Args:
        canvas: what is known already.
        given: (B or 1, T, 3, H, W) float32 in [0, 1], read where `keep` is true.
        keep: bool, broadcastable to (1, T, 1, H, W).
    """
    _, frames, _, height, width = given.shape
    return replace(canvas, given=given, keep=keep.expand(1, frames, 1, height, width))


def with_text_spans(canvas: Canvas, text_of_frame: tuple[int, ...]) -> Canvas:
    """Let each frame follow its own text: a storyboard."""
    return replace(canvas, text_of_frame=text_of_frame)


def _check_given(given: torch.Tensor | None, keep: torch.Tensor | None) -> None:
    if given is None or keep is None:
        raise ValueError("only one of given and keep is set; a canvas needs both, or neither")
    if given.ndim != 5 or given.shape[2] != 3 or given.dtype != torch.float32:
        raise ValueError(f"given is {given.dtype} {tuple(given.shape)}; it needs float32 (B, T, 3, H, W)")
    _, frames, _, height, width = given.shape
    if keep.shape != (1, frames, 1, height, width) or keep.dtype != torch.bool:
        raise ValueError(
            f"keep is {keep.dtype} {tuple(keep.shape)}; given {tuple(given.shape)} needs bool "
            f"{(1, frames, 1, height, width)}"
        )
