"""Our own byte-level BPE: a small vocabulary learned from the corpus captions.

49,408 rows, as in CLIP, would be most of the packaged checkpoint; about 2,000 are enough for a small world, and
any other text still has a spelling in bytes.
"""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

PAD, START, END = "<pad>", "<start>", "<end>"
# In place of <start>, these ask the captioner for a caption of one level, or for the bare facts.
LEVEL_TOKENS = {"short": "<short>", "medium": "<medium>", "dense": "<dense>", "facts": "<facts>"}
SPECIAL_TOKENS = (PAD, START, END, *LEVEL_TOKENS.values())
PAD_ID, START_ID, END_ID = 0, 1, 2
LEVEL_IDS = {level: SPECIAL_TOKENS.index(token) for level, token in LEVEL_TOKENS.items()}


def train_tokenizer(captions: Iterable[str], vocab_size: int, context_length: int) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE (Sennrich et al. 2016; bytes as in GPT-2) from captions.

    Text is lower-cased, its white space collapsed; a prompt becomes "<start> … <end>". The same captions give the
    same tokenizer.

    Args:
        captions: the texts to learn from, in any number.
        vocab_size: entries at most, special tokens and the 256 bytes included; a small corpus gives fewer.
        context_length: tokens a prompt may have, start and end included.

    Raises:
        ValueError: vocab_size leaves no room beside the special tokens and the bytes.
    """
    smallest = 256 + len(SPECIAL_TOKENS)
    if vocab_size <= smallest:
        raise ValueError(f"vocab_size is {vocab_size}; the bytes and special tokens alone take {smallest}")
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)  # pyright: ignore
    backend.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(captions, trainer)
    backend.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single=f"{START} $A {END}", special_tokens=[(START, START_ID), (END, END_ID)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(LEVEL_TOKENS.values()),
        model_max_length=context_length,
        clean_up_tokenization_spaces=False,
    )
