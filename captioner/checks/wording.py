"""Faults of a caption that show in its words alone: empty, cut off, repetitive, a refusal, talk about the task.

Hedges ("perhaps", "appears to be") are no fault.
"""

import re
from collections import Counter

from .sentences import ends_sentence, split_sentences

# Words a caption of each level has, at least and at most. Two characters of Chinese or Japanese count as a word.
WORDS = {"short": (2, 40), "medium": (4, 120), "dense": (5, 500)}

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+(?:['’\-][^\W_{_CJK}]+)*")

_THING = r"(?:video|clip|footage|image|picture|photo|frames?|scene|sequence|animation|recording|film)s?"
_KIND = r"(?:(?:short|brief|given|provided|first|entire|whole|looping|video|animated)\s+)*"
_SHOWS = (
    r"(?:shows?|showing|depicts?|depicting|features?|featuring|captures?|capturing|presents?|displays?|portrays?"
    r"|illustrates?|showcases?|contains?|consists\s+of|is\s+(?:of|about|showing)|(?:begins?|starts?|opens?)\s+with)"
)
_VIEWER = r"(?:we|you|one|viewers?|the\s+viewer)\s+(?:can\s+)?(?:clearly\s+)?(?:see|observe|watch|notice)s?"
_PREAMBLES = (
    rf"(?:the|this|these|our)\s+{_KIND}{_THING}\s+(?:then\s+|also\s+|clearly\s+)?{_SHOWS}(?:\s+us)?(?:\s+that)?",
    rf"(?:in|within|throughout)\s+(?:the|this)\s+{_KIND}{_THING}\s*,?\s*"
    rf"(?:{_VIEWER}|there\s+(?:is|are)(?=\s))?(?:\s+that)?",
    rf"(?:this|it|here)\s+is\s+(?:a|an|the)\s+{_KIND}{_THING}\s+(?:of|{_SHOWS}|in\s+which|where)",
    rf"(?:a|an)\s+{_KIND}{_THING}\s+(?:of|{_SHOWS}|in\s+which|where)",
    _VIEWER + r"(?:\s+that)?",
    r"(?:sure|certainly|of\s+course|okay|ok|absolutely|great)\b\s*[,.!:]*(?:\s*here\s+(?:is|are|you\s+go))?"
    r"(?=\s*[,.!:]|\s+here)",
    r"here(?:\s+is|\s+are|['’]s)\s+(?:a|an|the|your|my)\s+(?:[\w-]+\s+){0,4}?"
    rf"(?:captions?|descriptions?|summary|rewrite)\b(?:\s+(?:of|for)\s+(?:the|this|your)\s+{_KIND}{_THING})?\s*[:.]?",
    r"(?:(?:dense|short|medium|detailed|brief|video|final|rewritten)\s+)*(?:caption|description|summary|answer)\s*:",
    rf"based\s+on\s+the\s+(?:given\s+|provided\s+)?(?:{_THING}|facts|information|description)\s*,?",
    r"as\s+an?\s+(?:AI|artificial\s+intelligence)(?:\s+(?:language\s+)?(?:model|assistant))?\s*,?",
)
_PREAMBLE = re.compile(rf"^\W*(?P<phrase>{'|'.join(_PREAMBLES)})(?=[\s,:.!]|$)[\s,:]*", re.IGNORECASE)
# Of these the whole phrase is not removed in vain: what is left begins with a verb, or is an answer about itself.
_SELF = re.compile(r"\bas an? (?:AI|artificial intelligence)\b", re.IGNORECASE)

_REFUSAL = re.compile(
    r"\b(?:I\s*(?:['’]m|\s+am)\s+(?:sorry|unable|not\s+able)|I\s+(?:cannot|can\s*not|can['’]t|could\s+not|couldn['’]t"
    r"|won['’]t|will\s+not|am\s+not\s+allowed)\s+(?:assist|help|provide|describe|caption|comply|fulfil+|view|see|watch"
    r"|access|identify|process|generate|write|do)|(?:unable|not\s+able)\s+to\s+(?:view|see|watch|access|process|describe)"
    rf"\s+(?:the|this|any|your)?\s*{_THING}|as\s+an?\s+AI\s+(?:language\s+)?(?:model|assistant)"
    r"|content\s+polic(?:y|ies)|usage\s+polic(?:y|ies)|against\s+my\s+(?:guidelines|programming)"
    rf"|(?:no|without\s+(?:a|any))\s+{_THING}\s+(?:was|were|is|has\s+been)\s+(?:provided|given|attached|uploaded)"
    rf"|please\s+(?:provide|upload|share)\s+(?:a|the|your)\s+{_THING})\b",
    re.IGNORECASE,
)
_MARKUP = re.compile(
    r"```|\*\*\S|^\s{0,3}#{1,6}\s|^\s*(?:[-*•]|\d+[.)])\s+\S|\]\(https?:|</?[a-z][\w-]*(?:\s[^<>]*)?/?>|<\|[^|]*\|>"
    r"|<(?:start|end|pad|unk|s)>|\[/?INST\]|^\s*[{\[]|\"\w+\"\s*:|\\n|\\u[0-9a-f]{4}|^\s*\|.*\|\s*$",
    re.IGNORECASE | re.MULTILINE,
)
# Words that no finished text ends with.
_DANGLING = frozenset((
    "a", "an", "the", "and", "or", "but", "of", "with", "to", "in", "on", "at", "by", "for", "from",
    "into", "as", "is", "are", "its", "their", "his", "her",
))  # fmt: skip


def words_of(text: str) -> list[str]:
    """Words in lower case, of any script; characters of Chinese and Japanese stand alone."""
    return _WORD.findall(text.lower())


def repetition(text: str) -> float:
    """Share of word triples that occurred before in the text, 0 to 1; texts of under four words repeat nothing."""
    words = words_of(text)
    triples = Counter(zip(words, words[1:], words[2:]))
    total = sum(triples.values())
    return (total - len(triples)) / total if total else 0.0


def preamble(text: str) -> str:
    """The phrase about the video or the task that a sentence begins with ("The video shows"), or ""."""
    for sentence in split_sentences(text):
        match = _PREAMBLE.match(sentence)
        if match:
            return match["phrase"].strip()
    match = _SELF.search(text)
    return match.group() if match else ""


def without_preamble(text: str) -> str:
    """The text without the phrase it begins with, and a capital in its place.

    Nothing else is changed: a text that is only a preamble stays as it is, and so does one about the writer
    ("As an AI …"), which is no caption without it either.
    """
    rest = text
    for _ in range(3):  # "Sure! Here is a caption: The video shows …"
        match = _PREAMBLE.match(rest)
        if match is None or _SELF.search(match["phrase"]):
            break
        after = rest[match.end() :].lstrip(' \t\n,:.!–—-"“')
        if not words_of(after):
            break
        rest = after
    return text if rest is text else rest[0].upper() + rest[1:]


def is_refusal(text: str) -> bool:
    """Whether the text declines to caption."""
    return bool(_REFUSAL.search(text))


def is_cut_off(text: str, level: str) -> bool:
    """Whether the text stops in the middle: without an end of sentence (short ones need none), or at "of the"."""
    words = words_of(text)
    if not words or ends_sentence(text):
        return False
    return level in ("medium", "dense") or words[-1] in _DANGLING or text.rstrip()[-1:] in (",", ";", ":", "-")


def wording_problems(text: str, level: str, *, finished: bool = True, max_repetition: float = 0.2) -> list[str]:
    """What is wrong with a caption's form, in words; [] if nothing is.

    Args:
        finished: False if the model was stopped at its limit of tokens.
        max_repetition: share of repeated word triples.
    """
    count, problems = _count(text), []
    if not count:
        return ["empty"]
    if is_refusal(text):
        problems.append("refused")
    if not finished or is_cut_off(text, level):
        problems.append("cut off")
    found = preamble(text)
    if found:
        problems.append(f"speaks of the video or the task: {found!r}")
    match = _MARKUP.search(text)
    if match:
        problems.append(f"markup: {match.group().strip()!r}")
    share = repetition(text)
    if share > max_repetition:
        problems.append(f"repeats itself: {share:.0%} of its word triples")
    least, most = WORDS.get(level, (1, 10_000))
    if not least <= count <= most:
        problems.append(f"{count:g} words; a {level} caption has {least} to {most}")
    return problems


def _count(text: str) -> float:
    return sum(0.5 if re.match(rf"[{_CJK}]", word) else 1 for word in words_of(text))
