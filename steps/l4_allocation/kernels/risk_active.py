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


class _Face(NamedTuple):
    """The equations of an active set: free names, the held rows that are independent, Σ of the free."""

    sets: Sets
    free: NDArray[np.intp]
    used: NDArray[np.intp]
    rows: Array
    limit: Array
    block: Array


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
    face, seen, before, full = _face(program, sets, nu), {_key(sets)}, np.inf, False
    iteration = 0
    while True:
        pressed, level = program.cov @ x, barrier * program.budgets / x
        slope = pressed - level + nu @ program.rows
        if (
            full
            and revise
            and (key := _key(revised := _revised(program, x, slope, nu, face.sets))) != _key(face.sets)
        ):
            if key in seen:
                return Search(None, iteration, "cycle")
            seen.add(key)
            x, nu = np.where(revised.capped, program.upper, x), nu * revised.held
            face, before, full = _face(program, revised, nu), np.inf, False
            continue
        error = _error(x, slope / level, face)
        if error <= ACCURACY or (error < CLOSE and error > 0.5 * before):
            point = RiskPoint(x, barrier, np.where(face.sets.capped, -slope, 0.0), nu)
            return Search(point, iteration, "optimal")
        if iteration == steps:
            return Search(None, iteration, "iteration_limit")
        step = _step(program, x, barrier, pressed, face)
        if step is None:
            return Search(None, iteration, "singular")
        move, change, aim = step
        length = _longest(max(-float((move / x).min()), -change / barrier))
        x, barrier, nu = x + length * move, barrier + length * change, nu + length * (aim - nu)
        before, full, iteration = error, length == 1.0, iteration + 1


def _face(program: RiskProgram, sets: Sets, nu: Array) -> _Face:
    free, used = np.flatnonzero(~sets.capped), _independent(program, sets, nu)
    block = program.cov if len(free) == program.size else program.cov[np.ix_(free, free)]
    return _Face(sets, free, used, program.rows[used], program.limit[used], block)


def _independent(program: RiskProgram, sets: Sets, nu: Array) -> NDArray[np.intp]:
    """The held rows less those that the capped names or the budget already fix.

    A row without a free name holds by its caps. If the rest fix the sum of the free names, the row with
    the smallest multiplier is the one that 1'x = 1 implies at the smallest λ.
    """
    used: NDArray[np.intp] = np.flatnonzero(sets.held)
    if len(used) == 0:
        return used
    free = program.rows[:, ~sets.capped]
    used = used[(free[used] != 0.0).any(axis=1)]
    for row in used[np.argsort(nu[used], kind="stable")]:
        stacked = np.concatenate([np.ones((1, free.shape[1])), free[used]])
        if np.linalg.matrix_rank(stacked) == len(stacked):
            break
        used = used[used != row]
    return used


def _members(program: RiskProgram, held: Mask) -> Mask:
    return np.asarray((program.rows[held] != 0.0).any(axis=0))


def _error(x: Array, relative: Array, face: _Face) -> float:
    worst = max(float(np.abs(relative[face.free]).max(initial=0.0)), abs(float(x.sum()) - 1.0))
    return max(worst, float(np.abs(face.rows @ x - face.limit).max(initial=0.0)))


def _step(
    program: RiskProgram, x: Array, barrier: float, pressed: Array, face: _Face
) -> tuple[Array, float, Array] | None:
    """(move of x, change of λ, new ν) of the linearised equations; null where they are singular."""
    free = face.free
    if len(free) == 0:
        return None
    matrix, column = face.block.copy(), program.budgets[free] / x[free]
    matrix.flat[:: len(free) + 1] += barrier * column / x[free]
    solved = solve_bordered(
        matrix, column, face.rows[:, free], np.zeros(len(face.used)), barrier * column - pressed[free],
        1.0 - float(x.sum()), face.limit - face.rows @ x,
    )  # fmt: skip
    if solved is None:
        return None
    move, nu = np.zeros(program.size), np.zeros(len(program.limit))
    move[free], change, nu[face.used] = solved
    return move, change, nu


def _longest(fall: float) -> float:
    """The longest step in (0, 1] that leaves a tenth of every positive unknown."""
    return min(1.0, 0.9 / fall) if fall > 0.0 else 1.0


def _revised(program: RiskProgram, x: Array, slope: Array, nu: Array, sets: Sets) -> Sets:
    """Held is what exceeds its limit or presses on it; a name waits while its row is being held first."""
    beyond = program.rows @ x > program.limit + ROUNDING
    over = x > program.upper + ROUNDING
    if (fresh := beyond & ~sets.held).any():
        over &= ~_members(program, fresh)
    return Sets(np.where(sets.capped, slope <= 0.0, over), np.where(sets.held, nu >= 0.0, beyond))


def _key(sets: Sets) -> bytes:
    return sets.capped.tobytes() + sets.held.tobytes()
