"""Which instruments have complete rules: tick, lot, precision and, for crypto, a least notional."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from quantctl.contracts.grouping import grouped

CRYPTO = ("spot", "perp")
RULES = ("tick_size", "lot_size", "price_precision", "min_notional")


def completeness(metadata: pl.DataFrame, symbols: pl.DataFrame, wanted: Sequence[str]) -> pl.DataFrame:
    """How complete the rules of the symbols `wanted` are, one row each, sorted by symbol.

    Parameters
    ----------
    metadata : rows valid at the date, one per symbol: symbol, provenance and `RULES`
    symbols : symbol, asset_type

    Returns
    -------
    symbol, provenance (null: no row at all), missing (names of absent rules), complete. Least notionals are
    asked of crypto only, and not of inferred rows, from which bars cannot tell them (`NOT_INFERABLE`).
    """
    asked = pl.DataFrame({"symbol": sorted(set(wanted))}, schema={"symbol": pl.String})
    wide = asked.join(metadata.select("symbol", "provenance", *RULES), on="symbol", how="left")
    wide = wide.join(symbols.select("symbol", "asset_type"), on="symbol", how="left").sort("symbol")
    exempt = (pl.col("provenance") == "inferred") | pl.col("asset_type").is_in(CRYPTO).not_()
    lacks = {
        "tick_size": (pl.col("tick_size") > 0).fill_null(False).not_(),
        "lot_size": (pl.col("lot_size") > 0).fill_null(False).not_(),
        "price_precision": pl.col("price_precision").is_null(),
        "min_notional": pl.col("min_notional").is_null() & exempt.fill_null(False).not_(),
    }
    names = [pl.when(lack).then(pl.lit(name)) for name, lack in lacks.items()]
    missing = pl.concat_list(names).list.drop_nulls()
    return wide.select(
        "symbol", "provenance", missing.alias("missing"), (missing.list.len() == 0).alias("complete")
    )


def incomplete(
    metadata: pl.DataFrame, symbols: pl.DataFrame, wanted: Sequence[str], *, accept_inferred: bool
) -> list[str]:
    """Symbols `wanted` without complete rules, sorted; inferred rules count only where they are accepted."""
    table = completeness(metadata, symbols, wanted)
    refused = pl.lit(not accept_inferred) & (pl.col("provenance") == "inferred").fill_null(False)
    return table.filter(~pl.col("complete") | refused)["symbol"].to_list()


def by_provenance(table: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Counts and incomplete symbols of a `completeness` table per provenance (`none`: no row)."""
    named = table.with_columns(pl.col("provenance").fill_null("none"))
    lacking = pl.col("symbol").filter(~pl.col("complete"))
    counts = grouped(named, ["provenance"], ["symbol"]).agg(
        pl.len().alias("symbols"), pl.col("complete").sum(), lacking.alias("incomplete")
    )
    return {row.pop("provenance"): row for row in counts.iter_rows(named=True)}
