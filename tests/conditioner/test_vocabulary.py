from hypothesis import given
from hypothesis import strategies as st

from kinema.conditioner.vocabulary import unknown_words

WORDS = ["ball", "bounce", "box", "city", "drives", "fly", "red", "roll", "spin", "left"]


def test_unknown_words_come_with_their_nearest_known_ones():
    assert unknown_words("a rad ball drivs", [*WORDS, "a"]) == {"rad": ["red"], "drivs": ["drives"]}


def test_plural_and_verb_forms_of_known_words_are_known():
    assert unknown_words("balls boxes cities bouncing bounced rolling flies spinning ball's", WORDS) == {}


def test_a_stem_that_is_not_in_the_list_makes_no_form_known():
    assert set(unknown_words("cars sing", WORDS)) == {"cars", "sing"}


def test_an_open_vocabulary_knows_every_word():
    assert unknown_words("xyzzy", None) == {}


def test_a_closed_vocabulary_without_words_knows_none():
    assert unknown_words("ball", []) == {"ball": []}


@given(st.lists(st.sampled_from(WORDS)), st.sampled_from([" ", ", ", "! ", "\n"]), st.booleans())
def test_known_words_are_known_in_any_order_case_and_punctuation(words, separator, upper):
    prompt = separator.join(words)
    assert unknown_words(prompt.upper() if upper else prompt, WORDS) == {}
