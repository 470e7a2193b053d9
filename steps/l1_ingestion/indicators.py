"""Price, trend, oscillator and volume columns of one asset's bars. Source: features page, section 3."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l1_ingestion.smoothing import (
    ema,
    highest,
    hma,
    lag,
    lowest,
    ratio,
    rma,
    sma,
    vwma,
    windows,
)  # fmt: skip

Vector = NDArray[np.float64]
Columns = dict[str, Vector]
LENGTHS = (10, 20, 30, 50, 100, 200)


@dataclass(frozen=True)
class Bars:
    """Bars of one asset in date order, each (T,) float64."""

    high: Vector
    low: Vector
    close: Vector
    volume: Vector


def averages(bars: Bars) -> Columns:
    """sma_*, ema_*, hma_9, vwma_20, in price units."""
    out = {f"sma_{n}": sma(bars.close, n) for n in LENGTHS}
    out |= {f"ema_{n}": ema(bars.close, n) for n in LENGTHS}
    return out | {"hma_9": hma(bars.close, 9), "vwma_20": vwma(bars.close, bars.volume, 20)}


def channels(bars: Bars) -> Columns:
    """Ichimoku kijun, Donchian 20 (price) and Bollinger width (percent)."""
    middle = sma(bars.close, 20)
    spread = windows(bars.close, 20).std(axis=1)
    return {
        "ichimoku_kijun": (highest(bars.high, 26) + lowest(bars.low, 26)) / 2,
        "donchian_lower_20": lowest(bars.low, 20),
        "donchian_upper_20": highest(bars.high, 20),
        "bb_width_20": 100 * ratio(4 * spread, middle),
    }


def directional(bars: Bars) -> Columns:
    """adx_14, dmp_14, dmn_14 in [0, 100]."""
    up, down = bars.high - lag(bars.high), lag(bars.low) - bars.low
    known = ~np.isnan(up + down)
    plus = np.where(known, np.where((up > 0) & (up > down), up, 0.0), np.nan)
    minus = np.where(known, np.where((down > 0) & (down > up), down, 0.0), np.nan)
    before = lag(bars.close)
    reach = np.maximum(
        bars.high - bars.low, np.maximum(np.abs(bars.high - before), np.abs(bars.low - before))
    )
    true_range = rma(reach, 14)
    dmp, dmn = 100 * ratio(rma(plus, 14), true_range), 100 * ratio(rma(minus, 14), true_range)
    total = dmp + dmn
    dx = np.where(total == 0, 0.0, 100 * np.abs(dmp - dmn) / np.where(total == 0, 1.0, total))
    return {"adx_14": rma(dx, 14), "dmp_14": dmp, "dmn_14": dmn}


def momenta(bars: Bars) -> Columns:
    """macd family, mom, ao, roc_9 and bb_power."""
    close, middle = bars.close, (bars.high + bars.low) / 2
    macd = ema(close, 12) - ema(close, 26)
    signal, base = ema(macd, 9), ema(close, 13)
    return {
        "macd": macd,
        "macd_signal": signal,
        "macd_hist": macd - signal,
        "mom": close - lag(close, 10),
        "ao": sma(middle, 5) - sma(middle, 34),
        "roc_9": 100 * (ratio(close, lag(close, 9)) - 1),
        "bb_power": (bars.high - base) + (bars.low - base),
    }


def oscillators(bars: Bars) -> Columns:
    """Stochastic, CCI, Williams, Ultimate, RSI and StochRSI."""
    close, top, bottom = bars.close, highest(bars.high, 14), lowest(bars.low, 14)
    k = sma(100 * ratio(close - bottom, top - bottom), 3)
    rsi = relative_strength(close)
    floor = lowest(rsi, 14)
    return {
        "stoch_k": k,
        "stoch_d": sma(k, 3),
        "cci": _channel_index(bars),
        "willr": -100 * ratio(top - close, top - bottom),
        "uo": _ultimate(bars),
        "rsi_14": rsi,
        "stochrsi_k": sma(100 * ratio(rsi - floor, highest(rsi, 14) - floor), 3),
    }


def relative_strength(close: Vector) -> Vector:
    """RSI 14 in [0, 100]; zero loss gives 100, both zero 50."""
    change = close - lag(close)
    gain, loss = rma(np.maximum(change, 0), 14), rma(np.maximum(-change, 0), 14)
    total = gain + loss
    return np.where(total == 0, 50.0, 100 * gain / np.where(total == 0, 1.0, total))


def _channel_index(bars: Bars) -> Vector:
    typical = (bars.high + bars.low + bars.close) / 3
    part = windows(typical, 20)
    mean = part.mean(axis=1)
    return ratio(typical - mean, 0.015 * np.abs(part - mean[:, None]).mean(axis=1))


def _ultimate(bars: Bars) -> Vector:
    before = lag(bars.close)
    base = np.minimum(bars.low, before)
    pressure, reach = bars.close - base, np.maximum(bars.high, before) - base

    def share(n: int) -> Vector:
        return ratio(windows(pressure, n).sum(axis=1), windows(reach, n).sum(axis=1))

    return 100 * (4 * share(7) + 2 * share(14) + share(28)) / 7


def indicators(bars: Bars) -> Columns:
    """Every price column of one asset."""
    return averages(bars) | channels(bars) | directional(bars) | momenta(bars) | oscillators(bars)
