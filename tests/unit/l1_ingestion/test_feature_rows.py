"""Rows of the feature store do not look ahead."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.errors import DataMissing
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.ratings import RatingsSettings
from quantctl.steps.l1_ingestion.feature_store import CANONICAL, compute_features


def _bars(symbol: str, seed: int, rows: int = 320) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, rows)))
    days = [date(2022, 1, 1) + timedelta(days=i) for i in range(rows)]
    known = [datetime(2022, 1, 2) + timedelta(days=i) for i in range(rows)]
    return pl.DataFrame({
        "symbol": [symbol] * rows, "date": days, "high": close * 1.01, "low": close * 0.99, "close": close,
        "volume": rng.uniform(1, 9, rows), "quote_volume": close * 5, "provenance": ["t"] * rows,
        "known_at": known,
    })  # fmt: skip


def _rows(bars: pl.DataFrame) -> pl.DataFrame:
    annual = dict.fromkeys(bars["symbol"].unique(maintain_order=True), 365)
    return compute_features(bars, annual, {}, FeaturesSettings(), RatingsSettings())


def test_all_31_canonical_features_are_columns() -> None:
    assert len(CANONICAL) == 31 and set(CANONICAL) <= set(_rows(_bars("X:A", 1)).columns)


def test_later_bars_and_other_symbols_change_no_row() -> None:
    bars = _bars("X:A", 1)
    whole = _rows(pl.concat([bars, _bars("X:B", 2)])).filter(pl.col("symbol") == "X:A")
    assert whole.head(211).equals(_rows(bars.head(211)))


def test_exchange_calendar_without_sessions_is_refused() -> None:
    with pytest.raises(DataMissing, match="no session calendar"):
        compute_features(_bars("X:A", 1), {"X:A": 252}, {}, FeaturesSettings(), RatingsSettings())
