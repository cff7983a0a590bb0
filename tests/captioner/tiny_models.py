"""Vision-language and text models of a few thousand weights, with real processors, saved as one finds them."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE"
    "{% elif part['type'] == 'video' %}VIDEO{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VISION = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 4096,
}  # fmt: skip
EYES = {
    "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 8,
    "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 32,
}  # fmt: skip
SIZE = {"shortest_edge": 32 * 32, "longest_edge": 64 * 64}
PATCHES = {"patch_size": 8, "merge_size": 2, "size": SIZE}


def _tokenizer(special, image="", video=""):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>", *special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["a red car drives left on snow"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT.replace("IMAGE", image).replace("VIDEO", video),
    )


def _save(folder, model, reader, tokenizer):
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    reader.save_pretrained(folder)
    return folder


def _qwen(folder, config_class, model_class, processor_class, video_processor, text, eyes):
    torch.manual_seed(0)
    start, end, image, video = VISION
    tokenizer = _tokenizer(VISION, start + image + end, start + video + end)
    processor = processor_class(
        Qwen2VLImageProcessor(**PATCHES), tokenizer, video_processor, chat_template=tokenizer.chat_template
    )
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    ids = dict(zip(names, tokenizer.convert_tokens_to_ids(VISION)))
    text = TEXT | {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id} | text
    config = config_class(text_config=text, vision_config=EYES | eyes, **ids)
    return _save(folder, model_class(config), processor, tokenizer)


def qwen3_vl(folder):
    """Takes videos; the time of every second frame stands in its prompt."""
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    eyes = {"num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
    return _qwen(
        folder, Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor,
        Qwen3VLVideoProcessor(**PATCHES, temporal_patch_size=2, cap_pixels_per_frame=False),
        {"head_dim": 16, "rope_parameters": rope}, eyes,
    )  # fmt: skip


def qwen2_5_vl(folder):
    """Takes videos; it is told how many seconds two frames last."""
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2]}
    return _qwen(
        folder, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor,
        Qwen2VLVideoProcessor(**PATCHES, temporal_patch_size=2, cap_pixels_per_frame=False),
        {"rope_parameters": rope, "bos_token_id": None}, {"window_size": 32, "fullatt_block_indexes": [1]},
    )  # fmt: skip


def idefics3(folder):
    """Takes pictures only."""
    torch.manual_seed(0)
    tokenizer = _tokenizer(
        ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"], "<image>"
    )
    side = {"longest_edge": 32}
    pictures = Idefics3ImageProcessor(size=side, max_image_size=side, do_image_splitting=False)
    processor = Idefics3Processor(pictures, tokenizer, image_seq_len=4, chat_template=tokenizer.chat_template)
    text = TEXT | {"model_type": "llama", "vocab_size": len(tokenizer), "bos_token_id": None}
    eyes = {key: TEXT[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers")}
    config = Idefics3Config(
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        scale_factor=2,
        text_config=text | {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id},
        vision_config=eyes | {"num_attention_heads": 2, "image_size": 32, "patch_size": 8},
    )
    return _save(folder, Idefics3ForConditionalGeneration(config), processor, tokenizer)


def llama(folder):
    """Reads text only."""
    torch.manual_seed(0)
    tokenizer = _tokenizer([])
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    config = LlamaConfig(**TEXT, vocab_size=len(tokenizer), **ids)
    return _save(folder, LlamaForCausalLM(config), tokenizer, tokenizer)


def open_clip_coca(folder):
    """A CoCa model as open_clip saves one; its tokenizer is the one built into open_clip."""
    import json

    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    towers = {"context_length": 12, "width": 16, "heads": 2, "layers": 1}
    config = {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16,
            "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True,
        },
        "text_cfg": towers | {"vocab_size": 49408, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": towers | {"vocab_size": 49408, "attn_pooler_heads": 2},
        "custom_text": True,
    }  # fmt: skip
    model = open_clip.CoCa(16, **{key: config[key] for key in ("multimodal_cfg", "text_cfg", "vision_cfg")})
    torch.nn.init.normal_(model.text_decoder.text_projection, std=0.5)  # open_clip leaves it as it was
    folder.mkdir(parents=True, exist_ok=True)
    mean = {"mean": [0.5] * 3, "std": [0.5] * 3}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": mean}))
    state = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder
