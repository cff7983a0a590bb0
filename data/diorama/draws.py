"""Random draws that are a pure function of a key, the same on every machine and Python version."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


class Draws:
    """A stream of draws named by its key, e.g. `Draws("scene", seed, index)`."""

    def __init__(self, *key: object):
        digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
        self._random = random.Random(int.from_bytes(digest, "big")).random

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high), rounded to 4 digits so that its JSON form is exact and short."""
        return round(low + (high - low) * self._random(), 4)

    def integer(self, low: int, high: int) -> int:
        """A whole number in low … high, both included."""
        return low + int(self._random() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._random() < probability

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, all equally likely."""
        return options[int(self._random() * len(options))]

    def weighted(self, options: Mapping[T, float]) -> T:
        """One of the keys, in proportion to its weight."""
        point = self._random() * sum(options.values())
        for option, weight in options.items():
            point -= weight
            if point < 0:
                return option
        return list(options)[-1]
