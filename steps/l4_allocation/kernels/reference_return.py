"""Readable cvxpy formulations of the profiles that trade return or volatility against risk.

As `reference.py`: `Parameter` data, asserted to follow the parametrised rules, solved by Clarabel, in
scaled units (`scaling.py`).
"""

from __future__ import annotations

from dataclasses import replace

import cvxpy as cp
import numpy as np

from quantctl.steps.l4_allocation.kernels.kkt import Multipliers
from quantctl.steps.l4_allocation.kernels.problem import Problem
from quantctl.steps.l4_allocation.kernels.reference import (
    CONE_TOLERANCE,
    MaxSharpe,
    Polytope,
    Solution,
    Trade,
    dual_of,
    solved,
)


class MeanVariance:
    """min ½g·w'Σw − (μ−rf)'w + γ‖w‖² + c‖w − w_prev‖₁   s.t. 1'w = 1, l ≤ w ≤ u, G w ≤ h.

    Scaled units are g' = g·m/s_μ, γ' = γ·m/s_μ and c' = c/s_μ: the objective divided by s_μ. The root of g
    goes into the factor of Σ, so the product of two parameters never arises.
    """

    def __init__(self, size: int, rows: int, *, traded: bool) -> None:
        self.w, self.factor = cp.Variable(size), cp.Parameter((size, size))
        self.l2, self.excess = cp.Parameter(nonneg=True), cp.Parameter(size)
        self.trade = Trade(size) if traded else None
        self.set = Polytope(size, rows)
        self.budget = cp.sum(self.w) == 1
        self.floor, self.cap = self.w >= self.set.lower, self.w <= self.set.upper
        self.rows = [] if self.set.matrix is None else [self.set.matrix @ self.w <= self.set.limit]
        cost, trades = self.trade.cost_of(self.w, 1.0) if self.trade else (0.0, [])
        risk = cp.sum_squares(self.factor.T @ self.w) / 2 + self.l2 * cp.sum_squares(self.w)
        self.problem = cp.Problem(
            cp.Minimize(risk - self.excess @ self.w + cost),
            [self.budget, self.floor, self.cap, *self.rows, *trades],
        )
        assert self.problem.is_dcp(dpp=True)

    def solve(self, problem: Problem, risk_aversion: float) -> Solution:
        """Weights and multipliers of a scaled `problem`, whose `l2` is γ', at g' = `risk_aversion`."""
        self.set.assign(problem)
        self.factor.value = np.sqrt(risk_aversion) * np.linalg.cholesky(problem.cov)
        self.l2.value, self.excess.value = problem.l2, problem.excess
        if self.trade:
            self.trade.assign(problem)
        outcome, iterations = solved(self.problem, CONE_TOLERANCE)
        if self.w.value is None:
            return Solution(outcome, iterations)
        lam = Multipliers(
            float(self.budget.dual_value), dual_of(self.floor), dual_of(self.cap),
            dual_of(self.rows[0]) if self.rows else np.zeros(0), 0.0,
        )  # fmt: skip
        weights = np.asarray(self.w.value)
        return Solution(outcome, iterations, self.trade.settled(weights) if self.trade else weights, lam)


class MaxDiversification(MaxSharpe):
    """max s'w / √(w'Σw), s = √diag Σ (Choueifaty & Coignard 2008), homogenised by y = κw.

    min y'Σy   s.t. s'y ≥ 1, 1'y = κ, κl ≤ y ≤ κu, G y ≤ κh;   w = y/κ:   `MaxSharpe` with s for μ − rf.
    """

    def __init__(self, size: int, rows: int) -> None:
        super().__init__(size, rows, traded=False)

    def solve(self, problem: Problem) -> Solution:
        """Weights and multipliers of the ratio's logarithm, for a scaled `problem`; no penalties."""
        vol = np.sqrt(np.diag(problem.cov))
        return super().solve(replace(problem, mu=vol, risk_free=0.0, l2=0.0, turnover=0.0))
