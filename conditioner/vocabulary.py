"""Closed vocabularies: which words of a prompt a model never saw, and which known words are nearest."""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+")


def unknown_words(prompt: str, vocabulary: Iterable[str] | None, nearest: int = 3) -> dict[str, list[str]]:
    """The words of a prompt that are in no form in the vocabulary, each with its nearest known words.

    A plural or verb form counts as known when its base form is in the list ("cubes", "bouncing").

    Args:
        vocabulary: the known words, lower case; None means any word may be known, and gives {}.
        nearest: at most this many suggestions a word, best first; there may be none.
    """
    if vocabulary is None:
        return {}
    known = set(vocabulary)
    words = dict.fromkeys(match.group() for match in _WORD.finditer(prompt.lower()))
    candidates = sorted(known)
    return {
        word: get_close_matches(word, candidates, n=nearest, cutoff=0.6)
        for word in words
        if not known.intersection(_forms(word))
    }


def _forms(word: str) -> Iterator[str]:
    """The word and what it may be a plural or a verb form of."""
    yield word
    word = word.removesuffix("'s")
    yield word
    for suffix, endings in (
        ("ies", ("y",)),
        ("es", ("", "e")),
        ("s", ("",)),
        ("ied", ("y",)),
        ("ed", ("", "e")),
        ("ing", ("", "e")),
    ):
        if word.endswith(suffix) and len(word) > len(suffix) + 1:
            stem = word.removesuffix(suffix)
            for ending in endings:
                yield stem + ending
            if suffix in ("ed", "ing") and len(stem) > 2 and stem[-1] == stem[-2]:
                yield stem[:-1]
