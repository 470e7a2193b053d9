"""Readable cvxpy formulation of the minimum expected shortfall, solved by Clarabel.

As `reference.py`: `Parameter` data, asserted to follow the parametrised rules. Scenarios are in the
units of `cvar_program.py`.
"""

from __future__ import annotations

import cvxpy as cp
import numpy as np

from quantctl.steps.l4_allocation.kernels.cvar_program import CvarOptimum, CvarPoint, CvarProgram
from quantctl.steps.l4_allocation.kernels.problem import Problem
from quantctl.steps.l4_allocation.kernels.reference import CONE_TOLERANCE, Polytope, Trade, dual_of, solved


class MinCvar:
    """min a + κ Σ_t z_t + γ‖w‖² + c‖w − w_prev‖₁   s.t. z ≥ −Xw − a, z ≥ 0, 1'w = 1, l ≤ w ≤ u, G w ≤ h.

    Rockafellar & Uryasev 2000, equation 17, with κ = 1/((1−q)T).
    """

    def __init__(self, size: int, bars: int, rows: int, *, traded: bool) -> None:
        self.w, self.a, self.z = cp.Variable(size), cp.Variable(), cp.Variable(bars)
        self.scenarios, self.share = cp.Parameter((bars, size)), cp.Parameter(nonneg=True)
        self.l2, self.trade = cp.Parameter(nonneg=True), Trade(size) if traded else None
        self.set = Polytope(self.w, 1.0, rows)
        self.tail = self.z >= -(self.scenarios @ self.w) - self.a
        cost, trades = self.trade.cost_of(self.w, 1.0) if self.trade else (0.0, [])
        risk = self.a + self.share * cp.sum(self.z) + self.l2 * cp.sum_squares(self.w)
        self.problem = cp.Problem(
            cp.Minimize(risk + cost),
            [self.tail, self.z >= 0, *self.set.constraints, *trades],
        )
        assert self.problem.is_dcp(dpp=True)

    def solve(self, problem: Problem, program: CvarProgram) -> CvarOptimum:
        """Weights, value at risk and multipliers of `program`, which was made of `problem`."""
        self.set.assign(problem)
        self.scenarios.value, self.share.value, self.l2.value = (
            program.scenarios,
            program.share,
            program.ridge,
        )
        if self.trade:
            self.trade.assign(problem)
        outcome, iterations = solved(self.problem, CONE_TOLERANCE)
        if self.w.value is None:
            return CvarOptimum(outcome, iterations, iterations)
        weights, tail = np.asarray(self.w.value), dual_of(self.tail)
        point = CvarPoint(weights, float(self.a.value), tail, self.set.multipliers())
        return CvarOptimum(outcome, iterations, iterations, point)
