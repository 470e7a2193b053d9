"""Klines as the venue's API and archives give them: twelve fields a row."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import polars as pl

from quantctl.contracts.errors import ConfigError, DataUnhealthy
from quantctl.lake.sources.columns import stamps

FIELDS = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades",
    "taker_base", "taker_quote", "ignored",
)  # fmt: skip
_NAME = re.compile(r"[A-Z0-9]{2,}(?:_PERP)?")


def from_json(data: bytes, where: str) -> pl.DataFrame:
    """Rows of a kline array; prices are read from their strings. Raises `KLINE_MALFORMED`."""
    try:
        rows: Any = json.loads(data)
    except ValueError as problem:
        raise _malformed(f"not JSON: {problem}", where) from None
    if not isinstance(rows, list):
        raise _malformed("not an array of klines", where)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, list) or len(row) != len(FIELDS):
            raise _malformed(f"row {number} does not have {len(FIELDS)} fields", f"{where}:{number}")
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(FIELDS)
    frame = pl.DataFrame(
        {name: pl.Series([str(value) for value in column], dtype=pl.String)
         for name, column in zip(FIELDS, columns, strict=True)}
    )  # fmt: skip
    return _daily(frame, where)


def from_csv(text: bytes, where: str) -> pl.DataFrame:
    """Rows of the CSV of a kline archive, with or without a header row. Raises `KLINE_MALFORMED`."""
    header = not text[:1].isdigit()
    frame = pl.read_csv(io.BytesIO(text), has_header=False, skip_rows=int(header), infer_schema=False)
    if frame.width != len(FIELDS):
        raise _malformed(f"{frame.width} columns instead of {len(FIELDS)}", where)
    frame.columns = list(FIELDS)
    return _daily(frame, where)


def symbol_in(path: Path) -> str:
    """The instrument a kline file is named after: `BTCUSDT-1d-2024-01.zip`, `klines_BTCUSDT.json`.

    Files below `futures/um` hold perpetuals and get the suffix `.P`. Raises `IMPORT_SYMBOL`.
    """
    stem = path.name.partition(".")[0]
    tokens = [token for token in re.split(r"[-_ ]", stem) if _NAME.fullmatch(token) and not token.isdigit()]
    if len(tokens) != 1:
        raise ConfigError(
            "IMPORT_SYMBOL", f"{path.name} does not name one instrument", where=str(path),
            remedy="name the file after its instrument, as in klines_BTCUSDT.json",
        )  # fmt: skip
    perpetual = "/futures/um/" in path.as_posix()
    return tokens[0] + (".P" if perpetual else "")


def _daily(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    """Refuse bars of another length than a day."""
    opened, closed = stamps(frame["open_time"], where), stamps(frame["close_time"], where)
    length = (closed - opened).dt.total_seconds()
    if frame.height and not length.is_between(86_399 - 1, 86_400).all():
        days = float(length.max() or 0) / 86_400  # type: ignore[arg-type]
        raise ConfigError(
            "IMPORT_INTERVAL",
            f"bars of {days:.6g} days cannot be daily bars",
            where=where,
            remedy="import klines of interval 1d",
        )
    return frame


def _malformed(message: str, where: str) -> DataUnhealthy:
    return DataUnhealthy(
        "KLINE_MALFORMED", message, where=where, remedy="nothing was committed; mend the file"
    )
