"""Capped risk budgeting by Newton's method on an active set.

With the names of a set at their caps and some rows at their limits the system of `risk_program.py` is

    Σx − λ b/x + G_A'ν = 0 (free names),   x = u (capped names),   G_A x = h_A,   1'x = 1

Every full Newton step revises the sets as a primal–dual active set does (Hintermüller, Ito & Kunisch
2002): what exceeds its cap is put on it, what is held against its multiplier is released. That is fast
and not globally convergent: it may cycle, and the ladder then goes on.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.problem import Mask
from quantctl.steps.l4_allocation.kernels.risk_program import (
    ROUNDING,
    RiskPoint,
    RiskProgram,
    Sets,
    solve_bordered,
)

Array = NDArray[np.float64]

ITERATIONS = 50
ACCURACY = 1e-13
# Below this a step that does not improve the error has reached rounding.
CLOSE = 1e-9


class Search(NamedTuple):
    """How a search on active sets ended: a point or null, Newton steps (one factorisation each)."""

    point: RiskPoint | None
    iterations: int
    outcome: str


def starting_sets(program: RiskProgram, x: Array) -> Sets:
    """The rows that x exceeds, and the names that exceed their cap outside of those rows."""
    held = program.rows @ x > program.limit + ROUNDING
    return Sets((x > program.upper + ROUNDING) & ~_members(program, held), held)


def solve_on_sets(
    program: RiskProgram, x: Array, barrier: float, sets: Sets, *, revise: bool, steps: int = ITERATIONS
) -> Search:
    """Newton from x > 0 and λ = `barrier` > 0; with `revise` the sets follow the iterates.

    A search ends at an error of 1e-13 or at rounding, with consistent sets where they are revised.
    Without, the multipliers may have any sign: `check_kkt` judges. N³/3 an iteration.
    """
    x, nu, before, seen = np.where(sets.capped, program.upper, x), np.zeros(len(sets.held)), np.inf, set()
    for iteration in range(steps + 1):
        held = _independent(program, sets, nu)
        slope = program.cov @ x - barrier * program.budgets / x + program.rows.T @ nu
        error = _error(program, x, barrier, slope, Sets(sets.capped, held))
        if error <= ACCURACY or (error < CLOSE and error > 0.5 * before):
            return Search(_point(x, barrier, slope, sets.capped, nu), iteration, "optimal")
        step = _step(program, x, barrier, Sets(sets.capped, held))
        if step is None or iteration == steps:
            break
        move, change, aim = step
        length = min(_longest(move / x), _longest(np.array([change / barrier])))
        x, barrier, nu, before = x + length * move, barrier + length * change, nu + length * (aim - nu), error
        if revise and length == 1.0:
            revised = _revised(program, x, barrier, nu, sets)
            if not _same(revised, sets):
                if (key := _key(revised)) in seen:
                    return Search(None, iteration + 1, "cycle")
                seen.add(key)
                x, nu, sets, before = (
                    np.where(revised.capped, program.upper, x),
                    nu * revised.held,
                    revised,
                    np.inf,
                )
    return Search(None, iteration, "singular" if step is None else "iteration_limit")


def _members(program: RiskProgram, held: Mask) -> Mask:
    return np.asarray((program.rows[held] != 0.0).any(axis=0))


def _independent(program: RiskProgram, sets: Sets, nu: Array) -> Mask:
    """The held rows less those that the capped names or the budget already fix.

    A row without a free name holds by its caps. If the rest fix the sum of the free names, the row with
    the smallest multiplier is the one that 1'x = 1 implies at the smallest λ.
    """
    held = sets.held.copy()
    free = ~sets.capped
    held[held] = (program.rows[held][:, free] != 0.0).any(axis=1)
    for row in np.flatnonzero(held)[np.argsort(nu[held], kind="stable")]:
        stacked = np.vstack([np.ones(program.size), program.rows[held]])[:, free]
        if np.linalg.matrix_rank(stacked) == len(stacked):
            break
        held[row] = False
    return held


def _error(program: RiskProgram, x: Array, barrier: float, slope: Array, sets: Sets) -> float:
    relative = np.abs(slope * x / (barrier * program.budgets))[~sets.capped]
    ends = np.abs(program.rows[sets.held] @ x - program.limit[sets.held])
    return float(max(relative.max(initial=0.0), abs(float(x.sum()) - 1.0), ends.max(initial=0.0)))


def _step(program: RiskProgram, x: Array, barrier: float, sets: Sets) -> tuple[Array, float, Array] | None:
    """(move of x, change of λ, new ν) of the linearised equations; null where they are singular."""
    free = np.flatnonzero(~sets.capped)
    if len(free) == 0:
        return None
    matrix, b = program.cov[np.ix_(free, free)], program.budgets[free]
    matrix.flat[:: len(free) + 1] += barrier * b / x[free] ** 2
    right = barrier * b / x[free] - (program.cov @ x)[free]
    ends = program.limit[sets.held] - program.rows[sets.held] @ x
    solved = solve_bordered(
        matrix, b / x[free], program.rows[sets.held][:, free], np.zeros(len(ends)), right,
        1.0 - float(x.sum()), ends,
    )  # fmt: skip
    if solved is None:
        return None
    move, nu = np.zeros(program.size), np.zeros(len(sets.held))
    move[free], change, nu[sets.held] = solved
    return move, change, nu


def _longest(relative: Array) -> float:
    """The longest step in (0, 1] that leaves a tenth of every positive unknown."""
    fall = -float(relative.min())
    return min(1.0, 0.9 / fall) if fall > 0.0 else 1.0


def _revised(program: RiskProgram, x: Array, barrier: float, nu: Array, sets: Sets) -> Sets:
    """Held is what exceeds its limit or presses on it; a name waits while its row is being held first."""
    pressure = barrier * program.budgets / x - program.cov @ x - program.rows.T @ nu
    beyond = program.rows @ x > program.limit + ROUNDING
    held = np.where(sets.held, nu >= 0.0, beyond)
    waits = _members(program, beyond & ~sets.held)
    capped = np.where(sets.capped, pressure >= 0.0, (x > program.upper + ROUNDING) & ~waits)
    return Sets(capped, held)


def _same(one: Sets, other: Sets) -> bool:
    return np.array_equal(one.capped, other.capped) and np.array_equal(one.held, other.held)


def _key(sets: Sets) -> bytes:
    return sets.capped.tobytes() + sets.held.tobytes()


def _point(x: Array, barrier: float, slope: Array, capped: Mask, nu: Array) -> RiskPoint:
    return RiskPoint(x, barrier, np.where(capped, -slope, 0.0), nu)
