"""Canonical JSON (RFC 8785) and the hashes built on it.

Keys are sorted by UTF-16 code units, numbers are ECMAScript's shortest form, integers beyond
2^53 - 1 become decimal strings, and NaN or infinity is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import rfc8785

from quantctl.contracts.errors import ContractError, InternalError

SAFE_INTEGER = 2**53 - 1
_PLAIN = (1e-4, 1e16)  # sizes of floats that Python and ECMAScript write alike, but for a last ".0"
_text = json.encoder.encode_basestring  # escapes what RFC 8785 escapes, in its way


def canonical(value: Any) -> bytes:
    """Canonical bytes of a JSON-able value; raises `ARTIFACT_NONFINITE` on NaN or infinity."""
    try:
        return _form(value).encode()
    except UnicodeEncodeError as problem:
        raise InternalError("ARTIFACT_NONFINITE", f"value is not canonical JSON: {problem}") from None
    except _FormlessError:  # where it lies is only looked for now
        where, message = next(_formless(value, "$"))
        raise InternalError("ARTIFACT_NONFINITE", message, where=where) from None


class _FormlessError(Exception):
    """A value has no JSON form."""


def _form(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return _text(value)
    if kind is dict:
        return "{" + ",".join([f"{_text(key)}:{_form(value[key])}" for key in _ordered(value)]) + "}"
    if kind is list or kind is tuple:
        return "[" + ",".join([_form(item) for item in value]) + "]"
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return f"{value:d}" if -SAFE_INTEGER <= value <= SAFE_INTEGER else f'"{value:d}"'
    if kind is float:
        return _number(value)
    return _form(_base(value))


def _base(value: Any) -> Any:
    """A value of a derived type (an enumeration, a frozen mapping, a NumPy float) as JSON's own type."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    raise _FormlessError


def _number(value: float) -> str:
    """ECMAScript's shortest form."""
    if _PLAIN[0] <= abs(value) < _PLAIN[1]:
        text = repr(value)
        return text[:-2] if text.endswith(".0") else text
    if not math.isfinite(value):
        raise _FormlessError
    return rfc8785.dumps(value).decode()


def _ordered(value: Mapping[Any, Any]) -> list[str]:
    """Keys by UTF-16 code units, which for ASCII is the order of characters."""
    try:
        if all(map(str.isascii, value)):
            return sorted(value)
        return sorted(value, key=lambda key: key.encode("utf-16be", "surrogatepass"))
    except TypeError:
        raise _FormlessError from None


def _formless(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """(where, what) of each value that has no JSON form."""
    if isinstance(value, float) and not math.isfinite(value):
        yield where, f"{value} has no JSON form; an undefined number is null with a typed reason"
    elif isinstance(value, Mapping):
        yield from ((where, f"key {key!r} is not a string") for key in value if not isinstance(key, str))
        for key in sorted(value):
            yield from _formless(value[key], f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            yield from _formless(item, f"{where}[{place}]")
    elif not (value is None or isinstance(value, (str, int, float))):
        yield where, f"{type(value).__name__} has no JSON form"


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
