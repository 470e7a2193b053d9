"""The figures of the report, drawn from the artifacts of a run once, for Markdown and page alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quantctl.contracts.stage import RunFacts

Floats = NDArray[np.float64]
STEPS = ("raw", "after_consolidation", "after_foundation", "scored", "eligible", "selected")


@dataclass(frozen=True)
class ProfileFacts:
    """One risk profile. Weights are shares of capital; vol and sharpe are per year and null without weights.

    net : symbol -> signed weight; atoms : atom -> weight in solver space
    effective : 1 / sum of squared atom weights; sharpe : in sample, of the risk model's own mean
    growth : compounded index of the portfolio, rebalanced daily, before cost; empty without weights
    """

    name: str
    status: str
    reason: str
    chain: str
    atoms: dict[str, float]
    net: dict[str, float]
    effective: float | None
    vol: float | None
    sharpe: float | None
    beta: float | None
    cluster_cap: float | None
    weight_cap: float | None
    relaxed: bool
    gross: float
    net_exposure: float
    cash: float
    kappa: float
    growth: Floats

    @property
    def largest(self) -> float | None:
        """The largest atom weight, null without weights."""
        return max(self.atoms.values(), default=None)


@dataclass(frozen=True)
class Facts:
    """Everything that the report says.

    funnel : (step, count) from the scan to the winners
    vetoes : (stage, code, class, count), in the order of stages and then most frequent first
    positions : rows of the primary risk profile, largest first
    risk : (atom, weight, share of the portfolio's variance) of the primary risk profile
    correlation : of the streams, conditioned, in the order of `ordered`, which is by cluster
    chosen_from : date of the first row on which weights were chosen
    streams : compounded index of every winner's stream, 1.0 before the first row
    """

    run: RunFacts
    primary: str
    simulated: bool
    window: dict[str, Any]
    funnel: list[tuple[str, int]]
    vetoes: list[tuple[str, str, str, int]]
    winners: list[Any]
    relaxation: str
    clusters: list[tuple[str, int, int, float]]
    regime: Any
    profiles: list[ProfileFacts]
    positions: list[Any]
    risk: list[tuple[str, float, float]]
    labels: dict[str, str]
    cluster_of: dict[str, str]
    ordered: list[str]
    correlation: Floats
    dates: list[Any]
    chosen_from: Any
    streams: dict[str, Floats]
    model: Any
    warnings: list[tuple[str, str]]

    @property
    def leading(self) -> ProfileFacts | None:
        """The primary risk profile, null where the run did not solve it."""
        return next((profile for profile in self.profiles if profile.name == self.primary), None)


def funnel_of(candidates_funnel: pl.DataFrame, counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Symbols scanned and passed, then atoms of the pool, scored, eligible and selected."""
    scanned = candidates_funnel["symbol"].n_unique()
    passed = candidates_funnel.filter(pl.col("code").is_null())["symbol"].n_unique()
    steps = [(name.replace("_", " "), counts[name]) for name in STEPS if name in counts]
    return [("symbols scanned", scanned), ("symbols passed", passed), *steps]


def veto_counts(candidates_funnel: pl.DataFrame, audit: Any) -> list[tuple[str, str, str, int]]:
    """(stage, code, class, count): symbols that a scan rule stopped, then atoms per code of selection."""
    scan = Counter(code for code in candidates_funnel["code"].to_list() if code is not None)
    atoms = Counter(
        key for rows in audit.vetoes.values() for key in {(row.stage, row.code, row.class_) for row in rows}
    )
    first = [("scan", code, "SCAN", count) for code, count in scan.items()]
    then = [(*key, count) for key, count in atoms.items()]
    places = {"scan": 0, "consolidation": 1, "foundation": 2, "features": 3, "scoring": 4}
    return sorted(first + then, key=lambda row: (places.get(row[0], 5), row[0], -row[3], row[1]))


def covariance(risk_model: pl.DataFrame, annualisation: int) -> Floats:
    """Sigma = A diag(vol) corr diag(vol), shape (N, N), per year, in the order of `risk_model`."""
    vol = risk_model["vol"].to_numpy()
    sigma: Floats = annualisation * correlation(risk_model) * np.outer(vol, vol)
    return sigma


def correlation(risk_model: pl.DataFrame) -> Floats:
    """The conditioned correlation of the atoms, shape (N, N)."""
    size = risk_model.height
    return np.array(risk_model["corr"].to_list(), dtype=np.float64).reshape(size, size)


def risk_shares(
    weights: Mapping[str, float], risk_model: pl.DataFrame, annualisation: int
) -> list[tuple[str, float, float]]:
    """(atom, weight, w_i (Sigma w)_i / w'Sigma w), largest share first, ties by atom."""
    names = risk_model["atom"].to_list()
    w = np.array([weights.get(name, 0.0) for name in names])
    marginal = covariance(risk_model, annualisation) @ w
    total = float(w @ marginal)
    if total <= 0.0:
        return []
    rows = [(n, float(a), float(a * m / total)) for n, a, m in zip(names, w, marginal, strict=True) if a > 0]
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def profile_facts(
    solver: Any, physical: Any, risk_model: pl.DataFrame, streams: pl.DataFrame, run: RunFacts, rate: float
) -> list[ProfileFacts]:
    """The risk profiles by name. `rate` is the risk-free rate per year."""
    sigma = covariance(risk_model, run.annualisation)
    names, mu = risk_model["atom"].to_list(), risk_model["mu"].to_numpy()
    found = []
    for name, profile in sorted(solver.profiles.items()):
        atoms = {asset.Symbol: asset.Weight for asset in profile.assets}
        w = np.array([atoms.get(atom, 0.0) for atom in names])
        vol = float(np.sqrt(w @ sigma @ w))
        flat, bounds = physical.profiles.get(name), profile.constraints
        totals = profile.totals if flat is None else flat.totals
        found.append(ProfileFacts(
            name=name, status=profile.status if flat is None else flat.status, reason=profile.reason or "",
            chain=_chain(profile.fallback_chain),
            atoms=atoms, net={} if flat is None else {a.Symbol: a.Net_Weight for a in flat.assets},
            effective=1.0 / float(w @ w) if w.any() else None, vol=vol if vol > 0 else None,
            sharpe=(float(mu @ w) - rate) / vol if vol > 0 else None, beta=bounds.beta,
            cluster_cap=bounds.effective_cap, weight_cap=bounds.effective_weight_cap,
            relaxed=bounds.cap_relaxed, gross=totals.gross, net_exposure=totals.net,
            cash=totals.cash + getattr(totals, "gated_cash", 0.0), kappa=profile.conditioning.kappa,
            growth=compounded(streams, atoms),
        ))  # fmt: skip
    return found


def _chain(attempts: Sequence[Any]) -> str:
    """What was tried, in order; empty where the first attempt stood."""
    return " > ".join(f"{a.profile} {a.outcome}" for a in attempts) if len(attempts) > 1 else ""


def compounded(streams: pl.DataFrame, weights: Mapping[str, float]) -> Floats:
    """Compounded index of the weighted streams, rebalanced daily, shape (T,); empty without weights."""
    if not weights:
        return np.empty(0)
    names = sorted(weights)
    returns = streams.select(names).to_numpy() @ np.array([weights[name] for name in names])
    return np.cumprod(1.0 + returns, dtype=np.float64)


def cluster_rows(clusters: Any, audit: Any) -> list[tuple[str, int, int, float]]:
    """(id, pool members, winners, mean correlation), largest first, ties by id."""
    rows = [
        (key, len(item.members), audit.clusters[key].selected if key in audit.clusters else 0, item.mean_rho)
        for key, item in clusters.clusters.items()
    ]
    return sorted(rows, key=lambda row: (-row[1], len(row[0]), row[0]))


def atom_labels(atoms: pl.DataFrame) -> dict[str, str]:
    """A short name per atom: its symbol, and logic or direction where they tell atoms apart."""
    logics, directions = atoms["logic"].n_unique(), atoms["direction"].n_unique()
    short = symbol_labels(atoms["symbol"].to_list())
    return {
        row["atom"]: " ".join(
            [short[row["symbol"]]]
            + [row["logic"]] * (logics > 1)
            + [row["direction"].lower()] * (directions > 1)
        )
        for row in atoms.iter_rows(named=True)
    }


def symbol_labels(symbols: Sequence[str]) -> dict[str, str]:
    """Symbols without their exchange where all share one."""
    single = len({symbol.partition(":")[0] for symbol in symbols}) == 1
    return {symbol: symbol.partition(":")[2] if single else symbol for symbol in symbols}


def by_cluster(atoms: pl.DataFrame, names: Sequence[str]) -> list[str]:
    """`names` by cluster, largest cluster first, then by atom."""
    label = dict(zip(atoms["atom"].to_list(), atoms["cluster"].to_list(), strict=True))
    sizes = Counter(label[name] for name in names)
    return sorted(names, key=lambda name: (-sizes[label[name]], label[name], name))


def warnings_of(foundation: Any, audit: Any, regime: Any, trace: Any) -> list[tuple[str, str]]:
    """(where, what) for each warning of foundation, selection, regime and allocation."""
    rows = [("foundation", f"{n.code}: {n.message}") for n in foundation.notes if n.level == "WARN"]
    rows += [("selection", _sentence(item)) for item in audit.warnings]
    rows += [("regime", item) for item in regime.warnings]
    rows += [(f"allocation, {key}", item) for key, p in sorted(trace.profiles.items()) for item in p.warnings]
    return list(dict.fromkeys(rows))


def _sentence(warning: Mapping[str, Any]) -> str:
    about = f" ({warning['symbol']})" if warning.get("symbol") else ""
    return f"{warning.get('code', '')}: {warning.get('message', '')}{about}"
