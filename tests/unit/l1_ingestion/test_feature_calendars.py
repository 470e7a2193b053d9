"""Features of assets that trade on sessions: year of 252 days, gaps against the calendar, stress windows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.errors import DataMissing
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.ratings import RatingsSettings
from quantctl.steps.l1_ingestion.feature_store import compute_features

SESSIONS = [day for day in (date(2022, 1, 3) + timedelta(i) for i in range(560)) if day.weekday() < 5]


def _bars(days: list[date], close: np.ndarray | None = None) -> pl.DataFrame:
    rows = len(days)
    prices = (
        100 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.02, rows))) if close is None else close
    )
    return pl.DataFrame(
        {
            "symbol": ["N:A"] * rows,
            "date": days,
            "high": prices * 1.01,
            "low": prices * 0.99,
            "close": prices,
            "volume": [1.0] * rows,
            "quote_volume": prices,
            "provenance": ["venue"] * rows,
            "known_at": [datetime(2022, 1, 2, tzinfo=UTC)] * rows,
        }
    )


def _rows(days: list[date], annual: int, close: np.ndarray | None = None) -> pl.DataFrame:
    bars = _bars(days, close)
    sessions = {"N:A": np.array(SESSIONS, dtype="datetime64[D]")} if annual == 252 else {}
    return compute_features(bars, {"N:A": annual}, sessions, FeaturesSettings(), RatingsSettings())


def test_momentum_is_annualised_by_252_and_weekends_are_no_gap() -> None:
    found, daily = _rows(SESSIONS, 252), _rows(SESSIONS, 365)
    assert found["gap_share"].to_list() == [0.0] * len(SESSIONS)
    assert np.allclose(found["momentum"][60:] * (365 / 252), daily["momentum"][60:], rtol=1e-14)
    assert found["sma_200"].equals(daily["sma_200"])
    assert daily["gap_share"][-1] == pytest.approx(2 / 7, abs=0.01)


@pytest.mark.parametrize("annual", [{}, {"N:A": 252}], ids=["no year", "no sessions"])
def test_a_symbol_without_a_calendar_stops_the_computation_and_is_named(annual: dict[str, int]) -> None:
    with pytest.raises(DataMissing) as caught:
        compute_features(_bars(SESSIONS), annual, {}, FeaturesSettings(), RatingsSettings())
    error = caught.value
    assert (error.code, error.exit_code, error.where) == ("FEATURE_CALENDAR_MISSING", 3, "N:A")


def test_gap_share_counts_absent_sessions_since_the_first_bar() -> None:
    days = SESSIONS[20:70] + SESSIONS[80:]
    found = _rows(days, 252)["gap_share"].to_list()
    assert found[:50] == [0.0] * 50
    assert found[50] == pytest.approx(10 / 61) and found[-1] == pytest.approx(10 / (len(SESSIONS) - 20))


def test_gap_share_forgets_what_is_older_than_500_days() -> None:
    days = [date(2022, 1, 1) + timedelta(i) for i in range(700) if not 50 <= i < 100]
    found = _rows(days, 365)["gap_share"].to_list()
    assert found[50] == pytest.approx(50 / 101)
    assert found[450] == pytest.approx(50 / 500, abs=0.003) and found[-1] == 0.0


@pytest.mark.parametrize(
    ("absent", "still", "survival"),
    [(0, 0, 1.0), (5, 0, 0.0), (0, 10, 0.0)],
    ids=["lived", "gaps", "stalled"],
)
def test_regime_survival_is_known_from_the_end_of_a_window(absent: int, still: int, survival: float) -> None:
    window = [i for i, day in enumerate(SESSIONS) if date(2022, 5, 1) <= day <= date(2022, 6, 15)]
    close = 100 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.02, len(SESSIONS))))
    close[window[3] : window[3] + still] = close[window[3]]
    kept = [i for i in range(len(SESSIONS)) if i not in window[5 : 5 + absent]]
    found = _rows([SESSIONS[i] for i in kept], 252, close[kept])
    before = found.filter(pl.col("date") < date(2022, 6, 15))["regime_survival"]
    after = found.filter(pl.col("date").is_between(date(2022, 6, 15), date(2023, 3, 30)))["regime_survival"]
    assert set(before) == {0.5} and set(after) == {survival}
