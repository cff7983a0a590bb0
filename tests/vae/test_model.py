"""The autoencoder's promises: causal, streamable at any chunking, tileable, exact to save and load."""

import gc
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema import AutoencoderKLKinema
from kinema.vae.tiling import StreamState, ramp, tile_spans

TINY: dict[str, Any] = {"latent_channels": 4, "patch_size": 2, "block_channels": (8, 12), "layers_per_block": 1}


def build(temporal_stride: int = 4, seed: int = 0, **changes: Any) -> AutoencoderKLKinema:
    """A model whose every layer does something (residual branches are zero at initialisation)."""
    torch.manual_seed(seed)
    model = AutoencoderKLKinema(temporal_stride=temporal_stride, **(TINY | changes)).eval()
    for parameter in model.parameters():
        if parameter.ndim == 3:
            torch.nn.init.normal_(parameter, std=0.2)
    return model.requires_grad_(False)


def pixels(frames: int, height: int = 8, width: int = 8, batch: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, 3, frames, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def latents(frames: int, height: int = 2, width: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, 4, frames, height, width, generator=torch.Generator().manual_seed(seed))


def moments(model: AutoencoderKLKinema, x: torch.Tensor) -> torch.Tensor:
    return model.encode(x).latent_dist.parameters


@settings(deadline=None, max_examples=25)
@given(
    stride=st.sampled_from([1, 2, 4, 8]),
    levels=st.integers(1, 3),
    patch=st.sampled_from([1, 2, 4]),
    groups=st.integers(0, 3),
)
def test_shapes(stride, levels, patch, groups):
    model = build(stride, block_channels=(8, 6, 10)[:levels], patch_size=patch)
    side = patch * 2 ** (levels - 1)
    assert (model.temporal_compression_ratio, model.spatial_compression_ratio) == (stride, side)
    x = pixels(1 + groups * stride, 2 * side, 3 * side)
    z = model.encode(x).latent_dist.mode()
    assert z.shape == (1, 4, 1 + groups, 2, 3)
    assert model.decode(z).sample.shape == x.shape


@settings(deadline=None, max_examples=25)
@given(stride=st.sampled_from([1, 2, 4, 8]), groups=st.integers(1, 3), data=st.data())
def test_encoder_is_causal(stride, groups, data):
    model, x = build(stride), pixels(1 + groups * stride)
    frame = data.draw(st.integers(1, x.shape[2] - 1))
    changed = x.clone()
    changed[:, :, frame] += 1.0
    first_touched = 1 + (frame - 1) // stride
    before, after = moments(model, x), moments(model, changed)
    torch.testing.assert_close(after[:, :, :first_touched], before[:, :, :first_touched], rtol=0, atol=0)
    assert not torch.allclose(after[:, :, first_touched], before[:, :, first_touched])


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_first_frame_alone_is_the_first_latent(stride):
    model, x = build(stride), pixels(1 + 2 * stride)
    torch.testing.assert_close(moments(model, x[:, :, :1]), moments(model, x)[:, :, :1], rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(stride=st.sampled_from([1, 2, 4, 8]), frame=st.integers(1, 3))
def test_decoder_is_causal(stride, frame):
    model, z = build(stride), latents(4)
    changed = z.clone()
    changed[:, :, frame] += 1.0
    kept = 1 + (frame - 1) * stride
    before, after = model.decode(z).sample, model.decode(changed).sample
    torch.testing.assert_close(after[:, :, :kept], before[:, :, :kept], rtol=0, atol=0)
    assert not torch.allclose(after[:, :, kept:], before[:, :, kept:])


@pytest.mark.parametrize("stride", [2, 4])
def test_a_still_image_is_a_clip_in_which_nothing_moves(stride):
    model = build(stride)
    still = moments(model, pixels(1).expand(-1, -1, 1 + 2 * stride, -1, -1))
    torch.testing.assert_close(still, still[:, :, :1].expand_as(still), rtol=1e-5, atol=1e-5)


@st.composite
def chunked(draw, total: int):
    cuts = sorted(draw(st.sets(st.integers(1, total - 1))))
    return [end - start for start, end in zip([0, *cuts], [*cuts, total])]


@settings(deadline=None, max_examples=25)
@given(stride=st.sampled_from([1, 2, 4, 8]), tiled=st.booleans(), data=st.data())
def test_streaming_encode_equals_whole_at_any_chunking(stride, tiled, data):
    model, x = build(stride), pixels(1 + 3 * stride, 8, 12)
    if tiled:
        model.enable_tiling(8, 4)
    chunks = x.split(data.draw(chunked(x.shape[2])), dim=2)
    streamed = torch.cat([posterior.parameters for posterior in model.encode_stream(chunks)], dim=2)
    torch.testing.assert_close(streamed, moments(model, x), rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(stride=st.sampled_from([1, 2, 4, 8]), tiled=st.booleans(), data=st.data())
def test_streaming_decode_equals_whole_at_any_chunking(stride, tiled, data):
    model, z = build(stride), latents(5, 2, 3)
    if tiled:
        model.enable_tiling(8, 4)
    chunks = z.split(data.draw(chunked(z.shape[2])), dim=2)
    parts = list(model.decode_stream(chunks))
    assert [part.shape[2] for part in parts] == [
        chunk.shape[2] * stride - (stride - 1) * (i == 0) for i, chunk in enumerate(chunks)
    ]
    torch.testing.assert_close(torch.cat(parts, dim=2), model.decode(z).sample, rtol=1e-4, atol=1e-5)


def test_whole_tensors_stream_too():
    model, x = build(4), pixels(13)
    z = torch.cat([posterior.mode() for posterior in model.encode_stream(x)], dim=2)
    torch.testing.assert_close(z, model.encode(x).latent_dist.mode(), rtol=1e-4, atol=1e-5)
    assert len(list(model.decode_stream(z))) == z.shape[2]


def test_streaming_memory_does_not_grow_with_length():
    """30 seconds at 24 frames a second: what a stream holds is the same after each chunk."""
    model, seconds = build(4), 30
    state, held = StreamState(), []
    for _ in range(seconds * 24 // 4):
        model._decode(latents(1), state)
        held.append(state.num_bytes())
    assert held[0] == held[-1] == max(held) > 0

    gc.collect()
    alive = []
    for part in model.decode_stream(latents(1) for _ in range(seconds * 24 // 4)):
        if len(alive) % 30 == 5:
            gc.collect()
            alive.append(sum(o.numel() for o in gc.get_objects() if type(o) is torch.Tensor))
        else:
            alive.append(0)
        del part
    measured = [count for count in alive if count]
    assert len(measured) > 3 and max(measured) <= 1.01 * measured[0]


def smooth_latents(height: int, width: int) -> torch.Tensor:
    small = torch.randn(1, 4 * 2, height // 4, width // 4, generator=torch.Generator().manual_seed(1))
    big = torch.nn.functional.interpolate(small, (height, width), mode="bicubic")
    return big.reshape(1, 4, 2, height, width)


@pytest.mark.parametrize("seed", range(3))
def test_tiled_decode_is_close_to_whole_and_has_no_seams(seed):
    model, z = build(2, seed), smooth_latents(32, 32)
    whole = model.decode(z).sample
    model.enable_tiling(64, 32)  # 16 cells, 8 shared
    tiled = model.decode(z).sample
    assert tiled.shape == whole.shape and not torch.equal(tiled, whole)
    assert (tiled - whole).abs().mean() < 0.02 * whole.std()
    borders = {4 * edge for span in tile_spans(32, 16, 8) for edge in span} - {0, 128}
    for axis in (-1, -2):
        across = tiled.diff(dim=axis).abs().movedim(axis, 0).flatten(1).mean(1)
        at_borders = torch.stack([across[b - 1] for b in borders]).mean()
        elsewhere = torch.stack([across[b - 1] for b in range(4, 128, 4) if b not in borders]).mean()
        assert at_borders <= 1.1 * elsewhere


@pytest.mark.parametrize("seed", range(3))
def test_tiled_encode_is_close_to_whole(seed):
    model = build(2, seed)
    x = model.decode(smooth_latents(32, 32)).sample
    whole = moments(model, x)
    model.enable_tiling(64, 32)
    tiled = moments(model, x)
    assert not torch.equal(tiled, whole) and (tiled - whole).abs().mean() < 0.01 * whole.std()


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(2, 16), st.data())
def test_tiles_cover_everything_with_positive_weight(length, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    total = torch.zeros(length * 2)
    for start, end in tile_spans(length, tile, overlap):
        assert 0 <= start < end <= length and end - start == min(tile, length)
        total[start * 2 : end * 2] += ramp(start, end, length, overlap, 2)
    assert (total > 0).all()


def test_save_and_load_is_exact(tmp_path):
    model = build(4)
    model.register_to_config(latents_mean=[0.1, 0.2, 0.3, 0.4], latents_std=[1.0, 2.0, 3.0, 4.0])
    model.save_pretrained(tmp_path)
    loaded = AutoencoderKLKinema.from_pretrained(tmp_path).requires_grad_(False)
    assert loaded.config["latents_std"] == [1.0, 2.0, 3.0, 4.0]
    x = pixels(9)
    assert torch.equal(loaded(x).sample, model(x).sample)


def test_slicing_gradient_checkpointing_and_sampling():
    model, x = build(4), pixels(5, batch=3)
    whole = model(x).sample
    model.enable_slicing()
    torch.testing.assert_close(model(x).sample, whole, rtol=1e-5, atol=1e-5)
    model.disable_slicing()

    def gradients():
        model.requires_grad_(True).zero_grad()
        model(x).sample.square().mean().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    plain = gradients()
    model.enable_gradient_checkpointing()
    assert model.encoder.gradient_checkpointing and model.decoder.gradient_checkpointing
    torch.testing.assert_close(gradients(), plain)

    draws = [model(x, sample_posterior=True, generator=torch.Generator().manual_seed(s)).sample for s in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    noise = torch.zeros(3, 4, 2, 2, 2)
    torch.testing.assert_close(model(x, noise=noise).sample, whole)


def test_bf16_weights_and_autocast_run():
    model, x = build(4), pixels(5)
    whole = model(x).sample
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(x).sample
    torch.testing.assert_close(mixed.float(), whole, rtol=0.1, atol=0.1)
    low: Any = build(4)
    low.to(torch.bfloat16)
    assert low(x.bfloat16()).sample.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.encode(pixels(6)), "6 frames; the temporal stride 4 needs 1 + k·4 frames, such as 5 or 9"),
        (
            lambda m: m.encode(pixels(5, 10, 8)),
            "10 × 8 pixels (height × width); the spatial stride needs multiples of 4",
        ),
        (lambda m: m.encode(pixels(5)[0]), "(batch, 3, frames, height, width)"),
        (lambda m: m.decode(latents(2)[:, :3]), "(batch, 4, frames, height, width)"),
        (lambda m: list(m.encode_stream([pixels(4), pixels(3)])), "ended after 7 frames"),
        (lambda m: m.enable_tiling(10), "multiples of the spatial stride 4"),
        (lambda m: m.enable_tiling(8, 8), "the overlap less than the tile"),
        (lambda m: AutoencoderKLKinema(temporal_stride=3), "power of two"),
        (lambda m: AutoencoderKLKinema(latents_mean=[0.0]), "latents_mean has 1 values"),
        (lambda m: AutoencoderKLKinema(block_channels=()), "block_channels is empty"),
    ],
)
def test_errors_say_what_is_needed(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(build(4))
