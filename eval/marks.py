"""From right and wrong answers to score, chance, ceilings and share, with bootstrap intervals.

A judge says of each clip whether it shows what its prompt asks, attribute by attribute. That score says little
alone: a model that always moves left is right whenever left is asked, and the judge errs on perfect clips. So
beside it stand, for each attribute and tier:

    chance         the score when the prompts are dealt to the clips at random, none to its own clip
    ceiling_true   the score of true clips of the prompts, by the same judge
    ceiling_vae    the same after the model's autoencoder: what its samples could reach at most
    share          (score - chance) / (ceiling_true - chance): 0 ignores the prompt, 1 is as good as truth
    share_vae      the same with the autoencoder's ceiling
    kept           ceiling_vae / ceiling_true: what the autoencoder leaves of what the judge can read

Every prompt counts the same, however many clips it has. Intervals are 95 % percentile bootstraps over prompts
(Efron 1979): a prompt is drawn with all its seeds, its true clips and its reconstructions. All attributes of a
tier, and both systems of a comparison, see the same draws.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from .questions import ATTRIBUTES, ExamPrompt, digest
from .sitting import SYSTEMS, ClipAnswers, Sitting

TIERS = ("P", "A", "B", "C")
MARKS = ("score", "chance", "ceiling_true", "ceiling_vae", "share", "share_vae")
FEWEST = 4  # prompts; with fewer an interval of a share would mean nothing
LOST = 0.05  # of the draws: with more that have no room between chance and ceiling, there is no share


@dataclass(frozen=True)
class Estimate:
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Mark:
    """One attribute's marks in one tier; None where a mark does not exist.

    Attributes:
        n_prompts, n_clips: prompts that ask the attribute, and their sampled clips.
        chance: None with a single prompt: nothing can be dealt.
        ceiling_true, ceiling_vae: None where there are no such clips.
        share, share_vae: None without chance or ceiling, with fewer than 4 prompts, or where the ceiling is not
            above chance in at least 95 % of the draws: then the attribute tells nothing about these prompts.
        chance_true: chance of the true clips, if they were held to other prompts.
        kept: None without both ceilings.
    """

    n_prompts: int
    n_clips: int
    score: Estimate
    chance: Estimate | None
    ceiling_true: Estimate | None
    ceiling_vae: Estimate | None
    share: Estimate | None
    share_vae: Estimate | None
    chance_true: Estimate | None = None
    kept: Estimate | None = None


@dataclass(frozen=True)
class TierMarks:
    """A tier's attributes, and their plain mean over those that have a share (None: none has)."""

    attributes: dict[str, Mark]
    mean: Mark | None


@dataclass(frozen=True)
class Difference:
    """System b less system a; "better" and "worse" speak of b and need an interval that leaves out 0.

    The verdict is of the share where both have one, otherwise of the score.
    """

    n_prompts: int
    score: Estimate
    share: Estimate | None
    verdict: Literal["better", "worse", "no difference"]


@dataclass(frozen=True)
class TierDifferences:
    """A tier's differences by attribute, and that of the mean over those that have a share in both systems."""

    attributes: dict[str, Difference]
    mean: Difference | None


def marks(sitting: Sitting, *, draws: int = 2000, seed: int = 0) -> dict[str, TierMarks]:
    """Marks of each attribute in each tier that the prompts have.

    Args:
        sitting: the exam's answers; their order does not matter.
        draws: bootstrap draws.
        seed: of the bootstrap.
    """
    tiers = {}
    for tier in _tiers(sitting):
        curves = _curves(sitting, tier, draws, seed)
        attributes = {name: mark for name, curve in curves.items() if (mark := _mark(curve))}
        shared = [curves[name] for name, mark in attributes.items() if mark.share]
        tiers[tier] = TierMarks(attributes, _mark(_mean(shared)) if shared else None)
    return tiers


def compare(a: Sitting, b: Sitting, *, draws: int = 2000, seed: int = 0) -> dict[str, TierDifferences]:
    """How b differs from a, with the same prompts drawn in both.

    Of 20 attributes that do not differ, one is called better or worse by accident.

    Raises:
        ValueError: the two sat other prompts.
    """
    if digest(sorted(a.prompts, key=_id)) != digest(sorted(b.prompts, key=_id)):
        ids = {prompt.id for prompt in a.prompts}, {prompt.id for prompt in b.prompts}
        raise ValueError(
            f"the two exams have other prompts ({len(ids[0] - ids[1])} only in the first, {len(ids[1] - ids[0])} "
            "only in the second, or other words under one id); sit the same list in both"
        )
    tiers = {}
    for tier in _tiers(a):
        first, second = (_curves(sitting, tier, draws, seed) for sitting in (a, b))
        pairs = {name: _difference(first[name], second[name]) for name in first}
        attributes = {name: difference for name, difference in pairs.items() if difference}
        shared = [name for name, difference in attributes.items() if difference.share]
        mean = [_mean([curves[name] for name in shared]) for curves in (first, second)] if shared else None
        tiers[tier] = TierDifferences(attributes, _difference(*mean) if mean else None)
    return tiers


def to_dict(tiers: Mapping[str, TierMarks | TierDifferences]) -> dict[str, Any]:
    """Plain dictionaries of the results of `marks` or `compare`: tier to {"attributes": {name: …}, "mean": …}."""
    return {tier: asdict(result) for tier, result in tiers.items()}


@dataclass(frozen=True)
class _Curve:
    """An attribute's marks for each draw; element 0 is the prompts as they are."""

    n_prompts: int
    n_clips: int
    marks: dict[str, np.ndarray]  # (1 + draws,); NaN: too few prompts drawn; infinite: no room for a share


def _curves(sitting: Sitting, tier: str, draws: int, seed: int) -> dict[str, _Curve]:
    numbers = [n for n, prompt in enumerate(sitting.prompts) if prompt.tier == tier]
    numbers.sort(key=lambda n: sitting.prompts[n].id)  # so that the order of the list does not matter
    total = len(numbers)
    drawn = np.random.default_rng([seed, TIERS.index(tier)]).multinomial(
        total, np.full(total, 1 / total), size=draws
    )
    weights = np.concatenate([np.ones((1, total)), drawn]).astype(float)
    curves = {}
    for name in ATTRIBUTES:
        columns = [c for c, n in enumerate(numbers) if name in sitting.asked[n]]
        if columns:
            asking = [numbers[c] for c in columns]
            curves[name] = _curve(sitting, name, asking, weights[:, columns])
    return curves


def _curve(sitting: Sitting, name: str, asking: list[int], weights: np.ndarray) -> _Curve:
    clips: dict[str, dict[int, list[ClipAnswers]]] = {system: defaultdict(list) for system in SYSTEMS}
    wanted = set(asking)
    for system, found in clips.items():
        for clip in getattr(sitting, system):
            if clip.prompt in wanted:
                found[clip.prompt].append(clip)

    def score(system: str) -> np.ndarray:
        if not clips[system]:
            return np.full(len(weights), np.nan)
        rights = np.array([np.mean([clip.own[name] for clip in clips[system][n]]) for n in asking])
        return _ratio(weights @ rights, weights.sum(1))

    def chance(system: str) -> np.ndarray:
        """Over pairs of a clip's prompt and a dealt one, each pair as often as both are drawn."""
        if not clips[system] or not all(clip.others for found in clips[system].values() for clip in found):
            return np.full(len(weights), np.nan)
        place = {number: column for column, number in enumerate(asking)}
        hits, pairs = np.zeros((len(asking),) * 2), np.zeros((len(asking),) * 2)
        for number in asking:
            dealt = [place[other] for other in sitting.dealt[number][name]]
            pairs[place[number], dealt] = 1
            hits[place[number], dealt] = np.mean([clip.others[name] for clip in clips[system][number]], axis=0)
        return _ratio(((weights @ hits) * weights).sum(1), ((weights @ pairs) * weights).sum(1))

    values = {
        "score": score("samples"),
        "chance": chance("samples"),
        "ceiling_true": score("truth"),
        "ceiling_vae": score("vae"),
        "chance_true": chance("truth"),
    }
    values["kept"] = _ratio(values["ceiling_vae"], values["ceiling_true"])
    above = values["score"] - values["chance"]
    for share, ceiling in (("share", "ceiling_true"), ("share_vae", "ceiling_vae")):
        room = values[ceiling] - values["chance"]
        shares = _ratio(above, room)
        shares[room <= 0] = np.inf
        values[share] = shares if len(asking) >= FEWEST else np.full_like(shares, np.nan)
    return _Curve(len(asking), sum(map(len, clips["samples"].values())), values)


def _mean(curves: Sequence[_Curve]) -> _Curve:
    return _Curve(
        n_prompts=sum(curve.n_prompts for curve in curves),
        n_clips=sum(curve.n_clips for curve in curves),
        marks={name: np.mean([curve.marks[name] for curve in curves], axis=0) for name in curves[0].marks},
    )


def _mark(curve: _Curve) -> Mark | None:
    found = {name: _estimate(values) for name, values in curve.marks.items()}
    score = found.pop("score")
    return score and Mark(n_prompts=curve.n_prompts, n_clips=curve.n_clips, score=score, **found)


def _difference(a: _Curve, b: _Curve) -> Difference | None:
    score = _estimate(b.marks["score"] - a.marks["score"])
    with np.errstate(invalid="ignore"):  # no room less no room
        share = _estimate(b.marks["share"] - a.marks["share"])
    judged = share or score
    if not score or not judged:
        return None
    verdict = "better" if judged.low > 0 else "worse" if judged.high < 0 else "no difference"
    return Difference(a.n_prompts, score, share, verdict)


def _estimate(values: np.ndarray) -> Estimate | None:
    """The value as it is with percentiles of its draws; None where it, or too many of the draws, do not exist."""
    drawn = values[1:][~np.isnan(values[1:])]
    there = drawn[np.isfinite(drawn)]
    if not np.isfinite(values[0]) or len(drawn) < LOST * len(values) or len(there) < (1 - LOST) * len(drawn):
        return None
    low, high = np.quantile(there, [0.025, 0.975])
    return Estimate(float(values[0]), float(low), float(high))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below; NaN where below is not positive or not a number."""
    positive = below > 0
    return np.divide(above, below, out=np.full(below.shape, np.nan), where=positive)


def _tiers(sitting: Sitting) -> list[str]:
    return [tier for tier in TIERS if any(prompt.tier == tier for prompt in sitting.prompts)]


def _id(prompt: ExamPrompt) -> str:
    return prompt.id
