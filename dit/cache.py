"""Keys and values of finished frames, for block-causal streaming.

A block-causal forward lets each group of latent frames (a block) see itself and earlier blocks. What earlier
blocks contribute never changes, so it can be kept: generate a block over the cache, then run it once more at
its final (small) noise level with `recording()` to add its own keys and values.

    cache = KVCache(frames_per_block=1, window=8)
    for block in blocks:
        x = denoise(lambda x, t: transformer(x, t, text, frame_times=..., kv_cache=cache))   # reads
        with cache.recording():
            transformer(x, context_noise, text, frame_times=..., kv_cache=cache)             # appends

With a window the cache keeps only the blocks that a later block can see, so memory is constant at any length.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class LayerCache:
    """Keys and values of one self-attention layer, already normalised and rotated."""

    def __init__(self) -> None:
        self.key: torch.Tensor | None = None  # (B, N, heads, head_dim)
        self.value: torch.Tensor | None = None

    def extend(
        self, key: torch.Tensor, value: torch.Tensor, *, record: bool, keep: int | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cached and given keys and values, joined along tokens; stored if `record`, the last `keep` of them."""
        if self.key is not None and self.value is not None:
            key = torch.cat([self.key, key], dim=1)
            value = torch.cat([self.value, value], dim=1)
        if record:
            start = 0 if keep is None else max(0, key.shape[1] - keep)
            # A clone lets go of the dropped tokens; a slice would keep their memory alive.
            self.key = key[:, start:].clone() if start else key
            self.value = value[:, start:].clone() if start else value
        return key, value


class KVCache:
    """The state of a block-causal rollout: one `LayerCache` per transformer block, and what was recorded.

    Args:
        frames_per_block: latent frames per block, the mask's unit.
        window: how many blocks a block sees, itself included; None: all earlier ones.

    Raises:
        ValueError: if an argument is below 1.
    """

    def __init__(self, frames_per_block: int = 1, window: int | None = None):
        if frames_per_block < 1:
            raise ValueError(f"frames_per_block is {frames_per_block}; it needs at least 1")
        if window is not None and window < 1:
            raise ValueError(f"window is {window} blocks; it needs at least 1 (the block itself), or None for all")
        self.frames_per_block = frames_per_block
        self.window = window
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.layers: list[LayerCache] = []
        self.num_frames = 0  # latent frames recorded so far, dropped ones included
        self.num_cached_frames = 0  # of these, how many are still held
        self.grid: tuple[int, int, int] | None = None  # batch, rows, columns of what is held
        self.is_recording = False

    @contextmanager
    def recording(self) -> Iterator["KVCache"]:
        """Forward passes inside this context append their frames; outside they only read."""
        self.is_recording = True
        try:
            yield self
        finally:
            self.is_recording = False

    @property
    def frames_to_keep(self) -> int | None:
        """Latent frames that a later block can still see; None: all."""
        return None if self.window is None else (self.window - 1) * self.frames_per_block

    @property
    def nbytes(self) -> int:
        """Memory of the cached keys and values, in bytes."""
        tensors = [t for layer in self.layers for t in (layer.key, layer.value) if t is not None]
        return sum(t.numel() * t.element_size() for t in tensors)

    def check(self, batch: int, rows: int, columns: int, num_layers: int) -> None:
        """Make sure that frames of this shape (in tokens) can follow what is cached.

        Raises:
            ValueError: if the shape differs, or the recorded frames end in the middle of a block.
        """
        if not self.layers:
            self.layers = [LayerCache() for _ in range(num_layers)]
        if len(self.layers) != num_layers:
            raise ValueError(
                f"the cache holds {len(self.layers)} layers, the transformer has {num_layers}; make a new KVCache"
            )
        if self.grid is not None and self.grid != (batch, rows, columns):
            raise ValueError(
                f"the cache holds (batch, rows, columns) = {self.grid}, the input has {(batch, rows, columns)} "
                "tokens; call reset() before a rollout of another shape"
            )
        if self.num_frames % self.frames_per_block:
            raise ValueError(
                f"{self.num_frames} recorded frames end in the middle of a block of {self.frames_per_block}; "
                "only the last recording may be shorter than a whole number of blocks"
            )

    def advance(self, batch: int, num_frames: int, rows: int, columns: int) -> None:
        """Count `num_frames` frames that the layers have just recorded."""
        self.num_frames += num_frames
        self.grid = (batch, rows, columns)
        held = self.num_cached_frames + num_frames
        self.num_cached_frames = held if self.frames_to_keep is None else min(held, self.frames_to_keep)


def block_causal_mask(
    num_frames: int, frames_per_block: int, window: int | None = None, *, start: int = 0, cached: int = 0
) -> torch.Tensor | None:
    """Which frames see which: (num_frames, cached + num_frames) bool, True where attention is allowed.

    Frame f belongs to block f // frames_per_block and sees its own block and the `window - 1` before it.

    Args:
        num_frames: frames of the query.
        frames_per_block: frames of a block.
        window: blocks seen, the own one included; None: all earlier ones.
        start: index of the first query frame in its clip.
        cached: frames held in the cache just before `start`.

    Returns:
        The mask, or None where every frame sees every other.
    """
    query = torch.arange(start, start + num_frames)[:, None] // frames_per_block
    key = torch.arange(start - cached, start + num_frames)[None, :] // frames_per_block
    mask = key <= query
    if window is not None:
        mask &= key > query - window
    return None if bool(mask.all()) else mask
