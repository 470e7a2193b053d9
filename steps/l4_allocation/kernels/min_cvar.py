"""Minimum expected shortfall (conditional value at risk) over scenarios.

    min a + Σ_t z_t/((1−q)T) + γ√m_x‖w‖² + c√m_x‖w − w_prev‖₁     s.t. z_t ≥ −x_t'w − a,  z ≥ 0

over 1'w = 1, l ≤ w ≤ u, groups and beta row; m_x is the mean per-bar variance of the scenario columns
(Rockafellar & Uryasev 2000, Optimization of conditional value-at-risk, equation 17). `cvar_program.py`
scales the problem, `cvar_interior_point.py` approaches its optimum, `cvar_polish.py` ends on it exactly,
`cvar_kkt.py` judges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import ContractError
from quantctl.steps.l4_allocation.kernels.certificate import explain_infeasibility
from quantctl.steps.l4_allocation.kernels.cvar_interior_point import InteriorPoint
from quantctl.steps.l4_allocation.kernels.cvar_kkt import judged
from quantctl.steps.l4_allocation.kernels.cvar_polish import balanced, clipped, polish
from quantctl.steps.l4_allocation.kernels.cvar_program import (
    CvarOptimum,
    CvarPoint,
    CvarProgram,
    cvar_program,
    shortfall,
)
from quantctl.steps.l4_allocation.kernels.cvar_unique import is_unique, least_norm
from quantctl.steps.l4_allocation.kernels.engine import NATIVE, Engine
from quantctl.steps.l4_allocation.kernels.kkt import Multipliers, active_names, name_duals
from quantctl.steps.l4_allocation.kernels.problem import Attempt, Kkt, Problem, Result

Array = NDArray[np.float64]

# Fewer scenarios than this in the tail make its mean a matter of single bars.
THIN_TAIL = 5.0
# The polish is tried from the first gap on, and again whenever the gap fell by the factor.
POLISH_FROM, POLISH_AGAIN = 1e-3, 0.1
# From this gap on the sets are certain enough to solve singular systems for them.
PATIENT = 1e-6
GAP = 1e-12
# Steps in all, and steps in a row that bring nothing.
ITERATIONS, STALLED = 50, 4
# A sum of bounds this close to 1 leaves one point.
CORNER = 1e-12


def min_cvar(problem: Problem, returns: Array, level: float = 0.95, engine: Engine = NATIVE) -> Result:
    """Weights with the smallest expected shortfall at `level`.

    Parameters
    ----------
    problem : the polytope, γ = `l2` and c = `turnover`; `cov` and `mu` are not used
    returns : ndarray (T, N), simple returns per bar, the scenarios
    level : q in (0, 1)

    Statuses: OPTIMAL, OPTIMAL_REDUCED_ACCURACY, INFEASIBLE (with certificate), SOLVER_FAILED.
    `objective` is the expected shortfall per bar, `notes` holds it as `cvar`, the value at risk `var` and
    the number of scenarios in the tail. Warning `CVAR_TAIL_THIN` where (1−q)T < 5.
    Where many weights are optimal the result is the one of least norm. A point of reduced accuracy is
    returned only if no rung does better. About 15 iterations of O(T N² + N³).

    Raises
    ------
    ContractError : `PROBLEM_INVALID` naming `returns` or `level`
    """
    scenarios = _checked(problem, returns, level)
    program = cvar_program(problem, scenarios, level)
    attempts: list[Attempt] = []
    reduced: tuple[CvarPoint, Kkt] | None = None
    for rung, solve in _rungs(problem, program, engine):
        found = solve()
        kkt = None if found.point is None else judged(problem, program, found.point)
        attempts.append(_attempt(rung, found, kkt))
        if found.point is not None and kkt is not None and kkt.status == "OPTIMAL":
            return _result(
                problem, program, *_one_of_many(problem, program, found.point, kkt), tuple(attempts)
            )
        if found.point is not None and kkt is not None and kkt.status != "SOLVER_FAILED":
            reduced = reduced or (found.point, kkt)
        elif len(attempts) == 1 and (certificate := explain_infeasibility(problem)) is not None:
            attempts.append(Attempt("certificate", "INFEASIBLE", certificate["code"]))
            return Result(None, "INFEASIBLE", attempts=tuple(attempts), certificate=certificate)
    if reduced is not None:
        return _result(problem, program, *reduced, tuple(attempts))
    return Result(None, "SOLVER_FAILED", attempts=tuple(attempts))


def _one_of_many(problem: Problem, program: CvarProgram, point: CvarPoint, kkt: Kkt) -> tuple[CvarPoint, Kkt]:
    if is_unique(program, point):
        return point, kkt

    def accepts(claim: CvarPoint) -> bool:
        return judged(problem, program, claim).status == "OPTIMAL"

    shortest = least_norm(program, point, interior_point, accepts)
    return shortest, judged(problem, program, shortest)


def _attempt(rung: str, found: CvarOptimum, kkt: Kkt | None) -> Attempt:
    if kkt is None:
        outcome = found.outcome
        return Attempt(rung, outcome, outcome.upper(), found.iterations, found.factorisations)
    return Attempt(rung, kkt.status, None, found.iterations, found.factorisations, kkt.residuals())


def _checked(problem: Problem, returns: Array, level: float) -> Array:
    scenarios = np.asarray(returns, dtype=np.float64)
    if scenarios.ndim != 2 or scenarios.shape[1] != problem.size or scenarios.shape[0] == 0:
        reason = f"shape {scenarios.shape}, expected (T, {problem.size}) with T > 0"
        raise ContractError("PROBLEM_INVALID", f"returns: {reason}", where="returns")
    if not np.isfinite(scenarios).all():
        raise ContractError("PROBLEM_INVALID", "returns: not finite", where="returns")
    if not 0.0 < level < 1.0:
        raise ContractError("PROBLEM_INVALID", f"level: {level} is not inside (0, 1)", where="level")
    return scenarios


def _rungs(
    problem: Problem, program: CvarProgram, engine: Engine
) -> Iterator[tuple[str, Callable[[], CvarOptimum]]]:
    """The rungs that apply, in the order of the ladder."""
    if engine.has("closed_form") and (corner := _corner(program)) is not None:
        yield "closed_form", lambda: CvarOptimum("optimal", 0, 0, corner)
    if engine.has("fast"):
        yield "fast", lambda: interior_point(program, shrinking=True)
    if engine.has("ipm"):
        yield "ipm", lambda: interior_point(program)
    if engine.has("clarabel"):
        yield from _conic_rungs(problem, program, engine)


def _conic_rungs(
    problem: Problem, program: CvarProgram, engine: Engine
) -> Iterator[tuple[str, Callable[[], CvarOptimum]]]:
    from quantctl.steps.l4_allocation.kernels import cvar_direct

    reference = engine.reference
    if reference is not None:
        yield "clarabel", lambda: _ended(program, reference.min_cvar(problem, program))
    else:
        yield "clarabel", lambda: _ended(program, cvar_direct.clarabel_shortfall(program))
    if program.ridge == 0.0:
        yield "highs", lambda: cvar_direct.simplex_shortfall(program)


def interior_point(program: CvarProgram, *, shrinking: bool = False) -> CvarOptimum:
    """The interior point until the polish of its sets ends clean, or until its own last digit.

    `shrinking` : scenarios far from the tail are left out on the way. The polish sees all of them, so a
    scenario that was left out wrongly joins there or makes the attempt fail.
    """
    if _room(program) <= 0.0:
        return CvarOptimum("no interior", 0, 0)
    inner = InteriorPoint(program)
    tried, best, idle, nearest = POLISH_FROM / POLISH_AGAIN, inner.gap, 0, None
    while idle < STALLED and inner.iterations < ITERATIONS and inner.step():
        if shrinking:
            inner.shrink()
        idle += 1
        if inner.gap < best:
            best, idle = inner.gap, 0
            nearest = inner.point() if best <= POLISH_FROM else None
        if nearest is not None and best <= POLISH_AGAIN * tried:
            tried = best
            point = polish(program, nearest, patient=best <= PATIENT)
            if point is not None:
                return CvarOptimum("optimal", inner.iterations, inner.iterations, point)
        if best <= GAP:
            break
    return CvarOptimum(
        "stalled", inner.iterations, inner.iterations, clipped(program, nearest or inner.point())
    )


def _ended(program: CvarProgram, found: CvarOptimum) -> CvarOptimum:
    """A conic solution: the polish of its sets where that ends clean, else the solution inside its bounds."""
    if found.point is None:
        return found
    point = polish(program, found.point) or clipped(program, found.point)
    return CvarOptimum(found.outcome, found.iterations, found.factorisations, point)


def _room(program: CvarProgram) -> float:
    """How far the budget stands from the nearer sum of bounds; ≤ 0: nothing inside."""
    room = min(1.0 - float(program.lower.sum()), float(program.upper.sum()) - 1.0)
    return room if room > CORNER else 0.0


def _corner(program: CvarProgram) -> CvarPoint | None:
    """The only point of bounds whose sum is 1 (one atom too); ν is chosen so that its bounds hold it."""
    for bound, sign in ((program.upper, 1.0), (program.lower, -1.0)):
        if abs(float(bound.sum()) - 1.0) <= CORNER:
            _, var, tail = shortfall(program, bound)
            slope = 2.0 * program.ridge * bound - tail @ program.scenarios
            nu = -sign * (float((sign * slope).max()) + program.kink)
            slope = balanced(program, bound, slope + nu)
            lower, upper = np.maximum(slope, 0.0), np.maximum(-slope, 0.0)
            lam = Multipliers(nu, lower, upper, np.zeros(len(program.limit)), 0.0)
            return CvarPoint(bound.copy(), var, tail, lam)
    return None


def _result(
    problem: Problem, program: CvarProgram, point: CvarPoint, kkt: Kkt, attempts: tuple[Attempt, ...]
) -> Result:
    """In user units; the shortfall is that of the weights, not the solver's value."""
    weights = point.weights
    cvar, var, _ = shortfall(program, weights)
    penalty = program.ridge * float(weights @ weights)
    if program.previous is not None:
        penalty += program.kink * float(np.abs(weights - program.previous).sum())
    thin = 1.0 / program.share < THIN_TAIL
    warnings = ["OPTIMAL_REDUCED_ACCURACY"] * (kkt.status != "OPTIMAL") + ["CVAR_TAIL_THIN"] * thin
    return Result(
        weights, kkt.status, cvar * program.unit, (cvar + penalty) * program.unit, kkt,
        name_duals(problem, point.multipliers), active_names(problem, weights), attempts, tuple(warnings),
        notes={
            "cvar": cvar * program.unit, "var": var * program.unit,
            "tail": int((point.tail > 1e-9 * program.share).sum()),
        },
    )  # fmt: skip
