"""Permutation entropy, efficiency, R/S Hurst, Haar turbulence and autocorrelation of returns.

`rolling_*` give the metric of the last `n` returns at every t of one series (T,), with at least
`least` returns; the undecorated forms take one series. Source: selection page, section 5.
"""

from __future__ import annotations

import math

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
    span = np.lib.stride_tricks.sliding_window_view(x, d)
    order = np.argsort(span, axis=1, kind="stable")
    code = _pattern_code(order, d)
    hits = np.zeros((len(x) + 1, math.factorial(d)))
    rows = np.flatnonzero(~np.isnan(span).any(axis=1))
    hits[rows + d, code[rows]] = 1
    seen = np.cumsum(hits, axis=0)
    t = np.arange(least - 1, len(x))
    counts = seen[t + 1] - seen[np.maximum(t - n + d, 0)]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    terms = share * np.log(np.where(share > 0, share, 1.0))
    out[t] = np.where(counts.sum(axis=1) > 0, -terms.sum(axis=1) / math.log(math.factorial(d)), np.nan)
    return np.asarray(np.clip(out, 0, 1))


def _pattern_code(order: NDArray[np.intp], d: int) -> NDArray[np.intp]:
    """Lehmer code of each permutation, in 0..d!-1."""
    code = np.zeros(len(order), dtype=np.intp)
    for i in range(d):
        smaller = (order[:, i + 1 :] < order[:, i : i + 1]).sum(axis=1)
        code += smaller * math.factorial(d - 1 - i)
    return code


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
