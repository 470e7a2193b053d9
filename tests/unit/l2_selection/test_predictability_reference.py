"""Predictability kernels against slow definitions written from the formulas alone."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from quantctl.steps.l2_selection.predictability import (
    haar_turbulence,
    hurst,
    permutation_entropy,
    rolling_entropy,
    rolling_hurst,
    rolling_turbulence,
)

Floats = NDArray[np.float64]
RNG = np.random.default_rng(8)
SERIES = {
    "noise": RNG.standard_normal(200) * 0.02,
    "ticks": np.round(RNG.standard_normal(200), 1),
    "halt": np.concatenate([RNG.standard_normal(60), np.zeros(70), RNG.standard_normal(70)]),
    "heavy": RNG.standard_t(2, 200) * 1e-6,
    "drift": RNG.standard_normal(200) * 1e-3 + 0.5,
}


def slow_entropy(x: Floats, d: int) -> float:
    """Ranks of every run of d values, ties in order of appearance."""
    seen = Counter(tuple(sorted(range(d), key=lambda j: (x[i + j], j))) for i in range(len(x) - d + 1))
    total = sum(seen.values())
    return -sum(n / total * math.log(n / total) for n in seen.values()) / math.log(math.factorial(d))


def slow_hurst(x: Floats) -> float:
    """Slope of ln mean(R/S) on ln lag over lags 8, 16, ... up to n/2, in [0, 1]."""
    points = []
    lag = 8
    while lag <= len(x) // 2:
        ratios = []
        for start in range(0, len(x) - lag + 1, lag):
            part = x[start : start + lag]
            if part.max() > part.min():
                path = np.cumsum(part - part.mean())
                ratios.append((path.max() - path.min()) / part.std())
        if ratios:
            points.append((math.log(lag), math.log(float(np.mean(ratios)))))
        lag *= 2
    if len(points) < 2:
        return math.nan
    return float(np.clip(np.polyfit(*zip(*points, strict=True), 1)[0], 0, 1))


def slow_turbulence(x: Floats) -> float:
    """Energy outside the means of eight blocks of eight."""
    part = x[-64:]
    energy = float((part * part).sum())
    return 1 - sum(part[i : i + 8].sum() ** 2 / 8 for i in range(0, 64, 8)) / energy if energy else 0.5


@pytest.mark.parametrize("name", SERIES)
@pytest.mark.parametrize("d", [3, 5])
def test_entropy_of_every_window_equals_the_slow_form(name: str, d: int) -> None:
    x = SERIES[name]
    found = rolling_entropy(np.stack([x, x[::-1]]), 120, d, 60)
    assert np.isnan(found[:, :59]).all()
    for row, series in zip(found, (x, x[::-1]), strict=True):
        expected = [slow_entropy(series[max(0, t - 119) : t + 1], d) for t in range(59, 200)]
        assert np.allclose(row[59:], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", SERIES)
def test_hurst_of_every_window_equals_the_slow_form(name: str) -> None:
    x = SERIES[name]
    found = rolling_hurst(np.stack([x, x[::-1]]), 120, 60)
    for row, series in zip(found, (x, x[::-1]), strict=True):
        expected = [slow_hurst(series[max(0, t - 119) : t + 1]) for t in range(59, 200)]
        assert np.allclose(row[59:], expected, rtol=0, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("name", SERIES)
def test_turbulence_of_every_window_equals_the_slow_form(name: str) -> None:
    x = SERIES[name]
    expected = [slow_turbulence(x[: t + 1]) for t in range(63, 200)]
    assert np.allclose(rolling_turbulence(x[None])[0, 63:], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rows", [32, 63, 64, 129, 700])
def test_one_series_of_any_length_equals_the_slow_form(rows: int) -> None:
    x = np.random.default_rng(rows).standard_normal(rows)
    assert hurst(x) == pytest.approx(slow_hurst(x), abs=1e-9)
    assert permutation_entropy(x, 5) == pytest.approx(slow_entropy(x, 5), abs=1e-9)
    if rows >= 64:
        assert haar_turbulence(x) == pytest.approx(slow_turbulence(x), abs=1e-12)


def test_patterns_that_hold_a_missing_value_are_skipped() -> None:
    x = SERIES["noise"].copy()
    x[150] = np.nan
    kept = Counter(
        tuple(np.argsort(x[i : i + 5], kind="stable"))
        for i in range(80, 196)
        if not 146 <= i <= 150
    )  # fmt: skip
    total = sum(kept.values())
    expected = -sum(n / total * math.log(n / total) for n in kept.values()) / math.log(120)
    assert rolling_entropy(x[None], 120, 5, 60)[0, -1] == pytest.approx(expected, abs=1e-9)
