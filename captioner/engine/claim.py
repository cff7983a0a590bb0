"""What a dataset is made from and how, written into it at the start; others are then refused there.

DATASET/config.yaml    every section of the settings but `run`; it can be given to --config
DATASET/models.json    the weights behind them, by section
DATASET/source.json    {"source": …}
"""

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ...configs.load import ConfigError, read_settings
from ...data.files import atomic_path
from ..addresses import without_secrets
from ..settings import CaptionSettings
from .commits import CaptionError, explained_if_full

NEVER = ("run",)  # sections that change no row
PATIENCE = ("ingest.probe_seconds",)  # settings that only decide which files are tried again: another is taken
FIRST = {"dataset": "media"}  # first stage that a section decides, if it is not named like the section
MINE = {"config.yaml", "models.json", "source.json", "stages"}


def load_settings(path: Path | None = None, overrides: Sequence[str] = ()) -> CaptionSettings:
    """Settings of a captioning run, from a YAML file or the defaults, with `section.key=value` overrides.

    Raises:
        ConfigError: no such file, an unknown key (the nearest is named) or a value out of range.
    """
    if path is not None and not path.is_file():
        raise ConfigError(f"there is no settings file {path}; without --config every setting has its default")
    return read_settings(path, CaptionSettings, overrides)


def is_dataset(folder: Path) -> bool:
    """Whether a folder was claimed."""
    return (folder / "config.yaml").is_file()


def check_dataset(folder: Path) -> None:
    """
    Raises:
        CaptionError: the folder holds no dataset.
    """
    if not is_dataset(folder):
        there = "is no captioned dataset: it has no config.yaml" if folder.is_dir() else "does not exist"
        raise CaptionError(f"{folder} {there}; `kinema caption SOURCE --out {folder}` makes one")


def settings_of(dataset: Path, overrides: Sequence[str] = ()) -> CaptionSettings:
    """The settings that a dataset was made with, and overrides of them.

    Raises:
        CaptionError: it is no dataset.
        ConfigError: an override that cannot be.
    """
    check_dataset(dataset)
    return load_settings(dataset / "config.yaml", overrides)


def source_of(dataset: Path) -> str:
    """The source that a dataset was claimed for.

    Raises:
        CaptionError: it is no dataset.
    """
    check_dataset(dataset)
    return json.loads((dataset / "source.json").read_text(encoding="utf-8"))["source"]


def shown_source(dataset: Path) -> str:
    """The source as it may be shown to others: without what opens it.

    Raises:
        CaptionError: it is no dataset.
    """
    return without_secrets(source_of(dataset))


def check_source(source: str, dataset: Path) -> str:
    """The source as it is written down: an absolute path, or an address.

    Raises:
        FileNotFoundError: there is no such file or folder.
        CaptionError: the dataset would lie inside the folder of the videos, and become a part of the source.
    """
    if "://" in source or "::" in source:
        return source
    path = Path(source).expanduser().absolute()
    if not path.exists() and not any(mark in source for mark in "*?["):
        raise FileNotFoundError(f"there is no file or folder {source}")
    path, out = Path(os.path.normpath(path)), dataset.expanduser().resolve()
    folder = path.resolve() if path.is_dir() else None
    if folder is not None and (out == folder or folder in out.parents):
        raise CaptionError(
            f"--out {dataset} is in the folder of the videos, and its own clips would become videos to caption; "
            "give a folder outside of it"
        )
    return str(path)


def claim(dataset: Path, source: str, settings: CaptionSettings) -> None:
    """Write down what a dataset is made from and how; if it is written there already, hold it against that.

    Raises:
        CaptionError: it holds another source's clips, or other settings' rows, or somebody's files.
    """
    if not is_dataset(dataset):
        _check_empty(dataset)
        write_claim(dataset, settings, source)
        return
    there = source_of(dataset)
    if without_secrets(there) != without_secrets(source):
        raise CaptionError(
            f"{dataset} is made from {without_secrets(there)}, and not from {without_secrets(source)}; give "
            "the same source to go on there, or another --out"
        )
    found = list(differences(dataset, settings))
    if found and not any((dataset / "stages").glob("*/*.json")):  # nothing was made with the others
        write_claim(dataset, settings, source)
        return
    if found:
        raise CaptionError(refusal(dataset, found))
    if there != source:  # signed anew
        write_source(dataset, source)


def refusal(dataset: Path, found: Sequence[tuple[str, str]]) -> str:
    """What to say of differences."""
    section = found[0][0]
    return (
        f"{dataset} was made with other settings: {'; '.join(text for _, text in found)}. To go on with its own: "
        f"kinema caption --out {shlex.quote(str(dataset))}. Else give another --out, or --redo "
        f"{FIRST.get(section, section)}, which makes anew what the new ones decide"
    )


def differences(dataset: Path, settings: CaptionSettings) -> Iterator[tuple[str, str]]:
    """(section, what differs) between a dataset's settings and these, in the order of the sections."""
    there = yaml.safe_load((dataset / "config.yaml").read_text(encoding="utf-8"))
    now = values_of(settings)
    models_there = json.loads((dataset / "models.json").read_text(encoding="utf-8"))
    models_now = models_of(settings)
    for section in now:
        before = len(list(_unequal(section, there.get(section, {}), now[section])))
        for text in _unequal(section, there.get(section, {}), now[section]):
            yield section, text
        if not before:  # else the setting that was changed is the reason
            for text in _unequal(section, models_there.get(section, {}), models_now.get(section, {})):
                yield section, f"{text} (the weights behind it)"


def _unequal(section: str, there: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in [*now, *(key for key in there if key not in now)]:
        if there.get(key) != now.get(key) and f"{section}.{key}" not in PATIENCE:
            yield f"{section}.{key} is {_shown(there.get(key))} there and {_shown(now.get(key))} now"


def _shown(value: Any) -> str:
    return "unset" if value is None else json.dumps(value, ensure_ascii=False)


def values_of(settings: CaptionSettings) -> dict[str, dict[str, Any]]:
    """The sections that decide what the rows are, as JSON values."""
    return {name: value for name, value in settings.model_dump(mode="json").items() if name not in NEVER}


def models_of(settings: CaptionSettings) -> dict[str, dict[str, Any]]:
    """What identifies the weights that a section's settings name, by section."""
    from ..backends import identity
    from ..backends.base import fingerprint
    from ..backends.packaged import PACKAGED

    models: dict[str, dict[str, Any]] = {}
    if settings.signals.embedding == "captioner":
        models["signals"] = {"embedding": fingerprint(PACKAGED)}
    if settings.checks.scorer == "captioner":
        models["checks"] = {"scorer": fingerprint(PACKAGED)}
    models["captions"] = json.loads(json.dumps(identity(settings)))
    return models


def write_claim(dataset: Path, settings: CaptionSettings, source: str | None = None) -> None:
    """Write down the settings, and the source of a new dataset; config.yaml, which makes it one, comes last."""
    if source is not None:
        write_source(dataset, source)
    files = {"models.json": json.dumps(models_of(settings), indent=1)}
    files["config.yaml"] = yaml.safe_dump(
        values_of(settings), sort_keys=False, default_flow_style=None, width=100, allow_unicode=True
    )
    with explained_if_full(dataset):
        for name, text in files.items():
            with atomic_path(dataset / name) as path:
                path.write_text(text, encoding="utf-8")


def write_source(dataset: Path, source: str) -> None:
    """Write down what a dataset is made from."""
    with explained_if_full(dataset), atomic_path(dataset / "source.json") as path:
        path.write_text(json.dumps({"source": source}, ensure_ascii=False), encoding="utf-8")


def _check_empty(dataset: Path) -> None:
    others = [path.name for path in dataset.iterdir()] if dataset.is_dir() else []
    others = sorted(name for name in others if not name.startswith(".") and name not in MINE)
    if others:
        shown = ", ".join(others[:3]) + (" …" if len(others) > 3 else "")
        raise CaptionError(f"--out {dataset} holds other files ({shown}); give a new or an empty folder")
