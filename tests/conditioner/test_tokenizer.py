import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.conditioner.tokenizer import LEVEL_IDS, LEVEL_TOKENS, PAD_ID, SPECIAL_TOKENS, train_tokenizer


def test_special_tokens_have_their_fixed_ids(tokenizer):
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(len(SPECIAL_TOKENS)))
    assert {level: tokenizer.convert_tokens_to_ids(t) for level, t in LEVEL_TOKENS.items()} == LEVEL_IDS
    assert tokenizer.pad_token_id == PAD_ID


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_comes_back_in_its_normal_form(tokenizer, text):
    ids = tokenizer.backend_tokenizer.encode(text).ids
    normal = tokenizer.backend_tokenizer.normalizer.normalize_str(text)
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == normal.strip()


def test_words_of_the_corpus_are_single_tokens_and_case_does_not_matter(tokenizer):
    ids = tokenizer("A  RED ball\nrolls to the left").input_ids
    assert ids == tokenizer("a red ball rolls to the left").input_ids
    assert len(ids) == 7 + 2


def test_a_small_corpus_gives_no_more_entries_than_it_needs_and_a_large_size_is_kept_to(captions):
    assert len(train_tokenizer(captions, 5000, 16)) < 400
    assert len(train_tokenizer(captions, 270, 16)) == 270


def test_the_same_captions_give_the_same_tokenizer_in_another_process(tokenizer, captions):
    code = (
        "import sys; from kinema.conditioner.tokenizer import train_tokenizer;"
        "sys.stdout.write(train_tokenizer(sys.stdin.read().splitlines(), 400, 16).backend_tokenizer.to_str())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], input="\n".join(captions), capture_output=True, text=True, check=True
    )
    backend = train_tokenizer(captions, 400, 16).backend_tokenizer
    assert other.stdout == backend.to_str()


def test_a_vocabulary_without_room_for_a_merge_is_refused(captions):
    with pytest.raises(ValueError, match="vocab_size is 256"):
        train_tokenizer(captions, 256, 16)
