"""The quadratic profiles: their rungs, the active set with its five states, starts, work and refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantctl.allocation import (
    Group,
    Problem,
    check_kkt,
    condition_correlation,
    estimate_covariance,
    max_diversification,
    max_sharpe,
    mean_variance,
    min_variance,
)
from quantctl.contracts.errors import ConfigError, ContractError
from quantctl.steps.l4_allocation.kernels import active_set
from quantctl.steps.l4_allocation.kernels.active_system import Dense, claim
from quantctl.steps.l4_allocation.kernels.engine import NATIVE, RUNGS, Engine, reference_engine
from quantctl.steps.l4_allocation.kernels.pieces import ABOVE, BELOW, HELD, LOWER, UPPER, Pieces
from quantctl.steps.l4_allocation.kernels.program import Program

REFERENCE = reference_engine()
PROFILES = {
    "min_variance": min_variance,
    "max_sharpe": max_sharpe,
    "max_diversification": max_diversification,
    "mean_variance": lambda problem, engine=NATIVE, start=None: mean_variance(problem, 2.0, engine, start),
}
EVERY = pytest.mark.parametrize("profile", PROFILES)


def market(
    size: int, seed: int, *, shorts: bool = False, bars: int = 750, caps: bool = True, **keys
) -> Problem:
    """One market and eight sectors, Student-t, every fourth stream short; caps of names and sectors."""
    rng = np.random.default_rng([seed, size])

    def student(*shape):
        return rng.standard_t(5, shape) * np.sqrt(3 / 5)

    sector, factor = np.arange(size) * 8 // size, 0.0004 + 0.01 * student(bars)
    streams = factor[:, None] * rng.uniform(0.6, 1.4, size)
    streams += 0.006 * student(bars, 8)[:, sector] * rng.uniform(0.4, 1.2, size)
    streams += rng.lognormal(np.log(0.015), 0.4, size) * student(bars, size) + rng.normal(0, 4e-4, size)
    if shorts:
        streams[:, 3::4] *= -1.0
    estimate = estimate_covariance(streams)
    corr = condition_correlation(estimate.corr, 5000.0).corr
    centred = factor - factor.mean()
    fields = {
        "cov": 365 * corr * np.outer(estimate.vol, estimate.vol), "mu": 365 * streams.mean(0),
        "beta": (streams - streams.mean(0)).T @ centred / (centred @ centred) if shorts else None,
    }  # fmt: skip
    if caps:
        fields["upper"] = np.full(size, max(0.05, 3 / size))
        fields["groups"] = tuple(Group(str(k), sector == k, max=0.25) for k in range(8))
    return Problem(**(fields | keys))


def traded(problem: Problem, seed: int, c: float = 0.02, gone: float = 0.1) -> Problem:
    """`problem` with a price of trading from weights that few names have; a tenth of them has vanished."""
    rng = np.random.default_rng(seed)
    previous = np.where(rng.random(problem.size) < 0.4, rng.random(problem.size), 0.0) + 1e-12
    previous *= (1.0 - gone) / previous.sum()
    return replace(problem, l2=0.05, turnover=c, w_prev=previous, exit_turnover=gone)


def last(result):
    return result.attempts[-1]


# The rungs


@EVERY
@pytest.mark.parametrize("seed", range(3))
def test_every_rung_alone_gives_the_same_weights(profile, seed):
    problem = traded(market(24, seed, shorts=seed == 1), seed)
    kernel, expected = PROFILES[profile], PROFILES[profile](problem)
    assert last(expected).rung == "fast" and expected.status == "OPTIMAL"
    for rungs, tolerance in ((("fast",), 0.0), (("ipm", "polish"), 0.0), (("ipm",), 1e-6)):
        alone = kernel(problem, Engine(rungs))
        assert last(alone).rung == rungs[-1] and alone.accepted
        assert np.abs(alone.weights - expected.weights).max() <= tolerance
    plain = market(24, seed, shorts=seed == 1)
    conic = kernel(plain, Engine(("clarabel",)))
    assert last(conic).rung == "clarabel"
    assert conic.weights == pytest.approx(kernel(plain).weights, abs=1e-6)


@EVERY
def test_native_and_reference_agree_in_the_objective(profile):
    problem = traded(market(16, 4, shorts=True), 1)
    ours, theirs = PROFILES[profile](problem), PROFILES[profile](problem, REFERENCE)
    assert last(theirs).rung == "clarabel"
    assert ours.objective_penalised == pytest.approx(theirs.objective_penalised, rel=1e-7)


@EVERY
def test_a_missing_rung_changes_the_trace_and_not_the_weights(profile):
    problem = market(20, 8)
    expected = PROFILES[profile](problem)
    for missing in RUNGS[:-1]:
        result = PROFILES[profile](problem, Engine(tuple(rung for rung in RUNGS if rung != missing)))
        assert result.weights == pytest.approx(expected.weights, abs=1e-8)
        assert missing not in {attempt.rung for attempt in result.attempts}


def test_without_rungs_nothing_is_claimed():
    result = min_variance(market(5, 0), Engine(()))
    assert (result.status, result.weights, result.attempts) == ("SOLVER_FAILED", None, ())


def test_the_active_set_ends_what_an_interior_point_began():
    problem = market(30, 2)
    expected = min_variance(problem).weights
    rough = expected + 1e-4 * np.random.default_rng(0).standard_normal(30)
    found = active_set.solve(program_of(problem), rough)
    assert found.outcome == "optimal" and found.weights == pytest.approx(expected, abs=1e-12)


def program_of(problem: Problem) -> Program:
    """`min_variance` in common form, without penalties."""
    rows = problem.rows
    return Program(
        problem.cov, 2.0 / problem.mean_variance, 0.0, np.zeros(problem.size), False, problem.floors,
        problem.caps, rows.matrix, rows.limit,
    )  # fmt: skip


# Closed forms


@pytest.mark.parametrize("profile", ["min_variance", "max_sharpe", "max_diversification", "mean_variance"])
@pytest.mark.parametrize("upper", [1.0, 0.7, 0.5])
def test_two_atoms_have_the_same_weights_in_closed_form_and_by_iteration(profile, upper):
    problem = Problem(
        np.array([[0.04, 0.01], [0.01, 0.16]]), mu=np.array([0.10, 0.05]), upper=np.full(2, upper), l2=0.02
    )
    closed = PROFILES[profile](problem)
    iterated = PROFILES[profile](problem, Engine(("fast",)))
    assert (last(closed).rung, last(iterated).rung) == ("closed_form", "fast")
    assert closed.weights == pytest.approx(iterated.weights, abs=1e-12)
    assert closed.kkt.status == "OPTIMAL"


def test_two_atoms_with_a_kink_or_an_active_row_go_on_to_the_next_rung():
    problem = Problem(np.diag([0.04, 0.01]), beta=np.array([1.0, 2.0]), beta_tol=1.5)
    assert last(min_variance(problem)).rung == "fast"
    assert min_variance(problem).weights == pytest.approx([0.5, 0.5], abs=1e-12)
    held = replace(problem, beta=None, turnover=10.0, w_prev=np.array([0.4, 0.6]))
    assert last(min_variance(held)).rung == "fast"
    assert min_variance(held).weights == pytest.approx([0.4, 0.6], abs=1e-12)


@EVERY
def test_one_atom_takes_everything_or_is_infeasible(profile):
    problem = Problem(np.array([[0.04]]), mu=np.array([0.1]))
    assert PROFILES[profile](problem).weights == pytest.approx([1.0])
    assert PROFILES[profile](replace(problem, upper=np.array([0.5]))).status == "INFEASIBLE"


def test_trading_more_dearly_than_it_pays_leaves_every_name_where_it_was():
    problem = replace(market(12, 3, caps=False), turnover=50.0, w_prev=np.full(12, 1 / 12))
    assert min_variance(problem).weights == pytest.approx(np.full(12, 1 / 12), abs=1e-12)


def test_the_kink_of_a_diagonal_problem_is_solved_by_hand():
    """w_i σ²_i·2/m ± c + ν = 0: names on both sides of w₀, and one that stays."""
    variances, previous, c = np.array([1.0, 1.0, 1.0]), np.array([0.9, 1 / 3, 0.0]), 0.2
    problem = Problem(np.diag(variances), turnover=c, w_prev=previous, exit_turnover=0.0)
    result = min_variance(problem)
    # First sells, third buys, second is left: 2w₁ − c = 2w₃ + c and w₁ + w₃ = 2/3.
    assert result.weights == pytest.approx([1 / 3 + c / 2, 1 / 3, 1 / 3 - c / 2], abs=1e-12)


# The five states


def test_a_kinked_optimum_uses_all_five_states_and_is_optimal_in_each():
    problem = traded(market(40, 5), 7, c=0.05)
    result = min_variance(problem)
    pieces = Pieces(replace(program_of(problem), kink=0.05, previous=problem.w_prev))
    states = pieces.of(result.weights, 1e-11).states
    assert {LOWER, BELOW, HELD, ABOVE} <= set(states.tolist())
    assert result.kkt.status == "OPTIMAL" and last(result).rung == "fast"
    bounded = replace(problem, upper=np.full(40, 0.04))
    assert UPPER in Pieces(program_of(bounded)).of(min_variance(bounded).weights, 1e-11).states


@given(seed=st.integers(0, 2**31), c=st.sampled_from([0.0, 1e-3, 0.02, 0.3]), shorts=st.booleans())
def test_the_kinked_optimum_beats_what_lies_between_it_and_any_feasible_point(seed, c, shorts):
    problem = traded(market(12, seed % 1000, shorts=shorts, bars=60, caps=False), seed, c=c)
    result = min_variance(problem)
    if not result.accepted:
        assert result.status == "INFEASIBLE"
        return
    rng = np.random.default_rng(seed)
    for _ in range(20):
        other = rng.dirichlet(np.full(12, 0.5))
        if (problem.rows.matrix @ other > problem.rows.limit).any():
            continue
        between = 0.9 * result.weights + 0.1 * other
        assert value(problem, between) >= result.objective_penalised * (1 - 1e-9)


def value(problem: Problem, weights) -> float:
    """w'Σw + γm‖w‖² + cm‖w − w_prev‖₁."""
    m = np.trace(problem.cov) / problem.size
    traded_now = np.abs(weights - problem.w_prev).sum()
    return weights @ problem.cov @ weights + m * (
        problem.l2 * weights @ weights + problem.turnover * traded_now
    )


def test_vanished_atoms_count_in_the_numerator_of_a_ratio():
    """v lowers every numerator alike, so less risk is worth more excess: the portfolio moves."""
    problem = replace(market(10, 1, caps=False), turnover=0.05, w_prev=np.full(10, 0.1))
    gone = replace(problem, exit_turnover=1.5)
    with_gone, without = max_sharpe(gone), max_sharpe(problem)
    assert np.abs(with_gone.weights - without.weights).max() > 1e-3
    assert with_gone.weights == pytest.approx(max_sharpe(gone, REFERENCE).weights, abs=1e-6)
    net = gone.excess @ with_gone.weights - 0.05 * (np.abs(with_gone.weights - 0.1).sum() + 1.5)
    risk = (with_gone.weights @ gone.cov @ with_gone.weights) ** 0.5
    assert with_gone.objective_penalised == pytest.approx(net / risk)


# What a change of the problem does to the answer


@EVERY
def test_permuting_atoms_permutes_weights_of_a_kinked_problem(profile):
    problem = traded(market(18, 2), 3)
    order = np.random.default_rng(1).permutation(18)
    shuffled = replace(
        problem, cov=problem.cov[np.ix_(order, order)], mu=problem.mu[order], w_prev=problem.w_prev[order],
        groups=tuple(g._replace(members=g.members[order]) for g in problem.groups),
    )  # fmt: skip
    expected = PROFILES[profile](problem).weights[order]
    assert PROFILES[profile](shuffled).weights == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("factor", [1e-8, 1e8])
@pytest.mark.parametrize("profile", ["min_variance", "max_sharpe", "max_diversification"])
def test_the_unit_of_variance_changes_no_ratio_and_no_least_risk(profile, factor):
    problem = traded(market(15, 6), 2)
    scaled = replace(problem, cov=problem.cov * factor)
    assert PROFILES[profile](scaled).weights == pytest.approx(PROFILES[profile](problem).weights, abs=1e-10)


def test_risk_aversion_and_covariance_scale_against_each_other():
    problem = replace(market(15, 6), l2=0.0)
    halved = mean_variance(replace(problem, cov=problem.cov / 2), 6.0)
    assert halved.weights == pytest.approx(mean_variance(problem, 3.0).weights, abs=1e-10)


def test_splitting_an_asset_leaves_its_total_unchanged_until_a_ridge_moves_it():
    problem = market(8, 3, caps=False)
    index = np.array([*range(8), 0])
    corr_of_copy = 1 - 1e-9
    cov = problem.cov[np.ix_(index, index)].copy()
    cov[0, 8] = cov[8, 0] = cov[0, 0] * corr_of_copy
    split = Problem(cov)
    one, two = min_variance(Problem(problem.cov)).weights, min_variance(split).weights
    assert two[0] == pytest.approx(two[8], abs=1e-8) and two[0] + two[8] == pytest.approx(one[0], abs=1e-8)
    ridged = min_variance(replace(split, l2=0.5)).weights
    assert abs(ridged[0] + ridged[8] - min_variance(Problem(problem.cov, l2=0.5)).weights[0]) > 1e-3


# Rows that depend on one another


def test_caps_that_force_every_cluster_are_met_exactly():
    """Four clusters of a quarter: the four rows and the budget are dependent."""
    problem = market(20, 9, caps=False)
    clusters = tuple(Group(str(k), np.arange(20) % 4 == k, max=0.25) for k in range(4))
    for profile, kernel in PROFILES.items():
        result = kernel(replace(problem, groups=clusters))
        assert result.status == "OPTIMAL", profile
        for cluster in clusters:
            assert result.weights[cluster.members].sum() == pytest.approx(0.25, abs=1e-12)


def test_a_row_given_twice_and_a_row_that_is_an_equation_do_no_harm():
    problem = market(12, 4, caps=False)
    half = np.arange(12) < 6
    groups = (Group("a", half, 0.3, 0.3), Group("b", half, 0.3, 0.3), Group("c", ~half, 0.7, None))
    result = min_variance(replace(problem, groups=groups))
    assert result.status == "OPTIMAL" and result.weights[half].sum() == pytest.approx(0.3, abs=1e-12)


def test_bounds_that_leave_one_point_are_that_point():
    problem = replace(market(10, 4, caps=False), upper=np.full(10, 0.1))
    for kernel in PROFILES.values():
        assert kernel(problem).weights == pytest.approx(np.full(10, 0.1), abs=1e-12)


# Starts and work


@EVERY
@pytest.mark.parametrize("seed", range(4))
def test_a_warm_start_changes_no_bit_of_the_answer(profile, seed):
    kernel, before = PROFILES[profile], market(60, seed, shorts=seed % 2 == 1)
    rng = np.random.default_rng(seed)
    now = replace(
        before, cov=before.cov * (1 + 0.02 * np.eye(60)), mu=before.mu * rng.uniform(0.97, 1.03, 60)
    )
    cold, warm = kernel(now), kernel(now, start=kernel(before).weights)
    nonsense = kernel(now, start=rng.dirichlet(np.ones(60)))
    assert cold.weights.tobytes() == warm.weights.tobytes() == nonsense.weights.tobytes()
    assert last(warm).factorisations <= last(cold).factorisations + 2


@pytest.mark.parametrize("size", [20, 100, 250, 500])
@pytest.mark.parametrize("shorts", [False, True])
@pytest.mark.parametrize("profile", ["min_variance", "max_sharpe", "max_diversification"])
def test_a_cold_solve_takes_at_most_ten_factorisations(profile, size, shorts):
    result = PROFILES[profile](market(size, 1, shorts=shorts))
    assert result.status == "OPTIMAL" and last(result).rung == "fast"
    assert 1 <= last(result).factorisations <= 10


def test_a_thousand_names_take_at_most_ten_factorisations():
    for kernel in (min_variance, max_sharpe):
        assert last(kernel(market(1000, 1, shorts=True))).factorisations <= 10


def test_a_borrowed_factor_solves_as_its_own_would():
    problem = market(160, 3)
    dense, rng = Dense(problem.cov, 0.01), np.random.default_rng(0)
    sides = rng.standard_normal((158, 3))
    first, second = np.delete(np.arange(160), [7, 30]), np.delete(np.arange(160), [21, 90])
    dense.invert(first, sides)
    borrowed = dense.invert(second, sides)
    assert (dense.own, dense.factorisations) == (False, 1)
    own = dense.invert(second, sides, own=True)
    assert (dense.own, dense.factorisations) == (True, 2)
    assert borrowed == pytest.approx(own, rel=1e-9)


def test_the_scalar_of_a_ratio_is_variance_over_numerator():
    """t of the bordered system solves t · numerator = w'Qw whatever is fixed, with a kink too."""
    problem = traded(market(12, 1, caps=False), 0)
    rows = problem.rows
    program = Program(
        problem.cov, 1.0, 0.0, problem.excess, True, problem.floors, problem.caps, rows.matrix, rows.limit,
        0.001, problem.w_prev, 0.1,
    )  # fmt: skip
    pieces = Pieces(program)
    found = claim(Dense(problem.cov, 0.0), pieces, pieces.of(max_sharpe(problem).weights, 1e-11), 1.0)
    assert found is not None
    point, w = found[0], found[0].weights
    slope = pieces.slopes(pieces.of(max_sharpe(problem).weights, 1e-11).states)
    numerator = problem.excess @ w - 0.001 * (slope @ (w - problem.w_prev) + 0.1)
    assert point.tilt * numerator == pytest.approx(w @ problem.cov @ w, rel=1e-9)


@pytest.mark.parametrize("size", [20, 100, 250, 500])
def test_a_utility_with_penalties_takes_at_most_ten_factorisations(size):
    problem = replace(market(size, 1, shorts=True), l2=0.05, turnover=0.001, w_prev=np.full(size, 1 / size))
    result = mean_variance(problem, 5.0)
    assert last(result).rung == "fast" and last(result).factorisations <= 10


def test_a_vertex_where_a_group_is_full_has_multipliers_that_prove_it():
    """Five names at 5 % fill their group: its row has no free name, and neither has the budget."""
    problem = Problem(
        0.01 * np.eye(40), mu=np.linspace(1.0, 0.0, 40), upper=np.full(40, 0.05),
        groups=tuple(Group(str(k), np.arange(40) // 10 == k, max=0.25) for k in range(4)),
    )  # fmt: skip
    result = mean_variance(problem)
    assert result.status == "OPTIMAL"
    assert result.weights == pytest.approx(np.where(np.arange(40) % 10 < 5, 0.05, 0.0), abs=1e-12)


# Refusals


def test_no_positive_excess_is_typed_with_the_largest_one():
    problem = replace(market(8, 1, caps=False), mu=np.linspace(-0.4, -0.1, 8))
    result = max_sharpe(problem)
    assert (result.status, result.weights) == ("NON_POSITIVE_EXCESS", None)
    assert result.notes["largest_excess"] == pytest.approx(-0.1)
    dear = replace(market(8, 1, caps=False), turnover=100.0, w_prev=np.full(8, 0.125), exit_turnover=1.0)
    assert max_sharpe(dear).status == "NON_POSITIVE_EXCESS"


def test_an_empty_set_is_infeasible_before_the_excess_is_asked_for():
    problem = replace(market(8, 1, caps=False), mu=np.full(8, -0.1), upper=np.full(8, 0.1))
    assert max_sharpe(problem).status == "INFEASIBLE"
    assert max_sharpe(replace(problem, mu=np.full(8, 0.1))).status == "INFEASIBLE"


def test_a_profile_with_returns_needs_them_and_a_positive_aversion():
    bare = replace(market(4, 0, caps=False), mu=None)
    for kernel in (max_sharpe, mean_variance):
        with pytest.raises(ContractError) as caught:
            kernel(bare)
        assert (caught.value.code, caught.value.where) == ("PROBLEM_INVALID", "problem.mu")
    for aversion in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ConfigError) as refused:
            mean_variance(market(4, 0), aversion)
        assert (refused.value.code, refused.value.exit_code) == ("CONFIG_RANGE", 2)


@EVERY
def test_a_corrupted_weight_or_dual_of_any_profile_is_rejected(profile):
    problem = market(20, 3)
    result = PROFILES[profile](problem)

    def judged(weights, duals):
        return check_kkt(problem, weights, duals, formulation=profile, risk_aversion=2.0).status

    assert judged(result.weights, result.duals) == "OPTIMAL"
    inside = np.argsort(-np.minimum(result.weights, problem.caps - result.weights))[:2]
    moved = result.weights.copy()
    moved[inside] += [1e-3, -1e-3]
    assert judged(moved, result.duals) == "SOLVER_FAILED"
    for name, dual in result.duals.items():
        if abs(dual) > 1e-2:
            assert judged(result.weights, result.duals | {name: dual * 1.1}) == "SOLVER_FAILED"
    assert judged(np.full(20, np.nan), result.duals) == "SOLVER_FAILED"


def test_a_covariance_is_validated_to_the_last_tile():
    cov = np.eye(300)
    cov[290, 5] = 1e-9
    with pytest.raises(ContractError, match="not symmetric"):
        Problem(cov)
    for broken in (np.nan, np.inf, -np.inf):
        cov = np.eye(300)
        cov[299, 298] = cov[298, 299] = broken
        with pytest.raises(ContractError, match="not finite"):
            Problem(cov)
