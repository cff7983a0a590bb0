"""Previews: the map recovers linear latents exactly, is stored with the autoencoder, and changes nothing else."""

import json

import pytest
import torch
from diffusers import AutoencoderKLWan
from einops import repeat

from kinema import AutoencoderKLKinema
from kinema.configs import load_config
from kinema.vae.cache import vae_fingerprint
from kinema.vae.latents import encode_latents
from kinema.vae.preview import CONFIG_KEYS, fit_preview, has_preview, main, preview

TINY = {"latent_channels": 6, "patch_size": 2, "block_channels": (8,), "layers_per_block": 1, "temporal_stride": 2}


def tiny(**changes) -> AutoencoderKLKinema:
    torch.manual_seed(0)
    return AutoencoderKLKinema(**(TINY | changes)).eval().requires_grad_(False)


def pixels(frames=5, batch=2, seed=0):
    """Flat cells (2 × 2 pixels) that hold over a group (2 frames), so that a latent's target is plain to see."""
    generator = torch.Generator().manual_seed(seed)
    colours = torch.rand(batch, 3, 1 + (frames - 1) // 2, 4, 6, generator=generator) * 2 - 1
    clips = repeat(colours, "b c f h w -> b c (f s) (h p) (w q)", s=2, p=2, q=2)[:, :, 1:]
    return clips, colours.movedim(1, 2) / 2 + 0.5  # (B, F, 3, h, w) in [0, 1]


class MeanColours:
    """An autoencoder whose latents are a known linear map of each cell's mean colour."""

    temporal_compression_ratio, spatial_compression_ratio, dtype = 2, 2, torch.float32
    mixing = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))

    def __init__(self):
        self.config = type(
            "Config", (), {"latent_channels": 6, "latents_mean": [1.0] * 6, "latents_std": [2.0] * 6}
        )()

    def register_to_config(self, **values):
        self.config.__dict__.update(values)

    def encode(self, x, return_dict):
        first = x[:, :, :1].unfold(3, 2, 2).unfold(4, 2, 2).mean((-1, -2))
        rest = x[:, :, 1:].unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2).mean((-1, -2, -3))
        latents = torch.einsum("bcfhw,cd->bdfhw", torch.cat([first, rest], 2), self.mixing)
        return (type("Posterior", (), {"mode": lambda self: latents})(),)


def test_the_map_finds_the_colours_where_latents_hold_them():
    vae = MeanColours()
    weights, bias = fit_preview(vae, [pixels(seed=seed)[0] for seed in range(3)])
    assert torch.tensor(weights).shape == (6, 3) and len(bias) == 3
    clips, colours = pixels(seed=9)
    shown = preview(vae, encode_latents(vae, clips))
    assert shown.shape == (2, 3, 3, 4, 6) and shown.dtype == torch.float32
    assert (shown - colours).abs().max() < 1e-3
    # Frames of a group that differ are shown as their mean.
    moving = clips.clone()
    moving[:, :, 1], moving[:, :, 2] = -0.5, 0.3
    assert (preview(vae, encode_latents(vae, moving))[:, 1] - 0.45).abs().max() < 1e-3


def test_no_other_map_of_an_autoencoder_is_closer():
    vae = tiny()
    clips, colours = pixels(batch=4)
    fit_preview(vae, [clips[:1], clips[1:]])  # batches only add up
    latents = encode_latents(vae, clips)

    def error(weights, bias):
        shown = torch.einsum("bcfhw,cd->bfdhw", latents, weights) + bias[:, None, None]
        return (shown - colours).square().mean()

    weights, bias = (torch.tensor(vae.config[key]) for key in CONFIG_KEYS)
    best = error(weights, bias)
    assert best < colours.var()
    for seed in range(20):
        torch.manual_seed(seed)
        assert error(weights + 0.01 * torch.randn(6, 3), bias + 0.01 * torch.randn(3)) > best


def test_previews_stay_in_range_and_follow_half_precision():
    vae = tiny()
    fit_preview(vae, [pixels()[0]])
    wild = preview(vae, 50 * torch.randn(1, 6, 2, 3, 3, dtype=torch.bfloat16))
    assert wild.shape == (1, 2, 3, 3, 3) and wild.dtype == torch.float32
    assert wild.min() == 0 and wild.max() == 1


def test_the_map_is_saved_with_the_autoencoder(tmp_path):
    vae = tiny()
    fit_preview(vae, [pixels()[0]])
    vae.save_pretrained(tmp_path)
    loaded = AutoencoderKLKinema.from_pretrained(tmp_path)
    latents = torch.randn(1, 6, 2, 3, 3)
    assert torch.equal(preview(loaded, latents), preview(vae, latents))
    # A folder of before has no such entries, and loads as it did.
    stored = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in stored.items() if k not in CONFIG_KEYS}))
    old = AutoencoderKLKinema.from_pretrained(tmp_path)
    assert not has_preview(old)
    assert torch.equal(old.decode(latents).sample, loaded.decode(latents).sample)


def test_a_fingerprint_is_of_the_latents_and_not_of_their_preview():
    vae = tiny()
    before = vae_fingerprint(vae)
    # As a class that knew nothing of previews hashed it: caches made before stay valid.
    vae._internal_dict = type(vae._internal_dict)({k: v for k, v in vae.config.items() if k not in CONFIG_KEYS})
    assert vae_fingerprint(vae) == before
    fit_preview(vae, [pixels()[0]])
    assert vae_fingerprint(vae) == before
    vae.register_to_config(latents_mean=[0.5] * 6)
    assert vae_fingerprint(vae) != before


def test_diffusers_autoencoders_keep_a_map_too(tmp_path):
    vae = AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 1], num_res_blocks=1, temperal_downsample=[False], attn_scales=[],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4, scale_factor_temporal=1, scale_factor_spatial=2,
    )  # fmt: skip
    clips = pixels()[0]
    with pytest.raises(ValueError, match="AutoencoderKLWan has no preview"):
        preview(vae, encode_latents(vae, clips))
    fit_preview(vae, [clips])
    shown = preview(vae, encode_latents(vae, clips))
    assert shown.shape == (2, *encode_latents(vae, clips).shape[2:3], 3, *encode_latents(vae, clips).shape[3:])
    vae.save_pretrained(tmp_path)
    loaded = AutoencoderKLWan.from_pretrained(tmp_path)
    assert torch.equal(preview(loaded, encode_latents(vae, clips)), shown)


def test_without_a_map_the_error_says_how_to_fit_one():
    with pytest.raises(ValueError, match=r"python -m kinema\.vae\.preview FOLDER"):
        preview(tiny(), torch.zeros(1, 6, 1, 2, 2))
    with pytest.raises(ValueError, match="at least one clip"):
        fit_preview(tiny(), [])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"latent_rgb_weights": [[0.0] * 3] * 5}, r"latent_rgb_weights has shape \(5, 3\); it needs \(6, 3\)"),
        ({"latent_rgb_bias": [0.0] * 6}, r"latent_rgb_bias has shape \(6,\); it needs \(3,\)"),
    ],
)
def test_a_map_of_other_channels_is_refused(entry, message):
    with pytest.raises(ValueError, match=message):
        tiny(**entry)


def test_the_command_writes_the_map_of_a_saved_autoencoder_and_nothing_else(tmp_path):
    config = load_config("tiny")
    vae = AutoencoderKLKinema(**config.vae.model_dump())
    vae.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    main([str(tmp_path), "--config", "tiny", "--clips", "2"])
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(after) == set(before)
    assert [name for name in after if after[name] != before[name]] == ["config.json"]
    entries = json.loads(after["config.json"])
    assert {k: v for k, v in entries.items() if k not in CONFIG_KEYS} == {
        k: v for k, v in json.loads(before["config.json"]).items() if k not in CONFIG_KEYS
    }
    assert has_preview(AutoencoderKLKinema.from_pretrained(tmp_path))
