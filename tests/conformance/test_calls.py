"""What diffusers' pipelines promise of a call: names, shapes, and parts that work by themselves."""

import inspect

import pytest
import torch
from diffusers import WanPipeline
from diffusers.pipelines.ltx.pipeline_ltx import LTXPipeline
from diffusers.utils.source_code_parsing_utils import ReturnNameVisitor

from kinema import KinemaPipeline

OURS = list(inspect.signature(KinemaPipeline.__call__).parameters)
NOT_OURS = {
    # What other designs need: a second denoiser, a timestep-conditioned decoder, a noise correction.
    "guidance_scale_2", "decode_timestep", "decode_noise_scale", "guidance_rescale",
    # Said otherwise here: `sigmas`; and a text encoder's own max_length.
    "timesteps", "max_sequence_length",
}  # fmt: skip


@pytest.mark.parametrize("other", [WanPipeline, LTXPipeline])
def test_arguments_have_the_names_and_the_order_of_diffusers_video_pipelines(other):
    theirs = [name for name in inspect.signature(other.__call__).parameters if name not in NOT_OURS]
    assert [name for name in OURS if name in theirs] == theirs


def test_tensors_come_as_frames_before_channels(pipe, run):
    assert run(pipe, prompt=["a", "b"], negative_prompt="c", num_videos_per_prompt=2).shape == (4, 9, 3, 16, 16)


def test_text_is_encoded_by_itself_and_handed_on_by_name(components, inputs, expected):
    parts = components()
    alone = KinemaPipeline(**{name: part if name == "text_encoder" else None for name, part in parts.items()})
    arguments = inputs()
    given = {name: arguments.pop(name) for name in ("prompt", "negative_prompt")}
    encoded = alone.encode_prompt(**given)
    names = ReturnNameVisitor()
    names.visit(names.get_ast_tree(cls=KinemaPipeline))  # how diffusers' own tests read them
    assert set(names.return_names) <= set(OURS)
    without = KinemaPipeline(**{**parts, "text_encoder": None})
    without.set_progress_bar_config(disable=True)
    frames = without(**arguments, **dict(zip(names.return_names, encoded))).frames
    torch.testing.assert_close(frames, expected)


def test_all_that_callbacks_may_ask_for_they_get(pipe, run):
    names = pipe._callback_tensor_inputs
    seen = []
    run(
        pipe,
        callback_on_step_end=lambda pipe, step, timestep, tensors: seen.append(set(tensors)) or tensors,
        callback_on_step_end_tensor_inputs=names,
    )
    assert seen == [set(names)] * 2


def test_a_pipeline_is_made_of_another_ones_parts(pipe, run, expected):
    other = KinemaPipeline.from_pipe(pipe, default_num_inference_steps=7)
    assert other.components == pipe.components and other.config.default_num_inference_steps == 7
    assert torch.equal(run(other), expected)
