"""The exact end of an expected shortfall: the equations of the active sets, solved once they are known.

A point near the optimum shows which scenarios lie on the value at risk (E: m = 0), in the tail (p = κ)
or outside (p = 0), which names rest on a bound or on w₀, and which rows are tight (A). On those sets

    2γ w_F + c·sign(w − w₀)_F − X_F'p + ν 1 + G_AF'λ = 0,   1'p = 1        (unknown: w_F, a)
    −X_E w − a = 0,   1'w = 1,   G_A w = h_A                                (unknown: p_E, ν, λ)

is one linear system. At γ = 0 it gives the vertex of the linear program and its multipliers. A few rounds
mend the sets as an active-set method does; whether the end is optimal is decided by `check_cvar`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.cvar_program import CvarPoint, CvarProgram
from quantctl.steps.l4_allocation.kernels.problem import Mask

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

ROUNDS = 6
# Slack below which a constraint holds, multiplier (beside the slope) below which its sign is kept.
FEASIBLE = 1e-12
SIGNED = 1e-10
# Pivots this small beside the largest make a system singular.
SINGULAR = 1e-11
# Residual above which the equations of the sets have no solution.
SOLVED = 1e-10


@dataclass
class _Sets:
    """lower, upper, still : masks (N,) of names on a bound or on w₀ (`side` is sign(w − w₀) elsewhere).

    kink, tail : masks (T,);  rows : mask (R,)
    """

    lower: Mask
    upper: Mask
    still: Mask
    side: Array
    kink: Mask
    tail: Mask
    rows: Mask

    @property
    def free(self) -> Mask:
        return ~(self.lower | self.upper | self.still)


def polish(program: CvarProgram, point: CvarPoint, *, patient: bool = True) -> CvarPoint | None:
    """The point that the active sets of `point` determine, or null where no round ends clean.

    `patient` : also solve singular systems, by least-norm corrections; without it they end the attempt.
    O(T N) and one solve of order |F| + |E| + |A| + 2 per round, |E| ≈ |F| − |A|.
    """
    sets, before = _identified(program, point), program.size + program.bars
    for _ in range(ROUNDS):
        solved = _solved(program, sets, _on(program, sets, point), patient)
        if solved is None:
            return None
        point, left = solved
        moves = _mended(program, sets, point)
        if moves == 0:
            return _clean(program, point) if left <= SOLVED else None
        if moves >= before and not patient:
            return None
        before = moves
    return None


def clipped(program: CvarProgram, point: CvarPoint) -> CvarPoint:
    """`point` inside its bounds and the signs of its multipliers, to the rounding of its solver."""
    lam = point.multipliers
    return CvarPoint(
        np.clip(point.weights, program.lower, program.upper), point.var,
        np.clip(point.tail, 0.0, program.share),
        lam._replace(lower=np.maximum(lam.lower, 0.0), upper=np.maximum(lam.upper, 0.0),
                     rows=np.maximum(lam.rows, 0.0)),
    )  # fmt: skip


def _identified(program: CvarProgram, point: CvarPoint) -> _Sets:
    """Each pair belongs to the side that is smaller beside its own scale."""
    w, lam = point.weights, point.multipliers
    slope = max(float(np.abs(point.tail @ program.scenarios).max()), 1e-300)
    width = np.maximum(program.upper - program.lower, 1e-300)
    lower = (w - program.lower) / width < lam.lower / slope
    upper = (program.upper - w) / width < lam.upper / slope
    fixed = program.upper <= program.lower
    upper &= ~fixed & (~lower | (lam.upper > lam.lower))
    lower = (lower | fixed) & ~upper
    margin, share = program.margins(w, point.var), point.tail / program.share
    outside, inside = (margin > 0.0) & (share <= margin), (margin <= 0.0) & (1.0 - share <= -margin)
    slack = program.limit - program.rows @ w
    still, side = np.zeros_like(lower), np.zeros(program.size)
    if program.previous is not None:
        moved = w - program.previous
        # What is left for the kink to balance; at rest it lies inside [−c, c].
        pull = point.tail @ program.scenarios - 2.0 * program.ridge * w - lam.budget
        pull += lam.lower - lam.upper - lam.rows @ program.rows
        still = ~lower & ~upper & (np.abs(moved) / width < (program.kink - np.abs(pull)) / slope)
        side = np.sign(moved)
    return _Sets(lower, upper, still, side, ~(outside | inside), inside, slack < lam.rows / slope)


def _on(program: CvarProgram, sets: _Sets, point: CvarPoint) -> CvarPoint:
    """`point` moved onto what its sets hold fixed."""
    w = np.where(sets.lower, program.lower, np.where(sets.upper, program.upper, point.weights))
    if program.previous is not None:
        w = np.where(sets.still, program.previous, w)
    tail = np.where(sets.tail, program.share, np.where(sets.kink, point.tail, 0.0))
    rows = np.where(sets.rows, point.multipliers.rows, 0.0)
    return CvarPoint(w, point.var, tail, point.multipliers._replace(rows=rows))


def _slope(program: CvarProgram, sets: _Sets, point: CvarPoint) -> Array:
    """Gradient of the Lagrangian without the multipliers of the bounds."""
    lam = point.multipliers
    slope = 2.0 * program.ridge * point.weights - point.tail @ program.scenarios + lam.budget
    return np.asarray(slope + lam.rows @ program.rows + program.kink * sets.side * ~sets.still)


def _solved(
    program: CvarProgram, sets: _Sets, point: CvarPoint, patient: bool
) -> tuple[CvarPoint, float] | None:
    """A correction onto the equations of the module, one more against its rounding, and what is left."""
    free, kink, tight = np.flatnonzero(sets.free), np.flatnonzero(sets.kink), np.flatnonzero(sets.rows)
    names, ties = len(free) + 1, len(kink) + 1 + len(tight)
    border = np.zeros((ties, names))
    border[: len(kink), :-1] = -program.scenarios[np.ix_(kink, free)]
    border[: len(kink), -1] = -1.0
    border[len(kink), :-1] = 1.0
    border[len(kink) + 1 :, :-1] = program.rows[np.ix_(tight, free)]

    def residual(at: CvarPoint) -> Array:
        return np.concatenate([
            _slope(program, sets, at)[free], [1.0 - at.tail.sum()],
            -(program.scenarios[kink] @ at.weights) - at.var, [at.weights.sum() - 1.0],
            program.rows[tight] @ at.weights - program.limit[tight],
        ])  # fmt: skip

    solver = _Saddle(border, 2.0 * program.ridge)
    if not solver.regular and not patient:
        return None
    for _ in range(2):
        move = solver.solve(-residual(point))
        if move is None:
            return None
        point = _moved(point, move, free, kink, tight)
    return point, float(np.abs(residual(point)).max())


def _moved(point: CvarPoint, move: Array, free: Indices, kink: Indices, tight: Indices) -> CvarPoint:
    w, tail, rows = point.weights.copy(), point.tail.copy(), point.multipliers.rows.copy()
    names, ties = len(free) + 1, len(free) + 1 + len(kink)
    w[free] += move[: len(free)]
    tail[kink] += move[names:ties]
    rows[tight] += move[ties + 1 :]
    budget = point.multipliers.budget + float(move[ties])
    lam = point.multipliers._replace(budget=budget, rows=rows)
    return CvarPoint(w, point.var + float(move[len(free)]), tail, lam)


class _Saddle:
    """[Q B'; B 0] with Q = curvature on the names, 0 on a: least-norm corrections where it is singular.

    At curvature 0 it falls apart into B and B', which must be square; else the names are eliminated.
    """

    def __init__(self, border: Array, curvature: float) -> None:
        from scipy.linalg.lapack import dgetrf

        self.border, self.curvature, self.regular = border, curvature, False
        ties, names = border.shape
        if curvature == 0.0 and ties != names:
            return
        matrix = border
        if curvature > 0.0:
            matrix = np.zeros((ties + 1, ties + 1))
            matrix[1:, 1:] = border[:, :-1] @ border[:, :-1].T / -curvature
            matrix[0, 1:] = matrix[1:, 0] = border[:, -1]
        self.factor, self.pivots, info = dgetrf(matrix)
        pivots = np.abs(np.diag(self.factor))
        self.regular = info == 0 and float(pivots.min()) > SINGULAR * float(pivots.max())

    def solve(self, right: Array) -> Array | None:
        """(Δw_F, Δa, Δp_E, Δν, Δλ) for the residuals of stationarity and of the ties."""
        slope, level = right[: self.border.shape[1]], right[self.border.shape[1] :]
        move = self._regular(slope, level) if self.regular else self._least(slope, level)
        return move if np.isfinite(move).all() else None

    def _regular(self, slope: Array, level: Array) -> Array:
        from scipy.linalg.lapack import dgetrs

        if self.curvature == 0.0:
            x = dgetrs(self.factor, self.pivots, level)[0]
            return np.concatenate([x, dgetrs(self.factor, self.pivots, slope, trans=1)[0]])
        names = self.border[:, :-1]
        reduced = np.append(slope[-1], level - names @ slope[:-1] / self.curvature)
        found = dgetrs(self.factor, self.pivots, reduced)[0]
        return np.concatenate([(slope[:-1] - found[1:] @ names) / self.curvature, found])

    def _least(self, slope: Array, level: Array) -> Array:
        from scipy.linalg import lstsq

        def least(matrix: Array, right: Array) -> Array:
            found = lstsq(matrix, right, cond=1e-12, lapack_driver="gelsy", check_finite=False)[0]
            return np.asarray(found)

        if self.curvature == 0.0:
            return np.concatenate([least(self.border, level), least(self.border.T, slope)])
        ties, names = self.border.shape
        whole = np.zeros((names + ties, names + ties))
        whole[names:, :names], whole[:names, names:] = self.border, self.border.T
        whole[np.arange(names - 1), np.arange(names - 1)] = self.curvature
        return least(whole, np.concatenate([slope, level]))


def _mended(program: CvarProgram, sets: _Sets, point: CvarPoint) -> int:
    """Move every constraint that the solution contradicts to its other side; how many moved."""
    w, lam, share = point.weights, point.multipliers, program.share
    slope = _slope(program, sets, point)
    small = SIGNED * max(float(np.abs(point.tail @ program.scenarios).max()), 1e-300)
    margin = program.margins(w, point.var)
    fixed = program.upper <= program.lower
    free = sets.free
    leave = (sets.lower & (slope < -small) | sets.upper & (slope > small)) & ~fixed
    below, above = free & (w < program.lower - FEASIBLE), free & (w > program.upper + FEASIBLE)
    negative, full = (
        sets.kink & (point.tail < -SIGNED * share),
        sets.kink & (point.tail > share * (1.0 + SIGNED)),
    )
    caught = ~sets.kink & ~sets.tail & (margin < -FEASIBLE) | sets.tail & (margin > FEASIBLE)
    loose = sets.rows & (lam.rows < -small)
    broken = ~sets.rows & (program.rows @ w > program.limit + FEASIBLE)
    masks = [leave, below, above, negative, full, caught, loose, broken]
    if program.previous is not None:
        moved = w - program.previous
        crossed = free & (moved * sets.side < -FEASIBLE)
        pulled = sets.still & (np.abs(slope) > program.kink + small)
        sets.still = sets.still & ~pulled | crossed
        sets.side = np.where(pulled, -np.sign(slope), np.where(leave, np.sign(-slope), sets.side))
        masks += [crossed, pulled]
    sets.lower, sets.upper = sets.lower & ~leave | below, sets.upper & ~leave | above
    sets.kink = sets.kink & ~negative & ~full | caught
    sets.tail = sets.tail & ~caught | full
    sets.rows = sets.rows & ~loose | broken
    return sum(int(np.count_nonzero(mask)) for mask in masks)


def _clean(program: CvarProgram, point: CvarPoint) -> CvarPoint:
    """Rounding clipped, multipliers of the bounds read from stationarity."""
    point = clipped(program, point)
    w, lam = point.weights, point.multipliers
    slope = 2.0 * program.ridge * w - point.tail @ program.scenarios + lam.budget + lam.rows @ program.rows
    slope = balanced(program, w, slope)
    lower = np.where(w <= program.lower, np.maximum(slope, 0.0), 0.0)
    upper = np.where(w >= program.upper, np.maximum(-slope, 0.0), 0.0)
    return point._replace(multipliers=lam._replace(lower=lower, upper=upper))


def balanced(program: CvarProgram, weights: Array, slope: Array) -> Array:
    """`slope` with the subgradient of the kink that is nearest to its negative."""
    if program.previous is None:
        return slope
    moved, kink = weights - program.previous, program.kink
    return np.asarray(slope + np.where(moved == 0.0, np.clip(-slope, -kink, kink), kink * np.sign(moved)))
