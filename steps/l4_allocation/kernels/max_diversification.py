"""Maximum diversification (Choueifaty & Coignard 2008): weighted volatility over volatility.

    max s'w / √(w'Σw)   s.t. 1'w = 1, l ≤ w ≤ u, G w ≤ h, |β'w| ≤ τ,     s = √diag Σ

The ratio of `max_sharpe` with s for μ − rf, without penalties.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.engine import NATIVE, Engine
from quantctl.steps.l4_allocation.kernels.problem import Problem, Result
from quantctl.steps.l4_allocation.kernels.quadratic import Climb, program_of
from quantctl.steps.l4_allocation.kernels.scaling import scaled

Array = NDArray[np.float64]


def max_diversification(problem: Problem, engine: Engine = NATIVE, start: Array | None = None) -> Result:
    """The portfolio of the largest diversification ratio; `l2` and `turnover` are not part of it.

    engine : the rungs that may run
    start : weights (N,) of a neighbouring problem; cannot change the answer

    Statuses: OPTIMAL, OPTIMAL_REDUCED_ACCURACY, INFEASIBLE (with certificate), SOLVER_FAILED. `notes`
    holds the ratio, at least 1 where no weight is negative. Cost as `min_variance`.
    """
    gain = problem.volatilities / problem.mean_variance**0.5
    program = program_of(problem, 1.0 / problem.mean_variance, 0.0, gain, 0.0, ratio=True)
    return Climb(
        problem, "max_diversification", program,
        lambda posed: posed.max_diversification(scaled(problem)), engine, start,
    ).run()  # fmt: skip
