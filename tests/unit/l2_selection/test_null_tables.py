"""Null distributions: row kernels equal the one-series kernels; a table depends on (metric, n) alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantctl.contracts.errors import InternalError
from quantctl.steps.l2_selection.calibration import structural_bound
from quantctl.steps.l2_selection.null_statistics import entropy_rows, hurst_rows, turbulence_rows
from quantctl.steps.l2_selection.null_tables import (
    NullTable,
    autocorrelation_quantile,
    build_null_table,
    efficiency_at,
    efficiency_quantile,
)
from quantctl.steps.l2_selection.predictability import (
    autocorrelation,
    haar_turbulence,
    hurst,
    permutation_entropy,
)
from quantctl.workflows.null_cache import tables

NOISE = np.random.default_rng(2).standard_normal((30, 120))


@pytest.mark.parametrize(
    ("rows", "single"),
    [
        (lambda x: entropy_rows(x, 5), lambda x: permutation_entropy(x, 5)),
        (lambda x: entropy_rows(x, 3), lambda x: permutation_entropy(x, 3)),
        (hurst_rows, hurst),
        (turbulence_rows, haar_turbulence),
    ],
)
def test_rows_at_once_equal_one_series_at_a_time(
    rows: Callable[[Any], Any], single: Callable[[Any], float]
) -> None:
    assert rows(NOISE) == pytest.approx([single(row) for row in NOISE], abs=1e-12)


def test_ties_in_a_pattern_go_by_position() -> None:
    tied = np.round(NOISE, 0)
    assert entropy_rows(tied, 3) == pytest.approx([permutation_entropy(row, 3) for row in tied], abs=1e-12)


def test_a_table_is_the_same_whenever_it_is_built() -> None:
    assert np.array_equal(build_null_table("hurst", 120).values, build_null_table("hurst", 120).values)


def test_noise_hurst_sits_well_above_one_half_and_entropy_below_its_bound() -> None:
    assert build_null_table("hurst", 120).mu0 > 0.55
    assert build_null_table("pe5", 120).values.max() < structural_bound("pe5", 120) < 1.0


def test_quantile_of_a_value_counts_ties_half() -> None:
    table = NullTable("x", 1, np.array([1.0, 2.0, 2.0, 3.0]))
    assert [table.quantile_of(x) for x in (0.0, 2.0, 9.0)] == [0.5 / 5, 2.5 / 5, 4.5 / 5]
    assert np.isnan(table.quantile_of(float("nan")))


def test_efficiency_quantile_is_uniform_on_noise() -> None:
    x = np.random.default_rng(8).standard_normal((4000, 120))
    ratio = np.abs(x.sum(axis=1)) / np.abs(x).sum(axis=1)
    assert float((ratio < efficiency_at(0.1, 120)).mean()) == pytest.approx(0.1, abs=0.02)
    assert efficiency_quantile(efficiency_at(0.3, 120), 120) == pytest.approx(0.3)


def test_autocorrelation_quantile_is_uniform_on_noise() -> None:
    x = np.random.default_rng(9).standard_normal((2000, 120))
    found = np.array([autocorrelation_quantile(autocorrelation(row, 1), 120) for row in x])
    assert [float((found < p).mean()) for p in (0.1, 0.5, 0.9)] == pytest.approx([0.1, 0.5, 0.9], abs=0.03)


@pytest.mark.parametrize(("metric", "n"), [("hurst", 31), ("pe5", 19), ("unheard", 120)])
def test_undefined_table_is_a_typed_error(metric: str, n: int) -> None:
    with pytest.raises(InternalError) as caught:
        build_null_table(metric, n)
    assert caught.value.code == "NULL_TABLE_UNDEFINED"


def test_kept_table_equals_the_built_one_and_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    built = tables(tmp_path).get("pe5", 120).values
    (kept,) = (tmp_path / "nulls").iterdir()
    sound = kept.read_bytes()
    assert np.array_equal(tables(tmp_path).get("pe5", 120).values, built)
    for damage in (b"", sound[:100], sound[:-8]):
        kept.write_bytes(damage)
        assert np.array_equal(tables(tmp_path).get("pe5", 120).values, built)
        assert kept.read_bytes() == sound
