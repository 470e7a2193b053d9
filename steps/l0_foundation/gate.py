"""Step 1, the foundation gate: is the pinned snapshot there, sound, covered, healthy and fresh?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl

from quantctl.contracts.errors import ConfigError, DataMissing, DataUnhealthy, QuantError
from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.contracts.settings.backtest import BacktestSettings
from quantctl.contracts.settings.data import DataSettings
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.ratings import RatingsSettings
from quantctl.contracts.stage import (
    Finding,
    Judgement,
    Level,
    Loaded,
    Outcome,
    RunFacts,
    StageParams,
    gate,
    stage,
)
from quantctl.steps.l1_ingestion.feature_store import feature_parameters

NEEDED_TABLES = ("bars_1d", "features_daily", "symbols", "candidates")
LINKED = ("dataops_run_id", "stage", "path", "sha256", "coverage", "status")
HOURS_PER_DAY = 24.0


class FoundationParams(StageParams):
    """Strictness, freshness and the parameters of the feature store."""

    data: DataSettings
    features: FeaturesSettings
    ratings: RatingsSettings
    backtest: BacktestSettings
    allocation: AllocationSettings


@stage("foundation.gate", writes=("lake_snapshot",), params=FoundationParams)
def foundation_gate(
    lake_record: dict[str, Any],
    lake_coverage: list[dict[str, Any]],
    *,
    params: FoundationParams,
    run: RunFacts,
) -> Outcome:
    """Pin the snapshot: what the run will read, down to the hash of every part.

    Links every coverage entry of a required stage into the ledger (`COVERAGE_LINKED`).
    """
    linked = [
        Finding(
            level="INFO", code="COVERAGE_LINKED", message=f"{entry['stage']} of {entry['dataops_run_id']}",
            details={"event": True} | {key: entry.get(key) for key in LINKED},
        )
        for entry in lake_coverage
        if entry["stage"] in params.data.promotion.required_stages
    ]  # fmt: skip
    rows = {name: table["rows"] for name, table in lake_record["tables"].items()}
    return Outcome({"lake_snapshot": lake_record}, linked, {"snapshot": run.snapshot, "tables": rows})


@gate("foundation", stage="foundation.gate", order=1, writes="gate_foundation", params=FoundationParams)
def judge_foundation(
    lake_snapshot: Loaded[Any],
    lake_manifest: dict[str, Any],
    lake_coverage: list[dict[str, Any]],
    lake_candidates: pl.DataFrame,
    lake_health: pl.DataFrame,
    lake_metadata: pl.DataFrame,
    lake_features_latest: pl.DataFrame,
    *,
    params: FoundationParams,
    run: RunFacts,
) -> Judgement:
    """G1: existence and schema of the snapshot, agreement, coverage, health and freshness."""
    if lake_snapshot.value is None:
        broken = _finding("ERROR", "FOUNDATION_SCHEMA", f"lake_snapshot: {lake_snapshot.detail}")
        return Judgement([broken], {"tables": 0})
    required = _required_assets(params)
    findings = [
        *_tables(lake_manifest),
        *_pinned(lake_snapshot.value.id, run),
        *_agreement(lake_manifest, params),
        *_coverage(lake_coverage, params.data),
        *_health(lake_health, required),
        *_freshness(lake_features_latest, run, params.data),
        *_metadata(lake_metadata, lake_candidates),
        *_candidates(lake_candidates, run),
    ]
    checked = {
        "tables": len(lake_manifest["tables"]),
        "coverage_entries": len(lake_coverage),
        "candidates": lake_candidates.height,
        "required_assets": len(required),
    }
    return Judgement(findings, checked, error=_error(findings, run))


def _tables(manifest: Mapping[str, Any]) -> list[Finding]:
    empty = [name for name in NEEDED_TABLES if not manifest["tables"].get(name, {}).get("rows")]
    return [
        _finding("ERROR", "FOUNDATION_MISSING", f"the snapshot has no rows of {name}", symbol=None)
        for name in empty
        if name != "candidates"
    ]


def _pinned(snapshot: str, run: RunFacts) -> list[Finding]:
    if snapshot == run.snapshot:
        return []
    return [_finding("ERROR", "FOUNDATION_UNPINNED", f"{snapshot} is not the pinned {run.snapshot}")]


def _agreement(manifest: Mapping[str, Any], params: FoundationParams) -> list[Finding]:
    """The store's parameters, which the profile must share (`CONFIG_CONFLICT`, exit 2)."""
    ours = feature_parameters(params.features, params.ratings)
    theirs = manifest.get("feature_parameters") or {}
    return [
        _finding(
            "ERROR",
            "CONFIG_CONFLICT",
            f"{key} is {ours[key]}, the snapshot's features have {theirs.get(key)}",
        )
        for key in sorted(ours)
        if theirs and ours[key] != theirs.get(key)
    ]


def _coverage(entries: Sequence[Mapping[str, Any]], data: DataSettings) -> list[Finding]:
    level: Level = "ERROR" if data.strict else "WARN"
    found = []
    for stage_id in data.promotion.required_stages:
        linked = [entry for entry in entries if entry["stage"] == stage_id]
        if not linked:
            found.append(_finding(level, "COVERAGE_UNLINKED", f"the snapshot carries no {stage_id} coverage"))
        for entry in linked:
            found += _coverage_entry(entry, level)
    return found


def _coverage_entry(entry: Mapping[str, Any], level: Level) -> list[Finding]:
    place = f"{entry['stage']} of {entry['dataops_run_id']}"
    if entry.get("sha256_on_disk") != entry["sha256"]:
        return [_finding(level, "COVERAGE_HASH", f"{place}: {entry['path']} is missing or changed")]
    if entry.get("schema_error"):
        return [_finding(level, "COVERAGE_SCHEMA", f"{place}: {entry['schema_error']}")]
    if entry["coverage"] < 1.0 and not entry.get("exceptions_unexpired"):
        return [_finding(level, "COVERAGE_PARTIAL", f"{place}: coverage {entry['coverage']:.4f}")]
    return []


def _required_assets(params: FoundationParams) -> list[str]:
    profiles = set(params.allocation.risk_profiles)
    needed = "market" in profiles or bool(profiles & set(params.allocation.beta.apply_to))
    return list(params.backtest.benchmark_symbols) if needed else []


def _health(health: pl.DataFrame, required: Sequence[str]) -> list[Finding]:
    verdicts = {row["symbol"]: row for row in health.iter_rows(named=True)}
    found = []
    for symbol in required:
        verdict = verdicts.get(symbol)
        if verdict is None:
            found.append(
                _finding("ERROR", "HEALTH_VERDICT_MISSING", f"{symbol} has no health status", symbol)
            )
        elif not verdict["eligible"]:
            message = f"{symbol} is {verdict['status']}"
            found.append(_finding("ERROR", "HEALTH_ASSET_UNHEALTHY", message, symbol))
    return found


def _freshness(latest: pl.DataFrame, run: RunFacts, data: DataSettings) -> list[Finding]:
    if latest.is_empty():
        return []
    newest = latest["date"].max()
    assert isinstance(newest, date)
    age = (date.fromisoformat(run.as_of) - newest).days * HOURS_PER_DAY
    if age <= data.freshness.stale_hours:
        return []
    fails = data.freshness.alpha_action == "fail" or (data.freshness.alpha_action is None and data.strict)
    message = f"the newest bar is {age:.0f} h old at {run.as_of}, limit {data.freshness.stale_hours:.0f} h"
    return [_finding("ERROR" if fails else "WARN", "FRESHNESS_STALE", message)]


def _metadata(metadata: pl.DataFrame, candidates: pl.DataFrame) -> list[Finding]:
    backdated = metadata.filter(
        (pl.col("provenance") == "backdated") & pl.col("symbol").is_in(candidates["symbol"].implode())
    ).height
    if not backdated:
        return []
    message = f"{backdated} candidates use instrument rules that are newer than the as-of date"
    return [_finding("WARN", "METADATA_BACKDATED", message, details={"count": backdated})]


def _candidates(candidates: pl.DataFrame, run: RunFacts) -> list[Finding]:
    if candidates.height:
        return []
    return [_finding("ERROR", "CANDIDATES_EMPTY", f"no candidates of {run.profile} at {run.as_of}")]


def _error(findings: Sequence[Finding], run: RunFacts) -> QuantError | None:
    """The typed error of the first ERROR, with the DataOps command that cures it."""
    first = next(
        (finding for finding in sorted(findings, key=Finding.sort_key) if finding.level == "ERROR"), None
    )
    if first is None:
        return None
    first = next((f for f in findings if f.code == "CONFIG_CONFLICT"), first)
    remedies = {
        "CANDIDATES_EMPTY": f"quantctl data candidates --profile {run.profile} --as-of {run.as_of}",
        "CONFIG_CONFLICT": "use the snapshot's value, or recompute with quantctl data features",
        "FOUNDATION_MISSING": "quantctl data import, then quantctl data features",
        "FRESHNESS_STALE": "import or ingest newer bars, or choose an earlier --as-of",
        "HEALTH_VERDICT_MISSING": "quantctl data import its bars, or change backtest.benchmark_symbols",
        "HEALTH_ASSET_UNHEALTHY": "quantctl data health shows the reason",
    }
    kinds: dict[str, type[QuantError]] = {"CONFIG_CONFLICT": ConfigError, "CANDIDATES_EMPTY": DataMissing}
    kind = kinds.get(first.code, DataUnhealthy)
    remedy = remedies.get(first.code, "quantctl data publish after importing anew")
    return kind(first.code, first.message, where=first.symbol or "data/gates/foundation.json", remedy=remedy)


def _finding(
    level: Level, code: str, message: str, symbol: str | None = None, details: dict[str, Any] | None = None
) -> Finding:
    return Finding(level=level, code=code, message=message, symbol=symbol, details=details or {})
