"""Each feature begins at the bar that its definition needs, on complete bars."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.ratings import RatingsSettings
from quantctl.steps.l1_ingestion.feature_store import AUXILIARY, CANONICAL, FIRST_BARS, compute_features

FIRST = {
    "momentum": 60, "stability": 60, "entropy": 60, "efficiency": 60, "hurst_clean": 60, "skew": 60,
    "kurtosis": 60, "cvar": 60, "recommend_ma": 199, "recommend_other": 34, "recommend_all": 199, "macd": 25,
    "macd_signal": 33, "mom": 10, "ao": 33, "stoch_k": 15, "stoch_d": 17, "cci": 19, "willr": 13, "uo": 28,
    "bb_power": 12, "ichimoku_kijun": 25, "sma_50": 49, "sma_200": 199, "vwma_20": 19, "adx_14": 27,
    "dmp_14": 14, "dmn_14": 14, "donchian_lower_20": 19, "donchian_upper_20": 19, "bb_width_20": 19,
    "rsi_14": 14, "stochrsi_k": 29, "hma_9": 10, "ema_10": 9, "ema_20": 19, "ema_30": 29, "ema_50": 49,
    "ema_100": 99, "ema_200": 199, "sma_10": 9, "sma_20": 19, "sma_30": 29, "sma_100": 99, "macd_hist": 33,
    "roc_9": 9, "mom_60": 60, "hurst": 60, "turbulence": 64, "ac_1": 60, "adv_30": 9, "vol_30": 30,
    "volatility_d": 0, "volume_z": 20, "upper_tail": 60, "regime_survival": 0, "n_bars": 0, "gap_share": 0,
    "momentum_s": 60, "stability_s": 60, "cvar_s": 60, "skew_s": 60, "upper_tail_s": 60, "mom_60_s": 60,
}  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    rng = np.random.default_rng(11)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, 260)))
    bars = pl.DataFrame(
        {
            "symbol": ["X:A"] * 260,
            "date": [date(2022, 1, 1) + timedelta(i) for i in range(260)],
            "high": close * (1 + 0.01 * rng.random(260)),
            "low": close * (1 - 0.01 * rng.random(260)),
            "close": close,
            "volume": rng.uniform(1, 9, 260),
            "quote_volume": close * 5,
            "provenance": ["venue"] * 260,
            "known_at": [datetime(2022, 1, 2, tzinfo=UTC) + timedelta(i) for i in range(260)],
        }
    )
    return compute_features(bars, {"X:A": 365}, {}, FeaturesSettings(), RatingsSettings())


def test_every_feature_has_a_first_bar() -> None:
    assert FIRST == FIRST_BARS and set(FIRST) == set(CANONICAL + AUXILIARY) and len(CANONICAL) == 31


@pytest.mark.parametrize(("name", "bar"), FIRST.items())
def test_feature_begins_at_its_first_bar_and_never_pauses(rows: pl.DataFrame, name: str, bar: int) -> None:
    known = rows[name].is_not_null().to_list()
    assert known == [False] * bar + [True] * (260 - bar)


def test_rating_of_short_histories_begins_at_bar_49_with_eleven_votes() -> None:
    close = 100 + np.sin(np.arange(60.0))
    bars = pl.DataFrame(
        {
            "symbol": ["X:A"] * 60,
            "date": [date(2022, 1, 1) + timedelta(i) for i in range(60)],
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": [1.0] * 60,
            "quote_volume": close,
            "provenance": ["venue"] * 60,
            "known_at": [datetime(2022, 1, 2, tzinfo=UTC)] * 60,
        }
    )
    found = compute_features(bars, {"X:A": 365}, {}, FeaturesSettings(), RatingsSettings(min_ma_votes=11))
    assert found["recommend_ma"].is_not_null().to_list() == [False] * 49 + [True] * 11
    assert found["ma_votes"][48:50].to_list() == [9, 11]
