"""Kernels against closed forms, published results and random feasible portfolios."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quantctl.allocation import (
    Group,
    Problem,
    check_kkt,
    cluster_groups,
    condition_correlation,
    effective_caps,
    equal_risk,
    estimate_covariance,
    explain_infeasibility,
    hrp,
    max_sharpe,
    min_variance,
    project_capped,
    risk_budget,
)
from quantctl.contracts.errors import ConfigError, ContractError
from quantctl.contracts.settings.allocation import HrpSettings
from quantctl.steps.l4_allocation.kernels.certificate import farkas_residual, inequalities
from quantctl.steps.l4_allocation.kernels.engine import NATIVE, reference_engine

ENGINES = {"native": NATIVE, "cvxpy": reference_engine()}


@pytest.fixture(params=ENGINES)
def engine(request):
    return ENGINES[request.param]


def random_cov(size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    returns = rng.standard_normal((3 * size + 20, size)) * rng.uniform(0.5, 2.0, size) * 0.02
    cov = np.cov((returns + 0.01 * rng.standard_normal((len(returns), 1))).T) * 365
    return (cov + cov.T) / 2


def capped(size: int, clusters: int, seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    labels = [str(1 + (i if i < clusters else int(rng.integers(clusters)))) for i in range(size)]
    caps = effective_caps(labels, 0.25, 0.25)
    mu = rng.normal(0.1, 0.3, size)
    groups = cluster_groups(labels, caps.cluster)
    return Problem(random_cov(size, seed), mu=mu, upper=np.minimum(caps.weights, 1.0), groups=groups, l2=0.05)


def partitions(total: int, largest: int | None = None):
    if total == 0:
        yield ()
        return
    for first in range(min(total, largest or total), 0, -1):
        for rest in partitions(total - first, first):
            yield (first, *rest)


def test_two_assets_have_the_textbook_minimum_variance(engine):
    cov = np.array([[0.04, 0.01], [0.01, 0.09]])
    first = (0.09 - 0.01) / (0.04 + 0.09 - 0.02)
    assert min_variance(Problem(cov), engine).weights == pytest.approx([first, 1 - first], abs=1e-9)


def test_diagonal_covariance_gives_inverse_variances_and_inverse_volatilities(engine):
    variances = np.array([0.01, 0.04, 0.09, 0.25])
    problem = Problem(np.diag(variances))
    assert min_variance(problem, engine).weights == pytest.approx((1 / variances) / (1 / variances).sum())
    vols = 1 / np.sqrt(variances)
    assert equal_risk(problem, engine).weights == pytest.approx(vols / vols.sum(), abs=1e-12)
    assert hrp(problem).weights == pytest.approx((1 / variances) / (1 / variances).sum(), abs=1e-12)


def test_equal_correlation_gives_inverse_volatilities(engine):
    """Maillard, Roncalli & Teiletche 2010, section 2: with one correlation ERC is inverse volatility."""
    vol = np.array([0.1, 0.2, 0.3, 0.4])
    corr = np.full((4, 4), 0.35) + 0.65 * np.eye(4)
    weights = equal_risk(Problem(corr * np.outer(vol, vol)), engine).weights
    assert weights == pytest.approx((1 / vol) / (1 / vol).sum(), abs=1e-12)


def test_erc_reproduces_the_four_asset_example_of_its_paper(engine):
    """Maillard, Roncalli & Teiletche 2010: vols 10-40 %, ρ12 = .8, ρ34 = -.5, others 0."""
    vol = np.array([0.1, 0.2, 0.3, 0.4])
    corr = np.array([[1, 0.8, 0, 0], [0.8, 1, 0, 0], [0, 0, 1, -0.5], [0, 0, -0.5, 1.0]])
    weights = equal_risk(Problem(corr * np.outer(vol, vol)), engine).weights
    assert weights == pytest.approx([0.384, 0.192, 0.243, 0.182], abs=6e-4)


def test_tangency_portfolio_of_two_assets(engine):
    cov, mu = np.array([[0.04, 0.01], [0.01, 0.09]]), np.array([0.08, 0.12])
    tangency = np.linalg.solve(cov, mu)
    weights = max_sharpe(Problem(cov, mu=mu), engine).weights
    assert weights == pytest.approx(tangency / tangency.sum(), abs=1e-8)


def test_implied_returns_return_the_market(engine):
    """He & Litterman 1999: the portfolio that is optimal for Π = δΣw is w itself."""
    market = np.array([0.016, 0.022, 0.052, 0.055, 0.116, 0.124, 0.615])
    cov = random_cov(7, 3)
    weights = max_sharpe(Problem(cov, mu=2.5 * cov @ market), engine).weights
    assert weights == pytest.approx(market, abs=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_risk_shares_equal_budgets_without_caps(seed, engine):
    cov = random_cov(15, seed)
    budgets = np.random.default_rng(seed).uniform(0.2, 1.0, 15)
    weights = risk_budget(Problem(cov), budgets, engine).weights
    shares = weights * (cov @ weights) / (weights @ cov @ weights)
    assert shares == pytest.approx(budgets / budgets.sum(), rel=1e-8)


@pytest.mark.parametrize("seed", range(6))
def test_capped_erc_bounds_every_contribution_and_equalises_the_free_ones(seed, engine):
    problem = capped(14, 5 + seed, seed)
    result = equal_risk(problem, engine)
    weights = result.weights
    unit = problem.cov / problem.mean_variance
    level = result.duals["barrier"] / problem.size
    contributions = weights * (unit @ weights)
    assert (contributions <= level * (1 + 1e-8)).all()
    loads = np.array([g.members @ weights for g in problem.groups])
    tight = weights >= problem.caps - 1e-9
    for group, load in zip(problem.groups, loads, strict=True):
        if load >= group.max - 1e-9:
            tight |= group.members
    assert contributions[~tight] == pytest.approx(np.full((~tight).sum(), level), rel=1e-8)


@pytest.mark.parametrize("sizes", list(partitions(7)), ids=str)
def test_every_partition_is_feasible_at_the_default_caps(sizes, engine):
    labels = [str(k + 1) for k, size in enumerate(sizes) for _ in range(size)]
    caps = effective_caps(labels, 0.25, 0.25)
    groups = cluster_groups(labels, caps.cluster)
    problem = Problem(random_cov(7, len(sizes)), upper=np.minimum(caps.weights, 1.0), groups=groups)
    assert explain_infeasibility(problem) is None
    for result in (equal_risk(problem, engine), hrp(problem)):
        assert result.accepted, result
        assert result.kkt.primal <= 1e-9


def test_sum_of_effective_caps_reaches_one_for_every_partition_up_to_twelve_atoms():
    for total in range(1, 13):
        for sizes in partitions(total):
            labels = [str(k) for k, size in enumerate(sizes) for _ in range(size)]
            caps = effective_caps(labels, 0.25, 0.25)
            room = sum(
                min(caps.cluster, caps.weights[[label == key for label in labels]].sum())
                for key in sorted(set(labels))
            )
            assert room >= 1 - 1e-9, sizes


@pytest.mark.parametrize("seed", range(4))
def test_max_sharpe_beats_random_feasible_portfolios(seed, engine):
    problem = capped(10, 6, seed)
    best = max_sharpe(problem, engine)
    rng = np.random.default_rng(seed)
    ridge = problem.l2 * problem.mean_variance
    for _ in range(60):
        w = project_capped(rng.dirichlet(np.full(10, 0.4)), problem)
        ratio = problem.excess @ w / np.sqrt(w @ problem.cov @ w + ridge * (w @ w))
        assert ratio <= best.notes["ratio_penalised"] + 1e-9


def test_negative_excess_is_typed_and_has_no_weights(engine):
    result = max_sharpe(Problem(random_cov(5, 1), mu=np.full(5, -0.1)), engine)
    assert (result.status, result.weights) == ("NON_POSITIVE_EXCESS", None)


@pytest.mark.parametrize("kernel", [min_variance, max_sharpe, equal_risk])
def test_permuting_atoms_permutes_weights(kernel, engine):
    problem = capped(9, 6, 2)
    order = np.random.default_rng(0).permutation(9)
    shuffled = replace(
        problem, cov=problem.cov[np.ix_(order, order)], mu=problem.mu[order], upper=problem.caps[order],
        groups=tuple(g._replace(members=g.members[order]) for g in problem.groups), names=(),
    )  # fmt: skip
    expected = kernel(problem, engine).weights[order]
    assert kernel(shuffled, engine).weights == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("scale", [1e-8, 1e8])
@pytest.mark.parametrize("kernel", [min_variance, equal_risk])
def test_scaling_the_covariance_changes_nothing(kernel, scale, engine):
    problem = capped(8, 5, 4)
    scaled = replace(problem, cov=problem.cov * scale)
    assert kernel(scaled, engine).weights == pytest.approx(kernel(problem, engine).weights, abs=1e-8)


def test_a_corrupted_weight_or_dual_is_rejected(engine):
    problem = capped(8, 5, 1)
    result = min_variance(problem, engine)
    assert check_kkt(problem, result.weights, result.duals).status == "OPTIMAL"
    moved = result.weights.copy()
    moved[:2] += [1e-4, -1e-4]
    assert check_kkt(problem, moved, result.duals).status == "SOLVER_FAILED"
    wrong = result.duals | {"budget": result.duals["budget"] * 1.001}
    assert check_kkt(problem, result.weights, wrong).status == "SOLVER_FAILED"


def test_infeasible_beta_has_a_verified_and_irreducible_certificate(engine):
    problem = replace(capped(6, 4, 0), beta=np.linspace(0.5, 1.5, 6), beta_tol=0.15)
    result = min_variance(problem, engine)
    assert result.status == "INFEASIBLE" and result.certificate["code"] == "INFEASIBLE_BETA"
    names, matrix, limit = inequalities(problem)
    duals = result.certificate["multipliers"]
    y = np.array([duals.get(name, 0.0) for name in names])
    residual, value = farkas_residual(matrix, limit, duals["budget"], y)
    assert residual <= 1e-8 and value < 0
    nearest = result.certificate["nearest"][0]["feasible"]
    assert explain_infeasibility(replace(problem, beta_tol=nearest * (1 + 1e-6))) is None
    assert explain_infeasibility(replace(problem, beta_tol=nearest * (1 - 1e-6))) is not None


def test_a_tight_but_feasible_problem_has_no_certificate():
    assert explain_infeasibility(Problem(np.eye(4), upper=np.full(4, 0.25))) is None


@pytest.mark.parametrize("corr", [np.ones((6, 6)), np.array([[1.0, -1.0], [-1.0, 1.0]])])
def test_conditioning_bounds_kappa_minimally_and_leaves_variances(corr):
    conditioned, intensity, before, after = condition_correlation(corr, 5000.0)
    assert after < 5000 and np.linalg.cond(conditioned) < 5000 and before > 1e8
    assert (np.diag(conditioned) == 1).all()
    less = intensity * (1 - 1e-6)
    assert np.linalg.cond((1 - less) * corr + less * np.eye(len(corr))) > 5000


def test_projection_returns_a_feasible_point_unchanged_and_meets_rows_otherwise():
    problem = capped(10, 5, 3)
    inside = project_capped(np.full(10, 0.1), problem)
    assert project_capped(inside, problem) == pytest.approx(inside, abs=1e-12)
    heavy = np.zeros(10)
    heavy[0] = 1.0
    point = project_capped(heavy, problem)
    assert abs(point.sum() - 1) < 1e-9 and (point <= problem.caps + 1e-9).all()


def test_two_identical_atoms_get_equal_weights(engine):
    rng = np.random.default_rng(5)
    returns = rng.standard_normal((200, 4)) * 0.02
    returns = np.column_stack([returns, returns[:, 0]])
    estimate = estimate_covariance(returns)
    conditioned = condition_correlation(estimate.corr, 5000.0)
    cov = conditioned.corr * np.outer(estimate.vol, estimate.vol)
    for kernel in (min_variance, equal_risk):
        weights = kernel(Problem(cov), engine).weights
        assert weights[0] == pytest.approx(weights[4], abs=1e-9)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cov", np.array([[1.0, 0.5], [0.4, 1.0]])),
        ("upper", np.array([1.0])),
        ("l2", -1.0),
        ("beta", [np.nan, 1]),
    ],
)
def test_an_invalid_problem_names_its_field(field, value):
    with pytest.raises(ContractError) as caught:
        Problem(**({"cov": np.eye(2)} | {field: value}))
    assert caught.value.code == "PROBLEM_INVALID" and field in caught.value.where


def test_erc_refuses_lower_bounds_and_beta_rows():
    with pytest.raises(ConfigError, match="lower bound"):
        equal_risk(Problem(np.eye(2), lower=np.full(2, 0.1)))
    with pytest.raises(ConfigError, match="beta row"):
        equal_risk(Problem(np.eye(2), beta=np.ones(2)))


def test_hrp_is_a_hand_computed_bisection():
    """Three assets, single linkage: {0, 1} merge first; the list splits into its first leaf and the rest."""
    cov = np.array([[0.04, 0.03, 0.0], [0.03, 0.04, 0.0], [0.0, 0.0, 0.01]])
    result = hrp(Problem(cov), HrpSettings(distance="euclidean", linkage="single"))
    order = [int(name) for name in result.notes["leaf_order"]]
    left, right = order[0], order[1:]
    inverse = 1 / np.diag(cov)[right]
    inverse /= inverse.sum()
    branch = inverse @ cov[np.ix_(right, right)] @ inverse
    share = 1 - cov[left, left] / (cov[left, left] + branch)
    assert result.weights[left] == pytest.approx(share)


def test_a_group_minimum_is_met(engine):
    members = np.array([True, False, False])
    problem = Problem(np.diag([0.5, 0.01, 0.01]), groups=(Group("g", members, 0.3, None),))
    assert min_variance(problem, engine).weights[0] == pytest.approx(0.3, abs=1e-9)
