"""Minimum variance (Markowitz 1952), with penalties in units of the mean variance m = tr Σ/N.

    min w'Σw + γm‖w‖² + cm‖w − w_prev‖₁   s.t. 1'w = 1, l ≤ w ≤ u, G w ≤ h, |β'w| ≤ τ

Divided by m this is ½w'Qw + c‖w − w_prev‖₁ with Q = (2/m)Σ + 2γI.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.engine import NATIVE, Engine
from quantctl.steps.l4_allocation.kernels.problem import Problem, Result
from quantctl.steps.l4_allocation.kernels.quadratic import Climb, program_of
from quantctl.steps.l4_allocation.kernels.scaling import scaled

Array = NDArray[np.float64]


def min_variance(problem: Problem, engine: Engine = NATIVE, start: Array | None = None) -> Result:
    """The portfolio of least variance.

    engine : the rungs that may run
    start : weights (N,) of a neighbouring problem, e.g. of the previous window; cannot change the answer

    Statuses: OPTIMAL, OPTIMAL_REDUCED_ACCURACY, INFEASIBLE (with certificate), SOLVER_FAILED. O(N²) per
    iteration of the active set and |F|³/3 for each new set F of names inside their bounds.
    """
    scale, ridge = 2.0 / problem.mean_variance, 2.0 * problem.l2
    program = program_of(problem, scale, ridge, np.zeros(problem.size), problem.turnover, ratio=False)
    return Climb(
        problem, "min_variance", program, lambda posed: posed.min_variance(scaled(problem)),
        engine, start,
    ).run()  # fmt: skip
