"""The common form of a minimum expected shortfall, which the solvers of every rung share.

    min  q'w + a + κ Σ_t max(0, −m_t) + γ‖w‖² + c‖w − w₀‖₁,     m_t = x_t'w + a,   κ = 1/((1−q)T)

over 1'w = 1, l ≤ w ≤ u, G w ≤ h. At the optimum a is a value at risk and the first part the expected
shortfall (Rockafellar & Uryasev 2000, Optimization of conditional value-at-risk, theorem 1). Scenarios
are in units of √m_x, the root of their mean variance, so γ and c stand as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.kkt import Multipliers
from quantctl.steps.l4_allocation.kernels.problem import Problem

Array = NDArray[np.float64]

# Scenario columns that vary less than this beside their size are constant: there is no unit of risk.
CONSTANT = 1e-12


@dataclass(frozen=True)
class CvarProgram:
    """Data of one program over N names, T scenarios and R rows; see the module's formula.

    scenarios : ndarray (T, N), X in units of `unit`;  unit : √m_x, return per bar
    share : κ, the largest multiplier of a scenario
    ridge : γ ≥ 0;  kink : c ≥ 0;  previous : ndarray (N,), w₀, or null where c = 0
    lower, upper : ndarrays (N,);  rows : ndarray (R, N), G;  limit : ndarray (R,), h
    """

    scenarios: Array
    unit: float
    share: float
    ridge: float
    lower: Array
    upper: Array
    rows: Array
    limit: Array
    kink: float = 0.0
    previous: Array | None = None

    @property
    def size(self) -> int:
        """Number of names N."""
        return int(self.scenarios.shape[1])

    @property
    def bars(self) -> int:
        """Number of scenarios T."""
        return int(self.scenarios.shape[0])

    def margins(self, weights: Array, var: float) -> Array:
        """m_t = x_t'w + a, negative in the tail. O(T N)."""
        return np.asarray(self.scenarios @ weights + var)


class CvarPoint(NamedTuple):
    """A claim: w, a and the multipliers.

    tail : ndarray (T,), p with 0 ≤ p ≤ κ and Σp = 1: how much each scenario is part of the tail
    multipliers : budget, bounds and rows, in the convention of `check_kkt`
    """

    weights: Array
    var: float
    tail: Array
    multipliers: Multipliers


@dataclass(frozen=True)
class CvarOptimum:
    """What a solver says: its own word, its work, and a point where it has one."""

    outcome: str
    iterations: int
    factorisations: int
    point: CvarPoint | None = None


def cvar_program(problem: Problem, returns: Array, level: float) -> CvarProgram:
    """The program of `problem` over the scenarios `returns` (T, N) at `level` q. O(T N).

    m_x = mean of the columns' variances (ddof 1). Where all columns are constant it is 0: the penalties
    vanish, and the largest absolute return is the unit.
    """
    bars = len(returns)
    size = float(np.abs(returns).max())
    unit = float(np.sqrt(returns.var(axis=0, ddof=1).mean())) if bars > 1 else 0.0
    varies = unit > CONSTANT * size
    if not varies:
        unit = size if size > 0.0 else 1.0
    traded = varies and problem.traded
    return CvarProgram(
        returns / unit, unit, 1.0 / ((1.0 - level) * bars), problem.l2 if varies else 0.0,
        problem.floors, problem.caps, problem.rows.matrix, problem.rows.limit,
        problem.turnover if traded else 0.0, problem.w_prev if traded else None,
    )  # fmt: skip


def shortfall(program: CvarProgram, weights: Array) -> tuple[float, float, Array]:
    """(expected shortfall, value at risk a, p) of `weights` in units of √m_x, exactly by sorting.

    p_t = κ on the worst scenarios, the remaining mass on the next one. O(T N + T log T).
    """
    losses = -(program.scenarios @ weights)
    order = np.argsort(-losses, kind="stable")
    # κ(k−1) < 1 ≤ κk picks the scenario of the value at risk; rounding must not add an empty one.
    mass = 1.0 / program.share
    whole = min(int(np.floor(mass + 1e-9)), program.bars)
    tail = np.zeros(program.bars)
    tail[order[:whole]] = program.share
    rest = max(0.0, 1.0 - whole * program.share)
    last = min(whole, program.bars - 1) if rest > 1e-12 else whole - 1
    if rest > 1e-12:
        tail[order[last]] = rest
    return float(tail @ losses), float(losses[order[last]]), tail
