"""YAML maps with the line of every key; duplicate keys are refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from quantctl.contracts.errors import ConfigError

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Lines = dict[tuple[str, ...], int]


@dataclass(frozen=True)
class Document:
    """A YAML map: its value, and the line (from 1) on which each key path stands."""

    value: dict[str, Any]
    lines: Lines = field(default_factory=dict)


def parse_map(text: str, name: str) -> Document:
    """Parse a YAML map called `name` (a file name, for messages).

    Raises `PROFILE_SYNTAX` when it is no map of text keys, `PROFILE_DUPLICATE_KEY` on a repeated key.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: Lines = {}
        value = {} if node is None else _value(loader, node, (), lines, name)
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        place = f"{name}:{mark.line + 1}" if mark else name
        reason = getattr(problem, "problem", None) or str(problem)
        raise ConfigError("PROFILE_SYNTAX", f"not YAML: {reason}", where=place) from None
    finally:
        loader.dispose()
    if not isinstance(value, dict):
        raise ConfigError("PROFILE_SYNTAX", "the file is not a map of keys to values", where=name)
    return Document(value, lines)


def parse_scalar(text: str) -> Any:
    """The YAML value of a short text such as `0.5`, `[a, b]` or `true`; text that is no YAML stays text."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (a safe loader)
    except yaml.YAMLError:
        return text


def _value(loader: Any, node: Any, path: tuple[str, ...], lines: Lines, name: str) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node, path, lines, name)
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, item, (*path, str(i)), lines, name) for i, item in enumerate(node.value)]
    return loader.construct_object(node, deep=True)


def _mapping(loader: Any, node: Any, path: tuple[str, ...], lines: Lines, name: str) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError("PROFILE_SYNTAX", "a key is not plain text", where=f"{name}:{line}")
        key = key_node.value
        if key in table:
            raise ConfigError(
                "PROFILE_DUPLICATE_KEY",
                f"key {'.'.join((*path, key))} stands twice, first on line {lines[(*path, key)]}",
                where=f"{name}:{line}",
                remedy="keep one of them",
            )
        lines[(*path, key)] = line
        table[key] = _value(loader, value_node, (*path, key), lines, name)
    return table
