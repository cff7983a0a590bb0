"""The measures beside the marks: what clips are like, and whether they obey the world, each beside true clips.

    found = measures(samples, truth, prompts, features=lambda clips: judge.video_features(…))
    build_report(…, measures=found)

Every prompt counts the same, however many clips it has. Intervals are 95 % percentile bootstraps over prompts
(Efron 1979), true clips drawn with their prompts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from . import physics, quality
from .clip_facts import Facts, Features, Groups, Key, gather
from .judge.reading import Reading
from .marks import FEWEST
from .questions import ExamPrompt
from .store import Clip

LEAST_CLIPS = 16  # on each side of a Fréchet distance
Estimate = tuple[float, float, float]  # value, low, high


def measures(
    samples: Mapping[Key, tuple[Clip, Reading]],
    truth: Mapping[Key, tuple[Clip, Reading]],
    prompts: Sequence[ExamPrompt],
    *,
    features: Features | None = None,
    side: int | None = None,
    draws: int = 500,
    splits: int = 20,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, dict[str, Any]]:
    """All measures of a system's clips, in the report's form.

    Args:
        samples: (prompt id, seed) to the sampled clip and the pixel judge's reading of it; fetched one by one,
            so a mapping that reads them from disk does.
        truth: the same of true clips; their seeds need not be the samples'. With two or more a prompt, floors are
            of the same prompts.
        prompts: the exam's list.
        features: clips to (N, D); None leaves Fréchet distance and diversity out.
        side: pixels of the shorter side at which sharpness and flicker are taken; None: the smaller of the first
            sample's and the first true clip's.
        draws: bootstrap draws.
        splits: of the true clips into halves, over which floors are averaged.
        seed: of draws and splits.
        progress: show a bar.

    Returns:
        Name to {"value", "floor", "low", "high", "unit", "meaning"}; numbers are None where too few clips could be
        measured, and the meaning says how many could.

    Raises:
        ValueError: no clips, or a clip of a prompt that is not in the list.
    """
    if not samples or not truth:
        raise ValueError(f"there are {len(samples)} samples and {len(truth)} true clips; it needs both")
    listed = {prompt.id: prompt for prompt in prompts}
    strange = sorted({name for name, _ in (*samples, *truth)} - set(listed))
    if strange:
        raise ValueError(f"clips of {len(strange)} prompts that are not in the list: {', '.join(strange[:8])}")
    firsts = [next(iter(clips.values()))[0] for clips in (samples, truth)]
    least = side or min(min(clip.frames.shape[1:3]) for clip in firsts)
    bar = tqdm(total=len(samples) + len(truth), desc="measuring", unit="clip", disable=not progress, leave=False)
    with bar:
        found, true = (gather(clips, listed, features, least, bar) for clips in (samples, truth))
    chance = _Chance(draws, splits, seed)
    results = {}
    if features is not None:
        results["Fréchet distance"] = _frechet(found, true, chance)
    results["sharpness"] = _sharpness(found, true, chance)
    results["flicker"] = _flicker(found, true, listed, chance)
    if features is not None:
        results["diversity"] = _diversity(found, true, chance)
    return results | _physics(found, true, listed, chance)


@dataclass(frozen=True)
class _Chance:
    """Where random draws come from; each measure gets the same."""

    draws: int
    splits: int
    seed: int

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def estimate(self, statistic: Callable[[np.ndarray], float], count: int) -> Estimate:
        """A statistic of the numbers of drawn prompts, for all `count` prompts and with its interval."""
        rng = self.rng()
        drawn = [statistic(rng.integers(count, size=count)) for _ in range(self.draws)]
        low, high = np.nanquantile(drawn, [0.025, 0.975])
        return float(statistic(np.arange(count))), float(low), float(high)

    def factor_apart(self, ratio: Callable[[np.random.Generator], float]) -> float:
        """Mean factor, at least 1, by which the ratios of random halves miss 1."""
        rng = self.rng()
        return float(np.exp(np.mean([abs(np.log(ratio(rng))) for _ in range(self.splits)])))


def _frechet(found: Groups, true: Groups, chance: _Chance) -> dict[str, Any]:
    both = sorted(set(found) & set(true))
    by_seed = bool(both) and min(len(true[name]) for name in both) > 1
    rng, parts = chance.rng(), []
    for _ in range(chance.splits):
        parts.append(_halves(found, true, both, rng, by_seed))
    clips = sum(len(unit[0]) for unit in parts[0])
    halves = (
        "two disjoint halves of each prompt's true clips" if by_seed else "the true clips of halves of the prompts"
    )
    meaning = (
        "Squared Fréchet distance |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½) of Gaussians fitted to video features of "
        f"sampled and true clips; floor: {halves}. Lower is better; at the floor, samples are "
        f"as near to true clips as true clips are. {clips} clips on each side of both, mean of {chance.splits} "
        "random splits; it depends on that number. "
    )
    if clips < LEAST_CLIPS:
        return _entry(None, None, "", meaning + f"Not taken: it needs {LEAST_CLIPS} clips on each side.")
    axes = quality.leading_axes(np.stack([facts.features for name in both for facts in true[name]]), clips)
    meaning += f"Covariances in the {axes.shape[1]} main directions of true clips, the rest as spread evenly."

    def distance(units: Sequence[tuple[np.ndarray, ...]], which: int) -> float:
        sides = [np.concatenate([unit[n] for unit in units]) for n in (0, which)]
        return quality.frechet_distance(*sides, axes=axes)

    value, floor = (float(np.mean([distance(units, which) for units in parts])) for which in (2, 1))
    drawn = []
    for draw in range(chance.draws):
        units = parts[draw % len(parts)]
        drawn.append(distance([units[n] for n in rng.integers(len(units), size=len(units))], 2))
    # A clip that is drawn twice makes the distance larger: only the draws' spread is used.
    low, high = np.quantile(drawn, [0.025, 0.975]) - np.mean(drawn) + value
    return _entry((value, max(float(low), 0.0), float(high)), floor, "", meaning)


def _halves(
    found: Groups, true: Groups, both: Sequence[str], rng: np.random.Generator, by_seed: bool
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Units that are drawn together: features (n, D) of true clips, of other true clips, and of samples.

    Samples are of the same prompts as the other true clips, so both are as far from the first in what they show.
    """

    def rows(group: list[Facts], count: int, skip: int = 0) -> np.ndarray:
        return np.stack([group[n].features for n in order[id(group)][skip : skip + count]])

    order = {id(group): rng.permutation(len(group)) for groups in (found, true) for group in groups.values()}
    units = []
    if by_seed:
        for name in both:
            count = min(len(true[name]) // 2, len(found[name]))
            one, other = rows(true[name], count), rows(true[name], count, count)
            units.append((one, other, rows(found[name], count)))
        return units
    dealt: list[str] = rng.permutation(list(both)).tolist()
    for n in range(0, len(dealt) - 1, 2):
        first, second = dealt[n], dealt[n + 1]
        count = min(len(true[first]), len(true[second]), len(found[second]))
        units.append((rows(true[first], count), rows(true[second], count), rows(found[second], count)))
    return units


def _sharpness(found: Groups, true: Groups, chance: _Chance) -> dict[str, Any]:
    both = sorted(set(found) & set(true))
    logs = [
        {name: np.log([facts.sharpness for facts in groups[name]]) for name in both} for groups in (found, true)
    ]
    ratios = np.array([logs[0][name].mean() - logs[1][name].mean() for name in both])
    halved = [name for name in both if len(true[name]) > 1]

    def ratio(rng: np.random.Generator) -> float:
        halves = [_halved(logs[1][name], rng) for name in halved]
        return float(np.exp(np.mean([one.mean() - other.mean() for one, other in halves])))

    meaning = (
        "Mean squared gradient of the luma over its variance, samples over true clips of the same prompts "
        "(geometric mean). 1 is as sharp as truth, less is blurred, more is noisy. " + _floor_words(len(halved))
    )
    value = _mean(ratios, chance)
    estimate = value and tuple(float(np.exp(each)) for each in value)
    return _entry(estimate, _factor(ratio, len(halved), chance), "×", meaning + _counted("", len(both), found))


def _flicker(found: Groups, true: Groups, listed: Mapping[str, ExamPrompt], chance: _Chance) -> dict[str, Any]:
    meaning = (
        "Mean |x(t+1) - 2 x(t) + x(t-1)| of the stiller half of the pixels, in levels of 255, of prompts with a "
        "still camera; floor: the same of true clips. Lower is steadier; 0 is no change at all. "
    )
    wanted = {name for name, prompt in listed.items() if prompt.camera in (None, "static")}
    return _own(found, true, wanted, lambda facts: facts.flicker, "levels", meaning, chance)


def _diversity(found: Groups, true: Groups, chance: _Chance) -> dict[str, Any]:
    both = sorted(name for name in set(found) & set(true) if min(len(found[name]), len(true[name])) > 1)
    far = np.array(
        [[quality.mean_distance(_rows(groups[name])) for name in both] for groups in (found, true)]
    ).reshape(2, -1)
    halved = [name for name in both if len(true[name]) > 3]

    def ratio(rng: np.random.Generator) -> float:
        halves = [_halved(_rows(true[name]), rng) for name in halved]
        one, other = (sum(quality.mean_distance(pair[n]) for pair in halves) for n in (0, 1))
        return one / other

    meaning = (
        "Mean distance in video features between the clips of one prompt, over that between its true clips. 0: "
        "every seed gives the same clip; 1: as varied as truth. " + _floor_words(len(halved))
    )
    usable = len(both) >= FEWEST and bool((far[1] > 0).all())
    estimate = chance.estimate(lambda n: far[0, n].sum() / far[1, n].sum(), len(both)) if usable else None
    floor = _factor(ratio, len(halved), chance)
    return _entry(estimate, floor, "×", meaning + _counted("with two clips or more ", len(both), found))


def _physics(
    found: Groups, true: Groups, listed: Mapping[str, ExamPrompt], chance: _Chance
) -> dict[str, dict[str, Any]]:
    def own(asks: Callable[[ExamPrompt], bool], pick: Callable[[Facts], float | None], unit: str, meaning: str):
        wanted = {name for name, prompt in listed.items() if asks(prompt)}
        return _own(found, true, wanted, pick, unit, meaning, chance)

    return {
        "object permanence": own(
            physics.asks_hiding,
            lambda facts: facts.hiding and float(facts.hiding.unchanged),
            "",
            "Share of the clips of passing behind and circling that show the thing before, hidden by the other, "
            "and after with the same kind and colour and as many things in the picture. Higher is better; floor: "
            "the same of true clips. ",
        ),
        "unchanged once hidden": own(
            physics.asks_hiding,
            lambda facts: float(facts.hiding.unchanged) if facts.hiding and facts.hiding.hidden else None,
            "",
            "The same share, of those clips alone in which the thing is seen and then hidden; one that does not "
            "come out again counts against it. Higher is better; floor: the same of true clips. ",
        ),
        "bounce arcs": own(
            physics.asks_bouncing,
            lambda facts: facts.bouncing and facts.bouncing.misfit,
            "",
            "Bounces and hops: RMS distance of the track from parabolas with one acceleration, up and down and in "
            "every bounce, over the height of the bounces. Lower is better; 0 is free flight; floor: the same of "
            "true clips. ",
        ),
        "bounce heights": own(
            physics.asks_bouncing,
            lambda facts: facts.bouncing and facts.bouncing.unevenness,
            "",
            "Bounces and hops: mean difference between one apex and the next, over the height of the bounces. "
            "Lower is better; 0 is without loss, as true bounces are; floor: the same of true clips. ",
        ),
        "falls speed up": own(
            physics.asks_falling,
            lambda facts: facts.falling and facts.falling.evidence,
            "",
            "Falls until they land: V / (G + V) of the squared residuals G of y0 + g (t - t0)² / 2 and V of a "
            "constant speed. 1: only a constant acceleration fits; 0.5: both do alike; 0: only a constant speed. "
            "Higher is better; floor: the same of true clips. ",
        ),
        "gravity": _gravity(found, true, listed, chance),
    }


def _gravity(found: Groups, true: Groups, listed: Mapping[str, ExamPrompt], chance: _Chance) -> dict[str, Any]:
    def fell(group: list[Facts]) -> np.ndarray:
        return np.array([facts.falling.gravity for facts in group if facts.falling is not None])

    asked = [name for name in sorted(set(found) & set(true)) if physics.asks_falling(listed[name])]
    pairs = [(fell(found[name]), fell(true[name])) for name in asked]
    pairs = [pair for pair in pairs if len(pair[0]) and len(pair[1])]

    def median_ratio(sides: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
        one, other = (np.median(np.concatenate([pair[n] for pair in sides])) for n in (0, 1))
        return float(one / other) if other > 0 else float("nan")

    halved = [truth for _, truth in pairs if len(truth) > 1]
    meaning = (
        "Falls: median acceleration of the samples, in heights of the thing per s², over that of the true clips "
        "of the same prompts. 1 is as in truth, less is floating. " + _floor_words(len(halved))
    )
    enough = len(pairs) >= FEWEST
    estimate = chance.estimate(lambda n: median_ratio([pairs[i] for i in n]), len(pairs)) if enough else None
    floor = _factor(lambda rng: median_ratio([_halved(truth, rng) for truth in halved]), len(halved), chance)
    usable = sum(len(pair[0]) for pair in pairs)
    total = sum(len(found[name]) for name in asked)
    return _entry(estimate, floor, "×", meaning + _usable(usable, total, len(pairs)))


def _own(
    found: Groups,
    true: Groups,
    wanted: set[str],
    pick: Callable[[Facts], float | None],
    unit: str,
    meaning: str,
    chance: _Chance,
) -> dict[str, Any]:
    """A measure that every clip has by itself; None of `pick` is a clip that cannot be measured."""
    means, total, usable = [], [0, 0], [0, 0]
    for number, groups in enumerate((found, true)):
        values = {name: [pick(facts) for facts in groups[name]] for name in sorted(wanted & set(groups))}
        total[number] = sum(map(len, values.values()))
        kept = {name: [value for value in some if value is not None] for name, some in values.items()}
        usable[number] = sum(map(len, kept.values()))
        means.append(np.array([np.mean(some) for some in kept.values() if some]))
    floor = float(means[1].mean()) if len(means[1]) >= FEWEST else None
    counts = _usable(usable[0], total[0], len(means[0])) + f" Of the true clips {usable[1]} of {total[1]}."
    return _entry(_mean(means[0], chance), floor, unit, meaning + counts)


def _mean(values: np.ndarray, chance: _Chance) -> Estimate | None:
    return chance.estimate(lambda n: values[n].mean(), len(values)) if len(values) >= FEWEST else None


def _rows(group: list[Facts]) -> np.ndarray:
    return np.stack([facts.features for facts in group])


def _halved(rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint halves, of equal size, of the rows in random order."""
    order, half = rng.permutation(len(rows)), len(rows) // 2
    return rows[order[:half]], rows[order[half : 2 * half]]


def _factor(ratio: Callable[[np.random.Generator], float], halved: int, chance: _Chance) -> float:
    return chance.factor_apart(ratio) if halved >= FEWEST else 1.0


def _floor_words(halved: int) -> str:
    if halved >= FEWEST:
        return "Floor: the factor by which disjoint halves of the true clips are apart, up or down, on average. "
    return "Floor: 1 by definition; the true clips have too few seeds to be halved. "


def _counted(what: str, prompts: int, found: Groups) -> str:
    few = f"; it needs {FEWEST}" if prompts < FEWEST else ""
    return f"{prompts} of {len(found)} prompts {what}could be measured{few}."


def _usable(usable: int, total: int, prompts: int) -> str:
    few = f"; it needs {FEWEST} prompts" if prompts < FEWEST else ""
    return f"{usable} of {total} clips could be measured, of {prompts} prompts{few}."


def _entry(estimate: Any, floor: float | None, unit: str, meaning: str) -> dict[str, Any]:
    value, low, high = estimate if estimate and np.isfinite(estimate).all() else (None, None, None)
    return {"value": value, "floor": floor, "low": low, "high": high, "unit": unit, "meaning": meaning}
