"""Interior point for the expected shortfall with the scenario block eliminated (Mehrotra 1992).

Every scenario is a hinge: slacks s = m + z ≥ 0 and z ≥ 0 of m = x'w + a with multipliers p, r ≥ 0,
p + r = κ. The Newton equations of one hinge give

    Δp = D (e − h'Δx),   D = 1/(s/p + z/r),   h = (x, 1),   Δx = (Δw, Δa)

so what is left of T scenarios is one product H'DH (`cvar_newton.py`). A kink c|w − w₀| is a hinge as well:
c(w − w₀) + 2c·max(0, w₀ − w), with h = e_i. One iteration costs T N² + N³/3 multiplications, or
N T² + T³/3 where fewer scenarios than names matter.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.cvar_newton import NewtonSystem, factorised
from quantctl.steps.l4_allocation.kernels.cvar_program import CvarPoint, CvarProgram
from quantctl.steps.l4_allocation.kernels.kkt import Multipliers
from quantctl.steps.l4_allocation.kernels.problem import Mask

Array = NDArray[np.float64]

# Steps stay this far inside the cone.
INSIDE = 0.995
# Gap from which margins tell the tail; part of its largest multiplier from which a scenario bears weight;
# scenarios kept in any case.
TELLING, BEARING, SPARE = 0.2, 0.02, 50


class _Blocks(NamedTuple):
    """Where each inequality stands in the stacked slacks and multipliers.

    hinge : s of rows, scenarios and kinks, in this order;  folded : those of them with a z;
    z, lower, upper : as named;  total : their number
    """

    hinge: slice
    folded: slice
    z: slice
    lower: slice
    upper: slice
    total: int


class _Move(NamedTuple):
    """A direction, or the part of one that is taken."""

    x: Array
    slack: Array
    dual: Array
    budget: float


class InteriorPoint:
    """The iterates of one program whose budget lies strictly between the sums of the bounds.

    `step()` makes one predictor-corrector step; `gap` and `point()` tell where it stands. Names whose
    bounds coincide are constants: they move the scenarios by `offset` and take part of the `budget`.
    `shrink()` leaves scenarios out that are far from the tail; whoever uses it checks them at the end.
    """

    x: Array
    nu: float
    slack: Array
    dual: Array

    def __init__(self, program: CvarProgram) -> None:
        self.whole, self.free = program, program.upper > program.lower
        self.program, offset, self.budget = _without_fixed(program, self.free)
        program = self.program
        self.bars, self.size, self.ties = program.bars, program.size, len(program.limit)
        self.hinges = np.empty((self.ties + self.bars, self.size + 1))
        self.hinges[: self.ties, :-1], self.hinges[: self.ties, -1] = -program.rows, 0.0
        self.hinges[self.ties :, :-1], self.hinges[self.ties :, -1] = program.scenarios, 1.0
        self.border = np.zeros((1 + self.ties, self.size + 1))
        self.border[0, :-1], self.border[1:, :-1] = 1.0, program.rows
        kinks = [] if program.previous is None else [-program.previous]
        self.offset = np.concatenate([program.limit, offset, *kinks])
        self.linear = np.append(np.full(self.size, program.kink), 1.0)
        self.at = _blocks(self.ties, len(self.offset), self.size)
        self.kept, self.iterations = np.arange(self.bars), 0
        self._start()
        self._measure()

    def point(self) -> CvarPoint:
        """The current iterate as a claim."""
        at, dual = self.at, self.dual
        weights, lower, upper = self.whole.lower.copy(), np.zeros(len(self.free)), np.zeros(len(self.free))
        weights[self.free], lower[self.free], upper[self.free] = self.x[:-1], dual[at.lower], dual[at.upper]
        lam = Multipliers(self.nu, lower, upper, dual[: self.ties].copy(), 0.0)
        tail = np.zeros(self.whole.bars)
        tail[self.kept] = dual[self.ties : self.ties + self.bars]
        return CvarPoint(weights, float(self.x[-1]), tail, lam)

    def shrink(self) -> None:
        """Keep the scenarios of smallest margin, half as many again as bear weight now.

        Nothing happens unless that spares a fifth of them. What the others bore becomes a residual.
        """
        if self.gap > TELLING or self.bars <= 2 * SPARE:
            return
        first, last = self.ties, self.ties + self.bars
        bearing = int(np.count_nonzero(self.dual[first:last] > BEARING * self.program.share))
        room = SPARE + int(1.5 * bearing)
        if 5 * room >= 4 * self.bars:
            return
        margin = self.slack[first:last] - self.slack[self.at.z][: self.bars]
        near = np.sort(np.argpartition(margin, room)[:room])
        hinges = np.concatenate([np.arange(first), first + near, np.arange(last, len(self.offset))])
        stacked = np.concatenate([
            hinges, len(self.offset) - first + hinges[first:], np.arange(self.at.z.stop, self.at.total),
        ])  # fmt: skip
        self.hinges = self.hinges[hinges[: first + room]]
        self.offset, self.kept = self.offset[hinges], self.kept[near]
        self.slack, self.dual, self.bars = self.slack[stacked], self.dual[stacked], room
        self.at = _blocks(self.ties, len(self.offset), self.size)
        self._measure()

    def step(self) -> bool:
        """One step; false where the equations cannot be solved any more."""
        system = self._factorised()
        if system is None:
            return False
        self.iterations += 1
        products = self.slack * self.dual
        mean = float(products.sum()) / self.at.total
        ahead = self._direction(system, -products, refined=False)
        after = self._taken(ahead, *self._lengths(ahead, 1.0))
        left = float((self.slack + after.slack) @ (self.dual + after.dual)) / self.at.total
        target = (left / mean) ** 3 * mean - products - ahead.slack * ahead.dual
        move = self._direction(system, target, refined=True)
        taken = self._taken(move, *self._lengths(move, INSIDE))
        self.x, self.nu = self.x + taken.x, self.nu + taken.budget
        self.slack, self.dual = self.slack + taken.slack, self.dual + taken.dual
        if not (np.isfinite(self.x).all() and self.slack.min() > 0.0 and self.dual.min() > 0.0):
            return False
        self._measure()
        return True

    def _start(self) -> None:
        """Weights inside the bounds with their sum, p = 1/T, and λ_l − λ_u = the slope that is left.

        Slacks start at the size of the losses, and the bounds' multipliers so that their products
        are not smaller than those of the scenarios.
        """
        program, at = self.program, self.at
        width = program.upper - program.lower
        w = program.lower + width * ((self.budget - program.lower.sum()) / width.sum())
        losses = -(program.scenarios @ w + self.offset[self.ties : self.ties + self.bars])
        mass = min(max(1, int(1.0 / program.share)), self.bars)
        self.x = np.append(w, np.partition(losses, -mass)[-mass])
        margin = self._press(self.x) + self.offset
        self.slack, self.dual = np.empty(at.total), np.empty(at.total)
        room = np.full(len(margin) - self.ties, float(width.mean()))
        room[: self.bars] = 0.5 * float(np.std(losses)) + 1e-3
        self.slack[at.z] = np.maximum(0.0, -margin[self.ties :]) + room
        self.slack[: self.ties] = np.maximum(margin[: self.ties], 0.1)
        self.slack[at.folded] = self.slack[at.z] + margin[self.ties :]
        self.slack[at.lower], self.slack[at.upper] = w - program.lower, program.upper - w
        first, cost = np.full(len(room), 1.0 / self.bars), np.full(len(room), program.share)
        first[self.bars :], cost[self.bars :] = program.kink, 2.0 * program.kink
        self.dual[at.folded], self.dual[at.z] = first, cost - first
        folded = slice(self.ties, at.z.stop)
        mean = float(self.slack[folded] @ self.dual[folded]) / (at.z.stop - self.ties)
        self.dual[: self.ties] = mean / self.slack[: self.ties]
        slope = (self.linear - self._lift(self.dual[at.hinge]))[:-1] + 2.0 * program.ridge * w
        self.nu = -float(np.median(slope))
        slope += self.nu
        shift = mean / np.maximum(self.slack[at.lower], self.slack[at.upper]) + 1e-3
        self.dual[at.lower] = np.maximum(slope, 0.0) + shift
        self.dual[at.upper] = np.maximum(-slope, 0.0) + shift

    def _press(self, x: Array) -> Array:
        """H x: rows, scenarios, kinks."""
        pressed = self.hinges @ x
        return pressed if self.program.previous is None else np.concatenate([pressed, x[:-1]])

    def _lift(self, hinge: Array) -> Array:
        """H'p."""
        if self.program.previous is None:
            return np.asarray(hinge @ self.hinges)
        lifted = hinge[: len(self.hinges)] @ self.hinges
        lifted[:-1] += hinge[len(self.hinges) :]
        return np.asarray(lifted)

    def _measure(self) -> None:
        """Residuals of the current point, and the gap: what is not optimal beside the objective's size."""
        at, dual, program = self.at, self.dual, self.program
        self.slip = self._press(self.x) + self.offset - self.slack[at.hinge]
        self.slip[self.ties :] += self.slack[at.z]
        self.slope = self.linear - self._lift(dual[at.hinge])
        self.slope[:-1] += dual[at.upper] - dual[at.lower] + (2.0 * program.ridge * self.x[:-1] + self.nu)
        self.short = self.budget - float(self.x[:-1].sum())
        off = max(float(np.abs(self.slip).max()), abs(self.short), float(np.abs(self.slope).max()))
        self.gap = max(float(self.slack @ dual), off) / (1.0 + abs(float(self.x[-1])))

    def _factorised(self) -> NewtonSystem | None:
        at, ratio = self.at, self.slack / self.dual
        self.ratio = ratio
        bend = ratio[at.hinge].copy()
        bend[self.ties :] += ratio[at.z]
        self.bend = 1.0 / bend
        diagonal = 1.0 / ratio[at.lower] + 1.0 / ratio[at.upper] + 2.0 * self.program.ridge
        if self.program.previous is not None:
            diagonal += self.bend[len(self.hinges) :]
        system = factorised(self.hinges[self.ties :], self.bend[self.ties : len(self.hinges)], diagonal)
        return None if system is None else system.bordered(self.border, np.append(0.0, ratio[: self.ties]))

    def _direction(self, system: NewtonSystem, target: Array, *, refined: bool) -> _Move:
        """The step with slack·Δmultiplier + multiplier·Δslack = `target` and all residuals closed."""
        at, slack, dual = self.at, self.slack, self.dual
        pull = target[: at.z.stop] / dual[: at.z.stop]
        offset = pull[at.hinge] - self.slip
        offset[self.ties :] -= pull[at.z]
        push = target[at.z.stop :] / slack[at.z.stop :]
        pressed = self.bend * offset
        pressed[: self.ties] = 0.0
        right = self._lift(pressed) - self.slope
        right[:-1] += push[: self.size] - push[self.size :]
        dx, eta = system.solve(right, np.append(self.short, -offset[: self.ties]), refined=refined)
        dslack, ddual = np.empty(at.total), np.empty(at.total)
        ddual[at.hinge] = self.bend * (offset - self._press(dx))
        ddual[: self.ties] = eta[1:]
        ddual[at.z] = -ddual[at.folded]
        dslack[at.lower], dslack[at.upper] = dx[:-1], -dx[:-1]
        folds, bounds = slice(0, at.z.stop), slice(at.z.stop, at.total)
        dslack[folds] = pull - self.ratio[folds] * ddual[folds]
        ddual[bounds] = push - dslack[bounds] / self.ratio[bounds]
        return _Move(dx, dslack, ddual, float(eta[0]))

    def _lengths(self, move: _Move, inside: float) -> tuple[float, float]:
        """Steps up to the part `inside` of the way out; one length for both where the objective is curved."""
        primal = inside / max(inside, -float((move.slack / self.slack).min()))
        dual = inside / max(inside, -float((move.dual / self.dual).min()))
        return (primal, dual) if self.program.ridge == 0.0 else (min(primal, dual), min(primal, dual))

    def _taken(self, move: _Move, primal: float, dual: float) -> _Move:
        return _Move(primal * move.x, primal * move.slack, dual * move.dual, dual * move.budget)


def _blocks(ties: int, hinges: int, names: int) -> _Blocks:
    end = 2 * hinges - ties
    return _Blocks(
        slice(0, hinges), slice(ties, hinges), slice(hinges, end), slice(end, end + names),
        slice(end + names, end + 2 * names), end + 2 * names,
    )  # fmt: skip


def _without_fixed(program: CvarProgram, free: Mask) -> tuple[CvarProgram, Array, float]:
    """The program over the names with room, what the others add to the scenarios, and the budget left."""
    if free.all():
        return program, np.zeros(program.bars), 1.0
    held = program.lower[~free]
    part = replace(
        program, scenarios=program.scenarios[:, free], lower=program.lower[free], upper=program.upper[free],
        rows=program.rows[:, free], limit=program.limit - program.rows[:, ~free] @ held,
        previous=None if program.previous is None else program.previous[free],
    )  # fmt: skip
    return part, program.scenarios[:, ~free] @ held, 1.0 - float(held.sum())
