"""The kernel of each risk profile."""

from __future__ import annotations

from dataclasses import replace

from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.contracts.tracing import span
from quantctl.steps.l4_allocation.kernels.barbell import DeclaredCaps, barbell
from quantctl.steps.l4_allocation.kernels.equal_risk import equal_risk, risk_budget
from quantctl.steps.l4_allocation.kernels.equal_weight import equal_weight
from quantctl.steps.l4_allocation.kernels.herc import herc
from quantctl.steps.l4_allocation.kernels.hrp import hrp
from quantctl.steps.l4_allocation.kernels.max_diversification import max_diversification
from quantctl.steps.l4_allocation.kernels.max_sharpe import max_sharpe
from quantctl.steps.l4_allocation.kernels.mean_variance import mean_variance
from quantctl.steps.l4_allocation.kernels.min_cvar import min_cvar
from quantctl.steps.l4_allocation.kernels.min_variance import min_variance
from quantctl.steps.l4_allocation.kernels.problem import Attempt, Problem, Result
from quantctl.steps.l4_allocation.profiles import UNCAPPED, Setting, is_ratio, split_budgets


def run_kernel(profile: str, problem: Problem, setting: Setting) -> Result:
    """Run the kernel of `profile`, which is no `adaptive`, on `problem`, fully invested."""
    with span(f"solve {profile}", "solver", **{"quant.atoms": len(problem.names)}) as told:
        result = _kernel(profile, problem, setting)
        told["quant.status"] = result.status
        told["quant.iterations"] = sum(attempt.iterations for attempt in result.attempts)
        told["quant.factorisations"] = sum(attempt.factorisations for attempt in result.attempts)
        if not result.accepted:
            told["error.code"] = result.status
    return result


def _kernel(profile: str, problem: Problem, setting: Setting) -> Result:
    settings = setting.settings
    if profile in UNCAPPED:
        return equal_weight(problem)
    if profile == "hrp":
        return hrp(problem, settings.hrp)
    if profile == "herc":
        return herc(problem, settings.hrp)
    if profile == "barbell":
        return _barbell(problem, setting)
    return _allowed(_convex(profile, problem, setting), settings)


def _convex(profile: str, problem: Problem, setting: Setting) -> Result:
    settings, engine = setting.settings, setting.engine
    if profile in ("erc", "risk_parity"):
        return equal_risk(problem, engine)
    if profile == "risk_budget":
        budgets = split_budgets(settings.budgets or {}, problem.names, setting.labels)
        return risk_budget(problem, budgets, engine)
    if profile == "min_cvar":
        assert setting.returns is not None
        return min_cvar(problem, setting.returns, settings.cvar_level, engine)
    if profile == "mean_variance":
        return mean_variance(problem, settings.risk_aversion, engine)
    if profile == "max_diversification":
        return max_diversification(problem, engine)
    return max_sharpe(problem, engine) if is_ratio(profile, settings) else min_variance(problem, engine)


def _barbell(problem: Problem, setting: Setting) -> Result:
    if setting.scores is None:
        code = "ANTIFRAGILITY_INSUFFICIENT"
        return Result(None, "INSUFFICIENT_HISTORY", attempts=(Attempt("barbell", code, code),))
    settings = setting.settings
    caps = DeclaredCaps(settings.cluster_cap, settings.weight_max)
    return barbell(
        problem, setting.scores, setting.regime, setting.labels, caps, settings.barbell, settings.hrp
    )


def _allowed(result: Result, settings: AllocationSettings) -> Result:
    """A result of reduced accuracy is a failure where the settings do not accept it."""
    if result.status != "OPTIMAL_REDUCED_ACCURACY" or settings.accept_reduced:
        return result
    return replace(result, weights=None, status="SOLVER_FAILED")
