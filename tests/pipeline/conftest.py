import copy

import pytest
import torch

from kinema.configs import Config, load_config
from kinema.pipeline.build import build_pipeline


@pytest.fixture(scope="session")
def config() -> Config:
    return load_config("tiny")


@pytest.fixture(scope="session")
def built(config):
    """A tiny pipeline whose velocity depends on everything it is given."""
    pipe = build_pipeline(config)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in pipe.transformer.named_parameters():
        if (parameter.ndim > 1 and not parameter.any()) or "scale_shift" in name:  # what starts at zero
            torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def pipe(built):
    """A copy that a test may change."""
    return copy.deepcopy(built)
