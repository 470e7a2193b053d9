"""As-of lookup in slowly changing dimensions of type 2: `valid_from <= t < valid_to`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

PRECEDENCE = ("venue", "backdated", "default", "inferred")  # a venue's own row wins, an inferred one loses


def valid_at(rows: pl.DataFrame, at: datetime, key: Sequence[str]) -> pl.DataFrame:
    """The row of each `key` valid at `at`, sorted by `key`.

    The first row of a key is open to the left: before its `valid_from` it serves with provenance
    `backdated` (an inferred one stays `inferred`). A key whose last interval has ended gives no row.
    """
    keys = list(key)
    ordered = rows.sort([*keys, "valid_from"])
    moved = pl.any_horizontal([pl.col(c) != pl.col(c).shift(1) for c in keys])
    first = moved.fill_null(True)
    early = pl.col("valid_from") > pl.lit(at)
    backdated = early & (pl.col("provenance") != "inferred")
    return ordered.filter(
        (first | early.not_()) & (pl.col("valid_to").is_null() | (pl.col("valid_to") > pl.lit(at)))
    ).with_columns(
        provenance=pl.when(backdated).then(pl.lit("backdated")).otherwise("provenance")
    ).unique(keys, keep="last", maintain_order=True)  # fmt: skip


def one_per_symbol(rows: pl.DataFrame) -> pl.DataFrame:
    """The row of best provenance of each symbol (then by venue), with decimals as float64."""
    order = {name: rank for rank, name in enumerate(PRECEDENCE)}
    rank = pl.col("provenance").replace_strict(order, default=len(order), return_dtype=pl.Int32)
    decimals = [c for c, kind in rows.schema.items() if isinstance(kind, pl.Decimal)]
    return (
        rows.with_columns(pl.col(decimals).cast(pl.Float64), rank.alias("_rank"))
        .sort(["symbol", "_rank", "venue"])
        .unique("symbol", keep="first", maintain_order=True)
        .drop("_rank")
    )
