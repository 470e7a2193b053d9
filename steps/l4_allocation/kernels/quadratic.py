"""The climb that the quadratic profiles share: rung after rung of the ladder, each claim judged.

    closed_form → fast (active set) → ipm → polish (active set on the ipm's sets) → clarabel → certificate

A profile gives its `Program` and the name of its formulation; `check_kkt` never sees the rung. Where all
rungs fail, an empty feasible set is proven by a certificate, or the status is SOLVER_FAILED.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels import active_set, conic, interior_point
from quantctl.steps.l4_allocation.kernels.certificate import explain_infeasibility
from quantctl.steps.l4_allocation.kernels.closed_form import two_atoms
from quantctl.steps.l4_allocation.kernels.engine import Engine, Rung
from quantctl.steps.l4_allocation.kernels.formulations import Formulations
from quantctl.steps.l4_allocation.kernels.kkt import (
    RATIOS,
    Formulation,
    active_names,
    gradient_of,
    judge,
    name_duals,
    net_excess,
)
from quantctl.steps.l4_allocation.kernels.problem import ACCEPTED, Attempt, Kkt, Problem, Result
from quantctl.steps.l4_allocation.kernels.program import Optimum, Program

Array = NDArray[np.float64]
Posed = Callable[[Formulations], Optimum]
Refusal = Callable[[], Result | None]


@dataclass
class Climb:
    """One profile's way up the ladder.

    program : the profile in common form; posed : its readable formulation, for an engine with reference
    start : weights (N,) near the optimum, or null; refuses : what may end the climb with a status of the
        profile's own, asked once the fast kernel has no accepted point
    """

    problem: Problem
    formulation: Formulation
    program: Program
    posed: Posed
    engine: Engine
    start: Array | None = None
    risk_aversion: float = 1.0
    refuses: Refusal | None = None
    attempts: list[Attempt] = field(default_factory=list)

    @cached_property
    def certificate(self) -> dict[str, Any] | None:
        """Why no weights exist, or null."""
        return explain_infeasibility(self.problem)

    def run(self) -> Result:
        """The accepted result, or the typed failure with all attempts."""
        if self.problem.size == 1:
            return self._single_atom()
        result = self._closed_form() or self._fast()
        if result is None and self.refuses:
            result = self.refuses()
        return result or self._interior() or self._conic() or self._without_point()

    def _closed_form(self) -> Result | None:
        if self.problem.size != 2 or not self.engine.has("closed_form"):
            return None
        found = two_atoms(self.program)
        return None if found is None else self._judged("closed_form", found)

    def _fast(self) -> Result | None:
        if not self.engine.has("fast"):
            return None
        return self._judged("fast", active_set.solve(self.program, self.start))

    def _interior(self) -> Result | None:
        """The interior point; its sets start the active set, so that the bits are those of the fast rung."""
        if not self.engine.has("ipm"):
            return None
        found = self._held(interior_point.solve(self.program))
        if found.outcome == "infeasible" and self.certificate is not None:
            work = found.iterations, found.factorisations
            self.attempts.append(Attempt("ipm", "infeasible", "INFEASIBLE", *work))
            return self._infeasible(self.certificate)
        return self._polished(found, self._judged("ipm", found))

    def _polished(self, found: Optimum, result: Result | None) -> Result | None:
        """The active set's result from the sets of `found`, or `result` where that is no worse."""
        if not self.engine.has("polish") or found.weights is None or found.multipliers is None:
            return result
        program, weights, lam = self.program, found.weights, found.multipliers
        rows = lam.rows > program.limit - program.rows @ weights
        weights = np.where(lam.lower > weights - program.lower, program.lower, weights)
        weights = np.where(lam.upper > program.upper - weights, program.upper, weights)
        polished = self._judged("polish", active_set.solve(program, weights, rows))
        if polished is not None and (result is None or polished.status == "OPTIMAL"):
            return polished
        return result

    def _conic(self) -> Result | None:
        if not self.engine.has("clarabel"):
            return None
        if self.engine.reference is not None:
            return self._judged("clarabel", self.posed(self.engine.reference))
        found = self._held(conic.solve(self.program))
        result = self._judged("clarabel", found)
        if result is not None and result.status == "OPTIMAL":
            return result
        return self._polished(found, result)

    def _held(self, found: Optimum) -> Optimum:
        """A claim from inside, with names at w₀ where the kink outweighs their distance from it."""
        program, weights, lam = self.program, found.weights, found.multipliers
        if weights is None or lam is None or program.previous is None:
            return found
        gradient = gradient_of(self.problem, weights, self.formulation, self.risk_aversion)
        if gradient is None:
            return found
        left = gradient.smooth + lam.budget - lam.lower + lam.upper + lam.rows @ program.rows
        held = gradient.kink - np.abs(left) > np.abs(weights - program.previous)
        return replace(found, weights=np.where(held, program.previous, weights))

    def _judged(self, rung: Rung, found: Optimum) -> Result | None:
        """The result of a claim, clipped to its bounds, if `check_kkt` accepts it."""
        work = found.iterations, found.factorisations
        if found.weights is None or found.multipliers is None:
            self.attempts.append(Attempt(rung, found.outcome, found.outcome.upper(), *work))
            return None
        problem = self.problem
        weights = np.minimum(np.maximum(found.weights, problem.floors), problem.caps)
        lam = found.multipliers._replace(
            lower=np.maximum(found.multipliers.lower, 0.0), upper=np.maximum(found.multipliers.upper, 0.0),
            rows=np.maximum(found.multipliers.rows, 0.0),
        )  # fmt: skip
        kkt = judge(problem, weights, lam, self.formulation, risk_aversion=self.risk_aversion)
        code = None if kkt.status in ACCEPTED else kkt.status
        self.attempts.append(Attempt(rung, kkt.status, code, *work, kkt.residuals()))
        if kkt.status not in ACCEPTED:
            return None
        return self._result(weights, kkt, name_duals(problem, lam))

    def _result(self, weights: Array, kkt: Kkt | None, duals: dict[str, float]) -> Result:
        status = "OPTIMAL" if kkt is None else kkt.status
        objective, penalised = objectives(self.problem, weights, self.formulation, self.risk_aversion)
        ratio = self.formulation in RATIOS
        return Result(
            weights, status, objective, penalised, kkt, duals, active_names(self.problem, weights),
            tuple(self.attempts),
            warnings=("OPTIMAL_REDUCED_ACCURACY",) if status != "OPTIMAL" else (),
            notes={"ratio": objective, "ratio_penalised": penalised} if ratio else {},
        )  # fmt: skip

    def _single_atom(self) -> Result:
        """One atom takes everything, if the rows permit and the profile does not refuse."""
        if self.certificate is not None:
            attempt = Attempt("closed_form", "INFEASIBLE", "INFEASIBLE")
            return Result(None, "INFEASIBLE", attempts=(attempt,), certificate=self.certificate)
        refused = self.refuses() if self.refuses else None
        if refused is not None:
            return refused
        self.attempts.append(Attempt("closed_form", "OPTIMAL"))
        return self._result(np.ones(1), None, {})

    def _without_point(self) -> Result:
        """Infeasible with a verified certificate, or else a failure of the solvers: nothing in between."""
        if self.certificate is None:
            return Result(None, "SOLVER_FAILED", attempts=tuple(self.attempts))
        return self._infeasible(self.certificate)

    def _infeasible(self, certificate: dict[str, Any]) -> Result:
        self.attempts.append(Attempt("certificate", "INFEASIBLE", certificate["code"]))
        return Result(None, "INFEASIBLE", attempts=tuple(self.attempts), certificate=certificate)


def program_of(
    problem: Problem, scale: float, ridge: float, gain: Array, kink: float, *, ratio: bool
) -> Program:
    """The common form over the bounds, rows and previous weights of `problem`."""
    traded = kink > 0.0 and problem.w_prev is not None
    rows = problem.rows
    return Program(
        problem.cov, scale, ridge, gain, ratio, problem.floors, problem.caps, rows.matrix, rows.limit,
        kink if traded else 0.0, problem.w_prev if traded else None, problem.exit_turnover if traded else 0.0,
    )  # fmt: skip


def objectives(
    problem: Problem, weights: Array, formulation: Formulation, risk_aversion: float = 1.0
) -> tuple[float, float]:
    """Value without and with penalties, in user units."""
    variance = float(weights @ problem.cov @ weights)
    ridge = problem.l2 * problem.mean_variance * float(weights @ weights)
    traded = 0.0 if problem.w_prev is None else float(np.abs(weights - problem.w_prev).sum())
    if formulation == "max_diversification":
        ratio = float(problem.volatilities @ weights) / variance**0.5
        return ratio, ratio
    if formulation == "max_sharpe":
        gross, net = float(problem.excess @ weights), net_excess(problem, weights)
        return gross / variance**0.5, net / (variance + ridge) ** 0.5
    if formulation == "mean_variance":
        utility = 0.5 * risk_aversion * variance - float(problem.excess @ weights)
        return utility, utility + ridge + problem.turnover * traded
    return variance, variance + ridge + problem.turnover * problem.mean_variance * traded
