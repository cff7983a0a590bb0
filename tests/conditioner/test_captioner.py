"""The contrastive captioner: it learns, it repeats itself, and each part does what it says."""

import pytest
import torch

from kinema import ContrastiveCaptioner
from kinema.conditioner.losses import caption_loss, contrastive_loss, meaning_keys, positive_pairs
from kinema.conditioner.tokenizer import LEVEL_IDS, START_ID
from kinema.conditioner.vision import Stem, VideoTower, select_frames

FPS = 4.0


@pytest.fixture
def captioner(captioner_settings, tokenizer):
    torch.manual_seed(0)
    return ContrastiveCaptioner(**captioner_settings, tokenizer=tokenizer).eval()


def clips(count, seed=0, frames=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, frames, 16, 16), dtype=torch.uint8, generator=generator)


def test_frames_are_evenly_spaced_and_timed_and_integers_and_floats_agree():
    ramp = torch.arange(9, dtype=torch.uint8).view(1, 1, 9, 1, 1).expand(2, 3, 9, 8, 12)
    pixels, times = select_frames(ramp, torch.tensor([4.0, 8.0]), 3, 8)
    assert pixels.shape == (2, 3, 3, 8, 8)
    torch.testing.assert_close(pixels[0, 0, :, 0, 0], torch.tensor([0.0, 4.0, 8.0]) / 127.5 - 1)
    torch.testing.assert_close(times, torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.5, 1.0]]))
    floats, _ = select_frames(ramp.float() / 127.5 - 1, 4.0, 3, 8)
    torch.testing.assert_close(floats, pixels)
    assert select_frames(ramp[:, :, :1], 4.0, 3, 8)[0].shape == (2, 3, 3, 8, 8)
    with pytest.raises(ValueError, match=r"needs \(B, 3, T, H, W\)"):
        select_frames(ramp[0], 4.0, 3, 8)


@pytest.mark.parametrize("patch_size", [1, 3, 4, 6, 12])
def test_the_stem_gives_one_token_a_patch_and_sees_what_changed(patch_size):
    stem = Stem(patch_size, 16)
    frames = torch.randn(2, 3, 4, 24, 24)
    patches = stem(frames)
    assert patches.shape == (2, 4, (24 // patch_size) ** 2, 16)
    other = frames.clone()
    other[:, :, 1] += 1
    changed = (stem(other) - patches).abs().amax((0, 2, 3)) > 1e-5
    assert changed.tolist() == [False, True, True, False]


@torch.no_grad()
def test_the_visual_side_sees_the_order_and_the_rate_of_frames(captioner):
    frames = clips(1)
    seen = captioner.encode_video(frames, FPS)[0]
    assert not torch.allclose(captioner.encode_video(frames.flip(2), FPS)[0], seen, atol=1e-4)
    assert not torch.allclose(captioner.encode_video(frames, FPS * 2)[0], seen, atol=1e-5)


@pytest.mark.parametrize("loss", ["infonce", "sigmoid"])
def test_a_few_steps_lower_both_losses_and_captions_are_learned(captioner_settings, tokenizer, captions, loss):
    torch.manual_seed(0)
    model = ContrastiveCaptioner(**captioner_settings, loss=loss, tokenizer=tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    texts, frames = captions[:6], clips(6)
    pixels, times = select_frames(frames, FPS, 3, 16)
    ids = model.tokenize(texts, ["short"] * 6).input_ids
    pairs = positive_pairs(meaning_keys(texts)[:, None])
    history = []
    for _ in range(120):
        output = model(pixels, times, ids)
        contrast = contrastive_loss(
            output.video_features, output.text_features, pairs, output.logit_scale, output.logit_bias
        )
        words = caption_loss(output.logits, ids, model.pad_id)
        (contrast + words).backward()
        optimizer.step()
        optimizer.zero_grad()
        history.append((contrast.item(), words.item()))
    assert history[-1][0] < 0.7 * history[0][0] and history[-1][1] < 0.1 * history[0][1]
    model.eval()
    written = model.caption(frames, FPS, "short")
    assert sum(a == b for a, b in zip(written, texts)) >= 4  # of 36 sentences each
    assert model.caption(frames, FPS, "short") == written
    assert written == [model.caption(frames[i : i + 1], FPS, "short")[0] for i in range(6)]


@torch.no_grad()
def test_captions_may_not_see_words_ahead(captioner):
    pixels, times = select_frames(clips(2), FPS, 3, 16)
    ids = torch.randint(6, 200, (2, 8), generator=torch.Generator().manual_seed(0))
    other = ids.clone()
    other[:, 5:] += 1
    a, b = captioner(pixels, times, ids).logits, captioner(pixels, times, other).logits
    torch.testing.assert_close(a[:, :5], b[:, :5])
    assert not torch.allclose(a[:, 5:], b[:, 5:])


def test_the_level_is_asked_for_by_the_first_token(captioner):
    ids = captioner.tokenize(["a car"] * 5, ["short", "medium", "dense", "facts", None]).input_ids
    assert ids[:, 0].tolist() == [*LEVEL_IDS.values(), START_ID]
    assert (ids[:, 1:] == ids[:1, 1:]).all()
    with pytest.raises(ValueError, match="level is 'long'"):
        captioner.caption(clips(1), FPS, "long")


def test_sampled_captions_repeat_with_their_seed(captioner):
    def sample(seed):
        return captioner.caption(clips(3), FPS, top_p=0.95, generator=torch.Generator().manual_seed(seed))

    assert sample(0) == sample(0) != sample(1)


@torch.no_grad()
def test_similarity_is_a_cosine_and_the_text_side_is_the_conditioner(captioner):
    texts = ["a red ball", "a blue car rolls", ""]
    similarity = captioner.similarity(clips(2), texts, FPS)
    assert similarity.shape == (2, 3) and similarity.abs().max() <= 1.0001
    conditioner = captioner.text_conditioner()
    pooled = torch.nn.functional.normalize(conditioner.encode(texts).pooled, dim=-1)
    torch.testing.assert_close(captioner.encode_video(clips(2), FPS)[0] @ pooled.T, similarity)
    assert conditioner.hidden_size == captioner.config["width"]


def test_saved_and_loaded_exactly_with_its_closed_vocabulary(captioner_settings, tokenizer, tmp_path):
    model = ContrastiveCaptioner(**captioner_settings, vocabulary=["ball", "red"], tokenizer=tokenizer).eval()
    model.save_pretrained(tmp_path / "captioner")
    model.text_conditioner().save_pretrained(tmp_path / "text")
    loaded = ContrastiveCaptioner.from_pretrained(tmp_path / "captioner")
    frames, texts = clips(2), ["a red ball"]
    assert torch.equal(loaded.similarity(frames, texts, FPS), model.similarity(frames, texts, FPS))
    assert loaded.caption(frames, FPS) == model.caption(frames, FPS)
    conditioner = type(model.text_conditioner()).from_pretrained(tmp_path / "text")
    assert torch.equal(conditioner.encode(texts).pooled, loaded.text_conditioner().encode(texts).pooled)
    assert conditioner.unknown_words("a bed ball") == {"a": [], "bed": ["red"]}


def test_checkpointing_changes_no_gradient(captioner):
    pixels, times = select_frames(clips(2), FPS, 3, 16)
    ids = captioner.tokenize(["a red ball", "a car"]).input_ids
    gradients = []
    for enable in (captioner.disable_gradient_checkpointing, captioner.enable_gradient_checkpointing):
        enable()
        captioner.zero_grad()
        captioner(pixels, times, ids).video_features.sum().backward()
        gradients.append(captioner.visual.stem.layers[0].weight.grad.clone())
    torch.testing.assert_close(*gradients)


def test_settings_that_do_not_fit_are_named(captioner_settings):
    with pytest.raises(ValueError, match="num_heads is 3"):
        ContrastiveCaptioner(**(captioner_settings | {"num_heads": 3}))
    with pytest.raises(ValueError, match="image_size is 18"):
        ContrastiveCaptioner(**(captioner_settings | {"image_size": 18}))
    with pytest.raises(ValueError, match="no tokenizer"):
        ContrastiveCaptioner(**captioner_settings).caption(clips(1), FPS)


def test_every_parameter_is_initialised_within_reason(captioner):
    assert all(p.isfinite().all() and p.abs().max() < 20 for p in captioner.parameters())
    assert isinstance(captioner.visual, VideoTower)
