"""Candidate records: normalisation, and the merge of several scanners' rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quantctl.contracts.ids import is_symbol

ASSET_TYPES = ("spot", "perp", "equity", "etf", "future", "fx")
TOP = (
    "symbol", "exchange", "asset_type", "identity", "direction", "logic", "metadata", "market_cap_rank",
    "volume_24h", "sector", "industry", "scanner",
)  # fmt: skip
KEY = ("symbol", "logic", "direction")
Record = dict[str, Any]


def normalise(
    offered: Any, *, intent: str | None, logic: str | None, strict: bool
) -> tuple[Record | None, str | None]:
    """One record in canonical form and null, or null and the code of its rejection.

    `intent` and `logic` are those of its scanner and fill what the record leaves out; with neither, a
    missing direction is LONG (marked `direction_defaulted`), or invalid under `strict`.
    """
    if not isinstance(offered, Mapping):
        return None, "METADATA_INVALID"
    aliases = {"Symbol": "symbol", "Exchange": "exchange"}
    given = {aliases.get(key, key): value for key, value in offered.items()}
    metadata = given.get("metadata") or {}
    if not isinstance(metadata, Mapping):
        return None, "METADATA_INVALID"
    extra = {key: value for key, value in given.items() if key not in TOP}
    record: Record = {key: given.get(key) for key in TOP} | {"metadata": {**extra, **metadata}}
    for rule in (_symbol, _asset_type):
        code = rule(record)
        if code is not None:
            return None, code
    direction = _direction(record, intent, strict)
    if direction is None:
        return None, "DIRECTION_INVALID"
    record["direction"], record["logic"] = direction, record["logic"] or logic or "trend"
    return record, None


def _symbol(record: Record) -> str | None:
    symbol, exchange = record["symbol"], record["exchange"]
    if not isinstance(symbol, str) or not symbol.strip():
        return "SYMBOL_INVALID"
    symbol = symbol.strip().upper()
    exchange = exchange.strip().upper() if isinstance(exchange, str) else None
    if ":" not in symbol:
        if not exchange:
            return "EXCHANGE_CONFLICT"
        symbol = f"{exchange}:{symbol}"
    if not is_symbol(symbol) or symbol.count(":") != 1:
        return "SYMBOL_INVALID"
    prefix = symbol.partition(":")[0]
    if exchange and exchange != prefix:
        record["metadata"]["exchange_original"] = exchange
    if record["identity"] not in (None, symbol):
        return "IDENTITY_INVALID"
    record.update(symbol=symbol, exchange=prefix, identity=symbol)
    return None


def _asset_type(record: Record) -> str | None:
    kind = record["asset_type"] or "spot"
    record["asset_type"] = kind
    return None if kind in ASSET_TYPES else "ASSET_TYPE_INVALID"


def _direction(record: Record, intent: str | None, strict: bool) -> str | None:
    given = record["direction"]
    if given is None and intent is None and not strict:
        record["metadata"]["direction_defaulted"] = True
        return "LONG"
    wanted = str(intent if given is None else given).upper()
    return wanted if wanted in ("LONG", "SHORT") else None


def merge(records: Sequence[Record]) -> list[Record]:
    """One record per (symbol, logic, direction), sorted; both legs of a symbol stay.

    Records come in the byte order of their scanners: the first one wins per field, later ones fill nulls;
    losing different metadata values stay under `metadata.merged_from`.
    """
    merged: dict[tuple[str, ...], Record] = {}
    for record in records:
        key = tuple(str(record[name]) for name in KEY)
        merged[key] = (
            _merged(merged[key], record)
            if key in merged
            else {**record, "metadata": dict(record["metadata"])}
        )
    return [merged[key] for key in sorted(merged)]


def _merged(first: Record, later: Record) -> Record:
    kept = {key: later.get(key) if value is None else value for key, value in first.items()}
    metadata = dict(first["metadata"])
    lost = {k: v for k, v in later["metadata"].items() if metadata.get(k) is not None and metadata[k] != v}
    for key, value in later["metadata"].items():
        if metadata.get(key) is None:
            metadata[key] = value
    if lost:
        metadata["merged_from"] = [
            *metadata.get("merged_from", []),
            {"scanner": later.get("scanner"), **lost},
        ]
    return kept | {"metadata": metadata}
