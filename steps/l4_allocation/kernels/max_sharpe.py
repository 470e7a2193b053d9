"""Maximum Sharpe ratio (Sharpe 1966): a true ratio, not a mean–variance utility.

    max ((μ−rf)'w − c(‖w−w_prev‖₁ + v)) / √(w'(Σ+γmI)w)   s.t. 1'w = 1, l ≤ w ≤ u, G w ≤ h, |β'w| ≤ τ

It is scale-free, so with y = κw it is convex (Charnes & Cooper 1962; Schaible 1974):

    min y'(Σ+γmI)y   s.t. (μ−rf)'y − c(1't + vκ) ≥ 1, t ≥ ±(y − κw_prev), 1'y = κ, κl ≤ y ≤ κu, Gy ≤ κh

Only a positive numerator makes it so: where none is feasible there is no ratio to maximise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.engine import NATIVE, Engine
from quantctl.steps.l4_allocation.kernels.excess import largest_excess
from quantctl.steps.l4_allocation.kernels.problem import Attempt, Problem, Result
from quantctl.steps.l4_allocation.kernels.quadratic import Climb, program_of
from quantctl.steps.l4_allocation.kernels.scaling import scale_of, scaled

Array = NDArray[np.float64]

# A ratio whose best numerator is this small beside the largest excess return is not positive.
POSITIVE = 1e-12


def max_sharpe(problem: Problem, engine: Engine = NATIVE, start: Array | None = None) -> Result:
    """The portfolio of the largest ratio of net excess return to penalised volatility.

    engine : the rungs that may run
    start : weights (N,) of a neighbouring problem, e.g. of the previous window; cannot change the answer

    Statuses as `min_variance`, and NON_POSITIVE_EXCESS where the largest numerator, by a linear program,
    is at most 1e-12 of the largest |μ − rf|; the program runs only where no optimum has shown a larger
    one. `notes` holds the ratio with and without γ, annual. Cost as `min_variance`.

    Raises ContractError `PROBLEM_INVALID` without `mu`.
    """
    scale = scale_of(problem)
    gain, kink = problem.excess / scale.excess, problem.turnover / scale.excess
    program = program_of(problem, 1.0 / scale.variance, problem.l2, gain, kink, ratio=True)

    def unit() -> Problem:
        return scaled(problem, turnover_in_returns=True)

    climb = Climb(
        problem, "max_sharpe", program, lambda posed: posed.max_sharpe(unit()), engine, start,
        refuses=lambda: _non_positive(unit(), scale.excess, climb.attempts),
    )  # fmt: skip
    return climb.run()


def _non_positive(unit: Problem, excess: float, attempts: list[Attempt]) -> Result | None:
    """NON_POSITIVE_EXCESS with the largest excess, or null where one is positive or nothing is feasible."""
    best = largest_excess(unit)
    if best is None or best > POSITIVE:
        return None
    final = Attempt("excess", "NON_POSITIVE_EXCESS", "NON_POSITIVE_EXCESS")
    return Result(
        None, "NON_POSITIVE_EXCESS", notes={"largest_excess": best * excess}, attempts=(*attempts, final)
    )
