"""Rotary positions in three axes: time in seconds, rows and columns in tokens.

A rotary embedding (Su et al. 2021, arXiv:2104.09864) turns each pair of query and key channels by an angle
proportional to the token's position, so that their product depends on the distance alone. A third of the
pairs of every head follow time, a third rows, a third columns.

Time is in seconds, not in frame numbers: a clip at 8 frames/s and one at 24 that show the same movement get
the same angles, and the frame rate is a choice at generation. Periods are geometric from 0.1 s to 64 s.

Rows and columns count tokens, with geometric periods from 4 tokens (shorter ones alias between neighbours)
to 256 (frames up to 128 tokens wide never wrap). Token distances keep their meaning at any resolution: a
larger frame shows more tokens of the same detail. Where a token lies *in the frame* (sky is at the top) is
not for the rotary embedding to say; `frame_position_features` carries that, in normalised coordinates.
"""

import math

import torch
from torch import nn

SHORTEST_TIME_PERIOD, LONGEST_TIME_PERIOD = 0.1, 64.0  # seconds
SHORTEST_TOKEN_PERIOD, LONGEST_TOKEN_PERIOD = 4.0, 256.0  # tokens
FRAME_WAVES = (0.5, 1.0, 2.0, 4.0)  # half-turns from one frame border to the other, per Fourier feature
NUM_FRAME_FEATURES = 4 * len(FRAME_WAVES)  # sine and cosine, rows and columns


def pairs_per_axis(head_dim: int) -> tuple[int, int, int]:
    """Channel pairs of one head that follow time, rows and columns. Time gets what does not divide by 3.

    Raises:
        ValueError: if `head_dim` is odd or leaves an axis without a pair.
    """
    if head_dim % 2 or head_dim < 6:
        raise ValueError(f"attention_head_dim is {head_dim}; rotary positions need an even number of at least 6")
    space = head_dim // 6
    return head_dim // 2 - 2 * space, space, space


def _turns(positions: torch.Tensor, shortest: float, longest: float, pairs: int) -> torch.Tensor:
    """Angles (..., pairs) in radians of `positions` (...), for geometric periods; float32, of float64 too."""
    exponents = torch.linspace(0, 1, pairs, device=positions.device, dtype=torch.float32)
    periods = shortest * (longest / shortest) ** exponents
    cycles = (positions if positions.dtype == torch.float64 else positions.float())[..., None] / periods
    return (cycles - cycles.floor()).float() * (2 * math.pi)  # whole turns removed before sin and cos lose digits


class RotaryEmbedding3D(nn.Module):
    """Cosines and sines for a grid of tokens. It holds no weights and no buffers."""

    def __init__(self, head_dim: int):
        super().__init__()
        self.pairs = pairs_per_axis(head_dim)

    def forward(self, frame_times: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """Cosines and sines (B, F, rows * columns, 1, head_dim / 2, 2), float32.

        Args:
            frame_times: (B, F) seconds, the middle of what each token frame covers; B may be 1 to broadcast. In
                float64 the angles stay exact for days, in float32 for about an hour.
            rows, columns: tokens per frame side.
        """
        device = frame_times.device
        time_pairs, row_pairs, column_pairs = self.pairs
        batch, frames = frame_times.shape
        grid = (batch, frames, rows, columns)
        time = _turns(frame_times, SHORTEST_TIME_PERIOD, LONGEST_TIME_PERIOD, time_pairs)  # (B, F, pairs)
        row = _turns(torch.arange(rows, device=device), SHORTEST_TOKEN_PERIOD, LONGEST_TOKEN_PERIOD, row_pairs)
        column = _turns(
            torch.arange(columns, device=device), SHORTEST_TOKEN_PERIOD, LONGEST_TOKEN_PERIOD, column_pairs
        )
        angles = torch.cat(
            [
                time[:, :, None, None].expand(*grid, time_pairs),
                row[None, None, :, None].expand(*grid, row_pairs),
                column[None, None, None].expand(*grid, column_pairs),
            ],
            dim=-1,
        )  # (B, F, rows, columns, head_dim / 2)
        angles = angles.flatten(2, 3)[:, :, :, None]
        return torch.stack([angles.cos(), angles.sin()], dim=-1)


def rotate(x: torch.Tensor, rotary_emb: torch.Tensor, sign: int = 1) -> torch.Tensor:
    """Turn channel pairs (2i, 2i + 1) of `x` (B, N, heads, head_dim) float32; `sign=-1` turns them back.

    `rotary_emb` is (B or 1, N, 1, head_dim / 2, 2), cosines and sines.
    """
    pairs = x.unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():  # inductor fuses real arithmetic, but not complex
        (first, second), (cos, sin) = pairs.unbind(-1), rotary_emb.unbind(-1)
        sin = sign * sin
        turned = torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-1)
    else:  # one pass instead of seven
        angle = torch.view_as_complex(rotary_emb)
        turned = torch.view_as_real(torch.view_as_complex(pairs) * (angle if sign > 0 else angle.conj()))
    return turned.flatten(-2)


def frame_position_features(rows: int, columns: int, device: torch.device | str) -> torch.Tensor:
    """Fourier features (rows * columns, NUM_FRAME_FEATURES) of token centres in frame coordinates [-1, 1].

    Both sides are divided by the same length, sqrt(height * width), so a wide frame reaches beyond ±1 in x
    and stays inside in y: shapes keep their proportions under any aspect ratio.
    """
    scale = math.sqrt(rows * columns)
    y = (2 * torch.arange(rows, device=device, dtype=torch.float32) + 1 - rows) / scale
    x = (2 * torch.arange(columns, device=device, dtype=torch.float32) + 1 - columns) / scale
    points = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1)  # (rows * columns, 2)
    waves = torch.tensor(FRAME_WAVES, device=device) * (math.pi / 2)
    angles = (points[..., None] * waves).flatten(1)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
