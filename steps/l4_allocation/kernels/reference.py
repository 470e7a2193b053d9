"""Readable cvxpy formulations of the convex profiles, solved by Clarabel.

Data are `Parameter`s and every problem is asserted to follow the parametrised rules, so one
canonicalisation serves all solves of one shape. Variance is written as ‖L'w‖² with Σ = LL', since a
quadratic form with a PSD parameter fails the strict test. All problems are in scaled units
(`scaling.py`).
"""

from __future__ import annotations

import warnings
from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.kkt import Multipliers
from quantctl.steps.l4_allocation.kernels.problem import Problem
from quantctl.steps.l4_allocation.kernels.program import Optimum

Array = NDArray[np.float64]

# Cone programs end at 1e-10; a log barrier's solution only starts the Newton polish.
CONE_TOLERANCE = 1e-10
BARRIER_TOLERANCE = 1e-6


class Polytope:
    """1'y = κ, κl ≤ y ≤ κu and G y ≤ κh as constraints on `y` (κ = 1: in w itself), and their multipliers."""

    def __init__(self, y: Any, kappa: Any, rows: int) -> None:
        size = y.size
        self.lower, self.upper = cp.Parameter(size), cp.Parameter(size)
        self.matrix: Any = cp.Parameter((rows, size)) if rows else None
        self.limit: Any = cp.Parameter(rows) if rows else None
        self.budget = cp.sum(y) == kappa
        self.floor, self.cap = y >= self.lower * kappa, y <= self.upper * kappa
        self.rows = [self.matrix @ y <= self.limit * kappa] if rows else []

    @property
    def constraints(self) -> list[Any]:
        """All of them."""
        return [self.budget, self.floor, self.cap, *self.rows]

    def assign(self, problem: Problem) -> None:
        """Take the bounds and rows of `problem`."""
        self.lower.value, self.upper.value = problem.floors, problem.caps
        if self.rows:
            self.matrix.value, self.limit.value = problem.rows.matrix, problem.rows.limit

    def multipliers(self, unit: float = 1.0) -> Multipliers:
        """The multipliers of the last solve, times `unit`."""
        return Multipliers(
            float(self.budget.dual_value) * unit, dual_of(self.floor) * unit, dual_of(self.cap) * unit,
            self.multipliers_of_rows() * unit, 0.0,
        )  # fmt: skip

    def multipliers_of_rows(self) -> Array:
        """Those of G y ≤ κh."""
        return dual_of(self.rows[0]) if self.rows else np.zeros(0)


class Trade:
    """c(1't + vκ) with t ≥ ±(y − κw_prev): the cost of trading, homogenised (κ = 1: in w itself)."""

    def __init__(self, size: int) -> None:
        self.previous, self.traded = cp.Parameter(size), cp.Variable(size)
        self.turnover, self.exit_cost = cp.Parameter(nonneg=True), cp.Parameter(nonneg=True)
        self.sides: list[Any] = []

    def cost_of(self, y: Any, kappa: Any) -> tuple[Any, list[Any]]:
        """The cost as an expression, and the constraints on t."""
        moved = y - self.previous * kappa
        cost = self.turnover * cp.sum(self.traded) + self.exit_cost * kappa
        self.sides = [self.traded >= moved, self.traded >= -moved]
        return cost, self.sides

    def assign(self, problem: Problem) -> None:
        """Take the previous weights and the price of trading of `problem`."""
        self.previous.value, self.turnover.value = problem.w_prev, problem.turnover
        self.exit_cost.value = problem.turnover * problem.exit_turnover

    def settled(self, weights: Array) -> Array:
        """`weights`, exactly at their previous value where both sides of the kink carry a multiplier."""
        previous = np.asarray(self.previous.value)
        both = np.minimum(*(dual_of(side) for side in self.sides))
        return np.where(both > np.abs(weights - previous), previous, weights)


class Quadratic:
    """min ‖F'w‖² − e'w + γ‖w‖² + c‖w − w_prev‖₁   s.t. 1'w = 1, l ≤ w ≤ u, G w ≤ h.

    `rewarded` : whether the objective has e = μ − rf
    """

    def __init__(self, size: int, rows: int, *, traded: bool, rewarded: bool) -> None:
        self.w, self.factor = cp.Variable(size), cp.Parameter((size, size))
        self.l2, self.trade = cp.Parameter(nonneg=True), Trade(size) if traded else None
        self.excess: Any = cp.Parameter(size) if rewarded else None
        self.set = Polytope(self.w, 1.0, rows)
        cost, trades = self.trade.cost_of(self.w, 1.0) if self.trade else (0.0, [])
        risk = cp.sum_squares(self.factor.T @ self.w) + self.l2 * cp.sum_squares(self.w)
        reward = self.excess @ self.w if rewarded else 0.0
        self.problem = cp.Problem(cp.Minimize(risk - reward + cost), [*self.set.constraints, *trades])
        assert self.problem.is_dcp(dpp=True)

    def optimum(self, problem: Problem, factor: Array) -> Optimum:
        """Weights and multipliers of a scaled `problem` for F = `factor`."""
        self.set.assign(problem)
        self.factor.value, self.l2.value = factor, problem.l2
        if self.excess is not None:
            self.excess.value = problem.excess
        if self.trade:
            self.trade.assign(problem)
        outcome, iterations = solved(self.problem, CONE_TOLERANCE)
        if self.w.value is None:
            return Optimum(outcome, iterations, 0)
        weights = np.asarray(self.w.value)
        weights = self.trade.settled(weights) if self.trade else weights
        return Optimum(outcome, iterations, 0, weights, self.set.multipliers())


class MinVariance(Quadratic):
    """min w'Σw + γ‖w‖² + c‖w − w_prev‖₁   s.t. 1'w = 1, l ≤ w ≤ u, G w ≤ h   (m = 1 when scaled)."""

    def __init__(self, size: int, rows: int, *, traded: bool) -> None:
        super().__init__(size, rows, traded=traded, rewarded=False)

    def solve(self, problem: Problem) -> Optimum:
        """Weights and multipliers of a scaled `problem`."""
        return self.optimum(problem, np.asarray(np.linalg.cholesky(problem.cov), dtype=np.float64))


class MaxSharpe:
    """max ((μ−rf)'w − c(‖w−w_prev‖₁ + v)) / √(w'(Σ+γI)w), homogenised by y = κw (Schaible 1974).

    min y'(Σ+γI)y   s.t. (μ−rf)'y − c(1't + vκ) ≥ 1, t ≥ ±(y − κw_prev), 1'y = κ, κl ≤ y ≤ κu,
    G y ≤ κh;   w = y/κ.
    """

    def __init__(self, size: int, rows: int, *, traded: bool) -> None:
        self.y, self.kappa = cp.Variable(size), cp.Variable()
        self.factor, self.excess = cp.Parameter((size, size)), cp.Parameter(size)
        self.l2, self.trade = cp.Parameter(nonneg=True), Trade(size) if traded else None
        self.set = Polytope(self.y, self.kappa, rows)
        cost, trades = self.trade.cost_of(self.y, self.kappa) if self.trade else (0.0, [])
        self.problem = cp.Problem(
            cp.Minimize(cp.sum_squares(self.factor.T @ self.y) + self.l2 * cp.sum_squares(self.y)),
            [self.excess @ self.y - cost >= 1, self.kappa >= 0, *self.set.constraints, *trades],
        )
        assert self.problem.is_dcp(dpp=True)

    def solve(self, problem: Problem) -> Optimum:
        """Weights w = y/κ and multipliers of the ratio's logarithm, for a scaled `problem`."""
        self.set.assign(problem)
        self.factor.value, self.l2.value = np.linalg.cholesky(problem.cov), problem.l2
        self.excess.value = problem.excess
        if self.trade:
            self.trade.assign(problem)
        outcome, iterations = solved(self.problem, CONE_TOLERANCE)
        if self.y.value is None or not float(self.kappa.value) > 0.0:
            return Optimum(outcome, iterations, 0)
        kappa = float(self.kappa.value)
        weights = np.asarray(self.y.value) / kappa
        weights = self.trade.settled(weights) if self.trade else weights
        # The multipliers of the homogenised problem, divided by ∂(y'Qy)/∂κ · κ⁻² = 2 y'Qy/κ.
        unit = kappa / (2.0 * float(self.problem.value))
        return Optimum(outcome, iterations, 0, weights, self.set.multipliers(unit))


class RiskBudget:
    """min ½x'Σx − Σ_i a_i ln x_i   s.t. x ≤ u, G x ≤ h,   a = λb.

    The barrier shares no constraint with a budget: its multiplier would destroy equal risk.
    """

    def __init__(self, size: int, rows: int, *, bounded: bool) -> None:
        self.x, self.factor = cp.Variable(size), cp.Parameter((size, size))
        self.barrier = cp.Parameter(size, nonneg=True)
        self.set = Polytope(self.x, 1.0, rows)
        self.caps = [self.set.cap] if bounded else []
        self.problem = cp.Problem(
            cp.Minimize(cp.sum_squares(self.factor.T @ self.x) / 2 - self.barrier @ cp.log(self.x)),
            [*self.caps, *self.set.rows],
        )
        assert self.problem.is_dcp(dpp=True)

    def solve(self, problem: Problem, budgets: Array, barrier: float) -> Optimum:
        """x(λ) for λ = `barrier` and its multipliers, for a scaled `problem`."""
        self.set.assign(problem)
        self.factor.value, self.barrier.value = np.linalg.cholesky(problem.cov), barrier * budgets
        outcome, iterations = solved(self.problem, BARRIER_TOLERANCE)
        if self.x.value is None:
            return Optimum(outcome, iterations, 0)
        none = np.zeros(problem.size)
        caps = dual_of(self.set.cap) if self.caps else none
        lam = Multipliers(0.0, none, caps, self.set.multipliers_of_rows(), barrier)
        return Optimum(outcome, iterations, 0, np.asarray(self.x.value), lam)


def dual_of(constraint: Any) -> Array:
    """The multipliers of `constraint` as a vector."""
    return np.asarray(constraint.dual_value, dtype=np.float64).reshape(-1)


def solved(problem: cp.Problem, tolerance: float) -> tuple[str, int]:
    """Solve with one thread; the solver's failure is an outcome, not an exception."""
    options = {"tol_feas": tolerance, "tol_gap_abs": tolerance, "tol_gap_rel": tolerance, "max_threads": 1}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Solution may be inaccurate")
        try:
            problem.solve(solver=cp.CLARABEL, warm_start=False, **options)
        except cp.error.SolverError:
            return "solver_error", 0
    return str(problem.status), int(problem.solver_stats.num_iters or 0)
