"""Optimality, checked from the problem's data and the returned multipliers alone.

For min f(w) over 1'w = 1, l ≤ w ≤ u, G w ≤ h the check is

    ∇f(w) + ν 1 − λ_l + λ_u + G'λ = 0,   λ ≥ 0,   λ_j · slack_j = 0,   w feasible

on the scaled problem. A kink c‖w − w_prev‖₁ adds ±c where a weight moved, anything in [−c, c] where it
did not. Stationarity, complementarity and gap are relative to ‖∇f‖_∞ (for a ratio, to that of its
numerator's term, since the two terms of ∇f cancel). Risk budgeting has
no budget multiplier: its system is Σw − λ b/w + λ_u + G'λ = 0 (Richard & Roncalli 2019, Constrained
risk budgeting portfolios), and its stationarity is relative to λ b_i, atom by atom.

Nothing here knows which solver, rung or start produced the point.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.problem import Kkt, Problem, Status
from quantctl.steps.l4_allocation.kernels.scaling import scaled

Array = NDArray[np.float64]
Formulation = Literal["min_variance", "max_sharpe", "risk_budget"]

# primal violation, stationarity and dual sign (relative), complementarity and gap
CLASSES: tuple[tuple[Status, float, float, float], ...] = (
    ("OPTIMAL", 1e-10, 1e-8, 1e-8),
    ("OPTIMAL_REDUCED_ACCURACY", 1e-7, 1e-6, 1e-6),
)
MOVED = 1e-9


class Multipliers(NamedTuple):
    """Duals as arrays: budget (signed), lower and upper (N,), rows (R,), barrier λ of risk budgeting."""

    budget: float
    lower: Array
    upper: Array
    rows: Array
    barrier: float


def check_kkt(
    problem: Problem,
    weights: Array,
    duals: Mapping[str, float],
    *,
    formulation: Formulation = "min_variance",
    budgets: Array | None = None,
) -> Kkt:
    """Residuals and class of `weights` with `duals`.

    Parameters
    ----------
    problem : in user units; it is scaled here
    weights : ndarray of shape (N,)
    duals : constraint name -> multiplier on the scaled problem; absent names are 0
    formulation : whose objective is claimed to be optimal
    budgets : ndarray of shape (N,), positive, summing to 1; needed by `risk_budget`

    The class is `SOLVER_FAILED` where neither accuracy class of the ladder is met. O(N² + R N).
    """
    of_budgets = formulation == "risk_budget"
    unit = problem if of_budgets else scaled(problem, turnover_in_returns=formulation == "max_sharpe")
    if not np.isfinite(weights).all() or (of_budgets and not (weights > 0.0).all()):
        return Kkt(np.inf, np.inf, np.inf, np.inf, "SOLVER_FAILED")
    lam = read_duals(unit, duals)
    primal = primal_violation(unit, weights)
    size = np.ones(unit.size)
    if of_budgets:
        gradient, kink = _risk_budget_gradient(unit, weights, lam.barrier, budgets)
        assert budgets is not None
        size = lam.barrier * budgets / weights
        lam = lam._replace(budget=0.0)
    else:
        gradient, kink = gradient_of(unit, weights, formulation)
        size = size * max(_magnitude(unit, weights, gradient, formulation), 1e-300)
    worth = max(float(np.abs(weights) @ size), 1e-300)
    stationarity = _stationarity(unit, weights, gradient, kink, lam)
    sign = max((-float(v.min()) for v in (lam.lower, lam.upper, lam.rows) if v.size), default=0.0)
    dual = max(float((np.abs(stationarity) / size).max()), sign / float(size.max()))
    products = _products(unit, weights, lam)
    complementarity = float(np.abs(products).max()) / worth
    gap = abs(float(products.sum())) / worth
    return Kkt(primal, dual, complementarity, gap, _class_of(primal, dual, complementarity, gap))


def read_duals(problem: Problem, duals: Mapping[str, float]) -> Multipliers:
    """The named multipliers as arrays in the order of `problem`."""
    return Multipliers(
        duals.get("budget", 0.0),
        _of_bounds("weight_min", problem, duals),
        _of_bounds("weight_max", problem, duals),
        np.array([duals.get(name, 0.0) for name in problem.rows.names]),
        duals.get("barrier", 0.0),
    )


def _of_bounds(kind: str, problem: Problem, duals: Mapping[str, float]) -> Array:
    """The multipliers of one kind of bound; few are not 0, so names are made for none of the others."""
    start = len(kind) + 1
    given = {name[start:-1]: value for name, value in duals.items() if name.startswith(f"{kind}[")}
    return np.array([given.get(name, 0.0) for name in problem.names]) if given else np.zeros(problem.size)


def name_duals(problem: Problem, multipliers: Multipliers, *, barrier: bool = False) -> dict[str, float]:
    """The non-zero multipliers by constraint name, budget (or barrier) first."""
    first = {"barrier": multipliers.barrier} if barrier else {"budget": multipliers.budget}
    return (
        first
        | {f"weight_min[{problem.names[i]}]": lam for i, lam in _nonzero(multipliers.lower)}
        | {f"weight_max[{problem.names[i]}]": lam for i, lam in _nonzero(multipliers.upper)}
        | {problem.rows.names[i]: lam for i, lam in _nonzero(multipliers.rows)}
    )


def _nonzero(values: Array) -> list[tuple[int, float]]:
    return [(int(i), float(values[i])) for i in np.flatnonzero(values)]


def primal_violation(problem: Problem, weights: Array) -> float:
    """Largest violation of budget, bounds and rows; 0 or more."""
    rows = problem.rows
    parts = [
        abs(float(weights.sum()) - 1.0),
        float((problem.floors - weights).max()),
        float((weights - problem.caps).max()),
        float((rows.matrix @ weights - rows.limit).max()) if rows.names else 0.0,
    ]
    return max(0.0, *parts)


def active_names(problem: Problem, weights: Array, tolerance: float = 1e-9) -> tuple[str, ...]:
    """Names of the bounds and rows with slack at most `tolerance`."""
    rows = problem.rows
    low = np.flatnonzero(weights - problem.floors <= tolerance)
    high = np.flatnonzero(problem.caps - weights <= tolerance)
    slack = rows.limit - rows.matrix @ weights
    return (
        *(f"weight_min[{problem.names[i]}]" for i in low),
        *(f"weight_max[{problem.names[i]}]" for i in high),
        *(rows.names[i] for i in np.flatnonzero(slack <= tolerance)),
    )


def gradient_of(problem: Problem, weights: Array, formulation: Formulation) -> tuple[Array, float]:
    """∇f of the smooth part and the weight c of the kink, for a scaled `problem`.

    min_variance : f = w'Σw + γm‖w‖²;  max_sharpe : f = −ln of the ratio of the penalised problem.
    """
    pressed = problem.cov @ weights + problem.l2 * problem.mean_variance * weights
    if formulation == "min_variance":
        return 2.0 * pressed, problem.turnover * problem.mean_variance
    numerator = net_excess(problem, weights)
    if numerator <= 0.0:
        return np.full(problem.size, np.inf), 0.0
    gradient = pressed / float(weights @ pressed) - problem.excess / numerator
    return gradient, problem.turnover / numerator


def _magnitude(problem: Problem, weights: Array, gradient: Array, formulation: Formulation) -> float:
    """Size of what stationarity balances; a ratio's two terms cancel at the tangency portfolio."""
    if formulation != "max_sharpe":
        return float(np.abs(gradient).max())
    numerator = net_excess(problem, weights)
    return float(np.abs(problem.excess).max()) / numerator if numerator > 0.0 else np.inf


def net_excess(problem: Problem, weights: Array) -> float:
    """(μ − rf)'w − c(‖w − w_prev‖₁ + v): the numerator of the ratio."""
    gross = float(problem.excess @ weights)
    if problem.w_prev is None or problem.turnover == 0.0:
        return gross
    traded = float(np.abs(weights - problem.w_prev).sum()) + problem.exit_turnover
    return gross - problem.turnover * traded


def _risk_budget_gradient(
    problem: Problem, weights: Array, barrier: float, budgets: Array | None
) -> tuple[Array, float]:
    if budgets is None:
        raise ValueError("risk_budget is checked against budgets")
    return problem.cov @ weights / problem.mean_variance - barrier * budgets / weights, 0.0


def _stationarity(problem: Problem, weights: Array, gradient: Array, kink: float, lam: Multipliers) -> Array:
    residual = gradient + lam.budget - lam.lower + lam.upper + problem.rows.matrix.T @ lam.rows
    if problem.w_prev is None or kink == 0.0:
        return residual
    moved = weights - problem.w_prev
    slope = np.where(np.abs(moved) > MOVED, kink * np.sign(moved), np.clip(-residual, -kink, kink))
    return np.asarray(residual + slope)


def _products(problem: Problem, weights: Array, lam: Multipliers) -> Array:
    rows = problem.rows
    return np.concatenate(
        [
            lam.lower * (weights - problem.floors),
            lam.upper * (problem.caps - weights),
            lam.rows * (rows.limit - rows.matrix @ weights),
        ]
    )


def _class_of(primal: float, dual: float, complementarity: float, gap: float) -> Status:
    for status, feasible, stationary, complementary in CLASSES:
        if primal <= feasible and dual <= stationary and max(complementarity, gap) <= complementary:
            return status
    return "SOLVER_FAILED"
