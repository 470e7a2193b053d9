"""Scores of candidates: raw metrics of the frame, probabilities per leg, the multiplicative score.

    log_score = Σ w_i ln(max(P_i, 1e-9)) [+ ln(max(1 - f, 1e-9))],    alpha_score = exp(log_score)

with the fragility term f in engine v3.4 only. Ratios to a reference or to the cross-section are formed
here; every other metric is a column of the feature frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.settings.selection import LiquidityReference
from quantctl.steps.l2_selection.candidates import LEGS, Candidates
from quantctl.steps.l2_selection.engines import Engine
from quantctl.steps.l2_selection.probability import NEUTRAL, minmax, probability

Array = NDArray[np.float64]
FLOOR = 1e-9
YEAR = 252.0


@dataclass(frozen=True)
class Scored:
    """Scores of N candidates in atom order.

    raw, prob : metric -> (N,) value in its unit, and probability in [0, 1]
    log_score, alpha_score : (N,); alpha_score in (0, 1]
    n_neutral, n_scored : (N,) counts of metrics with weight that are NaN, and of all with weight
    """

    raw: dict[str, Array]
    prob: dict[str, Array]
    log_score: Array
    alpha_score: Array
    n_neutral: NDArray[np.int32]
    n_scored: int


def score(
    candidates: Candidates,
    engine: Engine,
    weights: Mapping[str, float],
    liquidity: LiquidityReference,
    hurst_mean: Callable[[int], float],
) -> Scored:
    """Score every candidate within its leg.

    hurst_mean : mean of the Hurst statistic on white noise of n rows, mu0(n)
    """
    raw = raw_metrics(candidates, engine, liquidity, hurst_mean)
    prob = {
        name: _by_leg(candidates, raw[name], partial(probability, method=metric.method, domain=metric.domain))
        for name, metric in engine.metrics.items()
    }
    log_score = np.zeros(len(candidates))
    neutral = np.zeros(len(candidates), dtype=np.int32)
    active = [name for name in engine.metrics if weights[name] > 0.0]
    for name in active:
        log_score += weights[name] * np.log(np.maximum(prob[name], FLOOR))
        neutral += np.isnan(raw[name])
    if engine.fragility:
        raw["fragility"] = _by_legs(candidates, _fragility, raw["antifragility"], candidates.number("cvar"))
        term = np.where(np.isnan(raw["fragility"]), NEUTRAL, raw["fragility"])
        prob["fragility"] = term
        log_score += np.log(np.maximum(1.0 - term, FLOOR))
    return Scored(raw, prob, log_score, np.exp(log_score), neutral, len(active))


def raw_metrics(
    candidates: Candidates,
    engine: Engine,
    liquidity: LiquidityReference,
    hurst_mean: Callable[[int], float],
) -> dict[str, Array]:
    """The raw value of each scored metric, NaN where an input is undefined."""
    formed: dict[str, Callable[[], Array]] = {
        "liquidity": lambda: liquidity_score(candidates, liquidity),
        "survival": lambda: survival_score(
            candidates.number("n_bars"), candidates.number("gap_share"), candidates.number("regime_survival")
        ),
        "antifragility": lambda: antifragility_score(candidates),
        "hurst_signal": lambda: hurst_signal(
            candidates.number("hurst"), candidates.number("n_obs_120"), hurst_mean
        ),
        "skew": lambda: np.abs(candidates.number("skew")),
    }
    return {name: formed[name]() if name in formed else candidates.number(name) for name in engine.metrics}


def liquidity_score(candidates: Candidates, reference: LiquidityReference) -> Array:
    """min(1, adv / B), B the reference turnover of the asset class in USD per day."""
    base = np.where(candidates.crypto, reference.crypto, reference.other)
    ratio: Array = np.minimum(1.0, candidates.number("adv_30") / base)
    return ratio


def survival_score(n_bars: Array, gap_share: Array, regime_survival: Array) -> Array:
    """[1 / (1 + (252/n_bars)²)] · clip(1 - gap_share, 0, 1) · clip(regime_survival, 0.01, 1)."""
    with np.errstate(divide="ignore"):
        history = 1.0 / (1.0 + (YEAR / n_bars) ** 2)
    product: Array = history * np.clip(1.0 - gap_share, 0.0, 1.0) * np.clip(regime_survival, 0.01, 1.0)
    return product


def antifragility_score(candidates: Candidates) -> Array:
    """0.5 (minmax(skew) + minmax(upper_tail)) · min(1, n_bars/A), cross-section per leg."""
    skew, tail = candidates.number("skew"), candidates.number("upper_tail")
    level = 0.5 * (_by_leg(candidates, skew, minmax) + _by_leg(candidates, tail, minmax))
    history: Array = np.minimum(1.0, candidates.number("n_bars") / candidates.number("annualisation"))
    return level * history


def hurst_signal(hurst: Array, n_obs: Array, hurst_mean: Callable[[int], float]) -> Array:
    """Distance from a random walk: 1 - clip(1 - 2|H_c - 0.5|, 0, 1), H_c = clip(H - mu0(n) + 0.5, 0, 1)."""
    known = ~(np.isnan(hurst) | np.isnan(n_obs))
    means = np.array([hurst_mean(int(n)) if ok else np.nan for n, ok in zip(n_obs, known, strict=True)])
    centred = np.clip(hurst - means + 0.5, 0.0, 1.0)
    signal: Array = 1.0 - np.clip(1.0 - 2.0 * np.abs(centred - 0.5), 0.0, 1.0)
    return signal


def _fragility(antifragility: Array, cvar: Array) -> Array:
    """f = 0.5 · F / max F with F = (1 - AF/max AF) + |cvar|/max|cvar|, in [0, 0.5]."""
    level = (1.0 - _share(antifragility)) + _share(np.abs(cvar))
    return 0.5 * _share(level)


def _share(values: Array) -> Array:
    """Values over their maximum; zeros where nothing is above zero, NaN stays."""
    known = values[~np.isnan(values)]
    top = known.max() if len(known) else 0.0
    return values / top if top > 0.0 else values * 0.0


def _by_leg(candidates: Candidates, values: Array, function: Callable[[Array], Array]) -> Array:
    return _by_legs(candidates, function, values)


def _by_legs(candidates: Candidates, function: Callable[..., Array], *columns: Array) -> Array:
    result = np.full(len(candidates), np.nan)
    for direction in LEGS:
        rows = candidates.leg(direction)
        if len(rows):
            result[rows] = function(*(column[rows] for column in columns))
    return result
