"""A tiny denoiser whose every weight matters, and inputs for it."""

import pytest
import torch

from kinema import KinemaTransformer3DModel

CHANNELS, TEXT_DIM = 4, 10
SIZES = {"num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 12, "mlp_ratio": 2.0}


def _make_model(**changes):
    torch.manual_seed(0)
    model = KinemaTransformer3DModel(
        **{**SIZES, "in_channels": CHANNELS, "cross_attention_dim": TEXT_DIM, "patch_size": (1, 2, 2), **changes}
    )
    with torch.no_grad():  # open the paths that start closed at zero
        for parameter in model.parameters():
            if parameter.ndim == 1 or not parameter.any():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def _make_inputs(batch=2, frames=3, rows=4, columns=6, length=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {
        "hidden_states": torch.randn(batch, CHANNELS, frames, rows, columns, generator=generator),
        "timestep": 1000 * torch.rand(batch, frames, generator=generator),
        "encoder_hidden_states": torch.randn(batch, length, TEXT_DIM, generator=generator),
        "frame_times": torch.linspace(0, 0.5 * frames, frames)[None].repeat(batch, 1),
    }


@pytest.fixture(scope="session")
def make_model():
    """make_model(**config changes): zero-initialised weights are drawn at random."""
    return _make_model


@pytest.fixture(scope="session")
def model():
    """One tiny model for tests that do not change it."""
    return _make_model()


@pytest.fixture(scope="session")
def make_inputs():
    """make_inputs(batch, frames, rows, columns, length, seed): keyword arguments of `forward`."""
    return _make_inputs
