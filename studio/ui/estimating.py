"""What a video will come to, in words, before it is asked for."""

import html
from collections.abc import Mapping
from typing import Any

from .. import estimate as estimates
from ..jobs import JobError
from ..wish import Wish, read_wish
from .live import about
from .shared import Shared

SIZES = ("width", "height", "seconds", "num_frames", "num_inference_steps")  # what is made smaller to fit


def words(shared: Shared, values: Mapping[str, Any]) -> str:
    """ "17 frames of 64 × 64, 12 steps"."""
    model, wish = shared.studio.model, read_wish(values)
    width, height = model.size(wish)
    steps = wish.num_inference_steps or model.steps
    return f"{model.frames(wish)} frames of {width} × {height}, {steps} steps"


def fitting(shared: Shared, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The nearest to a wish that fits the memory; None: it fits, or nothing does."""
    estimate = _estimate(shared, read_wish(values))
    if estimate is None or estimate.fits or estimate.nearest is None:
        return None
    return estimate.nearest.model_dump(mode="json", exclude_defaults=True)


def line(shared: Shared, values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """(what a wish comes to, as HTML; the sizes that fit instead, {} if it fits)."""
    try:
        wish = read_wish(values)
        shared.studio.model.check(wish)
    except JobError as error:
        return f'<p class="problem">{html.escape(str(error))}</p>', {}
    told = [words(shared, values)]
    estimate = _estimate(shared, wish)
    seconds = (
        estimates.seconds_for(shared.studio.store, shared.studio.model, wish)
        if estimate is None
        else estimate.seconds
    )
    told.append(
        f"{about(seconds)} here" if seconds is not None else "no time known yet: none like it was made here"
    )
    if estimate is not None and estimate.bytes is not None:
        told.append(f"{_gigabytes(estimate.bytes)} of memory")
    text = f"<p>{html.escape(' · '.join(told))}</p>"
    if estimate is None or estimate.fits:
        return text, {}
    smaller = {} if estimate.nearest is None else {
        name: value for name, value in estimate.nearest.model_dump().items() if name in SIZES and value is not None
    }  # fmt: skip
    why = html.escape(estimate.why or "it needs more memory than there is")
    return text + f'<p class="problem">✕ It will not fit: {why}</p>', smaller


def _estimate(shared: Shared, wish: Wish) -> Any:
    """None: this studio makes no estimates of memory."""
    make = getattr(estimates, "estimate", None)
    return None if make is None else make(shared.studio, wish)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
