"""An optional 3-D patch discriminator: sharper textures at high compression, once reconstruction is good."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator3D(nn.Module):
    """Scores overlapping spacetime patches as real or reconstructed (Isola et al. 2017, in three dimensions).

    Spectral normalisation (Miyato et al. 2018) keeps it from growing too steep. Images are one-frame clips.

    Args:
        channels: width of the first layer; each of the `layers` - 1 later ones doubles it and halves space.
    """

    def __init__(self, channels: int = 32, layers: int = 3) -> None:
        super().__init__()
        widths = [3, *(channels * 2**i for i in range(layers))]
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv3d(a, b, (3, 4, 4), stride=(1, 2, 2), padding=1)) for a, b in pairwise(widths)
        )
        self.score = spectral_norm(nn.Conv3d(widths[-1], 1, 3, padding=1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map pixels (B, 3, T, H, W) to scores (B, 1, T, H/2^layers, W/2^layers)."""
        x = pixels
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)  # (B, C, T, H/2, W/2)
        return self.score(x)


def discriminator_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Hinge loss (Lim and Ye 2017): scores of real patches above 1 and of reconstructed ones below -1 are free."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def generator_loss(fake: torch.Tensor) -> torch.Tensor:
    """What the autoencoder adds to its loss: minus the mean score of its reconstructions."""
    return -fake.mean()
