"""Moments and tails of the last n returns, over all that exist when fewer, at least `least`.

Arrays are (S, T): one series a row, NaN after its end. Sums of powers serve where the mean is small against
the spread; elsewhere the window itself is centred. Every kernel mirrors exactly under a change of sign.
Source: features page, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l1_ingestion.smoothing import ratio, rolled_many

Array = NDArray[np.float64]
Columns = dict[str, Array]
Rows = tuple[NDArray[np.intp], ...]
CANCELS = 0.05  # share of the mean square below which a variance is not taken from sums of powers
TAIL = 0.05


def expanding(x: Array, *lengths: int) -> Mapping[int, Array]:
    """Sums of the last n values, of all when there are fewer."""
    lead = max(lengths) - 1
    padded = np.concatenate([np.zeros((len(x), lead)), x], axis=1)
    return {n: total[:, lead:] for n, total in rolled_many(padded, lengths).items()}


def observed(size: int, n: int) -> Array:
    """How many values stand in the window at each t."""
    counts: Array = np.minimum(np.arange(1.0, size + 1), n)
    return counts


def from_least(values: Array, least: int) -> Array:
    """NaN before the first `least` values exist."""
    values[:, : least - 1] = np.nan
    return values


def location(x: Array, first: Array, second: Array, n: int, least: int) -> tuple[Array, Array]:
    """Mean and biased variance, NaN before `least`, from the sums of x and of x*x over the last n."""
    count = observed(x.shape[1], n)
    mean, square = first / count, second / count
    variance = from_least(square - mean * mean, least)
    rows = np.nonzero(variance < CANCELS * square)
    if rows[0].size:
        variance[rows] = _centred(x, rows, n)[0]
    return from_least(mean, least), variance


def shape(x: Array, first: Array, second: Array, n: int, least: int) -> tuple[Array, Array]:
    """Biased skewness and excess kurtosis over the last n; NaN without variance and before `least`."""
    count, square = observed(x.shape[1], n), x * x
    third, fourth = expanding(square * x, n)[n] / count, expanding(square * square, n)[n] / count
    m, q = first / count, second / count
    m2 = m * m
    variance = from_least(q - m2, least)
    cube = third - 3 * m * q + 2 * m * m2
    power = fourth - 4 * m * third + 6 * m2 * q - 3 * m2 * m2
    rows = np.nonzero(variance < CANCELS * q)
    if rows[0].size:
        variance[rows], cube[rows], power[rows] = _centred(x, rows, n)
    return ratio(cube, variance * np.sqrt(variance)), ratio(power, variance * variance) - 3


def deviation(variance: Array, n: int) -> Array:
    """Sample standard deviation (ddof 1) from the biased variance."""
    count = observed(variance.shape[1], n)
    return np.asarray(np.sqrt(variance * (count / np.maximum(count - 1, 1))))


def autocorrelations(x: Array, n: int, least: int) -> Array:
    """Pearson lag-1 autocorrelation in [-1, 1] of the last n values; NaN without variance."""
    out = np.full(x.shape, np.nan)
    a, b = x[:, :-1], x[:, 1:]
    if a.shape[1] == 0:
        return out
    m, count = n - 1, observed(a.shape[1], n - 1)
    one, other, cross = (expanding(v, m)[m] for v in (a, b, a * b))
    _, va = location(a, one, expanding(a * a, m)[m], m, least - 1)
    _, vb = location(b, other, expanding(b * b, m)[m], m, least - 1)
    together = cross / count - (one / count) * (other / count)
    rows = np.nonzero(np.minimum(va, vb) < CANCELS * np.abs(cross / count))
    if rows[0].size:
        left, right = _windows(a, rows, m), _windows(b, rows, m)
        off = left - np.nanmean(left, axis=1, keepdims=True)
        together[rows] = np.nanmean(off * (right - np.nanmean(right, axis=1, keepdims=True)), axis=1)
    out[:, 1:] = np.clip(ratio(together, np.sqrt(va * vb)), -1, 1)
    return out


def _windows(x: Array, rows: Rows, n: int) -> Array:
    """The windows (m, n) that end at the marked places; NaN stands for values before the first."""
    padded = np.concatenate([np.full((len(x), n - 1), np.nan), x], axis=1)
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(padded, n, axis=1)[rows])


def _centred(x: Array, rows: Rows, n: int) -> tuple[Array, Array, Array]:
    """Second, third and fourth central moment of marked windows; exactly zero when all values are equal."""
    part = _windows(x, rows, n)
    held = ~np.isnan(part)
    count = held.sum(axis=1)
    flat = np.nanmax(part, axis=1) == np.nanmin(part, axis=1)
    off = np.where(held, part - (np.where(held, part, 0).sum(axis=1) / count)[:, None], 0.0)
    off[flat] = 0.0
    square = off * off
    second, third, fourth = (v.sum(axis=1) / count for v in (square, square * off, square * square))
    return second, third, fourth


def tails(x: Array, n: int, least: int) -> tuple[Array, Array, Array, Array]:
    """Means beyond the 5 % and 95 % quantiles (linear interpolation) of the last n.

    In order: values <= q05, values > q95, values < q05, values >= q95; the last two, with their signs
    changed, are the upper tail and the CVaR of -x.
    """
    held = int((n - 1) * TAIL) + 2
    below, tied_low = _smallest(x, n, held)
    above, tied_high = _smallest(-x, n, held)
    above = -above
    out = [from_least(v.copy(), least) for v in (below, above, below, above)]
    tied = tied_low | tied_high
    tied[:, : least - 1] = False
    rows = np.nonzero(tied)
    if rows[0].size:
        for target, value in zip(out, _tails(_windows(x, rows, n)), strict=True):
            target[rows] = value
    return out[0], out[1], out[2], out[3]


def _smallest(x: Array, n: int, k: int) -> tuple[Array, NDArray[np.bool_]]:
    """Mean of the values up to the 5 % quantile, and whether a tie or a whole rank makes it doubtful."""
    size = x.shape[1]
    head, tail = _lists(x, n, k)
    parts = [head[i] for i in range(k)]
    start = size - n + 1
    if start > 0:
        for i in range(k):
            parts[i][:, n - 1 : size] = np.minimum(tail[k - 1 - i][:, :start], head[i][:, n - 1 : size])
        for i in range(k - 1):
            a, b = parts[i][:, n:size], parts[i + 1][:, n:size]
            parts[i][:, n:size], parts[i + 1][:, n:size] = np.minimum(a, b), np.maximum(a, b)
    mean, doubtful = np.full(x.shape, np.nan), np.zeros(x.shape, dtype=bool)
    place = (observed(size, n) - 1) * TAIL
    base = np.floor(place + 1e-9).astype(int)
    for b in range(int(base.max(initial=-1)) + 1):
        span = slice(*np.searchsorted(base, (b, b + 1)))
        chosen = np.stack([part[:, span] for part in parts[: b + 1]])
        mean[:, span] = chosen.sum(axis=0) / (b + 1)
        low, high = chosen.max(axis=0), parts[b + 1][:, span]
        with np.errstate(invalid="ignore"):  # fewer values than ranks: infinite
            cut = low + (place[span] - b) * (high - low)
        doubtful[:, span] = (cut >= high) | (cut <= low) | (place[span] - b < 1e-9)
    return mean, doubtful


def _lists(x: Array, n: int, k: int) -> tuple[Array, Array]:
    """The k smallest, ascending, from the start of the block of n up to t, and from t to its end; (k, S, T).

    A window is the end of one block and the start of the next: its k smallest are among the two lists.
    """
    series, size = x.shape
    blocks = -(-size // n)
    padded = np.full((series, blocks * n), np.nan)
    padded[:, :size] = x
    by_place = np.ascontiguousarray(padded.reshape(-1, n).T)
    both = np.concatenate([by_place, by_place[::-1]], axis=1)
    lists = np.empty((n, k, both.shape[1]))
    before = np.full((k, both.shape[1]), np.inf)
    for place, values in enumerate(both):
        now = lists[place]
        np.maximum(before[:-1], values, out=now[1:])
        np.minimum(now[1:], before[1:], out=now[1:])
        np.minimum(before[0], values, out=now[0])
        before = now
    half = by_place.shape[1]
    head, tail = lists[:, :, :half], lists[::-1, :, half:].copy()
    tail[0] = np.inf  # a window that begins a block is that block: the other list is already complete
    heads, lasts = (np.moveaxis(v, 0, 2).reshape(k, series, blocks * n) for v in (head, tail))
    return np.ascontiguousarray(heads), lasts


def _tails(part: Array) -> tuple[Array, ...]:
    """The four means of `tails` by definition."""
    ordered, count = np.sort(part, axis=1), (~np.isnan(part)).sum(axis=1)
    low, high = _quantile(ordered, count, TAIL), _quantile(ordered, count, 1 - TAIL)
    sides = (part <= low[:, None], part > high[:, None], part < low[:, None], part >= high[:, None])
    return tuple(
        ratio(np.where(side, part, 0.0).sum(axis=1), side.sum(axis=1).astype(float)) for side in sides
    )


def _quantile(ordered: Array, count: NDArray[np.int64], q: float) -> Array:
    place = (count - 1) * q
    base = np.floor(place).astype(int)
    rows = np.arange(len(ordered))
    low, high = ordered[rows, base], ordered[rows, np.minimum(base + 1, count - 1)]
    return np.asarray(low + (place - base) * (high - low))
