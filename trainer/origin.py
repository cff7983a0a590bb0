"""What a fine-tuning run begins from: its weights, and a record so that no run goes on from another beginning."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..data.files import atomic_path
from .errors import TrainingError

FILE = "origin.json"


def origin_of(start: Path | None, *modules: nn.Module, **settings: Any) -> dict[str, Any]:
    """The record of what a run begins from; {} if from random weights.

    Args:
        start: the checkpoint's folder.
        modules: its parts, whose weights tell it from others wherever it lies.
        settings: what else makes it another run, such as the shape of an adapter.
    """
    from ..pipeline.provenance import fingerprint

    return {} if start is None else {"from": str(start), "fingerprint": fingerprint(modules), **settings}


def record_origin(directory: Path, origin: Mapping[str, Any], *, begun: bool, write: bool) -> None:
    """Write the record into a run's folder, or compare it with the one there.

    Args:
        directory: the run's.
        origin: what `origin_of` gave.
        begun: the folder holds a checkpoint of the run.
        write: this process writes files.

    Raises:
        TrainingError: the run there began from something else.
    """
    path = directory / FILE
    if begun:
        before = json.loads(path.read_text()) if path.is_file() else {}
        if before.keys() != origin.keys() or any(before[key] != origin[key] for key in origin if key != "from"):
            raise TrainingError(
                f"{directory} holds a run that began from {_said(before)}, and this one begins from "
                f"{_said(origin)}. Give the same --from and --lora to go on, or another --out to start anew"
            )
    elif write:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(dict(origin), indent=2) + "\n")


def _said(origin: Mapping[str, Any]) -> str:
    if not origin:
        return "random weights"
    others = ", ".join(f"{key} {value}" for key, value in origin.items() if key != "from" and value is not None)
    return f"{origin['from']} ({others})"


def copy_weights(source: Any, model: Any, names: Iterable[str], part: str) -> None:
    """Begin with the weights of a trained model.

    Args:
        source: the trained one.
        model: the new one.
        names: settings that decide the weights' shapes.
        part: what it is and whose, for the error: "the denoiser of FOLDER".

    Raises:
        TrainingError: it is of another class, or has other sizes.
    """
    if type(source) is not type(model):
        raise TrainingError(
            f"{part} is a {type(source).__name__}, and what is trained here is a {type(model).__name__}"
        )
    there, here = ({name: _plain(m.config[name]) for name in names} for m in (source, model))
    other = [f"{name} {there[name]} there, {here[name]} here" for name in here if there[name] != here[name]]
    if other:
        raise TrainingError(
            f"{part} has other sizes than this configuration's ({'; '.join(other)}); give the configuration that "
            "it was trained with (its recipe.yaml, which is taken where no --config is given)"
        )
    model.load_state_dict(source.state_dict())


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
