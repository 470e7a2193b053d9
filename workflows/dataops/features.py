"""`data.features`: the feature store, computed locally from bars for a stated scope."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from quantctl.contracts.errors import ConfigError, DataMissing, GateFailed
from quantctl.contracts.grouping import grouped
from quantctl.contracts.records.coverage import offline_coverage
from quantctl.contracts.settings.data import DataSettings
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.ratings import RatingsSettings
from quantctl.contracts.stage import Finding, Outcome, RunFacts, StageParams, stage
from quantctl.lake.snapshot import Lake, Snapshot
from quantctl.steps.l1_ingestion.feature_store import compute_features, definition_hash, feature_parameters
from quantctl.workflows.dataops.lineage import base_of, coverage_facts
from quantctl.workflows.dataops.requests import ScopeRequest

MAX_LAG = 3  # sessions by which the last feature row may trail the last bar


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
    findings = [
        Finding(level="WARN", code="FEATURE_NO_BARS", symbol=s, message="no bars")
        for s in sorted(failed)[:50]
    ]
    if computed.is_empty():
        nothing = DataMissing("FEATURE_FETCH_ZERO", "no symbol in scope has bars")
        return Outcome(
            {"feature_ingest_coverage": coverage},
            findings=findings,
            error=None if request.allow_empty else nothing,
        )
    report = _validated(bars, computed, failed)
    outputs = {"feature_report": report, "feature_ingest_coverage": coverage}
    rows = _fresh(before, computed, scope).with_columns(run_id=pl.lit(run.run_id))

    def facts(known: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "coverage": coverage_facts(known, "feature_ingest_coverage", coverage, run),
            "feature_definition_hash": definition_hash(params.features, params.ratings),
            "feature_parameters": feature_parameters(params.features, params.ratings),
        }

    snapshot = lake.commit({"features_daily": rows}, txn=txn, at=now, facts=facts)
    bad = sum(len(report[name]) for name in ("lagging", "missing"))
    error = GateFailed(
        "FEATURE_VALIDATION", f"{bad} symbols lag or lack features", where="reports/feature_report.json"
    ) if bad and params.data.strict else None  # fmt: skip
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


def _validated(bars: pl.DataFrame, computed: pl.DataFrame, failed: dict[str, str]) -> dict[str, Any]:
    """Coverage, lag and bounds of computed rows. Ratings must lie in [-1, 1]."""
    last_bar = grouped(bars, ["symbol"], ["date"]).agg(pl.col("date").last().alias("bar"))
    last_row = grouped(computed, ["symbol"], ["date"]).agg(pl.col("date").last().alias("row"))
    joined = last_bar.join(last_row, on="symbol", how="left")
    late = joined.filter((pl.col("bar") - pl.col("row")).dt.total_days() > MAX_LAG)
    bounds = {
        name: int((computed[name].drop_nulls().abs() > 1.0).sum())
        for name in ("recommend_ma", "recommend_other", "recommend_all")
    }
    numbers = computed.select(pl.col(pl.Float64))
    return {
        "schema_version": 1, "rows": computed.height, "symbols": joined.height, "missing": sorted(failed),
        "lagging": late["symbol"].to_list(), "out_of_bounds": bounds,
        "nulls": {name: int(count) for name, count in zip(numbers.columns, numbers.null_count().row(0),
            strict=True)},
        "definition_hash": str(computed["definition_hash"][0]) if computed.height else "",
        "finite": bool(np.all([numbers[name].is_finite().fill_null(True).all() for name in numbers.columns])),
    }  # fmt: skip
