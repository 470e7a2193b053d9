"""What no allocation may do, over arbitrary markets, caps, clusters, beta rows and previous weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantctl.allocation import (
    Group,
    Problem,
    check_kkt,
    condition_correlation,
    equal_risk,
    explain_infeasibility,
    max_diversification,
    max_sharpe,
    mean_variance,
    min_variance,
    risk_budget,
)
from quantctl.steps.l4_allocation.kernels.engine import Engine

SEEDS = st.integers(0, 2**32 - 1)
FEASIBLE = 1e-9
OTHERS = 200
EASY = settings(max_examples=60, deadline=None)


def market(rng, size: int) -> np.ndarray:
    """An annual covariance, sometimes with fewer bars than names, duplicates or opposites."""
    bars = int(rng.integers(3, 4 * size + 4))
    returns = rng.standard_normal((bars, size)) + rng.uniform(0, 1.5) * rng.standard_normal((bars, 1))
    if rng.random() < 0.3:
        returns[:, -1] = returns[:, 0] * rng.choice([1.0, -1.0])
    corr = np.corrcoef(returns.T)
    conditioned = condition_correlation((corr + corr.T) / 2, 5000.0).corr
    vol = rng.uniform(0.05, 1.5, size)
    return conditioned * np.outer(vol, vol)


@st.composite
def problems(draw: st.DrawFn, *, beta: bool = True, traded: bool = True) -> tuple[Problem, np.ndarray]:
    """A feasible problem and a point inside it."""
    rng = np.random.default_rng(draw(SEEDS))
    size = draw(st.integers(2, 16))
    inside = rng.dirichlet(np.full(size, draw(st.sampled_from([0.3, 1.0, 5.0]))))
    room = draw(st.sampled_from([1e-4, 0.05, 0.5]))
    labels = rng.integers(0, draw(st.integers(1, 5)), size)
    groups = tuple(
        Group(str(k), labels == k, None, float(inside[labels == k].sum() + room), "cluster")
        for k in range(labels.max() + 1)
    )
    slopes = rng.normal(0.5, 1.0, size)
    moving = traded and draw(st.booleans())
    return Problem(
        market(rng, size), mu=rng.normal(0.05, 0.4, size), risk_free=float(rng.uniform(-0.02, 0.05)),
        upper=np.minimum(inside + rng.uniform(0.3, 1.0, size) * room, 1.0), groups=groups,
        beta=slopes - inside @ slopes if beta and draw(st.booleans()) else None, beta_tol=0.15,
        l2=draw(st.sampled_from([0.0, 0.05, 0.2])),
        turnover=draw(st.sampled_from([0.001, 0.05])) if moving else 0.0,
        w_prev=0.8 * rng.dirichlet(np.ones(size)) if moving else None,
        exit_turnover=0.2 if moving else 0.0,
    ), inside  # fmt: skip


def rivals(problem: Problem, inside: np.ndarray, seed: int = 0) -> np.ndarray:
    """Feasible portfolios: from the inside point towards random ones, as far as the rows allow or less."""
    rng = np.random.default_rng(seed)
    goals = np.vstack([rng.dirichlet(np.full(problem.size, 0.3), OTHERS), np.eye(problem.size)])
    matrix = np.vstack([np.eye(problem.size), -np.eye(problem.size), problem.rows.matrix])
    limit = np.concatenate([problem.upper, -problem.lower, problem.rows.limit])
    ways = goals - inside
    slack, slope = limit - matrix @ inside, ways @ matrix.T
    steps = np.where(slope > 1e-15, np.maximum(slack, 0.0) / np.where(slope > 1e-15, slope, 1.0), np.inf)
    reach = np.minimum(steps.min(axis=1), 1.0) * rng.choice([1.0, 0.5], len(goals))
    return inside + reach[:, None] * ways


def traded(problem: Problem, weights: np.ndarray) -> np.ndarray:
    """‖w − w_prev‖₁ + v of each row."""
    if problem.w_prev is None:
        return np.zeros(len(weights))
    return np.abs(weights - problem.w_prev).sum(axis=1) + problem.exit_turnover


def variances(problem: Problem, weights: np.ndarray, l2: float) -> np.ndarray:
    unit = np.trace(problem.cov) / problem.size
    return np.einsum("ki,ij,kj->k", weights, problem.cov, weights) + l2 * unit * (weights**2).sum(axis=1)


def assert_feasible(problem: Problem, weights: np.ndarray) -> None:
    assert abs(weights.sum() - 1.0) <= FEASIBLE
    assert (weights >= problem.lower - FEASIBLE).all() and (weights <= problem.upper + FEASIBLE).all()
    for group in problem.groups:
        assert weights[group.members].sum() <= group.max + FEASIBLE
    if problem.beta is not None:
        assert abs(problem.beta @ weights) <= problem.beta_tol + FEASIBLE


@EASY
@given(problems())
def test_no_feasible_portfolio_has_a_larger_ratio_than_max_sharpe(case):
    """The ratio of §7: net of the cost of trading, vanished atoms too, over the penalised volatility."""
    problem, inside = case
    others = np.vstack([rivals(problem, inside), inside])

    def ratios(weights):
        net = weights @ (problem.mu - problem.risk_free) - problem.turnover * traded(problem, weights)
        return net / np.sqrt(variances(problem, weights, problem.l2))

    best = max_sharpe(problem)
    if best.status == "NON_POSITIVE_EXCESS":
        assert best.weights is None and ratios(others).max() <= 1e-9
        return
    assert best.status == "OPTIMAL"
    assert_feasible(problem, best.weights)
    reached = ratios(best.weights[None, :])[0]
    assert reached == pytest.approx(best.notes["ratio_penalised"], rel=1e-9)
    assert ratios(others).max() <= reached + 1e-8 * abs(reached)


@EASY
@given(problems())
def test_no_feasible_portfolio_has_less_variance_than_min_variance(case):
    problem, inside = case
    unit = np.trace(problem.cov) / problem.size

    def values(weights):
        moved = traded(problem, weights) - (problem.exit_turnover if problem.w_prev is not None else 0.0)
        return variances(problem, weights, problem.l2) + problem.turnover * unit * moved

    best = min_variance(problem)
    assert best.status == "OPTIMAL"
    assert_feasible(problem, best.weights)
    reached = values(best.weights[None, :])[0]
    assert reached == pytest.approx(best.objective_penalised, rel=1e-9)
    assert values(rivals(problem, inside)).min() >= reached - 1e-9 * abs(reached)


@EASY
@given(problems(), st.sampled_from([0.01, 1.0, 50.0]))
def test_no_feasible_portfolio_has_more_utility_than_mean_variance(case, aversion):
    problem, inside = case
    unit = np.trace(problem.cov) / problem.size

    def values(weights):
        moved = traded(problem, weights) - (problem.exit_turnover if problem.w_prev is not None else 0.0)
        risk = 0.5 * aversion * variances(problem, weights, 0.0)
        ridge = problem.l2 * unit * (weights**2).sum(axis=1)
        return risk + ridge - weights @ (problem.mu - problem.risk_free) + problem.turnover * moved

    best = mean_variance(problem, aversion)
    assert best.status == "OPTIMAL"
    assert_feasible(problem, best.weights)
    reached = values(best.weights[None, :])[0]
    assert reached == pytest.approx(best.objective_penalised, rel=1e-8, abs=1e-10)
    others = values(rivals(problem, inside))
    assert others.min() >= reached - 1e-8 * np.abs(others).max()


@EASY
@given(problems(traded=False))
def test_no_feasible_portfolio_is_better_diversified_than_max_diversification(case):
    problem, inside = case
    vol = np.sqrt(np.diag(problem.cov))

    def ratios(weights):
        return weights @ vol / np.sqrt(variances(problem, weights, 0.0))

    best = max_diversification(problem)
    assert best.status == "OPTIMAL"
    assert_feasible(problem, best.weights)
    reached = ratios(best.weights[None, :])[0]
    assert ratios(rivals(problem, inside)).max() <= reached * (1 + 1e-8)


@EASY
@given(problems(beta=False, traded=False), SEEDS)
def test_capped_contributions_stay_below_their_budget_and_free_ones_meet_it(case, seed):
    problem, _ = case
    budgets = np.random.default_rng(seed).uniform(0.2, 1.0, problem.size)
    budgets /= budgets.sum()
    result = risk_budget(problem, budgets)
    assert result.accepted
    weights = result.weights
    assert_feasible(problem, weights)
    level = result.duals["barrier"] * np.trace(problem.cov) / problem.size
    spent = weights * (problem.cov @ weights) / (level * budgets)
    assert spent.max() <= 1.0 + 1e-7
    bound = weights >= problem.upper - 1e-9
    for group in problem.groups:
        if weights[group.members].sum() >= group.max - 1e-9:
            bound |= group.members
    if not bound.all():
        assert spent[~bound] == pytest.approx(np.ones((~bound).sum()), rel=1e-7)


@EASY
@given(st.integers(2, 20), SEEDS)
def test_shares_of_risk_are_the_budgets_without_caps(size, seed):
    rng = np.random.default_rng(seed)
    cov, budgets = market(rng, size), rng.uniform(0.1, 1.0, size)
    weights = risk_budget(Problem(cov), budgets).weights
    shares = weights * (cov @ weights) / (weights @ cov @ weights)
    assert shares == pytest.approx(budgets / budgets.sum(), rel=1e-8)


KERNELS = {
    "min_variance": min_variance, "max_sharpe": max_sharpe, "max_diversification": max_diversification,
    "mean_variance": mean_variance, "equal_risk": equal_risk,
}  # fmt: skip


def without_rows(problem: Problem) -> Problem:
    return replace(problem, beta=None)


@settings(max_examples=25, deadline=None)
@given(problems(), SEEDS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_permuting_atoms_permutes_weights(kernel, case, seed):
    problem = without_rows(case[0]) if kernel == "equal_risk" else case[0]
    order = np.random.default_rng(seed).permutation(problem.size)
    shuffled = replace(
        problem, cov=problem.cov[np.ix_(order, order)], mu=problem.mu[order], upper=problem.upper[order],
        lower=problem.lower[order], beta=None if problem.beta is None else problem.beta[order],
        w_prev=None if problem.w_prev is None else problem.w_prev[order],
        groups=tuple(g._replace(members=g.members[order]) for g in problem.groups),
        names=tuple(problem.names[i] for i in order),
    )  # fmt: skip
    ours, theirs = KERNELS[kernel](problem), KERNELS[kernel](shuffled)
    assert ours.status == theirs.status
    if ours.accepted:
        assert theirs.weights == pytest.approx(ours.weights[order], abs=1e-7)


@settings(max_examples=25, deadline=None)
@given(problems(), st.sampled_from([1e-8, 1e-4, 1e4, 1e8]))
@pytest.mark.parametrize("kernel", ["min_variance", "max_diversification", "equal_risk"])
def test_the_unit_of_the_covariance_does_not_matter(kernel, case, factor):
    problem = without_rows(case[0]) if kernel == "equal_risk" else case[0]
    ours = KERNELS[kernel](problem)
    theirs = KERNELS[kernel](replace(problem, cov=problem.cov * factor))
    assert (ours.status, ours.accepted) == (theirs.status, True)
    assert theirs.weights == pytest.approx(ours.weights, abs=1e-7)


@EASY
@given(problems(), st.sampled_from([1e-4, 1e4]))
def test_max_sharpe_does_not_depend_on_the_unit_of_return(case, factor):
    problem = replace(case[0], risk_free=0.0)
    scaled = replace(problem, mu=problem.mu * factor, turnover=problem.turnover * factor)
    ours, theirs = max_sharpe(problem), max_sharpe(scaled)
    assert ours.status == theirs.status
    if ours.accepted:
        assert theirs.weights == pytest.approx(ours.weights, abs=1e-7)


@EASY
@given(st.integers(2, 10), SEEDS)
def test_splitting_an_asset_in_two_copies_leaves_its_minimum_variance_weight(size, seed):
    """At kernel level, without ridge; the copies differ by a hair so that Σ stays definite."""
    cov = market(np.random.default_rng(seed), size)
    index = [*range(size), size - 1]
    split = cov[np.ix_(index, index)]
    split[-1, -1] *= 1.0 + 1e-9
    split[-2, -2] *= 1.0 + 1e-9
    alone, both = min_variance(Problem(cov)), min_variance(Problem(split))
    assert both.accepted
    assert both.weights[:-2] == pytest.approx(alone.weights[:-1], abs=1e-5)
    assert both.weights[-2:].sum() == pytest.approx(alone.weights[-1], abs=1e-5)


def test_with_a_ridge_a_split_asset_gains_weight():
    cov = np.array([[0.04, 0.0], [0.0, 0.04]])
    split = np.array([[0.04, 0.0, 0.0], [0.0, 0.04, 0.04], [0.0, 0.04, 0.04]]) + 1e-9 * np.eye(3)
    assert min_variance(Problem(cov, l2=0.2)).weights[1] == pytest.approx(0.5)
    assert min_variance(Problem(split, l2=0.2)).weights[1:].sum() > 0.51


@settings(max_examples=20, deadline=None)
@given(problems())
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_same_problem_has_the_same_bits(kernel, case):
    problem = without_rows(case[0]) if kernel == "equal_risk" else case[0]
    first, second = KERNELS[kernel](problem), KERNELS[kernel](problem)
    assert first.status == second.status
    if first.accepted:
        assert first.weights.tobytes() == second.weights.tobytes()


@settings(max_examples=40, deadline=None)
@given(problems(), SEEDS)
@pytest.mark.parametrize("kernel", ["min_variance", "max_sharpe"])
def test_a_warm_start_does_not_move_a_weight(kernel, case, seed):
    problem = case[0]
    start = np.random.default_rng(seed).dirichlet(np.ones(problem.size))
    cold, warm = KERNELS[kernel](problem), KERNELS[kernel](problem, start=start)
    assert cold.status == warm.status
    if cold.accepted:
        assert warm.weights == pytest.approx(cold.weights, abs=1e-8)


@settings(max_examples=25, deadline=None)
@given(problems())
@pytest.mark.parametrize("rungs", [("ipm", "polish", "clarabel"), ("clarabel",)], ids=str)
@pytest.mark.parametrize("kernel", ["min_variance", "max_sharpe", "max_diversification", "mean_variance"])
def test_a_disabled_rung_changes_the_trace_not_the_weights(kernel, rungs, case):
    problem = case[0]
    ours, other = KERNELS[kernel](problem), KERNELS[kernel](problem, engine=Engine(rungs))
    if rungs == ("clarabel",) and other.status == "SOLVER_FAILED":
        return  # A rung may fail, never mislead.
    assert ours.status == other.status or (ours.accepted and other.accepted)
    if ours.accepted and other.status == "OPTIMAL":
        assert {attempt.rung for attempt in other.attempts} <= {*rungs}
        assert other.objective_penalised == pytest.approx(ours.objective_penalised, rel=1e-7, abs=1e-9)
    if ours.status == other.status == "OPTIMAL" and other.attempts[-1].rung != "clarabel":
        assert other.weights == pytest.approx(ours.weights, abs=1e-8)


@EASY
@given(problems(traded=False), SEEDS)
def test_a_moved_weight_or_multiplier_is_rejected(case, seed):
    problem = case[0]
    result = min_variance(problem)
    rng = np.random.default_rng(seed)
    assert check_kkt(problem, result.weights, result.duals).status == "OPTIMAL"
    name = sorted(result.duals)[rng.integers(len(result.duals))]
    if abs(result.duals[name]) > 1e-3:
        wrong = result.duals | {name: result.duals[name] * 1.01}
        assert check_kkt(problem, result.weights, wrong).status == "SOLVER_FAILED"
    moved = result.weights + 1e-4 * np.eye(problem.size)[rng.integers(problem.size)]
    assert check_kkt(problem, moved, result.duals).status == "SOLVER_FAILED"


@settings(max_examples=150, deadline=None)
@given(problems())
def test_a_feasible_problem_is_never_called_infeasible(case):
    assert explain_infeasibility(case[0]) is None


@settings(max_examples=100, deadline=None)
@given(problems(beta=False, traded=False), st.floats(1e-6, 0.5), SEEDS)
def test_a_beta_beyond_reach_is_proven_and_its_nearest_tolerance_is_sharp(case, gap, seed):
    problem = case[0]
    slopes = np.random.default_rng(seed).uniform(0.5 + gap, 2.0, problem.size)
    refused = replace(problem, beta=slopes, beta_tol=0.5)
    result = min_variance(refused)
    assert (result.status, result.weights) == ("INFEASIBLE", None)
    assert result.certificate["code"] == "INFEASIBLE_BETA"
    nearest = result.certificate["nearest"][0]["feasible"]
    assert min_variance(replace(refused, beta_tol=nearest * (1 + 1e-7))).accepted
    below = min_variance(replace(refused, beta_tol=nearest * (1 - 1e-6)))
    assert below.status == "INFEASIBLE" and below.certificate["verified"]
