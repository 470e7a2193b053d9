"""Hierarchical profiles against independent implementations, where the definitions agree."""

from __future__ import annotations

import numpy as np
import pytest

from quantctl.allocation import Problem, herc, hrp
from quantctl.contracts.settings.allocation import HrpSettings

pytestmark = pytest.mark.filterwarnings("ignore")

LINKAGES = ["single", "ward", "average", "complete"]


def returns(size: int = 20, bars: int = 300, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((bars, 4)) @ rng.normal(0.0, 0.7, (4, size))
    return (factors + rng.standard_normal((bars, size))) * rng.uniform(0.005, 0.03, size)


def sample_covariance(values: np.ndarray) -> np.ndarray:
    cov = np.cov(values.T)
    return (cov + cov.T) / 2


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("size", [4, 20, 90])
def test_herc_agrees_with_skfolio(linkage, size):
    """The same gap rule and tree for N ≥ 4; for three atoms skfolio makes two clusters, the rule here three.

    riskfolio-lib's HERC is another definition and is not compared.
    """
    optimization = pytest.importorskip("skfolio.optimization")
    cluster = pytest.importorskip("skfolio.cluster")
    values = returns(size)
    tree = cluster.HierarchicalClustering(linkage_method=getattr(cluster.LinkageMethod, linkage.upper()))
    peer = optimization.HierarchicalEqualRiskContribution(hierarchical_clustering_estimator=tree).fit(values)
    ours = herc(Problem(sample_covariance(values)), HrpSettings(linkage=linkage))
    assert ours.notes["k"] == peer.hierarchical_clustering_estimator_.n_clusters_
    assert ours.weights == pytest.approx(peer.weights_, abs=1e-10)


@pytest.mark.parametrize("linkage", LINKAGES)
def test_hrp_agrees_with_pyportfolioopt(linkage):
    """It uses the direct distance, the order of the dendrogram and variances."""
    hierarchical = pytest.importorskip("pypfopt.hierarchical_portfolio")
    frames = pytest.importorskip("pandas")
    values = returns()
    cov = sample_covariance(values)
    weights = hierarchical.HRPOpt(cov_matrix=frames.DataFrame(cov)).optimize(linkage_method=linkage)
    theirs = np.array([weights[i] for i in range(len(cov))])
    assert hrp(Problem(cov), HrpSettings(linkage=linkage)).weights == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("linkage", LINKAGES)
def test_hrp_agrees_with_riskfolio(linkage):
    """It orders the leaves optimally and splits by variance."""
    riskfolio = pytest.importorskip("riskfolio")
    frames = pytest.importorskip("pandas")
    values = returns()
    portfolio = riskfolio.HCPortfolio(returns=frames.DataFrame(values))
    theirs = portfolio.optimization(
        model="HRP", codependence="pearson", rm="MV", linkage=linkage, leaf_order=True
    )
    options = HrpSettings(linkage=linkage, leaf_order="optimal")
    ours = hrp(Problem(sample_covariance(values)), options).weights
    assert ours == pytest.approx(theirs["weights"].to_numpy(), abs=1e-8)
