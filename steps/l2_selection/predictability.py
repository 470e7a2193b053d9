"""Permutation entropy, efficiency, R/S Hurst, Haar turbulence and autocorrelation of returns.

`rolling_*` give the metric of the last `n` returns at every t of one series (T,), with at least
`least` returns; the undecorated forms take one series. Source: selection page, section 5.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l1_ingestion.smoothing import windows

Vector = NDArray[np.float64]


def permutation_entropy(x: Vector, d: int) -> float:
    """PE of order d in [0, 1] of one series; NaN when n < 4d."""
    return math.nan if len(x) < 4 * d else float(rolling_entropy(x, len(x), d, 4 * d)[-1])


def hurst(x: Vector) -> float:
    """R/S Hurst exponent in [0, 1] of one series of returns; NaN when n < 32 or fewer than two lags."""
    return math.nan if len(x) < 32 else float(rolling_hurst(x, len(x), 32)[-1])


def efficiency(x: Vector) -> float:
    """abs(sum r)/sum abs(r) in [0, 1]; a zero path gives 0; NaN when n < 10."""
    if len(x) < 10:
        return math.nan
    path = float(np.abs(x).sum())
    return min(1.0, abs(float(x.sum())) / path) if path != 0 else 0.0


def haar_turbulence(x: Vector) -> float:
    """Level-3 Haar detail share of the last 64 values, in [0, 1]; NaN when n < 64."""
    return math.nan if len(x) < 64 else float(rolling_turbulence(x)[-1])


def autocorrelation(x: Vector, k: int) -> float:
    """Pearson lag-k autocorrelation in [-1, 1]; NaN when n < k+10 or without variance."""
    if len(x) < k + 10:
        return math.nan
    a, b = x[:-k] - x[:-k].mean(), x[k:] - x[k:].mean()
    scale = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else math.nan


def hurst_clean(h: Vector) -> Vector:
    """clip(1 - 2*abs(H-0.5), 0, 1): 1 is a random walk."""
    return np.asarray(np.clip(1 - 2 * np.abs(h - 0.5), 0, 1))


def hurst_signal(h: Vector, mu0: float) -> Vector:
    """1 - hurst_clean of H centred on its null mean `mu0`: 0 is a random walk."""
    return 1 - hurst_clean(np.clip(h - mu0 + 0.5, 0, 1))


def rolling_entropy(x: Vector, n: int, d: int, least: int) -> Vector:
    """PE(d) of the last n values; windows with NaN are skipped."""
    out = np.full(len(x), np.nan)
    if len(x) < max(least, d):
        return out
    codes = pattern_codes(x, d)
    known = ~np.isnan(np.lib.stride_tricks.sliding_window_view(x, d)).any(axis=1)
    hits = np.zeros((len(x) + 1, math.factorial(d)), dtype=np.int32)
    rows = np.flatnonzero(known)
    hits[rows + d, codes[rows]] = 1
    seen = np.cumsum(hits, axis=0)
    t = np.arange(least - 1, len(x))
    counts = seen[t + 1] - seen[np.maximum(t - n + d, 0)]
    out[t] = entropy_from_weights(pattern_weights(n)[counts].sum(axis=1), counts.sum(axis=1), d)
    return out


def pattern_codes(x: Vector, d: int) -> NDArray[np.intp]:
    """Code in 0..d!-1 of the ordinal pattern of each window of length d, ties by position.

    x is (..., n); the result is (..., n-d+1). Digit i of the Lehmer code counts the later values below x_i.
    """
    length = x.shape[-1] - d + 1
    below = [x[..., k:] < x[..., : x.shape[-1] - k] for k in range(1, d)]
    code = np.zeros((*x.shape[:-1], length), dtype=np.int16)
    for i in range(d - 1):
        digit = sum(below[k - 1][..., i : i + length].view(np.int8) for k in range(1, d - i))
        code += np.asarray(digit, dtype=np.int16) * np.int16(math.factorial(d - 1 - i))
    return code.astype(np.intp)


@cache
def pattern_weights(most: int) -> NDArray[np.int64]:
    """k*ln k for k = 0..most in units of 2**-40: integers add up the same in any order."""
    k = np.arange(most + 1.0)
    return np.rint(k * np.log(np.maximum(k, 1)) * 2.0**40).astype(np.int64)


def entropy_from_weights(weights: NDArray[np.int64], total: NDArray[np.int64], d: int) -> Vector:
    """H/ln d! in [0, 1] from the summed weights of the pattern counts; NaN where no pattern was seen."""
    whole = pattern_weights(int(total.max(initial=0)))[total] - weights
    share = whole / (np.maximum(total, 1) * (2.0**40 * math.log(math.factorial(d))))
    return np.where(total > 0, np.clip(share, 0, 1), np.nan)


def rolling_hurst(x: Vector, n: int, least: int) -> Vector:
    """R/S Hurst of the last n returns (all when fewer, at least `least`)."""
    out = np.full(len(x), np.nan)
    lags = [2**k for k in range(3, 10) if 2**k <= min(n, len(x)) // 2]
    by_lag = {lag: _rescaled_range(x, lag) for lag in lags}
    ends = np.arange(least, len(x) + 1)
    sizes = np.minimum(ends, n)
    for size in np.unique(sizes):
        end = ends[sizes == size]
        out[end - 1] = _slope(by_lag, end - size, int(size))
    return np.asarray(np.clip(out, 0, 1))


def _rescaled_range(x: Vector, lag: int) -> Vector:
    """Range of cumulative deviations over population std of the segment at each start; NaN for zero std."""
    part = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(x, lag))
    flat = part.max(axis=1) == part.min(axis=1)
    part = part - part.mean(axis=1, keepdims=True)
    path = np.cumsum(part, axis=1)
    sd = np.sqrt((part * part).mean(axis=1))
    return np.where(flat, np.nan, (path.max(axis=1) - path.min(axis=1)) / np.where(flat, 1.0, sd))


def _slope(by_lag: dict[int, Vector], start: NDArray[np.int64], size: int) -> Vector:
    lags = [lag for lag in by_lag if lag <= size // 2]
    if len(lags) < 2:
        return np.full(len(start), np.nan)
    logs = np.empty((len(start), len(lags)))
    for j, lag in enumerate(lags):
        values = by_lag[lag][start[:, None] + lag * np.arange(size // lag)]
        kept = ~np.isnan(values)
        mean = np.where(kept, values, 0).sum(axis=1) / np.maximum(kept.sum(axis=1), 1)
        logs[:, j] = np.log(np.where(mean > 0, mean, np.nan))
    return fit_slope(logs, lags)


def fit_slope(logs: Vector, lags: list[int]) -> Vector:
    """OLS slope of each row of `logs` (R, L) on ln(lag), over its defined points; NaN with fewer than two."""
    at = np.broadcast_to(np.log(np.array(lags, dtype=float)), logs.shape)
    ok = ~np.isnan(logs)
    count = ok.sum(axis=1)
    u = np.where(ok, at - (at * ok).sum(axis=1, keepdims=True) / np.maximum(count, 1)[:, None], 0)
    below = (u * u).sum(axis=1)
    slope = (u * np.where(ok, logs, 0)).sum(axis=1) / np.where(count >= 2, below, 1.0)
    return np.where(count >= 2, slope, np.nan)


def rolling_turbulence(x: Vector) -> Vector:
    """Level-3 Haar detail energy over total energy of the last 64 returns; zero energy gives 0.5."""
    part = windows(x, 64)
    total = (part * part).sum(axis=1)
    block = part.reshape(len(x), 8, 8).sum(axis=2)
    coarse = (block * block).sum(axis=1) / 8
    return np.clip(np.where(total == 0, 0.5, 1 - coarse / np.where(total == 0, 1.0, total)), 0, 1)
