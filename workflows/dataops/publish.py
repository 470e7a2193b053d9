"""`data.publish`: the newest version becomes `latest`, with what a run may know of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import polars as pl

from quantctl.contracts.errors import DataMissing, DataUnhealthy
from quantctl.contracts.settings.data import DataSettings
from quantctl.contracts.settings.discovery import DiscoverySettings
from quantctl.contracts.settings.universe import UniverseSettings
from quantctl.contracts.stage import Outcome, RunFacts, StageParams, stage
from quantctl.lake.knowledge import end_of_day
from quantctl.lake.snapshot import Lake, Snapshot
from quantctl.steps.l0_foundation.health import judge
from quantctl.steps.l1_ingestion.rules import incomplete
from quantctl.workflows.dataops.lineage import base_of
from quantctl.workflows.dataops.requests import CandidatesRequest

_KEY = ("as_of", "scanner", "symbol", "logic", "direction")


class PublishParams(StageParams):
    """Settings by which candidates are eligible."""

    data: DataSettings
    discovery: DiscoverySettings
    universe: UniverseSettings


@stage("data.publish", writes=("publish_report",), params=PublishParams)
def publish(
    *, lake: Lake, request: CandidatesRequest, now: datetime, params: PublishParams, run: RunFacts
) -> Outcome:
    """Publish the newest version, with the candidates of the date that are not eligible and why."""
    txn = f"{run.run_id}/data.publish/latest"
    before = base_of(lake, txn)
    if before is None:
        raise DataMissing("LAKE_MISSING", "there is nothing to publish", remedy="quantctl data import PATH")
    as_of = request.as_of or before.as_of
    rows = _own(before.table("candidates", start=as_of, end=as_of), params)
    out = _ineligible(before, as_of, rows, params) if rows.height else []
    if rows.height and len(out) == rows.height:
        raise _none_eligible(out, as_of)

    def facts(known: Mapping[str, Any]) -> dict[str, Any]:
        ineligible = _beside(known.get("ineligible", []), out, as_of, rows)
        return {"ineligible": ineligible, "product_version": run.code_version}

    snapshot = lake.publish(txn=txn, at=now, facts=facts)
    report = {
        "schema_version": 1,
        "snapshot": snapshot.id,
        "as_of": as_of.isoformat(),
        "candidates": rows.height,
        "ineligible": out,
    }
    return Outcome(
        {"publish_report": report},
        metrics={"snapshot": snapshot.id, "candidates": rows.height, "ineligible": len(out)},
    )


def _none_eligible(out: list[dict[str, Any]], as_of: date) -> DataUnhealthy:
    """The error of a date without eligible candidates: how many for which reason."""
    counts = Counter(str(entry["code"]) for entry in out)
    told = ", ".join(f"{code} {number}" for code, number in sorted(counts.items()))
    rules = "quantctl data import exchangeInfo.json --table instruments"
    return DataUnhealthy(
        "SNAPSHOT_EMPTY", f"not one of {len(out)} candidates of {as_of} is eligible ({told})",
        where=str(as_of), remedy=rules if "METADATA_INCOMPLETE" in counts else "quantctl data health",
    )  # fmt: skip


def _own(rows: pl.DataFrame, params: PublishParams) -> pl.DataFrame:
    """Candidates of the profile's scanners, which its floors are for; of all if it lists none."""
    names = params.discovery.scanners
    return rows.filter(pl.col("scanner").is_in(list(names))) if names else rows


def _beside(
    known: list[dict[str, Any]], out: list[dict[str, Any]], as_of: date, rows: pl.DataFrame
) -> list[dict[str, Any]]:
    """`out` beside what holds for other dates and for scanners that were not judged now."""
    judged = set(rows["scanner"])
    others = [e for e in known if e["as_of"] != as_of.isoformat() or e["scanner"] not in judged]
    return sorted([*others, *out], key=lambda e: tuple(str(e[name]) for name in _KEY))


def _ineligible(
    before: Snapshot, as_of: date, rows: pl.DataFrame, params: PublishParams
) -> list[dict[str, Any]]:
    """Candidates without health, turnover, volatility or instrument rules at `as_of`; first reason only."""
    symbols = rows["symbol"].unique(maintain_order=True).sort().to_list()
    at = before.decision_time(as_of)
    metadata = before.metadata(as_of).filter(pl.col("symbol").is_in(symbols))
    health = judge(
        before.table("bars_1d", symbols=symbols, end=as_of, known_at=at), before.sessions(end=as_of),
        before.symbols(as_of).filter(pl.col("symbol").is_in(symbols)), as_of=as_of, at=end_of_day(as_of),
        settings=params.data,
        metadata=metadata, events=before.health_events(as_of),
    )  # fmt: skip
    reasons: dict[str, dict[str, Any]] = {}
    for row in health.verdicts.filter(~pl.col("eligible")).iter_rows(named=True):
        reasons[row["symbol"]] = {"code": row["code"], "value": row["value"], "threshold": row["threshold"]}
    for symbol, reason in _floors(before, as_of, symbols, params).items():
        reasons.setdefault(symbol, reason)
    consent = params.universe.accept_inferred_metadata
    for symbol in incomplete(metadata, before.symbols(as_of), symbols, accept_inferred=consent):
        reasons.setdefault(symbol, {"code": "METADATA_INCOMPLETE", "value": None, "threshold": None})
    keys = rows.with_columns(pl.col("as_of").cast(pl.String)).select(_KEY).sort(_KEY)
    return [row | reasons[row["symbol"]] for row in keys.iter_rows(named=True) if row["symbol"] in reasons]


def _floors(
    before: Snapshot, as_of: date, symbols: list[str], params: PublishParams
) -> dict[str, dict[str, Any]]:
    values: dict[str, dict[str, Any]] = {}
    if "features_daily" in before.manifest.tables:
        latest = before.features_latest(as_of, symbols).select("symbol", "adv_30", "vol_30")
        values = {row["symbol"]: row for row in latest.iter_rows(named=True)}
    found: dict[str, dict[str, Any]] = {}
    for symbol in symbols:
        row = values.get(symbol, {"adv_30": None, "vol_30": None})
        for name, code, floor in (
            ("adv_30", "TURNOVER_LOW", params.universe.daily_turnover_min),
            ("vol_30", "VOLATILITY_LOW", params.universe.daily_vol_min),
        ):
            if row[name] is None and name == "adv_30" and not params.universe.allow_unknown_liquidity:
                found.setdefault(symbol, {"code": "LIQUIDITY_UNKNOWN", "value": None, "threshold": floor})
            elif row[name] is not None and (
                row[name] < floor or (name == "vol_30" and row[name] <= floor > 0)
            ):
                found.setdefault(symbol, {"code": code, "value": row[name], "threshold": floor})
    return found
