"""A worker's model, whatever it is: a Kinema checkpoint, or another diffusers pipeline."""

from typing import Any

from ..models.facts import facts_folder, read_index
from ..models.model import KINEMA, read_model


def load_model(model: str | None = None, *, device: str | None = None, dtype: str | None = None) -> Any:
    """A pipeline on a device: a `KinemaPipeline` or a `ForeignPipeline`; its `facts` are its `Model`.

    Raises:
        CheckpointError: there is none, or it cannot be served.
    """
    if model is not None and read_index(facts_folder(model)).get("_class_name") != KINEMA:
        from .foreign import load_foreign

        return load_foreign(model, device, dtype)
    from ...pipeline.command import load

    pipe: Any = load(model, device=device, dtype=dtype, quiet=True)
    pipe.facts = read_model(model)
    return pipe
