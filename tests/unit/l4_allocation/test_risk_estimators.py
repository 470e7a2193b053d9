"""Shrinkage and conditioning: published definitions, written out literally, and what each promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantctl.allocation import condition_correlation, estimate_covariance
from quantctl.contracts.errors import ContractError
from quantctl.steps.l4_allocation.kernels.conditioning import extreme_eigenvalues

LIMIT = 5000.0


def streams(bars: int, size: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    market = rng.standard_t(5, (bars, 1)) * 0.01
    return market + rng.standard_t(5, (bars, size)) * np.exp(rng.normal(-4, 0.5, size))


def ledoit_wolf_2004(returns):
    """Ledoit & Wolf 2004, section 3.2: m, d², b̄², b² with the norm ‖A‖² = tr AA'/N, one bar at a time."""
    centred = returns - returns.mean(axis=0)
    bars, size = centred.shape
    sample = centred.T @ centred / bars
    m = np.trace(sample) / size
    d2 = np.sum((sample - m * np.eye(size)) ** 2) / size
    b2_bar = sum(np.sum((np.outer(x, x) - sample) ** 2) / size for x in centred) / bars**2
    b2 = min(b2_bar, d2)
    return b2 / d2 * m * np.eye(size) + (d2 - b2) / d2 * sample


def oas_2010(returns):
    """Chen, Wiesel, Eldar & Hero 2010, equation 23, without its terms in 2/p, as scikit-learn has it."""
    centred = returns - returns.mean(axis=0)
    bars, size = centred.shape
    sample = centred.T @ centred / bars
    m = np.trace(sample) / size
    mean_square = np.mean(sample**2)
    rho = min(1.0, (mean_square + m**2) / ((bars + 1) * (mean_square - m**2 / size)))
    return (1 - rho) * sample + rho * m * np.eye(size)


@pytest.mark.parametrize(("method", "paper"), [("ledoit_wolf", ledoit_wolf_2004), ("oas", oas_2010)])
@pytest.mark.parametrize(("bars", "size"), [(250, 8), (30, 60), (2, 3)])
def test_shrinkage_is_that_of_its_paper(method, paper, bars, size):
    returns = streams(bars, size)
    expected = paper(returns)
    np.testing.assert_allclose(estimate_covariance(returns, method).cov, expected, rtol=1e-10, atol=1e-18)


@pytest.mark.parametrize("method", ["ledoit_wolf", "oas"])
def test_one_stream_keeps_its_variance(method):
    returns = streams(60, 1)
    assert estimate_covariance(returns, method).cov == pytest.approx(np.var(returns).reshape(1, 1), rel=1e-12)


@pytest.mark.parametrize("method", ["ledoit_wolf", "oas", "sample", "shrunk"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_estimate_is_symmetric_to_the_bit_and_leaves_its_argument_alone(method, order):
    returns = np.array(streams(120, 33), order=order)
    before = returns.copy()
    estimate = estimate_covariance(returns, method)
    np.testing.assert_array_equal(estimate.cov, estimate.cov.T)
    np.testing.assert_array_equal(estimate.corr, estimate.corr.T)
    np.testing.assert_array_equal(returns, before)
    np.testing.assert_allclose(estimate.corr * np.outer(estimate.vol, estimate.vol), estimate.cov, rtol=1e-13)


@pytest.mark.parametrize("method", ["ledoit_wolf", "oas", "sample"])
def test_returns_in_other_units_scale_the_covariance_and_nothing_else(method):
    returns = streams(90, 12)
    one, other = estimate_covariance(returns, method), estimate_covariance(returns * 1e4, method)
    np.testing.assert_allclose(other.cov, one.cov * 1e8, rtol=1e-11)
    np.testing.assert_allclose(other.corr, one.corr, rtol=1e-11, atol=1e-14)
    assert other.intensity == pytest.approx(one.intensity, rel=1e-11)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("method", ["ledoit_wolf", "sample", "shrunk"])
def test_a_value_that_is_not_finite_is_refused_by_name(method, value):
    returns = streams(50, 4)
    returns[17, 2] = value
    with np.errstate(invalid="ignore"), pytest.raises(ContractError) as caught:
        estimate_covariance(returns, method)
    assert caught.value.code == "NONFINITE_INPUT"


def test_a_constant_stream_is_degenerate_though_its_mean_is_rounded():
    returns = streams(301, 3)
    returns[:, 1] = 0.1
    with pytest.raises(ContractError) as caught:
        estimate_covariance(returns, "sample")
    assert caught.value.code == "DEGENERATE_INPUT"


def correlations():
    """Correlations of every condition: factor streams, T < N, duplicates, opposites, near-duplicates."""
    yield "factor", estimate_covariance(streams(300, 40), "ledoit_wolf").corr
    yield "T < N", estimate_covariance(streams(30, 80), "sample").corr
    returns = streams(60, 6)
    copied = np.column_stack([returns, returns[:, 0], -returns[:, 1], returns[:, 2] + 1e-9 * returns[:, 3]])
    yield "copies", estimate_covariance(copied, "sample").corr
    yield "all one", np.ones((7, 7))
    yield "opposite", np.array([[1.0, -1.0], [-1.0, 1.0]])
    yield "identity", np.eye(5)
    yield "one atom", np.eye(1)
    yield "wide", estimate_covariance(streams(40, 260), "sample").corr


CORRELATIONS = list(correlations())


@pytest.mark.parametrize(("name", "corr"), CORRELATIONS, ids=[name for name, _ in CORRELATIONS])
@pytest.mark.parametrize("limit", [5000.0, 50.0])
def test_kappa_stays_below_its_limit_with_the_least_intensity_and_variances_stay(name, corr, limit):
    before = corr.copy()
    result = condition_correlation(corr, limit)
    np.testing.assert_array_equal(corr, before)
    np.testing.assert_array_equal(np.diag(result.corr), np.ones(len(corr)))
    np.testing.assert_array_equal(result.corr, result.corr.T)
    assert np.linalg.cond(result.corr) < limit and result.kappa_after < limit
    most = len(corr) / (len(corr) + limit * (1.0 - 1e-9) - 1.0)
    assert 0.0 <= result.intensity <= most * (1.0 + 1e-12)
    if result.intensity > 0.0:
        less = result.intensity * (1.0 - 1e-6)
        assert np.linalg.cond((1.0 - less) * corr + less * np.eye(len(corr))) > limit
    else:
        np.testing.assert_array_equal(result.corr, corr)


@given(seed=st.integers(0, 10**6), size=st.integers(2, 70), spread=st.floats(0.0, 12.0))
@settings(max_examples=60, deadline=None)
def test_the_extreme_eigenvalues_are_those_of_the_full_decomposition(seed, size, spread):
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((size, size)))
    values = np.sort(10.0 ** rng.uniform(-spread, 0.0, size))
    matrix = (basis * values) @ basis.T
    least, largest = extreme_eigenvalues((matrix + matrix.T) / 2.0)
    assert least == pytest.approx(values[0], abs=1e-14 * size)
    assert largest == pytest.approx(values[-1], abs=1e-14 * size)


def test_the_floor_is_applied_where_it_is_more_than_needed():
    result = condition_correlation(np.eye(4) * 0.5 + 0.5, LIMIT, floor=0.01)
    assert result.intensity == 0.01
    np.testing.assert_allclose(result.corr[0, 1], 0.495)
    assert result.kappa_after == pytest.approx(np.linalg.cond(result.corr), rel=1e-12)
    assert result.kappa_before == pytest.approx(5.0, rel=1e-12)


def test_the_same_correlation_has_the_same_bits_every_time():
    corr = CORRELATIONS[1][1]
    first, second = condition_correlation(corr, LIMIT), condition_correlation(np.asfortranarray(corr), LIMIT)
    assert first[1:] == second[1:]
    np.testing.assert_array_equal(first.corr, second.corr)
