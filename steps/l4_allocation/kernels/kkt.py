"""Optimality, checked from the problem's data and the returned multipliers alone.

For min f(w) over 1'w = 1, l ≤ w ≤ u, G w ≤ h the check is

    ∇f(w) + ν 1 − λ_l + λ_u + G'λ = 0,   λ ≥ 0,   λ_j · slack_j = 0,   w feasible

on the scaled problem. A kink c‖w − w_prev‖₁ adds ±c where a weight moved, anything in [−c, c] where it
did not. Stationarity, complementarity and gap are relative to the size of ∇f: ‖∇f‖_∞ of a variance, the
larger of its two terms where risk and return cancel. Scaling is done with the two scalars of
`scaling.py`; Σ is multiplied once and never copied. Risk budgeting has no budget multiplier: its system
is Σw − λ b/w + λ_u + G'λ = 0 (Richard & Roncalli 2019, Constrained risk budgeting portfolios), and its
stationarity is relative to λ b_i, atom by atom.

Nothing here knows which solver, rung or start produced the point.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.problem import Kkt, Problem, Status
from quantctl.steps.l4_allocation.kernels.scaling import scale_of

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Formulation = Literal["min_variance", "max_sharpe", "max_diversification", "mean_variance", "risk_budget"]
RATIOS: tuple[Formulation, ...] = ("max_sharpe", "max_diversification")

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


class Gradient(NamedTuple):
    """∇f of the smooth part (N,), the weight of the kink, and the size of what stationarity balances:
    a scalar, or (N,) for risk budgets. `worth` is |w|'size."""

    smooth: Array
    kink: float
    size: float | Array
    worth: float


def check_kkt(
    problem: Problem,
    weights: Array,
    duals: Mapping[str, float],
    *,
    formulation: Formulation = "min_variance",
    budgets: Array | None = None,
    risk_aversion: float = 1.0,
) -> Kkt:
    """Residuals and class of `weights` with `duals`.

    Parameters
    ----------
    problem : in user units
    weights : ndarray of shape (N,)
    duals : constraint name -> multiplier on the scaled problem; absent names are 0
    formulation : whose objective is claimed to be optimal
    budgets : ndarray of shape (N,), positive, summing to 1; needed by `risk_budget`
    risk_aversion : g of `mean_variance`

    The class is `SOLVER_FAILED` where neither accuracy class of the ladder is met. One product with Σ:
    O(N² + R N).
    """
    lam = read_duals(problem, duals)
    return judge(problem, weights, lam, formulation, budgets=budgets, risk_aversion=risk_aversion)


def judge(
    problem: Problem,
    weights: Array,
    lam: Multipliers,
    formulation: Formulation,
    *,
    budgets: Array | None = None,
    risk_aversion: float = 1.0,
) -> Kkt:
    """`check_kkt` of multipliers that already stand in the order of `problem`."""
    failed = Kkt(np.inf, np.inf, np.inf, np.inf, "SOLVER_FAILED")
    if not np.isfinite(weights).all():
        return failed
    if formulation == "risk_budget":
        if not (weights > 0.0).all():
            return failed
        gradient = _risk_budget_gradient(problem, weights, lam.barrier, budgets)
        lam = lam._replace(budget=0.0)
    else:
        found = gradient_of(problem, weights, formulation, risk_aversion)
        if found is None:
            return failed
        gradient = found
    rows = problem.rows
    slack = np.concatenate(
        (weights - problem.floors, problem.caps - weights, rows.limit - rows.matrix @ weights)
    )
    multipliers = np.concatenate((lam.lower, lam.upper, lam.rows))
    primal = max(0.0, abs(float(weights.sum()) - 1.0), -float(slack.min()))
    stationarity = np.abs(_stationarity(problem, weights, gradient, lam)) / gradient.size
    size = gradient.size
    sign = -float(multipliers.min()) / (size if isinstance(size, float) else float(size.max()))
    dual = max(float(stationarity.max()), sign)
    products = multipliers * slack
    complementarity = float(np.abs(products).max()) / gradient.worth
    gap = abs(float(products.sum())) / gradient.worth
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
    duals = {"barrier": multipliers.barrier} if barrier else {"budget": multipliers.budget}
    low, high = _bound_names(problem.names)
    named = ((low, multipliers.lower), (high, multipliers.upper), (problem.rows.names, multipliers.rows))
    for names, values in named:
        places = values.nonzero()[0]
        duals.update(zip(_chosen(names, places), values[places].tolist(), strict=True))
    return duals


@lru_cache(maxsize=16)
def _bound_names(names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Constraint names of the lower and upper bounds of atoms."""
    return tuple(f"weight_min[{name}]" for name in names), tuple(f"weight_max[{name}]" for name in names)


def _chosen(names: tuple[str, ...], places: Index) -> list[str]:
    return [names[i] for i in places.tolist()]


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
    low, high = _bound_names(problem.names)
    slack = rows.limit - rows.matrix @ weights
    return (
        *_chosen(low, (weights - problem.floors <= tolerance).nonzero()[0]),
        *_chosen(high, (problem.caps - weights <= tolerance).nonzero()[0]),
        *_chosen(rows.names, (slack <= tolerance).nonzero()[0]),
    )


def gradient_of(
    problem: Problem, weights: Array, formulation: Formulation, risk_aversion: float = 1.0
) -> Gradient | None:
    """∇f, kink and size in scaled units; null where a ratio's numerator is not positive.

    min_variance : f = w'Σ'w + γ‖w‖²;  mean_variance : f = (½g w'Σw − (μ−rf)'w + γm‖w‖²)/s_μ
    max_sharpe, max_diversification : f = −ln of the ratio, whose units cancel
    """
    if formulation == "mean_variance":
        scale = scale_of(problem)
        pressed = risk_aversion * (problem.cov @ weights) + 2.0 * problem.l2 * scale.variance * weights
        smooth = (pressed - problem.excess) / scale.excess
        size = max(float(np.abs(pressed).max()), float(np.abs(problem.excess).max())) / scale.excess
        return _sized(smooth, problem.turnover / scale.excess, size, weights)
    pressed = problem.cov @ weights / problem.mean_variance
    if formulation == "max_diversification":
        gain, kink, numerator = problem.volatilities, 0.0, float(problem.volatilities @ weights)
    else:
        pressed += problem.l2 * weights
        if formulation == "min_variance":
            return _sized(2.0 * pressed, problem.turnover, 2.0 * float(np.abs(pressed).max()), weights)
        gain, kink, numerator = problem.excess, problem.turnover, net_excess(problem, weights)
    if not numerator > 0.0:
        return None
    smooth = pressed / float(weights @ pressed) - gain / numerator
    return _sized(smooth, kink / numerator, float(np.abs(gain).max()) / numerator, weights)


def _sized(smooth: Array, kink: float, size: float, weights: Array) -> Gradient:
    size = max(size, 1e-300)
    return Gradient(smooth, kink, size, max(size * float(np.abs(weights).sum()), 1e-300))


def net_excess(problem: Problem, weights: Array) -> float:
    """(μ − rf)'w − c(‖w − w_prev‖₁ + v): the numerator of the ratio."""
    gross = float(problem.excess @ weights)
    if problem.w_prev is None or problem.turnover == 0.0:
        return gross
    traded = float(np.abs(weights - problem.w_prev).sum()) + problem.exit_turnover
    return gross - problem.turnover * traded


def _risk_budget_gradient(
    problem: Problem, weights: Array, barrier: float, budgets: Array | None
) -> Gradient:
    if budgets is None:
        raise ValueError("risk_budget is checked against budgets")
    size = barrier * budgets / weights
    smooth = problem.cov @ weights / problem.mean_variance - size
    return Gradient(smooth, 0.0, size, max(float(np.abs(weights) @ size), 1e-300))


def _stationarity(problem: Problem, weights: Array, gradient: Gradient, lam: Multipliers) -> Array:
    residual = gradient.smooth + lam.budget - lam.lower + lam.upper
    if lam.rows.size:
        residual += lam.rows @ problem.rows.matrix
    kink = gradient.kink
    if problem.w_prev is None or kink == 0.0:
        return residual
    moved = weights - problem.w_prev
    slope = np.where(np.abs(moved) > MOVED, kink * np.sign(moved), np.clip(-residual, -kink, kink))
    return np.asarray(residual + slope)


def _class_of(primal: float, dual: float, complementarity: float, gap: float) -> Status:
    for status, feasible, stationary, complementary in CLASSES:
        if primal <= feasible and dual <= stationary and max(complementarity, gap) <= complementary:
            return status
    return "SOLVER_FAILED"
