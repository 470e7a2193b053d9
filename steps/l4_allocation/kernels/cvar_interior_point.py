"""Interior point for the expected shortfall with the scenario block eliminated (Mehrotra 1992).

Every scenario is a hinge: slacks s = z + m ≥ 0 and z ≥ 0 of m = x'w + a with multipliers p, r ≥ 0,
p + r = κ. The Newton equations of one hinge give

    Δp = D (e − h'Δx),   D = 1/(s/p + z/r),   e = c_s/p − c_z/r,   h = (x, 1),   Δx = (Δw, Δa)

so T scenarios leave one product: (2γI + Θ + G'Θ_g G + H'DH) Δx + (1, 0)Δν = right side. A kink c|w − w₀|
is a hinge too, −c(w − w₀) + 2c·max(0, w − w₀) turned over, with h = e_i. One iteration costs T N² + N³/3
multiplications; scenarios whose D is negligible are left out of the product, which falls with the gap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.cvar_program import CvarPoint, CvarProgram
from quantctl.steps.l4_allocation.kernels.kkt import Multipliers
from quantctl.steps.l4_allocation.kernels.problem import Mask

Array = NDArray[np.float64]

# Steps stay this far inside the cone.
INSIDE = 0.995
# Scenarios below this part of the mean weight D take no part in the product.
NEGLIGIBLE = 1e-10


@dataclass
class _Blocks:
    """Where each kind of inequality stands in the stacked slacks and multipliers."""

    s: slice
    z: slice
    lower: slice
    upper: slice
    rows: slice
    total: int


def _blocks(hinges: int, names: int, rows: int) -> _Blocks:
    ends = [2 * hinges, 2 * hinges + names, 2 * (hinges + names), 2 * (hinges + names) + rows]
    return _Blocks(
        slice(0, hinges), slice(hinges, ends[0]), slice(ends[0], ends[1]), slice(ends[1], ends[2]),
        slice(ends[2], ends[3]), ends[3],
    )  # fmt: skip


class InteriorPoint:
    """The iterates of one program whose budget lies strictly between the sums of the bounds.

    `step()` makes one predictor-corrector step; `gap` and `point()` tell where it stands. Names whose
    bounds coincide are constants: they move the scenarios by `offset` and take part of the `budget`.
    """

    def __init__(self, program: CvarProgram) -> None:
        self.whole, self.free = program, program.upper > program.lower
        self.program, self.offset, self.budget = _without_fixed(program, self.free)
        program = self.program
        self.bars, self.size = program.bars, program.size
        self.data = np.ones((self.bars, self.size + 1))
        self.data[:, :-1] = program.scenarios
        hinges = self.bars + (self.size if program.previous is not None else 0)
        self.at = _blocks(hinges, self.size, len(program.limit))
        self.iterations = 0
        self._start()

    @property
    def gap(self) -> float:
        """Σ slack × multiplier and the violations, beside the size of the objective."""
        worth = 1.0 + abs(float(self.x[-1]))
        off = max(float(np.abs(self._slip()).max(initial=0.0)), abs(self.budget - float(self.x[:-1].sum())))
        return max(float(self.slack @ self.dual), off, float(np.abs(self._stationarity()).max())) / worth

    def point(self) -> CvarPoint:
        """The current iterate as a claim."""
        at, dual = self.at, self.dual
        weights, lower, upper = self.whole.lower.copy(), np.zeros(len(self.free)), np.zeros(len(self.free))
        weights[self.free], lower[self.free], upper[self.free] = self.x[:-1], dual[at.lower], dual[at.upper]
        lam = Multipliers(self.nu, lower, upper, dual[at.rows].copy(), 0.0)
        return CvarPoint(weights, float(self.x[-1]), dual[at.s][: self.bars].copy(), lam)

    def step(self) -> bool:
        """One step; false where the equations cannot be solved any more."""
        solver = self._factorised()
        if solver is None:
            return False
        self.iterations += 1
        products = self.slack * self.dual
        mean = float(products.mean())
        move = self._direction(solver, -products)
        primal, dual = self._lengths(*move[1:3])
        after = float((self.slack + primal * move[1]) @ (self.dual + dual * move[2])) / self.at.total
        centre = (after / mean) ** 3 * mean
        move = self._direction(solver, centre - products - move[1] * move[2])
        primal, dual = self._lengths(*move[1:3])
        self._advance(move, INSIDE * primal if primal < 1.0 else 1.0, INSIDE * dual if dual < 1.0 else 1.0)
        return bool(np.isfinite(self.x).all())

    # The linear maps of the hinges: scenarios first, then the kinks.

    def _press(self, x: Array) -> Array:
        scenario = self.data @ x
        return scenario if self.program.previous is None else np.concatenate([scenario, x[:-1]])

    def _lift(self, hinge: Array) -> Array:
        lifted = hinge[: self.bars] @ self.data
        if self.program.previous is not None:
            lifted[:-1] += hinge[self.bars :]
        return np.asarray(lifted)

    def _start(self) -> None:
        """Weights inside the bounds with their sum, multipliers that satisfy stationarity."""
        program, at = self.program, self.at
        width = program.upper - program.lower
        w = program.lower + width * ((self.budget - program.lower.sum()) / width.sum())
        losses = -(program.scenarios @ w + self.offset)
        var = float(
            np.partition(losses, -max(1, int(1.0 / program.share)))[-max(1, int(1.0 / program.share))]
        )
        self.x, self.nu = np.append(w, var), 0.0
        self.linear = np.append(np.full(self.size, program.kink), 1.0)
        margin = self._press(self.x)
        margin[: self.bars] += self.offset
        cost = np.full(at.s.stop, program.share)
        start = np.full(at.s.stop, min(1.0 / self.bars, 0.5 * program.share))
        start[: self.bars] += (1.0 - start[: self.bars].sum()) / self.bars
        if program.previous is not None:
            margin[self.bars :] -= program.previous
            cost[self.bars :], start[self.bars :] = 2.0 * program.kink, program.kink
        cost = np.maximum(cost, 1.05 * start)
        self.cost = cost
        self.slack, self.dual = np.empty(at.total), np.empty(at.total)
        room = 0.5 * float(np.std(losses)) + 1e-3
        self.slack[at.z] = np.maximum(0.0, -margin) + room
        self.slack[at.z][self.bars :] += float(width.mean()) - room
        self.slack[at.s] = self.slack[at.z] + margin
        self.slack[at.lower], self.slack[at.upper] = w - program.lower, program.upper - w
        self.slack[at.rows] = np.maximum(program.limit - program.rows @ w, 0.1)
        self.dual[at.s], self.dual[at.z] = start, cost - start
        self._start_multipliers()

    def _start_multipliers(self) -> None:
        """λ_l − λ_u = g + ν with both products equal on average to those of the scenarios."""
        at, program = self.at, self.program
        mean = float(self.slack[: at.z.stop] @ self.dual[: at.z.stop]) / at.z.stop
        self.dual[at.rows] = mean / self.slack[at.rows]
        slope = (self.linear - self._lift(self.dual[at.s]))[:-1] + 2.0 * program.ridge * self.x[:-1]
        slope += self.dual[at.rows] @ program.rows
        self.nu = -float(np.median(slope))
        slope += self.nu
        low, high = mean / self.slack[at.lower], mean / self.slack[at.upper]
        # The root of a² − a(slope − …) − … would centre both; shifting by the smaller suffices.
        shift = np.minimum(low, high) + 1e-3
        self.dual[at.lower] = np.maximum(slope, 0.0) + shift
        self.dual[at.upper] = np.maximum(-slope, 0.0) + shift

    def _slip(self) -> Array:
        """h − G w − slack: rows that the start violates close on the way."""
        return np.asarray(self.program.limit - self.program.rows @ self.x[:-1] - self.slack[self.at.rows])

    def _stationarity(self) -> Array:
        at, dual = self.at, self.dual
        slope = self.linear - self._lift(dual[at.s])
        slope[:-1] += 2.0 * self.program.ridge * self.x[:-1] - dual[at.lower] + dual[at.upper] + self.nu
        slope[:-1] += dual[at.rows] @ self.program.rows
        return np.asarray(slope)

    def _factorised(self) -> _Solver | None:
        at, n = self.at, self.size
        ratio = self.slack / self.dual
        self.bend = 1.0 / (ratio[at.s] + ratio[at.z])
        diagonal = np.zeros(n + 1)
        diagonal[:-1] = 2.0 * self.program.ridge + 1.0 / ratio[at.lower] + 1.0 / ratio[at.upper]
        if self.program.previous is not None:
            diagonal[:-1] += self.bend[self.bars :]
        bend = self.bend[: self.bars]
        kept = np.flatnonzero(bend > NEGLIGIBLE * float(bend.max()))
        rows = self.data if len(kept) == self.bars else self.data[kept]
        weighted = rows * np.sqrt(bend[kept])[:, None]
        if len(at_rows := ratio[at.rows]):
            bordered = np.zeros((len(at_rows), n + 1))
            bordered[:, :-1] = self.program.rows / np.sqrt(at_rows)[:, None]
            weighted = np.vstack([weighted, bordered])
        return _Solver.of(weighted, diagonal)

    def _direction(self, solver: _Solver, target: Array) -> tuple[Array, Array, Array, float]:
        """(Δx, Δslack, Δmultiplier, Δν) with slack·Δmultiplier + multiplier·Δslack = `target`."""
        at, slack, dual = self.at, self.slack, self.dual
        pull = target / dual
        offset = pull[at.s] - pull[at.z]
        slip = self._slip()
        right = -self._stationarity() + self._lift(self.bend * offset)
        push = target / slack
        right[:-1] += push[at.lower] - push[at.upper]
        tight = dual[at.rows] / slack[at.rows]
        right[:-1] -= (push[at.rows] - tight * slip) @ self.program.rows
        dx, dnu = solver.solve(right, self.budget - float(self.x[:-1].sum()))
        dslack, ddual = np.empty(at.total), np.empty(at.total)
        ddual[at.s] = self.bend * (offset - self._press(dx))
        ddual[at.z] = -ddual[at.s]
        dslack[at.lower], dslack[at.upper] = dx[:-1], -dx[:-1]
        dslack[at.rows] = slip - self.program.rows @ dx[:-1]
        hinges = slice(0, at.z.stop)
        dslack[hinges] = (target[hinges] - slack[hinges] * ddual[hinges]) / dual[hinges]
        rest = slice(at.z.stop, at.total)
        ddual[rest] = (target[rest] - dual[rest] * dslack[rest]) / slack[rest]
        return dx, dslack, ddual, dnu

    def _lengths(self, dslack: Array, ddual: Array) -> tuple[float, float]:
        """Largest steps to the boundary; one length for both where the objective is curved."""
        primal = 1.0 / max(1.0, -float((dslack / self.slack).min()))
        dual = 1.0 / max(1.0, -float((ddual / self.dual).min()))
        if self.program.ridge > 0.0:
            primal = dual = min(primal, dual)
        return primal, dual

    def _advance(self, move: tuple[Array, Array, Array, float], primal: float, dual: float) -> None:
        dx, dslack, ddual, dnu = move
        self.x = self.x + primal * dx
        self.slack = self.slack + primal * dslack
        self.dual = self.dual + dual * ddual
        self.nu += dual * dnu


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


class _Solver:
    """(diag d + A'A) Δx + (1, 0)Δν = right,  1'Δw = budget: one Cholesky, the budget bordered."""

    def __init__(self, factor: Array, border: Array, pivot: float) -> None:
        self.factor, self.border, self.pivot = factor, border, pivot

    @classmethod
    def of(cls, weighted: Array, diagonal: Array) -> _Solver | None:
        """Null where the matrix is no longer positive definite in floating point."""
        from scipy.linalg.blas import dsyrk
        from scipy.linalg.lapack import dpotrf, dpotrs

        matrix = dsyrk(1.0, weighted.T, lower=1)
        matrix[np.arange(len(diagonal)), np.arange(len(diagonal))] += diagonal
        factor, info = dpotrf(matrix, lower=1, clean=0, overwrite_a=1)
        if info != 0:
            return None
        border = np.ones(len(diagonal))
        border[-1] = 0.0
        border = dpotrs(factor, border, lower=1)[0]
        return cls(factor, border, float(border[:-1].sum()))

    def solve(self, right: Array, budget: float) -> tuple[Array, float]:
        from scipy.linalg.lapack import dpotrs

        plain = dpotrs(self.factor, right, lower=1)[0]
        nu = (float(plain[:-1].sum()) - budget) / self.pivot
        return plain - nu * self.border, nu
