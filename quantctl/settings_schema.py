"""Keys of the settings: where a dotted key leads, and which names stand beside it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, NamedTuple, TypeGuard, get_args, get_origin

from pydantic import BaseModel, SecretStr

from quantctl.contracts.nearest import did_you_mean
from quantctl.contracts.settings import Settings

Path = tuple[str, ...]


class Leaf(NamedTuple):
    """A key that exists: its path in the settings, and whether its value is plain text."""

    path: Path
    textual: bool


class Unknown(NamedTuple):
    """A key that does not exist, with the names that could stand in its place."""

    key: str
    hint: str


def locate(parts: Path) -> Leaf | Unknown:
    """Follow `parts` through the section models; the rest of a path below a map is one key of that map."""
    model: type[BaseModel] = Settings
    for depth, name in enumerate(parts):
        known = tuple(model.model_fields)
        if name not in known:
            return Unknown(".".join(parts[: depth + 1]), did_you_mean(name, known))
        annotation = model.model_fields[name].annotation
        rest = parts[depth + 1 :]
        if not _is_section(annotation):
            return _below(parts[: depth + 1], rest, annotation)
        model = annotation
    return Leaf(parts, textual=False)


def _below(path: Path, rest: Path, annotation: Any) -> Leaf | Unknown:
    kinds = tuple(_kinds(annotation))
    if not rest:
        return Leaf(path, textual=bool(kinds) and all(kind in (str, SecretStr) for kind in kinds))
    value = _map_value(annotation)
    if value is None:
        return Unknown(".".join((*path, *rest)), f"; {'.'.join(path)} has no keys below it")
    inner = _map_value(value)
    keys = rest if inner is not None or value is Any else (".".join(rest),)
    return Leaf((*path, *keys), textual=value is str)


def _is_section(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _map_value(annotation: Any) -> Any:
    """Value type of a dict annotation (through unions), or None."""
    for kind in (annotation, *get_args(annotation)):
        if get_origin(kind) is dict:
            return _bare(get_args(kind)[1])
    return None


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _kinds(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif get_origin(annotation) is not None and type(None) in get_args(annotation):
        for kind in get_args(annotation):
            if kind is not type(None):
                yield from _kinds(kind)
    else:
        yield annotation


@cache
def known_variables() -> tuple[str, ...]:
    """Every `TV_` variable that names a settings key, in the order of the sections."""
    return tuple(_variables(Settings, "TV_"))


def _variables(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if _is_section(field.annotation):
            yield from _variables(field.annotation, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}"


def flattened(tree: dict[str, Any], path: Path = ()) -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every leaf of a JSON tree; an empty map and a list are leaves."""
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from flattened(value, (*path, name))
        else:
            yield ".".join((*path, name)), value
