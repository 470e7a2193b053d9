"""Minimum variance and maximum Sharpe ratio: the two quadratic profiles.

Both are solved by their reference formulation on the scaled problem, judged by `check_kkt`, and
returned in user units. See `reference.py` for the formulas.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.certificate import explain_infeasibility
from quantctl.steps.l4_allocation.kernels.engine import NATIVE, Engine
from quantctl.steps.l4_allocation.kernels.excess import largest_excess
from quantctl.steps.l4_allocation.kernels.formulations import Formulations
from quantctl.steps.l4_allocation.kernels.kkt import (
    Formulation,
    Multipliers,
    active_names,
    check_kkt,
    name_duals,
    net_excess,
)
from quantctl.steps.l4_allocation.kernels.problem import Attempt, Problem, Result
from quantctl.steps.l4_allocation.kernels.scaling import scaled

Array = NDArray[np.float64]

# A ratio whose best numerator is this small beside the largest excess return is not positive.
POSITIVE = 1e-12


def min_variance(problem: Problem, engine: Engine = NATIVE) -> Result:
    """min w'Σw + γm‖w‖² + cm‖w − w_prev‖₁ over budget, bounds, groups and beta row.

    Statuses: OPTIMAL, OPTIMAL_REDUCED_ACCURACY, INFEASIBLE (with certificate), SOLVER_FAILED.
    `engine` : the rungs that may run.
    """
    single = _single_atom(problem, "min_variance")
    if single is not None:
        return single
    solution = (engine.reference or Formulations()).min_variance(scaled(problem))
    if solution.weights is None or solution.multipliers is None:
        return _without_point(problem, solution.outcome, solution.iterations)
    return judged(problem, solution.weights, solution.multipliers, "min_variance", solution.iterations)


def max_sharpe(problem: Problem, engine: Engine = NATIVE) -> Result:
    """max ((μ−rf)'w − c(‖w−w_prev‖₁ + v))/√(w'(Σ+γmI)w): a true ratio, over the same constraints.

    Statuses as `min_variance`, and NON_POSITIVE_EXCESS where the largest numerator, found first by a
    linear program, is at most 1e-12 of the largest |μ − rf|: no weights of a negative ratio exist.
    `notes` holds the ratio with and without γ, annual.
    """
    unit = scaled(problem, turnover_in_returns=True)
    best = largest_excess(unit)
    if best is None:
        return _without_point(problem, "infeasible", 0)
    if best <= POSITIVE:
        scale = float(np.abs(problem.excess).max())
        return Result(
            None, "NON_POSITIVE_EXCESS", notes={"largest_excess": best * scale},
            attempts=(Attempt("excess", "NON_POSITIVE_EXCESS", "NON_POSITIVE_EXCESS"),),
        )  # fmt: skip
    single = _single_atom(problem, "max_sharpe")
    if single is not None:
        return single
    solution = (engine.reference or Formulations()).max_sharpe(unit)
    if solution.weights is None or solution.multipliers is None:
        return _without_point(problem, solution.outcome, solution.iterations)
    return judged(problem, solution.weights, solution.multipliers, "max_sharpe", solution.iterations)


def judged(
    problem: Problem,
    weights: Array,
    multipliers: Multipliers,
    formulation: Formulation,
    iterations: int,
    rung: str = "clarabel",
) -> Result:
    """The result of a claimed optimum: clipped to its bounds, then judged by `check_kkt`."""
    clipped = np.clip(weights, problem.floors, problem.caps)
    lam = multipliers._replace(
        lower=np.maximum(multipliers.lower, 0.0),
        upper=np.maximum(multipliers.upper, 0.0),
        rows=np.maximum(multipliers.rows, 0.0),
    )
    duals = name_duals(problem, lam)
    kkt = check_kkt(problem, clipped, duals, formulation=formulation)
    attempt = Attempt(rung, kkt.status, None, iterations, 0, kkt.residuals())
    if kkt.status == "SOLVER_FAILED":
        return Result(None, "SOLVER_FAILED", kkt=kkt, attempts=(attempt,))
    objective, penalised = _objectives(problem, clipped, formulation)
    return Result(
        clipped, kkt.status, objective, penalised, kkt, duals, active_names(problem, clipped), (attempt,),
        warnings=("OPTIMAL_REDUCED_ACCURACY",) if kkt.status != "OPTIMAL" else (),
        notes={"ratio": objective, "ratio_penalised": penalised} if formulation == "max_sharpe" else {},
    )  # fmt: skip


def _objectives(problem: Problem, weights: Array, formulation: Formulation) -> tuple[float, float]:
    """Value without and with penalties, in user units."""
    variance = float(weights @ problem.cov @ weights)
    ridge = problem.l2 * problem.mean_variance * float(weights @ weights)
    if formulation == "max_sharpe":
        gross, net = float(problem.excess @ weights), net_excess(problem, weights)
        return gross / variance**0.5, net / (variance + ridge) ** 0.5
    traded = 0.0 if problem.w_prev is None else float(np.abs(weights - problem.w_prev).sum())
    return variance, variance + ridge + problem.turnover * problem.mean_variance * traded


def _single_atom(problem: Problem, formulation: Formulation) -> Result | None:
    """Rung 1: one atom takes everything, if the rows permit."""
    if problem.size > 1:
        return None
    certificate = explain_infeasibility(problem)
    if certificate is not None:
        return _infeasible(certificate, (Attempt("closed_form", "INFEASIBLE", "INFEASIBLE"),))
    weights = np.ones(1)
    objective, penalised = _objectives(problem, weights, formulation)
    return Result(
        weights, "OPTIMAL", objective, penalised, active=active_names(problem, weights),
        attempts=(Attempt("closed_form", "OPTIMAL"),),
    )  # fmt: skip


def _without_point(problem: Problem, outcome: str, iterations: int) -> Result:
    """Infeasible with a verified certificate, or else a failure of the solver: nothing in between."""
    attempts = (Attempt("clarabel", outcome, outcome.upper(), iterations),)
    certificate = explain_infeasibility(problem)
    if certificate is None:
        return Result(None, "SOLVER_FAILED", attempts=attempts)
    return _infeasible(certificate, (*attempts, Attempt("certificate", "INFEASIBLE", certificate["code"])))


def _infeasible(certificate: dict[str, object], attempts: tuple[Attempt, ...]) -> Result:
    return Result(None, "INFEASIBLE", attempts=attempts, certificate=certificate)
