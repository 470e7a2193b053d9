"""Votes and ratings in [-1, 1]. Source: features page, section 4."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.settings.ratings import RatingsSettings
from quantctl.steps.l1_ingestion.indicators import LENGTHS, Bars, Columns
from quantctl.steps.l1_ingestion.smoothing import highest, lag, lowest

Array = NDArray[np.float64]


def ratings(bars: Bars, columns: Columns, settings: RatingsSettings) -> Columns:
    """recommend_ma, recommend_other, recommend_all and the counts of defined votes."""
    lines = [columns[f"{kind}_{n}"] for kind in ("sma", "ema") for n in LENGTHS]
    votes = [np.sign(bars.close - line) for line in [*lines, columns["hma_9"], columns["vwma_20"]]]
    ma, ma_votes = _mean([*votes, _ichimoku(bars, columns, settings)], settings.min_ma_votes)
    other, osc_votes = _mean(_oscillator_votes(columns), 11)
    return {
        "recommend_ma": ma,
        "recommend_other": other,
        "recommend_all": settings.weights[0] * ma + settings.weights[1] * other,
        "ma_votes": ma_votes,
        "osc_votes": osc_votes,
    }


def _mean(votes: list[Array], least: int) -> tuple[Array, Array]:
    """Mean of the defined votes and their number; NaN with fewer than `least`."""
    total, count = np.zeros(votes[0].shape), np.zeros(votes[0].shape)
    for vote in votes:
        known = ~np.isnan(vote)
        count += known
        np.add(total, vote, out=total, where=known)
    return np.where(count >= least, total / np.maximum(count, 1), np.nan), count


def _ichimoku(bars: Bars, columns: Columns, settings: RatingsSettings) -> Array:
    if settings.ichimoku == "kijun":
        return np.sign(bars.close - columns["ichimoku_kijun"])
    tenkan = (highest(bars.high, 9) + lowest(bars.low, 9)) / 2
    first = lag((tenkan + columns["ichimoku_kijun"]) / 2, 26)
    second = lag((highest(bars.high, 52) + lowest(bars.low, 52)) / 2, 26)
    over, under = np.maximum(first, second), np.minimum(first, second)
    return _vote(bars.close > over, bars.close < under, first + second)


def _vote(plus: NDArray[np.bool_], minus: NDArray[np.bool_], needs: Array) -> Array:
    """+1, -1 or 0; NaN where `needs` is."""
    vote = np.subtract(plus, minus, dtype=np.float64)
    vote[np.isnan(needs)] = np.nan
    return vote


def _oscillator_votes(c: Columns) -> list[Array]:
    k, d, adx, pdi, mdi = (c[n] for n in ("stoch_k", "stoch_d", "adx_14", "dmp_14", "dmn_14"))

    def band(name: str, low: float, high: float) -> Array:
        return _vote(c[name] < low, c[name] > high, c[name])

    def moving(name: str) -> Array:
        x, before = c[name], lag(c[name])
        return _vote((x > 0) & (x > before), (x < 0) & (x < before), x + before)

    return [
        band("rsi_14", 30, 70),
        _vote((k < 20) & (k > d), (k > 80) & (k < d), k + d),
        band("cci", -100, 100),
        _vote((adx > 20) & (pdi > mdi), (adx > 20) & (pdi < mdi), adx + pdi + mdi),
        moving("ao"),
        np.sign(c["mom"]),
        np.sign(c["macd_hist"]),
        band("stochrsi_k", 20, 80),
        band("willr", -80, -20),
        moving("bb_power"),
        band("uo", 30, 70),
    ]
