"""G10 and G12: the weight files, judged by recomputation."""

from __future__ import annotations

from collections.abc import Mapping
from math import fsum, isfinite
from typing import Any, NamedTuple

import polars as pl

from quantctl.contracts.errors import QuantError
from quantctl.contracts.ids import is_symbol
from quantctl.contracts.records import weights as records
from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.contracts.settings.synthesis import SynthesisSettings
from quantctl.contracts.stage import Finding, Judgement, Loaded, StageParams, gate
from quantctl.steps.l4_allocation.flatten import AtomRow, atom_rows, flatten_profile
from quantctl.steps.l4_allocation.profiles import has_beta_row

SUM = 1e-9
CAP = 1e-6
OUTER = 1.05


class L4Params(StageParams):
    """Settings of both gates."""

    allocation: AllocationSettings


class PhysicalParams(StageParams):
    """Settings of the physical gate: `synthesis` to recompute gates."""

    allocation: AllocationSettings
    synthesis: SynthesisSettings


@gate("l4_synthetic", stage="allocation.optimization", order=1, writes="gate_l4_synthetic", params=L4Params)
def judge_synthetic(
    portfolio_optimized_v2: Loaded[records.SolverPortfolio],
    atoms: Loaded[pl.DataFrame],
    portfolio_clusters: Loaded[Any],
    params: L4Params,
) -> Judgement:
    """Check the solver-space weight file: sums, caps, clusters, statuses, every configured profile."""
    unread = _unread("L4_SYNTHETIC", portfolio_optimized_v2, atoms, portfolio_clusters)
    if unread:
        return Judgement(unread, {"profiles": 0, "rows": 0})
    portfolio, table = portfolio_optimized_v2.value, atoms.value
    assert portfolio is not None and table is not None and portfolio_clusters.value is not None
    known = set(table["atom"].to_list())
    found = [
        _error("OPT_PROFILE_MISSING", f"risk profile {name} is configured but absent", symbol=None)
        for name in params.allocation.risk_profiles
        if name not in portfolio.profiles
    ]
    found += _registry(portfolio, known)
    for name, profile in portfolio.profiles.items():
        found += _synthetic_profile(name, profile, known, portfolio_clusters.value.labels())
        found += _declared(name, profile, params.allocation)
    rows = sum(len(profile.assets) for profile in portfolio.profiles.values())
    if not rows:
        found.append(_error("L4_SYNTHETIC_NOTHING_CHECKED", "no risk profile holds an asset", symbol=None))
    return Judgement(found, {"profiles": len(portfolio.profiles), "rows": rows})


@gate("l4_physical", stage="allocation.flattening", order=1, writes="gate_l4_physical", params=PhysicalParams)
def judge_physical(
    portfolio_flattened: Loaded[records.PhysicalPortfolio],
    portfolio_optimized_v2: Loaded[records.SolverPortfolio],
    atoms: Loaded[pl.DataFrame],
    returns_matrix: Loaded[pl.DataFrame],
    params: PhysicalParams,
) -> Judgement:
    """Check the physical weight file: conservation, signs, gates, and every sum against the atoms."""
    unread = _unread("L4_PHYSICAL", portfolio_flattened, portfolio_optimized_v2, atoms, returns_matrix)
    if unread:
        return Judgement(unread, {"profiles": 0, "rows": 0})
    physical, solver = portfolio_flattened.value, portfolio_optimized_v2.value
    assert physical is not None and solver is not None
    assert atoms.value is not None and returns_matrix.value is not None
    try:
        table = atom_rows(atoms.value)
    except QuantError as problem:
        found = [_error(problem.code, problem.message, symbol=problem.where)]
        return Judgement(found, {"profiles": 0, "rows": 0})
    found = _gates(atoms.value, returns_matrix.value, params.synthesis)
    missing = set(solver.profiles) ^ set(physical.profiles)
    found += [_error("OPT_PROFILE_MISSING", f"{name} is in one weight file only", symbol=None)
              for name in sorted(missing)]  # fmt: skip
    for name, profile in physical.profiles.items():
        found += _physical_profile(name, profile, table, allow_cash=params.allocation.allow_all_cash)
        if name in solver.profiles:
            found += _recomputed(name, profile, solver.profiles[name], table)
    rows = sum(len(p.assets) + len(p.inactive) for p in physical.profiles.values())
    if not rows:
        found.append(_error("L4_PHYSICAL_NOTHING_CHECKED", "no risk profile holds an asset", symbol=None))
    return Judgement(found, {"profiles": len(physical.profiles), "rows": rows, "atoms": len(table)})


class _Rule(NamedTuple):
    code: str
    broken: bool
    message: str


def _synthetic_profile(
    name: str, profile: records.SolverProfile, known: set[str], labels: Mapping[str, str]
) -> list[Finding]:
    names = [asset.Symbol for asset in profile.assets]
    total = fsum(asset.Weight for asset in profile.assets)
    empty = profile.status in ("INFEASIBLE", "SKIPPED")
    c = profile.constraints
    neutral = c.beta is not None and c.beta_tolerance is not None and abs(c.beta) <= c.beta_tolerance + CAP
    rules = [
        _Rule("L4_STATUS", empty == bool(names), f"status {profile.status} with {len(names)} assets"),
        _Rule("L4_STATUS", profile.status != "OPTIMAL" and not profile.reason, "no reason is given"),
        _Rule("L4_DUPLICATE", len(set(names)) != len(names), "an atom stands in two rows"),
        _Rule("L4_SUM", not total <= OUTER, f"weights sum to {total:.9g} > {OUTER}"),
        _Rule("L4_SUM", not empty and not abs(total + profile.totals.cash - 1.0) <= SUM,
              f"weights and cash sum to {total + profile.totals.cash:.12g}"),
        _Rule("L4_SUM", not abs(total - profile.totals.gross) <= SUM, "totals.gross is not the sum of rows"),
        _Rule("L4_KAPPA", not profile.conditioning.kappa < profile.conditioning.kappa_limit,
              f"kappa {profile.conditioning.kappa:.6g} is not below its limit"),
        _Rule("L4_BETA", c.market_neutral and not neutral, f"beta {c.beta}, tolerance {c.beta_tolerance}"),
    ]  # fmt: skip
    found = _broken(name, rules)
    for asset in profile.assets:
        found += _broken(name, _asset_rules(asset, known, labels, profile.constraints), asset.Symbol)
    found += _cluster_caps(name, profile)
    if profile.constraints.cap_relaxed:
        message = (
            f"{name}: caps were relaxed to {c.effective_cap} per cluster, {c.effective_weight_cap} per atom"
        )
        found.append(Finding(level="WARN", code="CAP_RELAXED", message=message))
    return found


def _declared(name: str, profile: records.SolverProfile, settings: AllocationSettings) -> list[Finding]:
    """Cash and beta row are what the settings declare."""
    cash = profile.totals.cash
    most = 1.0 - settings.cash_min_exposure if settings.cash == "allowed" else 0.0
    row = has_beta_row(name, settings) and profile.status == "OPTIMAL"
    tolerance, declared = profile.constraints.beta_tolerance or 0.0, settings.beta.tolerance
    rules = [
        _Rule("L4_CASH", cash > most + SUM, f"cash {cash:.9g}, at most {most:.9g} is declared"),
        _Rule("L4_BETA", row and not profile.constraints.market_neutral, "the beta row is missing"),
        _Rule("L4_BETA", row and tolerance > declared, f"beta tolerance {tolerance}, declared {declared}"),
    ]  # fmt: skip
    return _broken(name, rules)


def _asset_rules(
    asset: records.SolverAsset, known: set[str], labels: Mapping[str, str], c: records.Constraints
) -> list[_Rule]:
    cap = c.effective_weight_cap
    product = (asset.Cluster_Weight or 0.0) * (asset.Intra_Cluster_Weight or 0.0)
    return [
        _Rule("L4_UNKNOWN_ATOM", asset.Symbol not in known, "not in the atom table"),
        _Rule("L4_WEIGHT", not (isfinite(asset.Weight) and asset.Weight > 0.0), f"weight {asset.Weight}"),
        _Rule("L4_NOT_NORMALISED", abs(asset.Net_Weight - asset.Weight) > 1e-12, "net differs from gross"),
        _Rule("L4_CAP", cap is not None and asset.Weight > cap + CAP, f"{asset.Weight:.9g} exceeds {cap}"),
        _Rule("L4_CLUSTER", asset.Cluster_ID is not None and labels.get(asset.Symbol) != asset.Cluster_ID,
              f"cluster {asset.Cluster_ID} is not that of portfolio_clusters"),
        _Rule("L4_CLUSTER", asset.Cluster_ID is not None and abs(product - asset.Weight) > SUM,
              "weight is not cluster weight times weight within"),
    ]  # fmt: skip


def _cluster_caps(name: str, profile: records.SolverProfile) -> list[Finding]:
    cap = profile.constraints.effective_cap
    found = []
    for cluster in profile.clusters:
        gross = fsum(a.Weight for a in profile.assets if a.Cluster_ID == cluster.Cluster_ID)
        rules = [
            _Rule("L4_SUM", abs(gross - cluster.Gross_Weight) > SUM, "cluster gross is not its members' sum"),
            _Rule("L4_CAP", cap is not None and gross > cap + CAP, f"cluster holds {gross:.9g} > {cap}"),
        ]
        found += _broken(name, rules, cluster.Cluster_ID)
    return found


def _registry(portfolio: records.SolverPortfolio, known: set[str]) -> list[Finding]:
    members = [s for cluster in portfolio.cluster_registry.values() for s in cluster.symbols]
    if len(set(members)) == len(members) and set(members) == known:
        return []
    return [_error("L4_CLUSTER", "cluster_registry does not hold every atom exactly once", symbol=None)]


def _physical_profile(
    name: str, profile: records.PhysicalProfile, table: Mapping[str, AtomRow], *, allow_cash: bool
) -> list[Finding]:
    t = profile.totals
    names = [asset.Symbol for asset in profile.assets]
    held = bool(profile.assets or profile.inactive)
    empty = profile.status in ("INFEASIBLE", "SKIPPED")
    rules = [
        _Rule("L4_STATUS", empty == held, f"status {profile.status} with {len(names)} assets"),
        _Rule("L4_DUPLICATE", len(set(names)) != len(names), "a symbol stands in two rows"),
        _Rule("L4_SUM", not t.gross <= OUTER, f"gross {t.gross:.9g} > {OUTER}"),
        _Rule("FLATTEN_CONSERVATION", held and abs(t.gross + t.gated_cash + t.cash - 1.0) > SUM,
              f"gross + gated cash + cash = {t.gross + t.gated_cash + t.cash:.12g}"),
        _Rule("FLATTEN_CONSERVATION", abs(t.abs_net + t.netting - t.gross) > SUM, "netting does not add up"),
        _Rule("FLATTEN_CONSERVATION", abs(t.net) > t.gross + SUM, "net exceeds gross"),
        _Rule("FLATTEN_CONSERVATION", abs(t.long_gross + t.short_gross - t.gross) > SUM,
              "long and short gross do not add up"),
        _Rule("FLATTEN_CONSERVATION", abs(t.self_financing_cash - (1.0 - t.net)) > SUM,
              "self-financing cash is not 1 − net"),
        _Rule("FLATTEN_EMPTY", profile.status == "ALL_CASH" and not allow_cash, "every gate is off"),
    ]  # fmt: skip
    found = _broken(name, rules)
    for asset in profile.assets:
        found += _broken(name, _position_rules(asset, table), asset.Symbol)
    return found


def _position_rules(asset: records.PhysicalAsset, table: Mapping[str, AtomRow]) -> list[_Rule]:
    factors = {c.factor for c in asset.Contributors}
    unknown = [c.atom for c in asset.Contributors if c.atom not in table]
    wrong = [c.atom for c in asset.Contributors if c.atom in table and table[c.atom].gate != c.gate]
    return [
        _Rule("L4_SYMBOL", not is_symbol(asset.Symbol) or asset.Symbol in table, "not EXCHANGE:SYMBOL"),
        _Rule("FLATTEN_UNKNOWN_ATOM", bool(unknown), f"contributors {unknown[:3]} are not in the atom table"),
        _Rule("FLATTEN_GATE", bool(wrong), f"gates of {wrong[:3]} differ from the atom table"),
        _Rule("L4_WEIGHT", not asset.Weight > 0.0, f"weight {asset.Weight}"),
        _Rule("FLATTEN_SIGN", factors == {-1} and asset.Net_Weight > 0.0, "short atoms only, but net long"),
        _Rule("FLATTEN_SIGN", factors == {1} and asset.Net_Weight < 0.0, "long atoms only, but net short"),
    ]


def _recomputed(
    name: str,
    profile: records.PhysicalProfile,
    solver: records.SolverProfile,
    table: Mapping[str, AtomRow],
) -> list[Finding]:
    """Rows and totals against those that follow from the solver file and the atom table."""
    try:
        expected = flatten_profile(solver, table)
    except QuantError as problem:
        return [_error(problem.code, f"{name}: {problem.message}", symbol=problem.where)]
    theirs = {asset.Symbol: asset for asset in expected.assets}
    ours = {asset.Symbol: asset for asset in profile.assets}
    found = []
    for symbol in sorted(set(theirs) | set(ours)):
        a, b = ours.get(symbol), theirs.get(symbol)
        same = a is not None and b is not None
        if same and abs(a.Weight - b.Weight) <= SUM and abs(a.Net_Weight - b.Net_Weight) <= SUM:  # type: ignore[union-attr]
            continue
        message = f"{name}: the position does not follow from its atoms"
        found.append(_error("FLATTEN_CONSERVATION", message, symbol=symbol))
    if abs(profile.totals.gated_cash - expected.totals.gated_cash) > SUM:
        message = f"{name}: gated cash does not follow from the gates"
        found.append(_error("FLATTEN_GATE", message, symbol=None))
    return found


def _gates(atoms: pl.DataFrame, matrix: pl.DataFrame, settings: SynthesisSettings) -> list[Finding]:
    """The last-bar gate is 1 for ungated logics, and for gated ones what their stream says."""
    from quantctl.steps.l3_synthesis.synthesis import build_panel

    found = [
        _error("FLATTEN_GATE", "an ungated atom has its gate off", symbol=row["atom"])
        for row in atoms.filter(~pl.col("gated") & (pl.col("deploy_gate") != 1)).iter_rows(named=True)
    ]
    gated = atoms.filter("gated").sort("atom")
    if gated.is_empty():
        return found
    rows = [_Winner(r["symbol"], r["logic"], r["direction"]) for r in gated.iter_rows(named=True)]
    expected = build_panel(rows, matrix, settings).next_gates
    for row in gated.iter_rows(named=True):
        if expected[row["atom"]] != row["deploy_gate"]:
            message = f"deploy_gate {row['deploy_gate']}, recomputed {expected[row['atom']]}"
            found.append(_error("FLATTEN_GATE", message, symbol=row["atom"]))
    return found


class _Winner(NamedTuple):
    symbol: str
    logic: str
    direction: str


def _unread(prefix: str, *inputs: Loaded[Any]) -> list[Finding]:
    return [
        _error(f"{prefix}_PARSE", f"{item.path} is {item.problem}: {item.detail}", symbol=None)
        for item in inputs
        if item.value is None
    ]


def _broken(profile: str, rules: list[_Rule], symbol: str | None = None) -> list[Finding]:
    return [_error(r.code, f"{profile}: {r.message}", symbol=symbol) for r in rules if r.broken]


def _error(code: str, message: str, *, symbol: str | None) -> Finding:
    return Finding(level="ERROR", code=code, message=message, symbol=symbol)
