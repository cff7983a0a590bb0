import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kinema
from kinema import KinemaTransformer3DModel
from kinema.dit.cache import KVCache

few = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))


def run(model, **inputs):
    with torch.no_grad():
        return model(**inputs).sample


@few
@given(
    batch=st.integers(1, 2),
    frames=st.integers(1, 4),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    length=st.integers(0, 4),
)
def test_any_shape_that_fits_gives_its_shape(model, make_inputs, batch, frames, rows, columns, length):
    inputs = make_inputs(batch, frames, 2 * rows, 2 * columns, length)
    out = run(model, **inputs)
    assert out.shape == inputs["hidden_states"].shape
    assert out.isfinite().all()


def test_training_starts_from_a_prediction_of_zero_and_a_new_model_does_not():
    model = KinemaTransformer3DModel(num_layers=1, num_attention_heads=1, attention_head_dim=12)
    inputs = {
        "hidden_states": torch.randn(1, 16, 2, 4, 4),
        "timestep": torch.tensor([500.0]),
        "encoder_hidden_states": torch.randn(1, 3, 192),
    }
    assert run(model, **inputs).std() > 0.05
    assert not run(model.start_from_zero(), **inputs).any()


def test_one_level_per_clip_equals_equal_levels_per_frame(model, make_inputs):
    inputs = make_inputs()
    level = torch.tensor([300.0, 800.0])
    per_clip = run(model, **{**inputs, "timestep": level})
    per_frame = run(model, **{**inputs, "timestep": level[:, None].expand(2, 3)})
    torch.testing.assert_close(per_clip, per_frame)


def test_each_frame_has_its_own_level(model, make_inputs):
    inputs = make_inputs()
    changed = inputs["timestep"].clone()
    changed[:, 2] += 100
    # Under the block-causal mask nothing else can carry frame 2's level to frames 0 and 1.
    before = run(model, **inputs, frames_per_block=1)
    after = run(model, **{**inputs, "timestep": changed}, frames_per_block=1)
    torch.testing.assert_close(before[:, :, :2], after[:, :, :2])
    assert (before[:, :, 2] - after[:, :, 2]).abs().max() > 1e-3


def test_samples_do_not_touch_each_other(model, make_inputs):
    inputs = make_inputs(batch=3)
    whole = run(model, **inputs)
    alone = run(model, **{name: value[1:2] for name, value in inputs.items()})
    torch.testing.assert_close(whole[1:2], alone)


def test_default_frame_times_are_those_of_the_trained_frame_rate(make_model, make_inputs):
    model = make_model(sample_fps=10.0, sample_temporal_stride=4)
    inputs = make_inputs()
    # Latent 0 is pixel frame 0; latent 1 covers pixel frames 1 to 4, whose middle is 2.5 frames.
    inputs["frame_times"] = torch.tensor([[0.0, 0.25, 0.65]])
    given_times = run(model, **inputs)
    torch.testing.assert_close(given_times, run(model, **{**inputs, "frame_times": None}))
    cache = KVCache()
    with cache.recording():
        run(model, **{k: v[:, :, :1] if v.ndim == 5 else v for k, v in inputs.items()} | {
            "timestep": inputs["timestep"][:, :1], "frame_times": None}, kv_cache=cache)  # fmt: skip
    assert model._default_frame_times(cache, 1, torch.device("cpu")).item() == pytest.approx(0.25)


@few
@given(shift=st.floats(0, 300), frames=st.integers(1, 4))
def test_only_time_differences_matter(model, make_inputs, shift, frames):
    inputs = make_inputs(frames=frames)
    moved = run(model, **{**inputs, "frame_times": inputs["frame_times"] + shift})
    torch.testing.assert_close(run(model, **inputs), moved, atol=2e-3, rtol=0)


def test_time_differences_do_matter(model, make_inputs):
    inputs = make_inputs()
    slower = run(model, **{**inputs, "frame_times": 2 * inputs["frame_times"]})
    assert (run(model, **inputs) - slower).abs().max() > 1e-3


def test_place_in_the_frame_matters(model, make_inputs):
    inputs = make_inputs(rows=4, columns=4)
    inputs["hidden_states"] = torch.ones_like(inputs["hidden_states"])
    out = run(model, **inputs)
    assert (out[..., :2, :] - out[..., 2:, :]).abs().max() > 1e-3


@few
@given(length=st.integers(1, 5), padding=st.integers(1, 4))
def test_padding_tokens_do_not_matter(model, make_inputs, length, padding):
    inputs = make_inputs(length=length)
    text = inputs["encoder_hidden_states"]
    padded = torch.cat([text, 9 * torch.ones(2, padding, text.shape[2])], dim=1)
    mask = torch.arange(length + padding)[None].expand(2, -1) < length
    torch.testing.assert_close(
        run(model, **inputs),
        run(model, **{**inputs, "encoder_hidden_states": padded}, encoder_attention_mask=mask),
    )


@pytest.mark.parametrize("shape", ["clip", "frame"])
def test_no_text_at_all_is_finite_and_equals_an_empty_text(model, make_inputs, shape):
    inputs = make_inputs()
    mask = torch.zeros((2, 5) if shape == "clip" else (2, 3, 5), dtype=torch.bool)
    out = run(model, **inputs, encoder_attention_mask=mask)
    empty = run(model, **{**inputs, "encoder_hidden_states": torch.zeros(2, 0, 10)})
    assert out.isfinite().all()
    torch.testing.assert_close(out, empty)


def test_equal_text_spans_per_frame_equal_one_mask(model, make_inputs):
    inputs = make_inputs()
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 1, 1, 1]], dtype=torch.bool)
    torch.testing.assert_close(
        run(model, **inputs, encoder_attention_mask=mask),
        run(model, **inputs, encoder_attention_mask=mask[:, None].expand(2, 3, 5)),
    )


def test_a_frame_sees_only_its_span_of_the_text(model, make_inputs):
    inputs = make_inputs()
    mask = torch.zeros(2, 3, 5, dtype=torch.bool)
    mask[:, 0, :2] = True  # frame 0 reads tokens 0 and 1,
    mask[:, 1:, 2:] = True  # the others the rest
    changed = inputs["encoder_hidden_states"].clone()
    changed[:, 2:] *= -1
    before = run(model, **inputs, encoder_attention_mask=mask, frames_per_block=1)
    after = run(
        model, **{**inputs, "encoder_hidden_states": changed}, encoder_attention_mask=mask, frames_per_block=1
    )
    torch.testing.assert_close(before[:, :, 0], after[:, :, 0])
    assert (before[:, :, 1] - after[:, :, 1]).abs().max() > 1e-3


@few
@given(frames=st.integers(2, 5), per_block=st.integers(1, 3), data=st.data())
def test_later_blocks_do_not_reach_earlier_ones(model, make_inputs, frames, per_block, data):
    first = data.draw(st.integers(1, frames - 1)) // per_block * per_block  # first frame of the changed block
    inputs = make_inputs(frames=frames)
    changed = {k: v.clone() for k, v in inputs.items()}
    changed["hidden_states"][:, :, first:] += 1
    changed["timestep"][:, first:] /= 2
    before = run(model, **inputs, frames_per_block=per_block)
    after = run(model, **changed, frames_per_block=per_block)
    torch.testing.assert_close(before[:, :, :first], after[:, :, :first])
    assert (before[:, :, first:] - after[:, :, first:]).abs().max() > 1e-3


def test_window_hides_old_blocks(make_model, make_inputs):
    model = make_model(num_layers=1)  # with several layers, what is old still arrives through the middle
    inputs = make_inputs(frames=4)
    changed = {**inputs, "hidden_states": inputs["hidden_states"].clone()}
    changed["hidden_states"][:, :, 0] += 1
    before = run(model, **inputs, frames_per_block=1, window=2)
    after = run(model, **changed, frames_per_block=1, window=2)
    torch.testing.assert_close(before[:, :, 2:], after[:, :, 2:])
    assert (before[:, :, 1] - after[:, :, 1]).abs().max() > 1e-3


def test_temporal_patches(make_model, make_inputs):
    model = make_model(patch_size=(2, 2, 1))
    inputs = make_inputs(frames=4, rows=2, columns=3)
    mask = torch.ones(2, 4, 5, dtype=torch.bool)
    inputs["timestep"] = inputs["timestep"][:, [0, 0, 2, 2]]
    out = run(model, **inputs, encoder_attention_mask=mask, frames_per_block=2)
    assert out.shape == inputs["hidden_states"].shape
    with pytest.raises(ValueError, match="frames_per_block is 1; it needs a multiple of 2"):
        run(model, **inputs, frames_per_block=1)


def test_control_vectors_act_per_frame(make_model, make_inputs):
    model = make_model(control_dim=3)
    inputs = make_inputs()
    control = torch.zeros(2, 3, 3)
    torch.testing.assert_close(run(model, **inputs), run(model, **inputs, frame_control=control))
    control[:, 2] = 1
    before, after = (run(model, **inputs, frames_per_block=1, frame_control=c) for c in (None, control))
    torch.testing.assert_close(before[:, :, :2], after[:, :, :2])
    assert (before[:, :, 2] - after[:, :, 2]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_states": torch.zeros(2, 3, 3, 4, 6)}, r"hidden_states has shape \(2, 3, 3, 4, 6\).*\(B, 4, F"),
        ({"hidden_states": torch.zeros(2, 4, 3, 5, 6)}, "H = 5; it needs a positive multiple of 2"),
        ({"timestep": torch.zeros(3)}, r"timestep has shape \(3,\); it needs \(2,\) or \(2, 3\)"),
        ({"encoder_hidden_states": torch.zeros(2, 5, 9)}, r"it needs \(2, L, 10\)"),
        ({"encoder_attention_mask": torch.ones(2, 4, dtype=torch.bool)}, r"it needs \(2, 5\) or \(2, 3, 5\)"),
        ({"encoder_attention_mask": torch.ones(2, 5)}, "it needs torch.bool"),
        ({"frame_times": torch.zeros(2, 2)}, r"frame_times has shape \(2, 2\); it needs \(2, 3\) or \(1, 3\)"),
        ({"frame_control": torch.zeros(2, 3, 1)}, "control_dim = 0"),
        ({"window": 2}, "frames_per_block is not given"),
        ({"frames_per_block": 0}, "frames_per_block is 0; it needs at least 1"),
        ({"frames_per_block": 2, "kv_cache": KVCache()}, "frames_per_block is 2, the cache has 1"),
    ],
)
def test_errors_name_what_does_not_fit(model, make_inputs, changes, message):
    with pytest.raises(ValueError, match=message):
        run(model, **{**make_inputs(), **changes})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_layers": 0}, "num_layers is 0"),
        ({"attention_head_dim": 7}, "attention_head_dim is 7"),
        ({"patch_size": (1, 2)}, "needs three positive numbers"),
        ({"control_dim": -1}, "control_dim is -1"),
    ],
)
def test_wrong_sizes_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        KinemaTransformer3DModel(**config)


def test_saved_and_loaded_it_is_the_same(model, make_inputs, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = KinemaTransformer3DModel.from_pretrained(tmp_path)
    assert type(loaded).__module__ == "kinema" and kinema.KinemaTransformer3DModel is type(loaded)
    assert torch.equal(run(model, **make_inputs()), run(loaded, **make_inputs()))


def test_bfloat16_is_finite_close_and_keeps_the_callers_type(model, make_inputs, tmp_path):
    model.save_pretrained(tmp_path)
    half = KinemaTransformer3DModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.transformer_blocks[0].scale_shift_table.dtype == torch.float32
    assert half.patch_embed.weight.dtype == torch.bfloat16
    expected, out = run(model, **make_inputs()), run(half, **make_inputs())
    assert out.dtype == torch.float32 and out.isfinite().all()
    assert (out - expected).abs().mean() < 0.05 * expected.abs().mean()


def test_every_parameter_gets_a_gradient(make_model, make_inputs):
    model = make_model(control_dim=2)
    inputs = make_inputs()
    model(**inputs, frame_control=torch.randn(2, 3, 2)).sample.square().mean().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not without


def test_gradient_checkpointing_changes_nothing(make_model, make_inputs):
    plain, saving = make_model().train(), make_model().train()
    saving.enable_gradient_checkpointing()
    for model in (plain, saving):
        model(**make_inputs(), frames_per_block=1).sample.square().mean().backward()
    for expected, given_ in zip(plain.parameters(), saving.parameters()):
        torch.testing.assert_close(expected.grad, given_.grad)


def test_fused_projections_and_other_backends_agree(make_model, make_inputs):
    model, inputs = make_model(), make_inputs()
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 1, 1, 1]], dtype=torch.bool)
    expected = run(model, **inputs, encoder_attention_mask=mask, frames_per_block=1)
    fused = copy.deepcopy(model)
    fused.fuse_qkv_projections()
    torch.testing.assert_close(run(fused, **inputs, encoder_attention_mask=mask, frames_per_block=1), expected)
    model.set_attention_backend("native")
    torch.testing.assert_close(run(model, **inputs, encoder_attention_mask=mask, frames_per_block=1), expected)


def test_first_block_cache_of_diffusers_works(make_model, make_inputs):
    from diffusers import FirstBlockCacheConfig

    model, inputs = make_model(num_layers=3), make_inputs()
    expected = run(model, **inputs)
    model.enable_cache(FirstBlockCacheConfig(threshold=1e9))
    with model.cache_context("cond"):
        torch.testing.assert_close(run(model, **inputs), expected)  # the first step computes all blocks
        skipped = run(model, **{**inputs, "timestep": inputs["timestep"] + 5})
    assert skipped.isfinite().all()
    model.disable_cache()
    torch.testing.assert_close(run(model, **inputs), expected)


def test_lora_adapters_can_be_added_and_scaled(make_model, make_inputs):
    peft = pytest.importorskip("peft", reason="LoRA needs peft")
    model, inputs = make_model(), make_inputs()
    before = run(model, **inputs)
    model.add_adapter(peft.LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    torch.testing.assert_close(run(model, **inputs), before)  # LoRA starts as no change
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    assert (run(model, **inputs) - before).abs().max() > 1e-3
    torch.testing.assert_close(run(model, **inputs, attention_kwargs={"scale": 0.0}), before)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own, while tracing
def test_blocks_compile_whole_and_agree(make_model, make_inputs):
    model, inputs = make_model(num_layers=1), make_inputs(batch=1, frames=2)
    compiled = copy.deepcopy(model)
    compiled.compile_repeated_blocks(backend="aot_eager", fullgraph=True)  # fullgraph refuses any break
    outputs = [m(**inputs, frames_per_block=1).sample for m in (model, compiled)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        output.square().mean().backward()
    for expected, given_ in zip(model.parameters(), compiled.parameters()):
        torch.testing.assert_close(expected.grad, given_.grad)
