"""Indicators against TA-Lib on long series, and against TradingView's own figures of one real day."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.ratings import RatingsSettings
from quantctl.steps.l1_ingestion.feature_store import compute_features
from quantctl.steps.l1_ingestion.indicators import LENGTHS, Bars, indicators

LONG = 2600
SETTLED = 2200  # bars after which no seed of an EMA 200 is left


@pytest.fixture(scope="module")
def market() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(21)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, LONG)))
    high, low = close * (1 + 0.02 * rng.random(LONG)), close * (1 - 0.02 * rng.random(LONG))
    return {"high": high, "low": low, "close": close, "volume": rng.uniform(1, 9, LONG)}


@pytest.fixture(scope="module")
def ours(market: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = indicators(Bars(*(market[name][None] for name in ("high", "low", "close", "volume"))))
    return {name: value[0] for name, value in found.items()}


def peers(talib: Any, m: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """TA-Lib's form of each indicator."""
    high, low, close = m["high"], m["low"], m["close"]
    k, d = talib.STOCH(high, low, close, 14, 3, 0, 3, 0)
    upper, middle, lower = talib.BBANDS(close, 20, 2, 2, 0)
    middle_price = (high + low) / 2
    fast = talib.EMA(close, 12) - talib.EMA(close, 26)
    signal = np.full(LONG, np.nan)
    signal[25:] = talib.EMA(fast[25:], 9)
    return {
        **{f"sma_{n}": talib.SMA(close, n) for n in LENGTHS},
        **{f"ema_{n}": talib.EMA(close, n) for n in LENGTHS},
        "macd": fast, "macd_signal": signal, "macd_hist": fast - signal,
        "rsi_14": talib.RSI(close, 14), "cci": talib.CCI(high, low, close, 20),
        "willr": talib.WILLR(high, low, close, 14), "uo": talib.ULTOSC(high, low, close, 7, 14, 28),
        "stoch_k": k, "stoch_d": d, "mom": talib.MOM(close, 10), "roc_9": talib.ROC(close, 9),
        "adx_14": talib.ADX(high, low, close, 14), "dmp_14": talib.PLUS_DI(high, low, close, 14),
        "dmn_14": talib.MINUS_DI(high, low, close, 14), "bb_width_20": 100 * (upper - lower) / middle,
        "donchian_upper_20": talib.MAX(high, 20), "donchian_lower_20": talib.MIN(low, 20),
        "ichimoku_kijun": (talib.MAX(high, 26) + talib.MIN(low, 26)) / 2,
        "ao": talib.SMA(middle_price, 5) - talib.SMA(middle_price, 34),
        "hma_9": talib.WMA(2 * talib.WMA(close, 4) - talib.WMA(close, 9), 3),
        "bb_power": high + low - 2 * talib.EMA(close, 13),
    }  # fmt: skip


NAMES = (
    *(f"{kind}_{n}" for kind in ("sma", "ema") for n in LENGTHS),
    "macd", "macd_signal", "macd_hist",
    "rsi_14", "cci", "willr", "uo", "stoch_k", "stoch_d", "mom", "roc_9", "adx_14", "dmp_14", "dmn_14",
    "bb_width_20", "donchian_upper_20", "donchian_lower_20", "ichimoku_kijun", "ao", "hma_9", "bb_power",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_indicator_equals_talib(ours: dict, market: dict, name: str) -> None:
    talib = pytest.importorskip("talib", reason="TA-Lib is not installed")
    theirs = peers(talib, market)[name][SETTLED:]
    scale = float(np.abs(theirs).max())
    assert np.allclose(ours[name][SETTLED:], theirs, rtol=1e-7, atol=1e-7 * scale)


TRADINGVIEW = {
    **{f"{kind.upper()}{n}": f"{kind}_{n}" for kind in ("sma", "ema") for n in LENGTHS},
    "ADX": "adx_14", "AO": "ao", "CCI20": "cci", "HullMA9": "hma_9", "Ichimoku.BLine": "ichimoku_kijun",
    "MACD.macd": "macd", "MACD.signal": "macd_signal", "Mom": "mom", "RSI": "rsi_14", "Stoch.K": "stoch_k",
    "UO": "uo", "W.R": "willr", "BBPower": "bb_power",
}  # fmt: skip


@pytest.fixture(scope="module")
def tradingview() -> tuple[dict[str, float], pl.DataFrame]:
    """TradingView's figures of 2025-12-20, and our rows from its bars with the close of that moment."""
    root = Path(os.environ.get("QUANTCTL_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    bars = root / "tv_binance_btcusdt_1d.parquet"
    figures = root / "raw" / "tradingview_btcusdt_technicals_2025-12-20.json"
    if not (bars.is_file() and figures.is_file()):
        pytest.skip("recorded TradingView data are not here (QUANTCTL_SHARED_DATA)")
    theirs = json.loads(figures.read_text())["1d"]
    frame = pl.read_parquet(bars)
    close = frame["close"].to_numpy(writable=True)
    close[-1] = 20 * theirs["SMA20"] - close[-20:-1].sum()
    rows = frame.select("symbol", pl.col("timestamp").cast(pl.Date).alias("date"), "high", "low", "volume")
    rows = rows.with_columns(
        close=pl.Series(close), quote_volume=pl.Series(close) * rows["volume"], provenance=pl.lit("vendor"),
        known_at=pl.lit(datetime(2025, 12, 20, tzinfo=UTC)),
    )  # fmt: skip
    found = compute_features(rows, {"BINANCE:BTCUSDT": 365}, {}, FeaturesSettings(), RatingsSettings())
    return theirs, found


@pytest.mark.parametrize(("field", "name"), TRADINGVIEW.items())
def test_indicator_equals_tradingview(tradingview: tuple, field: str, name: str) -> None:
    theirs, rows = tradingview
    assert rows[name][-1] == pytest.approx(theirs[field], rel=1e-6, abs=1e-6)


def test_volume_weighted_average_differs_by_the_volume_of_the_open_bar_alone(tradingview: tuple) -> None:
    theirs, rows = tradingview
    assert rows["vwma_20"][-1] == pytest.approx(theirs["VWMA"], rel=1e-3)


def test_rating_of_averages_differs_by_the_ichimoku_vote_alone(tradingview: tuple) -> None:
    """Theirs asks for the whole Ichimoku picture and abstains; ours compares with the base line."""
    theirs, rows = tradingview
    assert rows["ma_votes"][-1] == 15
    assert theirs["Recommend.MA"] - rows["recommend_ma"][-1] == pytest.approx(1 / 15)


def test_rating_of_oscillators_differs_by_the_momentum_vote_alone(tradingview: tuple) -> None:
    """Theirs votes on rising momentum, ours on its sign: here it is negative and rises."""
    theirs, rows = tradingview
    before, now = rows["mom"][-2:]
    assert before < now < 0
    assert theirs["Recommend.Other"] - rows["recommend_other"][-1] == pytest.approx(2 / 11)
