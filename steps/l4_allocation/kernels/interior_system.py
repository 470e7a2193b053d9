"""The Newton system of the interior point method, its inequalities eliminated; see `interior_point.py`.

With w = y/κ, Δy = Δz + wΔκ, slacks s, multipliers λ, D = Λ/S and, for a kink, its two multipliers a, b of
D_a = a/s_a, D_b = b/s_b, every step solves

    ⎡ M   B ⎤ ⎡Δz⎤   ⎡r⎤        M = Q + D_l + D_u + 4 D_a D_b/(D_a + D_b)
    ⎣ B'  C ⎦ ⎣Δq⎦ = ⎣p⎦        q = (κ, ν, ρ, λ_rows),  an additive program has (ν, λ_rows)

by one Cholesky of M and the Schur complement C − B'M⁻¹B. Names with l = u leave M as Δz = 0. Derivation:
docs/maths/interior_point.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.program import Program

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Bounds closer than this leave a name no room: it is fixed.
ROOM = 1e-12


class Parts(NamedTuple):
    """A stacked vector over the inequalities, by kind; the kink's two are empty where trading is free."""

    lower: Array
    upper: Array
    rows: Array
    bought: Array
    sold: Array


@dataclass(frozen=True)
class Form:
    """A program as the method sees it.

    free : mask (N,) of names with l < u;  cost : c, 0 where trading is free;  previous : w₀, never null
    level : θ > 0, to which the ratio form scales its numerator
    """

    program: Program
    free: Mask
    cost: float
    previous: Array
    exit_cost: float
    level: float

    @cached_property
    def live(self) -> Mask:
        """Which stacked inequalities take part: not the bounds of fixed names."""
        others = np.ones(len(self.program.limit) + (2 * self.program.size if self.cost else 0), np.bool_)
        return np.concatenate([self.free, self.free, others])

    @cached_property
    def ends(self) -> tuple[int, int, int, int]:
        """Where lower, upper, rows and bought end in a stacked vector."""
        size, rows = self.program.size, len(self.program.limit)
        return size, 2 * size, 2 * size + rows, 2 * size + rows + (size if self.cost else 0)

    def parts(self, stacked: Array) -> Parts:
        """Views of `stacked` by kind."""
        a, b, c, d = self.ends
        return Parts(stacked[:a], stacked[a:b], stacked[b:c], stacked[c:d], stacked[d:])

    def slope(self, dual: Parts) -> Array:
        """a − b: the subgradient of the kink (N,)."""
        return dual.bought - dual.sold if self.cost else np.zeros(self.program.size)

    def numerator(self, y: Array, kappa: float, traded: Array) -> float:
        """g'y − c(1't + vκ)."""
        return float(self.program.gain @ y) - self.cost * float(traded.sum()) - self.exit_cost * kappa


class Iterate(NamedTuple):
    """One point: y, κ, t and the slacks; ν, ρ and the multipliers of the inequalities, stacked."""

    y: Array
    kappa: float
    traded: Array
    slack: Array
    budget: float
    price: float
    dual: Array

    def moved(self, length: float, step: Iterate) -> Iterate:
        """The point after `length` of `step`."""
        return Iterate(
            self.y + length * step.y, self.kappa + length * step.kappa, self.traded + length * step.traded,
            self.slack + length * step.slack, self.budget + length * step.budget,
            self.price + length * step.price, self.dual + length * step.dual,
        )  # fmt: skip


class Residuals(NamedTuple):
    """What is left of the optimality system, with the sign of a right-hand side.

    dual (N,) and scale: stationarity in y and along y; budget, gain, rows: feasibility
    centre : Σ sλ / count;  error : the worst of all in relative terms;  pressed : Qy
    """

    dual: Array
    scale: float
    budget: float
    gain: float
    rows: Array
    centre: float
    error: float
    pressed: Array


def residuals_of(form: Form, point: Iterate) -> Residuals:
    """Residuals at `point`. O(N² + R N)."""
    program, w = form.program, point.y / point.kappa
    slack, dual, pressed = form.parts(point.slack), form.parts(point.dual), program.press(point.y)
    slope, room = form.slope(dual), program.limit - program.rows @ w
    force = pressed - point.price * program.gain + slope
    left = -(force - dual.lower + dual.upper + program.rows.T @ dual.rows + point.budget)
    left[~form.free] = 0.0
    inner = float(slack.lower @ dual.lower + slack.upper @ dual.upper) / point.kappa
    along = float(w @ pressed + (w - form.previous) @ slope) - inner - float(room @ dual.rows)
    along += point.budget * (float(w.sum()) - 1.0)
    along -= point.price * (float(program.gain @ w) - form.exit_cost)
    short = form.level - form.numerator(point.y, point.kappa, point.traded) if program.ratio else 0.0
    open_rows, budget = point.kappa * room - slack.rows, point.kappa - float(point.y.sum())
    products = float(point.slack @ point.dual)
    size = max(float(np.abs(pressed).max()), point.price * float(np.abs(program.gain).max()), 1e-300)
    worth = size * max(float(np.abs(w).sum()), 1e-300)
    primal = max(abs(budget), float(np.abs(open_rows).max(initial=0.0))) / point.kappa
    errors = [
        10.0 * max(primal, abs(short) / form.level), products / (worth * point.kappa),
        float(np.abs(left).max()) / size, abs(along) / worth if program.ratio else 0.0,
    ]  # fmt: skip
    centre = products / max(int(form.live.sum()), 1)
    return Residuals(left, -along, budget, short, open_rows, centre, max(errors), pressed)


class System:
    """The factored system at one point; `step` answers any complementarity target. O(N³/3)."""

    def __init__(self, form: Form, point: Iterate, residuals: Residuals, work: Array) -> None:
        self.form, self.point, self.left = form, point, residuals
        self.slack, self.dual = form.parts(point.slack), form.parts(point.dual)
        self.weights = point.y / point.kappa
        self.moves = self.weights - form.previous
        stiff = form.parts(point.dual / point.slack)
        self.diagonal = stiff.lower + stiff.upper
        self.pull, self.lean = stiff.bought + stiff.sold, np.zeros(form.program.size)
        if form.cost:
            self.lean = (stiff.bought - stiff.sold) / self.pull
            self.diagonal = self.diagonal + 4.0 * stiff.bought * (stiff.sold / self.pull)
        self.border, self.corner = self._border(stiff)
        self.factor, self.regular = self._factored(work)
        if self.regular:
            self.solved = self._divide(self.border)
            self.schur = self.corner - self.border.T @ self.solved

    def step(self, target: Array, *, refined: bool) -> Iterate:
        """The Newton step with sΔλ + λΔs = `target`; `refined` corrects its rounding once."""
        form, program, point, left = self.form, self.form.program, self.point, self.left
        goal = form.parts(target)
        pushes = form.parts(target / point.slack)
        drift, bend = np.zeros(0), np.zeros(program.size)
        if form.cost:
            drift = (pushes.bought + pushes.sold) / self.pull
            bend = pushes.bought - pushes.sold - self.lean * (pushes.bought + pushes.sold)
        inner = float(self.slack.lower @ pushes.lower + self.slack.upper @ pushes.upper)
        along = left.scale + inner / point.kappa - float(self.moves @ bend)
        right = np.where(form.free, left.dual + pushes.lower - pushes.upper - bend, 0.0)
        gain = -left.gain - form.cost * float(drift.sum())
        head = [along, left.budget, gain] if program.ratio else [left.budget]
        below = np.concatenate([head, left.rows - goal.rows / self.dual.rows])
        change, outer = self._solve(right, below)
        if refined:
            missed = right - self._press(change) - self.border @ outer
            again = self._solve(missed, below - self.border.T @ change - self.corner @ outer)
            change, outer = change + again[0], outer + again[1]
        return self._unfold(change, outer, target, drift)

    def _border(self, stiff: Parts) -> tuple[Array, Array]:
        """B and C; the columns of κ hold sλ/κ, so no vanishing slack is divided by."""
        form, program, point = self.form, self.form.program, self.point
        rows, size = len(program.limit), program.size
        first = 3 if program.ratio else 1
        border, corner = np.empty((size, first + rows), order="F"), np.zeros((first + rows, first + rows))
        border[:, 1 if program.ratio else 0] = 1.0
        border[:, first:] = program.rows.T
        corner[range(first, first + rows), range(first, first + rows)] = -1.0 / stiff.rows
        if program.ratio:
            pressed, bends = self.left.pressed / point.kappa, self.diagonal - stiff.lower - stiff.upper
            border[:, 0] = pressed + (self.dual.lower - self.dual.upper) / point.kappa + bends * self.moves
            border[:, 2] = form.cost * self.lean - program.gain
            inner = self.slack.lower @ self.dual.lower + self.slack.upper @ self.dual.upper
            corner[0, 0] = self.weights @ pressed + inner / point.kappa**2 + bends @ self.moves**2
            corner[0, 1] = corner[1, 0] = self.weights.sum() - 1.0
            lean = form.cost * float(self.lean @ self.moves)
            corner[0, 2] = corner[2, 0] = lean - float(program.gain @ self.weights) + form.exit_cost
            corner[0, 3:] = corner[3:, 0] = program.rows @ self.weights - program.limit
            corner[2, 2] = -(form.cost**2) * float((1.0 / self.pull).sum())
        border[~form.free] = 0.0
        return border, corner

    def _factored(self, work: Array) -> tuple[Array, bool]:
        """Cholesky factor of M, made in `work`; a matrix that is not positive definite is no error."""
        from scipy.linalg.lapack import dpotrf

        program, fixed = self.form.program, np.flatnonzero(~self.form.free)
        np.multiply(program.cov, program.scale, out=work)
        work.flat[:: program.size + 1] += program.ridge + self.diagonal
        if len(fixed):
            work[fixed], work[:, fixed] = 0.0, 0.0
            work[fixed, fixed] = 1.0
        factor, info = dpotrf(work.T, lower=1, overwrite_a=1, clean=0)
        return factor, info == 0

    def _divide(self, right: Array) -> Array:
        from scipy.linalg.lapack import dpotrs

        return np.asarray(dpotrs(self.factor, right, lower=1)[0])

    def _press(self, inner: Array) -> Array:
        """M Δz."""
        return np.where(self.form.free, self.form.program.press(inner) + self.diagonal * inner, 0.0)

    def _solve(self, right: Array, below: Array) -> tuple[Array, Array]:
        inner = self._divide(right)
        outer = _solve_small(self.schur, below - self.border.T @ inner)
        return inner - self.solved @ outer, outer

    def _unfold(self, inner: Array, outer: Array, target: Array, drift: Array) -> Iterate:
        """The changes of everything that was eliminated."""
        form, program, point = self.form, self.form.program, self.point
        kappa, budget, price = (float(v) for v in outer[:3]) if program.ratio else (0.0, float(outer[0]), 0.0)
        goal, stretch = form.parts(target), kappa / point.kappa
        ups = np.where(form.free, stretch * self.slack.lower + inner, 0.0)
        downs = np.where(form.free, stretch * self.slack.upper - inner, 0.0)
        priced = outer[3 if program.ratio else 1 :]
        opened = (goal.rows - self.slack.rows * priced) / self.dual.rows
        slacks, traded = [ups, downs, opened], drift
        if form.cost:
            far = inner + kappa * self.moves
            traded = drift + self.lean * far - form.cost * price / self.pull
            slacks += [traded - far, traded + far]
        slack = np.concatenate(slacks)
        dual = (target - point.dual * slack) / point.slack
        form.parts(dual).rows[:] = priced
        return Iterate(inner + kappa * self.weights, kappa, traded, slack, budget, price, dual)


def _solve_small(matrix: Array, right: Array) -> Array:
    """A symmetric indefinite system after scaling its diagonal; dependent rows: the smallest solution."""
    scale = 1.0 / np.sqrt(np.maximum(np.abs(np.diag(matrix)), 1e-300))
    scaled = scale[:, None] * matrix * scale
    if not (np.isfinite(scaled).all() and np.isfinite(right).all()):
        return np.full(len(right), np.nan)
    try:
        return np.asarray(scale * np.linalg.solve(scaled, scale * right))
    except np.linalg.LinAlgError:
        return np.asarray(scale * np.linalg.lstsq(scaled, scale * right, rcond=1e-15)[0])
