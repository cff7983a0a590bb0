"""Other ways to compute attention: other kernels, fused projections, compiled blocks."""

import pytest
import torch
from diffusers.models.attention_dispatch import _AttentionBackendRegistry


@pytest.fixture(autouse=True)
def default_backend():
    """diffusers makes a model's backend that of every model, and leaves it so."""
    default, _ = _AttentionBackendRegistry.get_active_backend()
    yield default
    _AttentionBackendRegistry.set_active_backend(default)


def test_attention_backends_agree(pipe, run, expected, default_backend):
    pipe.transformer.set_attention_backend("_native_math")
    frames = run(pipe)
    assert not torch.equal(frames, expected)  # it was another kernel
    torch.testing.assert_close(frames, expected, atol=1e-5, rtol=0)
    pipe.transformer.reset_attention_backend()
    _AttentionBackendRegistry.set_active_backend(default_backend)
    assert torch.equal(run(pipe), expected)


def test_a_backend_that_does_not_exist_is_refused(pipe):
    with pytest.raises(ValueError, match="backend"):
        pipe.transformer.set_attention_backend("abacus")


def test_fused_projections_agree(pipe, run, expected):
    pipe.transformer.fuse_qkv_projections()
    assert all("to_qkv" in dict(block.attn.named_children()) for block in pipe.transformer.transformer_blocks)
    torch.testing.assert_close(run(pipe), expected, atol=1e-5, rtol=0)


def test_blocks_are_compiled_once_for_a_whole_run(pipe, run, expected):
    torch.compiler.reset()
    pipe.transformer.compile_repeated_blocks(fullgraph=True, backend="eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        torch.testing.assert_close(run(pipe), expected, atol=1e-5, rtol=0)
    torch.compiler.reset()
