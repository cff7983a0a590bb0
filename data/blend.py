"""Which of a clip's captions it is shown with in training: an original one, or a synthetic one and at which level.

Betker et al. 2023 (DALL·E 3, section 3.3) train on 95 % synthetic captions and 5 % of those that came with the
pictures, so that the model also knows how people write.
"""

import hashlib
from collections.abc import Iterable, Mapping

ORIGINAL = "original"  # further ones of the same clip are "original 2", "original 3", …


def is_original(level: str) -> bool:
    """Whether a caption under this name came with its clip."""
    return level.split(" ")[0] == ORIGINAL


def draw_original(captions: Mapping[str, str], levels: Iterable[str], share: float, seed: int) -> str | None:
    """The name of the original caption that a clip is shown with, or None where it is a synthetic one's turn.

    A clip with both kinds is shown with an original in `share` of the draws, and each of its originals as often as
    the others. A clip without synthetic captions always is, one without originals never.

    Args:
        captions: by name.
        levels: of synthetic captions that may be drawn.
        share: in [0, 1].
        seed: of the sample; it alone decides.
    """
    originals = sorted(name for name, text in captions.items() if text and is_original(name))
    if not originals:
        return None
    turn, which = (uniform(seed, purpose) for purpose in ("origin", "which"))
    if any(captions.get(level) for level in levels) and turn >= share:
        return None
    return originals[int(which * len(originals))]


def uniform(seed: int, purpose: str) -> float:
    """A number in [0, 1) that follows from a seed and a purpose."""
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53
