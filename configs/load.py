"""Reads a preset or YAML file, applies `key=value` overrides and validates the result."""

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from .schema import Config

CONFIG_DIR = Path(__file__).parent
Settings = TypeVar("Settings", bound=BaseModel)


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the key, the value and what is needed."""


def preset_names() -> list[str]:
    """Names of the presets that come with Kinema."""
    return sorted(path.stem for path in CONFIG_DIR.glob("*.yaml"))


def load_config(name: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Load a preset by name, or a YAML file by path, with `key=value` overrides applied.

    Args:
        name: a preset ("tiny", see `preset_names()`) or the path of a YAML file.
        overrides: strings such as "train.vae.steps=5"; the value is read as YAML.

    Raises:
        ConfigError: unknown preset, unknown key (the nearest is named) or a value out of range.
    """
    path = CONFIG_DIR / f"{name}.yaml"
    if not path.is_file():
        path = Path(name)
    if not path.is_file():
        raise ConfigError(f"no preset or file named {str(name)!r}; the presets are {', '.join(preset_names())}")
    return read_settings(path, Config, overrides)


def read_settings(path: Path | None, model: type[Settings], overrides: Iterable[str] = ()) -> Settings:
    """Settings of any kind, from a YAML file or from the defaults, with `key=value` overrides applied.

    Args:
        path: of the YAML file; None: every setting has its default.
        model: their pydantic class.
        overrides: strings such as "section.key=5"; the value is read as YAML.

    Raises:
        ConfigError: a file that is no YAML, an unknown key (the nearest is named) or a value out of range.
    """
    try:
        values = (yaml.safe_load(path.read_text(encoding="utf-8")) if path is not None else None) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no sections; an example:\n{_example(model)}")
    values = json.loads(json.dumps(values, default=str))  # an override must not reach a section's YAML alias
    for override in overrides:
        _apply(values, override, model)
    unknown = list(_unknown_keys(values, model, model))
    if unknown:
        raise ConfigError("; ".join(unknown))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, e['loc'])) or 'config'}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"{path.name + ': ' if path else ''}" + "; ".join(problems)) from None


def dump_config(config: BaseModel) -> str:
    """The resolved configuration as YAML that `load_config` or `read_settings` reads back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=100)


def _apply(values: dict[str, Any], override: str, model: type[BaseModel] = Config) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r} is not key=value; an example: {_example(model)}")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"override {override!r}: {parent!r} is a value, not a section")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not YAML: {error}") from None


def _example(model: type[BaseModel]) -> str:
    if model is Config:
        return "train.vae.steps=200"
    key = next(iter(_known_keys(model)))
    value: Any = model()
    for name in key.split("."):
        value = getattr(value, name)
    return f"{key}={value}"


def _unknown_keys(values: Any, model: type[BaseModel], root: type[BaseModel], prefix: str = "") -> Iterable[str]:
    if not isinstance(values, Mapping):
        return
    for key, value in values.items():
        field = model.model_fields.get(key)
        if field is None:
            for path in _paths(value, f"{prefix}{key}"):
                near = get_close_matches(path, list(_known_keys(root)), n=1, cutoff=0.0)
                yield f"unknown key {path}; did you mean {near[0]}?"
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _unknown_keys(value, field.annotation, root, f"{prefix}{key}.")


def _paths(value: Any, prefix: str) -> Iterable[str]:
    """The dotted keys of everything given under a key."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _paths(inner, f"{prefix}.{key}")
    else:
        yield prefix


def _known_keys(model: type[BaseModel], prefix: str = "") -> Iterable[str]:
    """The dotted keys of all settings, whatever their section."""
    for key, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _known_keys(field.annotation, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
