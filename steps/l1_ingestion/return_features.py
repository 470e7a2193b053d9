"""Columns formed from returns and turnover, (S, T) each. Source: features page, section 3."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l1_ingestion.indicators import Bars, Columns
from quantctl.steps.l1_ingestion.moments import (
    autocorrelations,
    deviation,
    expanding,
    from_least,
    location,
    observed,
    shape,
    tails,
)  # fmt: skip
from quantctl.steps.l1_ingestion.smoothing import centred, lag, ratio, rolled
from quantctl.steps.l2_selection.predictability import (
    hurst_clean,
    rolling_entropy,
    rolling_hurst,
    rolling_turbulence,
)  # fmt: skip

Array = NDArray[np.float64]
LEAST = 60
YEAR = 252


def return_features(close: Array, lookback: int, annual: Array) -> Columns:
    """Return, tail and predictability columns with their short twins; `annual` (S,) is 365 or 252."""
    r = (ratio(close, lag(close)) - 1)[:, 1:]
    h = rolling_hurst(r, lookback, LEAST)
    sums = expanding(r, YEAR, lookback), expanding(r * r, YEAR, lookback, 30)
    _, month = location(r, expanding(r, 30)[30], sums[1][30], 30, 30)
    out = _streams(r, sums, lookback, annual) | {
        "efficiency": _efficiency(r, sums[0][lookback], lookback),
        "entropy": rolling_entropy(r, lookback, 5, LEAST),
        "hurst": h,
        "hurst_clean": hurst_clean(h),
        "turbulence": rolling_turbulence(r),
        "ac_1": autocorrelations(r, lookback, LEAST),
        "vol_30": deviation(month, 30),
    }
    first = np.full((len(r), 1), np.nan)
    return {name: np.concatenate([first, value], axis=1) for name, value in out.items()}


def _efficiency(r: Array, total: Array, lookback: int) -> Array:
    path = expanding(np.abs(r), lookback)[lookback]
    share = np.minimum(1, np.abs(total) / np.where(path == 0, 1, path))
    return from_least(np.where(path == 0, 0.0, share), LEAST)


def _streams(
    r: Array, sums: tuple[Mapping[int, Array], Mapping[int, Array]], n: int, annual: Array
) -> Columns:
    """Columns of r and of the short stream.

    -r is the short stream of an asset that never doubles in a day; the others have a stream of their own.
    Kernels mirror exactly, so the choice shows in no value.
    """
    out = _stream(r, sums[0], sums[1], n, annual)
    mirrored = {f"{name}_s": value for name, value in _mirror(out, r).items()}
    rows = np.flatnonzero(np.nanmax(r, axis=1, initial=0.0) > 1)
    if rows.size:
        s = -np.minimum(r[rows], 1.0)
        own = _stream(s, expanding(s, YEAR, n), expanding(s * s, YEAR, n), n, annual[rows])
        for name in SHORT:
            mirrored[f"{name}_s"][rows] = own[name]
    return {name: out[name] for name in (*SHORT, "kurtosis")} | mirrored


SHORT = ("momentum", "stability", "cvar", "upper_tail", "skew", "mom_60")


def _stream(
    r: Array, firsts: Mapping[int, Array], seconds: Mapping[int, Array], n: int, annual: Array
) -> Columns:
    mean, variance = location(r, firsts[YEAR], seconds[YEAR], YEAR, LEAST)
    skew, kurtosis = shape(r, firsts[n], seconds[n], n, LEAST)
    lower, upper, lower_strict, upper_whole = tails(r, n, LEAST)
    return {
        "momentum": mean * annual[:, None],
        "stability": 1 / (deviation(variance, YEAR) * np.sqrt(annual)[:, None] + 1e-9),
        "cvar": lower,
        "upper_tail": upper,
        "skew": skew,
        "kurtosis": kurtosis,
        "mom_60": rolled(1 + r, 60, np.multiply) - 1,
        "lower_strict": lower_strict,
        "upper_whole": upper_whole,
    }


def _mirror(out: Columns, r: Array) -> Columns:
    """Columns of -r."""
    return {
        "momentum": -out["momentum"],
        "stability": out["stability"].copy(),
        "cvar": -out["upper_whole"],
        "upper_tail": -out["lower_strict"],
        "skew": -out["skew"],
        "mom_60": rolled(1 - r, 60, np.multiply) - 1,
    }


def turnover_features(bars: Bars, turnover: Array) -> Columns:
    """adv_30 (mean of up to 30 bars, at least 10), volume_z and volatility_d (percent)."""
    before = lag(bars.volume)
    mean, squares, _ = centred(before, 20)
    average = expanding(turnover, 30)[30] / observed(turnover.shape[1], 30)
    return {
        "adv_30": from_least(average, 10),
        "volume_z": ratio(bars.volume - mean, np.sqrt(squares / 19)),
        "volatility_d": 100 * ratio(bars.high - bars.low, bars.low),
    }
