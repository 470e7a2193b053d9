"""What the validator finds, feature by feature, and what stops a backfill."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.ratings import RatingsSettings
from quantctl.steps.l1_ingestion.feature_store import compute_features
from quantctl.steps.l1_ingestion.feature_validator import FEATURES, Validation, validate_features


def _recompute(bars: pl.DataFrame) -> pl.DataFrame:
    annual = dict.fromkeys(bars["symbol"].unique(maintain_order=True).to_list(), 365)
    return compute_features(bars, annual, {}, FeaturesSettings(), RatingsSettings())


def _bars(symbol: str, rows: int) -> pl.DataFrame:
    rng = np.random.default_rng(rows)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, rows)))
    return pl.DataFrame(
        {
            "symbol": [symbol] * rows,
            "date": [date(2022, 1, 1) + timedelta(i) for i in range(rows)],
            "high": close * (1 + 0.01 * rng.random(rows)),
            "low": close * (1 - 0.01 * rng.random(rows)),
            "close": close,
            "volume": rng.uniform(1, 9, rows),
            "quote_volume": close * 5,
            "provenance": ["venue"] * rows,
            "known_at": [datetime(2022, 1, 2, tzinfo=UTC) + timedelta(i) for i in range(rows)],
        }
    )


BARS = pl.concat([_bars("X:A", 300), _bars("X:B", 320), _bars("X:YOUNG", 30)])
ROWS = _recompute(BARS)
SYMBOLS = ["X:A", "X:B", "X:YOUNG"]


def _checked(rows: pl.DataFrame, bars: pl.DataFrame = BARS, expected: list[str] = SYMBOLS) -> Validation:
    return validate_features(bars, rows, expected, _recompute)


def _put(name: str, value: float | None, symbol: str, places: slice) -> pl.DataFrame:
    inside = pl.Series([False] * ROWS.height)
    own = np.flatnonzero((ROWS["symbol"] == symbol).to_numpy())[places]
    inside[own.tolist()] = True
    return ROWS.with_columns(pl.when(inside).then(pl.lit(value)).otherwise(pl.col(name)).alias(name))


def test_sound_rows_have_no_problem_and_a_young_asset_is_no_gap() -> None:
    found = _checked(ROWS)
    assert found.problems == {} and found.failed == 0 and not found.fatal and found.findings() == []
    assert found.checked == {"rows": 650, "symbols": 3, "features": len(FEATURES), "probes": 3}


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_that_died_is_noticed_whichever_it_is(name: str) -> None:
    problems = _checked(_put(name, None, "X:A", slice(None))).problems
    assert name in problems["FEATURE_NAN_DENSITY"]["X:A"] and "X:B" not in problems["FEATURE_NAN_DENSITY"]


def test_density_counts_after_the_first_defined_value() -> None:
    spans = {28: False, 32: True}
    for nulls, bad in spans.items():
        problems = _checked(_put("mom", None, "X:A", slice(100, 100 + nulls))).problems
        assert ("X:A" in problems.get("FEATURE_NAN_DENSITY", {})) == bad


def test_last_value_may_trail_by_three_bars() -> None:
    for nulls in (3, 4):
        problems = _checked(_put("cci", None, "X:B", slice(-nulls, None))).problems
        assert problems.get("FEATURE_LAG", {}).get("X:B", []) == (["cci"] if nulls == 4 else [])


def test_rows_that_end_before_the_bars_lag() -> None:
    older = ROWS.filter((pl.col("symbol") != "X:B") | (pl.col("date") < date(2022, 11, 1)))
    assert list(_checked(older).problems["FEATURE_LAG"]) == ["X:B"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("rsi_14", 100.5), ("recommend_all", -1.01), ("willr", 1.0), ("entropy", 1.1), ("sma_50", 0.0),
     ("vol_30", -1e-9), ("donchian_upper_20", 1.0), ("donchian_lower_20", 1e9), ("hurst_clean", -0.1)],
)  # fmt: skip
def test_a_value_outside_its_domain_is_named(name: str, value: float) -> None:
    assert _checked(_put(name, value, "X:A", slice(250, 251))).problems["FEATURE_BOUNDS"] == {"X:A": [name]}


def test_a_symbol_without_rows_is_a_gap_in_coverage() -> None:
    found = _checked(ROWS, expected=[*SYMBOLS, "X:NONE"])
    assert found.problems == {"FEATURE_COVERAGE_GAP": {"X:NONE": []}}
    assert [(f.level, f.code, f.symbol) for f in found.findings()] == [
        ("WARN", "FEATURE_COVERAGE_GAP", "X:NONE")
    ]


def test_an_absent_column_and_a_wrong_type_are_fatal() -> None:
    for rows in (ROWS.drop("uo"), ROWS.with_columns(pl.col("uo").cast(pl.Float32))):
        found = _checked(rows)
        assert found.fatal and found.problems == {"FEATURE_COLUMN_MISSING": {"": ["uo"]}}
        assert found.findings()[0].level == "ERROR"


def test_a_row_that_knew_the_future_is_fatal() -> None:
    ahead = ROWS.with_columns(pl.col("sma_10").shift(-1).over("symbol"))
    found = _checked(ahead)
    assert found.fatal
    assert all("sma_10" in names for names in found.problems["FEATURE_PIT_VIOLATION"].values())


def test_a_restart_after_a_missing_close_is_information() -> None:
    gap = (pl.col("symbol") == "X:A") & (pl.col("date") == date(2022, 2, 20))
    bars = BARS.with_columns(close=pl.when(~gap).then(pl.col("close")))
    found = _checked(_recompute(bars), bars)
    assert "ema_10" in found.problems["FEATURE_GAP_RESTART"]["X:A"]
    assert {f.level for f in found.findings() if f.code == "FEATURE_GAP_RESTART"} == {"INFO"}
    assert Validation({"FEATURE_GAP_RESTART": {"X:A": ["ema_10"]}}).failed == 0


def test_the_report_counts_by_code() -> None:
    record = _checked(_put("uo", 101.0, "X:A", slice(250, 251))).record()
    assert record["counts"] == {"FEATURE_BOUNDS": 1}
    assert record["problems"] == {"FEATURE_BOUNDS": {"X:A": ["uo"]}}
