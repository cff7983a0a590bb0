"""The captioner's convolutional eyes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema import ContrastiveCaptioner
from kinema.conditioner.tokenizer import train_tokenizer
from kinema.conditioner.vision import ConvolutionalTower

SIZES = {
    "vocab_size": 320, "context_length": 16, "width": 16, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2,
    "embed_dim": 16, "image_size": 16, "patch_size": 4, "num_frames": 3, "vision_width": 16,
}  # fmt: skip


def captioner(vision: str) -> ContrastiveCaptioner:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["a red ball rolls to the left", "a cube"], 320, 16)
    return ContrastiveCaptioner(**SIZES, tokenizer=tokenizer, vision=vision).eval()


@settings(max_examples=8, deadline=None)
@given(batch=st.integers(1, 3), frames=st.integers(1, 5), patch=st.sampled_from([2, 4, 8]))
def test_gives_a_token_a_frame_and_one_of_the_clip(batch, frames, patch):
    tower = ConvolutionalTower(image_size=16, patch_size=patch, width=16, output_width=12, embed_dim=20)
    times = torch.arange(frames).float().expand(batch, frames)
    features, tokens = tower(torch.rand(batch, 3, frames, 16, 16) * 2 - 1, times)
    assert features.shape == (batch, 20) and tokens.shape == (batch, frames + 1, 12)


def test_every_frame_reaches_the_clip_and_its_own_token():
    torch.manual_seed(0)
    tower = ConvolutionalTower(image_size=16, patch_size=4, width=16, output_width=12, embed_dim=20).eval()
    pixels, times = torch.rand(1, 3, 4, 16, 16), torch.arange(4).float()[None]
    features, tokens = tower(pixels, times)
    for frame in range(4):
        changed = pixels.clone()
        changed[:, :, frame] = 0
        other_features, other_tokens = tower(changed, times)
        assert not torch.allclose(features, other_features)
        moved = (tokens - other_tokens).abs().amax(-1)[0] > 1e-6  # the clip's token, then a token a frame
        seen = {0, 1 + frame, 2 + frame} & set(range(5))  # a frame's change is also the next one's
        assert set(moved.nonzero().flatten().tolist()) == seen


def test_is_saved_and_loaded_with_the_captioner(tmp_path):
    model = captioner("convolutional")
    clips = torch.randint(0, 256, (2, 3, 5, 16, 16), dtype=torch.uint8)
    model.save_pretrained(tmp_path)
    loaded = ContrastiveCaptioner.from_pretrained(tmp_path)
    assert isinstance(loaded.visual, ConvolutionalTower)
    assert torch.equal(loaded.similarity(clips, ["a cube"], 4.0), model.similarity(clips, ["a cube"], 4.0))
    assert loaded.caption(clips, 4.0) == model.caption(clips, 4.0)


def test_facts_of_some_clips_are_predicted_as_of_all():
    model = captioner("convolutional")
    pixels, times = torch.rand(3, 3, 3, 16, 16), torch.arange(3).float().expand(3, 3)
    ids = model.tokenize(["a red ball"] * 3).input_ids
    facts = model.tokenize(["ball", "cube", "left"], ["facts"] * 3).input_ids
    whole = model(pixels, times, ids, facts).fact_logits
    rows = torch.tensor([0, 2])
    assert torch.allclose(model(pixels, times, ids, facts[rows], rows).fact_logits, whole[rows], atol=1e-5)


@pytest.mark.parametrize(("image_size", "patch_size"), [(16, 6), (12, 8), (16, 1)])
def test_names_the_sizes_that_do_not_fit(image_size, patch_size):
    with pytest.raises(ValueError, match=f"image_size is {image_size}, patch_size {patch_size}.*power of two"):
        ConvolutionalTower(image_size=image_size, patch_size=patch_size, width=16, output_width=8, embed_dim=8)
