"""Euclidean projection on the constraint polytope.

min ½‖w − v‖²   s.t. 1'w = 1, l ≤ w ≤ u, G w ≤ h
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import SolverFailed
from quantctl.steps.l4_allocation.kernels.certificate import explain_infeasibility
from quantctl.steps.l4_allocation.kernels.kkt import primal_violation
from quantctl.steps.l4_allocation.kernels.problem import Problem

Array = NDArray[np.float64]

TOLERANCE = 1e-13
FEASIBLE = 1e-9


def project_capped(weights: Array, problem: Problem) -> Array | None:
    """The point of the polytope of `problem` nearest to `weights`, or null if the polytope is empty.

    Parameters
    ----------
    weights : ndarray of shape (N,), finite

    A point that satisfies all rows is returned as it is. Rows of the result hold to 1e-9. One
    interior-point solve of N variables, O(N) per iteration for disjoint groups.

    Raises
    ------
    SolverFailed : `PROJECTION_FAILED` where the solver ends without a point and no certificate says why
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
    import clarabel
    from scipy import sparse

    size, rows = problem.size, problem.rows
    eye = sparse.identity(size, format="csc")
    matrix = sparse.vstack(
        [sparse.csc_matrix(np.ones((1, size))), eye, -eye, sparse.csc_matrix(rows.matrix)], format="csc"
    )
    limit = np.concatenate([[1.0], problem.caps, -problem.floors, rows.limit])
    settings = clarabel.DefaultSettings()
    settings.verbose, settings.max_threads = False, 1
    settings.tol_feas = settings.tol_gap_abs = settings.tol_gap_rel = TOLERANCE
    cones = [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(2 * size + len(rows.names))]
    solution = clarabel.DefaultSolver(eye, -weights, matrix, limit, cones, settings).solve()
    outcome = str(solution.status)
    if "Infeasible" in outcome:
        return outcome, None
    return outcome, np.clip(np.asarray(solution.x), problem.floors, problem.caps)
