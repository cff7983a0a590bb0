"""One interface over three families of autoencoders."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx import AutoencoderKLLTXVideo
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema import AutoencoderKLKinema
from kinema.vae import latents as L

STATISTICS: dict[str, Any] = {"latents_mean": [0.5, -0.25, 0.0, 1.0], "latents_std": [2.0, 0.5, 1.0, 3.0]}


def kinema():
    return AutoencoderKLKinema(4, 2, (8, 12), 1, 4, **STATISTICS)


def wan():
    return AutoencoderKLWan(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        **STATISTICS,
    )


def ltx(timestep_conditioning: bool = False):
    vae = AutoencoderKLLTXVideo(
        latent_channels=4,
        block_out_channels=(8, 8),
        down_block_types=("LTXVideoDownBlock3D",) * 2,
        decoder_block_out_channels=(8, 8),
        layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        spatio_temporal_scaling=(True, True),
        decoder_spatio_temporal_scaling=(True, True),
        decoder_inject_noise=(False,) * 3,
        upsample_residual=(False, False),
        upsample_factor=(1, 1),
        downsample_type=("conv", "conv"),
        timestep_conditioning=timestep_conditioning,
        patch_size=2,
        scaling_factor=0.5,
    )
    for name, values in STATISTICS.items():
        getattr(vae, name).copy_(torch.tensor(values))
    return vae


FAMILIES = {"kinema": kinema, "wan": wan, "ltx": ltx, "ltx-timestep": lambda: ltx(True)}


@pytest.fixture(params=FAMILIES)
def vae(request):
    torch.manual_seed(0)
    return FAMILIES[request.param]().eval().requires_grad_(False)


def test_every_family_encodes_and_decodes(vae):
    stride, side = L.temporal_stride(vae), L.spatial_stride(vae)
    x = torch.rand(2, 3, 1 + 2 * stride, 2 * side, 3 * side) * 2 - 1
    z = L.encode_latents(vae, x)
    assert z.shape == (2, L.latent_channels(vae), 3, 2, 3) and z.dtype == torch.float32
    y = L.decode_latents(vae, z)
    assert y.shape == x.shape and y.dtype == torch.float32 and y.abs().max() <= 1
    assert L.encode_latents(vae, x[:, :, :1]).shape[2] == 1


def test_normalisation_is_the_familys_own(vae):
    posterior = vae.encode(x := torch.rand(1, 3, 9, 16, 16) * 2 - 1).latent_dist
    mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in STATISTICS.values())
    scale = 0.5 if isinstance(vae, AutoencoderKLLTXVideo) else 1.0
    expected = (posterior.mode() - mean) / std * scale
    torch.testing.assert_close(L.encode_latents(vae, x), expected)
    torch.testing.assert_close(L.denormalize_latents(vae, expected), posterior.mode())


def test_sampling_is_seeded(vae):
    x = torch.rand(1, 3, 1, 16, 16)
    a, b, c = (L.encode_latents(vae, x, torch.Generator().manual_seed(s), sample=True) for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c) and not torch.equal(a, L.encode_latents(vae, x))


def test_untrained_statistics_change_nothing():
    z = torch.randn(1, 4, 2, 3, 3)
    torch.testing.assert_close(L.normalize_latents(AutoencoderKLKinema(4, 2, (8,), 1), z), z)


def test_streamed_decode_equals_whole():
    vae, z = kinema().requires_grad_(False), torch.randn(1, 4, 4, 2, 2)
    streamed = torch.cat(list(L.decode_latents_stream(vae, z.split(1, dim=2))), dim=2)
    torch.testing.assert_close(streamed, L.decode_latents(vae, z), rtol=1e-4, atol=1e-5)
    with pytest.raises(TypeError, match="AutoencoderKLWan cannot decode a stream"):
        L.decode_latents_stream(wan(), [z])


@settings(deadline=None)
@given(stride=st.sampled_from([1, 2, 4, 8]), frames=st.integers(1, 9), fps=st.floats(1, 60))
def test_frame_times_are_the_mean_of_the_frames_covered(stride, frames, fps):
    times = L.latent_frame_times(frames, fps, stride)
    assert times.shape == (frames,) and times.dtype == torch.float32
    covered = [[0]] + [list(range(1 + (f - 1) * stride, f * stride + 1)) for f in range(1, frames)]
    assert sum(map(len, covered)) == L.num_pixel_frames(frames, stride)
    expected = torch.tensor([sum(group) / len(group) / fps for group in covered])
    torch.testing.assert_close(times, expected, rtol=1e-5, atol=1e-6)
    batched = L.latent_frame_times(frames, torch.tensor([fps, 2 * fps]), stride)
    torch.testing.assert_close(batched, torch.stack([times, times / 2]))


@given(stride=st.sampled_from([1, 2, 4, 8]), frames=st.integers(1, 200))
def test_frame_counts_invert(stride, frames):
    assert L.num_latent_frames(L.num_pixel_frames(frames, stride), stride) == frames
    if stride > 1:
        with pytest.raises(ValueError, match=f"needs 1 \\+ k·{stride} frames"):
            L.num_latent_frames(L.num_pixel_frames(frames, stride) + 1, stride)


def test_errors(vae):
    with pytest.raises(ValueError, match="temporal stride 4 needs 1 \\+ k·4 frames, such as 5 or 9"):
        L.encode_latents(vae, torch.zeros(1, 3, 7, 16, 16))
    with pytest.raises(ValueError, match=re.escape("spatial stride needs multiples of")):
        L.encode_latents(vae, torch.zeros(1, 3, 5, 17, 16))


def test_errors_about_the_autoencoder():
    with pytest.raises(ValueError, match="16 values of latents_mean for 4 latent channels"):
        L.encode_latents(
            AutoencoderKLWan(base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1),
            torch.zeros(1, 3, 1, 8, 8),
        )
    with pytest.raises(TypeError, match="has no temporal_compression_ratio"):
        L.temporal_stride(SimpleNamespace(config=SimpleNamespace()))
