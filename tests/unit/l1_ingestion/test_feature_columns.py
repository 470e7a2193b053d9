"""Columns of the store: all are there from the first bar on, and each lies in its domain."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.ratings import RatingsSettings
from quantctl.steps.l1_ingestion.feature_store import AUXILIARY, CANONICAL, DOMAINS, compute_features
from quantctl.steps.l2_selection.predictability import autocorrelation, permutation_entropy

START = datetime(2022, 1, 1, tzinfo=UTC)


def _bars(length: int, unknown_turnover: int | None = None) -> pl.DataFrame:
    close = 100 * np.exp(np.cumsum(np.random.default_rng(1).standard_normal(length) * 0.02))
    quote = [None if i == unknown_turnover else float(c) for i, c in enumerate(close)]
    return pl.DataFrame(
        {
            "symbol": ["A:B"] * length,
            "date": [date(2022, 1, 1) + timedelta(i) for i in range(length)],
            "high": close * 1.01,
            "low": close * 0.99,
            "close": close,
            "volume": np.linspace(1.0, 2.0, length),
            "quote_volume": pl.Series(quote, dtype=pl.Float64),
            "known_at": [START + timedelta(i) for i in range(length)],
            "provenance": ["venue"] * length,
        }
    )


def _computed(bars: pl.DataFrame) -> pl.DataFrame:
    return compute_features(bars, {"A:B": 365}, {}, FeaturesSettings(), RatingsSettings())


@pytest.mark.parametrize("length", [1, 2, 70])
def test_every_column_exists_however_short_the_history(length: int) -> None:
    found = _computed(_bars(length))
    assert found.height == length
    assert set(CANONICAL + AUXILIARY) <= set(found.columns)
    assert found.select(CANONICAL + AUXILIARY).dtypes == [pl.Float64] * len(CANONICAL + AUXILIARY)


def test_no_bars_give_no_rows() -> None:
    assert _computed(_bars(3).head(0)).is_empty()


def test_values_lie_in_their_domains() -> None:
    found = _computed(_bars(400))
    for name, (low, high) in DOMAINS.items():
        values = found[name].drop_nulls()
        assert values.len() and ((values >= low) & (values <= high)).all(), name


def test_lag_one_autocorrelation_starts_at_bar_60_and_equals_the_kernel() -> None:
    bars = _bars(300)
    found = _computed(bars)["ac_1"].to_list()
    r = np.diff(bars["close"].to_numpy()) / bars["close"].to_numpy()[:-1]
    assert found[:60] == [None] * 60
    for t in (60, 100, 120, 299):
        assert found[t] == pytest.approx(autocorrelation(r[max(0, t - 120) : t], 1), abs=1e-12)


def test_estimated_turnover_is_flagged_as_long_as_it_is_averaged() -> None:
    flags = _computed(_bars(100, unknown_turnover=40))["source"].to_list()
    assert [i for i, flag in enumerate(flags) if flag != "local"] == list(range(40, 70))


def test_entropy_does_not_depend_on_which_patterns_occur() -> None:
    x = np.random.default_rng(4).standard_normal(120)
    assert permutation_entropy(x, 5) == permutation_entropy(-x, 5)
    assert permutation_entropy(np.arange(120.0), 5) == 0.0
