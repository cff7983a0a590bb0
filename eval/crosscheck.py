"""Cross-checks of the pixel judge: a hue rule that nothing was trained for, and the similarity judge's likeness.

A generator that only fooled the labeller would part them from its marks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..data.diorama.scene import COLOURS
from .judge.reading import Reading
from .judge.similar import SimilarityJudge
from .questions import ExamPrompt
from .store import Clip

DRAWS = 1000
BATCH = 32  # clips held to their texts at once
Seen = Mapping[tuple[str, int], tuple[Clip, Reading]]  # by prompt id and seed


def hue_agreement(
    samples: Mapping[tuple[str, int], Reading],
    truth: Mapping[tuple[str, int], Reading],
    prompts: Sequence[ExamPrompt],
) -> dict[str, Any] | None:
    """Share of clips in which labeller and hue rule call the main thing's colour alike, in the card's form.

    Prompts that ask for one plain thing in a colour count; None if there is no such clip. The floor is the same
    share on true clips. The interval is a bootstrap over prompts.
    """
    plain = {
        prompt.id
        for prompt in prompts
        if len(prompt.objects) == 1 and prompt.objects[0].colour and not prompt.objects[0].colour_to
        and not prompt.style and not prompt.objects[0].material and not prompt.objects[0].pattern
    }  # fmt: skip
    value, low, high = _share(samples, plain)
    if value is None:
        return None
    return {
        "value": value,
        "floor": _share(truth, plain)[0],
        "low": low,
        "high": high,
        "unit": "share",
        "meaning": "Clips of one plain thing in which a hue rule that nothing was trained for names its colour as "
        "the labeller does; far below the true clips' share, the labeller's colours are not to be trusted.",
    }


def text_likeness(
    samples: Seen, truth: Seen, prompts: Sequence[ExamPrompt], judge: SimilarityJudge
) -> dict[str, Any]:
    """Mean cosine of clips and their prompts' texts in the similarity judge, in the card's form.

    Every prompt counts the same; the interval is a bootstrap over prompts.
    """
    value, low, high = _mean_likeness(samples, prompts, judge)
    return {
        "value": value,
        "floor": _mean_likeness(truth, prompts, judge)[0],
        "low": low,
        "high": high,
        "unit": "",
        "meaning": "Mean cosine of a clip and its prompt's text in the similarity judge, which serves nothing "
        "but measuring. Higher is better; floor: the same of true clips.",
    }


def _mean_likeness(
    clips: Seen, prompts: Sequence[ExamPrompt], judge: SimilarityJudge
) -> tuple[float, float, float]:
    texts = {prompt.id: prompt.text for prompt in prompts}
    found: dict[str, list[float]] = {}
    keys = sorted(clips)
    for start in range(0, len(keys), BATCH):
        part = keys[start : start + BATCH]
        shown = [clips[key][0] for key in part]
        for rate in {clip.fps for clip in shown}:
            own = [n for n, clip in enumerate(shown) if clip.fps == rate]
            cosines = judge.similarity([shown[n].frames for n in own], [texts[part[n][0]] for n in own], rate)
            for n, cosine in zip(own, cosines, strict=True):
                found.setdefault(part[n][0], []).append(float(cosine))
    return _estimate([float(np.mean(each)) for each in found.values()])


def _estimate(shares: Sequence[float]) -> tuple[float, float, float]:
    """The mean over prompts and its 95 % interval."""
    values = np.array(shares)
    draws = np.random.default_rng(0).integers(0, len(values), (DRAWS, len(values)))
    low, high = np.quantile(values[draws].mean(1), [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def _share(
    readings: Mapping[tuple[str, int], Reading], plain: set[str]
) -> tuple[float | None, float | None, float | None]:
    agreed: dict[str, list[bool]] = {}
    for (name, _), reading in readings.items():
        if name in plain and reading.things:
            thing = reading.things[0]
            agreed.setdefault(name, []).append(COLOURS[int(thing.colour.argmax())] == thing.hue)
    if not agreed:
        return None, None, None
    return _estimate([float(np.mean(each)) for each in agreed.values()])
