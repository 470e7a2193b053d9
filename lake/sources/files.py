"""Reading bars, candidates and instrument rules from files."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from quantctl.contracts.canonical import parse_strict, sha256_hex
from quantctl.contracts.errors import ConfigError, DataMissing, DataUnhealthy
from quantctl.lake.sources.archives import unpack
from quantctl.lake.sources.columns import choose, prefixed, typed
from quantctl.lake.sources.klines import from_csv, from_json, symbol_in


@dataclass(frozen=True)
class Reading:
    """How to read bars. `mapping` is field -> column, `exchange` names symbols without a prefix."""

    mapping: Mapping[str, str]
    exchange: str | None = None
    close_only: bool = False


@dataclass(frozen=True)
class BarFile:
    """One file of bars: its rows (symbol, stamp, prices, volume, quote_volume, trades) and origin."""

    path: Path
    sha256: str
    rows: pl.DataFrame
    mapping: dict[str, str]
    ignored: list[str]


def read_bytes(path: Path) -> bytes:
    """Bytes of an input file; `IMPORT_FORMAT` (exit 2) when it is not there or no file."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, PermissionError) as problem:
        raise DataMissing(
            "IMPORT_FORMAT", f"cannot read {path}: {problem.strerror}", where=str(path)
        ) from None


def read_bars(path: Path, reading: Reading) -> BarFile:
    """Read one Parquet, CSV, kline JSON or kline archive file.

    Raises `IMPORT_FORMAT`, `IMPORT_COLUMNS`, `IMPORT_PARSE`, `IMPORT_EXCHANGE`, `IMPORT_SYMBOL`,
    `IMPORT_INTERVAL`, `IMPORT_CHECKSUM`, `IMPORT_ARCHIVE_UNSAFE`, `KLINE_MALFORMED`.
    """
    data = read_bytes(path)
    table, symbol = _table(path, data)
    mapping = choose(table.columns, reading.mapping, close_only=reading.close_only, where=str(path))
    rows = typed(table, mapping, str(path))
    if "symbol" not in mapping:
        rows = rows.with_columns(pl.lit(symbol or symbol_in(path)).alias("symbol"))
    named = rows.with_columns(prefixed(rows["symbol"], reading.exchange, str(path)).alias("symbol"))
    ignored = [name for name in table.columns if name not in mapping.values()]
    return BarFile(path, sha256_hex(data), named, mapping, ignored)


def _table(path: Path, data: bytes) -> tuple[pl.DataFrame, str | None]:
    """The file as a table, and the instrument that its name says (klines only)."""
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            return pl.read_parquet(io.BytesIO(data)), None
        if kind == ".csv":
            return pl.read_csv(io.BytesIO(data), infer_schema=False, null_values=[""]), None
        if kind == ".zip":
            return from_csv(unpack(path, data), str(path)), symbol_in(path)
        if kind in (".json", ".gz"):
            return from_json(_inflated(path, data), str(path)), symbol_in(path)
    except (pl.exceptions.PolarsError, OSError) as problem:
        raise DataUnhealthy("IMPORT_PARSE", f"cannot be read: {problem}", where=str(path)) from None
    raise ConfigError(
        "IMPORT_FORMAT", f"{path.name} is no Parquet, CSV, kline JSON or kline zip", where=str(path),
        remedy="convert the file to one of these",
    )  # fmt: skip


def _inflated(path: Path, data: bytes) -> bytes:
    if path.suffix.lower() != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError) as problem:
        raise DataUnhealthy("IMPORT_PARSE", f"not a whole gzip file: {problem}", where=str(path)) from None


def read_document(path: Path) -> tuple[Any, str]:
    """A JSON document (gzip allowed) and the sha256 of its file; raises `ARTIFACT_INVALID_JSON`."""
    data = read_bytes(path)
    return parse_strict(_inflated(path, data), where=str(path)), sha256_hex(data)


def read_records(path: Path) -> tuple[list[Any], str]:
    """Candidate records of a JSON file: a bare list, or the `data` of an envelope `{meta, data}`.

    Parquet and CSV files give one record a row. Raises `IMPORT_FORMAT`.
    """
    if path.suffix.lower() in (".parquet", ".csv"):
        data = read_bytes(path)
        frame = (
            pl.read_parquet(io.BytesIO(data))
            if path.suffix.lower() == ".parquet"
            else pl.read_csv(io.BytesIO(data))
        )
        return frame.to_dicts(), sha256_hex(data)
    document, sha = read_document(path)
    records = document.get("data") if isinstance(document, dict) else document
    if not isinstance(records, list):
        raise ConfigError("IMPORT_FORMAT", "neither a list of records nor {meta, data}", where=str(path))
    return records, sha
