"""One caption, all checks: `check_caption`, which the writing stage calls after every answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..settings import CheckSettings
from .agreement import camera_problems, colour_problems
from .grounding import ungrounded
from .wording import is_cut_off, is_refusal, repetition, wording_problems, words_of

if TYPE_CHECKING:
    from ..shots.frames import ClipFrames

AS_LONG = 0.8  # a dense caption may say the same in this share of the words; true ones of Diorama: 0.91 and more


class Scorer(Protocol):
    """What tells how well texts fit a clip."""

    name: str
    min_similarity: float  # a caption with less is wrong; -1 where the model's scale is not known

    def knows(self, frames: "ClipFrames") -> bool:
        """Whether it can judge texts of such a clip; if not, they have no score."""
        ...

    def similarity(self, frames: "ClipFrames", texts: list[str]) -> np.ndarray:
        """Cosines (T, N) of frames and texts; (1, N) if the clip is seen as a whole. Texts must fit."""
        ...

    def pieces(self, text: str) -> list[str]:
        """The parts in which a text is scored."""
        ...

    def score(self, frames: "ClipFrames", text: str) -> tuple[float, float]:
        """Mean over pieces, and the worst piece, each at its best frame. Blank texts have NaN."""
        ...


@dataclass(frozen=True)
class Verdict:
    """What the checks found of one caption."""

    problems: list[str] = field(default_factory=list)  # in words; [] if it passed
    clip_mean: float | None = None  # similarity, mean over sentences; None without a scorer that knows such clips
    clip_min: float | None = None  # of the worst sentence
    repetition: float = 0.0  # share of repeated word triples, 0 to 1
    status: str = "success"  # success, truncated, blocked or error, of CAPTION_STATUSES

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return not self.problems


def check_caption(
    text: str,
    *,
    level: str,
    facts: Any = None,
    clip: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
    frames: "ClipFrames | None" = None,
    scorer: Scorer | None = None,
    previous: Mapping[str, str] | None = None,
    finished: bool = True,
    settings: CheckSettings | None = None,
) -> Verdict:
    """All checks of one caption. A pure function of its arguments; checks whose argument is None are left out.

    Args:
        level: of `LEVELS`. An original caption is scored and never found wrong, since nobody can write it anew.
        facts: the `Facts` (or their mapping) that the caption was to be written from.
        clip: the clip's row of SHOTS.
        scores: what `signals` measured of it: camera_move, camera.
        frames: `ClipFrames` of the clip, for similarity and colours.
        scorer: from `open_scorer`.
        previous: captions of the same clip by level; a denser one that has fewer words is a problem.
        finished: False if the model was stopped at its limit of tokens.
        settings: thresholds; None: the defaults.
    """
    settings = settings or CheckSettings()
    problems = wording_problems(text, level, finished=finished, max_repetition=settings.max_repetition)
    problems += ungrounded(text, facts) if facts is not None else []
    problems += camera_problems(text, scores)
    problems += colour_problems(text, None if frames is None else frames.frames)
    problems += _shorter_than_before(text, level, previous or {})
    mean = worst = None
    if scorer is not None and frames is not None and text.strip() and scorer.knows(frames):
        mean, worst = scorer.score(frames, text)
        least = scorer.min_similarity if settings.min_similarity is None else settings.min_similarity
        if not np.isfinite(mean) or mean < least:
            problems.append(f"similarity {mean:.3f} with the clip is below {least:.3f}")
    if level in ("original", "structured"):
        problems = []
    status = "success"
    if problems:
        status = "error"
        if is_refusal(text):
            status = "blocked"
        elif not finished or is_cut_off(text, level):
            status = "truncated"
    return Verdict(problems, mean, worst, repetition(text), status)


def _shorter_than_before(text: str, level: str, previous: Mapping[str, str]) -> list[str]:
    """A dense caption that tells less than a level below it."""
    most = len(words_of(text)) / AS_LONG
    below = [each for each in ("short", "medium") if len(words_of(previous.get(each) or "")) > most]
    return [f"shorter than the clip's {each} caption" for each in below if level == "dense"]
