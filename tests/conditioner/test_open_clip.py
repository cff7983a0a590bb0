"""Towers of open_clip's own models, against open_clip itself."""

import logging

import open_clip
import pytest
import torch
from open_clip.model import CustomTextCLIP

from kinema import OpenCLIPConditioner
from kinema.conditioner.open_clip_text import build_text_tower

TEXTS = ["a red ball rolls to the left", "", "don't “stop” &amp; Go!! 42 naïve ☃", "cat " * 100 + "dog"]
VISION = {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 12, "vocab_size": 64, "width": 32, "heads": 4, "layers": 2}


@torch.no_grad()
def test_a_named_model_gives_open_clips_ids_and_features(tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    name = "ViT-S-32-alt"
    torch.manual_seed(0)
    model = open_clip.create_model(name).eval()
    torch.manual_seed(0)
    conditioner = OpenCLIPConditioner.from_open_clip(name)
    ids = open_clip.get_tokenizer(name)(TEXTS)
    assert torch.equal(conditioner.tokenize(TEXTS, "max_length").input_ids, ids)
    encoding = conditioner.encode(TEXTS)
    torch.testing.assert_close(encoding.pooled, model.encode_text(ids), atol=1e-5, rtol=1e-4)
    assert encoding.truncated[:3] == ["", "", ""] and encoding.truncated[3].endswith("dog")
    conditioner.save_pretrained(tmp_path)
    assert torch.equal(OpenCLIPConditioner.from_pretrained(tmp_path).encode(TEXTS).pooled, encoding.pooled)


@pytest.mark.parametrize("quick_gelu", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pool_type": "eos", "eos_id": 2},
        {"no_causal_mask": True, "pool_type": "last", "proj_bias": True},
        {"no_causal_mask": True, "pool_type": "first", "proj_type": "none"},
        {"embed_cls": True, "ls_init_value": 0.1},
    ],
)
@torch.no_grad()
def test_the_custom_blocks_take_open_clips_weights_and_give_its_features(settings, quick_gelu):
    torch.manual_seed(0)
    model = CustomTextCLIP(32, VISION, {**TEXT, **settings}, quick_gelu=quick_gelu).eval()
    conditioner = OpenCLIPConditioner(32, {**TEXT, **settings}, quick_gelu=quick_gelu).eval()
    conditioner.tower.load_state_dict(model.text.state_dict())
    ids = torch.randint(3, 60, (3, 12))
    ids[:, 7:], ids[:, 6] = 0, 2
    if settings.get("pool_type", "argmax") == "argmax":
        ids[:, 6] = 63  # the highest id ends a text
    encoding = conditioner(ids, ids != 0)
    torch.testing.assert_close(encoding.pooled, model.encode_text(ids), atol=1e-5, rtol=1e-4)


def test_towers_that_are_transformers_models_point_to_the_other_class():
    with pytest.raises(ValueError, match=r"TransformersConditioner\.from_transformers"):
        OpenCLIPConditioner.from_open_clip("roberta-ViT-B-32")


def test_a_tower_that_sees_its_padding_refuses_other_lengths():
    tower = build_text_tower(8, {**TEXT, "no_causal_mask": True, "pool_type": "last"})
    conditioner = OpenCLIPConditioner(8, {**TEXT, "no_causal_mask": True, "pool_type": "last"})
    assert tower.context_length == 12
    with pytest.raises(ValueError, match="needs 12 ids a prompt and was given 5"):
        conditioner(torch.zeros(1, 5, dtype=torch.int64), torch.ones(1, 5, dtype=torch.bool))
