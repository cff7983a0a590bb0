import threading
from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan, FirstBlockCacheConfig, UniPCMultistepScheduler
from PIL import Image

from kinema import KinemaPipeline
from kinema.data.video_io import read_video
from kinema.dit.flow import add_noise
from kinema.pipeline.composite import put_back
from kinema.pipeline.guidance import Guidance
from kinema.pipeline.provenance import read_provenance
from kinema.pipeline.sampler import flow_sigmas
from kinema.pipeline.stream import VideoStream
from kinema.pipeline.text import TextBatch
from kinema.vae.latents import decode_latents, encode_latents, latent_frame_times

PROMPT, OTHER = "a red ball rolls to the left", "a blue cube"
SMALL = {"height": 16, "width": 16, "num_inference_steps": 2, "generator": 0}


def latents_of(stream: VideoStream) -> torch.Tensor:
    return torch.cat(list(stream), dim=1)  # (C, F, h, w)


def forwards(pipe, counts: list):
    return pipe.transformer.register_forward_pre_hook(lambda *_: counts.append(1))


@torch.no_grad()
def recomputed(
    pipe, texts, *, window, frames_per_block=1, context_noise, steps=2, scale, guidance, seed=0, known=None
):
    """The same rollout without a cache: every step runs all frames so far under the sliding-window mask.

    `texts` has a prompt per latent frame, the same within a block.
    """
    frames, generator = len(texts), torch.Generator().manual_seed(seed)
    shape = (pipe.transformer.config.in_channels, 2, 2)
    names = list(dict.fromkeys(texts))
    batches = [TextBatch(*pipe.encode_prompt(text, "", scale > 1)) for text in names]
    encoded = [batch.stacked() if scale > 1 else batch[:2] for batch in batches]

    def text_for(number):
        """The texts one after another, (1 or 2, L, D), and which of these tokens each frame reads."""
        own = [torch.tensor([name == text for text in texts[:number]])[None, :, None] for name in names]
        masks = [mask[:, None] & mine for (_, mask), mine in zip(encoded, own)]
        return torch.cat([embeds for embeds, _ in encoded], dim=1), torch.cat(masks, dim=2)

    past = torch.zeros(1, shape[0], 0, *shape[1:])
    results = []
    for first in range(0, frames, frames_per_block):
        count = min(frames_per_block, frames - first)
        noise = torch.randn(1, shape[0], count, *shape[1:], generator=generator)
        context = torch.randn(noise.shape, generator=generator)
        x = noise
        sigmas = flow_sigmas(pipe.scheduler, steps)
        if known is not None and first < known.shape[2]:
            x = known[:, :, first : first + count]
            sigmas = sigmas[-1:]
        times = latent_frame_times(first + count, 8.0, pipe.grid.temporal)[None]
        for now, after in pairwise(sigmas):
            level = torch.cat([torch.full((first,), context_noise), now.expand(count)])
            whole = torch.cat([past, x], dim=2)
            rows = 2 if scale > 1 else 1
            embeds, mask = text_for(first + count)
            velocity = pipe.transformer(
                whole.expand(rows, -1, -1, -1, -1), 1000 * level.expand(rows, -1), embeds, mask, times,
                frames_per_block=frames_per_block, window=window,
            ).sample[:, :, first:]  # fmt: skip
            if scale > 1:
                uncond, cond = velocity.chunk(2)
                velocity = guidance.combine(uncond, cond, scale, x, now.expand(count))
            x = x + (after - now) * velocity
        results.append(x)
        past = torch.cat([past, add_noise(x, context, torch.full((1, count), context_noise))], dim=2)
    return torch.cat(results, dim=2)[0]


@pytest.mark.parametrize(
    ("window", "frames_per_block", "context_noise", "scale", "guidance"),
    [
        (1, 1, 0.0, 4.0, Guidance()),
        (2, 1, 0.1, 4.0, Guidance()),
        (3, 1, 0.1, 1.0, Guidance()),
        (20, 1, 0.05, 2.0, Guidance("zero-star")),
        (2, 2, 0.2, 4.0, Guidance(interval=(0.0, 0.7))),
        (3, 3, 0.0, 4.0, Guidance("apg")),
    ],
)
def test_it_equals_the_same_rollout_without_cache(pipe, window, frames_per_block, context_noise, scale, guidance):
    texts = [PROMPT] * 2 * frames_per_block + [OTHER] * (9 - 2 * frames_per_block)
    change = latent_frame_times(9, 8.0, pipe.grid.temporal)[2 * frames_per_block].item()
    stream = pipe.stream(
        [(0.0, PROMPT), (change, OTHER)], seconds=4, window=window, frames_per_block=frames_per_block,
        context_noise=context_noise, guidance_scale=scale, guidance=guidance, output_type="latent", **SMALL,
    )  # fmt: skip
    streamed = latents_of(stream)
    options = {"window": window, "frames_per_block": frames_per_block, "context_noise": context_noise}
    expected = recomputed(pipe, texts, scale=scale, guidance=guidance, **options)
    assert streamed.shape == expected.shape == (4, 9, 2, 2)
    assert torch.allclose(streamed, expected, atol=2e-4), float((streamed - expected).abs().max())
    if window > 1:  # and the context does matter
        other = recomputed(pipe, texts, scale=scale, guidance=guidance, **{**options, "window": 1})
        assert not torch.allclose(streamed, other, atol=1e-2)


def test_it_goes_on_from_an_image_as_the_same_rollout_without_cache(pipe):
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1))
    known = encode_latents(pipe.vae, image[None, :, None] * 2 - 1)
    options = {"window": 3, "context_noise": 0.1}
    streamed = latents_of(
        pipe.stream(PROMPT, seconds=2, image=image, output_type="latent", guidance_scale=3.0, **options, **SMALL)
    )
    expected = recomputed(pipe, [PROMPT] * 5, scale=3.0, guidance=Guidance(), known=known, **options)
    assert torch.allclose(streamed[:, :1], known[0], atol=1e-6)
    assert torch.allclose(streamed, expected, atol=2e-4)


def test_chunks_come_one_by_one_as_soon_as_their_block_is_made(pipe):
    counts = []
    forwards(pipe, counts)
    stream = pipe.stream(PROMPT, **{**SMALL, "num_inference_steps": 3})
    assert counts == []
    assert next(stream).shape == (1, 16, 16, 3)
    assert len(counts) == 3
    assert next(stream).shape == (4, 16, 16, 3)
    assert len(counts) == 3 + 4  # the first block becomes context when the second is made
    assert stream.num_frames is None
    assert len(list(pipe.stream(PROMPT, seconds=1.5, frames_per_block=2, **SMALL))) == 2  # 5 and 8 frames


def test_a_seed_repeats_and_what_is_made_is_what_the_autoencoder_makes_of_the_whole(pipe):
    first, again = (np.concatenate(list(pipe.stream(PROMPT, seconds=3, **SMALL))) for _ in range(2))
    assert first.shape == (25, 16, 16, 3)
    assert 0 <= first.min() < first.max() <= 1
    assert np.array_equal(first, again)
    other = np.concatenate(list(pipe.stream(PROMPT, seconds=3, **{**SMALL, "generator": 1})))
    assert np.abs(other - first).max() > 1e-3
    longer = np.concatenate(list(pipe.stream(PROMPT, seconds=4, **SMALL)))
    assert np.array_equal(longer[:25], first)
    latents = latents_of(pipe.stream(PROMPT, seconds=3, output_type="latent", **SMALL))
    with torch.no_grad():
        whole = decode_latents(pipe.vae, latents[None])[0].permute(1, 2, 3, 0) * 0.5 + 0.5
    assert np.allclose(first, whole.numpy(), atol=1e-5)


def test_the_output_types_hold_the_same_frames(pipe):
    array, tensor, pictures = (
        list(pipe.stream(PROMPT, seconds=1, output_type=kind, **SMALL)) for kind in ("np", "pt", "pil")
    )
    assert [len(chunk) for chunk in array] == [len(chunk) for chunk in tensor] == [1, 4, 4]
    assert tensor[1].shape == (4, 3, 16, 16)
    assert np.array_equal(tensor[1].permute(0, 2, 3, 1).numpy(), array[1])
    assert np.array_equal(np.asarray(pictures[1][0]), (array[1][0] * 255).round().astype(np.uint8))


def test_a_new_prompt_changes_later_chunks_only_as_a_storyboard_would(pipe):
    plain = list(pipe.stream(PROMPT, seconds=3, **SMALL))
    stream = pipe.stream(PROMPT, seconds=3, **SMALL)
    chunks = [next(stream) for _ in range(3)]
    assert stream.prompt == PROMPT
    stream.prompt = OTHER
    assert stream.prompt == OTHER
    chunks += list(stream)
    assert all(np.array_equal(one, other) for one, other in zip(chunks[:3], plain[:3]))
    assert all(np.abs(one - other).max() > 1e-4 for one, other in zip(chunks[3:], plain[3:]))
    story = pipe.stream([(0, PROMPT), (1.3, OTHER)], seconds=3, **SMALL)  # latent frame 3 is about 10.5 / 8 s
    assert all(np.array_equal(one, other) for one, other in zip(story, chunks))
    with pytest.raises(ValueError, match="prompt is 3; it needs a string"):
        stream.prompt = 3


def test_given_frames_come_back_exactly_first_and_the_rest_joins_them(pipe):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)
    options = {**SMALL, "window": 3, "frame_rate": 8.0}
    stream = pipe.stream(PROMPT, video=pixels, seconds=14 / 8, **options)
    assert stream.num_frames == 15
    chunks = list(stream)
    assert [len(chunk) for chunk in chunks] == [7, 4, 4]
    assert np.array_equal((chunks[0] * 255).round().astype(np.uint8), pixels)
    assert np.array_equal(chunks[0], pixels / np.float32(255))

    latents = latents_of(pipe.stream(PROMPT, video=pixels, seconds=14 / 8, output_type="latent", **options))
    given = torch.from_numpy(pixels / np.float32(255)).permute(3, 0, 1, 2)
    with torch.no_grad():
        assert torch.allclose(latents[:, :2], encode_latents(pipe.vae, given[None, :, 2:] * 2 - 1)[0], atol=1e-5)
        decoded = decode_latents(pipe.vae, latents[None])[0].permute(1, 2, 3, 0).numpy() * 0.5 + 0.5
    tail = torch.cat([given[:, 2:6], torch.from_numpy(decoded[4:9]).permute(3, 0, 1, 2)], dim=1).transpose(0, 1)[
        None
    ]
    keep = (torch.arange(9) < 5)[None, :, None, None, None].expand(1, 9, 1, 16, 16)
    whole = torch.cat([given[:, 2:].transpose(0, 1)[None], torch.zeros_like(tail[:, :4])], dim=1)
    joined = put_back(tail, whole, keep, 4)[0, 5:].permute(0, 2, 3, 1).numpy()
    assert np.abs(joined - decoded[5:9]).max() > 1e-3
    assert np.allclose(chunks[1], joined, atol=1e-5)
    assert np.allclose(chunks[2], decoded[9:], atol=1e-5)

    image = Image.fromarray(pixels[0])
    for start in (
        pipe.stream(PROMPT, image=image, seconds=1, frames_per_block=2, **options),
        pipe.stream([(0, PROMPT, image)], seconds=1, frames_per_block=2, **options),
    ):
        chunks = list(start)
        assert [len(chunk) for chunk in chunks] == [1, 4, 4]
        assert np.array_equal(chunks[0][0], pixels[0] / np.float32(255))


def test_a_storyboards_picture_fills_its_latent_frame(pipe):
    picture = np.full((16, 16, 3), 200, np.uint8)
    picture[:8] = 30
    storyboard = [(0, PROMPT), (1.0, OTHER, picture)]
    latents = latents_of(pipe.stream(storyboard, seconds=2, output_type="latent", **SMALL))
    still = torch.from_numpy(picture / np.float32(255)).permute(2, 0, 1)[None, :, None].expand(-1, -1, 5, -1, -1)
    with torch.no_grad():
        expected = encode_latents(pipe.vae, still * 2 - 1)[0, :, 1]
    assert torch.allclose(latents[:, 3], expected, atol=1e-5)
    assert not torch.allclose(latents[:, 2], expected, atol=1e-2)


def test_memory_does_not_grow(pipe):
    stream = pipe.stream(PROMPT, window=3, **SMALL)
    sizes = []
    for number, _ in enumerate(stream):
        sizes.append(stream._rollout.cache.nbytes)
        if number == 9:
            break
    assert sizes[0] < sizes[2] == sizes[3] == sizes[9] > 0
    stream.close()
    assert stream._rollout.cache.nbytes == 0
    assert list(stream) == []


def test_it_stops_within_a_step(pipe):
    counts = []
    forwards(pipe, counts)
    for stop in (lambda stream: setattr(pipe, "_interrupt", True), VideoStream.close):
        stream = pipe.stream(PROMPT, **{**SMALL, "num_inference_steps": 5})
        next(stream)
        counts.clear()

        def stop_in_the_third(*_, stream=stream, stop=stop):
            if len(counts) == 3:
                thread = threading.Thread(target=stop, args=(stream,))
                thread.start()
                thread.join()

        hook = pipe.transformer.register_forward_hook(stop_in_the_third)
        assert list(stream) == []
        assert len(counts) == 3
        hook.remove()
    with pipe.stream(PROMPT, **SMALL) as stream:
        next(stream)
    assert list(stream) == []


def test_it_is_saved_while_it_is_made_also_when_stopped_early(pipe, tmp_path):
    path = pipe.stream(PROMPT, seconds=1.5, **SMALL).save(tmp_path / "whole.mp4", crf=1)
    whole = np.concatenate(list(pipe.stream(PROMPT, seconds=1.5, **SMALL)))
    video = read_video(path)
    assert video.fps == 8 and len(video.frames) == 13
    luma = np.array([0.2126, 0.7152, 0.0722])  # the file has colour at half the resolution
    assert np.abs((video.frames - whole * 255) @ luma).mean() < 3
    made = read_provenance(path)
    assert (made.task, made.num_frames, made.seed, made.prompt) == ("stream", 13, 0, PROMPT)
    assert made.settings["seconds"] == 1.5 and made.settings["window"] == 3
    assert made.as_command("x.mp4")[0].startswith("kinema stream")

    endless, counts = pipe.stream(PROMPT, output_type="pil", **SMALL), []
    hook = forwards(pipe, counts)
    ending = pipe.transformer.register_forward_hook(lambda *_: setattr(pipe, "_interrupt", len(counts) >= 10))
    cut = read_video(endless.save(tmp_path / "cut.mp4", crf=1)).frames
    hook.remove()
    ending.remove()
    assert len(cut) == 9  # 2 + 3 + 3 forwards make three blocks, the tenth is the fourth's
    assert np.abs((cut - whole[:9] * 255) @ luma).mean() < 3
    with pytest.raises(ValueError, match='start it with "np"'):
        pipe.stream(PROMPT, seconds=1, output_type="latent", **SMALL).save(tmp_path / "latent.mp4")


def test_other_schedulers_begin_anew_with_every_block(pipe):
    pipe.scheduler = UniPCMultistepScheduler.from_config(
        pipe.scheduler.config, prediction_type="flow_prediction", use_flow_sigmas=True
    )
    options = {**SMALL, "num_inference_steps": 4, "window": 1, "context_noise": 0.0, "output_type": "latent"}
    chunks = list(pipe.stream(PROMPT, seconds=2, **options))
    assert all(torch.isfinite(chunk).all() for chunk in chunks)
    assert len(chunks) == 5


def test_a_checkpoint_carries_its_own_window_and_context_noise(pipe, tmp_path):
    assert pipe.stream(PROMPT, **SMALL).provenance.settings["context_noise"] == 0.1
    pipe.register_to_config(default_stream_window=2, default_context_noise=0.0)
    pipe.save_pretrained(tmp_path)
    again = KinemaPipeline.from_pretrained(tmp_path)
    settings = again.stream(PROMPT, **SMALL).provenance.settings
    assert (settings["window"], settings["context_noise"]) == (2, 0.0)
    assert again.stream(PROMPT, frames_per_block=2, **SMALL).provenance.settings["window"] == 1
    assert again.stream(PROMPT, window=7, context_noise=0.3, **SMALL).provenance.settings["window"] == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seconds": 1.6}, r"seconds 1\.6 at 8 frames/s does not fit; 1\.5 or 2 do"),
        ({"seconds": -1}, r"seconds -1 at 8 frames/s does not fit; 0 is the least"),
        ({"seconds": 0.5, "video": np.zeros((7, 16, 16, 3), np.uint8)}, r"does not fit; 1\.25 is the least"),
        ({"seconds": 2, "video": np.zeros((7, 16, 16, 3), np.uint8)}, r"does not fit; 1\.75 or 2\.25 do"),
        ({"window": 0}, "window is 0 blocks"),
        ({"frames_per_block": 0}, "frames_per_block is 0"),
        ({"context_noise": 1.5}, "context_noise is 1.5"),
        ({"height": 20}, "height 20 does not fit; 16 or 32 do"),
        ({"num_inference_steps": 0}, "at least 1"),
        ({"output_type": "gif"}, "output_type is 'gif'"),
        ({"prompt": []}, "storyboard is"),
        ({"prompt": [(0, "a"), (9, "b")], "seconds": 2}, "text at 9 s .'b'. has no latent frame of its own"),
        ({"prompt": [(0, "a"), (1.0, "b"), (1.1, "c")]}, "text at 1 s .'b'. has no latent frame of its own"),
        (
            {"image": np.zeros((16, 16, 3), np.uint8), "video": np.zeros((5, 16, 16, 3), np.uint8)},
            "give one of them",
        ),
        ({"generator": [1, 2]}, "2 entries for 1 videos"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_model_runs(pipe, change, message):
    counts = []
    for model in (pipe.transformer, pipe.vae.encoder, pipe.text_encoder):
        model.register_forward_pre_hook(lambda *_: counts.append(1))
    options = {**SMALL, "frame_rate": 8.0, "prompt": PROMPT, **change}
    with pytest.raises(ValueError, match=message):
        pipe.stream(**options)
    assert counts == []


def test_parts_that_cannot_stream_say_so(pipe):
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.1))
    with pytest.raises(ValueError, match="disable_cache"):
        pipe.stream(PROMPT, **SMALL)
    pipe.transformer.disable_cache()
    vae = AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    other = KinemaPipeline(vae, pipe.text_encoder, pipe.transformer, pipe.scheduler)
    with pytest.raises(TypeError, match="AutoencoderKLWan cannot decode a stream"):
        other.stream(PROMPT, **SMALL)
    assert next(other.stream(PROMPT, output_type="latent", **SMALL)).shape == (4, 1, 2, 2)


def test_what_the_caller_should_know_is_said(pipe):
    pipe.text_encoder.register_to_config(vocabulary=["a", "red", "ball", "cube"])
    picture = np.zeros((16, 48, 3), np.uint8)
    stream = pipe.stream("a red bell", image=picture, guidance_scale=1.0, negative_prompt="a cube", **SMALL)
    said = " | ".join(stream.warnings)
    assert "know the word 'bell'" in said and "48 × 16" in said and "ignores negative_prompt" in said
    stream.prompt = "a red cub"
    assert "know the word 'cub'" in stream.warnings[-1]
