"""The largest numerator a ratio can have: a linear program, solved before the ratio.

max (μ−rf)'w − c(1't + v)   s.t. 1'w = 1, l ≤ w ≤ u, G w ≤ h, t ≥ ±(w − w_prev)
"""

from __future__ import annotations

import numpy as np

from quantctl.contracts.errors import InternalError
from quantctl.steps.l4_allocation.kernels.problem import Problem

_INFEASIBLE = 2


def largest_excess(problem: Problem) -> float | None:
    """Optimal value of the program above in the units of `problem`, or null if nothing is feasible."""
    from scipy.optimize import linprog

    size, rows = problem.size, problem.rows
    traded = problem.w_prev is not None and problem.turnover > 0.0
    width = 2 * size if traded else size
    cost = np.concatenate([-problem.excess, np.full(width - size, problem.turnover)])
    matrix = np.zeros((len(rows.names), width))
    matrix[:, :size] = rows.matrix
    limit = rows.limit
    if traded:
        eye = np.eye(size)
        matrix = np.vstack([matrix, np.hstack([eye, -eye]), np.hstack([-eye, -eye])])
        limit = np.concatenate([limit, problem.w_prev, -problem.w_prev])  # type: ignore[operator]
    budget = np.zeros((1, width))
    budget[0, :size] = 1.0
    bounds = [*zip(problem.floors, problem.caps, strict=True), *[(None, None)] * (width - size)]
    found = linprog(
        cost, matrix if len(limit) else None, limit if len(limit) else None, budget, [1.0], bounds,
        method="highs-ds",
    )  # fmt: skip
    if found.status == _INFEASIBLE:
        return None
    if found.status != 0:
        raise InternalError("EXCESS_PROGRAM", f"the linear program of the excess ended as: {found.message}")
    return -float(found.fun) - (problem.turnover * problem.exit_turnover if traded else 0.0)
