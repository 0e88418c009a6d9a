"""A configuration from YAML files and from what is typed on the command line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from miha.config import RunConfig, make_config
from miha.errors import ConfigError


def read_config(files: Sequence[str], settings: Sequence[str], overrides: dict[str, Any]) -> RunConfig:
    """A configuration from YAML files, ``section.key=value`` settings over them, and keyed overrides over all.

    Args:
        files: paths, each over the ones before; ``FILE:a.b`` takes the section ``a.b`` of a file alone.
        settings: as typed after ``--set``.
        overrides: ``section.key`` → value.

    Raises:
        ConfigError: a file cannot be read, a setting is malformed, or a key or value is wrong.
    """
    values: dict[str, Any] = {}
    for file in files:
        values = merge(values, _read_section(file))
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {setting!r} is not of the form section.key=value.")
        _put(values, key.strip(), read_value(value))
    for key, value in overrides.items():
        _put(values, key, value)
    return make_config(values)


def read_value(text: str) -> Any:
    """What is typed for a key: YAML, or plain text if it is none (a pattern like ``%Y%j``)."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _read_section(file: str) -> dict[str, Any]:
    """The mapping in a YAML file, or in one section of it; an empty one, or an empty section in it, has no keys."""
    path, _, section = file.partition(":")
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    for key in section.split(".") if section else []:
        if not isinstance(values, dict) or key not in values:
            raise ConfigError(f"{path} has no section {section!r}.")
        values = values[key]
    if not isinstance(values or {}, dict):
        raise ConfigError(f"{file} must hold sections like `schedule:`, but holds a {type(values).__name__}.")
    return {key: value for key, value in (values or {}).items() if value is not None}


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Both mappings, section by section; where both have a value, that of ``over``."""
    merged = {**base, **over}
    for key in base.keys() & over.keys():
        if isinstance(base[key], dict) and isinstance(over[key], dict):
            merged[key] = merge(base[key], over[key])
    return merged


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{key}: {section} is not a section but {inner!r}.")
        values = inner
    values[last] = value
