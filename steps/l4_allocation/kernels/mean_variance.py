"""Mean–variance utility (Markowitz 1952), in return units.

    min ½g w'Σw − (μ−rf)'w + γm‖w‖² + c‖w − w_prev‖₁   s.t. 1'w = 1, l ≤ w ≤ u, G w ≤ h, |β'w| ≤ τ

g is the risk aversion; c is a return per unit traded. Solved divided by s_μ = max|μ − rf|: Q = (g/s_μ)Σ +
(2γm/s_μ)I. Unlike the other profiles it weighs risk against return, so Σ → kΣ changes the answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import ConfigError
from quantctl.steps.l4_allocation.kernels.engine import NATIVE, Engine
from quantctl.steps.l4_allocation.kernels.problem import Problem, Result
from quantctl.steps.l4_allocation.kernels.quadratic import Climb, program_of
from quantctl.steps.l4_allocation.kernels.scaling import scale_of, scaled_utility

Array = NDArray[np.float64]


def mean_variance(
    problem: Problem, risk_aversion: float = 1.0, engine: Engine = NATIVE, start: Array | None = None
) -> Result:
    """The portfolio of the largest utility at `risk_aversion` g > 0.

    engine : the rungs that may run
    start : weights (N,) of a neighbouring problem; cannot change the answer

    Statuses: OPTIMAL, OPTIMAL_REDUCED_ACCURACY, INFEASIBLE (with certificate), SOLVER_FAILED. Cost as
    `min_variance`.

    Raises
    ------
    ContractError : `PROBLEM_INVALID` without `mu`
    ConfigError : `CONFIG_RANGE` where g is not a positive finite number
    """
    if not 0.0 < risk_aversion < np.inf:
        raise ConfigError(
            "CONFIG_RANGE", f"risk aversion {risk_aversion} is not a positive number",
            where="allocation.risk_aversion", remedy="give a positive number",
        )  # fmt: skip
    scale = scale_of(problem)
    ridge = 2.0 * problem.l2 * scale.variance / scale.excess
    gain, kink = problem.excess / scale.excess, problem.turnover / scale.excess
    program = program_of(problem, risk_aversion / scale.excess, ridge, gain, kink, ratio=False)
    return Climb(
        problem, "mean_variance", program,
        lambda posed: posed.mean_variance(*scaled_utility(problem, risk_aversion)),
        engine, start, risk_aversion,
    ).run()  # fmt: skip
