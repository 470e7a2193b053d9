"""Rows of `features_daily` from daily bars: one row per bar of the asset's own calendar.

A value at t is a function of bars <= t; undefined is null. Source: features page, sections 1 to 4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quantctl.contracts.canonical import hash_json
from quantctl.contracts.errors import DataMissing
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.ratings import RatingsSettings
from quantctl.steps.l1_ingestion.indicators import Bars, Columns, indicators
from quantctl.steps.l1_ingestion.ratings import ratings as rate
from quantctl.steps.l1_ingestion.return_features import return_features, turnover_features

Days = NDArray[np.datetime64]
CANONICAL = (
    "momentum", "stability", "entropy", "efficiency", "hurst_clean", "skew", "kurtosis", "cvar",
    "recommend_ma", "recommend_other", "recommend_all", "macd", "macd_signal", "mom", "ao", "stoch_k",
    "stoch_d", "cci", "willr", "uo", "bb_power", "ichimoku_kijun", "sma_50", "sma_200", "vwma_20",
    "adx_14", "dmp_14", "dmn_14", "donchian_lower_20", "donchian_upper_20", "bb_width_20",
)  # fmt: skip
AUXILIARY = (
    "rsi_14", "stochrsi_k", "hma_9", "ema_10", "ema_20", "ema_30", "ema_50", "ema_100", "ema_200", "sma_10",
    "sma_20", "sma_30", "sma_100", "macd_hist", "roc_9", "mom_60", "hurst", "turbulence", "ac_1", "adv_30",
    "vol_30", "volatility_d", "volume_z", "upper_tail", "regime_survival", "n_bars", "gap_share",
    "momentum_s", "stability_s", "cvar_s", "skew_s", "upper_tail_s", "mom_60_s",
)  # fmt: skip
_POSITIVE = (
    *(name for name in CANONICAL + AUXILIARY if name.startswith(("sma_", "ema_", "vwma_", "donchian_"))),
    "hma_9", "ichimoku_kijun",
)  # fmt: skip
DOMAINS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("recommend_ma", "recommend_other", "recommend_all", "ac_1"), (-1.0, 1.0)),
    **dict.fromkeys(
        ("rsi_14", "adx_14", "dmp_14", "dmn_14", "stoch_k", "stoch_d", "stochrsi_k", "uo"), (0.0, 100.0)
    ),
    "willr": (-100.0, 0.0),
    **dict.fromkeys(
        ("entropy", "efficiency", "hurst", "hurst_clean", "turbulence", "regime_survival", "gap_share"),
        (0.0, 1.0),
    ),
    **dict.fromkeys(_POSITIVE, (math.ulp(0.0), math.inf)),
    **dict.fromkeys(("bb_width_20", "vol_30", "volatility_d", "adv_30", "stability"), (0.0, math.inf)),
}
"""L1 bounds of a feature, both ends included; the smallest positive number stands for "above zero"."""
COUNTS = ("n_obs_120", "n_obs_252", "ma_votes", "osc_votes")


def feature_parameters(features: FeaturesSettings, ratings: RatingsSettings) -> dict[str, Any]:
    """The store parameters: what a profile must agree with."""
    windows = [[first.isoformat(), last.isoformat()] for first, last in features.stress_windows]
    return {
        "features.feature_lookback": features.feature_lookback,
        "features.stress_windows": windows,
        "ratings": ratings.model_dump(mode="json"),
    }


def definition_hash(features: FeaturesSettings, ratings: RatingsSettings) -> str:
    """SHA-256 of the store parameters and the version of the formulas."""
    return hash_json({"formulas": 1, "parameters": feature_parameters(features, ratings)})


def compute_features(
    bars: pl.DataFrame,
    annual: Mapping[str, int],
    sessions: Mapping[str, Days],
    features: FeaturesSettings,
    ratings: RatingsSettings,
) -> pl.DataFrame:
    """Rows sorted by symbol and date, without `run_id`; no bars give no rows and no columns but the keys.

    `annual` maps symbol to 365 or 252; `sessions` maps each symbol of a 252 calendar to its sorted
    session days (every day is a session at 365). Raises `FEATURE_CALENDAR_MISSING` (exit 3).
    """
    if bars.is_empty():
        return bars.select("symbol", "date", "known_at", "provenance")
    frames = []
    for part in bars.sort("symbol", "date").partition_by("symbol", maintain_order=True):
        symbol = str(part["symbol"][0])
        if symbol not in annual or (annual[symbol] != 365 and symbol not in sessions):
            raise DataMissing("FEATURE_CALENDAR_MISSING", f"no session calendar for {symbol}", where=symbol)
        frames.append(_asset(part, annual[symbol], sessions.get(symbol), features, ratings))
    return pl.concat(frames).with_columns(definition_hash=pl.lit(definition_hash(features, ratings)))


def _asset(
    part: pl.DataFrame,
    annual: int,
    sessions: Days | None,
    features: FeaturesSettings,
    ratings: RatingsSettings,
) -> pl.DataFrame:
    high, low, close, volume, quote = (
        part[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        for name in ("high", "low", "close", "volume", "quote_volume")
    )
    bars, days = Bars(high, low, close, volume), part["date"].to_numpy().astype("datetime64[D]")
    columns = indicators(bars)
    columns |= rate(bars, columns, ratings) | return_features(close, features.feature_lookback, annual)
    columns |= turnover_features(bars, np.where(np.isnan(quote), close * volume, quote))
    columns |= _history(days, close, sessions, features)
    floats = [pl.Series(n, v).fill_nan(None) for n, v in columns.items() if n not in COUNTS]
    counts = [pl.Series(n, columns[n].astype(np.int32)) for n in COUNTS]
    estimated = pl.Series(
        "source", np.where(_within(np.isnan(quote), 30), "local:turnover_estimated", "local")
    )
    keys = part.select("symbol", "date", pl.col("known_at").cum_max(), "provenance")
    return keys.with_columns(*floats, *counts, estimated)


def _within(marked: NDArray[np.bool_], n: int) -> NDArray[np.bool_]:
    """Whether any of the last n bars is marked: the bars behind adv_30."""
    seen = np.concatenate([[0], np.cumsum(marked)])
    end = np.arange(1, len(marked) + 1)
    return np.asarray(seen[end] > seen[np.maximum(end - n, 0)])


def _history(days: Days, close: NDArray[np.float64], sessions: Days | None, s: FeaturesSettings) -> Columns:
    """n_bars, n_obs_*, gap_share of the last 500 sessions and regime_survival."""
    count = np.arange(1.0, len(days) + 1)
    calendar = np.arange(days[0], days[-1] + 1) if sessions is None else sessions[sessions >= days[0]]
    held = np.concatenate([[0], np.cumsum(np.isin(calendar, days))])
    end = np.searchsorted(calendar, days, side="right")
    start = np.maximum(end - 500, 0)
    width = end - start
    gap = np.where(width > 0, 1 - (held[end] - held[start]) / np.maximum(width, 1), np.nan)
    return {
        "n_bars": count,
        "n_obs_120": np.minimum(count - 1, s.feature_lookback),
        "n_obs_252": np.minimum(count - 1, 252),
        "gap_share": gap,
        "regime_survival": _survival(days, close, calendar, s),
    }


def _survival(
    days: Days, close: NDArray[np.float64], calendar: Days, s: FeaturesSettings
) -> NDArray[np.float64]:
    """Share of stress windows passed among those inside the life so far; 0.5 when there is none."""
    eligible, passed = np.zeros(len(days)), np.zeros(len(days))
    still = np.concatenate([[False], close[1:] == close[:-1]])
    for first, last in s.stress_windows:
        a, b = np.datetime64(first), np.datetime64(last)
        due = int(((calendar >= a) & (calendar <= b)).sum())
        if days[0] > a or due == 0:
            continue
        inside = (days >= a) & (days <= b)
        here = int(inside.sum())
        good = here > 0 and 1 - here / due <= 0.02 and still[inside].mean() < 0.05
        eligible += days >= b
        passed += (days >= b) & good
    return np.where(eligible > 0, passed / np.maximum(eligible, 1), 0.5)
