"""Bars around simulated closes, rounded to the tick as a venue would report them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quantctl.lake.sources.simulator.paths import Array, Paths


@dataclass(frozen=True)
class Grid:
    """Bars of all assets on all sessions, each field (T, n); `digits` (n,) decimals of the price."""

    open: Array
    high: Array
    low: Array
    close: Array
    volume: Array
    quote_volume: Array
    trades: NDArray[np.int64]
    digits: NDArray[np.int64]


def grid(rng: np.random.Generator, path: Paths, *, turnover: Array, overnight: float) -> Grid:
    """Bars from returns; `turnover` (n,) is the mean daily quote volume, `overnight` the gap's share."""
    days, assets = path.returns.shape
    start = np.exp(rng.uniform(np.log(0.05), np.log(400.0), assets))
    start[0] = 16_500.0
    close = start * np.cumprod(1.0 + path.returns, axis=0)
    digits = np.clip(4 - np.floor(np.log10(close.min(axis=0))), 1, 12).astype(np.int64)
    before = np.vstack((start, close[:-1]))
    opened = before * (1.0 + overnight * path.volatility * rng.standard_normal((days, assets)))
    reach = path.volatility * np.abs(rng.standard_normal((2, days, assets))) * 0.5
    high = np.maximum(opened, close) * (1.0 + reach[0])
    low = np.minimum(opened, close) * np.maximum(0.5, 1.0 - reach[1])
    activity = np.exp(
        0.3 * rng.standard_normal((days, assets)) - 0.045 + np.minimum(4.0 * np.abs(path.returns), 1.2)
    )
    quote = turnover * activity
    rounded = {"open": opened, "high": high, "low": low, "close": close}
    prices = {name: _to_tick(values, digits) for name, values in rounded.items()}
    tick = 10.0 ** -digits.astype(np.float64)
    floor = np.maximum(prices["low"], tick)
    volume = np.round(quote / np.maximum(prices["close"], tick), 2)
    return Grid(
        open=np.maximum(prices["open"], tick), high=np.maximum(prices["high"], tick), low=floor,
        close=np.maximum(prices["close"], tick), volume=volume, quote_volume=np.round(quote, 2),
        trades=np.maximum(1, quote / 450.0).astype(np.int64), digits=digits,
    )  # fmt: skip


def _to_tick(values: Array, digits: NDArray[np.int64]) -> Array:
    """Round each column to its own decimals; order within a bar survives rounding."""
    result = np.empty_like(values)
    for number in np.unique(digits):
        columns = digits == number
        result[:, columns] = np.round(values[:, columns], int(number))
    return result
