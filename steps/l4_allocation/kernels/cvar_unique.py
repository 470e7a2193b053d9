"""One answer where many weights have the smallest expected shortfall: the one of least norm.

Without a ridge the problem is a linear program, and duplicates or few scenarios leave a face of optima.
The optimum of least ‖w‖ is what a vanishing ridge selects, and some ridge ε > 0 already gives it exactly
(Mangasarian & Meyer 1979, Nonlinear perturbation of linear programs). Whether an ε is small enough is
seen from complementarity: w_ε is optimal without the ridge iff it fits the multipliers found without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.cvar_program import CvarOptimum, CvarPoint, CvarProgram

Array = NDArray[np.float64]

RIDGES = (1e-2, 1e-4, 1e-6)
# Multipliers below this part of their scale do not hold a name, a row or a scenario.
STRICT = 1e-9
DEPENDENT = 1e-10


def is_unique(program: CvarProgram, point: CvarPoint) -> bool:
    """Whether no other weights are optimal: the strictly binding constraints have full rank.

    One LU of order |F|, the number of names that no multiplier holds.
    """
    from scipy.linalg.lapack import dgetrf

    if program.ridge > 0.0:
        return True
    lam, share = point.multipliers, point.tail / program.share
    small = STRICT * max(float(np.abs(point.tail @ program.scenarios).max()), 1e-300)
    held = (lam.lower > small) | (lam.upper > small) | (program.upper <= program.lower)
    if program.previous is not None:
        slope = lam.budget - point.tail @ program.scenarios - lam.lower + lam.upper + lam.rows @ program.rows
        held |= (point.weights == program.previous) & (np.abs(slope) < program.kink - small)
    inner = (share > STRICT) & (share < 1.0 - STRICT)
    ties = np.vstack([
        np.column_stack([program.scenarios, np.ones(program.bars)])[inner],
        np.append(np.ones(program.size), 0.0),
        np.column_stack([program.rows, np.zeros(len(program.limit))])[lam.rows > small],
    ])[:, np.append(~held, True)]  # fmt: skip
    if ties.shape[0] < ties.shape[1]:
        return False
    pivots = np.abs(np.diag(dgetrf(ties)[0]))
    return float(pivots.min()) > DEPENDENT * float(pivots.max())


def least_norm(
    program: CvarProgram,
    point: CvarPoint,
    solve: Callable[[CvarProgram], CvarOptimum],
    accepts: Callable[[CvarPoint], bool],
) -> CvarPoint:
    """The optimum of least norm, with the multipliers of `point`; `point` itself where none is found.

    solve : finds the optimum of a program;  accepts : judges a claim without the ridge
    """
    for ridge in RIDGES:
        found = solve(replace(program, ridge=ridge)).point
        if found is None:
            continue
        claim = point._replace(weights=found.weights, var=found.var)
        if accepts(claim):
            return claim
    return point
