"""A denoiser of one's own between other people's autoencoders and text encoders."""

import pytest
import torch
from diffusers import AutoencoderKLLTXVideo, AutoencoderKLWan, FlowMatchEulerDiscreteScheduler
from transformers import Gemma3TextConfig, Qwen2Config, T5Config

from kinema import KinemaPipeline, KinemaTransformer3DModel, TransformersConditioner
from kinema.conditioner.tokenizer import train_tokenizer

DECODER = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
TEXTS = {
    "t5": lambda: T5Config(vocab_size=300, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4),
    "qwen": lambda: Qwen2Config(**DECODER),
    "gemma": lambda: Gemma3TextConfig(**DECODER, head_dim=8),
}
VAES = {
    "wan": lambda: AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
        latents_mean=[0.5, -0.25, 0.0, 1.0], latents_std=[2.0, 0.5, 1.0, 3.0],
    ),
    "ltx": lambda: AutoencoderKLLTXVideo(
        latent_channels=4, block_out_channels=(8, 8), down_block_types=("LTXVideoDownBlock3D",) * 2,
        decoder_block_out_channels=(8, 8), layers_per_block=(1, 1, 1), decoder_layers_per_block=(1, 1, 1),
        spatio_temporal_scaling=(True, True), decoder_spatio_temporal_scaling=(True, True),
        decoder_inject_noise=(False,) * 3, upsample_residual=(False, False), upsample_factor=(1, 1),
        downsample_type=("conv", "conv"), patch_size=2,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "vae"), [("t5", "wan"), ("qwen", "ltx"), ("gemma", "wan")])
def test_texts_become_frames_and_the_whole_is_saved(text, vae, tmp_path):
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["a red ball rolls", "to the left"], 300, 16)
    pipe = KinemaPipeline(
        vae=VAES[vae](),
        text_encoder=TransformersConditioner(TEXTS[text]().to_dict(), max_length=16, tokenizer=tokenizer).eval(),
        transformer=KinemaTransformer3DModel(
            in_channels=4, cross_attention_dim=32, num_layers=1, num_attention_heads=1, attention_head_dim=12
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    pipe.set_progress_bar_config(disable=True)
    grid = pipe.grid
    shape = {"height": 2 * grid.spatial, "width": 4 * grid.spatial, "num_frames": 1 + grid.temporal}

    def run(pipe, prompt):
        return pipe(prompt, **shape, num_inference_steps=2, generator=0, output_type="pt").frames

    frames = run(pipe, "a red ball")
    assert frames.shape == (1, shape["num_frames"], 3, shape["height"], shape["width"])
    assert not torch.equal(run(pipe, "to the left"), frames)
    pipe.save_pretrained(tmp_path)
    torch.testing.assert_close(run(KinemaPipeline.from_pretrained(tmp_path), "a red ball"), frames)
