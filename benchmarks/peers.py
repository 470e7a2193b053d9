"""The same allocations asked of skfolio, riskfolio-lib and PyPortfolioOpt.

Every function prepares a call outside the clock: objects and frames are built, constraints attached. What
is timed is the library's own fit. Settings are the documented ones that serve the peer best and stand in
the output: Clarabel, our Σ and μ handed over instead of estimated, cheap leaf order and no
stored precision where the library offers the choice. PyPortfolioOpt keeps its default solver.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from allocation_data import Array, Case

Call = Callable[[], Array]
Prepare = Callable[[Case], Call]

LIBRARIES = {"skfolio": "skfolio", "riskfolio": "riskfolio-lib", "pypfopt": "PyPortfolioOpt"}
SETTINGS = {
    "skfolio": "prior: our Σ, μ; CLARABEL with its own tolerances; rows as left_inequality",
    "riskfolio": "mu, cov assigned; solvers CLARABEL, then SCS where it fails; rows as ainequality",
    "pypfopt": "our Σ, μ; its default solver; rows by add_constraint",
}
MVO_AVERSION, MVO_RIDGE, MVO_TURNOVER = 5.0, 0.05, 0.001
CVAR_LEVEL = 0.95


def installed(library: str) -> str | None:
    """Version of a peer, or null."""
    try:
        return version(LIBRARIES[library])
    except PackageNotFoundError:
        return None


# skfolio


def _given(case: Case) -> Any:
    """A prior that hands over our Σ and μ; the class is made here because its base is the peer's."""
    from skfolio.prior import BasePrior, ReturnDistribution

    class Given(BasePrior):
        """Our estimates."""

        def __init__(self, mu: Any = None, covariance: Any = None) -> None:
            self.mu, self.covariance = mu, covariance

        def fit(self, X: Any, y: Any = None, **_: Any) -> Any:  # noqa: ARG002
            self.return_distribution_ = ReturnDistribution(self.mu, self.covariance, X)
            return self

    return Given(case.mu, case.cov)


def _bounded(case: Case) -> dict[str, Any]:
    matrix, limit = case.rows
    return {
        "prior_estimator": _given(case), "max_weights": case.cap, "left_inequality": matrix,
        "right_inequality": limit,
    }  # fmt: skip


def _fit(model: Any, returns: Array) -> Call:
    return lambda: np.asarray(model.fit(returns).weights_)


def skfolio_mean_risk(objective: str, **more: Any) -> Prepare:
    """MeanRisk with one of its objectives."""

    def prepare(case: Case) -> Call:
        from skfolio.optimization import MeanRisk, ObjectiveFunction

        model = MeanRisk(ObjectiveFunction[objective], **_bounded(case), **more)
        return _fit(model, case.returns)

    return prepare


def skfolio_mvo(case: Case) -> Call:
    """MeanRisk, utility; its risk aversion is ours halved."""
    from skfolio.optimization import MeanRisk, ObjectiveFunction

    model = MeanRisk(
        ObjectiveFunction.MAXIMIZE_UTILITY, risk_aversion=MVO_AVERSION / 2, previous_weights=case.previous,
        transaction_costs=MVO_TURNOVER, l2_coef=MVO_RIDGE * case.mean_variance, **_bounded(case),
    )  # fmt: skip
    return _fit(model, case.returns)


def skfolio_cvar(case: Case) -> Call:
    """MeanRisk, minimum CVaR of the scenarios."""
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk

    bounded = {k: v for k, v in _bounded(case).items() if k != "prior_estimator"}
    return _fit(MeanRisk(risk_measure=RiskMeasure.CVAR, cvar_beta=CVAR_LEVEL, **bounded), case.returns)


def skfolio_erc(case: Case) -> Call:
    """RiskBudgeting with equal budgets."""
    from skfolio.optimization import RiskBudgeting

    return _fit(RiskBudgeting(**_bounded(case)), case.returns)


def skfolio_max_diversification(case: Case) -> Call:
    """MaximumDiversification."""
    from skfolio.optimization import MaximumDiversification

    return _fit(MaximumDiversification(**_bounded(case)), case.returns)


def _shrunk_prior() -> Any:
    from skfolio.moments import LedoitWolf
    from skfolio.prior import EmpiricalPrior

    return EmpiricalPrior(covariance_estimator=LedoitWolf(store_precision=False))


def skfolio_hierarchical(model: str, linkage: str) -> Prepare:
    """HierarchicalRiskParity or HierarchicalEqualRiskContribution, from returns."""

    def prepare(case: Case) -> Call:
        from skfolio import optimization
        from skfolio.cluster import HierarchicalClustering, LinkageMethod

        tree = HierarchicalClustering(linkage_method=LinkageMethod[linkage.upper()])
        made = getattr(optimization, model)(
            prior_estimator=_shrunk_prior(), hierarchical_clustering_estimator=tree
        )
        return _fit(made, case.returns)

    return prepare


def skfolio_given_hrp(case: Case) -> Call:
    """HierarchicalRiskParity on a given estimate, ward."""
    from skfolio.cluster import HierarchicalClustering, LinkageMethod
    from skfolio.optimization import HierarchicalRiskParity

    tree = HierarchicalClustering(linkage_method=LinkageMethod.WARD)
    model = HierarchicalRiskParity(prior_estimator=_given(case), hierarchical_clustering_estimator=tree)
    return _fit(model, case.returns)


def skfolio_covariance(method: str) -> Prepare:
    """LedoitWolf or OAS without stored precision and without the search for a nearest matrix."""

    def prepare(case: Case) -> Call:
        from skfolio import moments

        name = {"ledoit_wolf": "LedoitWolf", "oas": "OAS"}[method]
        model = getattr(moments, name)(store_precision=False, nearest=False)
        return lambda: np.asarray(model.fit(case.returns).covariance_)

    return prepare


# riskfolio-lib


def _frame(values: Array) -> Any:
    import pandas as pd  # noqa: TID251  the peer takes nothing else

    return pd.DataFrame(values, columns=[f"s{i:04d}" for i in range(values.shape[1])])


def _portfolio(case: Case) -> Any:
    import riskfolio as rp

    matrix, limit = case.rows
    names = _frame(case.returns).columns
    portfolio = rp.Portfolio(returns=_frame(case.returns), alpha=1.0 - CVAR_LEVEL)
    portfolio.mu = _frame(case.mu[None, :])
    portfolio.cov = _frame(case.cov).set_axis(names, axis=0)
    portfolio.upperlng = case.cap
    portfolio.ainequality, portfolio.binequality = matrix, limit[:, None]
    portfolio.solvers = ["CLARABEL", "SCS"]
    return portfolio


def riskfolio_classic(objective: str, risk: str = "MV") -> Prepare:
    """Portfolio.optimization: MinRisk or Sharpe."""

    def prepare(case: Case) -> Call:
        portfolio = _portfolio(case)
        # `hist` lets a scenario risk read the returns; Σ and μ are the assigned ones either way.
        return lambda: _column(
            portfolio.optimization(model="Classic", rm=risk, obj=objective, rf=0, hist=True)
        )

    return prepare


def riskfolio_erc(case: Case) -> Call:
    """Portfolio.rp_optimization with equal budgets; its caps are rows."""
    portfolio = _portfolio(case)
    matrix, limit = case.rows
    eye = np.eye(case.size)
    portfolio.ainequality = np.vstack([matrix, eye])
    portfolio.binequality = np.concatenate([limit, np.full(case.size, case.cap)])[:, None]
    return lambda: _column(portfolio.rp_optimization(model="Classic", rm="MV", rf=0, b=None, hist=True))


def riskfolio_hierarchical(model: str, linkage: str) -> Prepare:
    """HCPortfolio, from returns, with the order of the dendrogram."""

    def prepare(case: Case) -> Call:
        import riskfolio as rp

        portfolio = rp.HCPortfolio(returns=_frame(case.returns))
        return lambda: _column(portfolio.optimization(
            model=model, codependence="pearson", rm="MV", rf=0, method_cov="ledoit", linkage=linkage,
            leaf_order=False,
        ))  # fmt: skip

    return prepare


def riskfolio_covariance(method: str) -> Prepare:
    """ParamsEstimation.covar_matrix."""

    def prepare(case: Case) -> Call:
        from riskfolio import ParamsEstimation

        frame = _frame(case.returns)
        name = {"ledoit_wolf": "ledoit", "oas": "oas"}[method]
        return lambda: np.asarray(ParamsEstimation.covar_matrix(frame, method=name))

    return prepare


def _column(weights: Any) -> Array:
    if weights is None:
        raise RuntimeError("the peer found no solution")
    return np.asarray(weights)[:, 0]


# PyPortfolioOpt


def _frontier(case: Case) -> Any:
    from pypfopt import EfficientFrontier

    matrix, limit = case.rows
    frontier = EfficientFrontier(case.mu, case.cov, weight_bounds=(0.0, case.cap))
    frontier.add_constraint(lambda w: matrix @ w <= limit)
    return frontier


def _solved(optimiser: Any, method: str, **arguments: Any) -> Call:
    return lambda: np.array(list(getattr(optimiser, method)(**arguments).values()))


def pypfopt_min_variance(case: Case) -> Call:
    """EfficientFrontier.min_volatility."""
    return _solved(_frontier(case), "min_volatility")


def pypfopt_max_sharpe(case: Case) -> Call:
    """EfficientFrontier.max_sharpe."""
    return _solved(_frontier(case), "max_sharpe", risk_free_rate=0.0)


def pypfopt_mvo(case: Case) -> Call:
    """EfficientFrontier.max_quadratic_utility with L2 and transaction cost."""
    from pypfopt import objective_functions

    frontier = _frontier(case)
    frontier.add_objective(objective_functions.L2_reg, gamma=MVO_RIDGE * case.mean_variance)
    frontier.add_objective(objective_functions.transaction_cost, w_prev=case.previous, k=MVO_TURNOVER)
    return _solved(frontier, "max_quadratic_utility", risk_aversion=MVO_AVERSION)


def pypfopt_cvar(case: Case) -> Call:
    """EfficientCVaR.min_cvar."""
    from pypfopt import EfficientCVaR

    matrix, limit = case.rows
    optimiser = EfficientCVaR(case.mu, _frame(case.returns), beta=CVAR_LEVEL, weight_bounds=(0.0, case.cap))
    optimiser.add_constraint(lambda w: matrix @ w <= limit)
    return _solved(optimiser, "min_cvar")


def pypfopt_hrp(linkage: str) -> Prepare:
    """HRPOpt on its own Ledoit–Wolf estimate, from returns."""

    def prepare(case: Case) -> Call:
        from pypfopt import HRPOpt
        from pypfopt.risk_models import CovarianceShrinkage

        frame = _frame(case.returns)

        def call() -> Array:
            shrunk = CovarianceShrinkage(frame, returns_data=True, frequency=1).ledoit_wolf()
            weights = HRPOpt(cov_matrix=shrunk).optimize(linkage_method=linkage)
            return np.array([weights[name] for name in frame.columns])

        return call

    return prepare


def pypfopt_covariance(method: str) -> Prepare:
    """CovarianceShrinkage."""

    def prepare(case: Case) -> Call:
        from pypfopt.risk_models import CovarianceShrinkage

        frame = _frame(case.returns)
        name = {"ledoit_wolf": "ledoit_wolf", "oas": "oracle_approximating"}[method]
        return lambda: np.asarray(getattr(CovarianceShrinkage(frame, returns_data=True, frequency=1), name)())

    return prepare


def quiet() -> None:
    """Peers warn of what the output says better: deviations."""
    warnings.filterwarnings("ignore")
