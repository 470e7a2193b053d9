"""Minimum expected shortfall against its definition, linear programs, and the shapes that break solvers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantctl.allocation import Group, Problem, min_cvar
from quantctl.contracts.errors import ContractError
from quantctl.steps.l4_allocation.kernels import linear
from quantctl.steps.l4_allocation.kernels.certificate import farkas_residual, inequalities
from quantctl.steps.l4_allocation.kernels.cvar_direct import simplex_shortfall
from quantctl.steps.l4_allocation.kernels.cvar_kkt import check_cvar
from quantctl.steps.l4_allocation.kernels.cvar_program import cvar_program
from quantctl.steps.l4_allocation.kernels.engine import Engine, reference_engine
from quantctl.steps.l4_allocation.kernels.kkt import name_duals
from quantctl.steps.l4_allocation.kernels.min_cvar import interior_point

REFERENCE = reference_engine()
DIRECT = Engine(("clarabel",))


def scenarios(size: int, bars: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    market = rng.standard_t(4, (bars, 1)) * 0.01
    own = rng.standard_t(4, (bars, size)) * rng.uniform(0.5, 2.0, size) * 0.01
    return market * rng.uniform(-0.5, 1.5, size) + own + 0.0005


def problem_of(returns: np.ndarray, **fields) -> Problem:
    return Problem(np.eye(returns.shape[1]) * 0.04, **fields)


def constrained(size: int, bars: int, seed: int, **fields) -> tuple[Problem, np.ndarray]:
    returns = scenarios(size, bars, seed)
    rng = np.random.default_rng([seed, 1])
    groups = tuple(Group(str(k), np.arange(size) % 4 == k, None, 0.32, "cluster") for k in range(4))
    beta = rng.normal(0.5, 0.6, size)
    problem = problem_of(
        returns, upper=np.full(size, 0.2), groups=groups, beta=beta - beta.mean() + 0.2, **fields
    )
    return problem, returns


def tail_average(losses: np.ndarray, level: float) -> float:
    """Mean of the worst (1−q)T losses, the last of them in part."""
    mass, total = (1.0 - level) * len(losses), 0.0
    left = mass
    for loss in sorted(losses, reverse=True):
        total += min(1.0, left) * loss
        left -= min(1.0, left)
        if left <= 0.0:
            break
    return total / mass


def linear_value(problem: Problem, returns: np.ndarray, level: float) -> float:
    """Rockafellar & Uryasev's linear program in (w, a, z), written out and given to HiGHS."""
    bars, size = returns.shape
    rows = problem.rows
    hinge = np.hstack([-returns, -np.ones((bars, 1)), -np.eye(bars)])
    matrix = np.vstack([hinge, np.hstack([rows.matrix, np.zeros((len(rows.limit), bars + 1))])])
    cost = np.concatenate([np.zeros(size), [1.0], np.full(bars, 1.0 / ((1.0 - level) * bars))])
    low = np.concatenate([problem.floors, [-np.inf], np.zeros(bars)])
    high = np.concatenate([problem.caps, [np.inf], np.full(bars, np.inf)])
    budget = np.concatenate([np.ones(size), np.zeros(bars + 1)])[None]
    found = linear.solve(
        cost, matrix, np.concatenate([np.zeros(bars), rows.limit]), budget, np.ones(1), (low, high)
    )
    return found.value


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_the_objective_is_the_average_of_the_worst_scenarios_and_a_is_their_quantile(level):
    """Rockafellar & Uryasev 2000, theorem 1: the minimising a is a value at risk."""
    returns = scenarios(8, 180, 1)
    result = min_cvar(problem_of(returns), returns, level)
    losses = -(returns @ result.weights)
    assert result.objective == pytest.approx(tail_average(losses, level), rel=1e-12)
    var, mass = result.notes["var"], (1.0 - level) * 180
    assert (losses > var + 1e-12).sum() <= mass + 1e-9 <= (losses >= var - 1e-12).sum() + 1e-9
    assert var <= result.notes["cvar"]


@pytest.mark.parametrize("seed", range(6))
def test_without_penalties_the_value_is_that_of_the_linear_program(seed):
    problem, returns = constrained(14, 160, seed)
    result = min_cvar(problem, returns)
    assert result.status == "OPTIMAL" and result.attempts[0].rung == "fast"
    assert result.objective == pytest.approx(linear_value(problem, returns, 0.95), rel=1e-9)


@pytest.mark.parametrize("kinked", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.05])
@pytest.mark.parametrize("engine", [Engine(("ipm",)), DIRECT, REFERENCE], ids=["ipm", "clarabel", "cvxpy"])
def test_every_rung_ends_in_the_same_weights(engine, l2, kinked):
    fields = {"turnover": 0.02, "w_prev": np.full(12, 1 / 12)} if kinked else {}
    problem, returns = constrained(12, 150, 3, l2=l2, **fields)
    fast, other = min_cvar(problem, returns), min_cvar(problem, returns, engine=engine)
    assert other.attempts[0].rung in engine.rungs and fast.attempts[0].rung == "fast"
    assert other.weights == pytest.approx(fast.weights, abs=1e-8)
    assert other.objective_penalised == pytest.approx(fast.objective_penalised, rel=1e-7)


@pytest.mark.parametrize("kinked", [False, True])
def test_primal_and_dual_vertex_of_the_simplex_are_optimal_too(kinked):
    fields = {"turnover": 0.02, "w_prev": np.full(12, 1 / 12)} if kinked else {}
    problem, returns = constrained(12, 150, 4, **fields)
    program = cvar_program(problem, returns, 0.95)
    point = simplex_shortfall(program).point
    duals = name_duals(problem, point.multipliers)
    kkt = check_cvar(problem, returns, point.weights, duals, point.tail, point.var * program.unit)
    assert kkt.status == "OPTIMAL"
    assert point.weights == pytest.approx(min_cvar(problem, returns).weights, abs=1e-9)


@given(
    size=st.integers(2, 12), bars=st.integers(2, 60), seed=st.integers(0, 10_000),
    l2=st.sampled_from([0.0, 0.05]), level=st.sampled_from([0.3, 0.8, 0.95]), kinked=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_no_feasible_portfolio_has_a_smaller_penalised_shortfall(size, bars, seed, l2, level, kinked):
    returns = scenarios(size, bars, seed)
    rng = np.random.default_rng(seed)
    fields = {"turnover": 0.05, "w_prev": rng.dirichlet(np.ones(size))} if kinked else {}
    problem = problem_of(returns, upper=np.full(size, max(0.4, 1.2 / size)), l2=l2, **fields)
    result = min_cvar(problem, returns, level)
    assert result.status == "OPTIMAL", result.attempts
    assert abs(result.weights.sum() - 1.0) <= 1e-10
    unit = np.sqrt(returns.var(axis=0, ddof=1).mean())
    for raw in rng.dirichlet(np.full(size, 0.5), 20):
        # Any mix with the optimum that respects the caps.
        step = min(1.0, *((problem.caps - result.weights)[raw > problem.caps] /
                          (raw - result.weights)[raw > problem.caps]), 1.0)  # fmt: skip
        w = result.weights + step * (raw - result.weights)
        value = tail_average(-(returns @ w), level) + l2 * unit * (w @ w)
        if kinked:
            value += 0.05 * unit * np.abs(w - problem.w_prev).sum()
        assert value >= result.objective_penalised - 1e-12


def test_bounds_groups_and_beta_hold():
    problem, returns = constrained(16, 200, 5, l2=0.05)
    w = min_cvar(problem, returns).weights
    assert (w >= -1e-12).all() and (w <= 0.2 + 1e-12).all()
    assert all(w[group.members].sum() <= 0.32 + 1e-10 for group in problem.groups)
    assert abs(problem.beta @ w) <= problem.beta_tol + 1e-10


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1e8])
def test_scaling_the_scenarios_scales_the_shortfall_and_leaves_the_weights(scale):
    problem, returns = constrained(10, 120, 6, l2=0.05, turnover=0.01, w_prev=np.full(10, 0.1))
    once, scaled = min_cvar(problem, returns), min_cvar(problem, returns * scale)
    assert scaled.weights == pytest.approx(once.weights, abs=1e-9)
    assert scaled.objective_penalised == pytest.approx(once.objective_penalised * scale, rel=1e-9)


@pytest.mark.parametrize("l2", [0.0, 0.05])
def test_permuting_atoms_permutes_weights(l2):
    problem, returns = constrained(11, 140, 7, l2=l2)
    order = np.random.default_rng(0).permutation(11)
    shuffled = replace(
        problem, beta=problem.beta[order],
        groups=tuple(g._replace(members=g.members[order]) for g in problem.groups),
    )  # fmt: skip
    expected = min_cvar(problem, returns).weights[order]
    assert min_cvar(shuffled, returns[:, order]).weights == pytest.approx(expected, abs=1e-10)


def test_permuting_scenarios_changes_nothing():
    problem, returns = constrained(9, 130, 8, l2=0.05)
    order = np.random.default_rng(1).permutation(130)
    expected = min_cvar(problem, returns).weights
    assert min_cvar(problem, returns[order]).weights == pytest.approx(expected, abs=1e-10)


def test_the_same_input_gives_the_same_bits_and_is_not_changed():
    problem, returns = constrained(9, 130, 9)
    before = returns.copy()
    first, second = min_cvar(problem, returns), min_cvar(problem, returns)
    assert first.weights.tobytes() == second.weights.tobytes() and (returns == before).all()


def test_identical_atoms_get_equal_weights_under_a_ridge():
    returns = scenarios(5, 150, 10)
    returns = np.column_stack([returns, returns[:, 1], returns[:, 1]])
    w = min_cvar(problem_of(returns, l2=0.05), returns).weights
    assert w[1] == pytest.approx(w[5], abs=1e-10) and w[1] == pytest.approx(w[6], abs=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_of_many_optimal_weights_the_least_norm_is_chosen_by_every_rung(seed):
    """Few scenarios and copies leave a face of optima; no mix of its points is shorter than ours."""
    returns = scenarios(8, 12, 30 + seed)
    returns = np.column_stack([returns, returns[:, :3]])
    problem = problem_of(returns, upper=np.full(11, 0.3))
    weights = [min_cvar(problem, returns, 0.9, e).weights for e in (Engine(), Engine(("ipm",)), DIRECT)]
    for other in weights[1:]:
        assert other == pytest.approx(weights[0], abs=1e-8)
    vertex = simplex_shortfall(cvar_program(problem, returns, 0.9)).point.weights
    assert weights[0] @ weights[0] <= vertex @ vertex + 1e-10
    assert weights[0][:3] == pytest.approx(weights[0][8:], abs=1e-8)


def test_scenarios_that_were_left_out_wrongly_are_found_by_a_later_rung_or_the_exact_end():
    """At 99 % with opposite streams the first steps say little about the tail."""
    for seed in range(8):
        half = scenarios(10, 400, 50 + seed)
        returns = np.column_stack([half, 0.9 * -half + 0.001])
        problem = problem_of(returns, upper=np.full(20, 0.15))
        result = min_cvar(problem, returns, 0.99)
        assert result.status == "OPTIMAL"
        assert result.objective == pytest.approx(linear_value(problem, returns, 0.99), rel=1e-9)


def test_splitting_an_atom_leaves_its_total_unchanged_without_penalties():
    returns = scenarios(5, 150, 11)
    whole = min_cvar(problem_of(returns), returns).weights
    halves = np.column_stack([returns, returns[:, 2]])
    split = min_cvar(problem_of(halves), halves).weights
    assert split[2] + split[5] == pytest.approx(whole[2], abs=1e-9)


@pytest.mark.parametrize("l2", [0.0, 0.05])
@pytest.mark.parametrize("bars", [1, 2, 7, 24])
def test_fewer_scenarios_than_atoms(bars, l2):
    returns = scenarios(25, bars, 12)
    problem = problem_of(returns, upper=np.full(25, 0.2), l2=l2)
    result = min_cvar(problem, returns, 0.8)
    assert result.status == "OPTIMAL"
    if l2 == 0.0:
        assert result.objective == pytest.approx(linear_value(problem, returns, 0.8), rel=1e-9)


def test_opposite_atoms_hedge_each_other_exactly():
    stream = scenarios(1, 120, 13)[:, 0] - 0.0005
    returns = np.column_stack([stream, -stream])
    result = min_cvar(problem_of(returns), returns)
    assert result.weights == pytest.approx([0.5, 0.5], abs=1e-10)
    assert result.objective == pytest.approx(0.0, abs=1e-14)


def test_equal_scenarios_leave_only_the_return():
    """With one scenario repeated the shortfall is its loss, whatever the penalties: m_x is 0."""
    row = np.array([[0.01, -0.02, 0.03, 0.0]])
    returns = np.repeat(row, 40, axis=0)
    result = min_cvar(problem_of(returns, upper=np.full(4, 0.6), l2=0.1), returns)
    assert result.weights == pytest.approx([0.4, 0.0, 0.6, 0.0], abs=1e-10)
    assert result.objective == pytest.approx(-0.022, rel=1e-12)


def test_scenarios_of_zeros_are_optimal_everywhere():
    result = min_cvar(problem_of(np.zeros((30, 3))), np.zeros((30, 3)))
    assert result.status == "OPTIMAL" and result.objective == 0.0


def test_a_thin_tail_is_named():
    returns = scenarios(4, 99, 14)
    assert "CVAR_TAIL_THIN" in min_cvar(problem_of(returns), returns).warnings
    returns = scenarios(4, 100, 14)
    assert min_cvar(problem_of(returns), returns).warnings == ()


@pytest.mark.parametrize("family", ["caps", "beta"])
def test_impossible_rows_end_with_a_verified_certificate(family):
    returns = scenarios(6, 80, 15)
    fields = {"upper": np.full(6, 0.1)} if family == "caps" else {"beta": np.linspace(0.5, 1.5, 6)}
    problem = problem_of(returns, **fields)
    for engine in (Engine(), DIRECT, REFERENCE):
        result = min_cvar(problem, returns, engine=engine)
        assert result.status == "INFEASIBLE" and result.weights is None
        assert result.certificate["code"] == f"INFEASIBLE_{family.upper()}"
        names, matrix, limit = inequalities(problem)
        duals = result.certificate["multipliers"]
        y = np.array([duals.get(name, 0.0) for name in names])
        residual, value = farkas_residual(matrix, limit, duals["budget"], y)
        assert residual <= 1e-8 and value < 0.0


def test_one_atom_takes_everything_or_is_certified():
    returns = scenarios(1, 50, 16)
    result = min_cvar(problem_of(returns), returns)
    assert result.weights.tolist() == [1.0] and result.attempts[0].rung == "closed_form"
    assert result.objective == pytest.approx(tail_average(-returns[:, 0], 0.95), rel=1e-12)
    assert min_cvar(problem_of(returns, upper=[0.5]), returns).status == "INFEASIBLE"


@pytest.mark.parametrize("side", ["upper", "lower"])
def test_bounds_that_leave_one_point_are_optimal_there(side):
    returns = scenarios(6, 90, 17)
    shares = np.array([0.3, 0.2, 0.2, 0.1, 0.1, 0.1])
    problem = problem_of(returns, l2=0.05, turnover=0.02, w_prev=np.full(6, 1 / 6), **{side: shares})
    result = min_cvar(problem, returns)
    assert result.status == "OPTIMAL" and result.weights == pytest.approx(shares)


def test_groups_that_leave_no_interior_are_met():
    """Two groups of at most one half each: both must be full."""
    returns = scenarios(8, 120, 18)
    halves = tuple(Group(str(k), np.arange(8) % 2 == k, None, 0.5, "cluster") for k in range(2))
    problem = problem_of(returns, groups=halves)
    result = min_cvar(problem, returns)
    assert result.status == "OPTIMAL" and result.weights[::2].sum() == pytest.approx(0.5, abs=1e-10)
    assert result.objective == pytest.approx(linear_value(problem, returns, 0.95), rel=1e-9)


def test_fixed_weights_stay_where_they_are():
    returns = scenarios(6, 120, 19)
    fixed = problem_of(returns, lower=[0.1, 0, 0, 0, 0.2, 0], upper=[0.1, 1, 1, 1, 0.2, 0.3])
    result = min_cvar(fixed, returns)
    assert result.weights[[0, 4]].tolist() == [0.1, 0.2]
    assert result.objective == pytest.approx(linear_value(fixed, returns, 0.95), rel=1e-9)


def test_trading_costs_keep_small_changes_at_home():
    returns = scenarios(12, 150, 20)
    home = np.full(12, 1 / 12)
    moved = [
        np.abs(min_cvar(problem_of(returns, turnover=c, w_prev=home), returns).weights - home)
        for c in (0.0, 0.1, 0.2, 10.0)
    ]
    counts, sums = [int((part > 0.0).sum()) for part in moved], [part.sum() for part in moved]
    assert counts[0] == 12 > counts[1] >= counts[2] > counts[3] == 0
    assert all(more >= less - 1e-12 for more, less in pairwise(sums))


def test_a_corrupted_weight_tail_or_dual_is_rejected():
    problem, returns = constrained(10, 120, 21, l2=0.05)
    program = cvar_program(problem, returns, 0.95)
    point = interior_point(program).point
    duals, var = name_duals(problem, point.multipliers), point.var * program.unit
    right = (point.weights, duals, point.tail, var)
    assert check_cvar(problem, returns, *right).status == "OPTIMAL"
    swapped = point.weights.copy()
    swapped[:2] += [1e-4, -1e-4]
    heavier = point.tail.copy()
    heavier[np.argmax(heavier)] *= 1.0001
    shifted = duals | {"budget": duals["budget"] + 1e-4}
    for wrong in (
        (swapped, *right[1:]), (right[0], shifted, *right[2:]),
        (*right[:2], heavier, var), (*right[:3], var * 1.01), (right[0], duals, point.tail[:-1], var),
    ):  # fmt: skip
        assert check_cvar(problem, returns, *wrong).status == "SOLVER_FAILED"


def test_no_rung_means_no_weights():
    returns = scenarios(5, 60, 22)
    assert min_cvar(problem_of(returns), returns, engine=Engine(())).status == "SOLVER_FAILED"


@pytest.mark.parametrize(
    ("returns", "level", "where"),
    [
        (np.zeros((10, 2)), 0.95, "returns"),
        (np.full((10, 3), np.nan), 0.95, "returns"),
        (np.zeros((0, 3)), 0.95, "returns"),
        (np.zeros((10, 3)), 1.0, "level"),
        (np.zeros((10, 3)), 0.0, "level"),
    ],
)
def test_invalid_scenarios_name_their_field(returns, level, where):
    with pytest.raises(ContractError) as caught:
        min_cvar(Problem(np.eye(3)), returns, level)
    assert caught.value.code == "PROBLEM_INVALID" and where in caught.value.where


def test_the_fast_rung_imports_neither_modelling_library_nor_solver():
    code = (
        "import sys, numpy as np\n"
        "from quantctl.allocation import Problem, min_cvar\n"
        "x = np.random.default_rng(0).standard_normal((100, 4)) * .01\n"
        "assert min_cvar(Problem(np.eye(4)), x).status == 'OPTIMAL'\n"
        "print([m for m in ('cvxpy', 'clarabel', 'scipy.stats', 'scipy.optimize') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
