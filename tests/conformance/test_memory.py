"""Ways to need less memory change no frame: offloading, slices, tiles, and weights in 8 bits."""

import accelerate
import pytest
import torch

from kinema import OpenCLIPConditioner

CPU = torch.device("cpu")
PARTS = ("text_encoder", "transformer", "vae")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="diffusers offloads from a GPU only")


@needs_gpu
@pytest.mark.parametrize("kind", ["model", "sequential"])
def test_offloading_from_a_gpu(pipe, run, expected, kind):
    getattr(pipe, f"enable_{kind}_cpu_offload")()
    torch.testing.assert_close(run(pipe), expected, atol=1e-4, rtol=0)
    assert pipe.transformer.device.type == ("cpu" if kind == "model" else "meta")


def test_sequential_offloading(pipe, run, expected):
    # What enable_sequential_cpu_offload does, with the CPU in the GPU's place: every layer's weights lie aside
    # and come only for its own forward.
    for name in PARTS:
        part = getattr(pipe, name)
        accelerate.cpu_offload(part, CPU, offload_buffers=len(part._parameters) > 0)
    torch.testing.assert_close(run(pipe), expected)
    assert all(getattr(pipe, name).device.type == "meta" for name in PARTS)


@pytest.mark.parametrize(
    "how", [{"offload_type": "block_level", "num_blocks_per_group": 1}, {"offload_type": "leaf_level"}]
)
def test_group_offloading_of_a_part(pipe, run, expected, how):
    for name in PARTS:
        getattr(pipe, name).enable_group_offload(CPU, **how)
    torch.testing.assert_close(run(pipe), expected)


def test_group_offloading_of_the_pipeline(pipe, run, expected):
    pipe.enable_group_offload(onload_device=CPU, offload_device=CPU, offload_type="leaf_level")
    torch.testing.assert_close(run(pipe), expected)


def test_group_offloading_to_a_disk(pipe, run, expected, tmp_path):
    pipe.transformer.enable_group_offload(
        CPU, offload_type="block_level", num_blocks_per_group=1, offload_to_disk_path=str(tmp_path)
    )
    assert list(tmp_path.glob("*.safetensors"))
    torch.testing.assert_close(run(pipe), expected)


def test_sliced_decoding_changes_nothing(pipe, run):
    changes = {"prompt": ["a", "b", "c"]}
    whole = run(pipe, **changes)
    pipe.vae.enable_slicing()
    torch.testing.assert_close(run(pipe, **changes), whole)


def test_tiled_decoding_changes_little(pipe, run):
    changes = {"height": 64, "width": 96}
    whole = run(pipe, **changes)
    pipe.vae.enable_tiling(tile_size=48, overlap=16)
    tiled = run(pipe, **changes)
    assert 0 < (tiled - whole).abs().mean() < 0.02


def test_weights_kept_in_8_bits(pipe, run, expected):
    pipe.to(torch.bfloat16)
    pipe.transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16)
    stored = {name: p.dtype for name, p in pipe.transformer.named_parameters()}
    assert stored["transformer_blocks.0.attn.to_q.weight"] == torch.float8_e4m3fn
    assert stored["patch_embed.weight"] == stored["time_embed.linear_1.weight"] == torch.bfloat16
    assert (run(pipe).float() - expected).abs().mean() < 0.05


@torch.no_grad()
def test_sequential_offloading_of_a_text_tower(pipe):
    tower = {"vocab_size": 300, "context_length": 16, "width": 24, "heads": 4, "layers": 2, "pool_type": "eos"}
    text = OpenCLIPConditioner(20, {**tower, "eos_id": 2}, tokenizer=pipe.text_encoder.tokenizer).eval()
    whole = text.encode(["a monkey", "dance"])
    accelerate.cpu_offload(text, CPU)
    assert text.device.type == "meta"
    aside = text.encode(["a monkey", "dance"])
    torch.testing.assert_close(aside.encoder_hidden_states, whole.encoder_hidden_states)
    torch.testing.assert_close(aside.pooled, whole.pooled)
