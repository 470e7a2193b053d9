"""Primal–dual active set for `Program`: semismooth Newton on the optimality conditions.

With r = Qw − t g + ν1 + G'λ the optimum satisfies, name by name and for any q > 0,

    w = prox(w − r/q),    prox(z) = argmin ½q(x − z)² + tc|x − w₀|  over  l ≤ x ≤ u

and for each row λ = max(0, λ + (Gw − h)). The prox has five pieces: at the lower bound, free below w₀,
at w₀, free above w₀, at the upper bound; three without a kink. Newton's step guesses the piece of every
name, solves the linear system of that partition (`active_system.py`), and reads the next pieces from
the solution. Where the guess repeats itself it is optimal (Hintermüller, Ito & Kunisch 2002; Hager &
Hungerford 2016 for the pieces). q = diag Q decides only between pieces that are not neighbours.

The partition of a sparse model of Q, its diagonal and leading factor, starts large problems: a long-only
portfolio of few names then never factorises more than a few names.

The iteration is not globally convergent. It stops at a repeated partition; the caller goes on.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.active_system import (
    Claim,
    Curvature,
    Dense,
    Index,
    bordered,
    independent,
)
from quantctl.steps.l4_allocation.kernels.kkt import Multipliers
from quantctl.steps.l4_allocation.kernels.program import Optimum, Program

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
States = NDArray[np.int8]

LOWER, BELOW, HELD, ABOVE, UPPER = range(5)
ITERATIONS = 50
# Names and rows change sides beyond this distance in weight, so that rounding cannot turn them back.
SIDE = 1e-12
# From this size on a sparse model of Q chooses the first partition.
MODELLED = 128
POWER_STEPS = 4
DAMPINGS = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.0)


class Partition(NamedTuple):
    """Guess of the active constraints: a state per name (N,) and whether each row is active (R,)."""

    states: States
    rows: Mask

    def same(self, other: Partition) -> bool:
        """Whether both guess alike."""
        return bool((self.states == other.states).all() and (self.rows == other.rows).all())

    def key(self) -> bytes:
        """The partition as a dictionary key."""
        return self.states.tobytes() + self.rows.tobytes()


def solve(program: Program, start: Array | None = None, rows: Mask | None = None) -> Optimum:
    """The optimum of `program`, or the outcome `cycled`, `exhausted` or `singular` without a point.

    start : weights (N,) near the optimum, e.g. of the previous window; they choose the first partition
        only: the answer is computed from the last one, so a start cannot change its bits
    rows : (R,), rows thought to be active at `start`; default those without slack

    O(N²) per iteration and |F|³/3 for each new set F of free names.
    """
    pieces = _Pieces(program)
    dense = Dense(program.cov, program.ridge / program.scale)
    if start is not None:
        first = pieces.of(start, rows)
    elif program.size >= MODELLED:
        model = Modelled(dense)
        end = _iterate(pieces, model, pieces.all_free())
        if end.claim is None:
            end = _descend(pieces, model)
        first = end.partition
    else:
        first = pieces.all_free()
    end = _iterate(pieces, dense, first)
    if end.claim is None:
        end = _descend(pieces, dense)
    if end.claim is None:
        return Optimum(end.outcome, end.iterations, dense.factorisations)
    multipliers = pieces.multipliers(end.claim, end.partition)
    return Optimum("optimal", end.iterations, dense.factorisations, end.claim.weights, multipliers)


class _End(NamedTuple):
    """How an iteration ended: `claim` is null unless its partition repeated at once."""

    outcome: str
    iterations: int
    partition: Partition
    claim: Claim | None


def _iterate(pieces: _Pieces, curvature: Curvature, partition: Partition) -> _End:
    """Newton's iteration from `partition`."""
    seen: set[bytes] = set()
    tilt = 1.0
    for iteration in range(1, ITERATIONS + 1):
        claim = pieces.claim(curvature, partition, tilt)
        if claim is None:
            return _End("singular", iteration, partition, None)
        tilt = claim.tilt
        following = pieces.following(curvature, claim, partition)
        if following.same(partition):
            if claim.elastic:
                partition = pieces.without_dependent(curvature, claim, partition)
                claim = pieces.claim(curvature, partition, tilt)
            return _End("optimal", iteration, partition, claim)
        key = partition.key()
        if key in seen:
            return _End("cycled", iteration, partition, None)
        seen.add(key)
        partition = following
    return _End("exhausted", ITERATIONS, partition, None)


def _descend(pieces: _Pieces, curvature: Curvature) -> _End:
    """Newton's iteration along a path of falling damping, each stage from the partition of the last."""
    partition, iterations = pieces.all_free(), 0
    for damping in DAMPINGS:
        curvature.damping = damping
        end = _iterate(pieces, curvature, partition)
        partition, iterations = end.partition, iterations + end.iterations
    return end._replace(iterations=iterations)


class _Pieces:
    """The pieces of every name's prox and the rows, in units of Σ: gain and kink divided by `scale`."""

    def __init__(self, program: Program) -> None:
        self.program, self.lower, self.upper = program, program.lower, program.upper
        self.gain, self.previous = program.gain / program.scale, program.previous
        self.kink = program.kink / program.scale if program.previous is not None else 0.0
        self.normals = np.ones((1 + len(program.limit), program.size))
        self.normals[1:] = program.rows
        self.level = np.concatenate(([1.0], program.limit))

    def all_free(self) -> Partition:
        """Every name free on the side of its bounds' middle, no row active."""
        states = np.full(self.program.size, ABOVE, dtype=np.int8)
        if self.kink:
            states[(self.lower + self.upper) / 2.0 < self.previous] = BELOW
        states[self.lower == self.upper] = LOWER
        return Partition(states, np.zeros(len(self.level) - 1, dtype=np.bool_))

    def of(self, weights: Array, rows: Mask | None) -> Partition:
        """The partition that `weights` lie on."""
        near = 1e-9
        states = np.full(self.program.size, ABOVE, dtype=np.int8)
        if self.kink:
            states[weights < self.previous] = BELOW
            states[np.abs(weights - self.previous) <= near] = HELD
        states[weights >= self.upper - near] = UPPER
        states[weights <= self.lower + near] = LOWER
        if rows is None:
            rows = self.level[1:] - self.program.rows @ weights <= near
        return Partition(states, rows)

    def slopes(self, states: States) -> Array:
        """∂‖w − w₀‖₁ on each name's piece; 0 at w₀."""
        slope = (states - 2.0).clip(-1.0, 1.0)
        slope[(states == LOWER) & (self.lower >= self.previous)] = 1.0
        slope[(states == UPPER) & (self.upper <= self.previous)] = -1.0
        return slope

    def claim(self, curvature: Curvature, partition: Partition, tilt: float) -> Claim | None:
        """The point of `partition`; `tilt` counts where its ratio has no positive t."""
        states, rows = partition
        free = (states & 1).nonzero()[0]
        if not free.size:
            return None
        fixed = np.where(states == LOWER, self.lower, self.upper)
        fixed[free] = 0.0
        gain, constant = self.gain, 0.0 if self.program.ratio else None
        if self.kink:
            held = states == HELD
            fixed[held] = self.previous[held]
            slope = self.slopes(states)
            gain = gain - self.kink * slope
            if self.program.ratio:
                constant = self.kink * (float(slope @ self.previous) - self.program.exit_turnover)
        chosen = np.concatenate(([0], 1 + rows.nonzero()[0]))
        return bordered(curvature, free, fixed, gain, self.normals[chosen], self.level[chosen], constant, tilt)

    def residual(self, claim: Claim, rows: Mask) -> Array:
        """r = Qw − t g + ν1 + G'λ."""
        residual = claim.pressed - claim.tilt * self.gain
        residual += claim.budget
        return residual + claim.rows @ self.normals[1:][rows] if claim.rows.size else residual

    def following(self, curvature: Curvature, claim: Claim, partition: Partition) -> Partition:
        """The pieces on which w − r/q falls, and the rows that are violated or push."""
        states, rows = partition
        weights = claim.weights
        target = weights - self.residual(claim, rows) / curvature.diagonal
        edge = np.where(states & 1, SIDE, -SIDE)
        following = np.full(states.size, ABOVE, dtype=np.int8)
        if self.kink:
            give = claim.tilt * self.kink / curvature.diagonal
            above = target - give > self.previous - np.where(states == ABOVE, SIDE, -SIDE)
            below = target + give < self.previous + np.where(states == BELOW, SIDE, -SIDE)
            following[~above] = HELD
            following[below] = BELOW
            target = np.where(above, target - give, np.where(below, target + give, self.previous))
        following[target > self.upper + edge] = UPPER
        following[target < self.lower - edge] = LOWER
        if not rows.size:
            return Partition(following, rows)
        active = self.normals[1:] @ weights > self.level[1:] + SIDE
        active[rows] = claim.rows >= 0.0
        return Partition(following, active)

    def without_dependent(self, curvature: Curvature, claim: Claim, partition: Partition) -> Partition:
        """The partition without rows that depend on the others; the weakest go, so no sign turns."""
        free = (partition.states & 1).nonzero()[0]
        index = partition.rows.nonzero()[0]
        border = self.normals[np.concatenate(([0], 1 + index))][:, free]
        strongest = np.concatenate(([0], 1 + np.argsort(-claim.rows, kind="stable")))
        kept = independent(border @ curvature.invert(free, border.T.copy()), strongest)
        rows = np.zeros_like(partition.rows)
        rows[index[kept[kept > 0] - 1]] = True
        return Partition(partition.states, rows)

    def multipliers(self, claim: Claim, partition: Partition) -> Multipliers:
        """The duals of the claim: of Q's scale, for a ratio of its logarithm."""
        states, active = partition
        residual = self.residual(claim, active)
        if self.kink:
            residual = residual + claim.tilt * self.kink * self.slopes(states)
        unit = 1.0 / float(claim.weights @ claim.pressed) if self.program.ratio else self.program.scale
        rows = np.zeros(active.size)
        rows[active] = claim.rows * unit
        lower = np.where(states == LOWER, residual, 0.0) * unit
        upper = np.where(states == UPPER, -residual, 0.0) * unit
        return Multipliers(claim.budget * unit, lower, upper, rows, 0.0)


class Modelled:
    """diag(d) + b b': the diagonal of Q and its leading factor, of which Q_FF⁻¹ costs O(|F|) a side."""

    def __init__(self, dense: Dense) -> None:
        self.diagonal, self.damping = dense.diagonal, 0.0
        scale = np.sqrt(self.diagonal)
        factor = dense.cov[int(np.argmax(np.abs(dense.cov / scale).sum(1) / scale))] / scale
        for _ in range(POWER_STEPS):
            factor = factor / np.sqrt(factor @ factor)
            pressed = dense.press(factor / scale) / scale
            factor, root = pressed, float(factor @ pressed)
        loading = factor / np.sqrt(factor @ factor) * np.sqrt(max(root - 1.0, 0.0))
        self.loading = scale * loading.clip(-0.95, 0.95)
        self.specific = self.diagonal - self.loading**2

    def press(self, weights: Array) -> Array:
        """(Q + damping · diag Q) w. O(N)."""
        alone = self.specific + self.damping * self.diagonal
        return alone * weights + self.loading * float(self.loading @ weights)

    def invert(self, free: Index, sides: Array) -> Array:
        """Q_FF⁻¹ `sides`, by the Sherman–Morrison formula."""
        specific = (self.specific + self.damping * self.diagonal)[free]
        loading = self.loading[free]
        scaled = sides / specific[:, None]
        thin = loading / specific
        return np.asarray(scaled - np.outer(thin, loading @ scaled) / (1.0 + float(thin @ loading)))
