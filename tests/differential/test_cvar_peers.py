"""Minimum expected shortfall against other libraries, at their solvers' accuracy."""

from __future__ import annotations

import numpy as np
import pytest

from quantctl.allocation import Problem, min_cvar


def scenarios(size: int, bars: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    market = rng.standard_t(4, (bars, 1)) * 0.01
    return market + rng.standard_t(4, (bars, size)) * rng.uniform(0.5, 2.0, size) * 0.01 + 0.0005


def average_of_worst(returns: np.ndarray, weights: np.ndarray, count: int) -> float:
    return float(np.sort(-(returns @ weights))[-count:].mean())


@pytest.fixture(scope="module")
def returns() -> np.ndarray:
    return scenarios(12, 400, 5)


def test_the_shortfall_agrees_with_skfolio(returns):
    skfolio = pytest.importorskip("skfolio")
    optimization = pytest.importorskip("skfolio.optimization")
    theirs = optimization.MeanRisk(
        risk_measure=skfolio.RiskMeasure.CVAR, cvar_beta=0.95, max_weights=0.2
    ).fit(returns).weights_  # fmt: skip
    result = min_cvar(Problem(np.eye(12), upper=np.full(12, 0.2)), returns)
    assert result.weights == pytest.approx(theirs, abs=1e-4)
    assert result.objective <= average_of_worst(returns, theirs, 20) + 1e-12


def test_the_shortfall_agrees_with_riskfolio(returns):
    riskfolio = pytest.importorskip("riskfolio")
    pandas = pytest.importorskip("pandas")
    portfolio = riskfolio.Portfolio(returns=pandas.DataFrame(returns), alpha=0.05, upperlng=0.2)
    portfolio.assets_stats(method_mu="hist", method_cov="hist")
    portfolio.solvers = ["CLARABEL"]
    theirs = portfolio.optimization(model="Classic", rm="CVaR", obj="MinRisk", hist=True)
    weights = theirs["weights"].to_numpy()
    result = min_cvar(Problem(np.eye(12), upper=np.full(12, 0.2)), returns)
    assert result.weights == pytest.approx(weights, abs=1e-4)
    assert result.objective <= average_of_worst(returns, weights / weights.sum(), 20) + 1e-10


def test_the_shortfall_agrees_with_pyportfolioopt(returns):
    frontier = pytest.importorskip("pypfopt.efficient_frontier")
    ours = min_cvar(Problem(np.eye(12), upper=np.full(12, 0.2)), returns)
    peer = frontier.EfficientCVaR(returns.mean(axis=0), returns, beta=0.95, weight_bounds=(0, 0.2))
    weights = np.array(list(peer.min_cvar().values()))
    assert ours.weights == pytest.approx(weights, abs=1e-4)
