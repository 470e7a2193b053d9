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


@np.errstate(all="ignore")
def solve_on_sets(
    program: RiskProgram, start: RiskPoint, sets: Sets, *, revise: bool, steps: int = ITERATIONS
) -> Search:
    """Newton from `start`, x > 0 and λ > 0; with `revise` the sets follow the iterates.

    A search ends at an error of 1e-13 or at rounding, with consistent sets where they are revised.
    Without, the multipliers may have any sign: `check_kkt` judges. N³/3 an iteration.
    """
    x, barrier, nu = np.where(sets.capped, program.upper, start.x), start.barrier, start.rows * sets.held
    used, seen, before = _independent(program, sets, nu), {_key(sets)}, np.inf
    for iteration in range(steps + 1):
        pressed, level = program.cov @ x, barrier * program.budgets / x
        slope = pressed - level + program.rows.T @ nu
        error = _error(program, x, slope / level, used)
        if error <= ACCURACY or (error < CLOSE and error > 0.5 * before):
            point = RiskPoint(x, barrier, np.where(sets.capped, -slope, 0.0), nu)
            return Search(point, iteration, "optimal")
        step = _step(program, x, barrier, pressed, used)
        if step is None or iteration == steps:
            break
        move, change, aim = step
        length = _longest(max(-float((move / x).min()), -change / barrier))
        x, barrier, nu, before = x + length * move, barrier + length * change, nu + length * (aim - nu), error
        if not revise or length < 1.0:
            continue
        revised = _revised(program, x, barrier, nu, sets)
        if _key(revised) != _key(sets):
            if _key(revised) in seen:
                return Search(None, iteration + 1, "cycle")
            x, nu, sets, before = (
                np.where(revised.capped, program.upper, x),
                nu * revised.held,
                revised,
                np.inf,
            )
            used = _independent(program, sets, nu)
            seen.add(_key(sets))
    return Search(None, iteration, "singular" if step is None else "iteration_limit")


def _members(program: RiskProgram, held: Mask) -> Mask:
    return np.asarray((program.rows[held] != 0.0).any(axis=0))


def _independent(program: RiskProgram, sets: Sets, nu: Array) -> Sets:
    """The sets less the rows that the capped names or the budget already fix.

    A row without a free name holds by its caps. If the rest fix the sum of the free names, the row with
    the smallest multiplier is the one that 1'x = 1 implies at the smallest λ.
    """
    held, free = sets.held.copy(), ~sets.capped
    held[held] = (program.rows[held][:, free] != 0.0).any(axis=1)
    for row in np.flatnonzero(held)[np.argsort(nu[held], kind="stable")]:
        stacked = np.vstack([np.ones(program.size), program.rows[held]])[:, free]
        if np.linalg.matrix_rank(stacked) == len(stacked):
            break
        held[row] = False
    return Sets(sets.capped, held)


def _error(program: RiskProgram, x: Array, relative: Array, sets: Sets) -> float:
    ends = program.rows[sets.held] @ x - program.limit[sets.held]
    free = np.abs(relative[~sets.capped]).max(initial=0.0)
    return float(max(free, abs(float(x.sum()) - 1.0), np.abs(ends).max(initial=0.0)))


def _step(
    program: RiskProgram, x: Array, barrier: float, pressed: Array, sets: Sets
) -> tuple[Array, float, Array] | None:
    """(move of x, change of λ, new ν) of the linearised equations; null where they are singular."""
    free = np.flatnonzero(~sets.capped)
    if len(free) == 0:
        return None
    matrix = program.cov[np.ix_(free, free)] if sets.capped.any() else program.cov.copy()
    column = program.budgets[free] / x[free]
    matrix.flat[:: len(free) + 1] += barrier * column / x[free]
    rows = program.rows[sets.held]
    ends = program.limit[sets.held] - rows @ x
    solved = solve_bordered(
        matrix, column, rows[:, free], np.zeros(len(ends)), barrier * column - pressed[free],
        1.0 - float(x.sum()), ends,
    )  # fmt: skip
    if solved is None:
        return None
    move, nu = np.zeros(program.size), np.zeros(len(sets.held))
    move[free], change, nu[sets.held] = solved
    return move, change, nu


def _longest(fall: float) -> float:
    """The longest step in (0, 1] that leaves a tenth of every positive unknown."""
    return min(1.0, 0.9 / fall) if fall > 0.0 else 1.0


def _revised(program: RiskProgram, x: Array, barrier: float, nu: Array, sets: Sets) -> Sets:
    """Held is what exceeds its limit or presses on it; a name waits while its row is being held first."""
    pressure = barrier * program.budgets / x - program.cov @ x - program.rows.T @ nu
    beyond = program.rows @ x > program.limit + ROUNDING
    held = np.where(sets.held, nu >= 0.0, beyond)
    waits = _members(program, beyond & ~sets.held)
    capped = np.where(sets.capped, pressure >= 0.0, (x > program.upper + ROUNDING) & ~waits)
    return Sets(capped, held)


def _key(sets: Sets) -> bytes:
    return sets.capped.tobytes() + sets.held.tobytes()
