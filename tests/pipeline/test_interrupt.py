"""An interrupt stops within one step and returns the clean estimate of the last finished one, decoded."""

import threading

import numpy as np
import pytest
import torch

from kinema.vae.latents import decode_latents

PROMPT = "a red ball rolls to the left"
SIGMAS = [1.0, 0.7, 0.4, 0.2]


def after(steps):
    """A callback that interrupts once so many steps are finished."""

    def callback(pipe, step, timestep, tensors):
        if step + 1 == steps:
            pipe._interrupt = True
        return {}

    return callback


def count_forwards(pipe):
    calls = []
    pipe.transformer.register_forward_pre_hook(lambda *_: calls.append(1))
    return calls


def interrupt_at_encoding(pipe):
    """Interrupts when the prompt is encoded: after the call began and before its first step."""
    encode = pipe.text_encoder.encode

    def encoding(prompts):
        pipe._interrupt = True
        return encode(prompts)

    pipe.text_encoder.encode = encoding


def video(pipe, frames=9, seed=3):
    generator = np.random.default_rng(seed)
    small = generator.integers(0, 256, (frames, 4, 4, 3), np.uint8)
    side = pipe.config.default_height // 4
    return small.repeat(side, 1).repeat(side, 2)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_frames_are_those_of_a_run_that_ends_there(pipe, steps):
    calls = count_forwards(pipe)
    stopped = pipe(PROMPT, sigmas=SIGMAS, generator=0, output_type="pt", callback_on_step_end=after(steps))
    assert len(calls) == steps
    # A schedule that ends there steps from its last level straight to 0, which is the clean estimate.
    ended = pipe(PROMPT, sigmas=SIGMAS[:steps], generator=0, output_type="pt")
    whole = pipe(PROMPT, sigmas=SIGMAS, generator=0, output_type="pt")
    assert torch.allclose(stopped.frames, ended.frames, atol=1e-5)
    assert (stopped.frames - whole.frames).abs().max() > 1e-3
    assert stopped.interrupted and not ended.interrupted and not whole.interrupted
    assert stopped.provenance[0].interrupted_after == steps and whole.provenance[0].interrupted_after is None
    assert any(f"interrupted after {steps} of 4 steps" in warning for warning in stopped.warnings)
    _, doubts = stopped.provenance[0].as_command("a.mp4")
    assert any(f"interrupted after {steps} steps" in doubt for doubt in doubts)


def test_latents_are_clean_too_and_need_no_decoding(pipe):
    options = {"generator": 0, "output_type": "latent"}
    stopped = pipe(PROMPT, sigmas=SIGMAS, callback_on_step_end=after(2), **options).frames
    assert torch.allclose(stopped, pipe(PROMPT, sigmas=SIGMAS[:2], **options).frames, atol=1e-5)


def test_an_interrupt_in_the_last_step_changes_nothing(pipe):
    whole = pipe(PROMPT, sigmas=SIGMAS, generator=0)
    late = pipe(PROMPT, sigmas=SIGMAS, generator=0, callback_on_step_end=after(4))
    assert np.array_equal(late.frames, whole.frames)
    assert not late.interrupted and late.provenance[0].interrupted_after is None
    assert late.warnings == whole.warnings


def test_another_thread_stops_it_within_the_step_under_way(pipe):
    stepping, told = threading.Event(), threading.Event()
    calls = count_forwards(pipe)

    def interrupt():
        assert stepping.wait(30)
        pipe._interrupt = True
        told.set()

    def in_the_second_step(*_):
        if len(calls) == 2:
            stepping.set()
            assert told.wait(30)

    pipe.transformer.register_forward_pre_hook(in_the_second_step)
    thread = threading.Thread(target=interrupt)
    thread.start()
    output = pipe(PROMPT, sigmas=SIGMAS, generator=0)
    thread.join()
    assert len(calls) == 2 and output.provenance[0].interrupted_after == 2
    ended = pipe(PROMPT, sigmas=SIGMAS[:2], generator=0)  # and the next call is whole
    assert not ended.interrupted
    assert np.allclose(output.frames, ended.frames, atol=1e-5)


def test_before_the_first_step_the_mean_of_all_videos_comes_back(pipe):
    calls = count_forwards(pipe)
    interrupt_at_encoding(pipe)
    output = pipe([PROMPT, "x"], generator=0, output_type="pt")
    assert not calls and output.interrupted and output.provenance[0].interrupted_after == 0
    mean = decode_latents(pipe.vae, torch.zeros(1, 4, 3, 4, 4)).movedim(1, 2) / 2 + 0.5
    assert torch.allclose(output.frames, mean.expand(2, -1, -1, -1, -1), atol=1e-5)


def test_before_the_first_step_a_remix_is_the_video_it_starts_from(pipe):
    unchanged = pipe.remix(video(pipe), PROMPT, strength=0.0, output_type="pt").frames
    interrupt_at_encoding(pipe)
    output = pipe.remix(video(pipe), PROMPT, strength=0.6, output_type="pt")
    assert output.interrupted
    assert torch.allclose(output.frames, unchanged, atol=1e-4)


@pytest.mark.parametrize("steps", [0, 1])
def test_given_frames_come_back_exactly_all_the_same(pipe, steps):
    given = video(pipe)
    if steps == 0:
        interrupt_at_encoding(pipe)
    calls = count_forwards(pipe)
    rate, stride = pipe.config.default_frame_rate, pipe.grid.temporal
    output = pipe.extend(
        given, PROMPT, seconds=24 * stride / rate, frame_rate=rate, sigmas=SIGMAS, generator=0,
        callback_on_step_end=after(steps),
    )  # fmt: skip
    assert output.interrupted and output.provenance[0].interrupted_after == steps
    assert len(calls) == steps  # nor does another round begin
    assert np.array_equal((output.frames[0, : len(given)] * 255).round().astype(np.uint8), given)
    assert len(given) < output.frames.shape[1] < len(given) + 24 * stride


def test_an_inpainted_video_is_kept_outside_its_mask(pipe):
    given = video(pipe)
    half = given.shape[2] // 2
    output = pipe(
        PROMPT, video=given, mask=(0, 0, half, given.shape[1]), sigmas=SIGMAS, generator=0,
        frame_rate=pipe.config.default_frame_rate, callback_on_step_end=after(1),
    )  # fmt: skip
    assert output.interrupted
    frames = (output.frames[0] * 255).round().astype(np.uint8)
    assert np.array_equal(frames[:, :, half:], given[:, :, half:])
    assert not np.array_equal(frames[:, :, :half], given[:, :, :half])


def test_a_loop_of_a_text_that_is_interrupted_early_is_the_text_s_video(pipe):
    calls = count_forwards(pipe)
    options = {"sigmas": SIGMAS, "generator": 0, "output_type": "pt"}
    output = pipe.loop(PROMPT, callback_on_step_end=after(2), **options)
    assert len(calls) == 2 and output.interrupted
    assert torch.allclose(output.frames, pipe(PROMPT, **options | {"sigmas": SIGMAS[:2]}).frames, atol=1e-5)
