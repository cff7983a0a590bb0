"""LoRA adapters at the pipeline, through PEFT: what diffusers' own video pipelines do with them."""

import pytest
import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import get_peft_model_state_dict
from safetensors import safe_open

from kinema import KinemaPipeline

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


def adapt(pipe, name="default", seed=1, alpha=8):
    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=alpha, target_modules=TARGETS, init_lora_weights=False)
    pipe.transformer.add_adapter(config, adapter_name=name)
    return pipe


def save(pipe, folder, name="default"):
    pipe.save_lora_weights(
        folder,
        transformer_lora_layers=get_peft_model_state_dict(pipe.transformer, adapter_name=name),
        transformer_lora_adapter_metadata=pipe.transformer.peft_config[name].to_dict(),
    )


def has_adapters(pipe):
    return any(isinstance(module, BaseTunerLayer) for module in pipe.transformer.modules())


def same(a, b):
    torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


def differ(a, b):
    assert (a - b).abs().max() > 0.01


@pytest.fixture
def saved(pipe, run, tmp_path):
    """A folder with an adapter, and the frames that it makes."""
    save(adapt(pipe), tmp_path)
    return tmp_path, run(pipe)


def test_a_saved_adapter_is_loaded_with_its_strength_and_taken_out(saved, components, run, expected):
    folder, frames = saved
    differ(frames, expected)
    fresh = KinemaPipeline(**components())
    fresh.load_lora_weights(folder, adapter_name="dance")
    assert fresh.get_active_adapters() == ["dance"] and fresh.get_list_adapters() == {"transformer": ["dance"]}
    assert fresh.transformer.peft_config["dance"].lora_alpha == 8
    same(run(fresh), frames)
    fresh.unload_lora_weights()
    assert not has_adapters(fresh)
    torch.testing.assert_close(run(fresh), expected, atol=0, rtol=0)


def test_the_file_names_its_weights_as_diffusers_video_pipelines_do(saved):
    with safe_open(saved[0] / "pytorch_lora_weights.safetensors", framework="pt") as file:
        names = list(file.keys())
    assert names and all(name.startswith("transformer.transformer_blocks.") for name in names)


def test_fusing_keeps_the_frames_and_can_be_undone(saved, components, run, expected):
    folder, frames = saved
    pipe = KinemaPipeline(**components())
    pipe.load_lora_weights(folder)
    pipe.fuse_lora()
    assert pipe.num_fused_loras == 1
    same(run(pipe), frames)
    pipe.unfuse_lora()
    assert pipe.num_fused_loras == 0
    same(run(pipe), frames)
    pipe.fuse_lora()
    pipe.unload_lora_weights()  # the fused weights stay: a plain model that is as fast as before
    assert not has_adapters(pipe)
    same(run(pipe), frames)


@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")
def test_adapters_are_mixed_by_weight(pipe, run, expected):
    adapt(adapt(pipe, "one", seed=1), "two", seed=2)
    made = {}
    for names, weights in (("one", 1.0), ("two", 1.0), (["one", "two"], [1.0, 1.0]), (["one", "two"], [0.5, 0.6])):
        pipe.set_adapters(names, weights)
        made[str((names, weights))] = run(pipe)
    frames = [expected, *made.values()]
    for index, a in enumerate(frames):
        for b in frames[:index]:
            differ(a, b)
    pipe.disable_lora()
    same(run(pipe), expected)
    pipe.enable_lora()
    pipe.delete_adapters("one")
    pipe.set_adapters("two")
    same(run(pipe), made["('two', 1.0)"])


def test_a_call_scales_its_adapters(pipe, run, expected):
    adapt(pipe)
    half = run(pipe, attention_kwargs={"scale": 0.5})
    same(run(pipe, attention_kwargs={"scale": 0.0}), expected)
    pipe.set_adapters("default", 0.5)
    same(run(pipe), half)
    differ(half, expected)


def test_what_is_no_adapter_is_refused_with_the_next_step(pipe, tmp_path):
    with pytest.raises(ValueError, match=r"2 of 2 names lack 'lora'.*transformer=…"):
        pipe.load_lora_weights({"transformer.proj_out.weight": torch.ones(1), "transformer.x": torch.ones(1)})
    with pytest.raises(ValueError, match="no LoRA weights to save; give transformer_lora_layers"):
        pipe.save_lora_weights(tmp_path)
    with pytest.raises(TypeError, match="takes no colour"):
        pipe.load_lora_weights(tmp_path, colour="red")
