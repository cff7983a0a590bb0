"""A tiny pipeline of random weights, as diffusers' own tests build theirs, and a call of it."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from transformers import T5Config

from kinema import AutoencoderKLKinema, KinemaPipeline, KinemaTransformer3DModel, TransformersConditioner
from kinema.conditioner.tokenizer import train_tokenizer

PROMPT = "dance monkey"
SHAPE = {"height": 16, "width": 16, "num_frames": 9}


def make_components(num_layers: int = 2) -> dict:
    torch.manual_seed(0)
    text = T5Config(vocab_size=300, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    components = {
        "transformer": KinemaTransformer3DModel(
            in_channels=4,
            cross_attention_dim=32,
            num_layers=num_layers,
            num_attention_heads=2,
            attention_head_dim=12,
        ),
        "vae": AutoencoderKLKinema(
            latent_channels=4, patch_size=2, block_channels=[8, 16], layers_per_block=1, temporal_stride=4
        ),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=7.0),
        "text_encoder": TransformersConditioner(
            text_config=text.to_dict(), max_length=16, tokenizer=train_tokenizer([PROMPT, "negative"], 300, 16)
        ),
    }
    for part in components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    return components


def make_inputs(**changes) -> dict:
    """Arguments of a short call whose frames come back as a tensor."""
    return {
        "prompt": PROMPT,
        "negative_prompt": "negative",
        "generator": torch.Generator().manual_seed(0),
        "num_inference_steps": 2,
        "guidance_scale": 6.0,
        "output_type": "pt",
        **SHAPE,
        **changes,
    }


@pytest.fixture(scope="session")
def components():
    """components(num_layers): new parts, always with the same weights."""
    return make_components


@pytest.fixture(scope="session")
def inputs():
    """inputs(**changes): arguments of a short call."""
    return make_inputs


@pytest.fixture
def pipe():
    """A new pipeline, always with the same weights."""
    pipe = KinemaPipeline(**make_components())
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def run():
    """run(pipe, **changes): the frames (B, F, 3, H, W) of a short call."""
    return lambda pipe, **changes: pipe(**make_inputs(**changes)).frames


@pytest.fixture(scope="session")
def expected():
    """The frames of a short call of an untouched pipeline."""
    pipe = KinemaPipeline(**make_components())
    pipe.set_progress_bar_config(disable=True)
    return pipe(**make_inputs()).frames
