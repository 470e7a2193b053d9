"""Risk budgeting by a conic solver: the last rung before a certificate.

    x(λ) = argmin ½x'Σx − λ Σ b_i t_i   s.t.   (t_i, 1, x_i) ∈ K_exp,  x ≤ u,  G x ≤ h

where (t, 1, x) ∈ K_exp means t ≤ ln x. Σ enters as the quadratic term, without a factor of it. λ is
bracketed and bisected until Newton from the active set that the solver shows (`risk_active.py`) ends at
1'x = 1. A conic solver's own accuracy leaves risk shares wrong by up to 1e-5, so it only starts them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.cones import solve_cones
from quantctl.steps.l4_allocation.kernels.risk_active import Search, solve_on_sets
from quantctl.steps.l4_allocation.kernels.risk_program import RiskPoint, RiskProgram, Sets

Array = NDArray[np.float64]

TOLERANCE = 1e-10
SEARCH_STEPS = 60
NEWTON_STEPS = 12
# Σx(λ) this far below 1 shows that λ is too small; nearer, the conic accuracy does not tell.
BELOW = 1e-7
# λ grows by this factor while the sum is below 1, up to this multiple of its start.
GROWTH, LARGEST = 4.0, 1e8


class ConicPoint(NamedTuple):
    """What a conic solver says of x(λ): its word, its iterations, and x, ν_u, ν if it has a point."""

    outcome: str
    iterations: int
    x: Array | None = None
    caps: Array | None = None
    rows: Array | None = None


class ConicSearch(NamedTuple):
    """How a search for λ ended: the accepted point or null, conic iterations and Newton steps in all.

    outcome : the solver's last word; `no_barrier` where even a huge λ leaves Σx below 1
    """

    point: RiskPoint | None
    outcome: str
    iterations: int
    steps: int


# λ -> x(λ)
ConicSolver = Callable[[float], ConicPoint]


def solve_conic(program: RiskProgram, barrier: float) -> ConicPoint:
    """x(λ) for λ = `barrier` by Clarabel, one thread."""
    from scipy import sparse

    size, held = program.size, len(program.limit)
    eye, none = sparse.identity(size, format="csc"), sparse.csc_matrix((size, size))
    # (t_i, 1, x_i), name by name, as b − A(x, t).
    at = 3 * np.arange(size)
    cone = sparse.csc_matrix(
        (np.full(2 * size, -1.0), (np.concatenate([at + 2, at]), np.arange(2 * size))),
        shape=(3 * size, 2 * size),
    )
    matrix = sparse.vstack(
        [
            sparse.hstack([eye, none]),
            sparse.csc_matrix(np.hstack([program.rows, np.zeros((held, size))])),
            cone,
        ],
        format="csc",
    )
    quadratic = sparse.csc_matrix(np.triu(program.cov))
    quadratic.resize(2 * size, 2 * size)
    level = np.concatenate([program.upper, program.limit, np.tile([0.0, 1.0, 0.0], size)])
    linear = np.concatenate([np.zeros(size), -barrier * program.budgets])
    found = solve_cones(quadratic, linear, matrix, level, 0, TOLERANCE, exponentials=size)
    x, z = np.array(found.x)[:size], np.array(found.z)
    if not (np.isfinite(x).all() and (x > 0.0).all()):
        return ConicPoint(str(found.status), int(found.iterations))
    return ConicPoint(str(found.status), int(found.iterations), x, z[:size], z[size : size + held])


def search_barrier(
    program: RiskProgram, solve: ConicSolver, barrier: float, accept: Callable[[Search], bool]
) -> ConicSearch:
    """Bracket and bisect ln λ from `barrier`; the first search on active sets that `accept` takes ends it."""
    low, high, most, iterations, steps = 0.0, 0.0, LARGEST * barrier, 0, 0
    for _ in range(SEARCH_STEPS):
        claim = solve(barrier)
        iterations += claim.iterations
        if claim.x is None or claim.caps is None or claim.rows is None:
            return ConicSearch(None, claim.outcome, iterations, steps)
        slack = program.limit - program.rows @ claim.x
        shown = Sets(claim.caps > program.upper - claim.x, claim.rows > slack)
        start = RiskPoint(claim.x, barrier, claim.caps, claim.rows)
        ended = solve_on_sets(program, start, shown, revise=True, steps=NEWTON_STEPS)
        steps += ended.iterations
        if accept(ended):
            return ConicSearch(ended.point, claim.outcome, iterations, steps)
        if float(claim.x.sum()) < 1.0 - BELOW:
            low = barrier
        else:
            high = barrier
        barrier = GROWTH * barrier if high == 0.0 else barrier / GROWTH if low == 0.0 else (low * high) ** 0.5
        if barrier > most:
            return ConicSearch(None, "no_barrier", iterations, steps)
    return ConicSearch(None, "iteration_limit", iterations, steps)
