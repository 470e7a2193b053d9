"""Rows of `features_daily` from daily bars: one row per bar of the asset's own calendar.

A value at t is a function of bars <= t; undefined is null. Source: features page, sections 1 to 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quantctl.contracts.canonical import hash_json
from quantctl.contracts.errors import DataMissing
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.ratings import RatingsSettings
from quantctl.steps.l1_ingestion.indicators import LENGTHS, Bars, Columns, indicators
from quantctl.steps.l1_ingestion.moments import expanding
from quantctl.steps.l1_ingestion.ratings import ratings as rate
from quantctl.steps.l1_ingestion.return_features import return_features, turnover_features

Array = NDArray[np.float64]
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
FIRST_BARS: dict[str, int] = {
    **{f"{kind}_{n}": n - 1 for kind in ("sma", "ema") for n in LENGTHS},
    **dict.fromkeys(("volatility_d", "regime_survival", "n_bars", "gap_share"), 0),
    "adv_30": 9, "roc_9": 9, "mom": 10, "hma_9": 10, "bb_power": 12, "willr": 13, "dmp_14": 14, "dmn_14": 14,
    "rsi_14": 14, "stoch_k": 15, "stoch_d": 17, "cci": 19, "vwma_20": 19, "donchian_lower_20": 19,
    "donchian_upper_20": 19, "bb_width_20": 19, "volume_z": 20, "macd": 25, "ichimoku_kijun": 25,
    "adx_14": 27, "uo": 28, "stochrsi_k": 29, "vol_30": 30, "macd_signal": 33, "macd_hist": 33, "ao": 33,
    "recommend_other": 34, "recommend_ma": 199, "recommend_all": 199, "turbulence": 64,
}  # fmt: skip
FIRST_BARS |= {name: 60 for name in CANONICAL + AUXILIARY if name not in FIRST_BARS}
"""Bar, counted from 0, at which a feature is first defined on complete bars (15 votes for the ratings)."""
COUNTS = ("n_obs_120", "n_obs_252", "ma_votes", "osc_votes")
COLUMNS = CANONICAL + AUXILIARY + COUNTS
KEYS = ("symbol", "date", "known_at", "provenance")
NUMBERS = ("high", "low", "close", "volume", "quote_volume")
BATCH = 24576


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
    return hash_json({"formulas": 2, "parameters": feature_parameters(features, ratings)})


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
        return bars.select(KEYS)
    bars = bars.select(KEYS + NUMBERS).sort("symbol", "date")
    assets = _assets(bars, annual, sessions)
    values = {
        name: np.empty(bars.height, dtype=np.int32 if name in COUNTS else np.float64) for name in COLUMNS
    }
    estimated = np.empty(bars.height, dtype=bool)
    known = bars["known_at"].to_physical().to_numpy(writable=True)
    numbers = {name: bars[name].cast(pl.Float64).fill_null(math.nan).to_numpy() for name in NUMBERS}
    for batch in _batches(assets):
        columns, marked = _computed(batch, numbers, features, ratings)
        for i, asset in enumerate(batch):
            span, length = slice(asset.start, asset.end), asset.end - asset.start
            np.maximum.accumulate(known[span], out=known[span])
            estimated[span] = marked[i, :length]
            for name, column in values.items():
                column[span] = columns[name][i, :length]
    keys = bars.select(KEYS)
    flag = pl.Series("source", estimated)
    return keys.with_columns(
        pl.Series("known_at", known).cast(bars.schema["known_at"]),
        *(pl.Series(name, value, nan_to_null=name not in COUNTS) for name, value in values.items()),
        pl.when(flag).then(pl.lit("local:turnover_estimated")).otherwise(pl.lit("local")).alias("source"),
        definition_hash=pl.lit(definition_hash(features, ratings)),
    )


class _Asset(NamedTuple):
    """Rows start:end of the bars, their days, and the calendar: annual count, and sessions if not 365."""

    start: int
    end: int
    days: Days
    annual: int
    sessions: Days | None


def _assets(bars: pl.DataFrame, annual: Mapping[str, int], sessions: Mapping[str, Days]) -> list[_Asset]:
    symbols, days = bars["symbol"], bars["date"].to_numpy().astype("datetime64[D]")
    edges = [0, *(np.flatnonzero((symbols != symbols.shift()).fill_null(False).to_numpy())), bars.height]
    out = []
    for start, end in pairwise(int(edge) for edge in edges):
        symbol = str(symbols[start])
        if symbol not in annual or (annual[symbol] != 365 and symbol not in sessions):
            raise DataMissing("FEATURE_CALENDAR_MISSING", f"no session calendar for {symbol}", where=symbol)
        out.append(_Asset(start, end, days[start:end], annual[symbol], sessions.get(symbol)))
    return out


def _batches(assets: list[_Asset]) -> Iterator[list[_Asset]]:
    """Assets of like length together, in batches whose arrays stay in cache."""
    ordered = sorted(assets, key=lambda asset: (asset.end - asset.start, asset.start))
    batch: list[_Asset] = []
    for asset in ordered:
        if batch and (len(batch) + 1) * (asset.end - asset.start) > BATCH:
            yield batch
            batch = []
        batch.append(asset)
    yield batch


def _computed(
    batch: list[_Asset], numbers: Mapping[str, Array], features: FeaturesSettings, ratings: RatingsSettings
) -> tuple[Columns, NDArray[np.bool_]]:
    """Every column of a batch, (S, T) each, and whether the turnover behind adv_30 is estimated."""
    size = max(asset.end - asset.start for asset in batch)
    held = {name: np.full((len(batch), size), np.nan) for name in numbers}
    for i, asset in enumerate(batch):
        for name, column in numbers.items():
            held[name][i, : asset.end - asset.start] = column[asset.start : asset.end]
    bars = Bars(held["high"], held["low"], held["close"], held["volume"])
    quote, unknown = held["quote_volume"], np.isnan(held["quote_volume"])
    columns = indicators(bars)
    columns |= rate(bars, columns, ratings)
    annual = np.array([asset.annual for asset in batch], dtype=float)
    columns |= return_features(bars.close, features.feature_lookback, annual)
    columns |= turnover_features(bars, np.where(unknown, bars.close * bars.volume, quote))
    columns |= _histories(batch, bars.close, features)
    return columns, _within(unknown, 30)


def _within(marked: NDArray[np.bool_], n: int) -> NDArray[np.bool_]:
    """Whether any of the last n bars is marked: the bars behind adv_30."""
    return np.asarray(expanding(marked.astype(float), n)[n] > 0)


def _histories(batch: list[_Asset], close: Array, s: FeaturesSettings) -> Columns:
    out = {name: np.full(close.shape, np.nan) for name in ("gap_share", "regime_survival")}
    alike: dict[tuple[bytes, int], list[int]] = {}
    for i, asset in enumerate(batch):
        alike.setdefault((asset.days.tobytes(), id(asset.sessions)), []).append(i)
    for rows in alike.values():
        first = batch[rows[0]]
        length = len(first.days)
        for name, column in _history(first.days, close[rows, :length], first.sessions, s).items():
            out[name][rows, :length] = column
    count = np.broadcast_to(np.arange(1.0, close.shape[1] + 1), close.shape)
    return out | {
        "n_bars": count,
        "n_obs_120": np.minimum(count - 1, s.feature_lookback),
        "n_obs_252": np.minimum(count - 1, 252),
    }


def _history(days: Days, close: Array, sessions: Days | None, s: FeaturesSettings) -> Columns:
    """gap_share of the last 500 sessions (T,) and regime_survival (S, T) of assets with the same days."""
    calendar = np.arange(days[0], days[-1] + 1) if sessions is None else sessions[sessions >= days[0]]
    end = np.searchsorted(calendar, days, side="right")
    on = np.zeros(len(calendar) + 1)
    on[end[calendar[end - 1] == days] if len(calendar) else []] = 1
    held = np.cumsum(on)
    start = np.maximum(end - 500, 0)
    width = end - start
    gap = np.where(width > 0, 1 - (held[end] - held[start]) / np.maximum(width, 1), np.nan)
    return {"gap_share": gap, "regime_survival": _survival(days, close, calendar, s)}


def _survival(days: Days, close: Array, calendar: Days, s: FeaturesSettings) -> Array:
    """Share of stress windows passed among those inside the life so far; 0.5 when there is none."""
    eligible, passed = np.zeros((2, *close.shape))
    still = np.zeros(close.shape)
    still[:, 1:] = close[:, 1:] == close[:, :-1]
    for first, last in s.stress_windows:
        a, b = np.datetime64(first), np.datetime64(last)
        due, inside = _between(calendar, a, b), _between(days, a, b)
        held = inside.stop - inside.start
        if days[0] > a or due.stop == due.start:
            continue
        over = np.searchsorted(days, b)
        eligible[:, over:] += 1
        if held and 1 - held / (due.stop - due.start) <= 0.02:
            passed[:, over:] += (still[:, inside].sum(axis=1) / held < 0.05)[:, None]
    return np.where(eligible > 0, passed / np.maximum(eligible, 1), 0.5)


def _between(days: Days, first: np.datetime64, last: np.datetime64) -> slice:
    """Places of the sorted days from `first` to `last`, both included."""
    return slice(int(np.searchsorted(days, first)), int(np.searchsorted(days, last, side="right")))
