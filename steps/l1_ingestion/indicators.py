"""Price, trend, oscillator and volume columns of daily bars. Source: features page, section 3."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l1_ingestion.smoothing import (
    centred,
    ema_lane,
    highest,
    hma,
    lag,
    lowest,
    ratio,
    recursions,
    rma_lane,
    rolled_many,
    sma,
    vwma,
)  # fmt: skip

Array = NDArray[np.float64]
Columns = dict[str, Array]
LENGTHS = (10, 20, 30, 50, 100, 200)


@dataclass(frozen=True)
class Bars:
    """Bars in date order, each (S, T) float64: one asset a row, NaN after its last bar."""

    high: Array
    low: Array
    close: Array
    volume: Array


def averages(bars: Bars) -> Columns:
    """sma_*, hma_9, vwma_20, in price units."""
    out = {f"sma_{n}": total / n for n, total in rolled_many(bars.close, LENGTHS).items()}
    return out | {"hma_9": hma(bars.close, 9), "vwma_20": vwma(bars.close, bars.volume, 20)}


def channels(bars: Bars) -> Columns:
    """Ichimoku kijun, Donchian 20 (price) and Bollinger width (percent)."""
    tops = rolled_many(bars.high, (20, 26), np.maximum)
    bottoms = rolled_many(bars.low, (20, 26), np.minimum)
    middle, squares, _ = centred(bars.close, 20)
    return {
        "ichimoku_kijun": (tops[26] + bottoms[26]) / 2,
        "donchian_lower_20": bottoms[20],
        "donchian_upper_20": tops[20],
        "bb_width_20": 100 * ratio(4 * np.sqrt(squares / 20), middle),
    }


def recursive(bars: Bars) -> Columns:
    """ema_*, the macd family, bb_power, rsi_14 and the directional columns: all that has infinite memory."""
    close, change = bars.close, bars.close - lag(bars.close)
    plus, minus, reach = _directional(bars)
    lengths = (*LENGTHS, 12, 26, 13)
    wilder = (np.maximum(change, 0), np.maximum(-change, 0), plus, minus, reach)
    found = recursions([*(ema_lane(close, n) for n in lengths), *(rma_lane(x, 14) for x in wilder)])
    line = dict(zip(lengths, found, strict=False))
    gain, loss, up, down, true_range = found[len(lengths) :]
    macd = line[12] - line[26]
    dmp, dmn = 100 * ratio(up, true_range), 100 * ratio(down, true_range)
    dx = np.where(dmp + dmn == 0, 0.0, 100 * ratio(np.abs(dmp - dmn), dmp + dmn))
    signal, adx = recursions([ema_lane(macd, 9), rma_lane(dx, 14)])
    return {f"ema_{n}": line[n] for n in LENGTHS} | {
        "macd": macd,
        "macd_signal": signal,
        "macd_hist": macd - signal,
        "bb_power": (bars.high - line[13]) + (bars.low - line[13]),
        "rsi_14": np.where(gain + loss == 0, 50.0, 100 * ratio(gain, gain + loss)),
        "adx_14": adx,
        "dmp_14": dmp,
        "dmn_14": dmn,
    }


def _directional(bars: Bars) -> tuple[Array, Array, Array]:
    """+DM, -DM and TR, NaN at bar 0."""
    up, down, before = bars.high - lag(bars.high), lag(bars.low) - bars.low, lag(bars.close)
    known = np.isnan(up + down)
    plus = np.where((up > 0) & (up > down), up, 0.0)
    minus = np.where((down > 0) & (down > up), down, 0.0)
    plus[known], minus[known] = np.nan, np.nan
    gap = np.maximum(np.abs(bars.high - before), np.abs(bars.low - before))
    return plus, minus, np.maximum(bars.high - bars.low, gap)


def oscillators(bars: Bars, rsi: Array) -> Columns:
    """Momentum, awesome, stochastic, CCI, Williams, Ultimate, StochRSI and rate of change."""
    close, top, bottom = bars.close, highest(bars.high, 14), lowest(bars.low, 14)
    middle, typical = (bars.high + bars.low) / 2, (bars.high + bars.low + bars.close) / 3
    means = rolled_many(middle, (5, 34))
    mean, _, sizes = centred(typical, 20)
    k = sma(100 * ratio(close - bottom, top - bottom), 3)
    floor = lowest(rsi, 14)
    return {
        "mom": close - lag(close, 10),
        "ao": means[5] / 5 - means[34] / 34,
        "roc_9": 100 * (ratio(close, lag(close, 9)) - 1),
        "stoch_k": k,
        "stoch_d": sma(k, 3),
        "cci": ratio(typical - mean, 0.015 * (sizes / 20)),
        "willr": -100 * ratio(top - close, top - bottom),
        "uo": _ultimate(bars),
        "stochrsi_k": sma(100 * ratio(rsi - floor, highest(rsi, 14) - floor), 3),
    }


def _ultimate(bars: Bars) -> Array:
    before = lag(bars.close)
    base = np.minimum(bars.low, before)
    pressures = rolled_many(bars.close - base, (7, 14, 28))
    reaches = rolled_many(np.maximum(bars.high, before) - base, (7, 14, 28))
    fast, middle, slow = (ratio(pressures[n], reaches[n]) for n in (7, 14, 28))
    return np.asarray(100 * (4 * fast + 2 * middle + slow) / 7)


def indicators(bars: Bars) -> Columns:
    """Every price column, (S, T) each."""
    out = averages(bars) | channels(bars) | recursive(bars)
    return out | oscillators(bars, out["rsi_14"])
