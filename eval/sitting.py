"""One system's exam as answers: for each clip, whether it shows what its own and other prompts ask.

A clip is held to its own prompt for the score, and to a deal of other prompts for chance (`marks` explains both).
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from .questions import ExamPrompt

Reading = TypeVar("Reading")
Deal = dict[str, tuple[int, ...]]  # attribute to the other prompts, by their places, that a clip is held to
SYSTEMS = ("samples", "truth", "vae")


@dataclass(frozen=True)
class ClipAnswers:
    """Whether one clip shows what was asked.

    Attributes:
        prompt: place of its prompt in the list.
        seed: which of the prompt's clips it is.
        own: attribute to right or wrong, for every attribute its prompt asks.
        others: attribute to right or wrong under each prompt of its deal, in the deal's order. May be {} for true
            clips and reconstructions.
    """

    prompt: int
    seed: int
    own: dict[str, bool]
    others: dict[str, tuple[bool, ...]]


@dataclass(frozen=True)
class Sitting:
    """One system's whole exam: the prompts and all answers. Holds what `marks` and `compare` need, and no more.

    Attributes:
        prompts: with at least one sample each.
        samples: answers of the sampled clips.
        truth, vae: answers of true clips and of their reconstructions; () where there are none, otherwise at least
            one for each prompt.
        deals, deal_seed: arguments of `deal_prompts` that the answers were taken with.

    Raises:
        ValueError: a prompt without a clip, or answers that do not fit the prompts or their deals.
    """

    prompts: tuple[ExamPrompt, ...]
    samples: tuple[ClipAnswers, ...]
    truth: tuple[ClipAnswers, ...] = ()
    vae: tuple[ClipAnswers, ...] = ()
    deals: int = 16
    deal_seed: int = 0

    def __post_init__(self) -> None:
        for system in SYSTEMS:
            clips: tuple[ClipAnswers, ...] = getattr(self, system)
            if not clips and system != "samples":
                continue
            without = sorted(set(range(len(self.prompts))) - {clip.prompt for clip in clips})
            if without:
                names = ", ".join(self.prompts[number].id for number in without[:8])
                raise ValueError(
                    f"{len(without)} of {len(self.prompts)} prompts have no clip in {system}: {names}"
                )
            for clip in clips:
                self._check(clip, system)

    def _check(self, clip: ClipAnswers, system: str) -> None:
        if not 0 <= clip.prompt < len(self.prompts):
            raise ValueError(f"{system}: a clip of prompt {clip.prompt}; there are {len(self.prompts)}")
        prompt, deal = self.prompts[clip.prompt], self.dealt[clip.prompt]
        if set(clip.own) != set(self.asked[clip.prompt]):
            raise ValueError(
                f"{system}: the answers of {prompt.id} are about {sorted(clip.own)}; "
                f"it asks {sorted(self.asked[clip.prompt])}"
            )
        sizes = {name: len(answers) for name, answers in clip.others.items()}
        if sizes != {name: len(places) for name, places in deal.items()} and (sizes or system == "samples"):
            raise ValueError(
                f"{system}: the answers of {prompt.id} under other prompts do not fit its deal; take them with "
                f"take_answers(…, deal_prompts(prompts, {self.deals}, {self.deal_seed}))"
            )

    @cached_property
    def asked(self) -> list[dict[str, str]]:
        """What each prompt asks."""
        return [prompt.asked for prompt in self.prompts]

    @cached_property
    def dealt(self) -> list[Deal]:
        """The other prompts each prompt's clips were held to."""
        return deal_prompts(self.prompts, self.deals, self.deal_seed)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries for JSON; answers under other prompts become strings of 0 and 1."""
        plain: dict[str, Any] = {
            "prompts": [prompt.model_dump(mode="json", exclude_none=True) for prompt in self.prompts],
            "deals": self.deals,
            "deal_seed": self.deal_seed,
        }
        for system in SYSTEMS:
            plain[system] = [
                {
                    "prompt": self.prompts[clip.prompt].id,
                    "seed": clip.seed,
                    "own": {name: int(right) for name, right in clip.own.items()},
                    "others": {name: "".join(str(int(r)) for r in rights) for name, rights in clip.others.items()},
                }
                for clip in getattr(self, system)
            ]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Sitting":
        """Read `to_dict` back.

        Raises:
            ValueError: answers that do not fit the prompts.
            KeyError: a part is missing.
        """
        prompts = tuple(ExamPrompt.model_validate(prompt) for prompt in plain["prompts"])
        places = {prompt.id: number for number, prompt in enumerate(prompts)}

        def clips(system: str) -> tuple[ClipAnswers, ...]:
            return tuple(
                ClipAnswers(
                    prompt=places[clip["prompt"]],
                    seed=clip["seed"],
                    own={name: bool(right) for name, right in clip["own"].items()},
                    others={name: tuple(r == "1" for r in rights) for name, rights in clip["others"].items()},
                )
                for clip in plain[system]
            )

        return cls(prompts, clips("samples"), clips("truth"), clips("vae"), plain["deals"], plain["deal_seed"])


def deal_prompts(prompts: Sequence[ExamPrompt], count: int = 16, seed: int = 0) -> list[Deal]:
    """The other prompts that each prompt's clips are held to, for chance.

    Within each tier, the prompts that ask an attribute are put into a seeded order, which is turned by 1 to
    `count` places; each turn is a derangement. With `count` of at least their number less one, these are all
    pairs, and chance is the exact mean over all derangements; with fewer it is an unbiased estimate of it.

    Returns:
        For each prompt: attribute to the places of the other prompts, () where no other asks it.
    """
    if count < 1:
        raise ValueError(f"{count} deals were asked for; chance needs at least 1")
    asking: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, prompt in enumerate(prompts):
        for name in prompt.asked:
            asking[prompt.tier, name].append(number)
    deals: list[Deal] = [{} for _ in prompts]
    for (_, name), places in asking.items():
        # A digest, not a random generator: the order of the list does not matter, nor numpy's version. One order
        # for all attributes, so that they share most of the prompts to hold a clip to.
        order = sorted(places, key=lambda n: hashlib.sha256(f"{seed}/{prompts[n].id}".encode()).digest())
        for place, number in enumerate(order):
            shifts = range(1, min(count, len(order) - 1) + 1)
            deals[number][name] = tuple(order[(place + shift) % len(order)] for shift in shifts)
    return deals


def take_answers(
    readings: Iterable[tuple[int, int, Reading]],
    prompts: Sequence[ExamPrompt],
    answer: Callable[[Reading, ExamPrompt], Mapping[str, bool]],
    deals: Sequence[Deal] | None,
) -> tuple[ClipAnswers, ...]:
    """Hold each clip's reading to its own prompt, and to those of its deal.

    Args:
        readings: (place of the prompt, seed, reading) of each clip.
        prompts: the list.
        answer: whether a reading shows what a prompt asks, by attribute (`answers.answer`).
        deals: of `deal_prompts`; None takes no answers under other prompts (true clips do not need them).
    """
    taken = []
    for number, seed, reading in readings:
        deal = {} if deals is None else deals[number]
        held = {other: answer(reading, prompts[other]) for other in {other for o in deal.values() for other in o}}
        own = answer(reading, prompts[number])
        taken.append(
            ClipAnswers(
                prompt=number,
                seed=seed,
                own={name: bool(right) for name, right in own.items()},
                others={name: tuple(bool(held[other][name]) for other in o) for name, o in deal.items()},
            )
        )
    return tuple(taken)
