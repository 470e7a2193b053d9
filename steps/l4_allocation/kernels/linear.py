"""Linear programs, solved by the dual simplex method of HiGHS (Huangfu & Hall 2018).

    min c'x   s.t. A x ≤ b,  E x = d,  l ≤ x ≤ u

A simplex ends in a vertex, so an optimal point has the smallest supports: certificates read conflicts
from them. One thread, one method: the same program gives the same vertex.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LinearStatus = Literal["optimal", "infeasible", "unbounded", "failed"]

# Of rows and reduced costs; the solver's own default is 1e-7, its smallest 1e-10.
TOLERANCE = 1e-10
_STATUSES: dict[int, LinearStatus] = {0: "optimal", 2: "infeasible", 3: "unbounded"}
_UNDECIDED = 4


class LinearOptimum(NamedTuple):
    """How a program ended; `x` (n,) and `value` = c'x are null unless it is `optimal`.

    `message` is the solver's own sentence.
    """

    status: LinearStatus
    x: Array | None
    value: float | None
    message: str = ""


def solve(
    cost: Array,
    matrix: Array | None = None,
    limit: Array | None = None,
    equality: Array | None = None,
    level: Array | None = None,
    bounds: tuple[Array, Array] | None = None,
) -> LinearOptimum:
    """A vertex of the program above, or why there is none.

    Parameters
    ----------
    cost : ndarray (n,), c
    matrix, limit : ndarrays (R, n) and (R,), A and b; null: no inequality rows
    equality, level : ndarrays (E, n) and (E,), E and d; null: no equations
    bounds : l and u, ndarrays (n,) with ±inf where free; null: every x free

    `infeasible` is the solver's word at 1e-10, not a proof. Raises ValueError for shapes that do not fit
    and for data that are not finite. The simplex is exponential at worst, about O((R + E) n) per pivot.
    """
    from scipy.optimize import linprog

    size = len(cost)
    lower, upper = bounds if bounds is not None else (np.full(size, -np.inf), np.full(size, np.inf))
    box = np.column_stack([lower, upper])
    options = {"primal_feasibility_tolerance": TOLERANCE, "dual_feasibility_tolerance": TOLERANCE}
    found = linprog(cost, matrix, limit, equality, level, box, method="highs-ds", options=options)
    if found.status == _UNDECIDED:  # Presolve may stop at "infeasible or unbounded"; the simplex knows which.
        options["presolve"] = False
        found = linprog(cost, matrix, limit, equality, level, box, method="highs-ds", options=options)
    status = _STATUSES.get(found.status, "failed")
    if status != "optimal":
        return LinearOptimum(status, None, None, str(found.message))
    return LinearOptimum(status, np.asarray(found.x, dtype=np.float64), float(found.fun), str(found.message))
