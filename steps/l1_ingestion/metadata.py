"""Instrument rules: from a venue's exchangeInfo, or inferred from the decimals of bars; SCD type 2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from quantctl.contracts.canonical import hash_json
from quantctl.contracts.errors import DataUnhealthy
from quantctl.contracts.grouping import grouped

INSTANT = pl.Datetime("us", "UTC")
EXACT = pl.Decimal(38, 18)
AMOUNTS = ("tick_size", "lot_size", "min_qty", "max_qty", "min_notional", "contract_size")
SCHEMA: dict[str, Any] = {
    "symbol": pl.String, "venue": pl.String,
    **dict.fromkeys(AMOUNTS[:5], EXACT),
    "price_precision": pl.Int32, "min_notional_reason": pl.String, "contract_size": EXACT,
    "status": pl.String, "valid_from": INSTANT, "valid_to": INSTANT, "row_hash": pl.String,
    "provenance": pl.String, "known_at": INSTANT,
}  # fmt: skip
MAX_DECIMALS = 12
ROUNDING = 8.0  # units in the last place
_ATTRIBUTES = (*AMOUNTS, "price_precision", "min_notional_reason", "status")


def _amount(text: Any) -> Decimal | None:
    """A rule as a decimal; zero means that there is no rule."""
    value = Decimal(str(text)) if text is not None else None
    return None if value is None or value == 0 else value


def exchange_info_rows(info: Mapping[str, Any], exchange: str, *, perpetual: bool) -> list[dict[str, Any]]:
    """One row per instrument of an `exchangeInfo` reply: base, quote and execution attributes.

    `perpetual`: a futures reply, of which only perpetual contracts are taken, as `NAME.P`.
    """
    rows = []
    for entry in info["symbols"]:
        if perpetual and entry.get("contractType") != "PERPETUAL":
            continue
        filters = {each["filterType"]: each for each in entry.get("filters", [])}
        price, lot = filters.get("PRICE_FILTER", {}), filters.get("LOT_SIZE", {})
        least = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL") or {}
        tick = _amount(price.get("tickSize"))
        rows.append({
            "symbol": f"{exchange}:{entry['symbol']}{'.P' if perpetual else ''}",
            "base": entry.get("baseAsset"), "quote": entry.get("quoteAsset"),
            "asset_type": "perp" if perpetual else "spot",
            "tick_size": tick, "lot_size": _amount(lot.get("stepSize")),
            "min_qty": _amount(lot.get("minQty")),
            "max_qty": _amount(lot.get("maxQty")),
            "min_notional": _amount(least.get("minNotional", least.get("notional"))),
            "price_precision": None if tick is None else max(0, -int(tick.normalize().as_tuple().exponent)),
            "min_notional_reason": None, "contract_size": Decimal(1) if perpetual else None,
            "status": entry.get("status") or entry.get("contractStatus"),
        })  # fmt: skip
    return rows


def row_hash(row: Mapping[str, Any]) -> str:
    """Hash of the attributes of one instrument row; equal attributes write nothing new."""
    return hash_json({name: None if row[name] is None else str(row[name]) for name in _ATTRIBUTES})


def table(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows of `execution_metadata` with their hashes, sorted by symbol, venue and start."""
    full = [{**row, "row_hash": row_hash(row)} for row in rows]
    columns = {
        name: pl.Series(name, [row.get(name) for row in full], dtype=kind) for name, kind in SCHEMA.items()
    }
    return pl.DataFrame(columns).sort("symbol", "venue", "valid_from")


def changes(
    stored: pl.DataFrame,
    offered: list[dict[str, Any]],
    *,
    venue: str,
    at: datetime,
    known_at: datetime,
    complete: bool,
) -> list[dict[str, Any]]:
    """Rows that an offered state of a venue adds to the stored intervals.

    Equal attributes add nothing; a change closes the current row and opens one at `at`; with `complete` a
    current symbol that is not offered closes with status DELISTED. Raises `SCD2_OVERLAP`.
    """
    mine = stored.filter((pl.col("venue") == venue) & (pl.col("provenance") == "venue"))
    current = {row["symbol"]: row for row in mine.filter(pl.col("valid_to").is_null()).iter_rows(named=True)}
    stamp = {"venue": venue, "valid_from": at, "valid_to": None, "provenance": "venue", "known_at": known_at}
    added: list[dict[str, Any]] = []
    for row in sorted(offered, key=lambda each: str(each["symbol"])):
        old = current.pop(str(row["symbol"]), None)
        if old is not None and old["row_hash"] == row_hash(row):
            continue
        if old is not None:
            added.append(_closed(old, at, known_at))
        added.append(row | stamp)
    for old in current.values() if complete else ():
        if old["status"] != "DELISTED":
            added += [_closed(old, at, known_at), old | stamp | {"status": "DELISTED"}]
    return added


def _closed(old: Mapping[str, Any], at: datetime, known_at: datetime) -> dict[str, Any]:
    if at <= old["valid_from"]:
        raise DataUnhealthy(
            "SCD2_OVERLAP",
            f"rules valid from {at.isoformat()} do not follow those from {old['valid_from'].isoformat()}",
            where=str(old["symbol"]),
            remedy="import instrument files in the order of their server times",
        )
    return {**old, "valid_to": at, "known_at": known_at}


def decimals(values: Any) -> Any:
    """Fewest decimals that write each number (up to 12), -1 where that is not enough.

    Numbers that a source computed with floats may be a few units in the last place off (`ROUNDING`).
    """
    numbers = np.asarray(values, dtype=np.float64)
    result = np.full(numbers.shape, -1, dtype=np.int32)
    open_ = np.isfinite(numbers)
    for count in range(MAX_DECIMALS + 1):
        here = np.flatnonzero(open_)
        if here.size == 0:
            break
        off = np.abs(np.round(numbers[here], count) - numbers[here])
        exact = here[off <= ROUNDING * np.spacing(np.abs(numbers[here]))]
        result[exact], open_[exact] = count, False
    result[~np.isfinite(numbers)] = 0
    return result


def inferred(bars: pl.DataFrame, venue_of: pl.Expr) -> pl.DataFrame:
    """Tick, lot and precision of each symbol from the decimals of its bars.

    A row starts at the first bar, and at every bar that needs more decimals than all before it, so that a
    reader at t sees what bars up to t imply. Least notionals cannot be inferred (`NOT_INFERABLE`).
    """
    ordered = bars.sort("symbol", "date")
    price = np.maximum.reduce([_needed(ordered[name]) for name in ("open", "high", "low", "close")])
    lot = _needed(ordered["volume"])
    counted = ordered.with_columns(pl.Series("price", price), pl.Series("lot", lot))
    running = [pl.col(name).cum_max().over("symbol") for name in ("price", "lot")]
    marked = counted.select("symbol", "date", "known_at", *running, venue=venue_of)
    first = pl.col("symbol") != pl.col("symbol").shift(1)
    more = (pl.col("price") != pl.col("price").shift(1)) | (pl.col("lot") != pl.col("lot").shift(1))
    starts = marked.filter((first | more).fill_null(True)).with_columns(
        pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("valid_from")
    )
    ended = grouped(starts, ["symbol"], ["date"]).agg(
        pl.all().exclude("date"), pl.col("valid_from").shift(-1).alias("valid_to")
    )
    flat = ended.explode("venue", "known_at", "price", "lot", "valid_from", "valid_to")
    rows = [_inferred_row(row) for row in flat.iter_rows(named=True)]
    return table(rows)


def _needed(column: pl.Series) -> Any:
    found = decimals(column.fill_null(float("nan")).to_numpy())
    return np.where(found < 0, MAX_DECIMALS + 1, found)


def _inferred_row(row: Mapping[str, Any]) -> dict[str, Any]:
    places, lots = int(row["price"]), int(row["lot"])
    tick = None if places > MAX_DECIMALS else Decimal(1).scaleb(-places)
    return {
        "symbol": row["symbol"], "venue": row["venue"], "tick_size": tick,
        "lot_size": None if lots > MAX_DECIMALS else Decimal(1).scaleb(-lots), "min_qty": None,
        "max_qty": None,
        "min_notional": None, "price_precision": None if tick is None else places,
        "min_notional_reason": "NOT_INFERABLE", "contract_size": None, "status": None,
        "valid_from": row["valid_from"], "valid_to": row["valid_to"], "provenance": "inferred",
        "known_at": row["known_at"],
    }  # fmt: skip
