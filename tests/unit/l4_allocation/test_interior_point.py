"""The interior point and the conic solver: the same optimum as the readable formulations, or an outcome."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantctl.allocation import Group, Problem, max_sharpe, min_variance
from quantctl.steps.l4_allocation.kernels import conic, interior_point
from quantctl.steps.l4_allocation.kernels.engine import Engine, reference_engine
from quantctl.steps.l4_allocation.kernels.program import Program

SOLVERS = {"interior_point": interior_point.solve, "conic": conic.solve}
REFERENCE = reference_engine()


def program(seed: int, size: int = 12, *, ratio: bool = False, kink: float = 0.0, bars: int = 60) -> Program:
    """Random factor covariance, capped groups and a beta row; T < N where `bars` is small."""
    rng = np.random.default_rng(seed)
    returns = rng.standard_normal((bars, 1)) + rng.standard_normal((bars, size)) * rng.uniform(0.5, 2, size)
    cov = np.cov(returns.T)
    cov = (cov + cov.T) / 2 / np.trace(cov) * size
    beta = rng.uniform(-0.5, 1.0, size)
    rows = np.vstack([np.arange(size) % 3 == k for k in range(3)]).astype(float)
    rows = np.vstack([rows, beta, -beta])
    previous = rng.dirichlet(np.ones(size)) if kink else None
    gain = rng.standard_normal(size) * 0.3 if ratio else rng.standard_normal(size) * 0.1
    if ratio:
        gain[: size // 2] = np.abs(gain[: size // 2]) + 0.2
    return Program(
        cov, 1.0, 0.05, gain, ratio, np.zeros(size), np.full(size, 0.3), rows,
        np.array([0.45, 0.45, 0.45, 0.4, 0.4]), kink, previous, 0.1 if kink else 0.0,
    )  # fmt: skip


def objective(data: Program, weights: np.ndarray) -> float:
    traded = 0.0 if data.previous is None else float(np.abs(weights - data.previous).sum())
    pressed = data.scale * data.cov @ weights + data.ridge * weights
    if data.ratio:
        numerator = data.gain @ weights - data.kink * (traded + data.exit_turnover)
        return -float(numerator / np.sqrt(weights @ pressed))
    return float(weights @ pressed / 2 - data.gain @ weights + data.kink * traded)


def violation(data: Program, weights: np.ndarray) -> float:
    over = (data.rows @ weights - data.limit).max(initial=0.0)
    bounds = max((data.lower - weights).max(), (weights - data.upper).max())
    return max(abs(weights.sum() - 1.0), over, bounds)


@pytest.mark.parametrize("ratio", [False, True])
@pytest.mark.parametrize("kink", [0.0, 0.02])
@pytest.mark.parametrize("bars", [8, 60])
@pytest.mark.parametrize("seed", range(6))
def test_both_solvers_find_one_optimum(seed, bars, kink, ratio):
    data = program(seed, ratio=ratio, kink=kink, bars=bars)
    found = {name: solve(data) for name, solve in SOLVERS.items()}
    assert {one.outcome for one in found.values()} == {"optimal"}
    for one in found.values():
        assert violation(data, one.weights) <= 1e-8
    inner, outer = (found[name].weights for name in SOLVERS)
    assert objective(data, inner) == pytest.approx(objective(data, outer), rel=1e-8, abs=1e-9)
    assert inner == pytest.approx(outer, abs=1e-6)


@pytest.mark.parametrize("ratio", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_no_feasible_point_beats_the_optimum(solver, ratio):
    data = program(3, ratio=ratio)
    best = objective(data, SOLVERS[solver](data).weights)
    rng = np.random.default_rng(0)
    tried = rng.dirichlet(np.ones(data.size) * 3, 20_000)
    feasible = [w for w in tried if violation(data, w) <= 0.0 and (not ratio or data.gain @ w > 0)]
    assert len(feasible) > 20
    assert min(objective(data, w) for w in feasible) >= best - 1e-9


@pytest.mark.parametrize("ratio", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_multipliers_carry_the_gradient(solver, ratio):
    data = program(5, ratio=ratio)
    found = SOLVERS[solver](data)
    weights, lam = found.weights, found.multipliers
    pressed = data.scale * data.cov @ weights + data.ridge * weights
    if ratio:
        gradient = pressed / (weights @ pressed) - data.gain / (data.gain @ weights)
    else:
        gradient = pressed - data.gain
    residual = gradient + lam.budget - lam.lower + lam.upper + data.rows.T @ lam.rows
    assert np.abs(residual).max() <= 1e-6 * np.abs(gradient).max()
    assert min(lam.lower.min(), lam.upper.min(), lam.rows.min()) >= -1e-9


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    "change",
    [
        {"upper": np.full(12, 0.05)},
        {"limit": np.array([0.2, 0.2, 0.2, 0.4, 0.4])},
        {"lower": np.full(12, 0.1), "upper": np.full(12, 0.3)},
    ],
)
def test_an_empty_set_is_suspected_and_never_an_exception(solver, change):
    data = replace(program(1), **change)
    found = SOLVERS[solver](data)
    assert found.outcome != "optimal"
    assert found.outcome == "infeasible" or found.weights is None or violation(data, found.weights) > 1e-6


def test_fixed_names_leave_one_point():
    weights = np.random.default_rng(2).dirichlet(np.ones(12))
    data = replace(program(1), lower=weights, upper=weights, limit=np.full(5, 1.0))
    found = interior_point.solve(data)
    assert found.outcome == "optimal"
    assert found.weights == pytest.approx(weights, abs=1e-12)


def test_one_factorisation_for_each_iteration():
    found = interior_point.solve(program(4, size=60, bars=200))
    assert found.factorisations == found.iterations <= 25


def residual(data: Program, found) -> float:
    """Stationarity, signs and complementarity of the claim, relative to the gradient's terms."""
    w, lam = found.weights, found.multipliers
    pressed = data.scale * data.cov @ w + data.ridge * w
    kink, moved = 0.0, np.zeros(data.size)
    if data.kink and data.previous is not None:
        kink, moved = data.kink, w - data.previous
    size, left = float(np.abs(pressed).max() + np.abs(data.gain).max()), pressed - data.gain
    if data.ratio:
        numerator = data.gain @ w - kink * (np.abs(moved).sum() + data.exit_turnover)
        left, kink = pressed / (w @ pressed) - data.gain / numerator, kink / numerator
        size = float(np.abs(data.gain).max()) / numerator
    left = left + lam.budget - lam.lower + lam.upper + data.rows.T @ lam.rows
    slope = np.where(np.abs(moved) > 1e-7, kink * np.sign(moved), np.clip(-left, -kink, kink))
    products = [
        lam.lower @ (w - data.lower),
        lam.upper @ (data.upper - w),
        lam.rows @ (data.limit - data.rows @ w),
    ]
    signs = -min(lam.lower.min(), lam.upper.min(), lam.rows.min(initial=0.0), 0.0)
    return max(float(np.abs(left + slope).max()), signs, *(abs(float(p)) for p in products)) / size


# No interior: what caps and neutral rows really look like.

WITHOUT_INTERIOR = {
    "groups that fill the budget exactly": {"limit": np.array([1 / 3, 1 / 3, 1 / 3, 9.0, 9.0])},
    "a beta of exactly zero": {"beta": 0.0},
    "caps that leave one point": {"upper": np.full(12, 1 / 12), "limit": np.full(5, 9.0)},
    "a name without room": {"lower": np.r_[0.1, np.zeros(11)], "upper": np.r_[0.1, np.full(11, 0.3)]},
    "a row without members": {"empty": 0.0},
    "every row twice": {"twice": True},
}


def without_interior(data: Program, change: dict) -> Program:
    if "beta" in change:
        beta = np.random.default_rng(3).standard_normal(data.size)
        rows = np.vstack([data.rows[:3], beta, -beta])
        return replace(data, rows=rows, limit=np.r_[data.limit[:3], 0.0, 0.0])
    if "empty" in change:
        return replace(data, rows=np.vstack([data.rows, np.zeros(12)]), limit=np.r_[data.limit, 0.0])
    if "twice" in change:
        return replace(data, rows=np.vstack([data.rows] * 2), limit=np.tile(data.limit, 2))
    return replace(data, **change)


@pytest.mark.parametrize("ratio", [False, True])
@pytest.mark.parametrize("kink", [0.0, 0.02])
@pytest.mark.parametrize("change", WITHOUT_INTERIOR.values(), ids=WITHOUT_INTERIOR)
def test_a_set_without_interior_is_solved_as_well(change, kink, ratio):
    data = without_interior(program(7, ratio=ratio, kink=kink), change)
    found, other = interior_point.solve(data), conic.solve(data)
    assert found.outcome == "optimal"
    assert violation(data, found.weights) <= 1e-9 and residual(data, found) <= 1e-7
    assert objective(data, found.weights) == pytest.approx(objective(data, other.weights), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("spread", [1e-4, 1e-7, 1e-10])
def test_a_nearly_singular_covariance_is_no_obstacle(spread):
    """Streams in near-identical pairs: condition numbers up to 1e10."""
    data = program(8, size=12)
    pairs = np.kron(np.eye(6), np.ones((2, 1)))
    cov = pairs @ data.cov[:6, :6] @ pairs.T + spread * np.eye(12)
    found = interior_point.solve(replace(data, cov=cov, ridge=0.0))
    assert found.outcome == "optimal" and residual(replace(data, cov=cov, ridge=0.0), found) <= 1e-8


def problem(seed: int, bars: int, turnover: float) -> Problem:
    rng = np.random.default_rng(seed)
    returns = rng.standard_normal((bars, 20)) * 0.02 + 0.01 * rng.standard_normal((bars, 1))
    cov = np.cov(returns.T) * 252
    cov = (cov + cov.T) / 2 + 1e-5 * np.eye(20)
    groups = tuple(Group(str(k), np.arange(20) % 5 == k, None, 0.205, "cluster") for k in range(5))
    return Problem(
        cov, mu=rng.normal(0.1, 0.2, 20), upper=np.full(20, 0.15), groups=groups,
        beta=rng.normal(0.6, 0.5, 20), beta_tol=0.5, l2=0.05,
        turnover=turnover, w_prev=rng.dirichlet(np.ones(20)), exit_turnover=0.2,
    )  # fmt: skip


@pytest.mark.parametrize("kernel", [min_variance, max_sharpe])
@pytest.mark.parametrize("turnover", [0.0, 0.005])
@pytest.mark.parametrize("bars", [12, 250])
@pytest.mark.parametrize("seed", range(3))
def test_the_interior_point_alone_agrees_with_the_readable_formulation(seed, bars, turnover, kernel):
    posed = problem(seed, bars, turnover)
    alone, exact, readable = (kernel(posed, e) for e in (Engine(("ipm",)), Engine(), REFERENCE))
    assert alone.status == "OPTIMAL" and alone.attempts[-1].rung == "ipm" and readable.accepted
    # The readable one ends some of these at reduced accuracy, which is then the accuracy of the comparison.
    accuracy = 1e-8 if readable.status == "OPTIMAL" else 1e-6
    assert alone.objective_penalised == pytest.approx(readable.objective_penalised, rel=accuracy)
    assert alone.objective_penalised == pytest.approx(exact.objective_penalised, rel=1e-8)
    assert alone.weights == pytest.approx(exact.weights, abs=1e-6)


# Whatever is asked, the solver ends in an outcome.

EDGES = st.sampled_from([0.0, 0.02, 1 / 12, 0.1, 0.3, 1.0])


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 10_000),
    EDGES,
    EDGES,
    EDGES,
    st.booleans(),
    st.booleans(),
    st.sampled_from([1e-8, 1.0, 1e8]),
)
def test_any_finite_program_ends_in_an_outcome_that_holds(seed, low, high, cap, ratio, kinked, scale):
    data = program(seed, ratio=ratio, kink=0.02 if kinked else 0.0)
    data = replace(
        data, lower=np.full(12, -low), upper=np.full(12, high), limit=np.r_[np.full(3, cap), 0.1, 0.1],
        scale=scale, ridge=0.05 * scale,
    )  # fmt: skip
    found = interior_point.solve(data)
    assert found.outcome in ("optimal", "stalled", "infeasible", "no_ratio")
    if found.outcome == "optimal":
        assert violation(data, found.weights) <= 1e-7 and residual(data, found) <= 1e-5
    if found.outcome in ("infeasible", "no_ratio"):
        assert conic.solve(data).weights is None


@pytest.mark.parametrize("kink", [0.0, 5.0])
def test_where_no_numerator_is_positive_there_is_no_ratio(kink):
    data = program(2, ratio=True, kink=kink)
    data = data if kink else replace(data, gain=-np.abs(data.gain) - 0.01)
    found = interior_point.solve(data)
    assert found.outcome == "no_ratio" and found.weights is None
    lone = replace(data, lower=np.full(12, 1 / 12), upper=np.full(12, 1 / 12), limit=np.full(5, 9.0))
    assert interior_point.solve(lone).outcome == "no_ratio"


def test_the_same_program_gives_the_same_bits():
    data = program(6, size=40, bars=100, ratio=True, kink=0.02)
    first, second = interior_point.solve(data), interior_point.solve(data)
    assert first.weights.tobytes() == second.weights.tobytes()
    assert first.multipliers.rows.tobytes() == second.multipliers.rows.tobytes()
