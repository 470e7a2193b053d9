"""Reference formulations by shape: canonicalised once, re-solved with new parameters.

The modelling library is imported by the first solve that needs it, not before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.problem import Problem
from quantctl.steps.l4_allocation.kernels.program import Optimum

if TYPE_CHECKING:
    from quantctl.steps.l4_allocation.kernels.cvar_program import CvarOptimum, CvarProgram

Array = NDArray[np.float64]
Compiled = TypeVar("Compiled")


class Formulations:
    """Compiled formulations of one stage. Solves always start cold, so reuse cannot change bits."""

    def __init__(self) -> None:
        self._compiled: dict[Any, Any] = {}

    def min_variance(self, problem: Problem) -> Optimum:
        """`reference.MinVariance` for a scaled problem."""
        from quantctl.steps.l4_allocation.kernels.reference import MinVariance

        return self._of(MinVariance, *_shape(problem), traded=problem.traded).solve(problem)

    def max_sharpe(self, problem: Problem) -> Optimum:
        """`reference.MaxSharpe` for a scaled problem."""
        from quantctl.steps.l4_allocation.kernels.reference import MaxSharpe

        return self._of(MaxSharpe, *_shape(problem), traded=problem.traded).solve(problem)

    def mean_variance(self, problem: Problem, risk_aversion: float) -> Optimum:
        """`reference_return.MeanVariance` for a scaled problem: `l2` is γ·m/s_μ, `risk_aversion` g·m/s_μ."""
        from quantctl.steps.l4_allocation.kernels.reference_return import MeanVariance

        form = self._of(MeanVariance, *_shape(problem), traded=problem.traded)
        return form.solve(problem, risk_aversion)

    def max_diversification(self, problem: Problem) -> Optimum:
        """`reference_return.MaxDiversification` for a scaled problem."""
        from quantctl.steps.l4_allocation.kernels.reference_return import MaxDiversification

        return self._of(MaxDiversification, *_shape(problem)).solve(problem)

    def min_cvar(self, problem: Problem, program: CvarProgram) -> CvarOptimum:
        """`cvar_reference.MinCvar` for the program of `problem`."""
        from quantctl.steps.l4_allocation.kernels.cvar_reference import MinCvar

        shape = program.size, program.bars, len(program.limit)
        return self._of(MinCvar, *shape, traded=program.previous is not None).solve(problem, program)

    def risk_budget(self, problem: Problem, budgets: Array, barrier: float, *, bounded: bool) -> Optimum:
        """`reference.RiskBudget` for a scaled problem; `bounded` includes caps and rows."""
        from quantctl.steps.l4_allocation.kernels.reference import RiskBudget

        size, rows = _shape(problem)
        form = self._of(RiskBudget, size, rows if bounded else 0, bounded=bounded)
        return form.solve(problem, budgets, barrier)

    def _of(self, form: Callable[..., Compiled], *shape: int, **options: bool) -> Compiled:
        """The formulation of this shape, compiled by its first use."""
        key = form, shape, tuple(options.items())
        if key not in self._compiled:
            self._compiled[key] = form(*shape, **options)
        found: Compiled = self._compiled[key]
        return found


def _shape(problem: Problem) -> tuple[int, int]:
    return problem.size, len(problem.rows.names)
