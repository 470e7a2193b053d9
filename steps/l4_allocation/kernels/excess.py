"""The largest numerator a ratio can have: a linear program, solved before the ratio.

max (μ−rf)'w − c(1't + v)   s.t. 1'w = 1, l ≤ w ≤ u, G w ≤ h, t ≥ ±(w − w_prev)
"""

from __future__ import annotations

import numpy as np

from quantctl.contracts.errors import InternalError
from quantctl.steps.l4_allocation.kernels import linear
from quantctl.steps.l4_allocation.kernels.problem import Problem


def largest_excess(problem: Problem) -> float | None:
    """Optimal value of the program above in the units of `problem`, or null if nothing is feasible.

    Raises InternalError `EXCESS_PROGRAM` where the solver has no answer.
    """
    size, rows = problem.size, problem.rows
    cost, matrix, limit = -problem.excess, rows.matrix, rows.limit
    lower, upper, budget = problem.floors, problem.caps, np.ones((1, size))
    if problem.w_prev is not None and problem.traded:
        eye, free = np.eye(size), np.full(size, np.inf)
        cost = np.concatenate([cost, np.full(size, problem.turnover)])
        matrix = np.block([[matrix, np.zeros_like(matrix)], [eye, -eye], [-eye, -eye]])
        limit = np.concatenate([limit, problem.w_prev, -problem.w_prev])
        lower, upper = np.concatenate([lower, -free]), np.concatenate([upper, free])
        budget = np.hstack([budget, np.zeros((1, size))])
    bounds = (lower, upper)
    if limit.size:
        found = linear.solve(cost, matrix, limit, budget, np.ones(1), bounds)
    else:
        found = linear.solve(cost, equality=budget, level=np.ones(1), bounds=bounds)
    if found.status == "infeasible":
        return None
    if found.value is None:
        raise InternalError("EXCESS_PROGRAM", f"the linear program of the excess ended as: {found.message}")
    return -found.value - (problem.turnover * problem.exit_turnover if problem.traded else 0.0)
