"""Equal weight: 1/N over the atoms of the problem. Bounds, groups and beta are not looked at."""

from __future__ import annotations

import numpy as np

from quantctl.steps.l4_allocation.kernels.problem import Attempt, Kkt, Problem, Result


def equal_weight(problem: Problem) -> Result:
    """w_i = 1/N; it always sums to 1 and is always OPTIMAL, having no objective but itself."""
    weights = np.full(problem.size, 1.0 / problem.size)
    variance = float(weights @ problem.cov @ weights)
    violation = abs(float(weights.sum()) - 1.0)
    return Result(
        weights, "OPTIMAL", variance, variance, Kkt(violation, 0.0, 0.0, 0.0, "OPTIMAL"),
        attempts=(Attempt("closed_form", "OPTIMAL"),),
    )  # fmt: skip
