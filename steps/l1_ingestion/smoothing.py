"""Moving averages and extremes over bars: seeds, first bars and restarts.

Every kernel takes float64 of shape (..., T), time last, and returns the same shape, NaN where undefined.
Value t depends on values <= t of its own series only, bit by bit. Source: features page, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Lane = tuple[Array, int, float]


def rolled_many(
    x: Array, lengths: Iterable[int], op: np.ufunc = np.add, before: float = math.nan
) -> dict[int, Array]:
    """`op` over the last n values for each n of `lengths`, `before` for the first n-1.

    Runs of 1, 2, 4, ... values are joined, so nothing is ever subtracted and no error outlives its window.
    """
    runs = [x]
    out = {}
    for n in lengths:
        while 1 << len(runs) <= n and runs[-1].shape[-1] > 1 << len(runs) - 1:
            last, width = runs[-1], 1 << len(runs) - 1
            runs.append(op(last[..., :-width], last[..., width:]))
        out[n] = _joined(runs, n, op, before)
    return out


def _joined(runs: Sequence[Array], n: int, op: np.ufunc, before: float) -> Array:
    x = runs[0]
    out = np.full(x.shape, before, dtype=x.dtype)
    size = x.shape[-1] - n + 1
    if size <= 0:
        return out
    value, done = None, 0
    for k, run in enumerate(runs):
        if n >> k & 1:
            part = run[..., done : done + size]
            value = part if value is None else op(value, part)
            done += 1 << k
    out[..., n - 1 :] = value
    return out


def rolled(x: Array, n: int, op: np.ufunc = np.add) -> Array:
    """`op` over the last n values, NaN for the first n-1."""
    return rolled_many(x, (n,), op)[n]


def sma(x: Array, n: int) -> Array:
    """Mean of the last n values; first defined at n-1."""
    return np.asarray(rolled(x, n) / n)


def wma(x: Array, n: int) -> Array:
    """Mean weighted n (newest) to 1 (oldest); first defined at n-1."""
    total = n * x
    for back in range(1, n):
        total = total + (n - back) * lag(x, back)
    return np.asarray(total / (n * (n + 1) / 2))


def vwma(close: Array, volume: Array, n: int) -> Array:
    """sum(c*v)/sum(v) over n bars; NaN where the volume of the window is zero."""
    return ratio(rolled(close * volume, n), rolled(volume, n))


def hma(x: Array, n: int) -> Array:
    """Hull average; first defined at n-1 + floor(sqrt n)-1."""
    return wma(2 * wma(x, n // 2) - wma(x, n), math.isqrt(n))


def highest(x: Array, n: int) -> Array:
    """Largest of the last n values, the current one included."""
    return rolled(x, n, np.maximum)


def lowest(x: Array, n: int) -> Array:
    """Smallest of the last n values, the current one included."""
    return rolled(x, n, np.minimum)


def centred(x: Array, n: int) -> tuple[Array, Array, Array]:
    """Mean, sum of squared and sum of absolute deviations from it over the last n values, in two passes.

    A window of equal values deviates by exactly zero.
    """
    mean = sma(x, n)
    squares, sizes = np.zeros_like(x), np.zeros_like(x)
    for back in range(n):
        off = lag(x, back) - mean
        squares += off * off
        sizes += np.abs(off, out=off)
    flat = steady(x, (n,))[n]
    squares[flat], sizes[flat] = 0.0, 0.0
    return mean, squares, sizes


def steady(x: Array, lengths: Iterable[int]) -> dict[int, NDArray[np.bool_]]:
    """Whether the last n values are equal, for each n of `lengths`; False for the first n-1."""
    moved = np.ones(x.shape, dtype=bool)
    np.not_equal(x[..., 1:], x[..., :-1], out=moved[..., 1:])
    found = rolled_many(moved, [n - 1 for n in lengths], np.logical_or, 1)
    return {n + 1: np.logical_not(any_moved) for n, any_moved in found.items()}


def ema(x: Array, n: int) -> Array:
    """Recursion with alpha = 2/(n+1), seeded by the SMA of the first n defined values."""
    return recursions([ema_lane(x, n)])[0]


def rma(x: Array, n: int) -> Array:
    """Wilder's recursion with alpha = 1/n, seeded by the SMA of the first n defined values."""
    return recursions([rma_lane(x, n)])[0]


def ema_lane(x: Array, n: int) -> Lane:
    """An EMA for `recursions`."""
    return x, n, 2.0 / (n + 1)


def rma_lane(x: Array, n: int) -> Lane:
    """Wilder's average for `recursions`."""
    return x, n, 1.0 / n


def recursions(lanes: Sequence[Lane]) -> list[Array]:
    """`e += alpha*(x - e)` of inputs of one shape (..., T), all lanes in step.

    A missing value ends a recursion; the next n defined values seed it anew.
    """
    shape = lanes[0][0].shape
    flat = [x.reshape(-1, shape[-1]) for x, _, _ in lanes]
    rows = len(flat[0])
    now = np.ascontiguousarray(np.concatenate(flat).T)
    alpha = np.repeat([alpha for _, _, alpha in lanes], rows)
    seeds = _seeds(lanes)
    out = np.empty_like(now)
    before = np.full(len(alpha), np.nan)
    for t, value in enumerate(now):
        step = out[t]
        np.subtract(value, before, out=step)
        step *= alpha
        step += before
        if t in seeds:
            at, seed = seeds[t]
            step[at] = seed
        before = step
    whole = np.ascontiguousarray(out.T)
    return [whole[i * rows : (i + 1) * rows].reshape(shape) for i in range(len(lanes))]


def _seeds(inputs: Sequence[Lane]) -> dict[int, tuple[NDArray[np.intp], Array]]:
    """Bar -> lanes that are seeded there and their seeds."""
    times, lanes, seeds = [], [], []
    ages: dict[int, NDArray[np.int64]] = {}
    for i, (held, n, _) in enumerate(inputs):
        x = held.reshape(-1, held.shape[-1])
        if id(held) not in ages:
            clock = np.arange(x.shape[1])
            ages[id(held)] = clock - np.maximum.accumulate(np.where(np.isnan(x), clock, -1), axis=1)
        row, t = np.nonzero(ages[id(held)] == n)
        times.append(t)
        lanes.append(row + i * len(x))
        windows = np.lib.stride_tricks.sliding_window_view(x, min(n, x.shape[1]), axis=1)
        seeds.append(np.ascontiguousarray(windows[row, t - n + 1]).sum(axis=1) / n)
    t, lane, seed = np.concatenate(times), np.concatenate(lanes), np.concatenate(seeds)
    order = np.argsort(t, kind="stable")
    t, lane, seed = t[order], lane[order], seed[order]
    edges = [0, *(np.flatnonzero(np.diff(t)) + 1).tolist(), len(t)]
    return {int(t[a]): (lane[a:b], seed[a:b]) for a, b in pairwise(edges) if b > a}


def ratio(above: Array, below: Array) -> Array:
    """above/below, NaN where below is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        out = above / below
    out[below == 0] = np.nan
    return np.asarray(out)


def lag(x: Array, n: int = 1) -> Array:
    """The value n bars ago; NaN for the first n bars."""
    if n == 0:
        return x.copy()
    out = np.empty(x.shape)
    out[..., :n] = np.nan
    out[..., n:] = x[..., :-n]
    return out
