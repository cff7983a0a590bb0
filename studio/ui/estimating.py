"""What a video will come to, in words, before it is asked for."""

import html
from collections.abc import Mapping
from typing import Any

from ..jobs.job import JobError
from ..jobs.wish import read_wish
from ..models.estimate import after_failing, difference, estimate, gigabytes
from .live import about
from .shared import Shared

SIZES = ("width", "height", "seconds", "num_frames")  # what is made smaller to fit


def words(shared: Shared, values: Mapping[str, Any]) -> str:
    """ "17 frames of 64 × 64, 12 steps"."""
    model, wish = shared.studio.model, read_wish(values)
    width, height = model.size(wish)
    steps = wish.num_inference_steps or model.steps
    return f"{model.frames(wish)} frames of {width} × {height}, {steps} steps"


def fitting(shared: Shared, values: Mapping[str, Any]) -> tuple[dict[str, Any], str] | None:
    """(the nearest to a wish that had too little memory, what is other in it); None: none is known."""
    wish, model = read_wish(values), shared.studio.model
    nearest = estimate(shared.studio, wish).nearest or after_failing(model, wish)
    if nearest is None:
        return None
    return nearest.model_dump(mode="json", exclude_defaults=True), difference(model, wish, nearest)


def line(shared: Shared, values: Mapping[str, Any]) -> tuple[str, dict[str, Any], str]:
    """(what a wish comes to, as HTML; sizes that fit if it does not; what is other in them)."""
    model = shared.studio.model
    try:
        wish = read_wish(values)
        model.check(wish)
    except JobError as error:
        return f'<p class="problem">{html.escape(str(error))}</p>', {}, ""
    found = estimate(shared.studio, wish)
    told = [words(shared, values)]
    told.append(f"{about(found.seconds)} here" if found.seconds is not None else "the first of its kind here")
    if found.bytes is not None:
        told.append(f"{gigabytes(found.bytes)} of memory")
    text = f"<p>{html.escape(' · '.join(told))}</p>"
    if found.fits:
        return text, {}, ""
    text += f'<p class="problem">✕ It will not fit: {html.escape(found.why)}.</p>'
    if found.nearest is None:
        return text, {}, ""
    smaller = {name: getattr(found.nearest, name) for name in SIZES if getattr(found.nearest, name) is not None}
    return text, smaller, difference(model, wish, found.nearest)
