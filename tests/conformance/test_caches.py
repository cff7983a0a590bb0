"""diffusers' step caches, which leave out what hardly changes from step to step."""

import pytest
import torch
from diffusers import (
    FasterCacheConfig,
    FirstBlockCacheConfig,
    MagCacheConfig,
    PyramidAttentionBroadcastConfig,
    TaylorSeerCacheConfig,
)

from kinema import Canvas
from kinema.dit.cache import KVCache

STEPS = 6


class Work:
    """Counts how often the last block of a transformer computes its self-attention."""

    def __init__(self, transformer):
        self.count = 0
        transformer.transformer_blocks[-1].attn.to_q.register_forward_hook(self._add)

    def _add(self, *_):
        self.count += 1


CACHES = {
    "first block": lambda pipe: FirstBlockCacheConfig(threshold=0.8),
    "taylorseer": lambda pipe: TaylorSeerCacheConfig(cache_interval=3, disable_cache_before_step=2, max_order=1),
    "magnitude": lambda pipe: MagCacheConfig(
        threshold=0.5, max_skip_steps=2, retention_ratio=0.2, num_inference_steps=STEPS, mag_ratios=[1.0] * STEPS
    ),
    "pyramid attention": lambda pipe: PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2,
        spatial_attention_timestep_skip_range=(0, 1000),
        current_timestep_callback=lambda: pipe.current_timestep,
    ),
}


@pytest.mark.parametrize("name", CACHES)
def test_a_cache_saves_work_at_little_cost_and_leaves_no_trace(pipe, run, name):
    plain = run(pipe, num_inference_steps=STEPS)
    work = Work(pipe.transformer)
    pipe.transformer.enable_cache(CACHES[name](pipe))
    cached = [run(pipe, num_inference_steps=STEPS) for _ in range(2)]
    assert 0 < work.count < 2 * STEPS
    assert torch.equal(*cached)  # each call starts afresh
    assert 0 < (cached[0] - plain).abs().mean() < 0.1
    pipe.transformer.disable_cache()
    assert torch.equal(run(pipe, num_inference_steps=STEPS), plain)


@pytest.mark.filterwarnings("ignore:.*indexing argument:UserWarning")
def test_faster_cache_skips_the_negative_half(pipe, run):
    plain = run(pipe, num_inference_steps=STEPS)
    sizes = []
    pipe.transformer.transformer_blocks[0].register_forward_pre_hook(
        lambda block, given: sizes.append(len(given[0]))
    )
    config = FasterCacheConfig(
        spatial_attention_block_skip_range=2,
        unconditional_batch_skip_range=2,
        unconditional_batch_timestep_skip_range=(-1, 1000),
        attention_weight_callback=lambda module: 0.5,
        tensor_format="BCFHW",
        current_timestep_callback=lambda: pipe.current_timestep,
    )
    pipe.transformer.enable_cache(config)
    cached = run(pipe, num_inference_steps=STEPS)
    assert sizes == [2, 1, 2, 1, 2, 1]
    assert (cached - plain).abs().mean() < 0.1


def test_a_threshold_of_nothing_changes_nothing(pipe, run, expected):
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.0))
    assert torch.equal(run(pipe), expected)


def test_guidance_may_end_midway_under_a_cache(pipe, run):
    def end(pipe, step, timestep, tensors):
        pipe._guidance_scale = 1.0 if step >= 2 else pipe._guidance_scale
        return {}

    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.8))
    assert run(pipe, num_inference_steps=STEPS, callback_on_step_end=end).isfinite().all()


def test_frames_of_unequal_noise_are_refused_before_a_model_runs(pipe, run):
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.8))
    work = Work(pipe.transformer)
    with pytest.raises(ValueError, match=r"FirstBlockCacheConfig needs one noise level.*disable_cache\(\)"):
        run(pipe, schedule="staircase")
    assert work.count == 0
    pipe.transformer.disable_cache()
    assert run(pipe, schedule="staircase").isfinite().all()


def test_known_frames_do_not_stand_in_a_caches_way(pipe, run):
    known = torch.zeros(1, 1, 3, 4, 4, dtype=torch.bool)
    known[:, :, 0] = True
    latents = torch.randn(1, 4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    start = torch.tensor([0.0, 1.0, 1.0])
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.8))
    made = run(pipe, canvas=Canvas(latents, known, start, (0, 0, 0)), output_type="latent")
    assert torch.equal(made[:, :, 0], latents[:, :, 0])


def test_a_key_value_cache_needs_every_block(pipe):
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.8))
    with pytest.raises(ValueError, match=r"FirstBlockCacheConfig leaves some out; call disable_cache\(\)"):
        pipe.transformer(
            torch.zeros(1, 4, 1, 4, 4), torch.zeros(1), torch.zeros(1, 2, 32), kv_cache=KVCache(1, window=2)
        )
