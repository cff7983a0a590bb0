"""What the autoencoder is trained on and measured by. Nothing here needs downloaded weights.

All functions take pixels (B, 3, T, H, W) in [-1, 1].
"""

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from einops import rearrange
from torch import nn

from ..configs.schema import VAELossConfig


class PerceptualDistance(nn.Module):
    """How differently two videos look to a fixed bank of random local filters, at three scales.

    Each filter is 5×5, zero-mean (it sees edges and texture, not brightness), mixes the colours and looks at every
    second pixel (a quarter of the cost, and windows still overlap). Two things are compared: responses position
    by position, and their magnitude averaged over a neighbourhood. The second is the texture statistic of random
    shallow networks (Ustyuzhaninov et al. 2016): a blurred reconstruction has too little of it everywhere, so blur
    costs even where the exact place of an edge cannot be known. Frame differences pass through the same bank, so
    that motion has sharp edges too.

    Args:
        filters: number of random filters.
        scales: each after the first halves height and width.
    """

    bank: torch.Tensor

    def __init__(self, filters: int = 16, scales: int = 3) -> None:
        super().__init__()
        self.scales = scales
        bank = torch.randn(filters, 3, 5, 5, generator=torch.Generator().manual_seed(0))
        window = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0])
        bank = bank * torch.outer(window, window)
        bank = bank - bank.mean(dim=(1, 2, 3), keepdim=True)
        self.register_buffer("bank", bank / bank.abs().sum(dim=(1, 2, 3), keepdim=True), persistent=False)

    def forward(self, reconstruction: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """The distance, a scalar ≥ 0."""
        pairs = [(reconstruction, pixels)]
        if pixels.shape[2] > 1:
            pairs.append((reconstruction.diff(dim=2), pixels.diff(dim=2)))
        return torch.stack([self._distance(_frames(a), _frames(b)) for a, b in pairs]).mean()

    def _distance(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        terms = []
        for scale in range(self.scales):
            if min(a.shape[-2:]) < 8:
                break
            if scale:
                a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
            seen_a, seen_b = (F.conv2d(x, self.bank.to(x.dtype), stride=2, padding=2) for x in (a, b))
            texture_a, texture_b = (F.avg_pool2d(seen.abs(), 2) for seen in (seen_a, seen_b))
            terms += [(seen_a - seen_b).abs().mean(), (texture_a - texture_b).abs().mean()]
        return torch.stack(terms).sum() if terms else a.new_zeros(())


def detail_weights(pixels: torch.Tensor, strength: float = 2.0) -> torch.Tensor:
    """Weights (B, 1, T, H, W) of mean 1 in each clip that favour places with edges or motion.

    Plain L1 is an average over pixels, and small objects have few of them. A weight is 1 where nothing happens,
    plus `strength` times the local change in space and time relative to the clip's mean, at most 1 + 8·strength.
    """
    change = torch.zeros_like(pixels[:, :1])
    for axis in (2, 3, 4):
        step = pixels.diff(dim=axis).abs().mean(dim=1, keepdim=True)
        if step.shape[axis]:
            change += torch.cat([step, step.narrow(axis, -1, 1)], dim=axis)
    change = F.avg_pool3d(change, (1, 5, 5), stride=1, padding=(0, 2, 2))
    change = change / change.mean(dim=(1, 2, 3, 4), keepdim=True).clamp(min=1e-4)
    weights = 1 + strength * change.clamp(max=8.0)
    return weights / weights.mean(dim=(1, 2, 3, 4), keepdim=True)


def kl_divergence(posterior: DiagonalGaussianDistribution) -> torch.Tensor:
    """Divergence from the standard normal in nats, averaged over latent elements, so clip size plays no part."""
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()


def vae_loss(
    pixels: torch.Tensor,
    reconstruction: torch.Tensor,
    posterior: DiagonalGaussianDistribution,
    weights: VAELossConfig,
    perceptual: PerceptualDistance,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The weighted sum of L1 (favouring detail), perceptual distance and KL divergence.

    Returns:
        The loss, and its parts before weighting, detached, by name.
    """
    reconstruction = reconstruction.float()
    parts = {
        "reconstruction": (detail_weights(pixels) * (reconstruction - pixels).abs()).mean(),
        "perceptual": perceptual(reconstruction, pixels),
        "kl": kl_divergence(posterior),
    }
    loss = sum((getattr(weights, name) * part for name, part in parts.items()), start=pixels.new_zeros(()))
    return loss, {name: part.detach() for name, part in parts.items()}


def psnr(reconstruction: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio of each clip in dB, (B,); values are clipped to [-1, 1] first."""
    error = (reconstruction.clamp(-1, 1) - pixels).float().square().mean(dim=(1, 2, 3, 4))
    return 10 * torch.log10(4 / error.clamp(min=1e-10))


def ssim(reconstruction: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Structural similarity of each clip, (B,), 1 for equal clips: the mean over frames and colours.

    Wang et al. 2004 ("Image quality assessment: from error visibility to structural similarity"), eq. 13, with
    its 11×11 Gaussian window (σ = 1.5) where it fits, K₁ = 0.01 and K₂ = 0.03.

    Raises:
        ValueError: frames smaller than the window.
    """
    if min(pixels.shape[-2:]) < 11:
        raise ValueError(f"frames are {tuple(pixels.shape[-2:])} pixels; the window of SSIM needs 11 × 11")
    x, y = (
        rearrange((v.clamp(-1, 1).float() + 1) / 2, "b c t h w -> (b c t) 1 h w") for v in (reconstruction, pixels)
    )
    position = torch.arange(11, device=x.device, dtype=x.dtype) - 5
    window = torch.exp(-position.square() / (2 * 1.5**2))
    window = window / window.sum()

    def local_mean(image: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.conv2d(image, window.view(1, 1, 1, 11)), window.view(1, 1, 11, 1))

    c1, c2 = 0.01**2, 0.03**2
    mean_x, mean_y = local_mean(x), local_mean(y)
    var_x, var_y = local_mean(x * x) - mean_x**2, local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity = similarity / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return similarity.view(pixels.shape[0], -1).mean(dim=1)


def _frames(x: torch.Tensor) -> torch.Tensor:
    return rearrange(x, "b c t h w -> (b t) c h w")
