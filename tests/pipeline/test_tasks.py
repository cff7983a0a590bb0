"""What every task must hold whatever the model: given pixels exact, latents where they belong, errors first."""

import json
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kinema.data.soundtrack import Soundtrack
from kinema.pipeline.along_time import latent_frames_of, names_a_video
from kinema.pipeline.bridge import plan
from kinema.pipeline.canvas import text_to_video, with_given
from kinema.pipeline.draft import Encoder
from kinema.pipeline.provenance import Provenance
from kinema.pipeline.remix import blend_weights
from kinema.pipeline.storyboard import read_spans, text_of_frames
from kinema.pipeline.within_frames import cells_inside, fill
from kinema.vae.latents import decode_latents, encode_latents

FAST = {"num_inference_steps": 1, "guidance_scale": 1.0, "generator": 0}
STRIDE = 4  # of the tiny autoencoder; it makes 9 frames of 32 × 32 at 8 frames a second


def noise_clip(frames, seed=0, height=32, width=32):
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def exact(clip):
    return clip.astype(np.float32) / np.float32(255)


def reconstruction(pipe, latents):
    pixels = decode_latents(pipe.vae, latents)
    return (pixels * 0.5 + 0.5).clamp(0, 1)[0].permute(1, 2, 3, 0).detach().numpy()


def as_pixels(clip):
    return torch.from_numpy(exact(clip)).permute(3, 0, 1, 2)[None] * 2 - 1


# --- pictures ------------------------------------------------------------------------------------------------


def test_the_first_frame_is_the_image_within_the_autoencoders_error(pipe):
    image = noise_clip(1)
    output = pipe("x", image=image[0], **FAST)
    own = reconstruction(pipe, encode_latents(pipe.vae, as_pixels(image)))
    assert output.frames.shape[1] == 9
    assert np.abs(output.frames[0, 0] - own[0]).max() < 1e-5


def test_keyframes_are_reached_within_the_autoencoders_error(pipe):
    clip = noise_clip(3)
    latents = pipe("x", keyframes={0: clip[0], 0.6: clip[1], -1: clip[2]}, num_frames=13, output_type="latent",
                   **FAST).frames  # fmt: skip
    encode = Encoder(pipe.vae, torch.device("cpu"))
    pictures = torch.from_numpy(exact(clip)).movedim(-1, 1)[None]
    expected = {
        0: encode.clip(pictures[:, :1]),
        2: encode.still(pictures[:, 1:2]),
        3: encode.still(pictures[:, 2:]),
    }
    for frame, latent in expected.items():  # 0.6 s is frame 5, in the group of frames 5 to 8
        assert torch.equal(latents[:, :, frame : frame + 1], latent)


@pytest.mark.parametrize(
    ("keyframes", "message"),
    [
        (
            {5: 0, 8: 1},
            "keyframes at 5 and 8 both fall on frames 5 to 8, .* one of them at frame 9 or later, or 4 or",
        ),
        ({0.0: 0, 0.05: 1}, "keyframes at 0.0 and 0.05 both fall on frame 0"),
        ({9: 0}, r"keyframe at 9 lies outside the video, which has frames 0 to 8 .* at 0.0 to 1 s"),
        ({-10: 0}, "keyframe at -10 lies outside"),
        ({-0.5: 0}, "keyframe at -0.5 lies outside"),
        ({1.5: 0}, "keyframe at 1.5 lies outside"),
        ({"end": 0}, "the keyframe time 'end' is no number"),
        ({0: 0, 1: 0, 5: 0}, "fill all of the 9 frames"),
        ({}, "at least one"),
        ([0], "it needs a dict"),
    ],
)
def test_keyframes_that_do_not_fit_are_named(pipe, keyframes, message):
    pipe.vae.encode = pipe.transformer.forward = pipe.text_encoder.encode = None
    clip = noise_clip(2)
    if isinstance(keyframes, dict):
        keyframes = {time: clip[number] for time, number in keyframes.items()}
    with pytest.raises(ValueError, match=message):
        pipe("x", keyframes=keyframes)


# --- longer videos -------------------------------------------------------------------------------------------


@settings(max_examples=6, deadline=None)
@given(
    st.integers(1, 14), st.sampled_from([1, 2, 5]), st.sampled_from(["forward", "backward"]),
    st.sampled_from(["np", "pt", "pil"]),
)  # fmt: skip
def test_extended_videos_hold_the_given_frames_bit_for_bit(built, length, groups, direction, output_type):
    clip, new = noise_clip(length), groups * STRIDE
    output = built.extend(clip, "x", seconds=new / 8, direction=direction, output_type=output_type, **FAST)
    span = slice(0, length) if direction == "forward" else slice(new, new + length)
    video = output.videos()[0]
    assert len(video) == length + new
    assert np.array_equal(video[span], clip)
    frames = output.frames
    if output_type == "pt":
        frames = frames.movedim(2, -1).numpy()
    if output_type != "pil":
        assert np.array_equal(frames[0][span], exact(clip)) and frames.dtype == np.float32
    assert output.exact
    assert output.provenance[0].num_frames == length + new


def test_a_loop_and_a_connection_hold_their_videos_bit_for_bit(pipe):
    a, b = noise_clip(7, 1), noise_clip(6, 2)
    looped = pipe.loop(a, **FAST)
    assert looped.frames.shape[1] == 7 + 8 and np.array_equal(looped.frames[0, :7], exact(a))
    for seconds in (0.5, 2.0):  # the second in several rounds
        joined = pipe.connect(a, b, "x", seconds=seconds, num_videos_per_prompt=2, **FAST)
        assert joined.frames.shape[:2] == (2, 13 + round(8 * seconds))
        for video in joined.frames:
            assert np.array_equal(video[:7], exact(a)) and np.array_equal(video[-6:], exact(b))
        assert np.abs(joined.frames[0] - joined.frames[1]).max() > 0


def test_pictures_can_be_connected_and_extended(pipe):
    a, b = (Image.fromarray(noise_clip(1, seed)[0]) for seed in (1, 2))
    joined = pipe.connect(a, b, seconds=1.0, **FAST)
    assert joined.frames.shape[1] == 10
    assert np.array_equal(joined.videos()[0][[0, -1]], np.stack([np.asarray(a), np.asarray(b)]))


def test_a_text_is_made_first_and_then_looped(pipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = pipe.loop("a red ball", seconds=0.5, **FAST)
    assert output.frames.shape[1] == 9 + 4
    assert np.array_equal(output.frames[0, :9], pipe("a red ball", **FAST).frames[0])
    assert output.provenance[0].settings["video_prompt"] == "a red ball"
    for name in ("missing.mp4", "file:///missing"):
        with pytest.raises(ValueError, match=r"missing|file"):
            pipe.loop(name, **FAST)


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1, max_size=3000), st.integers(0, 3))
def test_any_text_that_is_no_file_is_a_prompt(text, repeats):
    text = (text + " ") * 10**repeats + "x"
    assert not names_a_video(text) or "://" in text


@pytest.mark.parametrize("text", ["~nobody at all", "a\0ball", "a ball " * 40, "a" * 256, "a/" * 5000 + "x"])
def test_a_text_that_cannot_be_a_files_name_is_a_prompt(text):
    assert not names_a_video(text)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 5000), st.sampled_from([4, 8]), st.floats(-0.6, 0.6),
    st.sampled_from([8.0, 12.5, 24000 / 1001, 29.97, 30, 60000 / 1001]),
)  # fmt: skip
def test_lengths_are_taken_to_a_twentieth_of_a_frame_however_long(groups, stride, miss, rate):
    meant = {24000 / 1001: 24, 29.97: 30, 60000 / 1001: 60}.get(rate, rate)
    seconds = (groups * stride + miss) / meant
    if abs(miss) < 0.049:
        assert latent_frames_of(seconds, rate, stride) == groups
    elif abs(miss) > 0.051:
        with pytest.raises(ValueError, match="does not fit") as refused:
            latent_frames_of(seconds, rate, stride)
        for fitting in re.findall(r"([\d.]+) or ([\d.]+) do", str(refused.value))[0]:
            latent_frames_of(float(fitting), rate, stride)


def test_a_loop_of_a_text_says_one_strength_that_makes_both_of_its_parts_again(pipe):
    unguided = {name: value for name, value in FAST.items() if name != "guidance_scale"}
    output = pipe.loop("a ball", guidance_scale=None, **unguided)
    assert output.provenance[0].guidance_scale == pipe.config["default_guidance_scale"]
    assert np.array_equal(output.frames[0, :9], pipe("a ball", **unguided).frames[0])
    transition = 1 + (pipe.config["default_guidance_scale"] - 1) / 3
    by_hand = pipe.loop(output.videos()[0][:9], "a ball", guidance_scale=transition, **unguided)
    assert np.abs(output.frames - by_hand.frames).max() < 1 / 100  # the video by hand is rounded to 8 bits
    again = pipe.loop("a ball", guidance_scale=output.provenance[0].guidance_scale, **unguided)
    assert np.array_equal(again.frames, output.frames)


def test_a_loop_of_a_text_without_a_seed_says_the_one_it_drew(pipe):
    output = pipe.loop("a ball", num_inference_steps=1)
    again = pipe.loop("a ball", num_inference_steps=1, generator=output.provenance[0].seed)
    assert np.array_equal(again.frames, output.frames)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"output_type": "latent"}, "given frames come back in pixels"),
        ({"output_type": "gif"}, "output_type is 'gif'"),
        ({"num_videos_per_prompt": 2}, "made one at a time"),
        ({"latents": torch.zeros(1, 4, 3, 4, 4)}, "give a generator"),
        ({"fit": "squeeze"}, "fit is 'squeeze'"),
        ({"image": noise_clip(1)[0]}, "was given image; make the video first"),
        ({"seconds": 0.7}, "0.5 or 1 do"),
        ({"prompt_embeds": torch.zeros(1, 1, 1)}, "both of prompt and prompt_embeds"),
        ({"generator": [1, 2]}, "2 entries for 1 videos"),
    ],
)
def test_loops_of_a_text_that_do_not_fit_are_named_before_a_model_runs(pipe, call, message):
    pipe.vae.encode = pipe.vae.decode = pipe.transformer.forward = pipe.text_encoder.encode = None
    with pytest.raises(ValueError, match=message):
        pipe.loop("a ball", **call)


def test_an_option_given_as_none_is_not_given(pipe):
    clip, unguided = noise_clip(9), {"num_inference_steps": 1, "generator": 0}
    plain = pipe.extend(clip, "x", seconds=2.0, **unguided)  # several rounds
    nothing = pipe.extend(
        clip, "x", seconds=2.0, guidance_scale=None, guidance=None, prompt_embeds=None, **unguided
    )
    assert np.array_equal(plain.frames, nothing.frames)
    assert nothing.provenance[0].guidance_scale == 1 + (pipe.config["default_guidance_scale"] - 1) / 3


def test_the_model_sees_as_much_as_fits_its_length(pipe):
    seen = []
    pipe.transformer.register_forward_pre_hook(
        lambda *args: seen.append(args[2]["hidden_states"].shape[2]), with_kwargs=True
    )
    pipe.extend(noise_clip(20), "x", seconds=2.0, **FAST)
    assert seen == [3] * 4  # a window of 3 latent frames: two are context, in each of four rounds
    seen.clear()
    pipe.extend(noise_clip(20), "x", seconds=0.5, context=13, **FAST)
    assert seen == [5]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 20), st.integers(2, 9), st.integers(0, 30), st.integers(0, 30))
def test_rounds_add_up_and_stay_in_the_window(new, window, before, after):
    if not before and not after:
        return
    rounds = plan(new, window, STRIDE, before, after)
    assert sum(bridge.new for bridge in rounds) == new
    have = before or after
    for number, bridge in enumerate(rounds):
        assert bridge.new >= 1
        assert (bridge.before > 0) == (before > 0)
        assert (bridge.after > 0) == (after > 0 and (not before or number == len(rounds) - 1))
        least = 1 + (1 if bridge.before == 0 or bridge.after else 0)
        assert bridge.before + bridge.new + bridge.after <= max(window, least + bridge.new)
        assert bridge.frames_before <= have or not before
        assert bridge.num_frames % STRIDE == 1
        have += bridge.new * STRIDE


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"seconds": 0.7}, "seconds 0.7 at 8 frames/s does not fit; 0.5 or 1 do"),
        ({"seconds": 0.1}, "0.5 or 1 do"),
        ({"seconds": 25.1}, "seconds 25.1 at 8 frames/s does not fit; 25 or 25.5 do"),
        ({"seconds": float("inf")}, "seconds is inf"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"seconds": 1.0, "direction": "up"}, "direction is 'up'; it is forward or backward"),
        (
            {"seconds": 1.0, "context": 6},
            r"context is 6 frames; it needs 1 \+ a multiple of 4, from 1 to 9 of the 9",
        ),
        ({"seconds": 1.0, "context": 13}, "from 1 to 9"),
        ({"seconds": 1.0, "direction": "backward", "context": 5}, "a multiple of 4, from 4 to 8"),
        ({"seconds": 1.0, "output_type": "latent"}, "given frames come back in pixels"),
        ({"seconds": 1.0, "num_frames": 9}, "num_frames is not asked for here"),
        ({"seconds": 1.0, "height": 30}, "height 30 does not fit"),
        ({"seconds": 1.0, "fit": "squeeze"}, "fit is 'squeeze'"),
        ({"seconds": 1.0, "num_inference_steps": 0}, "num_inference_steps 0"),
        ({"seconds": 1.0, "generator": [1, 2]}, "2 entries for 1 videos"),
        ({"seconds": 1.0, "image": noise_clip(1)[0]}, "canvas was given with image"),
        ({"seconds": 9.0, "latents": torch.zeros(1)}, "latents are the noise of one round"),
        ({"seconds": 1.0, "video": np.zeros((0, 32, 32, 3), np.uint8)}, "no frame"),
    ],
)
def test_extensions_that_do_not_fit_are_named_before_a_model_runs(pipe, call, message):
    pipe.vae.encode = pipe.transformer.forward = pipe.text_encoder.encode = None
    with pytest.raises(ValueError, match=message):
        pipe.extend(**{"video": noise_clip(9), "prompt": "x", **call})


# --- parts of frames -----------------------------------------------------------------------------------------


def test_outside_the_mask_nothing_changes(pipe):
    clip = noise_clip(9)
    moving = {0: (0, 0, 8, 8), -1: (20, 20, 32, 32)}
    for mask, inside in [((8, 8, 24, 24), 256), (moving, None)]:
        output = pipe("x", video=clip, mask=mask, **FAST)
        same = (output.frames[0] == exact(clip)).all(-1)
        if inside:
            assert same[:, :8].all() and same[:, 24:].all() and same[:, :, :8].all() and same[:, :, 24:].all()
            assert (~same).sum((1, 2)).max() == inside
        else:
            assert same[0, 8:].all() and same[-1, :20].all() and not same[0, :8, :8].all()
        assert not same.all()


def test_a_mask_is_as_long_as_what_is_made_or_as_the_video(pipe):
    clip, mask = noise_clip(9), np.zeros((9, 32, 32), bool)
    mask[3, 8:24, 8:24] = True
    whole, cut = (pipe("x", video=clip, mask=m, num_frames=5, **FAST).frames for m in (mask, mask[:5]))
    assert whole.shape[1] == 5 and np.array_equal(whole, cut)
    assert np.array_equal(whole[0][~mask[:5]], exact(clip)[:5][~mask[:5]])
    last = pipe("x", video=clip, mask={-1: (0, 0, 8, 8)}, num_frames=5, **FAST)
    assert not np.array_equal(last.frames[0, 4, :8, :8], exact(clip)[4, :8, :8])
    pipe.vae.encode = pipe.transformer.forward = None
    with pytest.raises(ValueError, match="nothing in it is white"):
        pipe("x", video=clip, mask=np.roll(mask, 4, axis=0), num_frames=5, **FAST)  # white in frame 7 only
    with pytest.raises(ValueError, match=r"mask has 7 frames.* and the video 5"):
        pipe("x", video=clip, mask=mask[:7], num_frames=5, **FAST)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (tuple(np.array([8, 8, 24, 24])), [8, 8, 24, 24]),
        (np.array([0.25, 0, 0.5, 1], np.float32), [0.25, 0.0, 0.5, 1.0]),
        (torch.tensor([8, 8, 24, 24]), [8, 8, 24, 24]),
        ({np.float32(0.5): (8, 8, 24, 24), np.int64(-1): np.array([0, 0, 8, 8])},
         [[0.5, [8, 8, 24, 24]], [-1, [0, 0, 8, 8]]]),
    ],
)  # fmt: skip
def test_boxes_are_recorded_as_plain_numbers(pipe, mask, said):
    made = pipe("x", video=noise_clip(9), mask=mask, **FAST).provenance[0]
    settings = json.loads(made.to_metadata()["kinema"])["settings"]
    assert settings["mask"] == said and repr(settings["mask"]) == repr(made.settings["mask"])
    assert "--box=" in made.as_command("x.mp4")[0]


def test_an_output_as_a_mask_is_recorded_as_one_from_memory(pipe):
    white = pipe("x", **FAST)
    white.frames = np.ones_like(white.frames)
    made = pipe("x", video=noise_clip(9), mask=white, **FAST).provenance[0]
    assert "mask" not in made.settings and "mask from memory" in made.by_hand


def test_known_cells_are_given_as_a_whole():
    keep = torch.ones(1, 9, 1, 32, 32, dtype=torch.bool)
    keep[:, 6, :, 9, 20] = False  # one pixel of one frame: cell (1, 2) of the group of frames 5 to 8
    known = cells_inside(keep, 3, 4, 4)
    assert (~known).nonzero().tolist() == [[0, 0, 2, 1, 2]]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
def test_masked_pixels_are_filled_from_the_rest(height, width, seed):
    rng = torch.Generator().manual_seed(seed)
    clip = torch.rand(1, 2, 3, height, width, generator=rng)
    keep = torch.rand(1, 2, 1, height, width, generator=rng) < 0.5
    filled = fill(clip, keep)
    mask = keep.expand_as(filled)
    assert torch.equal(filled[mask], clip[mask])
    assert filled.min() >= 0 and filled.max() <= 1
    other = torch.where(keep, clip, torch.rand(clip.shape, generator=rng))
    assert torch.allclose(fill(other, keep), filled, atol=1e-6)  # nothing of what was hidden is left


def test_outpainting_keeps_the_picture_in_the_middle(pipe):
    clip = noise_clip(5)
    output = pipe.outpaint(clip, "x", aspect="9:16", **FAST)
    assert output.frames.shape == (1, 5, 64, 32, 3)
    assert np.array_equal(output.frames[0, :, 16:48], exact(clip))
    assert output.warnings == ["outpaint: aspect 9:16 becomes 32 × 64, round 32 × 32"]
    odd = noise_clip(1, height=21, width=30)
    picture = pipe.outpaint(Image.fromarray(odd[0]), "x", height=48, width=64, **FAST)
    assert picture.frames.shape == (1, 1, 48, 64, 3)
    rows = [(top, left) for top in range(28) for left in range(35)
            if np.array_equal(picture.frames[0, 0, top : top + 21, left : left + 30], exact(odd)[0])]  # fmt: skip
    assert rows == [(16, 16)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"mask": (0, 0, 8, 8)}, "mask was given without a video"),
        ({"strength": 0.5}, "strength was given without a video"),
        ({"video": noise_clip(9)}, "video was given alone; give a mask .* pipe.extend"),
        ({"video": noise_clip(9), "strength": 1.5}, "strength is 1.5; it needs 0"),
        (
            {"video": noise_clip(30), "strength": 0.5},
            "has 30 frames, which do not fit; 29 or 33 do: num_frames=29",
        ),
        ({"video": noise_clip(9), "strength": 0.5, "num_frames": 13}, "num_frames is 13 and the video has 9"),
        ({"video": noise_clip(9), "strength": 0.5, "num_frames": 8}, "num_frames 8 does not fit; 5 or 9 do"),
        ({"video": noise_clip(9), "mask": np.ones((7, 32, 32), bool)}, "mask has 7 frames.* and the video 9"),
        ({"video": noise_clip(9), "mask": (0, 0, 8, 8), "image": noise_clip(1)[0]}, "video was given with image"),
        ({"video": noise_clip(0), "strength": 0.5}, "no frame"),
        ({"image": noise_clip(1)[0], "keyframes": {0: noise_clip(1)[0]}}, "image is the first frame and there is"),
        ({"image": noise_clip(1)[0], "num_frames": 1}, "nothing to make"),
        ({"canvas": text_to_video(4, 3, 4, 4), "image": noise_clip(1)[0]}, "canvas was given with image"),
        ({"storyboard": [(0, "a")]}, "both of storyboard and a prompt"),
        ({"image": "missing.png"}, "missing.png"),
        ({"image": noise_clip(1)[0], "fit": "crop"}, "fit is 'crop'"),
    ],
)
def test_tasks_that_do_not_fit_are_named_before_a_model_runs(pipe, call, message):
    pipe.vae.encode = pipe.transformer.forward = pipe.text_encoder.encode = None
    with pytest.raises(ValueError, match=message):
        pipe(**{"prompt": "x", **call})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({}, "either an aspect"),
        ({"aspect": "1:1"}, "nothing to make"),
        ({"aspect": "wide"}, "aspect is 'wide'; it needs width to height"),
        ({"aspect": "9:16", "height": 64}, "either an aspect"),
        ({"height": 50}, "height 50 does not fit; 48 or 64 do"),
    ],
)
def test_outpaints_that_do_not_fit_are_named(pipe, call, message):
    pipe.vae.encode = pipe.transformer.forward = None
    with pytest.raises(ValueError, match=message):
        pipe.outpaint(noise_clip(5), "x", **call)


# --- whole videos --------------------------------------------------------------------------------------------


def test_strength_0_reconstructs_the_video_and_1_ignores_it(pipe):
    clips = noise_clip(9, 1), noise_clip(9, 2)
    own = reconstruction(pipe, encode_latents(pipe.vae, as_pixels(clips[0])))
    assert np.abs(pipe.remix(clips[0], "x", strength=0, **FAST).frames[0] - own).max() < 1e-5
    free = pipe("x", **FAST).frames
    for clip in clips:
        assert np.abs(pipe.remix(clip, "x", strength=1, **FAST).frames - free).max() < 1e-5


@pytest.mark.parametrize(
    ("schedule", "from_a", "to_b"),
    [("linear", 1, 8), ("ease", 1, 8), ([0, 0, 0, 0, 0, 0.5, 0.5, 1, 1], 5, 7), (lambda t: t > 0.5, 5, 5)],
)
def test_a_blend_passes_from_a_to_b(pipe, schedule, from_a, to_b):
    a, b = noise_clip(9, 1), noise_clip(9, 2)
    output = pipe.blend(a, b, schedule=schedule, strength=0.5, **FAST)
    assert np.array_equal(output.frames[0, :from_a], exact(a)[:from_a])
    assert np.array_equal(output.frames[0, to_b:], exact(b)[to_b:])


@given(st.integers(2, 40))
def test_blend_weights_rise_from_0_to_1(frames):
    for name in ("linear", "ease"):
        weights = blend_weights(name, frames)
        assert weights[0] == 0 and weights[-1] == 1 and bool((weights.diff() >= 0).all())


def test_blends_that_do_not_fit_are_named(pipe):
    pipe.vae.encode = None
    with pytest.raises(ValueError, match=r"a has 9 frames and b 7 .* num_frames=5"):
        pipe.blend(noise_clip(9), noise_clip(7))
    with pytest.raises(ValueError, match=r"2 weights .* needs 9"):
        pipe.blend(noise_clip(9), noise_clip(9), schedule=[0, 1])
    with pytest.raises(ValueError, match="schedule is 'fast'"):
        pipe.blend(noise_clip(9), noise_clip(9), schedule="fast")


# --- storyboards ---------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.sampled_from([8.0, 12.0]))
def test_each_latent_frame_follows_the_text_of_its_middle(lengths, rate):
    starts = np.cumsum([0, *lengths[:-1]]) * STRIDE / rate
    spans = read_spans([(float(start), str(number)) for number, start in enumerate(starts)])
    groups = sum(lengths)
    texts = text_of_frames(spans, 1 + groups * STRIDE, rate, STRIDE)
    expected = [0, *(number for number, length in enumerate(lengths) for _ in range(length))]
    assert list(texts) == expected


def test_a_storyboard_is_its_texts_in_turn(pipe):
    board = [(0.0, "a red ball"), (0.5, "a blue cube")]
    output = pipe(storyboard=board, **FAST)
    canvas = text_to_video(4, 3, 4, 4)
    by_hand = pipe(["a red ball", "a blue cube"], canvas=type(canvas)(
        canvas.latents, canvas.known, canvas.start, (0, 0, 1)), **FAST)  # fmt: skip
    assert np.abs(output.frames - by_hand.frames).max() < 1e-5
    assert output.provenance[0].prompt == "a red ball | a blue cube"
    clip = noise_clip(1)
    latents = pipe(storyboard=[board[0], (*board[1], clip[0])], output_type="latent", **FAST).frames
    still = Encoder(pipe.vae, torch.device("cpu")).still(torch.from_numpy(exact(clip)).movedim(-1, 1)[None])
    assert torch.equal(latents[:, :, 2:], still)


@pytest.mark.parametrize(
    ("storyboard", "message"),
    [
        ([], "needs a list"),
        ("a text", "needs a list"),
        ([(0.0, 3)], "entry 0 of the storyboard"),
        ([(0.0, "a"), "b"], "entry 1 of the storyboard"),
        ([(0.5, "a")], "the first to be 0"),
        ([(0, "a"), (0.5, "b"), (0.5, "c")], "need to rise"),
        ([(0, "a"), (5.0, "b")], r"text at 5 s \('b'\) has no latent frame"),
        ([(0, "a"), (0.2, "b"), (0.25, "c")], "text at 0.2 s"),
    ],
)
def test_storyboards_that_do_not_fit_are_named(pipe, storyboard, message):
    pipe.transformer.forward = pipe.text_encoder.encode = None
    with pytest.raises(ValueError, match=message):
        pipe(storyboard=storyboard, num_frames=pipe.config.default_num_frames)


# --- what a task says of itself ------------------------------------------------------------------------------


def test_a_task_says_how_it_was_made(pipe, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(noise_clip(1)[0]).save(path)
    made = pipe("x", image=path, **FAST).provenance[0]
    assert (made.task, made.settings["image"], made.by_hand) == ("image", str(path), ())
    again = Provenance.from_json(made.to_metadata()["kinema"])
    assert again == made and json.loads(made.to_metadata()["kinema"])["task"] == "image"
    inpainted = pipe("x", video=noise_clip(9), mask=(0, 0, 8, 8), **FAST).provenance[0]
    assert inpainted.settings["mask"] == [0, 0, 8, 8] and "video from memory" in inpainted.by_hand
    assert pipe("x", **FAST).provenance[0].task == "generate"


def test_a_soundtrack_stays_with_its_frames_or_its_loss_is_said(pipe, tmp_path):
    output = pipe("x", **FAST)
    output.soundtrack = (Soundtrack(tmp_path / "a.mp4", 0.0, 9 / 8),)
    assert pipe.extend(output, seconds=1.0, **FAST).soundtrack[0].offset_s == 0
    assert pipe.extend(output, seconds=1.0, direction="backward", **FAST).soundtrack[0].offset_s == 1
    joined = pipe.connect(noise_clip(3), output, seconds=0.5, **FAST).soundtrack
    assert [piece.offset_s for piece in joined] == [(3 + 4) / 8]
    assert pipe("x", video=output, mask=(0, 0, 8, 8), **FAST).soundtrack == output.soundtrack
    remixed = pipe.remix(output, "x", **FAST)
    assert remixed.soundtrack is None and "its sound is left out" in remixed.warnings[0]


def test_given_media_of_another_size_are_conformed_and_it_is_said(pipe):
    output = pipe.extend(noise_clip(9, height=50, width=64), "x", seconds=0.5, **FAST)
    assert output.warnings and re.search(r"64 × 50.*cover", " ".join(output.warnings))


def test_an_interrupt_ends_the_rounds_and_keeps_what_is_there(pipe):
    def stop(pipe, step, timestep, tensors):
        pipe._interrupt = True
        return {}

    clip = noise_clip(9)
    output = pipe.extend(clip, "x", seconds=2.0, callback_on_step_end=stop, **FAST)
    assert 9 < output.frames.shape[1] < 25 and np.array_equal(output.frames[0, :9], exact(clip))


def test_a_canvas_laid_out_by_hand_is_composited_too(pipe):
    clip = torch.from_numpy(exact(noise_clip(9))).movedim(-1, 1)[None]
    keep = torch.zeros(1, 9, 1, 1, 1, dtype=torch.bool)
    keep[:, 3] = True
    output = pipe("x", canvas=with_given(text_to_video(4, 3, 4, 4), clip, keep), output_type="pt", **FAST)
    assert torch.equal(output.frames[0, 3], clip[0, 3])


def test_a_storyboard_that_says_no_length_lasts_as_long_as_its_texts(pipe):
    board = [(0.0, "a red ball"), (2.0, "a blue cube")]
    given = pipe(storyboard=board, frame_rate=8.0, **FAST)
    assert given.frames.shape[1] == 33  # two seconds each
    assert given.provenance[0].num_frames == 33
    single = pipe(storyboard=board[:1], frame_rate=8.0, **FAST)
    assert single.frames.shape[1] == pipe.config.default_num_frames
    assert repr(single).startswith("KinemaPipelineOutput(np frames (1, ")
