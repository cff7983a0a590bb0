"""Context latents: a suffix and a still, as the pipeline encodes them and training shows them."""

import pytest
import torch
from diffusers import AutoencoderKLWan
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema import AutoencoderKLKinema
from kinema.vae.context import encode_contexts, encode_still, encode_suffix
from kinema.vae.latents import encode_latents


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return AutoencoderKLKinema(4, 2, (8, 12), 1, 4, [0.1] * 4, [2.0] * 4).eval()


@settings(deadline=None, max_examples=10)
@given(groups=st.integers(1, 3), repeats=st.integers(0, 2))
def test_a_suffix_is_a_clip_of_its_own_whose_made_up_past_is_dropped(vae, groups, repeats):
    pixels = torch.rand(1, 3, 4 * groups, 8, 8) * 2 - 1
    latents = encode_suffix(vae, pixels, repeats)
    assert latents.shape == (1, 4, groups, 2, 2)
    whole = torch.cat([pixels[:, :, :1].repeat(1, 1, 1 + 4 * repeats, 1, 1), pixels], dim=2)
    torch.testing.assert_close(latents, encode_latents(vae, whole)[:, :, 1 + repeats :])


def test_frames_that_do_not_fill_their_groups_are_refused(vae):
    with pytest.raises(ValueError, match="5 frames; it needs whole groups of 4"):
        encode_suffix(vae, torch.zeros(1, 3, 5, 8, 8))


def test_a_still_is_the_latent_of_a_clip_that_stands_still(vae):
    image = torch.rand(2, 3, 1, 8, 8) * 2 - 1
    still = encode_still(vae, image)
    torch.testing.assert_close(still, encode_latents(vae, image.repeat(1, 1, 9, 1, 1))[:, :, 1:2])


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**40), frames=st.integers(2, 4))
def test_parts_of_a_clip_are_what_the_pipeline_would_encode(vae, seed, frames):
    pixels = torch.rand(3, 1 + 4 * (frames - 1), 8, 8) * 2 - 1
    latents = encode_latents(vae, pixels[None])[0]
    parts = encode_contexts(vae, pixels, latents, seed)
    start = parts.suffix_start
    torch.testing.assert_close(
        parts.suffix[:, start:], encode_suffix(vae, pixels[None, :, 1 + 4 * (start - 1) :])[0]
    )
    assert torch.equal(parts.suffix[:, :start], latents[:, :start])
    for frame in range(frames):
        if frame not in parts.still_frames:
            assert torch.equal(parts.stills[:, frame], latents[:, frame])
            continue
        group = pixels[None, :, 1 + 4 * (frame - 1) : 1 + 4 * frame]
        errors = [
            (encode_still(vae, picture) - parts.stills[None, :, frame : frame + 1]).abs().max()
            for picture in group.split(1, 2)
        ]
        assert min(errors) < 1e-5
    again = encode_contexts(vae, pixels, latents, seed)
    assert torch.equal(again.suffix, parts.suffix) and torch.equal(again.stills, parts.stills)


def test_an_image_has_no_parts(vae):
    assert encode_contexts(vae, torch.zeros(3, 1, 8, 8), torch.zeros(4, 1, 2, 2), 0) is None


def test_other_autoencoders_are_encoded_so_too():
    sizes = {"base_dim": 3, "z_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
    statistics = {"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}
    wan = AutoencoderKLWan(**sizes, **statistics, temperal_downsample=[False, True, True]).eval()
    latents = encode_suffix(wan, torch.rand(1, 3, 8, 16, 16) * 2 - 1, repeats=1)
    assert latents.shape == (1, 4, 2, 2, 2)
