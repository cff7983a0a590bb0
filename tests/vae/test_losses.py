"""Losses that rank reconstructions as eyes do, and measures with known values."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.configs.schema import VAELossConfig
from kinema.vae.discriminator import PatchDiscriminator3D, discriminator_loss, generator_loss
from kinema.vae.losses import PerceptualDistance, detail_weights, kl_divergence, psnr, ssim, vae_loss


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def moving_square(frames: int = 5, side: int = 32, size: int = 6) -> torch.Tensor:
    clip = torch.full((1, 3, frames, side, side), -0.5)
    for t in range(frames):
        clip[:, 0, t, 10 : 10 + size, 4 + 3 * t : 4 + 3 * t + size] = 0.8
    return clip


def blur(clip: torch.Tensor) -> torch.Tensor:
    return F.avg_pool3d(clip, (1, 5, 5), stride=1, padding=(0, 2, 2), count_include_pad=False)


@pytest.mark.parametrize("frames", [1, 5])
def test_perceptual_distance_is_zero_only_for_equal_clips(frames):
    distance, clip = PerceptualDistance(), moving_square(frames)
    assert distance(clip, clip) == 0
    assert distance(blur(clip), clip) > 0
    torch.testing.assert_close(distance(blur(clip), clip), distance(clip, blur(clip)))


def test_blur_costs_more_than_a_brighter_picture_of_the_same_l1():
    distance, clip = PerceptualDistance(), moving_square()
    blurred = blur(clip)
    brighter = clip + (blurred - clip).abs().mean()
    assert distance(blurred, clip) > 5 * distance(brighter, clip)


def test_perceptual_distance_is_the_same_in_every_process_and_saves_nothing():
    distance = PerceptualDistance()
    assert torch.equal(distance.bank, PerceptualDistance().bank) and not distance.state_dict()
    assert distance.bank.mean(dim=(1, 2, 3)).abs().max() < 1e-6


def test_tiny_frames_have_no_perceptual_distance():
    assert PerceptualDistance()(noise(1, 3, 2, 4, 4), noise(1, 3, 2, 4, 4, seed=1)) == 0


@settings(deadline=None, max_examples=20)
@given(frames=st.integers(1, 5), side=st.integers(5, 20), seed=st.integers(0, 99), still=st.booleans())
def test_detail_weights_have_mean_one(frames, side, seed, still):
    clip = torch.zeros(2, 3, frames, side, side) if still else noise(2, 3, frames, side, side, seed=seed)
    weights = detail_weights(clip)
    assert weights.shape == (2, 1, frames, side, side) and (weights > 0).all()
    torch.testing.assert_close(weights.mean(dim=(1, 2, 3, 4)), torch.ones(2))


def test_detail_weights_favour_the_small_object():
    weights = detail_weights(moving_square())[0, 0]
    assert weights[0, 10, 4] > 3 * weights[0, 28, 28]


def test_kl_divergence_of_known_gaussians():
    def posterior(mean: float, std: float, channels: int = 4) -> DiagonalGaussianDistribution:
        shape = (2, channels, 3, 5, 5)
        values = [torch.full(shape, mean), torch.full(shape, 2 * math.log(std))]
        return DiagonalGaussianDistribution(torch.cat(values, dim=1))

    torch.testing.assert_close(kl_divergence(posterior(0.0, 1.0)), torch.tensor(0.0))
    torch.testing.assert_close(kl_divergence(posterior(2.0, 1.0)), torch.tensor(2.0))
    expected = 0.5 * (0.25 - 1 - math.log(0.25))
    torch.testing.assert_close(kl_divergence(posterior(0.0, 0.5)), torch.tensor(expected))
    torch.testing.assert_close(kl_divergence(posterior(0.0, 0.5, 8)), torch.tensor(expected))


def test_the_loss_is_the_weighted_sum_of_its_parts():
    clip, weights = moving_square(), VAELossConfig(reconstruction=2.0, kl=0.5, perceptual=3.0)
    posterior = DiagonalGaussianDistribution(noise(1, 8, 2, 4, 4))
    loss, parts = vae_loss(clip, blur(clip), posterior, weights, PerceptualDistance())
    total = 2 * parts["reconstruction"] + 0.5 * parts["kl"] + 3 * parts["perceptual"]
    torch.testing.assert_close(loss, total)
    assert set(parts) == {"reconstruction", "kl", "perceptual"}


def test_psnr_of_a_known_error():
    clip = torch.zeros(2, 3, 2, 16, 16)
    noisy = clip + torch.tensor([0.2, 0.02]).view(2, 1, 1, 1, 1)
    torch.testing.assert_close(psnr(noisy, clip), torch.tensor([20.0, 40.0]), rtol=1e-4, atol=1e-3)


def test_ssim_equals_the_definition_written_out():
    """One window at a time, with NumPy's weighted covariance."""
    clip, other = noise(1, 3, 1, 13, 12), noise(1, 3, 1, 13, 12, seed=1) * 0.5
    window = np.exp(-(np.hypot(*np.mgrid[-5:6, -5:6]) ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for x, y in zip(*((v[0, :, 0].numpy().astype(float) + 1) / 2 for v in (other, clip))):
        for row in range(3):
            for column in range(2):
                patches = [image[row : row + 11, column : column + 11].ravel() for image in (x, y)]
                mean_x, mean_y = (np.average(patch, weights=window.ravel()) for patch in patches)
                (var_x, cov), (_, var_y) = np.cov(*patches, aweights=window.ravel(), ddof=0)
                luminance = (2 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
                values.append(luminance * (2 * cov + 9e-4) / (var_x + var_y + 9e-4))
    assert ssim(other, clip).item() == pytest.approx(np.mean(values), abs=1e-4)


def test_ssim_ranks_and_bounds():
    clip = moving_square()
    assert ssim(clip, clip).item() == pytest.approx(1.0)
    assert ssim(clip, clip) > ssim(clip + 0.05 * noise(*clip.shape), clip) > ssim(noise(*clip.shape), clip)
    with pytest.raises(ValueError, match="needs 11 × 11"):
        ssim(clip[..., :8], clip[..., :8])


@pytest.mark.parametrize("frames", [1, 4])
def test_the_discriminator_learns_to_tell(frames):
    torch.manual_seed(0)
    critic = PatchDiscriminator3D(channels=8, layers=2)
    optimizer = torch.optim.Adam(critic.parameters(), 3e-3)
    real, fake = noise(4, 3, frames, 16, 16), blur(noise(4, 3, frames, 16, 16))
    first = last = 0.0
    for step in range(30):
        loss = discriminator_loss(critic(real), critic(fake))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert last < 0.7 * first
    assert generator_loss(critic(real)) < generator_loss(critic(fake))
    assert critic(real).shape == (4, 1, frames, 4, 4)
