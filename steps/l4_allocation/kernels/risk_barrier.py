"""Capped risk budgeting by a primal–dual interior point with λ among its unknowns.

With slacks s = u − x > 0 and t = h − Gx > 0 the relaxed system of `risk_program.py` is

    Σx − λ b/x + ν_u + G'ν = 0,   1'x = 1 − ε,   ν_u s = μ,   ν t = μ,   μ → 0

solved by Mehrotra's predictor and corrector (1992) with one factorisation an iteration. The sum stays ε
below 1: the smallest λ is approached from below, where x ≤ u, G x ≤ h has an interior even if the caps
leave a single point on 1'x = 1, and where the active set is the one of the smallest λ. Newton on that
set (`risk_active.py`) then closes ε.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.risk_program import RiskPoint, RiskProgram, Sets, solve_bordered

Array = NDArray[np.float64]

BELOW = 1e-5
ITERATIONS = 80
ACCURACY = 1e-9
# The mean complementarity at the end, relative to λ/N, the size of x_i(Σx)_i.
CENTRED = 1e-12
# Share of the way to the boundary that a step may take.
FRACTION = 0.995
# μ falls to at least min(this share, the error) of itself: complementarity must not outrun the rest.
MOST_SHARE = 0.1
# λ may grow by this multiple of itself in one step: beyond, its equation is far from linear.
MOST_GROWTH = 2.0


class Interior(NamedTuple):
    """An interior point: x, λ, ν_u (N,), ν (R,), and its slacks."""

    x: Array
    barrier: float
    caps: Array
    rows: Array
    room: Array
    slack: Array


class BarrierSearch(NamedTuple):
    """How the interior point ended: the last iterate, its iterations (one factorisation each)."""

    point: RiskPoint
    sets: Sets
    iterations: int
    outcome: str


@np.errstate(all="ignore")
def interior_point(program: RiskProgram, x: Array, barrier: float) -> BarrierSearch:
    """From any x > 0 and λ > 0 to x(λ) with 1'x = 1 − 1e-5 and its active sets. N³/3 an iteration."""
    now, outcome, iterations = _start(program, x, barrier), "iteration_limit", 0
    while iterations < ITERATIONS:
        slope = _slope(program, now)
        relative = float(np.abs(slope * now.x / (now.barrier * program.budgets)).max())
        error = max(relative, abs(float(now.x.sum()) - 1.0 + _below(program, now)))
        if error <= ACCURACY and _centring(now) <= CENTRED * now.barrier / program.size:
            outcome = "optimal"
            break
        following = _iterate(program, now, slope, error)
        if following is None or not _is_inside(following):
            outcome = "singular"
            break
        now, iterations = following, iterations + 1
    sets = Sets(now.caps > now.room, now.rows > now.slack)
    return BarrierSearch(RiskPoint(now.x, now.barrier, now.caps, now.rows), sets, iterations, outcome)


def _start(program: RiskProgram, x: Array, barrier: float) -> Interior:
    """x drawn inside its caps and rows, with multipliers that centre it."""
    x = np.minimum(x, 0.9 * program.upper)
    for row, limit in zip(program.rows, program.limit, strict=True):
        load = float(row @ x)
        if load > 0.9 * limit:
            x = np.where(row != 0.0, x * (0.9 * limit / load), x)
    room, slack = program.upper - x, program.limit - program.rows @ x
    centre = 0.1 * barrier / program.size
    return Interior(x, barrier, centre / room, centre / slack, room, slack)


def _slope(program: RiskProgram, now: Interior) -> Array:
    pressed = program.cov @ now.x - now.barrier * program.budgets / now.x
    return np.asarray(pressed + now.caps + program.rows.T @ now.rows)


def _centring(now: Interior) -> float:
    return float(now.caps @ now.room + now.rows @ now.slack) / (len(now.caps) + len(now.rows))


def _is_inside(now: Interior) -> bool:
    """Whether slacks and multipliers are positive numbers: rounding may close a slack."""
    parts = (now.x, now.room, now.slack, now.caps, now.rows)
    return now.barrier < np.inf and all(bool((part > 0.0).all() and (part < np.inf).all()) for part in parts)


def _below(program: RiskProgram, now: Interior) -> float:
    """ε, which falls with μ: rows that hold the sum need a slack that μ can share."""
    return max(BELOW, 0.1 * _centring(now) * program.size / now.barrier)


def _iterate(program: RiskProgram, now: Interior, slope: Array, error: float) -> Interior | None:
    """Predictor, corrector and the longest step that stays inside."""
    none = np.zeros(len(now.caps)), np.zeros(len(now.rows))
    affine = _direction(program, now, slope, *none)
    if affine is None:
        return None
    ahead, centre = _moved(program, now, affine, _reach(program, now, affine)), _centring(now)
    share = max(min(1.0, max(_centring(ahead), 0.0) / centre) ** 3, min(MOST_SHARE, error))
    mu = max(share * centre, 0.1 * CENTRED * now.barrier / program.size)
    curved = mu + affine.caps * affine.x, mu + affine.rows * (program.rows @ affine.x)
    direction = _direction(program, now, slope, *curved)
    if direction is None:
        return None
    return _moved(program, now, direction, _reach(program, now, direction))


class _Direction(NamedTuple):
    x: Array
    barrier: float
    caps: Array
    rows: Array


def _direction(
    program: RiskProgram, now: Interior, slope: Array, caps: Array, rows: Array
) -> _Direction | None:
    """Newton's direction towards ν_u s = `caps`, ν t = `rows`."""
    lean = now.caps / now.room
    matrix = program.cov.copy()
    matrix.flat[:: program.size + 1] += now.barrier * program.budgets / now.x**2 + lean
    right = -slope + now.caps + program.rows.T @ now.rows - caps / now.room
    solved = solve_bordered(
        matrix, program.budgets / now.x, program.rows, now.slack / now.rows, right,
        1.0 - _below(program, now) - float(now.x.sum()), -rows / now.rows,
    )  # fmt: skip
    if solved is None:
        return None
    move, barrier, aim = solved
    return _Direction(move, barrier, (caps + now.caps * move) / now.room - now.caps, aim - now.rows)


def _reach(program: RiskProgram, now: Interior, step: _Direction) -> tuple[float, float]:
    """The longest steps of (x, λ) and of the multipliers, at most 1."""
    change = step.barrier / now.barrier
    primal = [step.x / now.x, -step.x / now.room, np.array([change, -change / MOST_GROWTH])]
    if len(now.rows):
        primal.append(-(program.rows @ step.x) / now.slack)
    dual = [step.caps / now.caps, *([step.rows / now.rows] if len(now.rows) else [])]
    return _longest(primal), _longest(dual)


def _longest(relative: list[Array]) -> float:
    fall = max(-float(part.min()) for part in relative)
    return min(1.0, FRACTION / fall) if fall > 0.0 else 1.0


def _moved(program: RiskProgram, now: Interior, step: _Direction, reach: tuple[float, float]) -> Interior:
    primal, dual = reach
    x = now.x + primal * step.x
    return Interior(
        x, now.barrier + primal * step.barrier, now.caps + dual * step.caps, now.rows + dual * step.rows,
        program.upper - x, program.limit - program.rows @ x,
    )  # fmt: skip
