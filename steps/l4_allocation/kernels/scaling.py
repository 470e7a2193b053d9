"""The scaling rule: kernels solve a problem of unit size and undo it on output.

    Σ' = Σ / m,   m = tr Σ / N;      μ' = (μ − rf) / s_μ,   s_μ = max |μ − rf|  (1 if that is 0)

Solver tolerances are absolute, so unscaled daily variances would end "solved" at several times the
optimal variance. Weights do not change: risk penalties are in units of m, and the c of a ratio is
divided by s_μ with the returns it is subtracted from.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quantctl.steps.l4_allocation.kernels.problem import Problem, derived


class Scale(NamedTuple):
    """variance : m, annual; excess : s_μ, annual return."""

    variance: float
    excess: float


def scale_of(problem: Problem) -> Scale:
    """The units of `problem`."""
    excess = 1.0 if problem.mu is None else float(np.abs(problem.excess).max())
    return Scale(problem.mean_variance, excess if excess > 0.0 else 1.0)


def scaled(problem: Problem, *, turnover_in_returns: bool = False) -> Problem:
    """`problem` in units of its own mean variance and largest excess return.

    `turnover_in_returns` : c is a return per unit traded (a ratio's numerator), so it is divided by s_μ.
    Copies Σ once: solvers that need no copy take the two scalars of `scale_of` instead.
    """
    scale = scale_of(problem)
    return derived(
        problem,
        cov=problem.cov / scale.variance,
        mu=None if problem.mu is None else problem.excess / scale.excess,
        risk_free=0.0,
        turnover=problem.turnover / scale.excess if turnover_in_returns else problem.turnover,
    )


def scaled_utility(problem: Problem, risk_aversion: float) -> tuple[Problem, float]:
    """`problem` and g in the units of `mean_variance`: γ' = γ·m/s_μ, c' = c/s_μ, g' = g·m/s_μ."""
    scale = scale_of(problem)
    unit = scale.variance / scale.excess
    return derived(scaled(problem, turnover_in_returns=True), l2=problem.l2 * unit), risk_aversion * unit
