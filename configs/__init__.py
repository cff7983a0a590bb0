"""Typed settings of a run: the schema, the presets and the command-line overrides."""

from .load import CONFIG_DIR, ConfigError, dump_config, load_config, preset_names
from .schema import Config

__all__ = ["CONFIG_DIR", "Config", "ConfigError", "dump_config", "load_config", "preset_names"]
