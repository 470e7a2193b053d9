"""Moving averages and extremes over the bars of one asset: seeds, first bars and restarts.

Every kernel takes a float64 vector of length T and returns one of length T, NaN where undefined.
Row t depends on rows <= t only. Source: features page, section 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


def windows(x: Vector, n: int) -> Matrix:
    """The last `n` values up to each t as a contiguous (T, n) array; rows before n-1 begin with NaN."""
    if len(x) == 0:
        return np.empty((0, n))
    padded = np.concatenate([np.full(n - 1, np.nan), x])
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(padded, n))


def sma(x: Vector, n: int) -> Vector:
    """Mean of the last n values; first defined at n-1."""
    return np.asarray(windows(x, n).mean(axis=1))


def wma(x: Vector, n: int) -> Vector:
    """Mean weighted n (newest) to 1 (oldest); first defined at n-1."""
    weights = np.arange(1.0, n + 1)
    return np.asarray((windows(x, n) * weights).sum(axis=1) / weights.sum())


def vwma(close: Vector, volume: Vector, n: int) -> Vector:
    """sum(c*v)/sum(v) over n bars; NaN where the volume of the window is zero."""
    total = windows(volume, n).sum(axis=1)
    return ratio(windows(close * volume, n).sum(axis=1), total)


def hma(x: Vector, n: int) -> Vector:
    """Hull average; first defined at n-1 + floor(sqrt n)-1."""
    return wma(2 * wma(x, n // 2) - wma(x, n), int(np.sqrt(n)))


def highest(x: Vector, n: int) -> Vector:
    """Largest of the last n values, the current one included."""
    return np.asarray(windows(x, n).max(axis=1))


def lowest(x: Vector, n: int) -> Vector:
    """Smallest of the last n values, the current one included."""
    return np.asarray(windows(x, n).min(axis=1))


def ema(x: Vector, n: int) -> Vector:
    """Recursion with alpha = 2/(n+1), seeded by the SMA of the first n defined values."""
    return _recursive(x, n, 2.0 / (n + 1))


def rma(x: Vector, n: int) -> Vector:
    """Wilder's recursion with alpha = 1/n, seeded by the SMA of the first n defined values."""
    return _recursive(x, n, 1.0 / n)


def ratio(above: Vector, below: Vector) -> Vector:
    """above/below, NaN where below is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below == 0, np.nan, above / below)


def lag(x: Vector, n: int = 1) -> Vector:
    """The value n bars ago; NaN for the first n bars."""
    out = np.full(len(x), np.nan)
    if len(x) > n:
        out[n:] = x[:-n]
    return out


def restarts(x: Vector) -> int:
    """How often a recursion over x starts anew after a missing value (`FEATURE_GAP_RESTART`)."""
    return max(0, len(_segments(x)) - 1)


def _segments(x: Vector) -> list[tuple[int, int]]:
    """Half-open ranges without NaN."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], ~np.isnan(x), [0]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _recursive(x: Vector, n: int, alpha: float) -> Vector:
    out = np.full(len(x), np.nan)
    for first, end in _segments(x):
        if end - first < n:
            continue
        value = float(x[first : first + n].mean())
        values = [value]
        for item in x[first + n : end].tolist():
            value += alpha * (item - value)
            values.append(value)
        out[first + n - 1 : end] = values
    return out
