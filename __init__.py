"""Kinema: a complete text-to-video system that anyone can train from scratch.

Public names are loaded on first use, so that `import kinema` costs milliseconds and neither torch
nor diffusers is imported before it is needed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "AutoencoderKLKinema": "kinema.vae.model",
    "Canvas": "kinema.pipeline.canvas",
    "Config": "kinema.configs",
    "ContrastiveCaptioner": "kinema.conditioner.captioner",
    "JoinedConditioner": "kinema.conditioner.joined",
    "KinemaPipeline": "kinema.pipeline.pipeline",
    "KinemaTransformer3DModel": "kinema.dit.transformer",
    "OpenCLIPConditioner": "kinema.conditioner.open_clip_text",
    "TransformersConditioner": "kinema.conditioner.transformers_text",
    "load_config": "kinema.configs",
    "read_video": "kinema.data.video_io",
    "write_video": "kinema.data.video_io",
    # diffusers finds a component's loader by looking these up on the component's library.
    "ModelMixin": "diffusers.models.modeling_utils",
    "SchedulerMixin": "diffusers.schedulers.scheduling_utils",
}

__all__ = ["__version__", *sorted(name for name in _PUBLIC if not name.endswith("Mixin"))]  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from kinema.conditioner.captioner import ContrastiveCaptioner as ContrastiveCaptioner
    from kinema.conditioner.joined import JoinedConditioner as JoinedConditioner
    from kinema.conditioner.open_clip_text import OpenCLIPConditioner as OpenCLIPConditioner
    from kinema.conditioner.transformers_text import TransformersConditioner as TransformersConditioner
    from kinema.configs import Config as Config
    from kinema.configs import load_config as load_config
    from kinema.data.video_io import read_video as read_video
    from kinema.data.video_io import write_video as write_video
    from kinema.dit.transformer import KinemaTransformer3DModel as KinemaTransformer3DModel
    from kinema.pipeline.canvas import Canvas as Canvas
    from kinema.pipeline.pipeline import KinemaPipeline as KinemaPipeline
    from kinema.vae.model import AutoencoderKLKinema as AutoencoderKLKinema


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'kinema' has no attribute {name!r}; its public names are {__all__}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
