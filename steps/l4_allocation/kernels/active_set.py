"""Primal–dual active set for `Program`: semismooth Newton on the optimality conditions.

With r = Qw − t g + ν1 + G'λ the optimum satisfies, name by name and for any q > 0,

    w = prox(w − r/q),    prox(z) = argmin ½q(x − z)² + tc|x − w₀|  over  l ≤ x ≤ u

and for each row λ = max(0, λ + (Gw − h)). The prox has five pieces: at the lower bound, free below w₀,
at w₀, free above w₀, at the upper bound; three without a kink. Newton's step guesses the piece of every
name, solves the linear system of that partition (`active_system.py`), and reads the next pieces from
the solution. Where the guess repeats itself it is optimal (Hintermüller, Ito & Kunisch 2002; Hager &
Hungerford 2016 for the pieces). q = diag Q decides only between pieces that are not neighbours.

A sparse model of the program chooses the first partition (`factor_start.py`): a long-only portfolio of
few names then never factorises more than a few names, and a program that its gain dominates starts near
the right corner. The iteration is not globally convergent: it stops at a repeated partition, and the
caller goes on.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.active_system import Dense, claim, without_dependent
from quantctl.steps.l4_allocation.kernels.factor_start import FactorModel
from quantctl.steps.l4_allocation.kernels.pieces import Partition, Pieces, Point
from quantctl.steps.l4_allocation.kernels.program import Optimum, Program

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

ITERATIONS = 50
# Up to this size a program without negative gains starts from all names: that costs less than a model,
# the more so for a ratio, whose model has to find t.
SMALL, SMALL_RATIO = 128, 256
# Distance at which a start, and the final weights, are taken to lie on a bound, on w₀ or on a row.
NEAR = 1e-9
ON = 1e-11


class End(NamedTuple):
    """How an iteration ended: `point` is null unless its partition repeated at once."""

    outcome: str
    iterations: int
    partition: Partition
    point: Point | None


def solve(program: Program, start: Array | None = None, rows: Mask | None = None) -> Optimum:
    """The optimum of `program`, or the outcome `cycled`, `exhausted` or `singular` without a point.

    start : weights (N,) near the optimum, e.g. of the previous window; they choose the first partition
        only: the answer is computed from the last one, so a start cannot change its bits
    rows : (R,), rows thought to be active at `start`; default those without slack

    O(N²) per iteration and |F|³/3 for each new set F of free names.
    """
    pieces, dense = Pieces(program), Dense(program.cov, program.ridge / program.scale)
    end, iterations = None, 0
    if start is not None:
        end = iterate(dense, pieces, pieces.of(start, NEAR, rows), 1.0)
        iterations = end.iterations
    elif program.size <= (SMALL_RATIO if program.ratio else SMALL) and float(program.gain.min()) >= 0.0:
        end = iterate(dense, pieces, pieces.all_free(), 1.0)
        iterations = end.iterations
    if end is None or end.point is None:
        end = iterate(dense, pieces, *FactorModel(pieces, dense).start())
        iterations += end.iterations
    if end.point is None:
        return Optimum(end.outcome, iterations, dense.factorisations)
    multipliers = pieces.multipliers(end.point, end.partition)
    return Optimum("optimal", iterations, dense.factorisations, end.point.weights, multipliers)


def iterate(dense: Dense, pieces: Pieces, partition: Partition, tilt: float) -> End:
    """Newton's iteration from `partition`; `tilt` is the t of a ratio until its equation has a root."""
    tilt = tilt if pieces.program.ratio else 1.0
    key, seen = partition.key(), set[bytes]()
    for iteration in range(1, ITERATIONS + 1):
        found = claim(dense, pieces, partition, tilt)
        if found is None:
            return End("singular", iteration, partition, None)
        point, elastic = found
        following = pieces.following(dense.diagonal, point, partition)
        next_key = following.key()
        if next_key == key:
            return _settled(dense, pieces, partition, point, iteration, elastic=elastic)
        if key in seen:
            return End("cycled", iteration, partition, None)
        seen.add(key)
        partition, key, tilt = following, next_key, point.tilt
    return End("exhausted", ITERATIONS, partition, None)


def _settled(
    dense: Dense, pieces: Pieces, partition: Partition, point: Point, iteration: int, *, elastic: bool
) -> End:
    """The end at an optimal partition: its multipliers, and the weights of the face on which it lies.

    At a degenerate vertex several partitions have the same point. The face is named by the weights alone,
    so that whoever arrives computes the same bits.
    """
    if not elastic and not dense.own:
        found = claim(dense, pieces, partition, point.tilt, own=True)
        if found is None:
            return End("singular", iteration, partition, None)
        point = found[0]
    face = pieces.of(point.weights, ON if not elastic else NEAR)
    if elastic or face.key() != partition.key():
        face = without_dependent(dense, pieces, face)
        found = claim(dense, pieces, face, point.tilt, own=True)
        weights = pieces.fixed(face.states) if found is None else found[0].weights
        point = point._replace(weights=weights, pressed=dense.press(weights))
    return End("optimal", iteration, partition, point)
