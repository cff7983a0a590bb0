"""Packing clips of different shapes into sequences of at most a token budget.

Packed clips attend only within themselves, so `starts` (cumulative token counts) is all that a block-diagonal
attention needs, and the loss equals that of the clips one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Pack:
    """One sequence: which clips it holds, in order, and where each begins.

    `starts` has one entry more than `indices`: clip k holds the tokens from starts[k] to starts[k + 1].
    """

    indices: tuple[int, ...]
    starts: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens that are used."""
        return self.starts[-1]


def pack(token_counts: Sequence[int], budget: int) -> list[Pack]:
    """Put clips into as few sequences as first-fit decreasing finds (at most 11/9 of the least, Johnson 1973).

    Args:
        token_counts: tokens of each clip.
        budget: most tokens of one sequence.

    Returns:
        Sequences that together hold every clip once; the result depends on the arguments alone.

    Raises:
        ValueError: a clip without tokens, or with more than the budget.
    """
    for index, count in enumerate(token_counts):
        if not 0 < count <= budget:
            raise ValueError(
                f"clip {index} has {count} tokens and a sequence holds 1 to {budget}; "
                "raise the budget, or shorten or shrink the clip"
            )
    rooms: list[int] = []
    members: list[list[int]] = []
    for index in sorted(range(len(token_counts)), key=lambda i: (-token_counts[i], i)):
        count = token_counts[index]
        place = next((k for k, room in enumerate(rooms) if room >= count), None)
        if place is None:
            rooms.append(budget)
            members.append([])
            place = len(rooms) - 1
        rooms[place] -= count
        members[place].append(index)
    packs = []
    for indices in members:
        starts = [0]
        for index in indices:
            starts.append(starts[-1] + token_counts[index])
        packs.append(Pack(tuple(indices), tuple(starts)))
    return packs


def padding_share(packs: Sequence[Pack], budget: int) -> float:
    """The share of tokens that are padding when every sequence is filled up to the budget."""
    return 1 - sum(p.tokens for p in packs) / (len(packs) * budget) if packs else 0.0
