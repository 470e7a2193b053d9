"""The logical hash of a table: the same for the same rows, whatever the file layout or writer version.

sha256 over, per column in name order, its name, its type, and then the rows sorted by key as
little-endian values with a validity byte each; -0.0 counts as 0.0, every NaN as one pattern, strings are
length-prefixed UTF-8. The column `run_id` is left out, so equal content of another run has an equal hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from quantctl.contracts.errors import ContractError

UNHASHED = frozenset({"run_id"})
_BLOCK = 1 << 20


def logical_hash(frame: pl.DataFrame, key: Sequence[str]) -> str:
    """Hex sha256 of the rows of `frame`; `key` is unique per row and decides their order."""
    return sorted_hash(frame.sort(list(key)))


def sorted_hash(frame: pl.DataFrame) -> str:
    """`logical_hash` of a frame that is sorted by its key already."""
    digest = hashlib.sha256()
    for name in sorted(set(frame.columns) - UNHASHED):
        series = frame.get_column(name)
        digest.update(_text(name))
        digest.update(_text(type_name(series.dtype)))
        for start in range(0, series.len(), _BLOCK):
            for block in _encoded(series.slice(start, _BLOCK)):
                digest.update(block)
    return digest.hexdigest()


def type_name(dtype: pl.DataType) -> str:
    """Our own name of a column type, so that a polars release cannot change a hash."""
    if isinstance(dtype, pl.Datetime):
        return f"instant_{dtype.time_unit}"
    if isinstance(dtype, pl.Decimal):
        return f"decimal_{dtype.scale}"
    names: dict[type[pl.DataType], str] = {
        pl.Float64: "f64", pl.Int64: "i64", pl.Int32: "i32", pl.Int16: "i16", pl.Int8: "i8",
        pl.Boolean: "bool", pl.String: "utf8", pl.Date: "date",
    }  # fmt: skip
    name = names.get(type(dtype))
    if name is None:
        raise ContractError("LAKE_SCHEMA", f"a lake column cannot have type {dtype}")
    return name


def _encoded(series: pl.Series) -> Iterator[bytes]:
    if series.dtype == pl.String or isinstance(series.dtype, pl.Decimal):
        yield _strings(series.cast(pl.String))
        return
    width = {"f64": "<f8", "i32": "<i4", "date": "<i4", "i16": "<i2", "i8": "i1", "bool": "u1"}
    code = width.get(type_name(series.dtype), "<i8")
    rows = np.empty(series.len(), dtype=np.dtype([("valid", "u1"), ("value", code)]))
    rows["valid"] = series.is_not_null().to_numpy()
    physical = series.to_physical()
    values = physical.fill_null(False if physical.dtype == pl.Boolean else 0).to_numpy()
    if code == "<f8":
        values = values + 0.0
        values[np.isnan(values)] = np.nan
    rows["value"] = values
    yield rows.tobytes()


def _strings(series: pl.Series) -> bytes:
    runs = series.rle()
    lengths = runs.struct.field("len").to_list()
    values = runs.struct.field("value").to_list()
    return b"".join(_optional(value) * length for value, length in zip(values, lengths, strict=True))


def _optional(value: str | None) -> bytes:
    return b"\0" if value is None else b"\1" + _text(value)


def _text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(4, "little") + data
