"""Optimality of a minimum expected shortfall, checked from scenarios and multipliers alone.

With p_t ∈ [0, κ], Σ p = 1, κ = 1/((1−q)T), as multipliers of the scenarios (units of √m_x):

    −X'p + 2γw + ∂c‖w − w₀‖₁ + ν 1 − λ_l + λ_u + G'λ = 0,   λ ≥ 0,   λ_j · slack_j = 0,   w feasible,
    p_t max(0, m_t) = 0,   (κ − p_t) max(0, −m_t) = 0,   m_t = x_t'w + a

p is a member of the risk envelope of the expected shortfall, −X'p its subgradient (Rockafellar, Uryasev
& Zabarankin 2006, Generalized deviations in risk analysis). The products on p sum to the shortfall less
its dual value −p'Xw, so with the others they are the whole duality gap. Stationarity, complementarity
and gap are relative to the largest component of −X'p + 2γw, as in `kkt.py`, and so are the classes. At a
perfect hedge −X'p cancels to nothing; a thousandth of |X|'p then takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.cvar_program import CvarPoint, CvarProgram, cvar_program
from quantctl.steps.l4_allocation.kernels.kkt import CLASSES, MOVED, Multipliers, primal_violation, read_duals
from quantctl.steps.l4_allocation.kernels.problem import Kkt, Problem

Array = NDArray[np.float64]

# Part of |X|'p below which the sum X'p counts as cancelled.
CANCELLED = 1e-3
FAILED = Kkt(np.inf, np.inf, np.inf, np.inf, "SOLVER_FAILED")


def check_cvar(
    problem: Problem,
    returns: Array,
    weights: Array,
    duals: Mapping[str, float],
    tail: Array,
    var: float,
    level: float = 0.95,
) -> Kkt:
    """Residuals and class of a claimed minimum of the expected shortfall. O(T N + R N).

    Parameters
    ----------
    problem, returns : in user units (T, N); they are scaled here
    weights : ndarray (N,);  duals : constraint name -> multiplier on the scaled problem
    tail : ndarray (T,), p;  var : a in return per bar, the value at risk as a loss
    level : q
    """
    program = cvar_program(problem, returns, level)
    return judged(problem, program, CvarPoint(weights, var / program.unit, tail, read_duals(problem, duals)))


def judged(problem: Problem, program: CvarProgram, point: CvarPoint) -> Kkt:
    """`check_cvar` of a claim in the units of `program`, which was made of `problem`."""
    weights, var, tail, lam = point
    parts = (weights, tail, np.array([var]))
    if not all(np.isfinite(part).all() for part in parts) or tail.shape != (program.bars,):
        return FAILED
    slope = 2.0 * program.ridge * weights - tail @ program.scenarios
    size = _magnitude(program, slope, tail)
    worth = size * max(float(np.abs(weights).sum()), 1.0)
    residual = _stationarity(program, weights, slope, lam)
    signs = [lam.lower, lam.upper, lam.rows, tail / program.share, 1.0 - tail / program.share]
    sign = max(-float(v.min(initial=0.0)) for v in signs)
    dual = max(float(np.abs(residual).max()) / size, sign / size, abs(float(tail.sum()) - 1.0))
    products = _products(program, weights, lam, tail, var)
    complementarity, gap = float(np.abs(products).max()) / worth, abs(float(products.sum())) / worth
    primal = primal_violation(problem, weights)
    for status, feasible, stationary, complementary in CLASSES:
        if primal <= feasible and dual <= stationary and max(complementarity, gap) <= complementary:
            return Kkt(primal, dual, complementarity, gap, status)
    return Kkt(primal, dual, complementarity, gap, "SOLVER_FAILED")


def _magnitude(program: CvarProgram, slope: Array, tail: Array) -> float:
    part = np.flatnonzero(tail)
    uncancelled = float((np.abs(tail[part]) @ np.abs(program.scenarios[part])).max(initial=0.0))
    size = max(float(np.abs(slope).max()), CANCELLED * uncancelled)
    return size if size > 0.0 else 1.0


def _stationarity(program: CvarProgram, weights: Array, slope: Array, lam: Multipliers) -> Array:
    residual = slope + lam.budget - lam.lower + lam.upper + lam.rows @ program.rows
    if program.previous is None:
        return np.asarray(residual)
    moved, kink = weights - program.previous, program.kink
    trade = np.where(np.abs(moved) > MOVED, kink * np.sign(moved), np.clip(-residual, -kink, kink))
    return np.asarray(residual + trade)


def _products(program: CvarProgram, weights: Array, lam: Multipliers, tail: Array, var: float) -> Array:
    margin = program.margins(weights, var)
    return np.concatenate(
        [
            tail * np.maximum(margin, 0.0),
            (program.share - tail) * np.maximum(-margin, 0.0),
            lam.lower * (weights - program.lower),
            lam.upper * (program.upper - weights),
            lam.rows * (program.limit - program.rows @ weights),
        ]
    )
