"""The quadratic programs posed to a conic solver: Clarabel (Goulart & Chen 2024), sparse, no modelling layer.

    min ½x'Px + q'x   s.t. A x + s = b,  s ∈ {0}^p × R₊^m,    x = (y, κ, t)

κ is there in the ratio form only, t only where trading costs: t ≥ ±(y − κ w₀). The ratio is homogenised
by y = κw (Schaible 1974), its numerator set to 1. The slow rung of last resort, and an oracle.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.kkt import Multipliers
from quantctl.steps.l4_allocation.kernels.program import Optimum, Program

Array = NDArray[np.float64]

TOLERANCE = 1e-10
_SOLVED = ("Solved", "AlmostSolved")


def solve(program: Program) -> Optimum:
    """The optimum of `program`, started cold on one thread.

    The outcome is the solver's own word in lower case, `optimal` for "Solved"; a point comes with
    "AlmostSolved" too. Multipliers are those of the program's objective, for a ratio those of −ln of
    it. Never raises for finite data. One sparse factorisation of order 2N + R per iteration, O(N³).
    """
    found = _run(_cone_program(program))
    outcome = str(found.status)
    word = "infeasible" if "PrimalInfeasible" in outcome else outcome.lower()
    if outcome not in _SOLVED:
        return Optimum(word, found.iterations, found.iterations)
    point, dual = np.asarray(found.x), np.asarray(found.z)
    size, rows, first = program.size, len(program.limit), 2 if program.ratio else 1
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


def _run(data: tuple[Any, Array, Any, Array, int]) -> Any:
    import clarabel

    quadratic, linear, matrix, level, equations = data
    settings = clarabel.DefaultSettings()
    settings.verbose, settings.max_threads = False, 1
    settings.tol_feas = settings.tol_gap_abs = settings.tol_gap_rel = TOLERANCE
    cones = [clarabel.ZeroConeT(equations), clarabel.NonnegativeConeT(len(level) - equations)]
    return clarabel.DefaultSolver(quadratic, linear, matrix, level, cones, settings).solve()


def _cone_program(program: Program) -> tuple[Any, Array, Any, Array, int]:
    """(P upper triangle, q, A, b, equations p), rows in the order budget, gain, lower, upper, rows, kink."""
    from scipy import sparse

    size, rows, cost = program.size, len(program.limit), program.kink
    previous = program.previous if program.previous is not None else np.zeros(size)
    traded = cost > 0.0 and program.previous is not None
    scales, trades = (1 if program.ratio else 0), (size if traded else 0)
    eye = sparse.identity(size, format="csc")
    columns = [  # of y and of κ, for each block of rows: A y + a κ ≤ b
        (np.ones((1, size)), np.array([-1.0])),
        (-eye, program.lower), (eye, -program.upper), (program.rows, -program.limit),
    ]  # fmt: skip
    moves = [(eye, -previous), (-eye, previous)] if traded else []
    blocks = [_block(y, kappa, None, scales, trades) for y, kappa in columns]
    blocks += [_block(y, kappa, -eye, scales, trades) for y, kappa in moves]
    level = np.concatenate([-kappa for _, kappa in (*columns, *moves)]) * (not program.ratio)
    linear = np.zeros(size + scales + trades)
    if program.ratio:
        gain = np.concatenate([-program.gain, [cost * program.exit_turnover], np.full(trades, cost)])
        blocks.insert(1, sparse.csc_matrix(gain[None, :]))
        level = np.insert(level, 1, -1.0)
    else:
        linear[:size], linear[size:] = -program.gain, cost
    dense = np.triu(program.scale * program.cov + program.ridge * np.eye(size))
    quadratic = sparse.block_diag([sparse.csc_matrix(dense), sparse.csc_matrix((scales + trades,) * 2)])
    matrix = sparse.vstack(blocks if rows else [b for b in blocks if b.shape[0]], format="csc")
    return quadratic.tocsc(), linear, matrix, level, 1 + scales


def _block(y: Any, kappa: Array, moved: Any, scales: int, trades: int) -> Any:
    """One block of rows over (y, κ, t); κ and t appear only where the program has them."""
    from scipy import sparse

    parts = [sparse.csc_matrix(y)]
    if scales:
        parts.append(sparse.csc_matrix(kappa[:, None]))
    if trades:
        parts.append(sparse.csc_matrix((len(kappa), trades)) if moved is None else moved)
    return sparse.hstack(parts, format="csc")
