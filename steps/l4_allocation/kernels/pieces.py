"""Partitions of a `Program`: on which piece of its prox every name lies, and which rows are active.

    prox(z) = argmin ½q(x − z)² + tc|x − w₀|  over  l ≤ x ≤ u

has five pieces: at the lower bound, free below w₀, at w₀, free above w₀, at the upper bound. Without a
kink there are three. Everything is in units of Σ: gain and kink are divided by `scale`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.kkt import Multipliers
from quantctl.steps.l4_allocation.kernels.program import Program

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
States = NDArray[np.int8]

# Odd states are free.
LOWER, BELOW, HELD, ABOVE, UPPER = range(5)
# Names and rows change sides beyond this distance in weight, so that rounding cannot turn them back.
SIDE = 1e-12
# The budget is the first equation.
FIRST = np.zeros(1, dtype=np.intp)


class Partition(NamedTuple):
    """A state per name (N,) and whether each row is active (R,)."""

    states: States
    rows: Mask

    def key(self) -> bytes:
        """The partition as a key: equal keys are one partition."""
        return self.states.tobytes() + self.rows.tobytes()


class Point(NamedTuple):
    """A point of stationarity: weights (N,), Q w (N,), t, ν, and λ of the active rows."""

    weights: Array
    pressed: Array
    tilt: float
    budget: float
    rows: Array


class Pieces:
    """A program in units of Σ, and the walk between its pieces."""

    def __init__(self, program: Program) -> None:
        self.program, self.lower, self.upper = program, program.lower, program.upper
        self.gain = program.gain / program.scale
        self.kink = program.kink / program.scale if program.previous is not None else 0.0
        self.previous = program.previous if program.previous is not None else np.zeros(program.size)
        self.normals = np.ones((1 + len(program.limit), program.size))
        self.normals[1:] = program.rows
        self.level = np.concatenate(([1.0], program.limit))
        self.sizes = np.abs(self.normals)
        # Where a name is in each state, 0 where it is free, and where a name begins in these.
        free = np.zeros(program.size)
        self._ends = np.concatenate((self.lower, free, self.previous, free, self.upper))
        self._names = np.arange(program.size)

    def equations(self, rows: Mask) -> tuple[Array, Array]:
        """E' and d of the budget and the active rows, one equation a row."""
        active = rows.nonzero()[0]
        if not active.size:
            return self.normals[:1], self.level[:1]
        chosen = np.concatenate((FIRST, active + 1))
        return self.normals.take(chosen, 0), self.level.take(chosen)

    def of(self, weights: Array, near: float, rows: Mask | None = None) -> Partition:
        """The partition on which `weights` lie to within `near`; `rows` where the active ones are known."""
        target = np.where(weights <= self.lower + near, self.lower, weights)
        target = np.where(weights >= self.upper - near, self.upper, target)
        if self.kink:
            target = np.where(np.abs(weights - self.previous) <= near, self.previous, target)
        if rows is None:
            rows = self.level[1:] - self.program.rows @ weights <= near
        return Partition(self.pieces(target), rows)

    def all_free(self) -> Partition:
        """Every name free, on the side of w₀ on which its bounds leave more room; no row active."""
        middle = (self.lower + self.upper) / 2.0
        states = self.pieces(np.where(self.lower < self.upper, middle, self.lower))
        return Partition(states, np.zeros(len(self.level) - 1, dtype=np.bool_))

    def prox(self, target: Array, give: Array | float) -> Array:
        """prox(z) before it is clipped to the bounds; `give` is tc/q."""
        if not self.kink:
            return target
        return np.where(
            target - give > self.previous, target - give,
            np.where(target + give < self.previous, target + give, self.previous),
        )  # fmt: skip

    def pieces(self, target: Array) -> States:
        """The state of every name, from its prox before clipping."""
        states = np.full(target.size, ABOVE, dtype=np.int8)
        if self.kink:
            states[target < self.previous] = BELOW
            states[target == self.previous] = HELD
        states[target >= self.upper] = UPPER
        states[target <= self.lower] = LOWER
        return states

    def following(self, diagonal: Array, point: Point, partition: Partition) -> Partition:
        """The pieces on which w − r/q falls for q = `diagonal`; the rows that are violated or push.

        r = Qw − t g + ν1 + G'λ. A name leaves its piece only where it is clearly beyond its end.
        """
        states, rows = partition
        weights = point.weights
        residual = self.residual(point, rows)
        target = weights - residual / diagonal
        edge = SIDE * (2.0 * (states & 1) - 1.0)
        following = np.full(states.size, ABOVE, dtype=np.int8)
        if self.kink:
            give = point.tilt * self.kink / diagonal
            above = target - give > self.previous - np.where(states == ABOVE, SIDE, -SIDE)
            below = target + give < self.previous + np.where(states == BELOW, SIDE, -SIDE)
            following[~above] = HELD
            following[below] = BELOW
            target = np.where(above, target - give, np.where(below, target + give, self.previous))
        following[target > self.upper + edge] = UPPER
        following[target < self.lower - edge] = LOWER
        active = rows
        if rows.size:
            active = self.program.rows @ weights > self.program.limit + SIDE
            active[rows] = point.rows >= 0.0
        return self.supported(Partition(following, active), residual, point.tilt, states)

    def supported(self, partition: Partition, residual: Array, tilt: float, before: States) -> Partition:
        """The partition with a free name in every equation that has none, the budget first.

        All names of such an equation lie at ends of their pieces, and nothing would tell its multiplier.
        As in the dual simplex method the name is freed that is cheapest to move where the equation lacks;
        one that was free `before` has just left.
        """
        states, rows = partition
        if not rows.any():
            if (states & 1).any():
                return partition
            index = FIRST
        else:
            index = np.concatenate((FIRST, 1 + rows.nonzero()[0]))
            index = index[self.sizes[index] @ (states & 1) == 0.0]
        for row in index:
            normal = self.normals[row]
            if not self.sizes[row] @ (states & 1):
                lack = float(self.level[row] - normal @ self.fixed(states))
                states = self._freed(states, normal, lack, residual, tilt * self.kink, before)
        return Partition(states, rows)

    def _freed(
        self, states: States, normal: Array, lack: float, residual: Array, give: float, before: States
    ) -> States:
        """The states with the cheapest name of `normal` free on the side to which it moves."""
        rises, falls = states != UPPER, states != LOWER
        up, down = residual.copy(), -residual
        if give:
            at = self.fixed(states)
            up += give * np.where(at < self.previous, -1.0, 1.0)
            down += give * np.where(at > self.previous, -1.0, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            up, down = up / np.abs(normal), down / np.abs(normal)
        barred = (normal == 0.0) | (self.lower == self.upper) | ((before & 1) == 1)
        wants_up = (normal > 0.0) == (lack > 0.0)
        either = abs(lack) <= SIDE
        up[barred | ~rises | ~(wants_up | either)] = np.inf
        down[barred | ~falls | ~(~wants_up | either)] = np.inf
        name = int(np.argmin(np.minimum(up, down)))
        if not np.isfinite(min(up[name], down[name])):
            return states
        states = states.copy()
        rising = up[name] <= down[name]
        end = self.fixed(states)[name]
        below = bool(self.kink) and (end < self.previous[name] if rising else end <= self.previous[name])
        states[name] = BELOW if below else ABOVE
        return states

    def residual(self, point: Point, rows: Mask) -> Array:
        """r = Qw − t g + ν1 + G'λ."""
        residual = point.pressed - point.tilt * self.gain
        residual += point.budget
        return residual + point.rows @ self.program.rows[rows] if point.rows.size else residual

    def fixed(self, states: States) -> Array:
        """Weights of the names that are not free, 0 elsewhere."""
        places = np.multiply(states, states.size, dtype=np.intp)
        places += self._names
        return self._ends.take(places)

    def slopes(self, states: States) -> Array:
        """∂‖w − w₀‖₁ on each name's piece; 0 at w₀."""
        slope = (states - 2.0).clip(-1.0, 1.0)
        slope[(states == LOWER) & (self.lower >= self.previous)] = 1.0
        slope[(states == UPPER) & (self.upper <= self.previous)] = -1.0
        return slope

    def signs(self, states: States, tilt: float) -> tuple[Array, Array]:
        """Ends of the interval in which r of every fixed name is optimal; of free names, all numbers."""
        low, high = np.full(states.size, -np.inf), np.full(states.size, np.inf)
        slope = tilt * self.kink * self.slopes(states) if self.kink else np.zeros(states.size)
        low[states == LOWER] = -slope[states == LOWER]
        high[states == UPPER] = -slope[states == UPPER]
        low[states == HELD], high[states == HELD] = -tilt * self.kink, tilt * self.kink
        return low, high

    def tilted(self, states: States) -> tuple[Array, float]:
        """Gain less slopes, (N,), and the constant k₀ = c(Σ s_i w₀_i − v) of a ratio's numerator."""
        if not self.kink:
            return self.gain, 0.0
        slope = self.slopes(states)
        constant = self.kink * (float(slope @ self.previous) - self.program.exit_turnover)
        return self.gain - self.kink * slope, constant

    def multipliers(self, point: Point, partition: Partition) -> Multipliers:
        """The duals of `point` in the convention of `check_kkt`: for a ratio those of −ln of it."""
        states, active = partition
        residual = self.residual(point, active)
        if self.kink:
            residual = residual + point.tilt * self.kink * self.slopes(states)
        unit = 1.0 / float(point.weights @ point.pressed) if self.program.ratio else self.program.scale
        rows = np.zeros(active.size)
        rows[active] = point.rows * unit
        lower = np.where(states == LOWER, residual, 0.0) * unit
        upper = np.where(states == UPPER, -residual, 0.0) * unit
        return Multipliers(point.budget * unit, lower, upper, rows, 0.0)
