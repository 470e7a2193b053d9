"""Columns formed from returns and turnover of one asset. Source: features page, section 3."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l1_ingestion.indicators import Bars, Columns
from quantctl.steps.l1_ingestion.moments import autocorrelations, moments, tails
from quantctl.steps.l1_ingestion.smoothing import lag, ratio, windows
from quantctl.steps.l2_selection.predictability import (
    hurst_clean,
    rolling_entropy,
    rolling_hurst,
    rolling_turbulence,
)  # fmt: skip

Vector = NDArray[np.float64]
LEAST = 60


def return_features(close: Vector, lookback: int, annual: int) -> Columns:
    """Return, tail and predictability columns with their short twins; `annual` is 365 or 252."""
    r = (ratio(close, lag(close)) - 1)[1:]
    own = moments(r, lookback, LEAST)
    long, short = _stream(r, lookback, annual), _stream(-np.clip(r, None, 1.0), lookback, annual)
    h = rolling_hurst(r, lookback, LEAST)
    path = np.where(own["path"] == 0, 1, own["path"])
    out = long | {f"{name}_s": value for name, value in short.items()} | {
        "efficiency": np.where(own["path"] == 0, 0.0, np.minimum(1, np.abs(own["total"]) / path)),
        "kurtosis": own["kurtosis"],
        "entropy": rolling_entropy(r, lookback, 5, LEAST),
        "hurst": h,
        "hurst_clean": hurst_clean(h),
        "turbulence": rolling_turbulence(r),
        "ac_1": autocorrelations(r, lookback, LEAST),
        "vol_30": moments(r, 30, 30)["sd"],
    }  # fmt: skip
    return {name: np.concatenate([[np.nan], value]) for name, value in out.items()}


def _stream(r: Vector, lookback: int, annual: int) -> Columns:
    year = moments(r, 252, LEAST)
    lower, upper = tails(r, lookback, LEAST)
    return {
        "momentum": year["mean"] * annual,
        "stability": 1 / (year["sd"] * np.sqrt(annual) + 1e-9),
        "cvar": lower,
        "upper_tail": upper,
        "skew": moments(r, lookback, LEAST)["skew"],
        "mom_60": windows(1 + r, 60).prod(axis=1) - 1,
    }


def turnover_features(bars: Bars, turnover: Vector) -> Columns:
    """adv_30 (mean of up to 30 bars, at least 10), volume_z and volatility_d (percent)."""
    before = windows(lag(bars.volume), 20)
    return {
        "adv_30": moments(turnover, 30, 10)["mean"],
        "volume_z": ratio(bars.volume - before.mean(axis=1), before.std(axis=1, ddof=1)),
        "volatility_d": 100 * ratio(bars.high - bars.low, bars.low),
    }
