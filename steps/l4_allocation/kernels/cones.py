"""The call of the conic solver Clarabel (Goulart & Chen 2024): one place for its settings.

    min ½x'Px + q'x   s.t. A x + s = b,  s in a product of cones

One thread, cold, silent: the same input gives the same bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def solve_cones(
    quadratic: Any, linear: Array, matrix: Any, level: Array, equations: int, tolerance: float,
    exponentials: int = 0,
) -> Any:  # fmt: skip
    """Clarabel's own solution object (status, x, z, iterations).

    quadratic, matrix : SciPy sparse, P upper triangle;  level : b
    equations : leading rows of A that are equations; then inequalities s ≥ 0; the last 3·`exponentials`
        rows are exponential cones
    tolerance : of feasibility and gap, absolute and relative
    """
    import clarabel

    settings = clarabel.DefaultSettings()
    settings.verbose, settings.max_threads = False, 1
    settings.tol_feas = settings.tol_gap_abs = settings.tol_gap_rel = tolerance
    cones = [clarabel.ZeroConeT(equations)] if equations else []
    cones += [clarabel.NonnegativeConeT(len(level) - equations - 3 * exponentials)]
    cones += [clarabel.ExponentialConeT()] * exponentials
    return clarabel.DefaultSolver(quadratic, linear, matrix, level, cones, settings).solve()
