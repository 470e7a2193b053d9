"""Permutation entropy, efficiency, R/S Hurst, Haar turbulence and autocorrelation of returns.

`rolling_*` take (S, T), one series a row, and give the metric of the last `n` returns at every t, NaN before
`least` returns; the undecorated forms take one series (n,). Source: selection page, section 5.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l1_ingestion.smoothing import rolled, steady

Vector = NDArray[np.float64]


def permutation_entropy(x: Vector, d: int) -> float:
    """PE of order d in [0, 1] of one series; NaN when n < 4d."""
    return math.nan if len(x) < 4 * d else float(rolling_entropy(x[None], len(x), d, 4 * d)[0, -1])


def hurst(x: Vector) -> float:
    """R/S Hurst exponent in [0, 1] of one series of returns; NaN when n < 32 or fewer than two lags."""
    return math.nan if len(x) < 32 else float(rolling_hurst(x[None], len(x), 32)[0, -1])


def efficiency(x: Vector) -> float:
    """abs(sum r)/sum abs(r) in [0, 1]; a zero path gives 0; NaN when n < 10."""
    if len(x) < 10:
        return math.nan
    path = float(np.abs(x).sum())
    return min(1.0, abs(float(x.sum())) / path) if path != 0 else 0.0


def haar_turbulence(x: Vector) -> float:
    """Level-3 Haar detail share of the last 64 values, in [0, 1]; NaN when n < 64."""
    return math.nan if len(x) < 64 else float(rolling_turbulence(x[None])[0, -1])


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
    out = np.full(x.shape, np.nan)
    if x.shape[1] < max(least, d):
        return out
    known = np.isfinite(rolled(x, d)[:, d - 1 :])
    span = n - d + 1
    gained, lost = _weight_steps(pattern_codes(x, d), known, span, n)
    steps, seen = gained, known.astype(np.int64)
    steps[:, span:] -= lost[:, :-span]
    seen[:, span:] -= known[:, :-span]
    weights, total = np.cumsum(steps, axis=1), np.cumsum(seen, axis=1)
    out[:, d - 1 :] = entropy_from_weights(weights, total, d)
    out[:, : least - 1] = np.nan
    return out


def _weight_steps(
    codes: NDArray[np.intp], known: NDArray[np.bool_], span: int, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Change of the summed k*ln k as a pattern enters, and as it leaves `span` places later; (S, P) each.

    Occurrences of one pattern stand together in the sorted keys, so a count is a distance between places.
    """
    series, size = codes.shape
    pitch = size + span + 1
    row, place = np.nonzero(known)
    key = (row * (int(codes.max()) + 1) + codes[row, place]) * pitch + place
    order = np.argsort(key)
    key = key[order]
    rank = np.arange(len(key))
    alike = rank - np.searchsorted(key, key - span, side="left") + 1
    still = np.searchsorted(key, key + span, side="right") - rank
    increments = np.diff(pattern_weights(most + 1), prepend=0)
    gained, lost = np.zeros((2, series, size), dtype=np.int64)
    where = row[order], place[order]
    gained[where], lost[where] = increments[alike], increments[still]
    return gained, lost


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
    units: NDArray[np.int64] = np.rint(k * np.log(np.maximum(k, 1)) * 2.0**40).astype(np.int64)
    return units


def entropy_from_weights(weights: NDArray[np.int64], total: NDArray[np.int64], d: int) -> Vector:
    """H/ln d! in [0, 1] from the summed weights of the pattern counts; NaN where no pattern was seen."""
    whole = pattern_weights(int(total.max(initial=0)))[total] - weights
    share = whole / (np.maximum(total, 1) * (2.0**40 * math.log(math.factorial(d))))
    return np.where(total > 0, np.clip(share, 0, 1), np.nan)


def rolling_hurst(x: Vector, n: int, least: int) -> Vector:
    """R/S Hurst of the last n returns (all when fewer, at least `least`)."""
    size = x.shape[1]
    lags = [2**k for k in range(3, 10) if 2**k <= min(n, size) // 2]
    logs = np.full((len(lags), *x.shape), np.nan)
    same = steady(x, lags)
    for row, lag in zip(logs, lags, strict=True):
        ranges = _rescaled_range(x, lag, same[lag][:, lag - 1 :])
        row[:, lag - 1 :] = np.log(_segment_means(ranges, lag, n, size))
        row[:, : 2 * lag - 1] = np.nan
    out = np.clip(_fit(logs, np.log(np.array(lags, dtype=float))), 0, 1)
    out[:, : least - 1] = np.nan
    return np.asarray(out)


def _rescaled_range(x: Vector, lag: int, same: NDArray[np.bool_]) -> Vector:
    """Range of cumulative deviations over population std of the segment from each start, (S, T-lag+1).

    NaN for a segment of equal values, which `same` marks.
    """
    length = x.shape[1] - lag + 1
    parts = [x[:, i : i + length] for i in range(lag)]
    mean = rolled(x, lag)[:, lag - 1 :] / lag
    path, off, square = np.zeros((3, *mean.shape))
    top, bottom = np.full(mean.shape, -np.inf), np.full(mean.shape, np.inf)
    for part in parts:
        np.subtract(part, mean, out=off)
        path += off
        np.maximum(top, path, out=top)
        np.minimum(bottom, path, out=bottom)
        square += np.multiply(off, off, out=off)
    square[same] = np.nan
    return np.asarray((top - bottom) / np.sqrt(square / lag))


def _segment_means(ranges: Vector, lag: int, n: int, size: int) -> Vector:
    """Mean over the defined segments of the window that ends at each t >= lag-1, (S, T-lag+1).

    Segments are laid from the window's first value; what is left at its end is not used.
    """
    known = ~np.isnan(ranges)
    values = np.where(known, ranges, 0.0)
    total, count = np.zeros_like(ranges), np.zeros_like(ranges)
    ends = np.arange(lag, size + 1)
    young = ends < n
    taken = np.arange(ends[young].size) // lag
    for source, target in ((values, total), (known.astype(float), count)):
        target[:, young] = np.cumsum(source[:, ::lag], axis=1)[:, taken]
        for k in range(n // lag if size >= n else 0):
            target[:, n - lag :] += source[:, k * lag : k * lag + size - n + 1]
    return np.asarray(np.where(count > 0, total, np.nan) / np.maximum(count, 1))


def _fit(logs: Vector, at: Vector) -> Vector:
    """OLS slope of logs (L, ...) on `at` (L,) over the defined points; NaN with fewer than two."""
    ok = ~np.isnan(logs)
    count, mean = ok.sum(axis=0), np.zeros(logs.shape[1:])
    for known, x in zip(ok, at, strict=True):
        mean += known * x
    mean /= np.maximum(count, 1)
    above, below = np.zeros_like(mean), np.zeros_like(mean)
    for value, known, x in zip(logs, ok, at, strict=True):
        off = np.where(known, x - mean, 0.0)
        above += off * np.where(known, value, 0.0)
        below += off * off
    return np.where(count >= 2, above / np.where(count >= 2, below, 1.0), np.nan)


def rolling_turbulence(x: Vector) -> Vector:
    """Level-3 Haar detail energy over total energy of the last 64 returns; zero energy gives 0.5."""
    total, block = rolled(x * x, 64), rolled(x, 8)
    coarse = block * block
    for step in (8, 16, 32):
        later = np.full(x.shape, np.nan)
        later[:, step:] = coarse[:, step:] + coarse[:, :-step]
        coarse = later
    share = 1 - coarse / 8 / np.where(total == 0, 1.0, total)
    return np.asarray(np.clip(np.where(total == 0, 0.5, share), 0, 1))
