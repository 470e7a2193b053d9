"""The expected shortfall as one sparse cone program for Clarabel, and as a pair of linear programs.

Variables (w, a, z, t); every inequality is a row of  A v + s = b, s ≥ 0:

    z ≥ −Xw − a,  z ≥ 0,  w ≥ l,  w ≤ u,  G w ≤ h,  t ≥ ±(w − w₀);   1'w = 1

The linear programs of γ = 0 are solved as primal and dual vertex, since a simplex that is asked for one
of them need not name the other's multipliers:

    max  l'λ_l − u'λ_u − h'λ − ν − w₀'y   s.t.  −X'p + y + ν1 − λ_l + λ_u + G'λ = 0,  1'p = 1,
                                              0 ≤ p ≤ κ,  |y| ≤ c,  λ ≥ 0
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels import linear
from quantctl.steps.l4_allocation.kernels.cones import solve_cones
from quantctl.steps.l4_allocation.kernels.cvar_program import CvarOptimum, CvarPoint, CvarProgram
from quantctl.steps.l4_allocation.kernels.kkt import Multipliers

Array = NDArray[np.float64]

TOLERANCE = 1e-10


def clarabel_shortfall(program: CvarProgram) -> CvarOptimum:
    """What Clarabel says at 1e-10, one thread. O(T N) nonzeros."""
    from scipy import sparse

    n, bars, ties = program.size, program.bars, len(program.limit)
    matrix, limit = _inequalities(program)
    width = matrix.shape[1]
    curvature, budget = np.zeros(width), np.zeros((1, width))
    curvature[:n], budget[0, :n] = 2.0 * program.ridge, 1.0
    low, high = _bounds(program, width)
    below, above = np.flatnonzero(np.isfinite(low)), np.flatnonzero(np.isfinite(high))
    eye = sparse.eye(width, format="csr")
    stacked = [sparse.csr_matrix(budget), sparse.csr_matrix(matrix), -eye[below], eye[above]]
    level = np.concatenate([[1.0], limit, -low[below], high[above]])
    found = solve_cones(
        sparse.diags(curvature, format="csc"), _cost(program, width), sparse.vstack(stacked).tocsc(), level,
        1, TOLERANCE,
    )  # fmt: skip
    outcome, steps = str(found.status).lower(), int(found.iterations)
    v, dual = np.asarray(found.x), np.asarray(found.z)
    if "solved" not in outcome or not np.isfinite(v).all():
        return CvarOptimum(outcome, steps, steps)
    start = 1 + len(limit)
    lower, upper = dual[start : start + n], dual[start + len(below) :]
    lam = Multipliers(float(dual[0]), lower, upper, dual[1 + bars : 1 + bars + ties], 0.0)
    return CvarOptimum(outcome, steps, steps, CvarPoint(v[:n], float(v[n]), dual[1 : 1 + bars], lam))


def simplex_shortfall(program: CvarProgram) -> CvarOptimum:
    """Primal and dual vertex by HiGHS; only for γ = 0."""
    n = program.size
    matrix, limit = _inequalities(program)
    width = matrix.shape[1]
    budget = np.zeros((1, width))
    budget[0, :n] = 1.0
    primal = linear.solve(_cost(program, width), matrix, limit, budget, np.ones(1), _bounds(program, width))
    dual = None if primal.x is None else _dual_vertex(program)
    if primal.x is None or dual is None:
        return CvarOptimum(primal.status if primal.x is None else "dual failed", 0, 0)
    return CvarOptimum("optimal", 0, 0, CvarPoint(primal.x[:n], float(primal.x[n]), *dual))


def _cost(program: CvarProgram, width: int) -> Array:
    n, bars = program.size, program.bars
    cost = np.zeros(width)
    cost[n], cost[n + 1 : n + 1 + bars], cost[n + 1 + bars :] = 1.0, program.share, program.kink
    return cost


def _bounds(program: CvarProgram, width: int) -> tuple[Array, Array]:
    """l ≤ w ≤ u, z ≥ 0; a and t are free."""
    n, bars = program.size, program.bars
    low, high = np.full(width, -np.inf), np.full(width, np.inf)
    low[:n], high[:n], low[n + 1 : n + 1 + bars] = program.lower, program.upper, 0.0
    return low, high


def _inequalities(program: CvarProgram) -> tuple[Array, Array]:
    """The hinges, then G, then the trades as M v ≤ b."""
    n, bars, ties = program.size, program.bars, len(program.limit)
    trades = n if program.previous is not None else 0
    matrix = np.zeros((bars + ties + 2 * trades, n + 1 + bars + trades))
    limit = np.zeros(len(matrix))
    matrix[:bars, :n], matrix[:bars, n] = -program.scenarios, -1.0
    matrix[np.arange(bars), n + 1 + np.arange(bars)] = -1.0
    matrix[bars : bars + ties, :n], limit[bars : bars + ties] = program.rows, program.limit
    if program.previous is not None:
        eye, end = np.eye(n), bars + ties
        matrix[end : end + n, :n], matrix[end + n :, :n] = eye, -eye
        matrix[end : end + n, -n:], matrix[end + n :, -n:] = -eye, -eye
        limit[end : end + n], limit[end + n :] = program.previous, -program.previous
    return matrix, limit


def _dual_vertex(program: CvarProgram) -> tuple[Array, Multipliers] | None:
    """p and the multipliers; variables (p, ν, λ_l, λ_u, λ, y)."""
    n, bars, ties = program.size, program.bars, len(program.limit)
    eye, traded = np.eye(n), program.previous is not None
    balance = np.hstack(
        [-program.scenarios.T, np.ones((n, 1)), -eye, eye, program.rows.T, *([eye] if traded else [])]
    )
    width, signed = balance.shape[1], bars + 1 + 2 * n + ties
    cost, low, high = np.zeros(width), np.zeros(width), np.full(width, np.inf)
    cost[bars:signed] = np.concatenate([[1.0], -program.lower, program.upper, program.limit])
    high[:bars], low[bars] = program.share, -np.inf
    if program.previous is not None:
        cost[signed:], low[signed:], high[signed:] = program.previous, -program.kink, program.kink
    mass = np.zeros((1, width))
    mass[0, :bars] = 1.0
    found = linear.solve(
        cost, None, None, np.vstack([balance, mass]), np.append(np.zeros(n), 1.0), (low, high)
    )  # fmt: skip
    if found.x is None:
        return None
    p, nu, lower, upper, lam, _ = np.split(found.x, np.cumsum([bars, 1, n, n, ties]))
    return p, Multipliers(float(nu[0]), lower, upper, lam, 0.0)
