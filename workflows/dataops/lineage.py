"""What several DataOps stages share: coverage entries, lineage columns, symbol rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from quantctl.contracts.artifacts import path_of
from quantctl.contracts.canonical import hash_json, sha256_hex
from quantctl.contracts.errors import DataUnhealthy
from quantctl.contracts.records.coverage import Coverage
from quantctl.contracts.settings.data import DataSettings
from quantctl.contracts.stage import Finding, RunFacts
from quantctl.lake.encoding import encode
from quantctl.lake.snapshot import Lake, Snapshot
from quantctl.lake.sources.calendars import calendar_code, calendar_of
from quantctl.steps.l0_foundation.identity import identify_table

CRYPTO_VENUES = ("BINANCE", "BYBIT", "OKX", "BITGET", "COINBASE", "KRAKEN")


def newest(lake: Lake) -> Snapshot | None:
    """The newest committed version, or null for a lakehouse without commits."""
    if lake.log.head() is None:
        return None
    return lake.snapshot(committed=True)


def base_of(lake: Lake, txn: str) -> Snapshot | None:
    """The version that the commit `txn` builds on: the newest, or on a replay the one before its commit.

    So a replayed step computes what it computed the first time.
    """
    done = lake.log.of_txn(txn, lake.log.head())
    if done is None:
        return newest(lake)
    if done.version == 1:
        return None
    earlier = lake.log.entry(done.version - 1)
    if earlier is None:
        raise DataUnhealthy(
            "SNAPSHOT_CORRUPT", f"the log lacks version {done.version - 1}", where=str(lake.root),
            remedy="quantctl lake verify",
        )  # fmt: skip
    return lake.snapshot(earlier.manifest)


def facts_of(snapshot: Snapshot | None) -> dict[str, Any]:
    """Facts of the manifest that a commit builds on."""
    return dict(snapshot.manifest.facts) if snapshot else {}


def coverage_recorded(artifact: str, coverage: Coverage, run: RunFacts) -> Finding:
    """The ledger's record of a coverage artifact: path, sha256, stage, coverage and status."""
    entry = _coverage_entry(artifact, coverage, run)
    kept = {key: entry[key] for key in ("stage", "path", "sha256", "coverage", "status")}
    message = f"{coverage.stage}: {coverage.covered} of {coverage.expected} symbols"
    return Finding(level="INFO", code="COVERAGE_RECORDED", message=message, details={"event": True} | kept)


def _coverage_entry(artifact: str, coverage: Coverage, run: RunFacts) -> dict[str, Any]:
    data, _ = encode(artifact, coverage)
    relative = path_of(artifact, profile=run.profile, run_id=run.run_id)
    return {
        "dataops_run_id": run.run_id, "stage": coverage.stage, "source": coverage.source,
        "path": f"summaries/runs/{run.run_id}/{relative}", "sha256": sha256_hex(data),
        "coverage": coverage.coverage, "status": coverage.status,
    }  # fmt: skip


def coverage_facts(
    facts: Mapping[str, Any], artifact: str, coverage: Coverage, run: RunFacts
) -> list[dict[str, Any]]:
    """The coverage entries of a manifest with this one added; its file is written by the runner."""
    entry = _coverage_entry(artifact, coverage, run)
    others = [
        each for each in facts.get("coverage", [])
        if (each["dataops_run_id"], each["stage"]) != (run.run_id, coverage.stage)
    ]  # fmt: skip
    return sorted([*others, entry], key=lambda each: (each["dataops_run_id"], each["stage"]))


def calendars(symbols: list[str], data: DataSettings, given: str | None) -> dict[str, str]:
    """Exchange prefix -> calendar code (`CALENDAR_UNKNOWN` for an unmapped exchange)."""
    exchanges = sorted({symbol.partition(":")[0] for symbol in symbols})
    if given is not None:
        return dict.fromkeys(exchanges, calendar_code(given))
    return {exchange: calendar_of(exchange, data.calendars) for exchange in exchanges}


def asset_type_of(symbol: str, calendar: str) -> str:
    """Declared class of an imported symbol: a name ending in `.P` is a perpetual."""
    if calendar == "24x7":
        return "perp" if symbol.endswith(".P") else "spot"
    return {"24x5": "fx", "CMES": "future", "ICEUS": "future", "XEUR": "future"}.get(calendar, "equity")


def symbol_rows(
    first: pl.DataFrame, *, wrapped: dict[str, str], stable_bases: tuple[str, ...], known_bases: list[str],
    provenance: str,
) -> pl.DataFrame:  # fmt: skip
    """Rows of `symbols` from the identity kernel.

    `first` has symbol, calendar, asset_type, base, quote, sector, valid_from and known_at; null base and
    quote are read from the name.
    """
    from quantctl.steps.l0_foundation.identity import listed_bases

    own = listed_bases(first.select("symbol", "base", "asset_type").iter_rows())
    found = identify_table(
        first, wrapped=wrapped, stable_bases=stable_bases, known_bases=own | set(known_bases)
    )
    named = first.drop("base", "quote").join(
        found.drop("code"), on="symbol", how="left", maintain_order="left"
    )
    hashes = [
        hash_json([row[k] for k in ("symbol", "base", "quote", "asset_type", "calendar", "sector")])
        for row in named.iter_rows(named=True)
    ]
    return named.select(
        "symbol", pl.col("symbol").str.split(":").list.first().alias("exchange"), "base", "quote",
        "base_identity",
        "asset_type", pl.col("multiplier").cast(pl.Float64), "leveraged", "stable", "calendar", "sector",
        pl.lit(None, pl.String).alias("industry"), "valid_from", pl.lit(None, pl.Datetime("us",
            "UTC")).alias("valid_to"),
        pl.Series("row_hash", hashes), pl.lit(provenance).alias("provenance"), "known_at",
    )  # fmt: skip


def session_range(start: date, end: date) -> tuple[date, date]:
    """What is materialised of a calendar: from the year of `start` to a year after `end`."""
    return date(start.year, 1, 1), end + timedelta(days=366)


def midnight(day: date) -> datetime:
    """The start of a day, UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
