"""Risk budgeting and equal risk contribution, with caps: the ladder of their solvers.

Uncapped (Maillard, Roncalli & Teïletche 2010; Spinu 2013):

    x* = argmin ½x'Σx − Σ_i b_i ln x_i,   w = x*/1'x*   ⇒   w_i(Σw)_i = b_i · w'Σw

With caps (Richard & Roncalli 2019): w = x(λ) = argmin {½x'Σx − λ Σ b ln x : x ≤ u, G x ≤ h} for the
smallest λ with 1'x(λ) = 1. Caps are absolute in x; a budget row would leak its multiplier into every
name. The rungs are closed forms, Newton with an active set (`risk_newton.py`, `risk_active.py`), the
interior point (`risk_barrier.py`), its polish, and a conic solver (`risk_conic.py`); each ends with
Newton on the equations of its active set, and `check_kkt` judges.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import ConfigError
from quantctl.steps.l4_allocation.kernels.certificate import explain_infeasibility
from quantctl.steps.l4_allocation.kernels.engine import NATIVE, Engine, Rung
from quantctl.steps.l4_allocation.kernels.kkt import Multipliers, active_names, judge, name_duals
from quantctl.steps.l4_allocation.kernels.problem import Attempt, Kkt, Problem, Result, restricted
from quantctl.steps.l4_allocation.kernels.risk_active import Search, solve_on_sets, starting_sets
from quantctl.steps.l4_allocation.kernels.risk_barrier import interior_point
from quantctl.steps.l4_allocation.kernels.risk_conic import (
    ConicPoint,
    ConicSolver,
    search_barrier,
    solve_conic,
)
from quantctl.steps.l4_allocation.kernels.risk_newton import balance_risk
from quantctl.steps.l4_allocation.kernels.risk_program import RiskPoint, RiskProgram, risk_program
from quantctl.steps.l4_allocation.kernels.scaling import scaled

Array = NDArray[np.float64]

NEWTON_STEPS = 8
AT_CAP = 1e-12
# From this error on an uncapped iterate shows by how much it exceeds its caps.
ROUGH = 1e-2
# Below this one more step ends the uncapped search, which then decides itself.
ALMOST = 1e-4


def equal_risk(problem: Problem, engine: Engine = NATIVE) -> Result:
    """Equal risk contribution: `risk_budget` with equal budgets."""
    return risk_budget(problem, np.full(problem.size, 1.0 / problem.size), engine)


def risk_budget(problem: Problem, budgets: Array, engine: Engine = NATIVE) -> Result:
    """Weights whose risk contributions are proportional to `budgets` wherever no cap binds.

    Parameters
    ----------
    problem : lower bounds 0, no beta row, groups without minimum
    budgets : ndarray of shape (N,), ≥ 0, normalised here; an atom with budget 0 gets weight 0

    Guarantees w_i(Σw)_i ≤ λ b_i, with equality to 1e-8 on atoms without an active cap or row.
    Statuses: OPTIMAL, OPTIMAL_REDUCED_ACCURACY, INFEASIBLE (with certificate), SOLVER_FAILED.

    Raises
    ------
    ConfigError : `ERC_LOWER_BOUND`, `BETA_UNSUPPORTED_FOR_PROFILE`, `BUDGET_MISSING`
    """
    _refuse(problem, budgets)
    keep = budgets > 0.0
    part, shares = (problem, budgets) if keep.all() else (restricted(problem, keep), budgets[keep])
    climb = _Climb(part, shares / shares.sum(), engine)
    point = climb.run()
    if point is None:
        return _failure(climb)
    assert climb.kkt is not None
    weights = np.zeros(problem.size)
    weights[keep] = point.x
    variance = float(weights @ problem.cov @ weights)
    return Result(
        weights, climb.kkt.status, variance, variance, climb.kkt, climb.duals,
        active_names(part, point.x), tuple(climb.attempts),
        warnings=("OPTIMAL_REDUCED_ACCURACY",) if climb.kkt.status != "OPTIMAL" else (),
        notes={"products": climb.products},
    )  # fmt: skip


def lower_bound_refused() -> ConfigError:
    """The error (exit 2) of a positive lower bound, which equal risk does not admit."""
    return ConfigError(
        "ERC_LOWER_BOUND", "risk budgeting admits no lower bound but 0",
        where="allocation.weight_min", remedy="set allocation.weight_min to 0",
    )  # fmt: skip


def _refuse(problem: Problem, budgets: Array) -> None:
    if (problem.floors != 0.0).any() or any(group.min for group in problem.groups):
        raise lower_bound_refused()
    if problem.beta is not None:
        raise ConfigError(
            "BETA_UNSUPPORTED_FOR_PROFILE", "a beta row would destroy equal risk",
            where="allocation.beta.apply_to", remedy="remove the profile from allocation.beta.apply_to",
        )  # fmt: skip
    if budgets.shape != (problem.size,) or not (budgets >= 0.0).all() or not budgets.sum() > 0.0:
        raise ConfigError(
            "BUDGET_MISSING", "budgets must be non-negative, one per atom, not all zero",
            where="allocation.budgets", remedy="give every atom or cluster a budget",
        )  # fmt: skip


def _failure(climb: _Climb) -> Result:
    if climb.certificate is None:
        return Result(None, "SOLVER_FAILED", attempts=tuple(climb.attempts))
    final = Attempt("certificate", "INFEASIBLE", climb.certificate["code"])
    return Result(None, "INFEASIBLE", attempts=(*climb.attempts, final), certificate=climb.certificate)


class _Climb:
    """One climb of the ladder: its attempts, and the judgement and duals of what was accepted."""

    def __init__(self, problem: Problem, budgets: Array, engine: Engine) -> None:
        self.problem, self.budgets, self.engine = problem, budgets, engine
        self.attempts: list[Attempt] = []
        self.kkt: Kkt | None = None
        self.duals: dict[str, float] = {}
        self.products = 0

    @cached_property
    def program(self) -> RiskProgram:
        """The scaled program."""
        return risk_program(self.problem, self.budgets)

    @cached_property
    def certificate(self) -> dict[str, Any] | None:
        """Why no weights exist, or null."""
        return explain_infeasibility(self.problem)

    def run(self) -> RiskPoint | None:
        """The first point that is accepted, or null."""
        if self.engine.has("closed_form") and (point := self._closed_form()):
            return point
        if self.engine.has("fast") and (point := self._fast()):
            return point
        if self.certificate is not None:
            return None
        if self.engine.has("ipm") and (point := self._interior()):
            return point
        return self._conic() if self.engine.has("clarabel") else None

    def _closed_form(self) -> RiskPoint | None:
        """One atom; caps that leave one point; two atoms. Null where none of them applies."""
        problem = self.problem
        if problem.size == 1:
            point = RiskPoint(np.ones(1), 1.0, np.zeros(1), np.zeros(len(problem.rows.names)))
        elif abs(float(problem.caps.sum()) - 1.0) <= AT_CAP:
            point = _closed_by_caps(self.program)
        elif problem.size == 2:
            point = _two_atoms(self.program)
        else:
            return None
        return self._judged("closed_form", Search(point, 0, "optimal")) if _fits(problem, point.x) else None

    def _fast(self) -> RiskPoint | None:
        """Newton without caps; where its point clearly exceeds one, Newton on the active set from there."""

        def exceeds(x: Array, error: float) -> bool:
            return ALMOST <= error <= ROUGH and not _fits(self.problem, x / x.sum(), error)

        free = balance_risk(self.problem.cov, self.budgets, exceeds)
        total, self.products = float(free.x.sum()), free.products
        x, barrier = free.x / total, total**-2 / self.problem.mean_variance
        work = free.iterations, free.factorisations
        point = RiskPoint(x, barrier, np.zeros(len(x)), np.zeros(len(self.problem.rows.names)))
        if _fits(self.problem, x):
            return self._judged("fast", Search(point, 0, "optimal"), *work)
        sets = starting_sets(self.program, x)
        return self._judged("fast", solve_on_sets(self.program, point, sets, revise=True), *work)

    def _interior(self) -> RiskPoint | None:
        """The interior point and Newton on its sets; the polish revises them."""
        inside = interior_point(self.program, *_spread(self.program))
        start = self.program, inside.point, inside.sets
        ended = solve_on_sets(*start, revise=False, steps=NEWTON_STEPS)
        if point := self._judged("ipm", ended, inside.iterations, inside.iterations):
            return point
        return (
            self._judged("polish", solve_on_sets(*start, revise=True)) if self.engine.has("polish") else None
        )

    def _conic(self) -> RiskPoint | None:
        """The conic search: Clarabel, or the readable formulation of the engine."""

        def accept(ended: Search) -> bool:
            return ended.point is not None and self._kkt(ended.point)[0].status != "SOLVER_FAILED"

        start = _spread(self.program)[1]
        found = search_barrier(self.program, self._conic_solver(), start, accept)
        if found.point is None:
            work = found.iterations, found.steps
            self.attempts.append(Attempt("clarabel", "SOLVER_FAILED", found.outcome.upper(), *work))
            return None
        return self._judged("clarabel", Search(found.point, found.steps, found.outcome), found.iterations)

    def _conic_solver(self) -> ConicSolver:
        formulations = self.engine.reference
        if formulations is None:
            return lambda barrier: solve_conic(self.program, barrier)
        unit = scaled(self.problem)

        def solve(barrier: float) -> ConicPoint:
            try:
                found = formulations.risk_budget(unit, self.budgets, barrier, bounded=True)
            except np.linalg.LinAlgError:
                return ConicPoint("not_positive_definite", 0)
            if found.weights is None or found.multipliers is None:
                return ConicPoint(found.outcome, found.iterations)
            lam = found.multipliers
            return ConicPoint(found.outcome, found.iterations, found.weights, lam.upper, lam.rows)

        return solve

    def _judged(
        self, rung: Rung, ended: Search, iterations: int = 0, factorisations: int = 0
    ) -> RiskPoint | None:
        """The point of a search if `check_kkt` accepts it; what it cost is recorded either way."""
        work = iterations + ended.iterations, factorisations + ended.iterations
        if ended.point is None:
            self.attempts.append(Attempt(rung, "SOLVER_FAILED", ended.outcome.upper(), *work))
            return None
        kkt, duals = self._kkt(ended.point)
        self.attempts.append(Attempt(rung, kkt.status, None, *work, kkt.residuals()))
        if kkt.status == "SOLVER_FAILED":
            return None
        self.kkt, self.duals = kkt, duals
        return ended.point

    def _kkt(self, point: RiskPoint) -> tuple[Kkt, dict[str, float]]:
        lam = Multipliers(0.0, np.zeros(len(point.x)), point.caps, point.rows, point.barrier)
        found = judge(self.problem, point.x, lam, "risk_budget", budgets=self.budgets)
        return found, name_duals(self.problem, lam, barrier=True)


def _spread(program: RiskProgram) -> tuple[Array, float]:
    """Inverse volatilities with sum 1, and the λ that they would have."""
    x = 1.0 / np.sqrt(np.diag(program.cov))
    x /= x.sum()
    return x, float(x @ program.cov @ x)


def _fits(problem: Problem, x: Array, slack: float = AT_CAP) -> bool:
    rows = problem.rows
    inside = bool((x <= problem.caps + slack * x).all())
    return inside and bool((rows.matrix @ x <= rows.limit + slack).all())


def _closed_by_caps(program: RiskProgram) -> RiskPoint:
    """Caps that leave one point: x = u, with the smallest λ whose multipliers are not negative."""
    x, pressed = program.upper, program.cov @ program.upper
    barrier = float((x * pressed / program.budgets).max())
    return RiskPoint(x, barrier, barrier * program.budgets / x - pressed, np.zeros(len(program.limit)))


def _two_atoms(program: RiskProgram) -> RiskPoint:
    """x₁/x₂ = r, the positive root of b₂σ₁² r² + (b₂ − b₁)σ₁₂ r − b₁σ₂² = 0."""
    (first, cross), (_, second) = program.cov
    b1, b2 = program.budgets
    half = 0.5 * (b2 - b1) * cross
    root = np.hypot(half, np.sqrt(b1 * b2 * first * second))
    ratio = b1 * second / (half + root) if half > 0.0 else (root - half) / (b2 * first)
    x = np.array([ratio, 1.0]) / (1.0 + ratio)
    return RiskPoint(x, float(x @ program.cov @ x), np.zeros(2), np.zeros(len(program.limit)))
