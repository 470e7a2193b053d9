"""Parts: immutable Parquet files named by the hash of their bytes, sorted and unique by key."""

from __future__ import annotations

import io
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict

from quantctl.contracts.canonical import sha256_hex
from quantctl.contracts.errors import ContractError, DataUnhealthy
from quantctl.lake.logical import sorted_hash, type_name
from quantctl.lake.tables import Table

COMPRESSION_LEVEL = 3
ROW_GROUP = 32_768
PART_ROWS = 2_000_000


class Part(BaseModel):
    """One part, as its manifest describes it; ranges are `[least, greatest]` and inclusive.

    `versions`: some key stands in it more than once, with different `known_at`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    rows: int
    bytes: int
    logical_hash: str
    versions: bool = False
    symbol: tuple[str, str] | None = None
    time: tuple[str, str] | None = None
    known_at: tuple[str, str] | None = None

    def path(self, root: Path, table: str) -> Path:
        """Where its file lies below the lakehouse `root`."""
        return root / "parts" / table / f"{self.sha256}.parquet"


def encode_parquet(frame: pl.DataFrame) -> bytes:
    """The one way a lake frame becomes Parquet bytes."""
    stream = io.BytesIO()
    frame.write_parquet(
        stream,
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        row_group_size=ROW_GROUP,
        statistics=True,
    )
    return stream.getvalue()


def encode_parts(table: Table, frame: pl.DataFrame) -> list[tuple[Part, bytes]]:
    """Parts of conforming rows of one commit: sorted by the table's order, at most `PART_ROWS` each.

    Raises `LAKE_KEY_DUPLICATE`.
    """
    ready = frame.sort(list(table.order))
    _unique(table, ready)
    return [_encode(table, ready.slice(start, PART_ROWS)) for start in range(0, ready.height, PART_ROWS)]


def _encode(table: Table, rows: pl.DataFrame) -> tuple[Part, bytes]:
    data = encode_parquet(rows)
    part = Part(
        sha256=sha256_hex(data),
        rows=rows.height,
        bytes=len(data),
        logical_hash=sorted_hash(rows),
        versions=twin(rows, table.key) is not None,
        symbol=_range(rows, table.symbol),
        time=_range(rows, table.time),
        known_at=_range(rows, None if table.timeless else "known_at"),
    )
    return part, data


def _range(rows: pl.DataFrame, column: str | None) -> tuple[str, str] | None:
    if column is None:
        return None
    series = rows.get_column(column)
    return stamp(series.min()), stamp(series.max())


def stamp(value: Any) -> str:
    """Text of a symbol, date or instant whose order is that of the value."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value.isoformat() if isinstance(value, date) else str(value)


def conform(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with the table's columns first and of their types, absent nullable ones null.

    A column the table does not name is kept (an additive schema change). Raises `LAKE_SCHEMA`,
    `LAKE_KEY_NULL`, `LAKE_NONFINITE`.
    """
    absent = [c for c in table.columns if c not in frame.columns]
    missing = [c for c in absent if c not in table.nullable]
    if missing:
        raise ContractError("LAKE_SCHEMA", f"columns {', '.join(missing)} are missing", where=table.name)
    named = [
        pl.lit(None, kind).alias(name) if name in absent else _typed(table, frame, name)
        for name, kind in table.columns.items()
    ]
    extra = sorted(set(frame.columns) - set(table.columns))
    ready = frame.select(*named, *extra)
    for column in extra:
        type_name(ready.schema[column])
    _complete(table, ready)
    _finite(table, ready)
    return ready


def _typed(table: Table, frame: pl.DataFrame, column: str) -> pl.Expr:
    have, want = frame.schema[column], table.columns[column]
    if have == want:
        return pl.col(column)
    exact = isinstance(want, pl.Decimal) and have in (pl.String, pl.Float64, pl.Decimal, pl.Int64)
    if exact or have == pl.Null or (isinstance(want, pl.Datetime) and _utc(have)):
        return pl.col(column).cast(want)
    raise ContractError("LAKE_SCHEMA", f"type {have}, the table has {want}", where=f"{table.name}:{column}")


def _utc(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.Datetime) and dtype.time_zone == "UTC"


def _complete(table: Table, frame: pl.DataFrame) -> None:
    needed = [*table.key] if table.timeless else [*table.key, "known_at", "provenance"]
    nulls = frame.select(pl.col(needed).null_count()).row(0, named=True)
    for column, number in nulls.items():
        if number:
            raise ContractError("LAKE_KEY_NULL", f"{number} nulls", where=f"{table.name}:{column}")


def _finite(table: Table, frame: pl.DataFrame) -> None:
    floats = [c for c, t in frame.schema.items() if t == pl.Float64]
    if not floats:
        return
    bad = frame.select((~pl.col(floats).is_finite()).sum()).row(0, named=True)
    for column, number in bad.items():
        if number:
            raise ContractError(
                "LAKE_NONFINITE", f"{number} values are NaN or infinite", where=f"{table.name}:{column}"
            )


def _unique(table: Table, ordered: pl.DataFrame) -> None:
    row = twin(ordered, table.order)
    if row is not None:
        key = ", ".join(stamp(value) for value in row)
        raise ContractError("LAKE_KEY_DUPLICATE", f"two rows have the key {key}", where=table.name)


def twin(ordered: pl.DataFrame, key: tuple[str, ...]) -> tuple[Any, ...] | None:
    """The first key that stands on two successive rows of a frame sorted by `key`, or None."""
    same = pl.all_horizontal([pl.col(c) == pl.col(c).shift(1) for c in reversed(key)])
    rows = ordered.lazy().filter(same).select(key).head(1).collect()
    return rows.row(0) if rows.height else None


def corrupt(path: Path, why: str) -> DataUnhealthy:
    """The error of a missing or altered file of a snapshot."""
    return DataUnhealthy(
        "SNAPSHOT_CORRUPT", why, where=str(path), remedy="restore the file, or import the data again"
    )
