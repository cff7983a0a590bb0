"""A text model that writes the captions from the facts.

It never sees the clip, nor the original caption: that may be wrong, and a model without eyes could not tell. The
facts are all it has, and the checks hold what it writes against them.
"""

from ..backends.base import Backend
from ..settings import CaptionSettings
from .cost import Meter, densifier_run


def open_densifier(settings: CaptionSettings, device: str, meter: Meter | None = None) -> Backend | None:
    """The text model `captions.densify_model`: behind `densify_base_url`, or a local one of transformers.

    None if the captioning model is to write the captions itself.

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
            writing.api_key_env,
            densifier_run(settings.run),
            sees=False,
            top_p=writing.top_p,
            max_tokens=writing.max_tokens,
            meter=meter,
        )
    from ..backends.transformers_vlm import TransformersBackend

    return TransformersBackend(
        writing.densify_model, sees=False, device=device, top_p=writing.top_p, max_tokens=writing.max_tokens
    )
