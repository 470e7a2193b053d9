"""Moments and tails of the last n returns, over all that exist when fewer, at least `least`.

Returns are those of bars 1..T-1; every result has one value per return. Source: features page, section 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l1_ingestion.smoothing import ratio

Vector = NDArray[np.float64]
Columns = dict[str, Vector]


def moments(r: Vector, n: int, least: int) -> Columns:
    """mean, sd (ddof 1), skew and excess kurtosis (both biased), path (sum of abs) and total; (T,) each."""
    part, held, count = _window(r, n)
    total = part.sum(axis=1)
    mean = total / count
    off = np.where(held, part - mean[:, None], 0.0)
    square = off * off
    second = square.mean(axis=1) * n / count
    flat = (np.where(held, part, -np.inf).max(axis=1)) == (np.where(held, part, np.inf).min(axis=1))
    second = np.where(flat, 0.0, second)
    third = (square * off).mean(axis=1) * n / count
    fourth = (square * square).mean(axis=1) * n / count
    out = {
        "mean": mean,
        "sd": np.sqrt(second * count / np.maximum(count - 1, 1)),
        "skew": ratio(third, second**1.5),
        "kurtosis": ratio(fourth, second**2) - 3,
        "total": total,
        "path": np.abs(part).sum(axis=1),
    }
    return {name: np.where(count >= least, value, np.nan) for name, value in out.items()}


def autocorrelations(r: Vector, n: int, least: int) -> Vector:
    """Pearson lag-1 autocorrelation in [-1, 1] of the last n returns (T,); NaN without variance."""
    out = np.full(len(r), np.nan)
    if len(r) < 2:
        return out
    before, held, count = _window(r[:-1], n - 1)
    after, _, _ = _window(r[1:], n - 1)
    a = np.where(held, before - (before.sum(axis=1) / count)[:, None], 0.0)
    b = np.where(held, after - (after.sum(axis=1) / count)[:, None], 0.0)
    scale = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    out[1:] = np.where(count >= least - 1, np.clip(ratio((a * b).sum(axis=1), scale), -1, 1), np.nan)
    return out


def tails(r: Vector, n: int, least: int) -> tuple[Vector, Vector]:
    """Mean of r <= its 5 % quantile and of r > its 95 % quantile (linear interpolation); (T,) each."""
    part, held, count = _window(r, n)
    ordered = np.sort(np.where(held, part, np.inf), axis=1)
    low, high = _quantile(ordered, count, 0.05), _quantile(ordered, count, 0.95)
    below, above = held & (part <= low[:, None]), held & (part > high[:, None])
    ok = (count >= least) & ~np.isnan(part).any(axis=1)
    lower = ratio(np.where(below, part, 0).sum(axis=1), below.sum(axis=1).astype(float))
    upper = ratio(np.where(above, part, 0).sum(axis=1), above.sum(axis=1).astype(float))
    return np.where(ok, lower, np.nan), np.where(ok, upper, np.nan)


def _quantile(ordered: Vector, count: NDArray[np.int64], q: float) -> Vector:
    place = (count - 1) * q
    base = np.floor(place).astype(int)
    rows = np.arange(len(ordered))
    low, high = ordered[rows, base], ordered[rows, np.minimum(base + 1, count - 1)]
    return np.asarray(low + (place - base) * (high - low))


def _window(r: Vector, n: int) -> tuple[Vector, NDArray[np.bool_], NDArray[np.int64]]:
    if len(r) == 0:
        return np.empty((0, n)), np.empty((0, n), dtype=bool), np.empty(0, dtype=np.int64)
    padded = np.concatenate([np.zeros(n - 1), r])
    part = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(padded, n))
    count = np.minimum(np.arange(1, len(r) + 1), n)
    return part, np.arange(n)[None, :] >= (n - count)[:, None], count
