"""Readable cvxpy formulations of the profiles that trade return or volatility against risk.

As `reference.py`: `Parameter` data, asserted to follow the parametrised rules, solved by Clarabel, in
scaled units (`scaling.py`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quantctl.steps.l4_allocation.kernels.problem import Problem
from quantctl.steps.l4_allocation.kernels.program import Optimum
from quantctl.steps.l4_allocation.kernels.reference import MaxSharpe, Quadratic


class MeanVariance(Quadratic):
    """min ½g·w'Σw − (μ−rf)'w + γ‖w‖² + c‖w − w_prev‖₁   s.t. 1'w = 1, l ≤ w ≤ u, G w ≤ h.

    Scaled units are g' = g·m/s_μ, γ' = γ·m/s_μ and c' = c/s_μ: the objective divided by s_μ. The root of g/2
    goes into the factor of Σ, so the product of two parameters never arises.
    """

    def __init__(self, size: int, rows: int, *, traded: bool) -> None:
        super().__init__(size, rows, traded=traded, rewarded=True)

    def solve(self, problem: Problem, risk_aversion: float) -> Optimum:
        """Weights and multipliers of a scaled `problem`, whose `l2` is γ', at g' = `risk_aversion`."""
        return self.optimum(problem, np.sqrt(risk_aversion / 2.0) * np.linalg.cholesky(problem.cov))


class MaxDiversification(MaxSharpe):
    """max s'w / √(w'Σw), s = √diag Σ (Choueifaty & Coignard 2008), homogenised by y = κw.

    min y'Σy   s.t. s'y ≥ 1, 1'y = κ, κl ≤ y ≤ κu, G y ≤ κh;   w = y/κ:   `MaxSharpe` with s for μ − rf.
    """

    def __init__(self, size: int, rows: int) -> None:
        super().__init__(size, rows, traded=False)

    def solve(self, problem: Problem) -> Optimum:
        """Weights and multipliers of the ratio's logarithm, for a scaled `problem`; no penalties."""
        vol = np.sqrt(np.diag(problem.cov))
        return super().solve(replace(problem, mu=vol, risk_free=0.0, l2=0.0, turnover=0.0))
