import pytest

from kinema.conditioner.tokenizer import train_tokenizer

CAPTIONS = [
    f"a {colour} {thing} {motion} to the {side}"
    for colour in ("red", "blue", "green")
    for thing in ("ball", "cube", "car")
    for motion in ("rolls", "slides")
    for side in ("left", "right")
]
VOCAB_SIZE = 400
CONTEXT = 16


@pytest.fixture(scope="session")
def captions():
    return CAPTIONS


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer(CAPTIONS, VOCAB_SIZE, CONTEXT)


@pytest.fixture
def captioner_settings():
    return {
        "vocab_size": VOCAB_SIZE,
        "context_length": CONTEXT,
        "width": 32,
        "num_layers": 1,
        "num_decoder_layers": 1,
        "num_heads": 2,
        "embed_dim": 32,
        "image_size": 16,
        "patch_size": 8,
        "num_frames": 3,
        "vision_width": 32,
        "vision_layers": 1,
        "vision_heads": 2,
        "caption_tokens": 8,
    }
