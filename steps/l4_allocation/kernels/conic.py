"""The quadratic programs posed to the conic solver directly: sparse, without a modelling layer.

    min ½z'z + q'x   s.t. A x + s = b,  s ∈ {0}^p × R₊^m,    x = (y, κ, t, z),  z = L'y,  Q = LL'

κ is there in the ratio form only, t only where trading costs: t ≥ ±(y − κ w₀). The ratio is homogenised
by y = κw (Schaible 1974), its numerator set to 1. Written in z the solver scales rows of order one: sets
that are a sliver are solved to full accuracy, where ½y'Qy ends at 1e-7. The slow rung of last resort, and
an oracle.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.cones import solve_cones
from quantctl.steps.l4_allocation.kernels.kkt import Multipliers
from quantctl.steps.l4_allocation.kernels.program import Optimum, Program

Array = NDArray[np.float64]

TOLERANCE = 1e-10
_SOLVED = ("Solved", "AlmostSolved")


def solve(program: Program) -> Optimum:
    """The optimum of `program`, started cold on one thread.

    The outcome is the solver's own word in lower case, `optimal` for "Solved"; a point comes with
    "AlmostSolved" too. Multipliers are those of the program's objective, for a ratio those of −ln of
    it. `singular` where Q has no Cholesky factor. Never raises for finite data. One sparse factorisation of
    order 3N + R per iteration, O(N³).
    """
    data = _cone_program(program)
    if data is None:
        return Optimum("singular", 0, 0)
    found = solve_cones(*data, TOLERANCE)
    outcome = str(found.status)
    word = "infeasible" if "PrimalInfeasible" in outcome else outcome.lower()
    if outcome not in _SOLVED:
        return Optimum(word, found.iterations, found.iterations)
    point, dual = np.asarray(found.x), np.asarray(found.z)
    size, rows, first = program.size, len(program.limit), data[-1]
    kappa = float(point[size]) if program.ratio else 1.0
    if not kappa > 0.0:
        return Optimum("no_ratio", found.iterations, found.iterations)
    y = point[:size]
    # Multipliers of the homogenised problem, divided by y'Qy/κ, are those of −ln of the ratio.
    unit = kappa / float(y @ program.press(y)) if program.ratio else 1.0
    lower, upper, limit = np.split(dual[first : first + 2 * size + rows] * unit, [size, 2 * size])
    lam = Multipliers(float(dual[0]) * unit, lower, upper, limit, 0.0)
    word = "optimal" if outcome == "Solved" else outcome.lower()
    return Optimum(word, found.iterations, found.iterations, y / kappa, lam)


def _cone_program(program: Program) -> tuple[Any, Array, Any, Array, int] | None:
    """(P, q, A, b, equations p), rows in the order budget, gain, z, lower, upper, rows, kink."""
    from scipy import sparse

    size, cost = program.size, program.kink
    previous = program.previous if program.previous is not None else np.zeros(size)
    traded = cost > 0.0 and program.previous is not None
    scales, trades = (1 if program.ratio else 0), (size if traded else 0)
    try:
        factor = np.linalg.cholesky(program.scale * program.cov + program.ridge * np.eye(size))
    except np.linalg.LinAlgError:
        return None
    eye = sparse.identity(size, format="csc")
    bounds = [  # of y and of κ, for each block of rows: A y + a κ ≤ b
        (-eye, program.lower), (eye, -program.upper), (program.rows, -program.limit),
    ]  # fmt: skip
    moves = [(eye, -previous), (-eye, previous)] if traded else []
    width = (scales, trades, size)
    blocks = [_block(np.ones((1, size)), np.array([-1.0]), width)]
    level = [np.array([0.0 if scales else 1.0])]
    if program.ratio:
        blocks.append(_gain_row(program, width))
        level.append(np.array([-1.0]))
    blocks.append(_block(factor.T, np.zeros(size), width, factored=-eye))
    level.append(np.zeros(size))
    blocks += [_block(y, kappa, width) for y, kappa in bounds]
    blocks += [_block(y, kappa, width, moved=-eye) for y, kappa in moves]
    level += [-kappa * (not scales) for _, kappa in (*bounds, *moves)]
    linear = np.zeros(2 * size + scales + trades)
    if not program.ratio:
        linear[:size], linear[size : size + trades] = -program.gain, cost
    quadratic = sparse.diags(np.concatenate([np.zeros(size + scales + trades), np.ones(size)]), format="csc")
    matrix = sparse.vstack([b for b in blocks if b.shape[0]], format="csc")
    return quadratic, linear, matrix, np.concatenate(level), 1 + scales + size


def _gain_row(program: Program, width: tuple[int, int, int]) -> Any:
    """−g'y + c(1't + vκ) ≤ −1 as an equation: the numerator of a ratio is 1."""
    from scipy import sparse

    scales, trades, size = width
    cost = np.full(trades, program.kink)
    exits = np.full(scales, program.kink * program.exit_turnover)
    return sparse.csc_matrix(np.concatenate([-program.gain, exits, cost, np.zeros(size)])[None, :])


def _block(y: Any, kappa: Array, width: tuple[int, int, int], moved: Any = None, factored: Any = None) -> Any:
    """One block of rows over (y, κ, t, z); κ and t appear only where the program has them."""
    from scipy import sparse

    scales, trades, size = width
    parts = [sparse.csc_matrix(y)]
    if scales:
        parts.append(sparse.csc_matrix(kappa[:, None]))
    if trades:
        parts.append(sparse.csc_matrix((len(kappa), trades)) if moved is None else moved)
    parts.append(sparse.csc_matrix((len(kappa), size)) if factored is None else factored)
    return sparse.hstack(parts, format="csc")
