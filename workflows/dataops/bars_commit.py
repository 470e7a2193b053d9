"""From offered bars to one commit: the path that imports and simulations share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from quantctl.contracts.canonical import hash_json
from quantctl.contracts.errors import DataMissing
from quantctl.contracts.grouping import grouped
from quantctl.contracts.settings.data import DataSettings
from quantctl.contracts.settings.discovery import DiscoverySettings
from quantctl.contracts.settings.universe import UniverseSettings
from quantctl.contracts.stage import StageParams
from quantctl.lake.snapshot import Snapshot
from quantctl.lake.sources.calendars import no_sessions, sessions
from quantctl.steps.l1_ingestion.bars import KEY, VALUES, CheckedBars, check_bars, revisions, session_dates
from quantctl.steps.l1_ingestion.metadata import inferred
from quantctl.workflows.dataops.lineage import asset_type_of, calendars, session_range, symbol_rows

SYMBOL_FACTS = {"base": pl.String, "quote": pl.String, "sector": pl.String}


class BarParams(StageParams):
    """Settings that decide which bars are accepted and what their symbols stand for."""

    data: DataSettings
    universe: UniverseSettings
    discovery: DiscoverySettings


@dataclass(frozen=True)
class Prepared:
    """tables : what to commit; checked : how rows were judged; symbols : offered ones, sorted
    accepted : those with at least one accepted or unchanged bar; calendars : exchange -> code
    """

    tables: dict[str, pl.DataFrame]
    checked: CheckedBars
    symbols: list[str]
    accepted: list[str]
    calendars: dict[str, str]
    last: date | None
    counts: dict[str, int]


@dataclass(frozen=True)
class How:
    """as_of : last closed session; known_at : `now` stores the time of import; given : calendar for all."""

    as_of: date
    source: str
    provenance: str
    now: datetime
    known_at: str = "session"
    close_only: bool = False
    strict: bool = False
    given: str | None = None
    run_id: str = ""


def prepare(
    offered: pl.DataFrame,
    how: How,
    params: BarParams,
    stored: Snapshot | None,
    about: pl.DataFrame | None = None,
) -> Prepared:
    """Judge offered bars (symbol, stamp, `VALUES`) and build the tables of their commit.

    `about` gives base, quote and sector of symbols where the source knows them.
    Raises `CALENDAR_UNKNOWN`, `CALENDAR_RANGE`, `IMPORT_DUPLICATE_CONFLICT`, `PRICE_FETCH_ZERO`.
    """
    symbols = offered["symbol"].unique(maintain_order=True).sort().to_list()
    if not symbols:
        raise DataMissing("PRICE_FETCH_ZERO", "the input holds no rows", remedy="give files with bars")
    codes = calendars(symbols, params.data, how.given)
    exchange = pl.col("symbol").str.split(":").list.first()
    placed = offered.with_columns(exchange.replace_strict(codes, return_dtype=pl.String).alias("calendar"))
    days = _sessions(placed, sorted(set(codes.values())), how.as_of)
    checked = check_bars(
        session_dates(placed, days), days, as_of=how.as_of, close_only=how.close_only, strict=how.strict
    )
    new, revised, unchanged = _against(stored, checked.accepted)
    accepted = checked.accepted["symbol"].unique(maintain_order=True).sort().to_list()
    counts = dict(checked.counts) | {"BAR_UNCHANGED": unchanged, "BAR_REVISED": revised.height}
    tables = {
        "bars_1d": _bars(new, revised, how),
        "bars_quarantine": _quarantine(checked.quarantined, how),
        "calendar_sessions": _unknown_sessions(days, stored),
        "symbols": _symbols(checked.accepted, codes, about, params, stored),
        "execution_metadata": _inferred(checked.accepted, stored, how),
        "health_events": _revised_events(revised, how),
    }
    last = checked.accepted["date"].max()
    return Prepared(tables, checked, symbols, accepted, codes, last, {k: v for k, v in counts.items() if v})  # type: ignore[arg-type]


def _sessions(placed: pl.DataFrame, codes: list[str], as_of: date) -> pl.DataFrame:
    first, last = placed.select(pl.col("stamp").min(), pl.col("stamp").max().alias("last")).row(0)
    newest = max(min(last.date(), as_of), first.date())
    try:
        start, end = session_range(first.date() - timedelta(days=7), newest)
    except OverflowError:  # 0001-01-01 and 9999-12-31 stand for no date in many sources
        raise no_sessions(codes[0], first.date(), last.date()) from None
    return pl.concat([sessions(code, start, end) for code in codes])


def _against(stored: Snapshot | None, accepted: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    if stored is None or accepted.is_empty() or "bars_1d" not in stored.manifest.tables:
        return revisions(accepted.clear(), accepted)
    symbols = accepted["symbol"].unique(maintain_order=True).to_list()
    rows = stored.table("bars_1d", symbols=symbols, columns=(*KEY, *VALUES))
    return revisions(rows, accepted)


def _bars(new: pl.DataFrame, revised: pl.DataFrame, how: How) -> pl.DataFrame:
    now = pl.lit(how.now.astimezone(UTC)).cast(pl.Datetime("us", "UTC"))
    first = new.with_columns(
        (pl.col("known_at") if how.known_at == "session" else now).alias("known_at"),
        pl.lit(how.provenance if how.known_at == "session" else "imported").alias("provenance"),
    )
    later = revised.drop("old_close").with_columns(
        now.alias("known_at"), pl.lit("correction").alias("provenance")
    )
    return pl.concat([first, later]).with_columns(source=pl.lit(how.source), run_id=pl.lit(how.run_id))


def _quarantine(rows: pl.DataFrame, how: How) -> pl.DataFrame:
    """Rows that fall on no date at all are counted only: the table is keyed by date."""
    dated = rows.filter(pl.col("date").is_not_null())
    hashes = [
        hash_json([str(value) for value in row]) for row in dated.select(*KEY, *VALUES, "code").iter_rows()
    ]
    full = dated.with_columns(
        pl.Series("row_hash", hashes, dtype=pl.String),
        source=pl.lit(how.source), provenance=pl.lit(how.provenance), run_id=pl.lit(how.run_id),
        known_at=(pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC").dt.offset_by("1d")),
    )  # fmt: skip
    return full.unique(["symbol", "date", "code", "row_hash"], keep="first", maintain_order=True)


def _unknown_sessions(days: pl.DataFrame, stored: Snapshot | None) -> pl.DataFrame:
    if stored is None:
        return days
    known = stored.table("calendar_sessions")
    return days.join(known, on=["code", "date", "open", "close"], how="anti", maintain_order="left")


def _symbols(
    accepted: pl.DataFrame,
    codes: dict[str, str],
    about: pl.DataFrame | None,
    params: BarParams,
    stored: Snapshot | None,
) -> pl.DataFrame:
    known = stored.table("symbols") if stored else None
    first = grouped(accepted, ["symbol"], ["date"]).agg(pl.col("date", "known_at").first())
    if known is not None:
        first = first.join(known, on="symbol", how="anti", maintain_order="left")
    calendar = pl.col("symbol").str.split(":").list.first().replace_strict(codes, return_dtype=pl.String)
    first = first.with_columns(
        calendar.alias("calendar"),
        pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("valid_from"),
    )
    kinds = [asset_type_of(symbol, code) for symbol, code in first.select("symbol", "calendar").iter_rows()]
    first = first.with_columns(pl.Series("asset_type", kinds, dtype=pl.String))
    facts = about if about is not None else pl.DataFrame(schema={"symbol": pl.String} | SYMBOL_FACTS)
    first = first.join(facts.select("symbol", *SYMBOL_FACTS), on="symbol", how="left", maintain_order="left")
    return symbol_rows(
        first, wrapped=dict(params.universe.wrapped), stable_bases=params.discovery.stable_bases,
        known_bases=[] if known is None else known["base"].drop_nulls().to_list(), provenance="inferred",
    )  # fmt: skip


def _inferred(accepted: pl.DataFrame, stored: Snapshot | None, how: How) -> pl.DataFrame:
    """Rules inferred for symbols that have none yet; closes alone imply no tick."""
    known = stored.table("execution_metadata", columns=("symbol",)) if stored else None
    fresh = (
        accepted if known is None else accepted.join(known, on="symbol", how="anti", maintain_order="left")
    )
    if how.close_only or fresh.is_empty():
        fresh = fresh.clear()
    return inferred(fresh, pl.col("symbol").str.split(":").list.first())


def _revised_events(revised: pl.DataFrame, how: How) -> pl.DataFrame:
    rows = [_event(row, how) for row in revised.iter_rows(named=True)]
    schema: dict[str, Any] = {
        "event_id": pl.String, "symbol": pl.String, "status": pl.String, "code": pl.String,
        "severity": pl.String,
        "value": pl.Float64, "threshold": pl.Float64, "session_date": pl.Date, "reason": pl.String,
        "run_id": pl.String, "actor": pl.String, "provenance": pl.String,
        "known_at": pl.Datetime("us", "UTC"), "recorded_at": pl.Datetime("us", "UTC"),
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema)


def _event(row: dict[str, Any], how: How) -> dict[str, Any]:
    fields = {
        "symbol": row["symbol"], "status": "OK", "code": "BAR_REVISED", "severity": "warn",
        "value": row["close"],
        "threshold": row["old_close"], "session_date": row["date"],
        "reason": "bar corrected (threshold: old close)",
    }  # fmt: skip
    return fields | {
        "event_id": hash_json([*map(str, fields.values()), how.run_id])[:32], "run_id": how.run_id,
        "actor": "data.import", "provenance": how.provenance, "known_at": how.now, "recorded_at": how.now,
    }  # fmt: skip
