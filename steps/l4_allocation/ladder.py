"""From the name of a profile to an accepted result: kernel, typed failure, declared fallback.

A profile runs its kernel; what the kernel accepts has passed its check. What it does not accept carries a
typed status, and INFEASIBLE a verified certificate. Then the declared fallback chain runs through the same
door, and everything it drops is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import ConfigError, Infeasible, SolverFailed
from quantctl.contracts.settings.allocation import AllocationSettings, Fallback
from quantctl.steps.l4_allocation.kernels.barbell import DeclaredCaps, barbell
from quantctl.steps.l4_allocation.kernels.caps import Caps, cluster_groups
from quantctl.steps.l4_allocation.kernels.engine import NATIVE, Engine, reference_engine
from quantctl.steps.l4_allocation.kernels.equal_risk import equal_risk, lower_bound_refused, risk_budget
from quantctl.steps.l4_allocation.kernels.equal_weight import equal_weight
from quantctl.steps.l4_allocation.kernels.hrp import hrp
from quantctl.steps.l4_allocation.kernels.max_sharpe import max_sharpe
from quantctl.steps.l4_allocation.kernels.min_variance import min_variance
from quantctl.steps.l4_allocation.kernels.problem import Attempt, Problem, Result

Array = NDArray[np.float64]

BASELINES = ("equal_weight", "market", "benchmark")
UNCAPPED = ("equal_weight", "benchmark")
RISK_BUDGETS = ("erc", "risk_parity", "risk_budget")
UNAVAILABLE = ("mean_variance", "max_diversification", "herc", "min_cvar", "adaptive")
SHARPE_RIDGE = 0.10
MIN_ANTIFRAGILITY_BARS = 100


@dataclass(frozen=True)
class Setting:
    """What all profiles of one window share.

    base : the problem without bounds above 1, groups, beta row and penalties
    labels : cluster id per atom; caps : effective caps
    beta : ndarray (N,) or null where no profile has a beta row
    scores : antifragility (N,), or null below 100 bars
    """

    base: Problem
    labels: tuple[str, ...]
    caps: Caps
    beta: Array | None
    scores: Array | None
    regime: str
    quadrant: str
    settings: AllocationSettings
    engine: Engine = NATIVE


@dataclass(frozen=True)
class Tried:
    """One attempt of the chain."""

    profile: str
    outcome: str
    code: str | None


@dataclass(frozen=True)
class Solved:
    """What became of a profile.

    status : OPTIMAL, FALLBACK, INFEASIBLE or SKIPPED, as in the weight file
    used : the profile whose weights these are; `problem` is what it solved
    dropped : constraints that the fallback gave up
    first : result of the profile itself, with its certificate where it was infeasible
    """

    profile: str
    status: str
    reason: str | None
    used: str
    problem: Problem
    result: Result
    first: Result
    chain: tuple[Tried, ...]
    dropped: tuple[str, ...] = ()


def check_available(settings: AllocationSettings) -> None:
    """Refuse what cannot be solved whatever the data are (exit 2).

    Raises `ENGINE_UNAVAILABLE`, `STRUCTURE_UNAVAILABLE`, `CASH_UNAVAILABLE`, `PROFILE_UNAVAILABLE`, and
    `ERC_LOWER_BOUND` where a risk-budget profile is asked for beside a positive `weight_min`.
    """
    if settings.engine == "cvxpy" and find_spec("cvxpy") is None:
        raise ConfigError(
            "ENGINE_UNAVAILABLE", "allocation.engine cvxpy needs cvxpy, which is not installed",
            where="allocation.engine", remedy="install cvxpy or set allocation.engine to native",
        )  # fmt: skip
    if settings.structure != "flat":
        raise ConfigError(
            "STRUCTURE_UNAVAILABLE", f"allocation.structure {settings.structure} is not available",
            where="allocation.structure", remedy="set allocation.structure to flat",
        )  # fmt: skip
    if settings.cash != "none":
        raise ConfigError(
            "CASH_UNAVAILABLE", "allocation.cash allowed is not available",
            where="allocation.cash", remedy="set allocation.cash to none",
        )  # fmt: skip
    asked = [*settings.risk_profiles, settings.scarcity_fallback, *(f.profile for f in settings.fallback)]
    for profile in asked:
        if profile in UNAVAILABLE:
            raise ConfigError(
                "PROFILE_UNAVAILABLE", f"risk profile {profile} is not available in this version",
                where="allocation.risk_profiles", remedy=f"remove {profile} from allocation.risk_profiles",
            )  # fmt: skip
    if settings.weight_min > 0.0 and set(RISK_BUDGETS) & set(settings.risk_profiles):
        raise lower_bound_refused()


def engine_of(settings: AllocationSettings) -> Engine:
    """The rungs of `allocation.engine`; one object per window, since it keeps what it compiled."""
    return NATIVE if settings.engine == "native" else reference_engine()


def problem_of(profile: str, setting: Setting, keep: Sequence[str] = ("caps", "clusters", "beta")) -> Problem:
    """The problem of `profile` with the constraints of `keep`, its penalties and its beta row."""
    settings = setting.settings
    if profile in UNCAPPED:
        return setting.base
    has_beta = profile in settings.beta.apply_to or profile == "market_neutral"
    ridge = settings.l2_by_quadrant[setting.quadrant]
    quadratic = {"min_variance": ridge, "market_neutral": ridge, "max_sharpe": max(ridge, SHARPE_RIDGE)}
    if profile == "market_neutral" and settings.market_neutral.objective == "max_sharpe":
        quadratic["market_neutral"] = max(ridge, SHARPE_RIDGE)
    return replace(
        setting.base,
        lower=np.full(setting.base.size, settings.weight_min),
        upper=np.minimum(setting.caps.weights, 1.0) if "caps" in keep else None,
        groups=cluster_groups(setting.labels, setting.caps.cluster) if "clusters" in keep else (),
        beta=setting.beta if has_beta and "beta" in keep else None,
        beta_tol=settings.beta.tolerance,
        l2=quadratic.get(profile, 0.0),
    )


def run_profile(profile: str, setting: Setting, *, scarce: bool = False) -> Solved:
    """Solve `profile`, or what replaces it: scarcity first, then the declared fallback chain."""
    problem = problem_of(profile, setting)
    target = setting.settings.scarcity_fallback
    if scarce and profile not in BASELINES:
        return _scarce(profile, target, problem, setting)
    first = solve(profile, problem, setting)
    if first.accepted:
        chain = (Tried(profile, first.status, None),)
        return Solved(profile, "OPTIMAL", None, profile, problem, first, first, chain)
    reason = failure_code(first)
    chain = (Tried(profile, first.status, reason),)
    return _fall_back(profile, problem, first, reason, chain, setting)


def solve(profile: str, problem: Problem, setting: Setting) -> Result:
    """Run the kernel of `profile` on `problem`."""
    settings = setting.settings
    if profile in UNCAPPED:
        return equal_weight(problem)
    if profile == "hrp":
        return hrp(problem, settings.hrp)
    if profile in ("erc", "risk_parity"):
        return _allowed(equal_risk(problem, setting.engine), settings)
    if profile == "risk_budget":
        budgets = split_budgets(settings.budgets or {}, problem.names, setting.labels)
        return _allowed(risk_budget(problem, budgets, setting.engine), settings)
    if profile == "barbell":
        return _barbell(problem, setting)
    if profile == "max_sharpe" or (
        profile == "market_neutral" and settings.market_neutral.objective == "max_sharpe"
    ):
        return _allowed(max_sharpe(problem, setting.engine), settings)
    return _allowed(min_variance(problem, setting.engine), settings)


def split_budgets(budgets: dict[str, float], names: Sequence[str], labels: Sequence[str]) -> Array:
    """Budgets per atom, normalised; a cluster's budget is split equally over its members.

    Raises `BUDGET_MISSING` (exit 2) where an atom has none, or none is positive.
    """
    values = np.zeros(len(names))
    for i, (name, label) in enumerate(zip(names, labels, strict=True)):
        if name not in budgets and label not in budgets:
            raise ConfigError(
                "BUDGET_MISSING", f"no risk budget for atom {name} or its cluster {label}",
                where="allocation.budgets", remedy=f"add {name} or {label} to allocation.budgets",
            )  # fmt: skip
        values[i] = budgets[name] if name in budgets else budgets[label] / labels.count(label)
    return values


def failure_code(result: Result) -> str:
    """The typed reason of a result that was not accepted."""
    if result.certificate is not None:
        return str(result.certificate["code"])
    last = result.attempts[-1] if result.attempts else None
    if last is not None and (
        result.status in ("DEGENERATE_INPUT", "INSUFFICIENT_HISTORY") or last.rung == "projection"
    ):
        return last.code or result.status
    return result.status


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


def _scarce(profile: str, target: str, problem: Problem, setting: Setting) -> Solved:
    chain = [Tried(profile, "SKIPPED", "SCARCITY")]
    skipped = Result(None, "INSUFFICIENT_HISTORY", attempts=(Attempt("scarcity", "SKIPPED", "SCARCITY"),))
    replacement = replace(problem_of(target, setting), beta=None)
    dropped = ("beta",) if problem.beta is not None else ()
    result = solve(target, replacement, setting)
    chain.append(Tried(target, result.status, None if result.accepted else failure_code(result)))
    status = "FALLBACK" if result.accepted else "INFEASIBLE"
    reason = "SCARCITY" if result.accepted else failure_code(result)
    return Solved(profile, status, reason, target, replacement, result, skipped, tuple(chain), dropped)


def _fall_back(
    profile: str, problem: Problem, first: Result, reason: str, chain: tuple[Tried, ...], setting: Setting
) -> Solved:
    entries = setting.settings.fallback
    if reason == "BARBELL_DEGENERATE":
        entries = (Fallback(profile="hrp", keep=("caps", "clusters")), *entries)
    for entry in entries:
        replacement = problem_of(entry.profile, setting, entry.keep)
        if "beta" in entry.keep and problem.beta is not None:
            replacement = replace(replacement, beta=problem.beta)
        result = solve(entry.profile, replacement, setting)
        code = None if result.accepted else failure_code(result)
        chain = (*chain, Tried(entry.profile, result.status, code))
        if result.accepted:
            dropped = _dropped(problem, replacement)
            return Solved(
                profile, "FALLBACK", reason, entry.profile, replacement, result, first, chain, dropped
            )
    status = "SKIPPED" if first.status in ("DEGENERATE_INPUT", "INSUFFICIENT_HISTORY") else "INFEASIBLE"
    return Solved(profile, status, reason, profile, problem, first, first, chain)


def _dropped(before: Problem, after: Problem) -> tuple[str, ...]:
    gone = []
    if before.beta is not None and after.beta is None:
        gone.append("beta")
    if before.groups and not after.groups:
        gone.append("clusters")
    if (after.caps > before.caps).any():
        gone.append("caps")
    return tuple(gone)


def refusal(solved: Solved) -> Infeasible | SolverFailed:
    """The error (exit 4) of a profile that failed while no fallback was declared."""
    result, reason = solved.first, solved.reason or solved.status
    message = result.certificate["message"] if result.certificate else f"ended as {result.status}"
    kind = SolverFailed if result.status == "SOLVER_FAILED" else Infeasible
    return kind(
        reason, f"risk profile {solved.profile}: {message}", where="allocation.fallback",
        remedy="relax the constraint or declare allocation.fallback",
        details={"profile": solved.profile, "status": result.status},
    )  # fmt: skip
