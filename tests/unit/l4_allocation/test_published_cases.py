"""Reference cases with a source, through `quantctl.allocation` alone, on daily and on annual units.

Other files hold those of equal risk, expected shortfall, hierarchies and shrinkage estimators.
"""

from __future__ import annotations

import numpy as np
import pytest

from quantctl.allocation import (
    Group,
    Problem,
    equal_risk,
    max_diversification,
    max_sharpe,
    mean_variance,
    min_variance,
    risk_budget,
)

DAYS = 252.0
UNITS = pytest.mark.parametrize("per", [1.0, 1 / DAYS, 1 / 365.0], ids=["annual", "daily", "daily-crypto"])


def covariance(vol, corr) -> np.ndarray:
    vol = np.asarray(vol, dtype=float)
    return np.asarray(corr, dtype=float) * np.outer(vol, vol)


def equal_correlation(size: int, rho: float) -> np.ndarray:
    return np.full((size, size), rho) + (1.0 - rho) * np.eye(size)


# He & Litterman 1999, The intuition behind Black-Litterman model portfolios, tables 1 and 2.
COUNTRIES = ("Australia", "Canada", "France", "Germany", "Japan", "UK", "USA")
COUNTRY_VOL = np.array([16.0, 20.3, 24.8, 27.1, 21.0, 20.0, 18.7]) / 100
COUNTRY_CORR = np.array([
    [1.000, 0.488, 0.478, 0.515, 0.439, 0.512, 0.491],
    [0.488, 1.000, 0.664, 0.655, 0.310, 0.608, 0.779],
    [0.478, 0.664, 1.000, 0.861, 0.355, 0.783, 0.668],
    [0.515, 0.655, 0.861, 1.000, 0.354, 0.777, 0.653],
    [0.439, 0.310, 0.355, 0.354, 1.000, 0.405, 0.306],
    [0.512, 0.608, 0.783, 0.777, 0.405, 1.000, 0.652],
    [0.491, 0.779, 0.668, 0.653, 0.306, 0.652, 1.000],
])  # fmt: skip
MARKET = np.array([1.6, 2.2, 5.2, 5.5, 11.6, 12.4, 61.5]) / 100
EQUILIBRIUM = np.array([3.9, 6.9, 8.4, 9.0, 4.3, 6.8, 7.6]) / 100
AVERSION = 2.5


@UNITS
def test_he_and_litterman_implied_returns_are_those_of_their_table_and_return_the_market(per):
    cov = covariance(COUNTRY_VOL, COUNTRY_CORR)
    implied = AVERSION * cov @ MARKET
    assert implied == pytest.approx(EQUILIBRIUM, abs=6e-4)
    problem = Problem(cov * per, mu=implied * per, names=COUNTRIES)
    assert max_sharpe(problem).weights == pytest.approx(MARKET, abs=1e-8)
    # An investor of the market's own risk aversion holds the market; MARKET sums to one.
    assert mean_variance(problem, AVERSION).weights == pytest.approx(MARKET, abs=1e-8)


@UNITS
@pytest.mark.parametrize("rho", [-0.9, -0.3, 0.0, 0.5, 0.95])
def test_two_assets_have_the_textbook_minimum_variance(per, rho):
    """Markowitz 1952: w₁ = (σ₂² − ρσ₁σ₂)/(σ₁² + σ₂² − 2ρσ₁σ₂), at a bound where that leaves [0, 1]."""
    one, two = 0.2, 0.3
    cov = covariance([one, two], equal_correlation(2, rho)) * per
    inner = (two**2 - rho * one * two) / (one**2 + two**2 - 2 * rho * one * two)
    expected = min(max(inner, 0.0), 1.0)
    assert min_variance(Problem(cov)).weights == pytest.approx([expected, 1 - expected], abs=1e-10)


@UNITS
@pytest.mark.parametrize("rho", [-0.9, 0.0, 0.8])
def test_two_assets_share_risk_as_inverse_volatilities_whatever_their_correlation(per, rho):
    """Maillard, Roncalli & Teïletche 2010, section 2.3."""
    cov = covariance([0.2, 0.3], equal_correlation(2, rho)) * per
    assert equal_risk(Problem(cov)).weights == pytest.approx([0.6, 0.4], abs=1e-12)


@UNITS
@pytest.mark.parametrize("budget", [0.1, 0.5, 0.7])
def test_two_assets_with_budgets_have_the_closed_form_of_bruder_and_roncalli(per, budget):
    """Bruder & Roncalli 2012, Managing risk exposures using the risk budgeting approach, section 2.2."""
    one, two, rho = 0.2, 0.3, 0.4
    cov = covariance([one, two], equal_correlation(2, rho)) * per
    root = np.sqrt((budget - 0.5) ** 2 * rho**2 + budget * (1 - budget))
    first = ((budget - 0.5) * rho * one * two - budget * two**2 + one * two * root) / (
        (1 - budget) * one**2 - budget * two**2 + 2 * (budget - 0.5) * rho * one * two
    )
    weights = risk_budget(Problem(cov), np.array([budget, 1 - budget])).weights
    assert weights == pytest.approx([first, 1 - first], abs=1e-9)


@UNITS
def test_uncorrelated_assets_have_inverse_variances_volatilities_and_sharpe_over_volatility(per):
    vol, mu = np.array([0.1, 0.2, 0.4, 0.5]), np.array([0.02, 0.05, 0.03, 0.10])
    problem = Problem(np.diag(vol**2) * per, mu=mu * per)
    shares = {
        min_variance: vol**-2, equal_risk: 1 / vol, max_sharpe: mu / vol**2, max_diversification: 1 / vol,
    }  # fmt: skip
    for kernel, share in shares.items():
        assert kernel(problem).weights == pytest.approx(share / share.sum(), abs=1e-10), kernel.__name__


@UNITS
@pytest.mark.parametrize("rho", [-0.2, 0.3, 0.7])
def test_equal_correlation_makes_equal_risk_and_most_diversified_the_same_portfolio(per, rho):
    """Maillard et al. 2010 section 2.3; Choueifaty, Froidure & Reynier 2013, Properties of the MDP."""
    vol = np.array([0.1, 0.2, 0.3, 0.4, 0.15])
    problem = Problem(covariance(vol, equal_correlation(5, rho)) * per)
    expected = (1 / vol) / (1 / vol).sum()
    assert equal_risk(problem).weights == pytest.approx(expected, abs=1e-10)
    assert max_diversification(problem).weights == pytest.approx(expected, abs=1e-10)


@UNITS
def test_the_minimum_variance_of_equal_correlation_and_volatility_is_one_over_n(per):
    problem = Problem(covariance(np.full(7, 0.2), equal_correlation(7, 0.4)) * per)
    for kernel in (min_variance, equal_risk, max_diversification):
        assert kernel(problem).weights == pytest.approx(np.full(7, 1 / 7), abs=1e-10)


@UNITS
def test_the_most_diversified_portfolio_is_the_minimum_variance_of_the_correlations_rescaled(per):
    """Choueifaty & Coignard 2008, Toward maximum diversification: w ∝ D⁻¹ C⁻¹ 1 where that is positive."""
    corr = np.array([[1.0, 0.6, 0.2], [0.6, 1.0, 0.3], [0.2, 0.3, 1.0]])
    vol = np.array([0.1, 0.25, 0.3])
    share = np.linalg.solve(corr, np.ones(3)) / vol
    assert (share > 0).all()
    weights = max_diversification(Problem(covariance(vol, corr) * per)).weights
    assert weights == pytest.approx(share / share.sum(), abs=1e-10)


@UNITS
def test_duplicating_an_asset_leaves_the_most_diversified_portfolio_unchanged(per):
    """Choueifaty, Froidure & Reynier 2013: duplication invariance. The copy is made singular by a hair."""
    corr = np.array([[1.0, 0.3, 0.3], [0.3, 1.0, 1.0 - 1e-9], [0.3, 1.0 - 1e-9, 1.0]])
    vol = np.array([0.2, 0.3, 0.3])
    alone = max_diversification(Problem(covariance(vol[:2], corr[:2, :2]) * per)).weights
    copied = max_diversification(Problem(covariance(vol, corr) * per)).weights
    assert [copied[0], copied[1:].sum()] == pytest.approx(alone, abs=1e-6)


@UNITS
def test_the_tangency_portfolio_is_proportional_to_the_solved_excess(per):
    """Merton 1972: w ∝ Σ⁻¹(μ − rf 1)."""
    cov = covariance([0.15, 0.2, 0.25], [[1, 0.2, 0.1], [0.2, 1, 0.3], [0.1, 0.3, 1]])
    mu, rate = np.array([0.07, 0.09, 0.12]), 0.02
    share = np.linalg.solve(cov, mu - rate)
    assert (share > 0).all()
    result = max_sharpe(Problem(cov * per, mu=mu * per, risk_free=rate * per))
    assert result.weights == pytest.approx(share / share.sum(), abs=1e-10)
    assert result.objective == pytest.approx(np.sqrt((mu - rate) @ share) * np.sqrt(per), rel=1e-10)


@UNITS
@pytest.mark.parametrize("aversion", [3.0, 10.0, 40.0])
def test_mean_variance_has_the_two_funds_of_its_equations(per, aversion):
    """w = Σ⁻¹(μ − ν1)/g with 1'w = 1 (Merton 1972), scaled alike in risk and return."""
    cov = covariance([0.15, 0.2, 0.25], [[1, 0.2, 0.1], [0.2, 1, 0.3], [0.1, 0.3, 1]])
    mu = np.array([0.07, 0.09, 0.12])
    inverse = np.linalg.inv(cov)
    level = (inverse.sum(axis=1) @ mu - aversion) / inverse.sum()
    expected = inverse @ (mu - level) / aversion
    assert (expected > 0).all()
    weights = mean_variance(Problem(cov * per, mu=mu * per), aversion).weights
    assert weights == pytest.approx(expected, abs=1e-9)


@UNITS
@pytest.mark.parametrize("tolerance", [0.0, 0.1, 0.15])
def test_two_assets_with_a_beta_row_sit_on_it(per, tolerance):
    """β₁w + β₂(1 − w) = τ gives w = (τ − β₂)/(β₁ − β₂) where the free minimum lies above the row."""
    beta = np.array([1.2, -0.3])
    cov = covariance([0.2, 0.6], equal_correlation(2, 0.1)) * per
    first = (tolerance - beta[1]) / (beta[0] - beta[1])
    assert min_variance(Problem(cov)).weights[0] > first
    problem = Problem(cov, beta=beta, beta_tol=tolerance)
    assert min_variance(problem).weights == pytest.approx([first, 1 - first], abs=1e-9)


@UNITS
def test_a_group_that_binds_splits_as_its_members_would_alone(per):
    """Two uncorrelated groups with fixed sums: each is the minimum variance of its own, scaled by its sum."""
    variances = np.array([0.01, 0.04, 0.01, 0.09])
    members = np.array([True, True, False, False])
    problem = Problem(np.diag(variances) * per, groups=(Group("g", members, None, 0.2),))
    first, second = 1 / variances[:2], 1 / variances[2:]
    expected = np.concatenate([0.2 * first / first.sum(), 0.8 * second / second.sum()])
    assert min_variance(problem).weights == pytest.approx(expected, abs=1e-10)


@UNITS
def test_risks_are_ordered_as_maillard_roncalli_and_teiletche_prove(per):
    """Section 2.4: σ of minimum variance ≤ σ of equal risk ≤ σ of equal weights."""
    cov = covariance(COUNTRY_VOL, COUNTRY_CORR) * per
    risk = [w @ cov @ w for w in (
        min_variance(Problem(cov)).weights, equal_risk(Problem(cov)).weights, np.full(7, 1 / 7),
    )]  # fmt: skip
    assert risk[0] < risk[1] < risk[2]
