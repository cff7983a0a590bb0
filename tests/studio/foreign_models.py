"""Wan and LTX pipelines of a few thousand random weights, saved as one finds them on the hub."""

import torch
from diffusers import (
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    LTXImageToVideoPipeline,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import T5Config, T5EncoderModel, T5TokenizerFast, UMT5Config, UMT5EncoderModel

SMALL = {"vocab_size": 160, "d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 1, "num_heads": 4}


def _tokenizer():
    words = ["<pad>", "</s>", "<unk>", *"▁abcdefghijklmnopqrstuvwxyz", "▁a", "▁car", "▁red"]
    return T5TokenizerFast(vocab=[(word, -float(place)) for place, word in enumerate(words)], extra_ids=100)


def save_wan(folder):
    """A WanPipeline with the scheduler that Wan comes with."""
    torch.manual_seed(0)
    WanPipeline(
        tokenizer=_tokenizer(),
        text_encoder=UMT5EncoderModel(UMT5Config(**SMALL)),
        vae=AutoencoderKLWan(
            base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
            latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
        ),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, num_train_timesteps=1000
        ),
        transformer=WanTransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4,
            text_dim=32, freq_dim=32, ffn_dim=32, num_layers=1, rope_max_seq_len=64,
        ),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_ltx(folder, pipeline=LTXPipeline):
    """An LTXPipeline, or its sister that begins with a picture."""
    torch.manual_seed(0)
    pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKLLTXVideo(
            latent_channels=8, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
            spatio_temporal_scaling=(True, True, True, False),
            decoder_spatio_temporal_scaling=(True, True, True, False),
            layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1, 1), patch_size=4,
            patch_size_t=1, encoder_causal=True, decoder_causal=False,
        ),
        text_encoder=T5EncoderModel(T5Config(**SMALL)),
        tokenizer=_tokenizer(),
        transformer=LTXVideoTransformer3DModel(
            in_channels=8, out_channels=8, patch_size=1, patch_size_t=1, num_attention_heads=2,
            attention_head_dim=8, cross_attention_dim=16, num_layers=1, caption_channels=32,
        ),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_ltx_of_pictures(folder):
    """An LTXImageToVideoPipeline."""
    return save_ltx(folder, LTXImageToVideoPipeline)
