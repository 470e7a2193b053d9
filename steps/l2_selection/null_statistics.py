"""Predictability and regime statistics of many rows at once: (R, n) returns in, (R,) values out.

Each equals its one-series kernel row by row. Source: selection page, section 5; features page, section 8.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l2_selection.predictability import (
    entropy_from_weights,
    pattern_codes,
    pattern_weights,
)  # fmt: skip

Rows = NDArray[np.float64]
TAIL = 10
SPECTRAL_ROWS = 64


def entropy_rows(x: Rows, d: int) -> Rows:
    """Permutation entropy of order d in [0, 1]."""
    codes = pattern_codes(x, d)
    patterns = math.factorial(d)
    flat = (codes + patterns * np.arange(len(x))[:, None]).ravel()
    counts = np.bincount(flat, minlength=patterns * len(x)).reshape(len(x), patterns)
    weights = pattern_weights(codes.shape[1])[counts].sum(axis=1)
    return entropy_from_weights(weights, np.full(len(x), codes.shape[1]), d)


def hurst_rows(x: Rows) -> Rows:
    """R/S Hurst exponent in [0, 1]."""
    n = x.shape[1]
    lags = [2**k for k in range(3, 10) if 2**k <= n // 2]
    logs = np.empty((len(x), len(lags)))
    for j, lag in enumerate(lags):
        part = x[:, : n // lag * lag].reshape(len(x), n // lag, lag)
        part = part - part.mean(axis=2, keepdims=True)
        sd = np.sqrt((part * part).mean(axis=2))
        path = np.cumsum(part, axis=2)
        logs[:, j] = np.log(((path.max(axis=2) - path.min(axis=2)) / sd).mean(axis=1))
    at = np.log(np.array(lags, dtype=float))
    at -= at.mean()
    slope: Rows = logs @ at / (at @ at)
    return np.clip(slope, 0, 1)


def turbulence_rows(x: Rows) -> Rows:
    """Level-3 Haar detail share of the last 64 values, in [0, 1]."""
    part = np.ascontiguousarray(x[:, -SPECTRAL_ROWS:])
    block = part.reshape(len(x), 8, 8).sum(axis=2)
    return np.asarray(np.clip(1 - (block * block).sum(axis=1) / 8 / (part * part).sum(axis=1), 0, 1))


def volatility_ratio_rows(x: Rows) -> Rows:
    """ln of mean absolute deviation from the median, last 10 values over all earlier ones."""
    deviation = np.abs(x - np.median(x, axis=1, keepdims=True))
    return np.asarray(np.log(deviation[:, -TAIL:].mean(axis=1) / deviation[:, :-TAIL].mean(axis=1)))


def absolute_autocorrelation_rows(x: Rows) -> Rows:
    """Lag-1 Pearson autocorrelation of absolute values, in [-1, 1]."""
    size = np.abs(x)
    a, b = size[:, :-1], size[:, 1:]
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    return np.asarray((a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1)))


def log_kurtosis_rows(x: Rows) -> Rows:
    """ln(1 + max(0, biased excess kurtosis))."""
    square = (x - x.mean(axis=1, keepdims=True)) ** 2
    excess = (square * square).mean(axis=1) / square.mean(axis=1) ** 2 - 3
    return np.asarray(np.log1p(np.maximum(excess, 0)))


STATISTICS: dict[str, Callable[[Rows], Rows]] = {
    "pe3": lambda x: entropy_rows(x, 3),
    "pe5": lambda x: entropy_rows(x, 5),
    "hurst": hurst_rows,
    "haar64": turbulence_rows,
    "volratio10": volatility_ratio_rows,
    "absac1": absolute_autocorrelation_rows,
    "lnkurt": log_kurtosis_rows,
}
LEAST = {"pe3": 12, "pe5": 20, "hurst": 32, "haar64": 64, "volratio10": 20, "absac1": 11, "lnkurt": 4}
