"""Canonical JSON (RFC 8785) and the hashes built on it.

Keys are sorted by UTF-16 code units, numbers are ECMAScript's shortest form, integers beyond
2^53 - 1 become decimal strings, and NaN or infinity is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

import rfc8785

from quantctl.contracts.errors import ContractError, InternalError

SAFE_INTEGER = 2**53 - 1


def canonical(value: Any) -> bytes:
    """Canonical bytes of a JSON-able value; raises `ARTIFACT_NONFINITE` on NaN or infinity."""
    try:
        return rfc8785.dumps(_plain(value, "$"))
    except rfc8785.CanonicalizationError as problem:
        raise InternalError("ARTIFACT_NONFINITE", f"value is not canonical JSON: {problem}") from None


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return value if -SAFE_INTEGER <= value <= SAFE_INTEGER else str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InternalError(
                "ARTIFACT_NONFINITE",
                f"{value} has no JSON form; an undefined number is null with a typed reason",
                where=where,
            )
        return value
    if isinstance(value, Mapping):
        return {_key(k, where): _plain(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    raise InternalError("ARTIFACT_NONFINITE", f"{type(value).__name__} has no JSON form", where=where)


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise InternalError("ARTIFACT_NONFINITE", f"key {key!r} is not a string", where=where)
    return key


def sha256_hex(data: bytes) -> str:
    """Lower-case hex sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def hash_json(value: Any) -> str:
    """sha256 of the canonical form of a JSON-able value."""
    return sha256_hex(canonical(value))


def parse_strict(data: bytes | str, *, where: str = "") -> Any:
    """Parse JSON, refusing NaN, Infinity and duplicate keys (`ARTIFACT_INVALID_JSON`)."""

    def refuse(token: str) -> NoReturn:
        raise ValueError(f"{token} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            raise ValueError("duplicate key in object")
        return table

    try:
        return json.loads(data, parse_constant=refuse, object_pairs_hook=unique)
    except (ValueError, UnicodeDecodeError) as problem:
        raise ContractError("ARTIFACT_INVALID_JSON", f"not strict JSON: {problem}", where=where) from None
