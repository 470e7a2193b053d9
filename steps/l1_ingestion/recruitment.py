"""Ingestion of a run: the raw pool, the funnel, and the foundation matrix with its report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

import polars as pl

from quantctl.contracts.errors import DataMissing, QuantError
from quantctl.contracts.records.candidates import PoolRow, RawPool
from quantctl.contracts.records.foundation import FoundationReport
from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.contracts.settings.backtest import BacktestSettings
from quantctl.contracts.settings.data import DataSettings
from quantctl.contracts.settings.discovery import DiscoverySettings
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.sleeve import SleeveSettings
from quantctl.contracts.settings.universe import UniverseSettings
from quantctl.contracts.stage import Finding, Outcome, RunFacts, StageParams, Tagged, stage
from quantctl.steps.l0_foundation.identity import Identity, identify, listed_bases
from quantctl.steps.l0_foundation.matrix import Matrix, Universe, build_matrix
from quantctl.steps.l0_foundation.pool import consolidate_pool, reference_symbols

EXAMPLES = 10


class RecruitParams(StageParams):
    """Settings of the stage."""

    sleeve: SleeveSettings
    universe: UniverseSettings
    features: FeaturesSettings
    discovery: DiscoverySettings
    data: DataSettings
    backtest: BacktestSettings
    allocation: AllocationSettings


@stage(
    "selection.ingestion",
    writes=("portfolio_candidates_raw", "candidates_funnel", "foundation_report", "returns_matrix"),
    params=RecruitParams,
)
def recruit(
    lake_candidates: pl.DataFrame,
    lake_funnel: pl.DataFrame,
    lake_symbols: pl.DataFrame,
    lake_metadata: pl.DataFrame,
    lake_health: pl.DataFrame,
    lake_sessions: pl.DataFrame,
    lake_features_latest: pl.DataFrame,
    lake_bars: pl.DataFrame,
    params: RecruitParams,
    run: RunFacts,
) -> Outcome:
    """Consolidate the candidates of the date into a pool and build its returns matrix.

    Errors: `CANDIDATES_EMPTY` without a pool, `FOUNDATION_EMPTY` without a surviving pool asset,
    `BENCHMARK_MISSING` where a beta row or the market profile needs it (all exit 3); what exists by
    then is kept. Raises `CALENDAR_UNKNOWN` (exit 2), `CALENDAR_RANGE`, `L0_DUPLICATE` (exit 3).
    """
    rows = consolidate_pool(lake_candidates, lake_features_latest, lake_symbols, lake_metadata, params)
    pool = RawPool(run_id=run.run_id, profile=run.profile, as_of=run.as_of, rows=rows)
    outputs: dict[str, Any] = {"portfolio_candidates_raw": pool, "candidates_funnel": lake_funnel}
    accepted = sorted({row.symbol for row in rows if row.accepted})
    findings = _pool_findings(rows)
    metrics = _pool_metrics(rows, lake_funnel)
    if not accepted:
        return Outcome(outputs, findings, metrics, _candidates_empty(rows, run))
    universe = universe_of(
        accepted, reference_symbols(lake_features_latest, lake_symbols, params), lake_features_latest,
        lake_health, lake_symbols, params,
    )  # fmt: skip
    matrix = build_matrix(
        lake_bars, lake_sessions, universe, params, date.fromisoformat(run.as_of), run.annualisation
    )
    outputs["foundation_report"] = report_of(matrix, universe, run)
    error = _stop(matrix, params, run.run_id)
    if matrix.frame.height:
        roles = json.dumps(matrix.roles, sort_keys=True)
        outputs["returns_matrix"] = Tagged(matrix.frame, {"column_roles": roles})
    findings += _matrix_findings(matrix, error)
    return Outcome(outputs, findings, metrics | _matrix_metrics(matrix), error)


def universe_of(
    pool: Sequence[str],
    reference: Sequence[str],
    features_latest: pl.DataFrame,
    health: pl.DataFrame,
    symbols: pl.DataFrame,
    params: RecruitParams,
) -> Universe:
    """The symbols to be judged with what is known of them. The beta benchmark is a benchmark too."""
    beta = params.allocation.beta.benchmark
    benchmarks = list(dict.fromkeys([*params.backtest.benchmark_symbols, *([beta] if beta else [])]))
    wanted = sorted({*pool, *reference, *benchmarks})
    liquidity = features_latest.select("symbol", "adv_30").filter(pl.col("symbol").is_in(wanted))
    verdicts = health.filter(pl.col("symbol").is_in(wanted))
    return Universe(
        pool=pool,
        reference=reference,
        benchmarks=benchmarks,
        adv=dict(liquidity.iter_rows()),
        health={row["symbol"]: row for row in verdicts.iter_rows(named=True)},
        identities=_identities(wanted, symbols, params),
    )


def _identities(wanted: Sequence[str], symbols: pl.DataFrame, params: RecruitParams) -> dict[str, Identity]:
    table = symbols.select("symbol", "base", "quote", "asset_type")
    bases = listed_bases((s, b, t) for s, b, _, t in table.iter_rows())
    known = {s: (b, q, t) for s, b, q, t in table.filter(pl.col("symbol").is_in(wanted)).iter_rows()}
    found = {}
    for symbol in wanted:
        base, quote, kind = known.get(symbol, (None, None, None))
        found[symbol] = identify(
            symbol, base=base, quote=quote, asset_type=kind, known_bases=bases,
            wrapped=params.universe.wrapped, stable_bases=frozenset(params.discovery.stable_bases),
        )  # fmt: skip
    return found


def report_of(matrix: Matrix, universe: Universe, run: RunFacts) -> FoundationReport:
    """The account of a matrix as `foundation_report.json`."""
    roles = universe.roles().values()
    counts = {
        "pool_in": sum("pool" in r for r in roles),
        "pool_out": sum("pool" in r for r in matrix.roles.values()),
        "reference_in": sum("reference" in r for r in roles),
        "reference_out": sum("reference" in r for r in matrix.roles.values()),
        "rows": matrix.frame.height,
    }
    return FoundationReport(
        run_id=run.run_id,
        profile=run.profile,
        as_of=run.as_of,
        annualisation=run.annualisation,
        calendars=matrix.calendars,
        window=matrix.window,
        floor=matrix.floor,
        counts=counts,
        drops=matrix.drops,
        notes=matrix.notes,
        dropped_rows=matrix.dropped_rows,
        column_roles=matrix.roles,
        assets=matrix.assets,
    )


def _candidates_empty(rows: Sequence[PoolRow], run: RunFacts) -> DataMissing:
    why = f"all {len(rows)} candidate rows have a veto" if rows else "there are no candidate rows"
    return DataMissing(
        "CANDIDATES_EMPTY", f"{why} of {run.profile} at {run.as_of}", where="lake:candidates",
        remedy=f"quantctl data candidates --profile {run.profile} --as-of {run.as_of}",
        details=_tally([(v.code, row.symbol) for row in rows for v in row.vetoes[:1]]),
    )  # fmt: skip


def _stop(matrix: Matrix, params: RecruitParams, run_id: str) -> QuantError | None:
    if not any("pool" in roles for roles in matrix.roles.values()):
        return DataMissing(
            "FOUNDATION_EMPTY", "no pool asset survived the foundation rules",
            where="foundation_report:drops",
            remedy=f"quantctl show {run_id} foundation_report; then import bars or lower the floor",
            details=_tally([(d.code, d.symbol) for d in matrix.drops if "pool" in d.roles]),
        )  # fmt: skip
    needed = benchmark_needed(params)
    if needed in matrix.missing_benchmarks:
        codes = [d.code for d in matrix.drops if d.symbol == needed]
        return DataMissing(
            "BENCHMARK_MISSING", f"{needed} failed a foundation rule: {', '.join(codes)}",
            where=f"returns_matrix:{needed}", remedy="import its bars, or change backtest.benchmark_symbols",
        )  # fmt: skip
    return None


def benchmark_needed(params: RecruitParams) -> str | None:
    """The benchmark that a beta row or the market profile of this run cannot do without."""
    allocation = params.allocation
    profiles = set(allocation.risk_profiles)
    if "market" not in profiles and profiles.isdisjoint(allocation.beta.apply_to):
        return None
    return allocation.beta.benchmark or next(iter(params.backtest.benchmark_symbols), None)


def _pool_findings(rows: Sequence[PoolRow]) -> list[Finding]:
    tally = _tally([(veto.code, row.symbol) for row in rows for veto in row.vetoes])
    found = [_aggregate("INFO", code, facts, "candidate rows were vetoed") for code, facts in tally.items()]
    backdated = [("METADATA_BACKDATED", row.symbol) for row in rows if row.metadata_provenance == "backdated"]
    for code, facts in _tally(backdated).items():
        found.append(_aggregate("INFO", code, facts, "candidate rows have such instrument rules"))
    return found


def _matrix_findings(matrix: Matrix, error: QuantError | None) -> list[Finding]:
    drops = _tally([(d.code, d.symbol) for d in matrix.drops])
    found = [_aggregate("INFO", code, facts, "columns were dropped") for code, facts in drops.items()]
    for level in ("WARN", "INFO"):
        notes = [n for n in matrix.notes if n.level == level and n.code not in drops]
        single = [n for n in notes if n.symbol is None]
        found += [Finding(level=level, code=n.code, message=n.message, details=n.details) for n in single]
        many = _tally([(n.code, n.symbol) for n in notes if n.symbol is not None])
        found += [_aggregate(level, code, facts, "columns are concerned") for code, facts in many.items()]
    if error is None or error.code != "BENCHMARK_MISSING":
        found += [
            Finding(level="WARN", code="BENCHMARK_MISSING", message=f"{s} has no column", symbol=s)
            for s in matrix.missing_benchmarks
        ]
    return found


def _tally(pairs: Sequence[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """Code -> count of its rows and the first symbols that it names."""
    tally: dict[str, list[str]] = {}
    for code, symbol in sorted(pairs):
        tally.setdefault(code, []).append(symbol)
    return {
        code: {"count": len(names), "examples": list(dict.fromkeys(names))[:EXAMPLES]}
        for code, names in tally.items()
    }


def _aggregate(level: str, code: str, facts: dict[str, Any], what: str) -> Finding:
    return Finding(level=level, code=code, message=f"{facts['count']} {what}", details=facts)


def _pool_metrics(rows: Sequence[PoolRow], funnel: pl.DataFrame) -> dict[str, Any]:
    return {
        "scanned": funnel.height,
        "candidate_rows": len(rows),
        "pool_rows": sum(row.accepted for row in rows),
    }


def _matrix_metrics(matrix: Matrix) -> dict[str, Any]:
    roles = matrix.roles.values()
    return {
        "pool_columns": sum("pool" in r for r in roles),
        "reference_columns": sum("reference" in r for r in roles),
        "matrix_rows": matrix.frame.height,
        "window_sessions": matrix.window["sessions"],
    }
