"""`data.features`: the feature store, computed locally from bars for a stated scope."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl

from quantctl.contracts.errors import ConfigError, DataMissing, GateFailed
from quantctl.contracts.records.coverage import offline_coverage
from quantctl.contracts.settings.data import DataSettings
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.ratings import RatingsSettings
from quantctl.contracts.stage import Finding, Outcome, RunFacts, StageParams, stage
from quantctl.lake.snapshot import Lake, Snapshot
from quantctl.steps.l1_ingestion.feature_store import compute_features, definition_hash, feature_parameters
from quantctl.steps.l1_ingestion.feature_validator import Validation, validate_features
from quantctl.workflows.dataops.lineage import base_of, coverage_facts, coverage_recorded
from quantctl.workflows.dataops.requests import ScopeRequest

REPORT = "reports/feature_validation.json"


class FeatureParams(StageParams):
    """Settings that define the store's columns."""

    data: DataSettings
    features: FeaturesSettings
    ratings: RatingsSettings


@stage("data.features", writes=("feature_report", "feature_ingest_coverage"), params=FeatureParams)
def backfill_features(
    *, lake: Lake, request: ScopeRequest, now: datetime, params: FeatureParams, run: RunFacts
) -> Outcome:
    """Compute feature rows of the symbols in scope from their bars; no other cell changes."""
    txn = f"{run.run_id}/data.features/local"
    before = base_of(lake, txn)
    if before is None or "bars_1d" not in before.manifest.tables:
        raise ConfigError(
            "STAGE_PREREQUISITE_MISSING", "there are no bars to compute features from",
            remedy="quantctl data import PATH, or quantctl data simulate",
        )  # fmt: skip
    scope = _scope(before, request)
    bars = before.bars(scope)
    present = sorted(set(bars["symbol"].unique(maintain_order=True)))
    failed = dict.fromkeys(sorted(set(scope) - set(present)), "FEATURE_NO_BARS")
    computed = _computed(before, bars, params) if present else pl.DataFrame()
    coverage = offline_coverage(
        run_id=run.run_id, profile=run.profile, stage="feature_ingest", source="local", expected=scope,
        failed=failed, started_at=now.isoformat(), strict=params.data.strict,
    )  # fmt: skip
    findings = [coverage_recorded("feature_ingest_coverage", coverage, run)]
    findings += [
        Finding(level="WARN", code="FEATURE_NO_BARS", symbol=s, message="no bars")
        for s in sorted(failed)[:50]
    ]
    if computed.is_empty():
        nothing = DataMissing(
            "FEATURE_FETCH_ZERO", "no symbol in scope has bars", where=scope[0] if scope else "",
            remedy="quantctl data import their bars first, or name other symbols",
        )  # fmt: skip
        return Outcome(
            {"feature_ingest_coverage": coverage},
            findings=findings,
            error=None if request.allow_empty else nothing,
        )
    checked = _validated(before, bars, computed, scope, params)
    findings += checked.findings()
    report = checked.record() | {
        "schema_version": 2, "definition_hash": str(computed["definition_hash"][0]),
        "strict": params.data.strict,
    }  # fmt: skip
    outputs = {"feature_report": report, "feature_ingest_coverage": coverage}
    if checked.fatal:
        return Outcome(outputs, findings=findings, error=_refused(checked))
    rows = _fresh(before, computed, scope).with_columns(run_id=pl.lit(run.run_id))

    def facts(known: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "coverage": coverage_facts(known, "feature_ingest_coverage", coverage, run),
            "feature_definition_hash": definition_hash(params.features, params.ratings),
            "feature_parameters": feature_parameters(params.features, params.ratings),
        }

    snapshot = lake.commit({"features_daily": rows}, txn=txn, at=now, facts=facts)
    error = _refused(checked) if params.data.strict and checked.failed else None
    metrics = {"symbols": len(present), "rows": rows.height, "snapshot": snapshot.id}
    return Outcome(outputs, findings=findings, metrics=metrics, error=error)


def _scope(before: Snapshot, request: ScopeRequest) -> list[str]:
    """Symbols in scope; without one `FEATURE_SCOPE_REQUIRED` (exit 2)."""
    if request.symbols is not None:
        return sorted(set(request.symbols))
    if request.scope_run_id is not None:
        rows = before.table("bars_1d", columns=("symbol", "run_id"))
        found = rows.filter(pl.col("run_id") == request.scope_run_id)["symbol"].unique(maintain_order=True)
        if found.len():
            return sorted(found.to_list())
        raise ConfigError(
            "FEATURE_SCOPE_REQUIRED",
            f"run {request.scope_run_id} brought no bars",
            where=request.scope_run_id,
        )
    if request.all_symbols and request.yes:
        return sorted(
            before.table("bars_1d", columns=("symbol",))["symbol"].unique(maintain_order=True).to_list()
        )
    raise ConfigError(
        "FEATURE_SCOPE_REQUIRED", "a backfill needs a scope",
        remedy="give --candidates FILE, --scope RUN_ID of an import, or --all-symbols --yes",
    )  # fmt: skip


def _computed(before: Snapshot, bars: pl.DataFrame, params: FeatureParams) -> pl.DataFrame:
    table = before.table("symbols", columns=("symbol", "calendar")).unique(
        ["symbol"], keep="last", maintain_order=True
    )
    codes = dict(table.iter_rows())
    annual = {symbol: 365 if code == "24x7" else 252 for symbol, code in codes.items()}
    days: dict[str, Any] = {}
    for code in sorted({str(c) for c in codes.values() if c != "24x7"}):
        days[code] = before.sessions(code)["date"].to_numpy().astype("datetime64[D]")
    sessions = {symbol: days[code] for symbol, code in codes.items() if code in days}
    return compute_features(bars, annual, sessions, params.features, params.ratings)


def _fresh(before: Snapshot, computed: pl.DataFrame, scope: list[str]) -> pl.DataFrame:
    """Rows that are not stored yet under the same definition and knowledge."""
    key = ["symbol", "date", "definition_hash", "known_at"]
    if "features_daily" not in before.manifest.tables:
        return computed
    stored = before.table("features_daily", symbols=scope, columns=key)
    return computed.join(stored, on=key, how="anti", maintain_order="left")


def _validated(
    before: Snapshot, bars: pl.DataFrame, computed: pl.DataFrame, scope: list[str], params: FeatureParams
) -> Validation:
    return validate_features(bars, computed, scope, lambda some: _computed(before, some, params))


def _refused(checked: Validation) -> GateFailed:
    counts = {code: len(found) for code, found in checked.problems.items() if code != "FEATURE_GAP_RESTART"}
    said = ", ".join(f"{code} {count}" for code, count in sorted(counts.items()))
    return GateFailed("FEATURE_VALIDATION", said, where=REPORT, details=counts)
