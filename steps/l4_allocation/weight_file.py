"""Assembly of the solver-space weight file from solved profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quantctl.contracts.canonical import canonical, sha256_hex
from quantctl.contracts.errors import ContractError, InternalError
from quantctl.contracts.records import weights as records
from quantctl.contracts.records.clusters import PortfolioClusters
from quantctl.contracts.records.regime import RegimeRecord
from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.contracts.stage import RunFacts
from quantctl.steps.l4_allocation.kernels.kkt import primal_violation
from quantctl.steps.l4_allocation.kernels.risk_model import RiskModel
from quantctl.steps.l4_allocation.ladder import Solved
from quantctl.steps.l4_allocation.profiles import BASELINES, UNCAPPED, Setting

Array = NDArray[np.float64]

KERNEL_VERSION = "2"
DUST = 1e-9
MAX_DUST_RESIDUAL = 1e-8
# Only files without a run id: an allocation has the same id in every run that computes it.
INPUTS = (
    "synthetic_returns", "atoms", "synthetic_gates", "regime", "features_matrix", "returns_matrix",
)  # fmt: skip
_FORMULATIONS = {
    "equal_weight": "equal_weight", "benchmark": "equal_weight", "hrp": "hierarchical_risk_parity",
    "erc": "risk_budget", "risk_parity": "risk_budget", "risk_budget": "risk_budget",
    "min_variance": "min_variance", "market_neutral": "min_variance", "max_sharpe": "max_sharpe",
    "barbell": "barbell", "herc": "hierarchical_equal_risk", "mean_variance": "mean_variance",
    "max_diversification": "max_diversification", "min_cvar": "min_cvar",
}  # fmt: skip


@dataclass(frozen=True)
class AtomFacts:
    """Per atom, in matrix order: factor +1 or −1, sector and market or null."""

    factors: Array
    sectors: list[str | None]
    markets: list[str | None]


@dataclass(frozen=True)
class Book:
    """Everything of the window that the file repeats; arrays and lists are in matrix order."""

    names: list[str]
    facts: AtomFacts
    clusters: PortfolioClusters
    model: RiskModel
    setting: Setting
    beta: Array | None
    settings: AllocationSettings
    run: RunFacts


def atom_facts(atoms: pl.DataFrame, symbols: pl.DataFrame, names: Sequence[str]) -> AtomFacts:
    """Facts of the atoms `names`; raises `L3_ATOM_TABLE` where the table lacks one."""
    order = pl.DataFrame({"atom": list(names)})
    wanted = [name for name in ("sector", "asset_type") if name in symbols.columns]
    described = symbols.select("symbol", *wanted).unique("symbol", keep="last", maintain_order=True)
    table = order.join(atoms.select("atom", "symbol", "factor"), on="atom", how="left", maintain_order="left")
    if table["factor"].null_count():
        missing = table.filter(pl.col("factor").is_null())["atom"].to_list()
        raise ContractError("L3_ATOM_TABLE", f"{missing[0]} is not in the atom table", where="atoms")
    table = table.join(described, on="symbol", how="left", maintain_order="left")
    nothing: list[str | None] = [None] * len(names)
    return AtomFacts(
        table["factor"].cast(pl.Float64).to_numpy(),
        table["sector"].to_list() if "sector" in wanted else nothing,
        table["asset_type"].to_list() if "asset_type" in wanted else nothing,
    )


def input_table(hashes: dict[str, str], clusters: PortfolioClusters, run: RunFacts) -> dict[str, str]:
    """sha256 of what the weights depend on, with the snapshot behind the features."""
    written = canonical(clusters.model_dump(mode="json", by_alias=True))
    known = {name: hashes[name] for name in INPUTS if hashes.get(name) is not None}
    return known | {"portfolio_clusters": sha256_hex(written), "snapshot": run.snapshot}


def solver_portfolio(
    book: Book, solved: Sequence[Solved], regime: RegimeRecord, dates: pl.Series, inputs: dict[str, str]
) -> records.SolverPortfolio:
    """`portfolio_optimized_v2.json`."""
    by_name = {one.profile: _profile(book, one) for one in solved}
    if "market" in book.settings.risk_profiles:
        by_name["market"] = _external(book)
    run = book.run
    return records.SolverPortfolio(
        run_id=run.run_id,
        profile=run.profile,
        trace_id=run.trace_id,
        as_of=f"{dates[-1].date()}T00:00:00Z",
        annualisation=run.annualisation,
        inputs=inputs,
        cluster_registry=_registry(book),
        optimization=records.Optimization(
            regime=records.RegimeCopy(name=regime.regime, score=regime.score, quadrant=regime.quadrant)
        ),
        metadata=records.Metadata(
            code_version=run.code_version, kernel_version=KERNEL_VERSION, flattened=False
        ),
        profiles=by_name,
    )


def boundary(one: Solved) -> Array:
    """Weights over the solved atoms without dust, rescaled once to the exposure of the result.

    Raises `ALLOCATION_DUST` (exit 70) where the constraints then fail by more than 1e-8.
    """
    assert one.result.weights is not None
    exposure = one.result.exposure
    kept = np.where(one.result.weights <= DUST, 0.0, one.result.weights)
    weights = kept / kept.sum()
    # Declared cash scales a fully invested solution, for which the beta row was not posed.
    posed = one.problem if exposure == 1.0 else one.problem.without_beta()
    before = primal_violation(posed, one.result.weights / exposure)
    if one.used != "barbell" and primal_violation(posed, weights) > MAX_DUST_RESIDUAL + before:
        raise InternalError("ALLOCATION_DUST", f"{one.profile}: dropping dust breaks a constraint")
    return np.asarray(exposure * weights)


def _profile(book: Book, one: Solved) -> records.SolverProfile:
    weights = _expanded(book, one)
    baseline = one.profile in BASELINES
    assets = _assets(book, one, weights, baseline=baseline)
    gross = float(sum(asset.Weight for asset in assets))
    return records.SolverProfile(
        status=one.status,
        reason=one.reason,
        fallback_chain=[
            records.Attempted(profile=t.profile, outcome=t.outcome, code=t.code) for t in one.chain
        ],
        assets=assets,
        clusters=[] if baseline else _clusters(book, assets),
        totals=records.SolverTotals(
            gross=gross, net=gross, cash=one.result.cash if assets else 0.0, n_assets=len(assets)
        ),
        constraints=_constraints(book, one, weights, baseline=baseline),
        conditioning=_conditioning(book, one.used),
        solver=_solver(book, one),
    )


def _expanded(book: Book, one: Solved) -> Array:
    """Weights over all atoms of the matrix; zeros where nothing is held."""
    if one.result.weights is None or one.status in ("INFEASIBLE", "SKIPPED"):
        return np.zeros(len(book.names))
    if one.used == "benchmark":
        return np.full(len(book.names), 1.0 / len(book.names))
    weights = np.zeros(len(book.names))
    weights[book.model.keep] = boundary(one)
    return weights


def _assets(book: Book, one: Solved, weights: Array, *, baseline: bool) -> list[records.SolverAsset]:
    labels = book.clusters.labels()
    totals: dict[str, float] = {}
    for name, weight in zip(book.names, weights, strict=True):
        totals[labels[name]] = totals.get(labels[name], 0.0) + float(weight)
    aggressors = _aggressors(book, one)
    rows = []
    for i, name in enumerate(book.names):
        if weights[i] <= DUST:
            continue
        weight, label = float(weights[i]), labels[name]
        rows.append(
            records.SolverAsset(
                Symbol=name, Weight=weight, Net_Weight=weight,
                Cluster_ID=None if baseline else label,
                Cluster_Weight=None if baseline else totals[label],
                Intra_Cluster_Weight=None if baseline else weight / totals[label],
                Type="BASELINE" if baseline else "AGGRESSOR" if name in aggressors else "CORE",
                Sector=book.facts.sectors[i], Market=book.facts.markets[i],
            )
        )  # fmt: skip
    return sorted(rows, key=lambda row: (-row.Weight, row.Symbol))


def _aggressors(book: Book, one: Solved) -> set[str]:
    return {book.setting.base.names[i] for i in one.result.notes.get("aggressors", ())}


def _clusters(book: Book, assets: Sequence[records.SolverAsset]) -> list[records.SolverCluster]:
    found = []
    for key in book.clusters.clusters:
        held = [asset for asset in assets if asset.Cluster_ID == key]
        if not held:
            continue
        gross = float(sum(asset.Weight for asset in held))
        found.append(
            records.SolverCluster(
                Cluster_ID=key, Cluster_Label=f"cluster {key}", Gross_Weight=gross, Net_Weight=gross,
                Lead_Asset=held[0].Symbol, Asset_Count=len(held),
                Type="AGGRESSOR" if any(a.Type == "AGGRESSOR" for a in held) else "CORE",
                Sectors=sorted({a.Sector for a in held if a.Sector is not None}),
            )
        )  # fmt: skip
    return sorted(found, key=lambda c: (-c.Gross_Weight, len(c.Cluster_ID), c.Cluster_ID))


def _constraints(book: Book, one: Solved, weights: Array, *, baseline: bool) -> records.Constraints:
    settings, caps, notes = book.settings, book.setting.caps, one.result.notes
    held = bool(weights.sum() > 0.0)
    kept_beta = one.problem.beta is not None
    missing = "BENCHMARK_MISSING" if book.beta is None else None
    return records.Constraints(
        cluster_cap=None if baseline else settings.cluster_cap,
        effective_cap=None if baseline else float(notes.get("cluster_cap", caps.cluster)),
        weight_cap=None if baseline else settings.weight_max,
        effective_weight_cap=None if baseline else float(notes.get("weight_cap", caps.weights.max())),
        cap_relaxed=not baseline
        and bool(notes.get("cap_relaxed", False) or caps.cluster_relaxed or caps.weight_relaxed),
        beta=float(weights @ book.beta) if held and book.beta is not None else None,
        beta_reason=missing if held else "NO_WEIGHTS",
        beta_tolerance=settings.beta.tolerance if kept_beta else None,
        market_neutral=kept_beta and held,
        reason=one.reason if one.dropped or not held else None,
    )


def _conditioning(book: Book, used: str) -> records.Conditioning:
    """Of the correlation that `used` saw: that of the clusters where they are the variables."""
    layers = None if used in (*UNCAPPED, "market") else book.setting.layers
    model = book.model if layers is None else layers.model
    return records.Conditioning(
        kappa=model.conditioned.kappa_after,
        kappa_limit=book.settings.kappa_max,
        shrinkage=model.shrinkage,
        n_obs=model.n_obs,
        n_columns=int(model.keep.sum()),
    )


def _solver(book: Book, one: Solved) -> records.Solver:
    last = one.result.attempts[-1]
    return records.Solver(
        engine=book.settings.engine,
        formulation=_formulation(book, one.used),
        solver=last.rung,
        status=one.result.status,
        iterations=sum(attempt.iterations for attempt in one.result.attempts),
    )


def _formulation(book: Book, profile: str) -> str:
    if profile == "market_neutral":
        return book.settings.market_neutral.objective
    return _FORMULATIONS[profile]


def _external(book: Book) -> records.SolverProfile:
    """The market baseline: its holdings are not atoms, so the simulator builds its stream."""
    return records.SolverProfile(
        status="SKIPPED",
        reason="BASELINE_EXTERNAL",
        fallback_chain=[records.Attempted(profile="market", outcome="SKIPPED", code="BASELINE_EXTERNAL")],
        assets=[],
        clusters=[],
        totals=records.SolverTotals(gross=0.0, net=0.0, cash=0.0, n_assets=0),
        constraints=records.Constraints(
            cluster_cap=None, effective_cap=None, weight_cap=None, effective_weight_cap=None,
            cap_relaxed=False, beta=None, beta_reason="NO_WEIGHTS", beta_tolerance=None,
            market_neutral=False, reason="BASELINE_EXTERNAL",
        ),
        conditioning=_conditioning(book, "market"),
        solver=records.Solver(
            engine=book.settings.engine, formulation="equal_weight", solver="none", status="SKIPPED",
            iterations=0,
        ),
    )  # fmt: skip


def _registry(book: Book) -> dict[str, records.RegisteredCluster]:
    sector = dict(zip(book.names, book.facts.sectors, strict=True))
    registry = {}
    for key, cluster in book.clusters.clusters.items():
        known = sorted({s for m in cluster.members if (s := sector[m]) is not None})
        counted = {s: sum(sector[m] == s for m in cluster.members) for s in known}
        primary = max(known, key=lambda s: (counted[s], s)) if known else None
        registry[key] = records.RegisteredCluster(symbols=list(cluster.members), primary_sector=primary)
    return registry
