"""Rows of `features_daily` from daily bars: one row per bar of the asset's own calendar.

A value at t is a function of bars <= t; undefined is null. Source: features page, sections 1 to 4.
"""

from __future__ import annotations

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
    """Rows sorted by symbol and date, without `run_id`.

    `annual` maps symbol to 365 or 252; `sessions` maps each symbol of a 252 calendar to its sorted
    session days (every day is a session at 365). Raises `FEATURE_CALENDAR_MISSING` (exit 3).
    """
    frames = []
    for part in bars.sort("symbol", "date").partition_by("symbol", maintain_order=True):
        symbol = str(part["symbol"][0])
        if symbol not in annual or (annual[symbol] != 365 and symbol not in sessions):
            raise DataMissing("FEATURE_CALENDAR_MISSING", f"no session calendar for {symbol}", where=symbol)
        frames.append(_asset(part, annual[symbol], sessions.get(symbol), features, ratings))
    return pl.concat(frames).with_columns(definition_hash=pl.lit(definition_hash(features, ratings)))


def _asset(
    part: pl.DataFrame, annual: int, sessions: Days | None, features: FeaturesSettings, ratings: RatingsSettings
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
    estimated = pl.Series("source", np.where(np.isnan(quote), "local:turnover_estimated", "local"))
    keys = part.select("symbol", "date", pl.col("known_at").cum_max(), "provenance")
    return keys.with_columns(*floats, *counts, estimated)


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


def _survival(days: Days, close: NDArray[np.float64], calendar: Days, s: FeaturesSettings) -> NDArray[np.float64]:
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
