import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from kinema import KinemaTransformer3DModel
from kinema.configs import load_config
from kinema.configs.sizes import SIZES
from kinema.dit.sizing import describe, dit_cost, number, size_cost

NAMED = {"10m": 1e7, "35m": 3.5e7, "130m": 1.3e8, "350m": 3.5e8, "1b": 1e9, "2b": 2e9, "5b": 5e9, "14b": 1.4e10}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_have_the_parameters_they_are_named_for(name):
    size = SIZES[name]
    with torch.device("meta"):
        model = KinemaTransformer3DModel(
            **size.dit.model_dump(), in_channels=size.latent_channels, cross_attention_dim=size.text_dim
        )
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(NAMED[name], rel=0.11)
    _, rows, columns = size.latent_shape
    assert (size.num_frames - 1) % size.temporal_stride == 0
    assert (rows * size.spatial_stride, columns * size.spatial_stride) == (size.height, size.width)
    assert rows % size.dit.patch_size[1] == columns % size.dit.patch_size[2] == 0


def test_the_largest_size_runs_on_the_meta_device():
    cost = size_cost(SIZES["14b"])
    size = SIZES["14b"]
    dense, dim = 2 * cost.parameters * cost.tokens, 36 * 128
    attention = 4 * size.dit.num_layers * dim * cost.tokens * (cost.tokens + size.text_tokens)
    # The rule of thumb 2PN + 4LN²d, which counts text projections as if every token had them.
    assert cost.forward_flops == pytest.approx(dense + attention, rel=0.1)


def test_counts_are_those_of_a_real_forward():
    size = SIZES["10m"]
    cost = size_cost(size)
    model = KinemaTransformer3DModel(**size.dit.model_dump(), in_channels=16, cross_attention_dim=192)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.randn(1, 16, 5, 8, 8), torch.zeros(1, 5), torch.randn(1, 64, 192))
    assert counter.get_total_flops() == cost.forward_flops
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    assert cost.tokens == size.num_tokens == 80


def test_activations_grow_with_the_clip():
    common = {"in_channels": 4, "text_dim": 8, "text_tokens": 4}
    dit = SIZES["10m"].dit
    short, long = (dit_cost(dit, **common, latent_shape=(f, 8, 8)) for f in (2, 8))
    assert 3 < long.activation_bytes / short.activation_bytes < 5


def test_description_names_every_stage():
    text = describe(load_config("tiny"))
    for stage in ("conditioner", "vae", "dit"):
        assert stage in text


@pytest.mark.parametrize(("value", "text"), [(12_050_000, "12.1 M"), (5, "5 "), (2.03e9, "2.03 G")])
def test_numbers_are_short(value, text):
    assert number(value) == text
