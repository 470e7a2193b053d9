"""Optimisation: the streams of the atoms become weights, one set per risk profile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import fsum
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quantctl.contracts.errors import ContractError, DataMissing
from quantctl.contracts.records.allocation import Infeasibility
from quantctl.contracts.records.clusters import PortfolioClusters
from quantctl.contracts.records.regime import RegimeRecord
from quantctl.contracts.records.selection import Winners
from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.contracts.settings.backtest import BacktestSettings
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.htr import HtrSettings
from quantctl.contracts.stage import Finding, Outcome, RunFacts, StageParams, stage
from quantctl.steps.l2_selection.clustering import Clustering, cluster_streams
from quantctl.steps.l4_allocation import decisions, trace, weight_file
from quantctl.steps.l4_allocation.kernels.antifragility import antifragility
from quantctl.steps.l4_allocation.kernels.beta import Beta, estimate_beta
from quantctl.steps.l4_allocation.kernels.caps import effective_caps
from quantctl.steps.l4_allocation.kernels.problem import Problem
from quantctl.steps.l4_allocation.kernels.risk_model import RiskModel, estimate_risk_model
from quantctl.steps.l4_allocation.ladder import Solved, refusal, run_profile
from quantctl.steps.l4_allocation.profiles import (
    MIN_ANTIFRAGILITY_BARS,
    Setting,
    check_available,
    engine_of,
    has_beta_row,
    target_of,
)
from quantctl.steps.l4_allocation.two_layer import layers_of

Array = NDArray[np.float64]


class AllocationParams(StageParams):
    """Settings of the stage."""

    allocation: AllocationSettings
    backtest: BacktestSettings
    features: FeaturesSettings
    htr: HtrSettings


@dataclass(frozen=True)
class Window:
    """The rows that are used: dates, atom ids in code-point order, streams of shape (T, N)."""

    dates: pl.Series
    names: list[str]
    returns: Array
    wanted: int


@dataclass(frozen=True)
class Exposure:
    """Beta of every atom, and what it was measured against; null where nothing asks for it."""

    benchmark: str | None
    beta: Array | None
    assumed: bool
    rows: int


def _refuse(params: AllocationParams) -> None:
    check_available(params.allocation)


@stage(
    "allocation.optimization",
    writes=(
        "portfolio_clusters", "portfolio_optimized_v2", "risk_model", "allocation_trace", "infeasibility",
    ),
    params=AllocationParams,
    refuses=_refuse,
)  # fmt: skip
def allocate(
    synthetic_returns: pl.DataFrame,
    atoms: pl.DataFrame,
    regime: RegimeRecord,
    portfolio_candidates: Winners,
    returns_matrix: pl.DataFrame,
    lake_symbols: pl.DataFrame,
    input_hashes: dict[str, str],
    params: AllocationParams,
    run: RunFacts,
) -> Outcome:
    """Turn synthetic return streams into weights, one portfolio per risk profile.

    Raises `EMPTY_UNIVERSE`, `INSUFFICIENT_HISTORY`, `NONFINITE_INPUT`, `BENCHMARK_MISSING` (exit 3),
    `ENGINE_UNAVAILABLE` and `BUDGET_MISSING` (exit 2). An infeasible profile without a declared fallback
    ends the stage with exit 4 after its certificate is written.
    """
    _refuse(params)
    settings = priced(params.allocation, params.features)
    window = take_window(synthetic_returns, params.backtest.train_window, settings.min_obs)
    facts = weight_file.atom_facts(atoms, lake_symbols, window.names)
    model = risk_model_of(window, settings, run)
    clustering = cluster_streams(window.returns, window.names, settings.clusters, settings.kappa_max)
    exposure = measure_beta(window, returns_matrix, facts.factors, regime.quadrant, params)
    scarce = len(portfolio_candidates.winners) < params.htr.floor
    setting = setting_of(window, model, clustering, exposure, regime, settings, run)
    solved = [
        run_profile(profile, setting, scarce=scarce)
        for profile in settings.risk_profiles
        if profile != "market"
    ]
    clusters = PortfolioClusters(**clustering.record(settings.clusters))
    inputs = weight_file.input_table(input_hashes, clusters, run)
    book = weight_file.Book(window.names, facts, clusters, model, setting, exposure.beta, settings, run)
    ids = trace.allocation_ids(inputs, settings)
    outputs: dict[str, Any] = {
        "portfolio_clusters": clusters,
        "portfolio_optimized_v2": weight_file.solver_portfolio(book, solved, regime, window.dates, inputs),
        "risk_model": trace.risk_model_frame(window.names, model, exposure.beta),
        "allocation_trace": trace.allocation_trace(window, model, exposure, solved, ids, settings, run),
    }
    certificates = trace.certificates(solved)
    if certificates:
        outputs["infeasibility"] = Infeasibility(run_id=run.run_id, certificates=certificates)
    return Outcome(
        outputs=outputs,
        findings=[
            *clustering.findings,
            *decisions.of_input(window, model, exposure, setting, len(portfolio_candidates.winners), scarce),
            *decisions.of_profiles(solved, ids, model, setting),
            *_external(settings),
        ],
        metrics={"atoms": len(window.names), "rows": len(window.dates), "profiles": len(solved)},
        error=_first_refusal(solved, settings),
    )


def take_window(streams: pl.DataFrame, wanted: int, least: int) -> Window:
    """The last `wanted` rows, columns ordered by atom id."""
    names = sorted(name for name in streams.columns if name != "date")
    if not names:
        raise DataMissing("EMPTY_UNIVERSE", "there is no atom to allocate to", where="synthetic_returns")
    rows = streams.sort("date").tail(wanted)
    if rows.height < least:
        raise DataMissing(
            "INSUFFICIENT_HISTORY", f"{rows.height} rows of streams, allocation.min_obs is {least}",
            where="synthetic_returns", remedy="import a longer history or lower allocation.min_obs",
        )  # fmt: skip
    values = rows.select(names)
    if sum(values.null_count().row(0)):
        raise ContractError("NONFINITE_INPUT", "the streams hold a null", where="synthetic_returns")
    return Window(rows["date"], names, np.ascontiguousarray(values.to_numpy()), wanted)


def priced(settings: AllocationSettings, features: FeaturesSettings) -> AllocationSettings:
    """`settings` with a price of trading only where the feature is on and previous weights are given."""
    if features.feat_turnover_penalty and settings.previous_weights is not None:
        return settings
    return settings.model_copy(update={"turnover": 0.0})


def risk_model_of(window: Window, settings: AllocationSettings, run: RunFacts) -> RiskModel:
    """The risk model of the window, in the units of the run's calendar."""
    return estimate_risk_model(
        window.returns,
        run.annualisation,
        method=settings.covariance.method,
        options=settings.covariance.options,
        kappa_max=settings.kappa_max,
        ridge_floor=settings.ridge_floor,
    )


def measure_beta(
    window: Window, returns_matrix: pl.DataFrame, factors: Array, quadrant: str, params: AllocationParams
) -> Exposure:
    """Beta to the benchmark; a missing benchmark is an error where a beta row needs it."""
    settings = params.allocation
    symbols = params.backtest.benchmark_symbols
    benchmark = settings.beta.benchmark or (symbols[0] if symbols else None)
    replacing = (settings.scarcity_fallback, *(entry.profile for entry in settings.fallback))
    needed = [
        profile
        for profile in (*settings.risk_profiles, *replacing)
        if has_beta_row(target_of(profile, settings, quadrant, len(window.dates)), settings)
    ]
    if benchmark is None or benchmark not in returns_matrix.columns:
        if needed:
            raise DataMissing(
                "BENCHMARK_MISSING",
                f"{needed[0]} has a beta row, but {benchmark} is not in the returns matrix",
                where="allocation.beta.benchmark", remedy="set backtest.benchmark_symbols to a stored symbol",
            )  # fmt: skip
        return Exposure(benchmark, None, False, 0)
    dates = pl.DataFrame({"date": window.dates, "row": np.arange(len(window.dates))})
    joined = dates.join(returns_matrix.select("date", benchmark), on="date", how="inner").sort("row")
    streams = window.returns[joined["row"].to_numpy()]
    found: Beta = estimate_beta(streams, joined[benchmark].to_numpy())
    beta = found.beta * factors if found.assumed else found.beta
    return Exposure(benchmark, beta, found.assumed, found.n_obs)


def setting_of(
    window: Window,
    model: RiskModel,
    clustering: Clustering,
    exposure: Exposure,
    regime: RegimeRecord,
    settings: AllocationSettings,
    run: RunFacts,
) -> Setting:
    """What all profiles of the window share, over the atoms that have variance."""
    keep = model.keep
    labels = tuple(str(label) for label, kept in zip(clustering.labels, keep, strict=True) if kept)
    names = tuple(name for name, kept in zip(window.names, keep, strict=True) if kept)
    enough = len(window.dates) >= MIN_ANTIFRAGILITY_BARS
    live = window.returns[:, keep]
    previous, exits = previous_of(names, settings)
    setting = Setting(
        base=Problem(model.cov, mu=model.mu, risk_free=settings.risk_free, names=names),
        labels=labels,
        caps=effective_caps(labels, settings.cluster_cap, settings.weight_max),
        beta=None if exposure.beta is None else exposure.beta[keep],
        scores=antifragility(live, run.annualisation) if enough else None,
        regime=regime.regime,
        quadrant=regime.quadrant,
        settings=settings,
        engine=engine_of(settings),
        returns=live,
        previous=previous,
        exit_turnover=exits,
    )
    if settings.structure == "flat":
        return setting
    return replace(setting, layers=layers_of(setting, run.annualisation))


def previous_of(names: tuple[str, ...], settings: AllocationSettings) -> tuple[Array | None, float]:
    """Previous weights of the atoms `names`, 0 for new ones, and the weight of those that vanished."""
    if settings.previous_weights is None:
        return None, 0.0
    known = settings.previous_weights
    gone = fsum(weight for name, weight in sorted(known.items()) if name not in names)
    return np.array([known.get(name, 0.0) for name in names]), gone


def _external(settings: AllocationSettings) -> list[Finding]:
    if "market" not in settings.risk_profiles:
        return []
    message = "the market baseline holds no atoms; the simulator builds its stream"
    return [Finding(level="INFO", code="BASELINE_EXTERNAL", message=message, details={"profile": "market"})]


def _first_refusal(solved: list[Solved], settings: AllocationSettings) -> Any:
    if settings.fallback:
        return None
    return next((refusal(s) for s in solved if s.status in ("INFEASIBLE", "SKIPPED")), None)
