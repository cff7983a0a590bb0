"""diffusers' own shared tests, run against our classes from a checkout of diffusers (they are in no wheel).

    git clone --depth 1 -b v0.42.1 https://github.com/huggingface/diffusers ~/diffusers
    KINEMA_DIFFUSERS_TESTS=~/diffusers pytest tests/conformance/test_shared_mixins.py

A minute on one core; with `-m "not torch_compile"` half of it. What needs a GPU is skipped without one.
"""

import importlib
import importlib.util
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from kinema import AutoencoderKLKinema, KinemaPipeline, KinemaTransformer3DModel

CHECKOUT = os.environ.get("KINEMA_DIFFUSERS_TESTS")
if not CHECKOUT:
    pytest.skip("KINEMA_DIFFUSERS_TESTS names no checkout of diffusers", allow_module_level=True)
ROOT = "diffusers_tests"  # their package is called tests, as ours is

# Theirs, not ours: deprecations, marks that only their configuration knows.
pytestmark = pytest.mark.filterwarnings("default")


def shared(*modules: str) -> dict[str, Any]:
    """The names in modules of diffusers' tests; a module that this checkout does not have is left out."""
    if ROOT not in sys.modules:
        folder = Path(CHECKOUT or "").expanduser() / "tests"
        spec = importlib.util.spec_from_file_location(
            ROOT, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None and spec.loader is not None
        sys.modules[ROOT] = package = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(package)
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in modules:
            try:
                names |= vars(importlib.import_module(f"{ROOT}.{module}"))
            except ModuleNotFoundError as error:
                if not (error.name or "").startswith(ROOT):
                    raise
    return names


models = shared("models.testing_utils")
autoencoders = shared("models.autoencoders.testing_utils")
pipelines = shared("pipelines.testing_utils", "pipelines.testing_utils.lora")
params = shared("pipelines.pipeline_params")


def make_mixins(prefix: str, config: type, mixins: dict[str, Any], wanted: list[str]) -> None:
    """A test class of this module for each wanted mixin that the checkout has."""
    for name in wanted:
        if name in mixins:
            globals()[f"Test{prefix}{name.removesuffix('TesterMixin')}"] = type(name, (config, mixins[name]), {})


def noise(*shape: int) -> torch.Tensor:
    device = models.get("torch_device", "cpu")
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(device)


class Transformer(models["BaseModelTesterConfig"]):
    model_class = KinemaTransformer3DModel
    output_shape = (4, 2, 16, 16)
    main_input_name = "hidden_states"
    different_shapes_for_compilation = [(16, 16), (16, 32), (32, 32)]  # noqa: RUF012
    # The tests call the model with one video at a time, so there is no negative half to leave out.
    FASTER_CACHE_CONFIG = {  # noqa: RUF012
        "spatial_attention_block_skip_range": 2,
        "spatial_attention_timestep_skip_range": (-1, 901),
        "tensor_format": "BCFHW",
        "is_guidance_distilled": True,
    }

    def get_init_dict(self):
        return {
            "in_channels": 4,
            "cross_attention_dim": 16,
            "num_layers": 2,
            "num_attention_heads": 2,
            "attention_head_dim": 12,
        }

    def get_dummy_inputs(self, height=16, width=16, batch_size=1):
        return {
            "hidden_states": noise(batch_size, 4, 2, height, width),
            "timestep": 1000 * noise(batch_size).sigmoid(),
            "encoder_hidden_states": noise(batch_size, 12, 16),
        }


class Autoencoder(models["BaseModelTesterConfig"]):
    model_class = AutoencoderKLKinema
    output_shape = (3, 9, 16, 16)
    main_input_name = "sample"

    def get_init_dict(self):
        return {
            "latent_channels": 4,
            "patch_size": 2,
            "block_channels": [8, 16],
            "layers_per_block": 1,
            "temporal_stride": 4,
        }

    def get_dummy_inputs(self):
        return {"sample": noise(2, 3, 9, 16, 16)}


class Pipeline(pipelines["BasePipelineTesterConfig"]):
    pipeline_class = KinemaPipeline
    output_shape = (9, 3, 16, 16)
    required_input_params_in_call_signature = params["TEXT_TO_IMAGE_PARAMS"] - {"cross_attention_kwargs"}
    batch_input_params = params["TEXT_TO_IMAGE_BATCH_PARAMS"]
    optional_input_params = frozenset(
        ["num_inference_steps", "generator", "latents", "output_type", "return_dict", "callback_on_step_end"]
    )
    # The same under the names of earlier versions.
    params, batch_params = required_input_params_in_call_signature, batch_input_params
    required_optional_params = optional_input_params
    test_layerwise_casting = test_group_offloading = True
    supports_text_encoder_loras = False

    make: Any  # the functions that our own tests make components and inputs with

    def get_dummy_components(self, num_layers=2):
        return self.make[0](num_layers)

    def get_dummy_inputs(self, device=None, seed=0):
        return self.make[1](generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="class", autouse=True)
def makers(components, inputs):
    Pipeline.make = components, inputs


CACHES = [
    f"{name}TesterMixin"
    for name in ("PyramidAttentionBroadcast", "FirstBlockCache", "TaylorSeerCache", "MagCache", "FasterCache")
]
make_mixins(
    "Transformer",
    Transformer,
    models,
    [
        "ModelTesterMixin",
        "AttentionTesterMixin",
        "AttentionBackendTesterMixin",
        "TrainingTesterMixin",
        "MemoryTesterMixin",
        "LoraTesterMixin",
        "LoraHotSwappingForModelTesterMixin",
        "TorchCompileTesterMixin",
        "ContextParallelTesterMixin",
        *CACHES,
    ],
)
make_mixins("Autoencoder", Autoencoder, models, ["ModelTesterMixin", "TrainingTesterMixin", "MemoryTesterMixin"])
make_mixins("Autoencoder", Autoencoder, autoencoders, ["NewAutoencoderTesterMixin"])
make_mixins(
    "Pipeline", Pipeline, pipelines, ["PipelineTesterMixin", "MemoryTesterMixin", "LoraTesterMixin", *CACHES]
)
