"""Canonical JSON (RFC 8785) and the hashes built on it.

Keys are sorted by UTF-16 code units, numbers are ECMAScript's shortest form, integers beyond
2^53 - 1 become decimal strings, and NaN or infinity is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import rfc8785

from quantctl.contracts.errors import ContractError, InternalError

SAFE_INTEGER = 2**53 - 1
_WORDS = {None: "null", True: "true", False: "false"}
_text = json.encoder.encode_basestring  # escapes what RFC 8785 escapes, in its way


def canonical(value: Any) -> bytes:
    """Canonical bytes of a JSON-able value; raises `ARTIFACT_NONFINITE` on NaN or infinity."""
    parts: list[str] = []
    _emit(value, "$", parts.append)
    try:
        return "".join(parts).encode()
    except UnicodeEncodeError as problem:
        raise InternalError("ARTIFACT_NONFINITE", f"value is not canonical JSON: {problem}") from None


def _emit(value: Any, where: str, emit: Callable[[str], None]) -> None:
    if isinstance(value, str):
        emit(_text(value))
    elif value is None or isinstance(value, bool):
        emit(_WORDS[value])
    elif isinstance(value, int):
        emit(f"{value:d}" if -SAFE_INTEGER <= value <= SAFE_INTEGER else f'"{value:d}"')
    elif isinstance(value, float):
        emit(_number(value, where))
    elif isinstance(value, Mapping):
        keys = _ordered(value, where)
        for place, key in enumerate(keys):
            emit(f"{',' if place else '{'}{_text(key)}:")
            _emit(value[key], f"{where}.{key}", emit)
        emit("}" if keys else "{}")
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            emit("," if place else "[")
            _emit(item, f"{where}[{place}]", emit)
        emit("]" if value else "[]")
    else:
        raise InternalError("ARTIFACT_NONFINITE", f"{type(value).__name__} has no JSON form", where=where)


def _number(value: float, where: str) -> str:
    """ECMAScript's shortest form."""
    if not math.isfinite(value):
        raise InternalError(
            "ARTIFACT_NONFINITE",
            f"{value} has no JSON form; an undefined number is null with a typed reason",
            where=where,
        )
    return rfc8785.dumps(float(value)).decode()


def _ordered(value: Mapping[Any, Any], where: str) -> list[str]:
    """Keys by UTF-16 code units, which for ASCII is the order of characters."""
    keys = [_key(key, where) for key in value]
    plain = all(map(str.isascii, keys))
    return sorted(keys) if plain else sorted(keys, key=lambda key: key.encode("utf-16be", "surrogatepass"))


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise InternalError("ARTIFACT_NONFINITE", f"key {key!r} is not a string", where=where)
    return key


def _integer(text: str) -> int | float:
    """A number without fraction. Beyond 2^53 - 1 only a float has that form, for integers become texts."""
    if len(text) < 16:
        return int(text)
    value = int(text)
    return value if -SAFE_INTEGER <= value <= SAFE_INTEGER else _float(text)


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:20]}... is beyond the range of numbers")
    return value


def sha256_hex(data: bytes) -> str:
    """Lower-case hex sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def hash_json(value: Any) -> str:
    """sha256 of the canonical form of a JSON-able value."""
    return sha256_hex(canonical(value))


def parse_strict(data: bytes | str, *, where: str = "") -> Any:
    """Parse JSON, refusing NaN, numbers beyond the range and duplicate keys (`ARTIFACT_INVALID_JSON`)."""

    def refuse(token: str) -> NoReturn:
        raise ValueError(f"{token} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            raise ValueError("duplicate key in object")
        return table

    try:
        return json.loads(
            data, parse_constant=refuse, parse_int=_integer, parse_float=_float, object_pairs_hook=unique
        )
    except (ValueError, UnicodeDecodeError) as problem:
        raise ContractError("ARTIFACT_INVALID_JSON", f"not strict JSON: {problem}", where=where) from None
