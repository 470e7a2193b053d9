"""Kernels against independent implementations, at those implementations' accuracy."""

from __future__ import annotations

import numpy as np
import pytest

from quantctl.allocation import Problem, equal_risk, estimate_covariance, hrp, min_variance
from quantctl.contracts.settings.allocation import HrpSettings


def returns(size: int = 12, bars: int = 250, seed: int = 7) -> np.ndarray:
    rng = np.random.default_rng(seed)
    market = rng.standard_normal((bars, 1)) * 0.01
    return market + rng.standard_normal((bars, size)) * rng.uniform(0.5, 2.0, size) * 0.02


@pytest.mark.parametrize(("method", "peer"), [("ledoit_wolf", "LedoitWolf"), ("oas", "OAS")])
@pytest.mark.parametrize("bars", [30, 250])
def test_shrinkage_agrees_with_scikit_learn(method, peer, bars):
    estimators = pytest.importorskip("sklearn.covariance")
    sample = returns(bars=bars)
    expected = getattr(estimators, peer)().fit(sample)
    estimate = estimate_covariance(sample, method)
    assert estimate.intensity == pytest.approx(expected.shrinkage_, rel=1e-9)
    assert estimate.cov == pytest.approx(expected.covariance_, rel=1e-9, abs=1e-16)


def test_risk_budgeting_agrees_with_skfolio():
    optimization = pytest.importorskip("skfolio.optimization")
    sample = returns()
    cov = np.cov(sample.T)
    theirs = optimization.RiskBudgeting().fit(sample).weights_
    assert equal_risk(Problem((cov + cov.T) / 2)).weights == pytest.approx(theirs, abs=2e-4)


def test_hierarchical_risk_parity_agrees_with_skfolio():
    optimization = pytest.importorskip("skfolio.optimization")
    cluster = pytest.importorskip("skfolio.cluster")
    sample = returns()
    cov = np.cov(sample.T)
    for method in ("SINGLE", "WARD", "AVERAGE"):
        tree = cluster.HierarchicalClustering(linkage_method=getattr(cluster.LinkageMethod, method))
        theirs = optimization.HierarchicalRiskParity(hierarchical_clustering_estimator=tree).fit(sample)
        options = HrpSettings(linkage=method.lower(), leaf_order="optimal")
        ours = hrp(Problem((cov + cov.T) / 2), options).weights
        assert ours == pytest.approx(theirs.weights_, abs=1e-8)


def test_minimum_variance_agrees_with_skfolio():
    optimization = pytest.importorskip("skfolio.optimization")
    sample = returns()
    cov = np.cov(sample.T)
    theirs = optimization.MeanRisk().fit(sample).weights_
    assert min_variance(Problem((cov + cov.T) / 2)).weights == pytest.approx(theirs, abs=1e-4)
