"""`data.candidates`: scanners evaluated offline over the lakehouse at an as-of date."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from quantctl.contracts.errors import ConfigError, DataMissing, QuantError
from quantctl.contracts.grouping import grouped
from quantctl.contracts.settings.data import DataSettings
from quantctl.contracts.settings.discovery import DiscoverySettings
from quantctl.contracts.settings.universe import UniverseSettings
from quantctl.contracts.stage import Finding, Outcome, RunFacts, StageParams, stage
from quantctl.lake.knowledge import end_of_day
from quantctl.lake.snapshot import Lake, Snapshot
from quantctl.steps.l1_ingestion.candidates import Record, merge
from quantctl.steps.l1_ingestion.scanner import Definition
from quantctl.steps.l1_ingestion.scanner_lake import Scan, market_at, needs_history, scan, with_performance
from quantctl.workflows.dataops.candidate_import import candidate_rows
from quantctl.workflows.dataops.lineage import base_of
from quantctl.workflows.dataops.requests import CandidatesRequest

HISTORY_DAYS = 560
_COPIED = (
    "close",
    "volatility_d",
    "recommend_all",
    "recommend_ma",
    "recommend_other",
    "rsi_14",
    "adv_30",
    "vol_30",
)


class ScanParams(StageParams):
    """Settings that bound what a scanner may return."""

    data: DataSettings
    universe: UniverseSettings
    discovery: DiscoverySettings


@stage("data.candidates", writes=("scan_records", "candidates_export"), params=ScanParams)
def find_candidates(
    *, lake: Lake, request: CandidatesRequest, now: datetime, params: ScanParams, run: RunFacts
) -> Outcome:
    """Evaluate the profile's scanners over the lake and commit their rows and funnels."""
    txn = f"{run.run_id}/data.candidates/lake"
    before = lake.snapshot(request.snapshot) if request.snapshot else base_of(lake, txn)
    if before is None or "bars_1d" not in before.manifest.tables:
        raise DataMissing("LAKE_MISSING", "there are no bars to scan", remedy="quantctl data import PATH")
    as_of = request.as_of or before.as_of
    if as_of > before.as_of:
        raise DataMissing(
            "SNAPSHOT_TOO_OLD", f"the lakehouse ends on {before.as_of}, before {as_of}", where=before.id,
            remedy="import or ingest later bars, or choose an earlier --as-of",
        )  # fmt: skip
    if not request.scanners:
        raise ConfigError("SCANNER_UNKNOWN", "the profile lists no scanners", where="discovery.scanners")
    wanted, kept = _wanted(before, as_of, request)
    found = _scans(before, as_of, wanted, params)
    findings = [*_kept(kept, as_of), *_daily(found)]
    records = [record for name, result in found.items() for record in _records(name, wanted[name], result)]
    outputs = {
        "scan_records": _scan_records(before, as_of, wanted, found),
        "candidates_export": {
            "schema_version": 1,
            "as_of": as_of.isoformat(),
            "candidates": merge(_plain(records)),
        },
    }
    error = _empty(found, wanted)
    if error is not None:
        return Outcome(outputs, findings=findings, error=error)
    tables = {
        "candidates": candidate_rows(records, as_of=as_of, provenance="reconstructed", run_id=run.run_id),
        "candidates_funnel": _funnel(found, as_of, before),
    }
    hashes = {name: definition.sha256() for name, definition in wanted.items()}
    snapshot = lake.commit(tables, txn=txn, at=now, facts={"scanner_hashes": hashes})
    counts = {name: result.rows.height for name, result in found.items()}
    return Outcome(
        outputs,
        findings=findings,
        metrics={"as_of": as_of.isoformat(), "rows": counts, "snapshot": snapshot.id},
    )


def _wanted(
    before: Snapshot, as_of: date, request: CandidatesRequest
) -> tuple[dict[str, Definition], list[str]]:
    """Definitions to evaluate, and the scanners whose rows of that date stay."""
    names = sorted(request.scanners)
    there = before.candidates(as_of, names)["scanner"].unique(maintain_order=True).to_list()
    kept = [] if request.refresh else sorted(there)
    return {n: Definition.model_validate(request.scanners[n]) for n in names if n not in kept}, kept


def _scans(
    before: Snapshot, as_of: date, wanted: dict[str, Definition], params: ScanParams
) -> dict[str, Scan]:
    if not wanted:
        return {}
    at = before.decision_time(as_of)
    history = any(needs_history(definition) for definition in wanted.values())
    symbols = before.symbols(as_of)
    last = grouped(before.sessions(end=as_of), ["code"], ["date"]).agg(
        pl.col("date").last().alias("last_session")
    )
    start = as_of - timedelta(days=HISTORY_DAYS if history else 10)
    bars = before.table("bars_1d", start=start, end=as_of, known_at=at).join(
        symbols.select("symbol", "calendar"), on="symbol", how="inner"
    ).join(last, left_on="calendar", right_on="code", how="left").sort("symbol", "date")  # fmt: skip
    bars = bars.with_columns((pl.col("date") == pl.col("last_session")).alias("last")).drop(
        "calendar", "last_session"
    )
    features = before.table("features_daily", start=start, end=as_of, known_at=at)
    current = bars.filter(pl.col("last")).select("symbol", "date")
    features = features.join(current, on=["symbol", "date"], how="inner")
    dropped = ("known_at", "provenance", "valid_from", "valid_to", "row_hash")
    market = market_at(bars, features, symbols.drop(*(c for c in dropped if c in symbols.columns)))
    if history:
        market = with_performance(market, bars)
    return {
        name: scan(
            name, definition, market, universe=params.universe, stable_bases=params.discovery.stable_bases
        )
        for name, definition in wanted.items()
    }


def _records(name: str, definition: Definition, result: Scan) -> list[Record]:
    return [_record(name, definition, row) for row in result.rows.iter_rows(named=True)]


def _record(name: str, definition: Definition, row: dict[str, Any]) -> Record:
    metadata = {field: row[field] for field in _COPIED if row.get(field) is not None}
    metadata |= {
        "value_traded_reported": row["value_traded"], "value_traded_group": row["value_traded_group"],
        "turnover_estimated": row["turnover_estimated"], "scanner": name,
    }  # fmt: skip
    if row.get("adx_14") is not None:
        metadata["adx"] = row["adx_14"]
    metadata |= {field: row[field] for field in ("perf_1m", "perf_3m") if row.get(field) is not None}
    known = [at for at in (row["known_at"], row.get("features_known_at")) if at is not None]
    return {
        "symbol": row["symbol"], "exchange": row["exchange"],
        "asset_type": row["asset_type"] or definition.asset_type,
        "identity": row["symbol"], "direction": definition.intent, "logic": definition.logic,
        "metadata": metadata,
        "market_cap_rank": None, "volume_24h": row["value_traded"], "sector": row.get("sector"),
        "industry": row.get("industry"), "scanner": name, "known_at": max(known),
    }  # fmt: skip


def _plain(records: list[Record]) -> list[Record]:
    return [{key: value for key, value in record.items() if key != "known_at"} for record in records]


def _funnel(found: dict[str, Scan], as_of: date, before: Snapshot) -> pl.DataFrame:
    frames = [result.funnel for result in found.values()]
    whole = pl.concat(frames) if frames else pl.DataFrame(schema={"scanner": pl.String, "symbol": pl.String})
    known = pl.lit(end_of_day(as_of)).cast(pl.Datetime("us", "UTC"))
    return (
        whole.with_columns(as_of=pl.lit(as_of), provenance=pl.lit("reconstructed"), known_at=known)
        if frames
        else (before.table("candidates_funnel").clear())
    )


def _scan_records(
    before: Snapshot, as_of: date, wanted: dict[str, Definition], found: dict[str, Scan]
) -> dict[str, Any]:
    return {
        "schema_version": 1, "as_of": as_of.isoformat(), "snapshot": before.id,
        "scans": {
            name: {"definition": wanted[name].model_dump(mode="json"), "sha256": wanted[name].sha256(),
                   "source": "lake", "stages": result.stages, "field_daily": result.daily}
            for name, result in found.items()
        },
    }  # fmt: skip


def _kept(kept: list[str], as_of: date) -> list[Finding]:
    return [
        Finding(
            level="INFO",
            code="CANDIDATES_KEPT",
            message=f"{name} at {as_of} was there already; --refresh redoes it",
        )
        for name in kept
    ]


def _daily(found: dict[str, Scan]) -> list[Finding]:
    return [
        Finding(
            level="INFO",
            code="SCAN_FIELD_DAILY",
            message=f"{name} is ranked by daily bars, not {result.daily}",
        )
        for name, result in found.items()
        if result.daily
    ]


def _empty(found: dict[str, Scan], wanted: dict[str, Definition]) -> QuantError | None:
    empty = [name for name, result in found.items() if result.rows.is_empty() and not wanted[name].optional]
    if not empty:
        return None
    return DataMissing(
        "SCANNER_EMPTY",
        f"{', '.join(empty)} found nothing; rows left after each rule: {found[empty[0]].stages}",
        where=empty[0], remedy="quantctl data features first, or see reports/scans.json",
    )  # fmt: skip
