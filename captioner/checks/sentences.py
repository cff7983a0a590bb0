"""Sentences of a text, and pieces of it that fit a text encoder's context.

Encoders of the CLIP family read 77 tokens and silently drop the rest, so a dense caption is scored sentence by
sentence, and a sentence that is longer still by its clauses.
"""

import re
from collections.abc import Callable

# Full stops of Latin, CJK, Devanagari, Arabic, Urdu, Ethiopic, Khmer and Burmese writing; quotes may follow.
_STOPS = ".!?…。！？．｡।॥؟۔።។။"
_NEEDS_SPACE = ".!?…"  # in these scripts a stop inside a word ("3.5", "e.g.") ends nothing
_CLOSING = "\"'”’»)]}」』）】"
_STOP = re.compile(rf"[{re.escape(_STOPS)}]+[{re.escape(_CLOSING)}]*|\n\s*\n\s*")
_CLAUSE = re.compile(r"(?<=[,;:–—，；：、،؛])\s*|\s+(?=(?:and|but|while|then|with|which|as)\s)")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Abbreviations behind which a sentence goes on, and those behind which it may end if a capital follows.
_ALWAYS_OPEN = _words(
    "mr mrs ms dr prof st mt rev gen col sgt capt lt vs no fig approx ca cf e.g i.e eg ie al vol pp op"
)
_MAY_END = _words("etc inc ltd co corp jr sr a.m p.m am pm u.s u.k e.u b.c a.d ph.d")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, in order, with their stops; all but white space between them is kept.

    Decimals, initials, abbreviations and stops inside quotes do not end one. A text without any stop is one
    sentence, a blank text none.
    """
    found, start = [], 0
    for match in _STOP.finditer(text):
        if _ends(text, match, start):
            found.append(text[start : match.end()].strip())
            start = match.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if sentence]


def _ends(text: str, match: re.Match[str], start: int) -> bool:
    """Whether a stop ends the sentence that began at `start`."""
    stop, after = match.group(), text[match.end() :]
    if not stop.strip() or stop[0] not in _NEEDS_SPACE:
        return True  # a blank line, or a script that writes no space
    if not after.strip():
        return True
    if not after[0].isspace():
        return False  # 3.5, e.g., example.com
    following = after.lstrip()[0]
    if stop[0] != ".":
        return stop[-1] not in _CLOSING or not following.islower()  # "Stop!" he said
    before = text[start : match.start()].split()
    word = before[-1].lower().lstrip("([\"'“‘«") if before else ""
    if stop == "." and (word in _ALWAYS_OPEN or (len(word) == 1 and word.isalpha() and word != "i")):
        return False  # Mr. Smith, J. Smith
    if stop == "." and word in _MAY_END:
        return following.isupper()
    if stop == "." and len(before) == 1 and word.isdigit():
        return False  # 1. of a list
    return not (stop == "..." and following.islower())


def split_to_fit(text: str, fits: Callable[[str], bool]) -> list[str]:
    """The sentences of a text, those that do not fit cut between clauses, then words, then characters.

    Args:
        fits: whether a text fits the context, by the encoder's own tokenizer; a single character must.

    Returns:
        Pieces that all fit, in order; [] for a blank text.
    """
    pieces = []
    for sentence in split_sentences(text):
        pieces += [sentence] if fits(sentence) else _packed(_CLAUSE.split(sentence), " ", fits)
    return pieces


def _packed(parts: list[str], joint: str, fits: Callable[[str], bool]) -> list[str]:
    """Parts joined while they fit; a part that does not is taken apart itself."""
    pieces: list[str] = []
    for part in filter(None, parts):
        joined = f"{pieces[-1]}{joint}{part}" if pieces else part
        if pieces and fits(joined):
            pieces[-1] = joined
        elif fits(part) or len(part) == 1:
            pieces.append(part)
        else:
            words = part.split()
            pieces += _packed(words, " ", fits) if len(words) > 1 else _packed(list(part), "", fits)
    return pieces


def ends_sentence(text: str) -> bool:
    """Whether the text ends as a sentence does."""
    text = text.rstrip().rstrip(_CLOSING).rstrip()
    return bool(text) and text[-1] in _STOPS
