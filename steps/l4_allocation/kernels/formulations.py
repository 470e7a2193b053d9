"""Reference formulations by shape: canonicalised once, re-solved with new parameters.

The modelling library is imported by the first solve that needs it, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.problem import Problem

if TYPE_CHECKING:
    from quantctl.steps.l4_allocation.kernels import cvar_program, cvar_reference, reference, reference_return

Array = NDArray[np.float64]


class Formulations:
    """Compiled formulations of one stage. Solves always start cold, so reuse cannot change bits."""

    def __init__(self) -> None:
        self._min_variance: dict[tuple[int, int, bool], reference.MinVariance] = {}
        self._max_sharpe: dict[tuple[int, int, bool], reference.MaxSharpe] = {}
        self._mean_variance: dict[tuple[int, int, bool], reference_return.MeanVariance] = {}
        self._max_diversification: dict[tuple[int, int], reference_return.MaxDiversification] = {}
        self._min_cvar: dict[tuple[int, int, int, bool], cvar_reference.MinCvar] = {}
        self._risk_budget: dict[tuple[int, int, bool], reference.RiskBudget] = {}

    def min_variance(self, problem: Problem) -> reference.Solution:
        """`reference.MinVariance` for a scaled problem."""
        from quantctl.steps.l4_allocation.kernels import reference

        shape = problem.size, len(problem.rows.names), reference.is_traded(problem)
        if shape not in self._min_variance:
            self._min_variance[shape] = reference.MinVariance(*shape[:2], traded=shape[2])
        return self._min_variance[shape].solve(problem)

    def max_sharpe(self, problem: Problem) -> reference.Solution:
        """`reference.MaxSharpe` for a scaled problem."""
        from quantctl.steps.l4_allocation.kernels import reference

        shape = problem.size, len(problem.rows.names), reference.is_traded(problem)
        if shape not in self._max_sharpe:
            self._max_sharpe[shape] = reference.MaxSharpe(*shape[:2], traded=shape[2])
        return self._max_sharpe[shape].solve(problem)

    def mean_variance(self, problem: Problem, risk_aversion: float) -> reference.Solution:
        """`reference_return.MeanVariance` for a scaled problem: `l2` is γ·m/s_μ, `risk_aversion` g·m/s_μ."""
        from quantctl.steps.l4_allocation.kernels import reference, reference_return

        shape = problem.size, len(problem.rows.names), reference.is_traded(problem)
        if shape not in self._mean_variance:
            self._mean_variance[shape] = reference_return.MeanVariance(*shape[:2], traded=shape[2])
        return self._mean_variance[shape].solve(problem, risk_aversion)

    def max_diversification(self, problem: Problem) -> reference.Solution:
        """`reference_return.MaxDiversification` for a scaled problem."""
        from quantctl.steps.l4_allocation.kernels import reference_return

        shape = problem.size, len(problem.rows.names)
        if shape not in self._max_diversification:
            self._max_diversification[shape] = reference_return.MaxDiversification(*shape)
        return self._max_diversification[shape].solve(problem)

    def min_cvar(self, problem: Problem, program: cvar_program.CvarProgram) -> cvar_program.CvarOptimum:
        """`cvar_reference.MinCvar` for the program of `problem`."""
        from quantctl.steps.l4_allocation.kernels import cvar_reference

        shape = program.size, program.bars, len(program.limit), program.previous is not None
        if shape not in self._min_cvar:
            self._min_cvar[shape] = cvar_reference.MinCvar(*shape[:3], traded=shape[3])
        return self._min_cvar[shape].solve(problem, program)

    def risk_budget(
        self, problem: Problem, budgets: Array, barrier: float, *, bounded: bool
    ) -> reference.Solution:
        """`reference.RiskBudget` for a scaled problem; `bounded` includes caps and rows."""
        from quantctl.steps.l4_allocation.kernels import reference

        shape = problem.size, len(problem.rows.names) if bounded else 0, bounded
        if shape not in self._risk_budget:
            self._risk_budget[shape] = reference.RiskBudget(*shape[:2], bounded=bounded)
        return self._risk_budget[shape].solve(problem, budgets, barrier)
