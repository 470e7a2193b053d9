"""The end of every hierarchical profile: meet violated rows, verify, report.

Such a profile has no optimality system. What is verified is its construction (a node's weight is shared
between its two sides and nothing is lost), then the sum, the bounds and the rows. Weights that break a
bound or a row are moved to the nearest point that breaks none, `HRP_PROJECTED`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import SolverFailed
from quantctl.steps.l4_allocation.kernels.certificate import explain_infeasibility
from quantctl.steps.l4_allocation.kernels.kkt import active_names, primal_violation
from quantctl.steps.l4_allocation.kernels.problem import Attempt, Kkt, Problem, Result
from quantctl.steps.l4_allocation.kernels.projection import project_capped

Array = NDArray[np.float64]

FEASIBLE = 1e-9
IDENTITY = 1e-12


def finished(
    problem: Problem, weights: Array, notes: dict[str, Any], *, splits: int = 0, residual: float = 0.0
) -> Result:
    """The result that `weights` of shape (N,) lead to.

    splits : how many times a node was divided
    residual : largest error of a split, |weight of a side as a sum of atoms − the share it was given|

    OPTIMAL if all holds, INFEASIBLE with certificate if no weights could, SOLVER_FAILED with code
    `SPLIT_IDENTITY` or `PROJECTION_FAILED`.
    """
    if not residual <= IDENTITY:
        attempt = Attempt("hierarchical", "SOLVER_FAILED", "SPLIT_IDENTITY", splits)
        return Result(None, "SOLVER_FAILED", attempts=(attempt,))
    attempts: tuple[Attempt, ...] = (Attempt("hierarchical", "OPTIMAL", None, splits),)
    warnings: tuple[str, ...] = ()
    violation = primal_violation(problem, weights)
    if violation > FEASIBLE:
        attempt, moved = _project(problem, weights)
        attempts = (*attempts, attempt)
        if moved is None:
            return _without_weights(problem, attempts)
        notes = notes | {"projection_l1": float(np.abs(moved - weights).sum())}
        weights, warnings = moved, ("HRP_PROJECTED",)
        violation = primal_violation(problem, weights)
    variance = float(weights @ problem.cov @ weights)
    return Result(
        weights, "OPTIMAL", variance, variance, Kkt(violation, 0.0, 0.0, 0.0, "OPTIMAL"),
        active=active_names(problem, weights), attempts=attempts, warnings=warnings, notes=notes,
    )  # fmt: skip


def _project(problem: Problem, weights: Array) -> tuple[Attempt, Array | None]:
    try:
        moved = project_capped(weights, problem)
    except SolverFailed as failure:
        return Attempt("projection", "SOLVER_FAILED", failure.code), None
    return Attempt("projection", "INFEASIBLE" if moved is None else "OPTIMAL"), moved


def _without_weights(problem: Problem, attempts: tuple[Attempt, ...]) -> Result:
    """The typed failure; `project_capped` says that nothing is feasible only where a certificate exists."""
    if attempts[-1].outcome != "INFEASIBLE":
        return Result(None, "SOLVER_FAILED", attempts=attempts)
    certificate = explain_infeasibility(problem)
    assert certificate is not None
    last = replace(attempts[-1], code=certificate["code"])
    return Result(None, "INFEASIBLE", attempts=(*attempts[:-1], last), certificate=certificate)
