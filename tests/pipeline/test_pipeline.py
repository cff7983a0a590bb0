import inspect
import logging
import re

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from diffusers.callbacks import PipelineCallback

from kinema import KinemaPipeline, KinemaTransformer3DModel
from kinema.pipeline.canvas import text_to_video, with_known, with_text_spans
from kinema.pipeline.guidance import Guidance
from kinema.pipeline.sampler import SchedulerError

PROMPT = "a red ball rolls to the left"
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}


def difference(a, b):
    return float(np.abs(np.asarray(a) - np.asarray(b)).max())


def test_a_prompt_becomes_a_video_of_the_checkpoints_own_shape(pipe, config):
    output = pipe(PROMPT, generator=0)
    assert output.frames.shape == (1, config.data.num_frames, config.data.height, config.data.width, 3)
    assert output.frame_rate == config.data.fps
    assert 0 <= output.frames.min() < output.frames.max() <= 1
    assert output.warnings == []


def test_everything_a_call_says_reaches_the_frames(pipe):
    base = {"generator": 0, "height": 16, "width": 32, "num_frames": 5}
    first = pipe(PROMPT, **base).frames
    assert first.shape == (1, 5, 16, 32, 3)
    assert difference(pipe(PROMPT, **base).frames, first) == 0
    changes = [
        {"generator": 1},
        {"guidance_scale": 2.0},
        {"num_inference_steps": 3},
        {"frame_rate": 24.0},
        {"negative_prompt": "a green duck"},
        {"sigmas": [1.0, 0.9]},
        {"guidance": Guidance("apg")},
        {"guidance": Guidance("zero-star")},
        {"guidance": Guidance(interval=(0.0, 0.6))},
    ]
    for change in changes:
        assert difference(pipe(PROMPT, **{**base, **change}).frames, first) > 0, change
    assert difference(pipe("a blue cube", **base).frames, first) > 0


def test_an_image_is_a_video_of_one_frame(pipe):
    output = pipe(PROMPT, num_frames=1, generator=0)
    assert output.frames.shape[1] == 1


def test_output_types_hold_the_same_frames(pipe):
    outputs = {kind: pipe([PROMPT, "x"], generator=0, output_type=kind) for kind in ("np", "pt", "pil", "latent")}
    frames = outputs["np"].frames
    assert outputs["pt"].frames.shape == (2, 9, 3, 32, 32)
    assert difference(outputs["pt"].frames.permute(0, 1, 3, 4, 2), frames) < 1e-6
    assert len(outputs["pil"].frames) == 2 and len(outputs["pil"].frames[0]) == 9
    for kind in ("np", "pt", "pil"):
        for video, expected in zip(outputs[kind].videos(), frames, strict=True):
            assert video.dtype == np.uint8
            assert difference(video.astype(float), expected * 255) <= 0.51
    assert outputs["latent"].frames.shape == (2, 4, 3, 4, 4)
    with pytest.raises(ValueError, match="latents"):
        outputs["latent"].videos()
    frames_only = pipe([PROMPT, "x"], generator=0, return_dict=False)
    assert len(frames_only) == 1
    assert difference(frames_only[0], frames) == 0


def test_a_video_is_the_same_in_any_batch(pipe):
    batch = pipe([PROMPT, "x", "a much longer prompt than the other two"], generator=[5, 6, 7])
    for number, prompt in enumerate([PROMPT, "x"]):
        alone = pipe(prompt, generator=5 + number)
        assert difference(alone.frames[0], batch.frames[number]) < 1e-4
        assert alone.provenance[0].seed == batch.provenance[number].seed
    several = pipe([PROMPT, "x"], num_videos_per_prompt=2, generator=5)
    assert difference(several.frames[0], batch.frames[0]) < 1e-4
    assert [made.prompt for made in several.provenance] == [PROMPT, PROMPT, "x", "x"]
    assert [made.seed for made in several.provenance] == [5, 6, 7, 8]
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    assert difference(pipe([PROMPT, "x"], generator=generators).frames, batch.frames[:2]) < 1e-4


def test_scale_1_is_no_guidance(pipe):
    calls = []
    pipe.transformer.register_forward_pre_hook(
        lambda *args: calls.append(len(args[2]["hidden_states"])), with_kwargs=True
    )
    plain = pipe(PROMPT, guidance_scale=1.0, generator=0)
    assert calls == [1, 1]
    for kind in ("cfg", "apg"):
        guided = pipe(PROMPT, guidance_scale=1.0 + 1e-6, generator=0, guidance=Guidance(kind))
        assert difference(guided.frames, plain.frames) < 1e-4
    assert calls[2:] == [2] * 4
    ignored = pipe(PROMPT, guidance_scale=1.0, negative_prompt="a duck", generator=0)
    assert difference(ignored.frames, plain.frames) == 0
    assert "ignores negative_prompt" in ignored.warnings[0]


def test_steps_outside_the_interval_skip_the_negative_forward(pipe):
    calls = []
    pipe.transformer.register_forward_pre_hook(
        lambda *args: calls.append(len(args[2]["hidden_states"])), with_kwargs=True
    )
    pipe(PROMPT, num_inference_steps=4, guidance=Guidance(interval=(0.3, 0.8)), generator=0)
    assert calls == [1, 2, 2, 1]  # at noise levels 1, 0.75, 0.5, 0.25


def test_embeddings_stand_for_their_prompts(pipe):
    said = pipe(PROMPT, negative_prompt="x", generator=0)
    names = list(inspect.signature(pipe.__call__).parameters)
    embeds = pipe.encode_prompt(PROMPT, "x")
    keys = ["prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask"]
    assert set(keys) <= set(names)
    bare = KinemaPipeline(pipe.vae, None, pipe.transformer, pipe.scheduler, default_num_inference_steps=2)
    bare.set_progress_bar_config(disable=True)
    assert difference(bare(**dict(zip(keys, embeds)), generator=0).frames, said.frames) < 1e-5
    with pytest.raises(ValueError, match="no text_encoder"):
        bare(PROMPT)


def test_given_latents_are_the_noise(pipe):
    noise = torch.randn(1, 4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert difference(pipe(PROMPT, latents=noise).frames, pipe(PROMPT, generator=0).frames) == 0


def test_a_callback_sees_and_changes_every_step(pipe):
    seen = []

    def callback(pipe, step, timestep, tensors):
        seen.append((step, float(timestep), set(tensors)))
        return {"latents": tensors["latents"] * 0} if step == 1 else {}

    names = ["latents", "prompt_embeds", "negative_prompt_embeds"]
    latents = pipe(
        PROMPT,
        num_inference_steps=2,
        callback_on_step_end=callback,
        callback_on_step_end_tensor_inputs=names,
        output_type="latent",
    ).frames
    assert seen == [(0, 1000.0, set(names)), (1, 500.0, set(names))]
    assert not latents.any()


def test_a_callback_can_end_guidance_midway(pipe):
    class Cutoff(PipelineCallback):
        tensor_inputs = ["prompt_embeds"]  # noqa: RUF012

        def callback_fn(self, pipeline, step_index, timesteps, callback_kwargs):
            pipeline._guidance_scale = 1.0
            return callback_kwargs

    calls = []
    pipe.transformer.register_forward_pre_hook(
        lambda *args: calls.append(len(args[2]["hidden_states"])), with_kwargs=True
    )
    pipe(PROMPT, num_inference_steps=3, callback_on_step_end=Cutoff())
    assert calls == [2, 1, 1]


def test_an_interrupt_stops_before_the_next_step(pipe):
    steps = []

    def callback(pipe, step, timestep, tensors):
        steps.append(step)
        pipe._interrupt = step == 1
        return {}

    output = pipe(PROMPT, num_inference_steps=6, callback_on_step_end=callback)
    assert steps == [0, 1]
    assert output.frames.shape[1] == 9
    assert output.interrupted and output.provenance[0].interrupted_after == 2
    pipe(PROMPT, num_inference_steps=2)  # and the next call is whole


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    "kind", [DPMSolverMultistepScheduler, UniPCMultistepScheduler, FlowMatchHeunDiscreteScheduler]
)
def test_schedulers_are_swapped_by_from_config(pipe, kind):
    own = pipe(PROMPT, num_inference_steps=4, generator=0).frames
    if kind is not FlowMatchHeunDiscreteScheduler:
        pipe.scheduler = kind.from_config(pipe.scheduler.config)
        with pytest.raises(SchedulerError, match="use_flow_sigmas=True"):
            pipe(PROMPT, num_inference_steps=4)
    options = {} if kind is FlowMatchHeunDiscreteScheduler else FLOW
    pipe.scheduler = kind.from_config(pipe.scheduler.config, **options)
    output = pipe(PROMPT, num_inference_steps=4, generator=0)
    assert difference(output.frames, own) > 0
    assert output.provenance[0].scheduler == kind.__name__
    assert "another scheduler" in output.provenance[0].by_hand


def test_known_frames_of_a_canvas_stay_and_shape_the_rest(pipe):
    given = torch.randn(1, 4, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    first = torch.zeros(1, 1, 3, 1, 1, dtype=torch.bool)
    first[:, :, 0] = True
    canvas = with_known(text_to_video(4, 3, 4, 4), given, first)
    free = pipe(PROMPT, generator=0, output_type="latent").frames
    bound = pipe(PROMPT, generator=0, canvas=canvas, output_type="latent").frames
    assert torch.equal(bound[:, :, 0], given[:, :, 0])
    assert not torch.allclose(bound[:, :, 1:], free[:, :, 1:], atol=1e-3)
    several = pipe([PROMPT, "x"], generator=0, canvas=canvas, output_type="latent").frames
    assert torch.allclose(several[:1], bound, atol=1e-4)


def test_each_span_of_a_storyboard_follows_its_own_text(pipe):
    canvas = with_text_spans(text_to_video(4, 3, 4, 4), (0, 0, 1))
    same = pipe([PROMPT, PROMPT], generator=0, canvas=canvas)
    assert difference(same.frames, pipe(PROMPT, generator=0).frames) < 1e-4
    other = pipe([PROMPT, "a blue cube"], generator=0, canvas=canvas)
    assert len(other.frames) == 1
    assert difference(other.frames, same.frames) > 1e-4
    assert other.provenance[0].prompt == f"{PROMPT} | a blue cube"
    with pytest.raises(ValueError, match="2 texts a video"):
        pipe(PROMPT, canvas=canvas)


def test_unequal_noise_needs_our_own_euler_step(pipe):
    canvas = text_to_video(4, 3, 4, 4)
    canvas = type(canvas)(canvas.latents, canvas.known, torch.tensor([0.3, 0.6, 1.0]), canvas.text_of_frame)
    assert pipe(PROMPT, canvas=canvas, generator=0).frames.shape[1] == 9
    pipe.scheduler = FlowMatchHeunDiscreteScheduler.from_config(pipe.scheduler.config)
    with pytest.raises(SchedulerError, match="FlowMatchEulerDiscreteScheduler"):
        pipe(PROMPT, canvas=canvas)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"num_frames": 30}, "num_frames 30 does not fit; 29 or 33 do"),
        ({"height": 100}, "height 100 does not fit; 96 or 112 do"),
        ({"width": 4, "height": 0}, "width 4 does not fit; 16 is the least"),
        ({"frame_rate": 0.0}, "frame_rate is 0.0"),
        ({"num_inference_steps": 0}, "num_inference_steps 0"),
        ({"prompt": None}, "neither of prompt and prompt_embeds"),
        ({"prompt_embeds": torch.zeros(1, 2, 32)}, "both of prompt and prompt_embeds"),
        ({"prompt": 7}, "prompt is 7; it needs a string or a list of strings"),
        ({"prompt": []}, "it needs a string or a list"),
        ({"negative_prompt": ["a", "b"]}, "2 negative prompts for 1 prompts"),
        ({"latents": torch.zeros(2, 4, 3, 4, 4)}, re.escape("this call needs (1, 4, 3, 4, 4)")),
        ({"canvas": text_to_video(4, 2, 4, 4), "num_frames": 9}, "the canvas has latents"),
        ({"output_type": "gif"}, "output_type is 'gif'; it is one of np, pt, pil, latent"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, "has noise; it can have latents"),
        ({"generator": [1, 2, 3]}, "3 entries for 1 videos"),
    ],
)
def test_inputs_that_do_not_fit_are_named_before_a_model_runs(pipe, call, message):
    pipe.transformer.forward = None
    with pytest.raises(ValueError, match=message):
        pipe(**{"prompt": PROMPT, **call})


def test_parts_made_for_other_parts_are_refused(pipe):
    other = KinemaTransformer3DModel(in_channels=8, cross_attention_dim=32, num_layers=1, num_attention_heads=1)
    with pytest.raises(ValueError, match="4 latent channels and the transformer 8"):
        KinemaPipeline(pipe.vae, pipe.text_encoder, other, pipe.scheduler)
    other = KinemaTransformer3DModel(in_channels=4, cross_attention_dim=8, num_layers=1, num_attention_heads=1)
    with pytest.raises(ValueError, match="32 features a token and the transformer takes 8"):
        KinemaPipeline(pipe.vae, pipe.text_encoder, other, pipe.scheduler)


def test_unknown_words_and_cut_prompts_are_reported(pipe, caplog):
    pipe.text_encoder.register_to_config(vocabulary=["a", "red", "ball", "cube"])
    with caplog.at_level(logging.WARNING, logger="kinema.pipeline.pipeline"):
        output = pipe("a red bell", generator=0)
    assert output.warnings == ["the model does not know the word 'bell'; the nearest it knows: ball"]
    assert output.warnings == caplog.messages
    output = pipe("a red ball " * 40, generator=0)
    assert "this part was left out" in output.warnings[0]


@pytest.mark.parametrize("family", ["wan", "ltx"])
def test_other_peoples_autoencoders_serve(pipe, family):
    statistics = {"latents_mean": [0.5, -0.25, 0.0, 1.0], "latents_std": [2.0, 0.5, 1.0, 3.0]}
    torch.manual_seed(0)
    if family == "wan":
        vae = AutoencoderKLWan(
            base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
            temperal_downsample=[False, True, True], **statistics,
        )  # fmt: skip
    else:
        vae = AutoencoderKLLTXVideo(
            latent_channels=4, block_out_channels=(8, 8), down_block_types=("LTXVideoDownBlock3D",) * 2,
            decoder_block_out_channels=(8, 8), layers_per_block=(1, 1, 1), decoder_layers_per_block=(1, 1, 1),
            spatio_temporal_scaling=(True, True), decoder_spatio_temporal_scaling=(True, True),
            decoder_inject_noise=(False,) * 3, upsample_residual=(False, False), upsample_factor=(1, 1),
            downsample_type=("conv", "conv"), patch_size=2,
        )  # fmt: skip
    other = KinemaPipeline(vae, pipe.text_encoder, pipe.transformer, pipe.scheduler)
    other.set_progress_bar_config(disable=True)
    grid = other.grid
    frames, side = 1 + grid.temporal, grid.spatial * 2
    output = other(PROMPT, height=side, width=2 * side, num_frames=frames, num_inference_steps=2, generator=0)
    assert output.frames.shape == (1, frames, side, 2 * side, 3)
    with pytest.raises(ValueError, match=f"num_frames {frames + 1} does not fit"):
        other(PROMPT, num_frames=frames + 1)


def test_half_precision_runs(pipe):
    full = pipe(PROMPT, generator=0).frames
    half = pipe.to(torch.bfloat16)(PROMPT, generator=0)
    assert half.provenance[0].dtype == "bfloat16"
    assert difference(half.frames, full) < 0.3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="model offloading needs a GPU")
def test_model_offloading_gives_the_same_frames(pipe):
    whole = pipe.to("cuda")(PROMPT, generator=0).frames
    pipe.enable_model_cpu_offload()
    assert difference(pipe(PROMPT, generator=0).frames, whole) < 1e-4


def test_the_default_scheduler_is_flow_matching_euler(pipe):
    assert isinstance(pipe.scheduler, FlowMatchEulerDiscreteScheduler)
