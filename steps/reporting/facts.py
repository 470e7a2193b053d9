"""The figures of the report, drawn from the artifacts of a run once, for Markdown and page alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quantctl.contracts.stage import RunFacts

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Facts:
    """Everything that the report says.

    funnel : (step, count) from the scan to the winners
    vetoes : (code, number of atoms), most frequent first
    positions : (symbol, net weight, gross weight, direction) of the primary risk profile
    risk : (atom, weight, share of the portfolio's variance) of the primary risk profile
    growth : compounded index of the primary risk profile's streams, in sample, 1.0 before the first row
    """

    run: RunFacts
    primary: str
    funnel: list[tuple[str, int]]
    vetoes: list[tuple[str, int]]
    positions: list[tuple[str, float, float, str]]
    profiles: list[dict[str, Any]]
    risk: list[tuple[str, float, float]]
    clusters: list[tuple[str, int, float]]
    dates: list[Any]
    growth: Floats
    streams: dict[str, Floats]
    regime: Any
    atoms: pl.DataFrame
    counts: dict[str, int]


def funnel_of(candidates_funnel: pl.DataFrame, counts: dict[str, int]) -> list[tuple[str, int]]:
    """Symbols scanned and passed, then atoms of the pool, scored, eligible and selected."""
    scanned = candidates_funnel["symbol"].n_unique()
    passed = candidates_funnel.filter(pl.col("code").is_null())["symbol"].n_unique()
    names = ("raw", "after_consolidation", "after_foundation", "scored", "eligible", "selected")
    steps = [(name.replace("_", " "), counts[name]) for name in names if name in counts]
    return [("scanned", scanned), ("passed the scan", passed), *steps]


def veto_counts(selection_audit: Any) -> list[tuple[str, int]]:
    """How many atoms carry each veto code, most frequent first, ties by code."""
    totals: dict[str, int] = {}
    for rows in selection_audit.vetoes.values():
        for code in sorted({row.code for row in rows}):
            totals[code] = totals.get(code, 0) + 1
    return sorted(totals.items(), key=lambda item: (-item[1], item[0]))


def risk_shares(weights: dict[str, float], risk_model: pl.DataFrame) -> list[tuple[str, float, float]]:
    """(atom, weight, w_i (Sigma w)_i / w'Sigma w), largest share first; Sigma = diag(vol) corr diag(vol)."""
    names = risk_model["atom"].to_list()
    w = np.array([weights.get(name, 0.0) for name in names])
    vol = risk_model["vol"].to_numpy()
    corr = np.array(risk_model["corr"].to_list(), dtype=np.float64).reshape(len(names), len(names))
    marginal = vol * (corr @ (vol * w))
    total = float(w @ marginal)
    if total <= 0.0:
        return []
    rows = [(n, float(a), float(a * m / total)) for n, a, m in zip(names, w, marginal, strict=True) if a > 0]
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def compounded(streams: pl.DataFrame, weights: dict[str, float]) -> tuple[Floats, dict[str, Floats]]:
    """Compounded index of the weighted streams (rebalanced daily), and of every held stream."""
    held = sorted(name for name, weight in weights.items() if weight > 0 and name in streams.columns)
    paths = {name: np.cumprod(1.0 + streams[name].to_numpy(), dtype=np.float64) for name in held}
    total = np.zeros(streams.height)
    for name in held:
        total += weights[name] * streams[name].to_numpy()
    return np.cumprod(1.0 + total, dtype=np.float64), paths


def profile_rows(solver: Any) -> list[dict[str, Any]]:
    """One row per risk profile: status, reason, assets, largest weight, effective number, kappa, beta."""
    rows = []
    for name, profile in sorted(solver.profiles.items()):
        weights = [asset.Weight for asset in profile.assets]
        square = sum(w * w for w in weights)
        rows.append({
            "name": name, "status": profile.status, "reason": profile.reason or "", "n": len(weights),
            "largest": max(weights, default=0.0), "effective": 1.0 / square if square else 0.0,
            "kappa": profile.conditioning.kappa, "beta": profile.constraints.beta,
        })  # fmt: skip
    return rows
