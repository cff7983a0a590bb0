"""What happens in a clip: small networks over tracks and over the background's motion.

They see measured numbers (places, areas, the background's affine maps) and, of each thing, a small picture per
frame, whose change tells spinning from standing.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn

from ...data.diorama.scene import KINDS, MOVES
from ..questions import MOTIONS
from .reading import DIRECTIONS, SIZES, SPEEDS
from .things import Track

CROP = 16  # pixels on a side of the small pictures
TRACK_CHANNELS = 12
THING_HEADS = {"motion": len(MOTIONS), "direction": len(DIRECTIONS), "speed": len(SPEEDS), "size": len(SIZES)}


@dataclass(frozen=True)
class TrackData:
    """One track as numbers. T frames."""

    numbers: Tensor  # (T, 12), see `track_data`
    crops: Tensor  # (T, 3, 16, 16) in [-1, 1]
    kind: Tensor  # (22,) probabilities

    def window(self, first: int, last: int) -> "TrackData":
        """Frames first … last - 1 of it, heights counted from the window's start."""
        numbers = self.numbers[first:last].clone()
        numbers[:, 6:8] -= numbers[:1, 6:8]
        return TrackData(numbers, self.crops[first:last], self.kind)


def track_data(track: Track, pixels: Tensor, maps: Tensor, fps: float) -> TrackData:
    """The numbers of a track.

    Args:
        track: through T frames.
        pixels: the frames, (T, 3, H, W) in [-1, 1].
        maps: the background's affine maps (2, T - 1, 2, 3), see `flow.background_flow`.
        fps: frames per second.

    The 12 columns, lengths in half shorter sides of the picture: 0, 1 velocity against the background, and 2, 3
    on the picture, per second; 4 growth of the logarithm of the area per second; 5 of that of the box's width
    over its height; 6, 7 place, from where it started; 8 half the logarithm of the area; 9 the box's height; 10
    whether it is seen; 11 seconds between frames.
    """
    height, width = pixels.shape[-2:]
    half = min(height, width) / 2
    frames = [n for n, found in enumerate(track.instances) if found is not None]
    found = [track.instances[n] for n in frames]
    rows = []
    for instance in found:
        assert instance is not None
        ys, xs = instance.mask.nonzero()
        box = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
        spot = (instance.spot - np.array([width, height]) / 2) / half
        rows.append(
            [
                *spot,
                np.log(instance.pixels / half**2),
                np.log((box[2] - box[0]) / (box[3] - box[1])),
                (box[3] - height / 2) / half,
                (box[3] - box[1]) / half,
                (box[0] + box[2]) / 2,
                (box[1] + box[3]) / 2,
                max(box[2] - box[0], box[3] - box[1]),
            ]
        )
    table = np.array(rows, np.float32)
    times = np.arange(track.length)
    table = np.stack([np.interp(times, frames, column) for column in table.T], 1).astype(np.float32)
    spots, base = torch.from_numpy(table[:, :2]), torch.from_numpy(table[:, 4])
    step = spots.diff(dim=0)
    foot = torch.stack([spots[:-1, 0], base[:-1], torch.ones(len(step))], 1)  # where it stands
    near = ((foot[:, 1] + 0.1) / 0.4).clamp(0, 1)  # 0: as the upper part moves, 1: as the lower one
    upper, lower = (torch.einsum("tij,tj->ti", part.cpu(), foot) for part in maps)
    ground = torch.lerp(upper, lower, near[:, None])
    area, shape = torch.from_numpy(table[:, 2]), torch.from_numpy(table[:, 3])
    changes = torch.cat([step - ground, step, area.diff()[:, None], shape.diff()[:, None]], 1) * fps
    changes = torch.cat([changes, changes[-1:]])
    seen = torch.zeros(track.length)
    seen[frames] = 1
    numbers = torch.cat(
        [
            changes,
            spots - spots[:1],
            area[:, None] / 2,
            torch.from_numpy(table[:, 5:6]),
            seen[:, None],
            torch.full((track.length, 1), 1 / fps),
        ],
        1,
    )
    kind = torch.from_numpy(track.mean("kind")).float()
    return TrackData(numbers, _crops(pixels, torch.from_numpy(table[:, 6:9])), kind)


def _crops(pixels: Tensor, boxes: Tensor) -> Tensor:
    """Square pictures of the thing; boxes (T, 3): x and y of the middle, and the longer side, in pixels."""
    height, width = pixels.shape[-2:]
    side = boxes[:, 2].median().clamp(min=6) * 1.1
    size = torch.tensor([width, height], dtype=torch.float32)
    middle = boxes[:, :2] * 2 / size - 1
    scale = side / size
    theta = torch.zeros(len(pixels), 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = scale[0], scale[1]
    theta[:, :, 2] = middle
    grid = F.affine_grid(theta, [len(pixels), 3, CROP, CROP], align_corners=False)
    return F.grid_sample(pixels.cpu(), grid, padding_mode="border", align_corners=False)


class ThingReader(ModelMixin, ConfigMixin):
    """What a thing does, from its track.

    Args:
        width: channels.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.look = nn.Sequential(
            nn.Conv2d(6, 16, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(16, 24, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(24 * 16, 16),
        )  # fmt: skip
        self.first = nn.Conv1d(TRACK_CHANNELS + 16, width, 3, padding=1)
        self.second = nn.Conv1d(width, width, 3, padding=1)
        self.third = nn.Conv1d(width, width, 3, padding=2, dilation=2)
        self.out = nn.Sequential(
            nn.Linear(3 * width + len(KINDS), width), nn.SiLU(), nn.Linear(width, sum(THING_HEADS.values()))
        )

    def forward(self, numbers: Tensor, crops: Tensor, kind: Tensor) -> dict[str, Tensor]:
        """Logits (B, words) by attribute, of numbers (B, T, 12), crops (B, T, 3, 16, 16) and kind (B, 22)."""
        change = crops.diff(dim=1)
        change = torch.cat([change, change[:, -1:]], 1)
        pictures = rearrange(torch.cat([crops, change * 2], 2), "b t c h w -> (b t) c h w")
        looks = rearrange(self.look(pictures), "(b t) d -> b d t", b=len(numbers))
        x = torch.cat([rearrange(squashed(numbers), "b t d -> b d t"), looks], 1)  # (B, 28, T)
        x = F.silu(self.first(x))
        x = x + F.silu(self.second(x))
        x = x + F.silu(self.third(x))
        x = torch.cat([x.mean(-1), x.amax(-1), x[..., -3:].mean(-1), kind], -1)  # (B, 3 W + 22)
        return dict(zip(THING_HEADS, self.out(x).split(list(THING_HEADS.values()), -1), strict=True))


class CameraReader(ModelMixin, ConfigMixin):
    """How the camera moves, from the background's affine maps.

    Args:
        width: channels.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, width: int = 40) -> None:
        super().__init__()
        self.first = nn.Conv1d(14, width, 3, padding=1)
        self.second = nn.Conv1d(width, width, 3, padding=1)
        self.out = nn.Sequential(nn.Linear(3 * width, width), nn.SiLU(), nn.Linear(width, len(MOVES)))

    def forward(self, flows: Tensor) -> Tensor:
        """Args: flows (B, T - 1, 14), see `flow_data`. Returns logits (B, 13)."""
        x = F.silu(self.first(rearrange(squashed(flows), "b t d -> b d t")))
        x = x + F.silu(self.second(x))
        return self.out(torch.cat([x.mean(-1), x.amax(-1), x.std(-1)], -1))  # (B, 13)


def flow_data(maps: Tensor, shown: Tensor, fps: float) -> Tensor:
    """The background's motion per second (T - 1, 14): two affine maps of 6 numbers and how sure each is."""
    parts = [torch.cat([part.flatten(1) * fps, sure[:, None]], 1) for part, sure in zip(maps, shown)]
    return torch.cat(parts, 1)


def squashed(x: Tensor) -> Tensor:
    """Large values tamed, small ones spread out: sign(x) log(1 + 8 |x|)."""
    return torch.sign(x) * torch.log1p(8 * x.abs())
