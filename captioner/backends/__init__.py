"""Captioning backends: our captioner, transformers models, OpenAI-compatible endpoints, open_clip."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..captions.cost import Meter
from ..engine.commits import CaptionError
from ..settings import CaptionSettings
from .base import Answer, Backend, Request, fingerprint, shown

if TYPE_CHECKING:
    from .calling import Ending

__all__ = ["Answer", "Backend", "Request", "identity", "open_backend"]


def open_backend(
    settings: CaptionSettings, device: str = "cpu", meter: Meter | None = None, ending: "Ending | None" = None
) -> Backend:
    """The backend of `captions.backend`, loaded.

    Args:
        device: where a local model runs.
        meter: of the budget, for endpoints; None: of the settings, in memory.
        ending: of the run, for endpoints; None: of this one alone.

    Raises:
        CaptionError: its model cannot be had; the message says what to give.
    """
    writing = settings.captions
    if writing.backend == "captioner":
        from .coca import CaptionerBackend

        return CaptionerBackend(writing.model, device, writing.top_p)
    if writing.backend == "openai":
        from .endpoint import EndpointBackend

        return EndpointBackend(
            writing.model,
            writing.base_url,
            writing.api_key_env,
            settings.run,
            top_p=writing.top_p,
            max_tokens=writing.max_tokens,
            meter=meter,
            ending=ending,
        )
    _need_model(settings)
    if writing.backend == "open_clip":
        from .open_clip_coca import OpenClipBackend

        return OpenClipBackend(writing.model, device, writing.top_p)
    from .transformers_vlm import TransformersBackend

    return TransformersBackend(
        writing.model, writing.revision, device=device, top_p=writing.top_p, max_tokens=writing.max_tokens
    )


def identity(settings: CaptionSettings) -> dict[str, Any]:
    """What decides a dataset's captions besides the settings: which weights write them. Loads no model.

    Raises:
        CaptionError: there is no such model.
    """
    writing = settings.captions
    found: dict[str, Any] = {"backend": writing.backend, "model": shown(writing.model), "revision": ""}
    if writing.backend == "captioner":
        from .packaged import PACKAGED_NAME, checked

        found |= {"model": shown(writing.model) if writing.model else PACKAGED_NAME}
        found |= {"revision": fingerprint(checked(writing.model))}
    elif writing.backend == "open_clip":
        from .open_clip_coca import revision_of

        _need_model(settings)
        found["revision"] = revision_of(writing.model)
    elif writing.backend == "transformers":
        _need_model(settings)
        found["revision"] = _revision(writing.model, writing.revision)
    if writing.densify_model:
        local = not writing.densify_base_url
        found["densify_model"] = shown(writing.densify_model)
        found["densify_revision"] = _revision(writing.densify_model, "") if local else ""
    return found


def _need_model(settings: CaptionSettings) -> None:
    if not settings.captions.model:
        raise CaptionError(
            f"captions.backend is {settings.captions.backend}, but no model is given; set captions.model to "
            "a name or a folder"
        )


def _revision(model: str, revision: str) -> str:
    from .transformers_vlm import revision_of

    try:
        return revision_of(model, revision)
    except (OSError, ValueError) as error:
        raise CaptionError(
            f"there is no model {model!r}{' here' if Path(model).exists() else ''}: {error}"
        ) from error
