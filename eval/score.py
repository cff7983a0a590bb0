"""From asked and measured words to score, chance, ceiling and share, with bootstrap intervals.

Each attribute of each prompt is asked as one word ("red", "left") and measured as one word. The score is the
share of clips whose words agree. It says little alone: a model that always moves left scores on every prompt that
asks for left, and the measure itself errs on perfect clips. So two marks stand beside it:

    chance    the score expected when the prompts are dealt to the clips at random, none to its own clip
    ceiling   the score of true clips of the prompts, by the same measure
    share     (score - chance) / (ceiling - chance): 0 is a model that ignores the prompt, 1 is as good as truth

Intervals are percentile bootstraps over prompts (Efron 1979); a prompt's sample and true clip are drawn together.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Result:
    """One attribute's result over `n` prompts; None where a mark does not exist."""

    n: int
    score: Estimate
    chance: Estimate | None  # None: every prompt asks the same, so shuffling changes nothing
    ceiling: Estimate | None  # None: no true clips were measured
    share: Estimate | None  # None: no chance or no ceiling, or the ceiling is not above chance

    def to_dict(self) -> dict:
        """Plain dictionaries, as in report.json."""
        return asdict(self)


def score(asked: Sequence[str], measured: Sequence[str]) -> float:
    """Share of positions whose words agree, 0 to 1."""
    return float((_words(asked, measured)[0] == np.asarray(measured)).mean())


def chance(asked: Sequence[str], measured: Sequence[str]) -> float:
    """Expected score over all derangements of the prompts, 0 to 1.

    Under a random derangement each clip meets every other prompt equally often, so the expectation is the mean of
    the agreements off the diagonal; nothing is drawn.
    """
    asked_words, measured_words = _words(asked, measured)
    n = len(asked_words)
    if n < 2:
        raise ValueError(f"chance needs at least 2 prompts to shuffle; it got {n}")
    agree = measured_words[:, None] == asked_words[None, :]
    return float((agree.sum() - np.trace(agree)) / (n * (n - 1)))


def share(score: float, chance: float, ceiling: float) -> float:
    """(score - chance) / (ceiling - chance); may lie outside 0 to 1."""
    if ceiling <= chance:
        raise ValueError(f"the ceiling, {ceiling}, is not above chance, {chance}: the measure tells nothing")
    return (score - chance) / (ceiling - chance)


def summarise(
    asked: Sequence[str],
    measured: Sequence[str],
    truth: Sequence[str] | None = None,
    *,
    samples: int = 2000,
    seed: int = 0,
) -> Result:
    """Score, chance, ceiling and share of one attribute with 95 % intervals.

    Args:
        asked: one word per prompt.
        measured: one word per sampled clip, in the order of the prompts.
        truth: one word per true clip, in the same order; None leaves out ceiling and share.
        samples: bootstrap samples.
        seed: of the bootstrap.
    """
    asked_words, measured_words = _words(asked, measured)
    truth_words = None if truth is None else _words(asked, truth)[1]
    n = len(asked_words)
    # How often each prompt is drawn, per bootstrap sample.
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=samples)
    weights = np.concatenate([np.ones((1, n)), draws]).astype(float)  # row 0: the prompts as they are

    scores = weights @ (measured_words == asked_words) / n
    chances = _chances(weights, asked_words, measured_words) if len(set(asked)) > 1 else None
    ceilings = None if truth_words is None else weights @ (truth_words == asked_words) / n
    shares = None
    if chances is not None and ceilings is not None and ceilings[0] > chances[0]:
        room = ceilings - chances
        shares = np.divide(scores - chances, room, out=np.full_like(room, np.nan), where=room > 0)
    return Result(
        n=n,
        score=_estimate(scores),
        chance=None if chances is None else _estimate(chances),
        ceiling=None if ceilings is None else _estimate(ceilings),
        share=None if shares is None else _estimate(shares),
    )


def _chances(weights: np.ndarray, asked: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Chance of each bootstrap sample; pairs of a prompt with its own clip stay out, also when drawn twice."""
    agree = (measured[:, None] == asked[None, :]).astype(float)
    np.fill_diagonal(agree, 0)
    pairs = weights.sum(1) ** 2 - (weights**2).sum(1)
    return np.divide(((weights @ agree) * weights).sum(1), pairs, out=np.full_like(pairs, np.nan), where=pairs > 0)


def _estimate(values: np.ndarray) -> Estimate:
    drawn = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (values[0], values[0])
    return Estimate(float(values[0]), float(low), float(high))


def _words(asked: Sequence[str], measured: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    if len(asked) != len(measured) or not len(asked):
        raise ValueError(
            f"{len(asked)} words were asked and {len(measured)} measured; they need to be as many, at least one"
        )
    return np.asarray(asked, dtype=object), np.asarray(measured, dtype=object)
