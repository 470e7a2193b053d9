"""Risk budgeting and equal risk contribution, with caps.

Uncapped (Maillard, Roncalli & Teïletche 2010; Spinu 2013):

    x* = argmin ½x'Σx − Σ_i b_i ln x_i,   w = x*/1'x*   ⇒   w_i(Σw)_i = b_i · w'Σw

With caps (Richard & Roncalli 2019): w = x(λ) = argmin {½x'Σx − λ Σ b ln x : x ≤ u, G x ≤ h} for the
smallest λ with 1'x(λ) = 1. Caps are absolute in x; a budget row would leak its multiplier into every
name. A conic solver only starts the search: Newton steps on

    Σx − λ b/x + G_A'ν = 0 (free names),   1'x = 1,   G_A x = h_A

finish it, and `check_kkt` judges.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import ConfigError
from quantctl.steps.l4_allocation.kernels.certificate import explain_infeasibility
from quantctl.steps.l4_allocation.kernels.engine import NATIVE, Engine
from quantctl.steps.l4_allocation.kernels.formulations import Formulations
from quantctl.steps.l4_allocation.kernels.kkt import Multipliers, active_names, check_kkt, name_duals
from quantctl.steps.l4_allocation.kernels.problem import Attempt, Kkt, Mask, Problem, Result, restricted
from quantctl.steps.l4_allocation.kernels.scaling import scaled

Array = NDArray[np.float64]

NEWTON_STEPS = 8
SEARCH_STEPS = 60
AT_CAP = 1e-12


class Point(NamedTuple):
    """A candidate: weights, multipliers and its judgement."""

    weights: Array
    multipliers: Multipliers
    kkt: Kkt


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
    part, shares = restricted(problem, keep), budgets[keep] / budgets[keep].sum()
    search = _Search(scaled(replace(part, l2=0.0, turnover=0.0)), shares, engine.reference or Formulations())
    point = search.run()
    if point is None:
        return _failure(part, tuple(search.attempts))
    weights = np.zeros(problem.size)
    weights[keep] = point.weights
    variance = float(weights @ problem.cov @ weights)
    return Result(
        weights, point.kkt.status, variance, variance, point.kkt,
        name_duals(part, point.multipliers, barrier=True), active_names(part, point.weights),
        tuple(search.attempts),
        warnings=("OPTIMAL_REDUCED_ACCURACY",) if point.kkt.status != "OPTIMAL" else (),
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


def _failure(problem: Problem, attempts: tuple[Attempt, ...]) -> Result:
    certificate = explain_infeasibility(problem)
    if certificate is None:
        return Result(None, "SOLVER_FAILED", attempts=attempts)
    final = Attempt("certificate", "INFEASIBLE", certificate["code"])
    return Result(None, "INFEASIBLE", attempts=(*attempts, final), certificate=certificate)


class _Search:
    """The search for λ on one scaled problem, and its record of attempts."""

    def __init__(self, unit: Problem, budgets: Array, formulations: Formulations) -> None:
        self.unit, self.budgets, self.formulations = unit, budgets, formulations
        self.attempts: list[Attempt] = []

    def run(self) -> Point | None:
        """The accepted point, or null."""
        free = self._uncapped()
        if free is None:
            return None
        if self._fits(free.weights):
            idle = np.zeros(len(self.unit.rows.names))
            return free._replace(multipliers=free.multipliers._replace(rows=idle))
        if explain_infeasibility(self.unit) is not None:
            return None
        return self._closed_by_caps() or self._capped(free.multipliers.barrier)

    def _uncapped(self) -> Point | None:
        """Newton from the inverse volatilities where that suffices, else from the conic solution."""
        bare = replace(self.unit, upper=None, groups=())
        solution = self.formulations.risk_budget(bare, self.budgets, 1.0, bounded=False)
        self._record(solution.outcome, solution.iterations)
        if solution.weights is None:
            return None
        total = float(solution.weights.sum())
        none = np.zeros(bare.size, dtype=np.bool_)
        return self._polished(bare, solution.weights / total, total**-2, none, np.zeros(0, dtype=np.bool_))

    def _fits(self, weights: Array) -> bool:
        rows = self.unit.rows
        return bool((weights <= self.unit.caps).all() and (rows.matrix @ weights <= rows.limit).all())

    def _closed_by_caps(self) -> Point | None:
        """Caps that leave one point: w = u, with the smallest λ whose multipliers are not negative."""
        upper = self.unit.caps
        if abs(float(upper.sum()) - 1.0) > AT_CAP:
            return None
        pressed = self.unit.cov @ upper
        barrier = float((upper * pressed / self.budgets).max())
        cap = barrier * self.budgets / upper - pressed
        none = np.zeros(self.unit.size)
        lam = Multipliers(0.0, none, cap, np.zeros(len(self.unit.rows.names)), barrier)
        return self._judge(self.unit, upper, lam, 0, rung="closed_form")

    def _capped(self, barrier: float) -> Point | None:
        """Bracket and bisect ln λ; every x(λ) starts a polish, the first accepted one ends the search."""
        low, high = 0.0, 0.0
        for _ in range(SEARCH_STEPS):
            solution = self.formulations.risk_budget(self.unit, self.budgets, barrier, bounded=True)
            self._record(solution.outcome, solution.iterations)
            if solution.weights is None or solution.multipliers is None:
                return None
            point = self._from(np.asarray(solution.weights), solution.multipliers)
            if point is not None:
                return point
            if float(solution.weights.sum()) < 1.0 - 1e-7:
                low = barrier
            else:
                high = barrier
            barrier = 2.0 * barrier if high == 0.0 else barrier / 2.0 if low == 0.0 else (low * high) ** 0.5
        return None

    def _from(self, x: Array, lam: Multipliers) -> Point | None:
        """Polish on the active set that the multipliers show, or on it less one redundant row."""
        rows = self.unit.rows
        at_cap = lam.upper > self.unit.caps - x
        at_row = lam.rows > rows.limit - rows.matrix @ x
        at_row &= (rows.matrix[:, ~at_cap] != 0.0).any(axis=1) if rows.names else at_row
        start = np.where(at_cap, self.unit.caps, x)
        if not _sum_is_redundant(rows.matrix[at_row][:, ~at_cap]):
            return self._polished(self.unit, start, lam.barrier, at_cap, at_row)
        for caps, fewer in _relieved(lam, rows.matrix, at_cap, at_row):
            point = self._polished(self.unit, start, lam.barrier, caps, fewer)
            if point is not None:
                return point
        return None

    def _polished(self, unit: Problem, x: Array, barrier: float, at_cap: Mask, at_row: Mask) -> Point | None:
        ended = _newton(unit, self.budgets, x, barrier, at_cap, at_row)
        if ended is None:
            return None
        x, barrier, nu, steps = ended
        rows = np.zeros(len(unit.rows.names))
        rows[at_row] = nu
        slope = barrier * self.budgets / x - unit.cov @ x - unit.rows.matrix.T @ rows
        cap = np.where(at_cap, slope, 0.0)
        return self._judge(unit, x, Multipliers(0.0, np.zeros(unit.size), cap, rows, barrier), steps)

    def _judge(
        self, unit: Problem, x: Array, lam: Multipliers, steps: int, rung: str = "newton"
    ) -> Point | None:
        kkt = check_kkt(unit, x, name_duals(unit, lam, barrier=True), formulation="risk_budget",
                        budgets=self.budgets)  # fmt: skip
        self.attempts.append(Attempt(rung, kkt.status, None, steps, steps, kkt.residuals()))
        return None if kkt.status == "SOLVER_FAILED" else Point(x, lam, kkt)

    def _record(self, outcome: str, iterations: int) -> None:
        self.attempts.append(Attempt("clarabel", outcome, None, iterations))


def _relieved(lam: Multipliers, matrix: Array, at_cap: Mask, at_row: Mask) -> list[tuple[Mask, Mask]]:
    """Active sets less one member, smallest multiplier first: at the smallest λ one of them is zero."""
    pressure = lam.upper + matrix.T @ lam.rows
    spare = [(float(lam.rows[r]), 0, int(r)) for r in np.flatnonzero(at_row)]
    spare += [(float(pressure[i]), 1, int(i)) for i in np.flatnonzero(at_cap)]
    found = []
    for _, is_name, index in sorted(spare):
        sets = (at_row.copy(), at_cap.copy())
        sets[is_name][index] = False
        found.append((sets[1], sets[0]))
    return found


def _sum_is_redundant(matrix: Array) -> bool:
    """Whether the active rows already fix the sum of the free names."""
    if matrix.shape[1] == 0 or matrix.shape[0] == 0:
        return bool(matrix.shape[1] == 0)
    stacked = np.vstack([matrix, np.ones(matrix.shape[1])])
    return bool(np.linalg.matrix_rank(stacked) == np.linalg.matrix_rank(matrix))


def _newton(
    unit: Problem, budgets: Array, x: Array, barrier: float, at_cap: Mask, at_row: Mask
) -> tuple[Array, float, Array, int] | None:
    """Newton on the module's equations; null where the iterates leave x > 0 or the system is singular.

    Unknowns are the free names, λ and ν of the active rows. Steps are shortened to keep x positive.
    """
    free, matrix, limit = ~at_cap, unit.rows.matrix[at_row], unit.rows.limit[at_row]
    x, count = x.copy(), int(free.sum())
    nu: Array = np.zeros(int(at_row.sum()))
    if count == 0:
        return None
    if len(nu):
        pressed = barrier * budgets / x - unit.cov @ x
        nu = np.asarray(np.linalg.lstsq(matrix[:, free].T, pressed[free], rcond=None)[0], dtype=np.float64)
    rows = np.vstack([np.ones(count), matrix[:, free]])
    for step in range(NEWTON_STEPS):
        slope = unit.cov @ x - barrier * budgets / x + matrix.T @ nu
        residual = np.concatenate([slope[free], [x.sum() - 1.0], matrix @ x - limit])
        scale = np.concatenate([barrier * budgets[free] / x[free], np.ones(len(nu) + 1)])
        if float(np.abs(residual / scale).max()) < 1e-14:
            return x, barrier, nu, step
        jacobian = np.zeros((len(residual), len(residual)))
        jacobian[:count, :count] = unit.cov[np.ix_(free, free)]
        jacobian[np.arange(count), np.arange(count)] += barrier * budgets[free] / x[free] ** 2
        jacobian[:count, count] = -budgets[free] / x[free]
        jacobian[:count, count + 1 :] = matrix[:, free].T
        jacobian[count:, :count] = rows
        try:
            move = np.linalg.solve(jacobian, -residual)
        except np.linalg.LinAlgError:
            return None
        fall = -move[:count] / x[free]
        length = min(1.0, 0.9 / float(fall.max())) if fall.max() > 0.0 else 1.0
        x[free] += length * move[:count]
        barrier += length * float(move[count])
        nu = nu + length * move[count + 1 :]
        if barrier <= 0.0:
            return None
    return x, barrier, nu, NEWTON_STEPS
