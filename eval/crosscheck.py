"""The cross-check of the trained colours: how often a hue rule that nothing was trained for says the same word.

A generator that only fooled the labeller would part the two.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..data.diorama.scene import COLOURS
from .judge.reading import Reading
from .questions import ExamPrompt

DRAWS = 1000


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
    shares = np.array([np.mean(each) for each in agreed.values()])
    draws = np.random.default_rng(0).integers(0, len(shares), (DRAWS, len(shares)))
    low, high = np.quantile(shares[draws].mean(1), [0.025, 0.975])
    return float(shares.mean()), float(low), float(high)
