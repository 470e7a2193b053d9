"""The interior point and the conic solver: the same optimum as the readable formulations, or an outcome."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quantctl.steps.l4_allocation.kernels import conic, interior_point
from quantctl.steps.l4_allocation.kernels.program import Program

SOLVERS = {"interior_point": interior_point.solve, "conic": conic.solve}


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
