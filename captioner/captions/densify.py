"""A text model that writes the captions from the facts.

It never sees the clip, nor the original caption: that may be wrong, and a model without eyes could not tell. The
facts are all it has, and the checks hold what it writes against them.
"""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..backends.base import Backend
from ..settings import CaptionSettings, WritingSettings
from .cost import Meter, densifier_run

if TYPE_CHECKING:
    from ..backends.calling import Ending


def open_densifier(
    settings: CaptionSettings, device: str, meter: Meter | None = None, ending: "Ending | None" = None
) -> Backend | None:
    """The text model `captions.densify_model`: behind `densify_base_url`, or a local one of transformers.

    None if the captioning model is to write the captions itself.

    Args:
        device: where a local model runs.
        meter: of the budget, for an endpoint; None: of the settings, in memory.
        ending: of the run, for an endpoint; None: of this one alone.

    Raises:
        CaptionError: it cannot be loaded.
    """
    writing = settings.captions
    if not writing.densify_model:
        return None
    if writing.densify_base_url:
        from ..backends.endpoint import EndpointBackend

        return EndpointBackend(
            writing.densify_model,
            writing.densify_base_url,
            key_variable(writing),
            densifier_run(settings.run),
            sees=False,
            top_p=writing.top_p,
            max_tokens=writing.max_tokens,
            meter=meter,
            ending=ending,
        )
    from ..backends.transformers_vlm import TransformersBackend

    return TransformersBackend(
        writing.densify_model, sees=False, device=device, top_p=writing.top_p, max_tokens=writing.max_tokens
    )


def key_variable(writing: WritingSettings) -> str:
    """The environment variable with the densifier's key; "" if it gets none: a key is for its own host alone."""
    if writing.densify_api_key_env:
        return writing.densify_api_key_env
    own, other = urlsplit(writing.densify_base_url), urlsplit(writing.base_url)
    same = (own.scheme, own.hostname) == (other.scheme, other.hostname)
    return writing.api_key_env if same else ""
