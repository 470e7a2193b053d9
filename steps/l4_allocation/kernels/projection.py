"""Euclidean projection on the constraint polytope.

    min ½‖w − v‖²   s.t. 1'w = 1, l ≤ w ≤ u, G w ≤ h

With E = (1', G), d = (1, h), x = (ν, λ) and λ ≥ 0, multipliers x have the point w(x) = clip(v − E'x, l, u),
and the dual is

    min φ(x) = x'(d − E w(x)) − ½‖w(x) − v‖²,    ∇φ = d − E w(x),    ∂²φ ∋ E_F E_F'

over the free names F: convex and piecewise quadratic. A projected semismooth Newton method (Bertsekas 1982,
Projected Newton methods; Qi & Sun 1993) with a shift that vanishes with the error solves systems of order R
and converges quadratically.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import SolverFailed
from quantctl.steps.l4_allocation.kernels.certificate import explain_infeasibility
from quantctl.steps.l4_allocation.kernels.cones import solve_cones
from quantctl.steps.l4_allocation.kernels.kkt import primal_violation
from quantctl.steps.l4_allocation.kernels.problem import Problem

Array = NDArray[np.float64]

TOLERANCE = 1e-13
FEASIBLE = 1e-9
# Of the Newton method: where violations end, and its limits.
EXACT = 1e-12
ITERATIONS = 100
HALVINGS = 60
DESCENT = 1e-4
LARGEST = 1e150  # Squares of more are infinite.


def project_capped(weights: Array, problem: Problem) -> Array | None:
    """The point of the polytope of `problem` nearest to `weights`, or null if the polytope is empty.

    Parameters
    ----------
    weights : ndarray of shape (N,), finite

    A point that satisfies all rows is returned as it is. Rows of the result hold to 1e-9, on the Newton
    path to 1e-12. O(R² N) per Newton step, a handful of steps; a conic solver takes over where they fail.

    Raises
    ------
    SolverFailed : `PROJECTION_FAILED` where the solvers end without a point and no certificate says why
    """
    if primal_violation(problem, weights) <= 1e-12:
        return weights.copy()
    outcome, point = _solve(weights, problem)
    if point is None and "Infeasible" in outcome and explain_infeasibility(problem) is not None:
        return None
    if point is None or primal_violation(problem, point) > FEASIBLE:
        raise SolverFailed("PROJECTION_FAILED", f"the projection on the caps ended as {outcome}")
    return point


def _solve(weights: Array, problem: Problem) -> tuple[str, Array | None]:
    """(the last solver's word, its point or null)."""
    point = _newton(weights, problem)
    return ("Solved", point) if point is not None else _conic(weights, problem)


def _newton(weights: Array, problem: Problem) -> Array | None:
    """The exact projection, or null where the dual does not settle: an empty polytope, or lost digits."""
    if float(np.abs(weights).max()) > LARGEST:
        return None
    rows = np.vstack([np.ones(problem.size), problem.rows.matrix])
    level = np.concatenate([[1.0], problem.rows.limit])
    dual = _Dual(weights, problem.floors, problem.caps, rows, level)
    x = np.zeros(len(level))
    point, gradient, value = dual.at(x)
    size = max(1.0, float(np.abs(level).max()))
    for _ in range(ITERATIONS):
        if dual.error(x, gradient) <= EXACT * size:
            return point
        moved = _descended(dual, x, point, gradient, value)
        if moved is None or -value > dual.farthest:  # Weak duality: no point of the box is that far away.
            return None
        x = moved
        point, gradient, value = dual.at(x)
    return None


class _Dual:
    """φ of the module's formula."""

    def __init__(self, target: Array, lower: Array, upper: Array, rows: Array, level: Array) -> None:
        self.target, self.lower, self.upper, self.rows, self.level = target, lower, upper, rows, level
        self.farthest = float((np.maximum(np.abs(target - lower), np.abs(target - upper)) ** 2).sum()) / 2.0

    def at(self, x: Array) -> tuple[Array, Array, float]:
        """w(x), ∇φ(x) and φ(x). O(R N)."""
        point = np.clip(self.target - self.rows.T @ x, self.lower, self.upper)
        gradient = self.level - self.rows @ point
        return point, gradient, float(x @ gradient) - float(((point - self.target) ** 2).sum()) / 2.0

    def error(self, x: Array, gradient: Array) -> float:
        """Violation of ν free, λ ≥ 0, slack ≥ 0, λ · slack = 0."""
        return max(abs(float(gradient[0])), float(np.abs(np.minimum(x[1:], gradient[1:])).max(initial=0.0)))


def _descended(dual: _Dual, x: Array, point: Array, gradient: Array, value: float) -> Array | None:
    """The next multipliers on the projected Newton arc, or null where none descends."""
    moving = (x > 0.0) | (gradient < 0.0)
    moving[0] = True
    free = (point > dual.lower) & (point < dual.upper)
    rows = dual.rows[moving][:, free]
    curvature = rows @ rows.T
    error = dual.error(x, gradient)
    # Rows that depend on each other make no wild step, and the shift vanishes with the error it is sized by.
    shift = error * max(1.0, float(np.diag(curvature).max()))
    step = np.zeros_like(x)
    step[moving] = -np.linalg.solve(curvature + shift * np.eye(len(rows)), gradient[moving])
    for _ in range(HALVINGS):
        tried = x + step
        tried[1:] = np.maximum(tried[1:], 0.0)
        gain = float(gradient @ (tried - x))
        _, slope, reached = dual.at(tried)
        # Near the end φ has no digits left to fall; the violations still have.
        if reached <= value + DESCENT * gain < value or dual.error(tried, slope) <= error / 2.0:
            return tried
        step = step / 2.0
    return None


def _conic(weights: Array, problem: Problem) -> tuple[str, Array | None]:
    """The projection by a sparse conic solver: its word, and a point to about 1e-9."""
    from scipy import sparse

    size, rows = problem.size, problem.rows
    eye = sparse.identity(size, format="csc")
    matrix = sparse.vstack(
        [sparse.csc_matrix(np.ones((1, size))), eye, -eye, sparse.csc_matrix(rows.matrix)], format="csc"
    )
    limit = np.concatenate([[1.0], problem.caps, -problem.floors, rows.limit])
    solution = solve_cones(eye, -weights, matrix, limit, 1, TOLERANCE)
    outcome = str(solution.status)
    if "Infeasible" in outcome:
        return outcome, None
    return outcome, np.clip(np.asarray(solution.x), problem.floors, problem.caps)
