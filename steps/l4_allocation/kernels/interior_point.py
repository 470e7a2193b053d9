"""Quadratic programs by a dense primal–dual interior point method: the second rung of the ladder.

Both forms of `Program` are one problem, homogenised by y = κw (Charnes & Cooper 1962, Schaible 1974):

    min ½y'Qy − ρ(g'y − c(1't + vκ))   s.t. 1'y = κ, κl ≤ y ≤ κu, G y ≤ κh, t ≥ ±(y − κw₀)

additive: κ = ρ = 1. Ratio: κ is a variable and ρ the multiplier of g'y − c(1't + vκ) = θ, with θ near the
numerator of the start so that κ is near 1. Predictor and corrector are Mehrotra's (1992, On the
implementation of a primal-dual interior point method), with one step length for all variables, since
Q couples primal and dual residuals. One Cholesky of order N per iteration: `interior_system.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.interior_system import (
    ROOM,
    Form,
    Iterate,
    Residuals,
    System,
    residuals_of,
)
from quantctl.steps.l4_allocation.kernels.kkt import Multipliers
from quantctl.steps.l4_allocation.kernels.program import Optimum, Program

Array = NDArray[np.float64]

# Relative errors: where iterating ends, and what still deserves to be judged as an optimum.
TOLERANCE = 1e-11
BELIEVED = 1e-7
ITERATIONS = 60
PATIENCE = 5
# Share of the way to the boundary that a step may take, and how far a ray must clear the box.
SHARE = 0.9999
CLEAR = 1e-9


def solve(program: Program) -> Optimum:
    """The optimum of `program`, started cold.

    Outcomes: `optimal`; `stalled` (the best point is worse than 1e-7, or numbers broke down), with that
    point where it is a point at all; `infeasible`, a suspicion that the caller proves by a certificate:
    a nonnegative combination of rows and budget excludes the whole box; `no_ratio`, the same with the
    numerator among the rows: none is positive. Multipliers are those of the program's objective, for a
    ratio those of −ln of it. Never raises for finite data.

    About ten iterations, each one Cholesky of order N and O((R + 5) N²); memory N² + (R + 5) N.
    """
    form = _form_of(program)
    if not form.free.any():
        return _only_point(form)
    point, work = _start(form), np.empty((program.size, program.size))
    best, error, age, count = point, np.inf, 0, 0
    for count in range(ITERATIONS + 1):
        left = residuals_of(form, point)
        age = 0 if left.error < error else age + 1
        if left.error < error:
            best, error = point, left.error
        if error <= TOLERANCE or (error <= BELIEVED and age >= PATIENCE) or count == ITERATIONS:
            break
        if (suspicion := _suspicion(form, point)) is not None:
            return Optimum(suspicion, count, count)
        moved = _next(form, point, left, work)
        if moved is None:
            break
        point = moved
    return _optimum(form, best, error, count)


def _form_of(program: Program) -> Form:
    traded = program.kink > 0.0 and program.previous is not None
    cost = program.kink if traded else 0.0
    previous = program.previous if program.previous is not None else np.zeros(program.size)
    free, weights = program.upper - program.lower > ROOM, _first_weights(program)
    exit_cost = cost * program.exit_turnover
    gain = float(program.gain @ weights) - cost * float(np.abs(weights - previous).sum()) - exit_cost
    level = max(gain, 0.1 * float(np.abs(program.gain).max()), 1e-300) if program.ratio else 1.0
    return Form(program, free, cost, previous, exit_cost, level)


def _first_weights(program: Program) -> Array:
    """Strictly between the bounds, at the share of their distance that meets the budget if one does."""
    room = program.upper - program.lower
    share = (1.0 - float(program.lower.sum())) / max(float(room.sum()), 1e-300)
    return program.lower + room * min(max(share, 0.01 / program.size), 0.9)


def _start(form: Form) -> Iterate:
    """A central start: every product sλ equal, κ = 1, the kink's a + b = ρc exact."""
    program = form.program
    y, free = _first_weights(program), form.free
    pressed = program.press(y)
    price = max(float(y @ pressed), 1e-12) / form.level if program.ratio else 1.0
    force = pressed - price * program.gain
    above, below = np.where(free, y - program.lower, 1.0), np.where(free, program.upper - y, 1.0)
    rows = np.maximum(program.limit - program.rows @ y, 0.1 * (np.abs(program.rows) @ np.abs(y)) + 1e-3)
    centre = (float(np.abs(force).max()) + price * form.cost + 1e-12) * float(np.median(above[free]))
    slacks, traded = [above, below, rows], y[:0]
    if form.cost:  # a(t − d) = b(t + d) = μ and a + b = ρc give t² − d² = 2tμ/(ρc).
        moved, spread = y - form.previous, centre / (price * form.cost)
        traded = spread + np.hypot(spread, moved)
        far = traded + np.abs(moved)
        near = 2.0 * traded * spread / far
        slacks += [np.where(moved > 0.0, near, far), np.where(moved > 0.0, far, near)]
    slack = np.concatenate(slacks)
    dual = np.where(form.live, centre / slack, 0.0)
    return Iterate(y, 1.0, traded, slack, -float(force.mean()), price, dual)


def _next(form: Form, point: Iterate, left: Residuals, work: Array) -> Iterate | None:
    """The point after one predictor–corrector step, or null where numbers broke down."""
    with np.errstate(all="ignore"):  # Multipliers of an empty set grow without limit; judged at the end.
        return _stepped(form, point, left, work)


def _stepped(form: Form, point: Iterate, left: Residuals, work: Array) -> Iterate | None:
    """Mehrotra's step: the affine one tells how far to aim, its products correct the curvature."""
    system = System(form, point, left, work)
    if not system.regular:
        return None
    products = point.slack * point.dual
    affine = system.step(-products, refined=False)
    reached = point.moved(_length(point, affine), affine)
    aim = left.centre * (float(reached.slack @ reached.dual) / float(products.sum())) ** 3
    target = np.where(form.live, aim - products - affine.slack * affine.dual, 0.0)
    step = system.step(target, refined=True)
    moved = point.moved(min(1.0, SHARE * _length(point, step)), step)
    return moved if moved.kappa > 0.0 and all(np.isfinite(v).all() for v in moved) else None


def _length(point: Iterate, step: Iterate) -> float:
    """The longest step ≤ 1/SHARE that keeps slacks and multipliers nonnegative."""
    values, changes = np.concatenate([point.slack, point.dual]), np.concatenate([step.slack, step.dual])
    falling = changes < 0.0
    return min(1.0 / SHARE, float((-values[falling] / changes[falling]).min(initial=np.inf)))


def _suspicion(form: Form, point: Iterate) -> str | None:
    """`infeasible` or `no_ratio`, where a combination of the rows excludes the box; else null.

    Every feasible w satisfies (G'λ + ν1)'w ≤ h'λ + ν; a numerator n ≥ 0 adds −ρn ≤ 0, in which
    −c‖w − w₀‖₁ ≤ −(a − b)'(w − w₀)/ρ. It is excluded where the least left side over l ≤ w ≤ u is larger.
    """
    program, dual = form.program, form.parts(point.dual)
    ray, level = program.rows.T @ dual.rows + point.budget, float(program.limit @ dual.rows) + point.budget
    margin = CLEAR * (float(np.abs(program.limit) @ dual.rows) + abs(point.budget))
    if _least(program, ray) > level + margin:
        return "infeasible"
    if not program.ratio or point.price <= 0.0:
        return None
    slope = form.slope(dual)
    ray, level = ray - point.price * program.gain + slope, level + float(slope @ form.previous)
    level -= point.price * form.exit_cost
    margin += CLEAR * point.price * float(np.abs(program.gain).max())
    return "no_ratio" if _least(program, ray) > level + margin else None


def _least(program: Program, ray: Array) -> float:
    """min ray'w over l ≤ w ≤ u."""
    return float(np.minimum(ray * program.lower, ray * program.upper).sum())


def _optimum(form: Form, point: Iterate, error: float, count: int) -> Optimum:
    """The claim at `point`: weights, and multipliers without the homogenisation."""
    program, dual = form.program, form.parts(point.dual)
    pressed = program.press(point.y)
    # Multipliers of the homogenised problem, divided by y'Qy/κ, are those of −ln of the ratio.
    unit = point.kappa / float(point.y @ pressed) if program.ratio else 1.0
    net = pressed - point.price * program.gain + form.slope(dual) + point.budget + program.rows.T @ dual.rows
    lam = Multipliers(
        point.budget * unit,
        np.where(form.free, dual.lower, np.maximum(net, 0.0)) * unit,
        np.where(form.free, dual.upper, np.maximum(-net, 0.0)) * unit,
        dual.rows * unit, 0.0,
    )  # fmt: skip
    outcome = "optimal" if error <= BELIEVED else "stalled"
    return Optimum(outcome, count, count, point.y / point.kappa, lam)


def _only_point(form: Form) -> Optimum:
    """All names are fixed: the bounds are the point, if budget and rows hold on it."""
    program, weights = form.program, form.program.lower
    over = float((program.rows @ weights - program.limit).max(initial=0.0))
    if max(abs(float(weights.sum()) - 1.0), over) > CLEAR:
        return Optimum("infeasible", 0, 0)
    moved = np.abs(weights - form.previous)
    numerator = form.numerator(weights, 1.0, moved)
    if program.ratio and numerator <= 0.0:
        return Optimum("no_ratio", 0, 0)
    pressed = program.press(weights)
    unit, price = (1.0 / float(weights @ pressed), 1.0 / numerator) if program.ratio else (1.0, 1.0)
    net = unit * pressed - price * (program.gain - form.cost * np.sign(weights - form.previous))
    none = np.zeros(len(program.limit))
    lam = Multipliers(0.0, np.maximum(net, 0.0), np.maximum(-net, 0.0), none, 0.0)
    return Optimum("optimal", 0, 0, weights, lam)
