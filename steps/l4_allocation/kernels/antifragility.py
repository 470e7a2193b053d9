"""Antifragility of return streams: skewness and right tail, ranked within the universe.

    A_i = ½ (mm(skew_i) + mm(tail_i)) · min(1, T/A)

tail is the mean of the returns above their 95 % quantile, mm is min–max over the atoms (½ where the range
is below 1e-12) and A the bars of a year: a short history earns a proportionally smaller score.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TAIL_QUANTILE = 0.95
FLAT = 1e-12


def antifragility(returns: Array, bars_per_year: int) -> Array:
    """Scores of shape (N,) in [0, 1] from returns of shape (T, N); NaN for a stream without variance."""
    centred = returns - returns.mean(axis=0)
    spread = np.sqrt(np.mean(centred**2, axis=0))
    alive = spread > FLAT
    skew = np.full(returns.shape[1], np.nan)
    skew[alive] = np.mean(centred[:, alive] ** 3, axis=0) / spread[alive] ** 3
    tail = np.where(alive, _right_tail(returns), np.nan)
    history = min(1.0, returns.shape[0] / bars_per_year)
    return np.asarray((_min_max(skew) + _min_max(tail)) / 2.0 * history)


def _right_tail(returns: Array) -> Array:
    limit = np.quantile(returns, TAIL_QUANTILE, axis=0)
    above = returns > limit
    count = above.sum(axis=0)
    total = np.where(above, returns, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), limit)


def _min_max(values: Array) -> Array:
    known = values[np.isfinite(values)]
    if known.size == 0 or known.max() - known.min() < FLAT:
        return np.where(np.isfinite(values), 0.5, np.nan)
    return np.asarray((values - known.min()) / (known.max() - known.min()))
