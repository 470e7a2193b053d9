"""From the name of a profile to an accepted result: kernel, typed failure, declared fallback.

A profile runs its kernel; what the kernel accepts has passed its check. What it does not accept carries a
typed status, and INFEASIBLE a verified certificate wherever a problem has no solution at all. Then the
declared fallback chain runs through the same door, and everything it drops is named.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quantctl.contracts.errors import ConfigError, Infeasible, SolverFailed
from quantctl.contracts.settings.allocation import Fallback
from quantctl.steps.l4_allocation.kernels.problem import Attempt, Problem, Result
from quantctl.steps.l4_allocation.profiles import BASELINES, UNCAPPED, Setting, problem_of, target_of
from quantctl.steps.l4_allocation.solving import run_kernel
from quantctl.steps.l4_allocation.two_layer import solve_layers

# Rungs whose own code, not the kernel's status, is the reason of a failure.
_TYPED_RUNGS = ("projection", "exposure", "product", "refused")
_INPUT_FAILURES = ("DEGENERATE_INPUT", "INSUFFICIENT_HISTORY")


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
    target : the profile that was asked, which for `adaptive` is that of the quadrant
    dropped : constraints that the fallback gave up
    first : result of the profile itself, with its certificate where it was infeasible
    """

    profile: str
    status: str
    reason: str | None
    used: str
    target: str
    problem: Problem
    result: Result
    first: Result
    chain: tuple[Tried, ...]
    dropped: tuple[str, ...] = ()


def run_profile(profile: str, setting: Setting, *, scarce: bool = False) -> Solved:
    """Solve `profile`, or what replaces it: scarcity first, then the declared fallback chain."""
    target = target_of(profile, setting.settings, setting.quadrant, setting.bars)
    problem = problem_of(target, setting)
    asked = () if target == profile else (Tried(profile, "TARGET", None),)
    if scarce and profile not in BASELINES:
        return _scarce(profile, target, problem, setting)
    first = solve(target, problem, setting)
    if first.accepted:
        chain = (*asked, Tried(target, first.status, None))
        return Solved(profile, "OPTIMAL", None, target, target, problem, first, first, chain)
    reason = failure_code(first)
    failed = Solved(
        profile, "SKIPPED" if first.status in _INPUT_FAILURES else "INFEASIBLE", reason, target, target,
        problem, first, first, (*asked, Tried(target, first.status, reason)),
    )  # fmt: skip
    return _fall_back(failed, setting)


def solve(profile: str, problem: Problem, setting: Setting) -> Result:
    """Weights of `profile` on `problem`, as structure and cash of the settings have it.

    Where previous weights have a price, `notes` holds what the weights trade.
    """
    if setting.settings.cash == "allowed" and problem.beta is not None:
        invested = _invested(profile, problem.without_beta(), setting)
        result = _exposed(invested, problem, setting.settings.cash_min_exposure)
    else:
        result = _invested(profile, problem, setting)
    if result.weights is None or problem.w_prev is None:
        return result
    traded = float(np.abs(result.weights - problem.w_prev).sum())
    notes = {"traded": traded, "exit_turnover": problem.exit_turnover}
    return replace(result, notes=result.notes | notes)


def failure_code(result: Result) -> str:
    """The typed reason of a result that was not accepted."""
    if result.certificate is not None:
        return str(result.certificate["code"])
    last = result.attempts[-1] if result.attempts else None
    if last is not None and (result.status in _INPUT_FAILURES or last.rung in _TYPED_RUNGS):
        return last.code or result.status
    return result.status


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


def _invested(profile: str, problem: Problem, setting: Setting) -> Result:
    """The fully invested portfolio, of atoms or of clusters."""
    if setting.layers is not None and profile not in UNCAPPED:
        return solve_layers(profile, problem, setting.layers)
    return run_kernel(profile, problem, setting)


def _exposed(invested: Result, problem: Problem, least: float) -> Result:
    """w = t·d with t = min(1, τ/|β'd|): the largest share of `invested` whose beta is within tolerance."""
    if invested.weights is None or problem.beta is None:
        return invested
    beta = float(problem.beta @ invested.weights)
    exposure = min(1.0, problem.beta_tol / abs(beta)) if beta else 1.0
    notes = invested.notes | {"exposure": exposure, "invested_beta": beta}
    if exposure < least:
        attempt = Attempt("exposure", "INFEASIBLE", "EXPOSURE_BELOW_MIN")
        return Result(None, "INFEASIBLE", attempts=(*invested.attempts, attempt), notes=notes)
    return replace(
        invested, weights=exposure * invested.weights, exposure=exposure, cash=1.0 - exposure, notes=notes
    )


def _scarce(profile: str, target: str, problem: Problem, setting: Setting) -> Solved:
    """Too few winners: the scarcity fallback in place of the profile."""
    entry = Fallback(profile=setting.settings.scarcity_fallback, keep=("caps", "clusters"))
    skipped = Result(None, "INSUFFICIENT_HISTORY", attempts=(Attempt("scarcity", "SKIPPED", "SCARCITY"),))
    replacement, result = _attempt(entry, problem, setting)
    chain = [Tried(profile, "SKIPPED", "SCARCITY")]
    chain.append(Tried(entry.profile, result.status, None if result.accepted else failure_code(result)))
    return Solved(
        profile, "FALLBACK" if result.accepted else "INFEASIBLE",
        "SCARCITY" if result.accepted else failure_code(result),
        entry.profile, target, replacement, result, skipped, tuple(chain), _dropped(problem, replacement),
    )  # fmt: skip


def _fall_back(failed: Solved, setting: Setting) -> Solved:
    """The first accepted entry of the declared chain, or `failed` with all that was tried."""
    entries = setting.settings.fallback
    if failed.reason == "BARBELL_DEGENERATE":
        entries = (Fallback(profile="hrp", keep=("caps", "clusters")), *entries)
    chain = failed.chain
    for entry in entries:
        replacement, result = _attempt(entry, failed.problem, setting)
        code = None if result.accepted else failure_code(result)
        chain = (*chain, Tried(entry.profile, result.status, code))
        if result.accepted:
            return replace(
                failed, status="FALLBACK", used=entry.profile, problem=replacement, result=result,
                chain=chain, dropped=_dropped(failed.problem, replacement),
            )  # fmt: skip
    return replace(failed, chain=chain)


def _attempt(entry: Fallback, problem: Problem, setting: Setting) -> tuple[Problem, Result]:
    """Problem and result of a replacement; a beta row it keeps is that of the profile it replaces."""
    replacement = problem_of(entry.profile, setting, entry.keep)
    if "beta" in entry.keep and problem.beta is not None:
        replacement = replace(replacement, beta=problem.beta)
    try:
        return replacement, solve(entry.profile, replacement, setting)
    except ConfigError as refused:
        attempt = Attempt("refused", "SOLVER_FAILED", refused.code)
        return replacement, Result(None, "SOLVER_FAILED", attempts=(attempt,))


def _dropped(before: Problem, after: Problem) -> tuple[str, ...]:
    gone = []
    if before.beta is not None and after.beta is None:
        gone.append("beta")
    if before.groups and not after.groups:
        gone.append("clusters")
    if (after.caps > before.caps).any():
        gone.append("caps")
    return tuple(gone)
