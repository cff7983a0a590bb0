"""Runs an encoder or decoder tile by tile and blends the overlaps."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from .layers import StreamCache


@dataclass
class StreamState:
    """What a stream remembers between chunks: a cache for each tile, named by its first row and column."""

    caches: dict[tuple[int, int], StreamCache] = field(default_factory=dict)

    def cache(self, row: int = 0, column: int = 0) -> StreamCache:
        """The cache of one tile, made on first use."""
        return self.caches.setdefault((row, column), {})

    def num_bytes(self) -> int:
        """Bytes held for the past, over all tiles."""
        return sum(t.numel() * t.element_size() for cache in self.caches.values() for t in cache.values())


def run_tiled(
    run: Callable[[torch.Tensor, StreamCache | None], torch.Tensor],
    x: torch.Tensor,
    *,
    tile: int,
    overlap: int,
    in_cell: int,
    out_cell: int,
    state: StreamState | None = None,
) -> torch.Tensor:
    """Apply `run` to overlapping square tiles of x and join the results.

    Weights rise linearly over the middle half of each overlap; a tile's outermost cells, which zero padding
    spoils, count for nothing.

    Args:
        run: takes a tile and its stream's cache; returns a tensor (B, C, T, H, W).
        x: (B, C, T, H, W).
        tile: side of a tile, in latent cells.
        overlap: cells that neighbours share, less than `tile`.
        in_cell, out_cell: a latent cell's side in x and in the result.
        state: of the stream that x is a chunk of; None if x is a whole clip.
    """
    height, width = x.shape[-2] // in_cell, x.shape[-1] // in_cell
    result = weights = None
    for top, bottom in tile_spans(height, tile, overlap):
        for left, right in tile_spans(width, tile, overlap):
            part = x[..., top * in_cell : bottom * in_cell, left * in_cell : right * in_cell]
            part = run(part.contiguous(), state.cache(top, left) if state else None)
            rows = ramp(top, bottom, height, overlap, out_cell).to(part)
            columns = ramp(left, right, width, overlap, out_cell).to(part)
            weight = rows[:, None] * columns
            if result is None or weights is None:
                result = part.new_zeros(*part.shape[:-2], height * out_cell, width * out_cell)
                weights = part.new_zeros(height * out_cell, width * out_cell)
            window = (..., slice(top * out_cell, bottom * out_cell), slice(left * out_cell, right * out_cell))
            result[window] += part * weight
            weights[window] += weight
    assert result is not None and weights is not None
    return result.div_(weights)


def tile_spans(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """First and past-the-last cell of each tile; the last one ends at `length` and may overlap more."""
    if length <= tile:
        return [(0, length)]
    starts = [*range(0, length - tile, tile - overlap), length - tile]
    return [(start, start + tile) for start in starts]


def ramp(start: int, end: int, length: int, overlap: int, cell: int) -> torch.Tensor:
    """Blending weights of one tile along one axis, (0, 1]; flat at the ends of the whole."""
    size, rise = (end - start) * cell, overlap * cell
    position = torch.arange(size, dtype=torch.float32) + 0.5
    share = torch.ones(size)  # of the overlap that lies between here and the tile's edge
    if rise and start > 0:
        share = torch.minimum(share, position / rise)
    if rise and end < length:
        share = torch.minimum(share, (size - position) / rise)
    return (2 * share - 0.5).clamp(1e-4, 1.0)
