"""`data.simulate`: a simulated market through the same door as imported bars."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl

from quantctl.contracts.canonical import sha256_hex
from quantctl.contracts.errors import ConfigError
from quantctl.contracts.records.coverage import offline_coverage
from quantctl.contracts.stage import Outcome, RunFacts, stage
from quantctl.lake.encoding import encode
from quantctl.lake.snapshot import Lake, Snapshot
from quantctl.lake.sources.simulator import SimulatedMarket, Simulation, simulate
from quantctl.lake.sources.simulator.market import as_exchange_info
from quantctl.steps.l1_ingestion.metadata import exchange_info_rows, table
from quantctl.workflows.dataops.bars_commit import BarParams, How, Prepared, prepare
from quantctl.workflows.dataops.lineage import base_of, coverage_facts, coverage_recorded, midnight
from quantctl.workflows.dataops.requests import SimulateRequest


@stage("data.simulate", writes=("import_report", "price_ingest_coverage"), params=BarParams)
def simulate_market(
    *, lake: Lake, request: SimulateRequest, now: datetime, params: BarParams, run: RunFacts
) -> Outcome:
    """Make a market by seed, commit it and publish it as simulated."""
    market = simulate(Simulation(**request.model_dump()))
    txn = f"{run.run_id}/data.simulate/market"
    before = base_of(lake, txn)
    _refuse_mixture(before, market)
    offered = market.bars.with_columns(
        pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("stamp")
    ).drop("date")
    how = How(
        as_of=market.sessions["date"][-1], source="simulate", provenance="simulated", now=now,
        given=request.calendar, run_id=run.run_id,
    )  # fmt: skip
    ready = prepare(offered, how, params, before, market.instruments)
    ready.tables["execution_metadata"] = _rules(market, request)
    report = _report(request, ready, market)
    coverage = offline_coverage(
        run_id=run.run_id, profile=run.profile, stage="price_ingest", source="simulate",
        expected=ready.symbols,
        failed=dict.fromkeys(sorted(set(ready.symbols) - set(ready.accepted)), "BAR_INVALID"),
        started_at=now.isoformat(), strict=params.data.strict,
        evidence_sha256=sha256_hex(encode("import_report", report)[0]),
    )  # fmt: skip

    def facts(known: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "coverage": coverage_facts(known, "price_ingest_coverage", coverage, run),
            "calendars": known.get("calendars", {}) | ready.calendars,
            "simulated": request.model_dump(mode="json"),
        }

    snapshot = lake.commit(ready.tables, txn=txn, at=now, published=True, facts=facts)
    metrics = {"symbols": len(ready.symbols), "bars": ready.tables["bars_1d"].height, "snapshot": snapshot.id}
    outputs = {"import_report": report, "price_ingest_coverage": coverage}
    recorded = coverage_recorded("price_ingest_coverage", coverage, run)
    return Outcome(outputs, findings=[recorded], metrics=metrics)


def _refuse_mixture(before: Snapshot | None, market: SimulatedMarket) -> None:
    """A simulated market does not revise bars that are there already."""
    if before is None:
        return
    known = set(before.table("bars_1d", columns=("symbol",))["symbol"].unique(maintain_order=True))
    shared = sorted(known & set(market.instruments["symbol"]))
    if shared:
        raise ConfigError(
            "SIMULATION_EXISTS", f"the lakehouse already holds bars of {len(shared)} of these symbols",
            where=shared[0], remedy="simulate into an empty lakehouse (TV_LAKEHOUSE_DIR)",
        )  # fmt: skip


def _rules(market: SimulatedMarket, request: SimulateRequest) -> pl.DataFrame:
    """Instrument rules as a venue would have published them: from listing, with a row when trading ended."""
    listed = {row["symbol"]: row for row in market.instruments.iter_rows(named=True)}
    rows: list[dict[str, Any]] = []
    for row in exchange_info_rows(as_exchange_info(market), request.exchange, perpetual=False):
        about = listed[row["symbol"]]
        start, end = midnight(about["first"]), midnight(about["last"])
        own = row | {"venue": request.exchange, "provenance": "venue", "valid_to": None}
        rows.append(own | {"status": "TRADING", "valid_from": start, "known_at": start})
        if about["ended"]:
            rows[-1] = rows[-1] | {"valid_to": end}
            rows.append(own | {"valid_from": end, "known_at": end})
    return table(rows)


def _report(request: SimulateRequest, ready: Prepared, market: SimulatedMarket) -> dict[str, Any]:
    return {
        "schema_version": 1, "source": "simulate", "note": "simulated market, not real data",
        "request": request.model_dump(mode="json"), "files": [],
        "rows": market.bars.height, "accepted": ready.tables["bars_1d"].height, "symbols": len(ready.symbols),
        "counts": ready.counts, "by_symbol": ready.checked.by_symbol.to_dicts(),
        "calendars": ready.calendars, "last": ready.last.isoformat() if ready.last else None,
    }  # fmt: skip
