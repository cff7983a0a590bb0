"""The bare facts beside the captions: what they say, and what they teach."""

import pytest
import torch

from kinema import ContrastiveCaptioner
from kinema.conditioner.corpus import fact_text, facts_of
from kinema.conditioner.losses import caption_loss
from kinema.conditioner.tokenizer import LEVEL_IDS, PAD_ID
from kinema.conditioner.train import tokenize_facts
from kinema.conditioner.vision import select_frames
from kinema.data.diorama import sample_scene


@pytest.fixture
def captioner(captioner_settings, tokenizer):
    torch.manual_seed(0)
    return ContrastiveCaptioner(**captioner_settings, tokenizer=tokenizer).eval()


def test_facts_are_short_and_name_every_object():
    for index in range(40):
        scene = sample_scene(3, index, difficulty=(0, 3)).to_json()
        text, found = fact_text(scene), facts_of(scene)
        assert text == text.lower() and "_" not in text
        for thing in found["objects"]:
            assert f"{thing['colour']} {thing['object']}".strip() in text
        assert found["floor"].replace("_", " ") in text and found["direction"] in text
    assert fact_text("") == ""


@torch.no_grad()
def test_clips_without_facts_teach_nothing_and_those_with_facts_do(captioner):
    ids, rows = tokenize_facts(captioner, ["", "red ball roll left"])
    assert ids[:, 0].tolist() == [LEVEL_IDS["facts"]] and rows.tolist() == [1]
    assert (ids[0, 1:] != PAD_ID).all()
    pixels, times = select_frames(torch.rand(2, 3, 5, 16, 16), 8.0, 3, 16)
    words = captioner.tokenize(["a", "b"]).input_ids
    logits = captioner(pixels, times, words, ids, rows).fact_logits
    alone = captioner(pixels[1:], times[1:], words[1:], ids).fact_logits
    torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-5)
    assert caption_loss(logits, ids, PAD_ID).item() > 0
    nothing, rows = tokenize_facts(captioner, ["", ""])
    assert caption_loss(captioner(pixels, times, words, nothing, rows).fact_logits, nothing, PAD_ID).item() == 0
