"""The per-frame labeller: which thing each pixel belongs to, and what the whole frame shows.

A small convolutional network (a U-Net, Ronneberger et al. 2015) of about 0.4 M parameters. Things are told apart
as in Panoptic-DeepLab (Cheng et al. 2020): a map of centres, and from each pixel an arrow to its thing's centre.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn

from ...data.diorama.scene import BACKGROUNDS, COLOURS, FLOORS, KINDS, TIMES_OF_DAY

STRIDE = 2  # pixels per cell of the maps
ARROW_UNIT = 16.0  # pixels
PIXEL_HEADS = {
    "kind": len(KINDS) + 1,
    "colour": len(COLOURS),
    "material": 4,
    "pattern": 4,
    "centre": 1,
    "arrow": 2,
}
FRAME_HEADS = {"floor": len(FLOORS), "background": len(BACKGROUNDS), "time": len(TIMES_OF_DAY), "style": 6}


@dataclass(frozen=True)
class Labels:
    """What the labeller says of B frames of H × W pixels; h = H / 2, w = W / 2. All are logits but arrows."""

    inside: Tensor  # (B, H, W) of belonging to any thing
    kind: Tensor  # (B, 23, h, w): nothing, then the kinds
    colour: Tensor  # (B, 12, h, w)
    material: Tensor  # (B, 4, h, w)
    pattern: Tensor  # (B, 4, h, w)
    centre: Tensor  # (B, h, w) of a thing's centre
    arrow: Tensor  # (B, 2, h, w) right and down to the thing's centre, in units of 16 pixels
    floor: Tensor  # (B, 8)
    background: Tensor  # (B, 4)
    time: Tensor  # (B, 4)
    style: Tensor  # (B, 6)


class _Block(nn.Module):
    """A residual 3 × 3 convolution after group-free normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(F.silu(self.norm(x)))  # (B, C, h, w)


class FrameLabeller(ModelMixin, ConfigMixin):
    """Frames to `Labels`.

    Args:
        channels: width at strides 2, 4 and 8.
        depths: blocks at strides 2, 4 and 8 on the way down.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self, channels: tuple[int, int, int] = (40, 64, 96), depths: tuple[int, int, int] = (2, 2, 2)
    ) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.stem = nn.Conv2d(3 * STRIDE**2, fine, 3, padding=1)
        self.fine = nn.ModuleList(_Block(fine) for _ in range(depths[0]))
        self.down_middle = nn.Conv2d(fine, middle, 3, stride=2, padding=1)
        self.middle = nn.ModuleList(_Block(middle) for _ in range(depths[1]))
        self.down_coarse = nn.Conv2d(middle, coarse, 3, stride=2, padding=1)
        self.coarse = nn.ModuleList(_Block(coarse) for _ in range(depths[2]))
        self.up_middle = nn.Conv2d(coarse, middle, 1)
        self.join_middle = nn.ModuleList([_Block(middle)])
        self.up_fine = nn.Conv2d(middle, fine, 1)
        self.join_fine = nn.ModuleList([_Block(fine)])
        self.out_norm = nn.BatchNorm2d(fine)
        self.pixel_head = nn.Conv2d(fine, sum(PIXEL_HEADS.values()) + STRIDE**2, 1)
        self.frame_head = nn.Linear(2 * (fine + coarse), sum(FRAME_HEADS.values()))

    def forward(self, pixel_values: Tensor) -> Labels:
        """Args: pixel_values (B, 3, H, W) in [-1, 1], H and W multiples of 8."""
        x = F.silu(self.stem(F.pixel_unshuffle(pixel_values, STRIDE)))  # (B, C, h, w)
        for block in self.fine:
            x = block(x)
        fine = x
        x = self.down_middle(x)  # (B, C', h/2, w/2)
        for block in self.middle:
            x = block(x)
        middle = x
        x = self.down_coarse(x)  # (B, C", h/4, w/4)
        for block in self.coarse:
            x = block(x)
        halves = [F.adaptive_avg_pool2d(part, (2, 1)) for part in (fine, x)]  # sky above, floor below
        frame = self.frame_head(torch.cat([rearrange(half, "b c h w -> b (c h w)") for half in halves], 1).float())
        x = middle + _doubled(self.up_middle(x))
        for block in self.join_middle:
            x = block(x)
        x = fine + _doubled(self.up_fine(x))
        for block in self.join_fine:
            x = block(x)
        maps = self.pixel_head(F.silu(self.out_norm(x))).float()
        inside, maps = maps[:, : STRIDE**2], maps[:, STRIDE**2 :]
        pixel = dict(zip(PIXEL_HEADS, maps.split(list(PIXEL_HEADS.values()), 1), strict=True))
        whole = dict(zip(FRAME_HEADS, frame.split(list(FRAME_HEADS.values()), 1), strict=True))
        pixel["centre"] = pixel["centre"][:, 0]
        return Labels(inside=F.pixel_shuffle(inside, STRIDE)[:, 0], **pixel, **whole)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
