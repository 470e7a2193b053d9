"""What the optimisation decided, as findings for the ledger: names and numbers, no timings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quantctl.contracts.stage import Finding, Level
from quantctl.steps.l4_allocation.kernels.risk_model import RiskModel
from quantctl.steps.l4_allocation.ladder import Solved
from quantctl.steps.l4_allocation.profiles import Setting

if TYPE_CHECKING:
    from quantctl.steps.l4_allocation.allocation import Exposure, Window

EXTREME_INTENSITY = 0.02
EXTREME_KAPPA = 1e8
UNPROVEN = {
    "EXPOSURE_BELOW_MIN": "beta within tolerance leaves less than the least exposure",
    "TWO_LAYER_BETA": "the product of both layers exceeds the beta tolerance",
    "TWO_LAYER_BOUNDS": "the product of both layers breaks a cap or a floor",
}
# Rungs of the native engine that are no detour: closed forms, fast kernels and their own finish.
LATE_RUNGS = ("ipm", "polish", "clarabel", "highs")
_KNOWN_WARNINGS = {
    "CVAR_TAIL_THIN": "fewer than five rows lie in the tail",
    "OPTIMAL_REDUCED_ACCURACY": "accepted at reduced accuracy",
    "HRP_PROJECTED": "hierarchical weights were projected on the caps",
}


def of_input(
    window: Window, model: RiskModel, exposure: Exposure, setting: Setting, winners: int, scarce: bool
) -> list[Finding]:
    """Findings about the window, its risk model, caps, beta and the number of winners."""
    found: list[Finding] = []
    if len(window.dates) < window.wanted:
        found.append(_finding(
            "WARN", "ALLOCATION_WINDOW_SHORT", f"{len(window.dates)} rows, {window.wanted} wanted",
            rows=len(window.dates), wanted=window.wanted,
        ))  # fmt: skip
    for name, kept in zip(window.names, model.keep, strict=True):
        if not kept:
            message = f"{name} has no variance: weight 0"
            found.append(_finding("WARN", "DEGENERATE_ATOM", message, symbol=name))
    live = [name for name, kept in zip(window.names, model.keep, strict=True) if kept]
    if model.duplicates:
        pairs = [f"{live[i]} = {live[j]}" for i, j in model.duplicates]
        found.append(_finding(
            "WARN", "DUPLICATE_STREAM", f"{len(pairs)} pairs of streams are the same up to scale",
            n=len(pairs), first=pairs[:3],
        ))  # fmt: skip
    if exposure.assumed:
        found.append(_finding("WARN", "BETA_ASSUMED", "too few common bars: beta is the atom's factor",
                              n_obs=exposure.rows))  # fmt: skip
    if scarce:
        found.append(_finding("WARN", "SCARCITY", f"{winners} winners: optimised profiles are replaced",
                              winners=winners, fallback=setting.settings.scarcity_fallback))  # fmt: skip
    return [*found, *_of_conditioning(model), *_of_caps(setting), *_of_layers(setting)]


def _of_layers(setting: Setting) -> list[Finding]:
    """Atoms that the upper layer left out, since the stream of their cluster has no variance."""
    if setting.layers is None:
        return []
    idle = zip(setting.base.names, setting.layers.intra.sum(axis=0) == 0.0, strict=True)
    message = "the stream of its cluster has no variance: weight 0"
    return [
        _finding("WARN", "DEGENERATE_ATOM", f"{name}: {message}", symbol=name) for name, out in idle if out
    ]


def of_profiles(
    solved: list[Solved], ids: dict[str, str], model: RiskModel, setting: Setting
) -> list[Finding]:
    """One `ALLOCATION_RESULT` per profile and a finding for each failure, fallback and warning."""
    found: list[Finding] = []
    for one in solved:
        found.append(_result(one, ids[one.profile], model))
        found += _of_path(one, setting)
        if one.first.certificate is not None:
            found.append(_finding(
                "WARN", "INFEASIBLE", f"{one.profile}: {one.first.certificate['message']}",
                profile=one.profile, code=one.first.certificate["code"],
            ))  # fmt: skip
        if one.first.status == "NON_POSITIVE_EXCESS":
            found.append(_finding(
                "WARN", "NON_POSITIVE_EXCESS", f"{one.profile}: no portfolio has a positive excess return",
                profile=one.profile, **one.first.notes,
            ))  # fmt: skip
        if one.reason == "BARBELL_DEGENERATE":
            found.append(_finding(
                "WARN", "BARBELL_DEGENERATE", f"{one.profile}: one cluster, no barbell", profile=one.profile
            ))  # fmt: skip
        if one.status == "FALLBACK":
            found.append(_finding(
                "WARN", "ALLOCATION_FALLBACK", f"{one.profile} was replaced by {one.used}: {one.reason}",
                **_replacement(one),
            ))  # fmt: skip
        if one.result.notes.get("cap_relaxed"):
            found.append(_core_relaxed(one))
        found += [_warning(one, code) for code in one.result.warnings]
    return found


def _of_path(one: Solved, setting: Setting) -> list[Finding]:
    """How an accepted result came about, and failures that have a code but no certificate."""
    found = []
    if one.target != one.profile:
        found.append(_finding(
            "INFO", "ADAPTIVE_TARGET", f"{one.profile} is {one.target} in quadrant {setting.quadrant}",
            profile=one.profile, target=one.target, quadrant=setting.quadrant, rows=setting.bars,
        ))  # fmt: skip
    last = one.result.attempts[-1].rung if one.result.accepted and one.result.attempts else None
    if setting.settings.engine == "native" and last in LATE_RUNGS:
        found.append(_finding("INFO", "SOLVER_RUNG", f"{one.profile} was accepted on the rung {last}",
                              profile=one.profile, rung=last))  # fmt: skip
    if one.reason in UNPROVEN:
        why = {key: one.first.notes[key] for key in ("exposure", "invested_beta", "violated")
               if key in one.first.notes}  # fmt: skip
        found.append(_finding("WARN", one.reason, f"{one.profile}: {UNPROVEN[one.reason]}",
                              profile=one.profile, **why))  # fmt: skip
    return found


def _core_relaxed(one: Solved) -> Finding:
    """The core of a barbell has fewer clusters, so its own caps relax."""
    cluster, weight = one.result.notes["cluster_cap"], one.result.notes["weight_cap"]
    return _finding(
        "WARN", "CAP_RELAXED", f"{one.profile}: cluster cap {cluster:.4g}, asset cap {weight:.4g}",
        kind="core", profile=one.profile, effective_cluster=cluster, effective_weight=weight,
    )  # fmt: skip


def _of_conditioning(model: RiskModel) -> list[Finding]:
    conditioned = model.conditioned
    if conditioned.intensity <= EXTREME_INTENSITY and conditioned.kappa_before <= EXTREME_KAPPA:
        return []
    before = min(conditioned.kappa_before, 1e300)
    return [_finding(
        "WARN", "CONDITIONING_EXTREME", f"conditioning took {conditioned.intensity:.3g}",
        intensity=conditioned.intensity, kappa_before=before, kappa_after=conditioned.kappa_after,
    )]  # fmt: skip


def _of_caps(setting: Setting) -> list[Finding]:
    caps, settings = setting.caps, setting.settings
    found = []
    if caps.cluster_relaxed:
        found.append(_finding(
            "WARN", "CAP_RELAXED", f"cluster cap {caps.cluster:.4g} instead of {settings.cluster_cap:.4g}",
            kind="cluster", declared=settings.cluster_cap, effective=caps.cluster, n=len(set(setting.labels)),
        ))  # fmt: skip
    if caps.weight_relaxed:
        largest = float(caps.weights.max())
        found.append(_finding(
            "WARN", "CAP_RELAXED", f"asset cap {largest:.4g} instead of {settings.weight_max:.4g}",
            kind="weight", declared=settings.weight_max, effective=largest, n=len(setting.labels),
        ))  # fmt: skip
    if caps.degenerate:
        found.append(_finding("WARN", "CAP_DEGENERATE", "the caps force every cluster's weight",
                              n_clusters=len(set(setting.labels)), effective=caps.cluster))  # fmt: skip
    return found


def _result(one: Solved, allocation_id: str, model: RiskModel) -> Finding:
    last = one.result.attempts[-1] if one.result.attempts else None
    before = model.conditioned.kappa_before
    because = f" ({one.reason})" if one.reason else ""
    return _finding(
        "INFO", "ALLOCATION_RESULT", f"{one.profile}: {one.status}{because}",
        allocation_id=allocation_id, profile=one.profile, status=one.status, reason=one.reason, used=one.used,
        rung=last.rung if last else None,
        iterations=sum(a.iterations for a in one.result.attempts),
        factorisations=sum(a.factorisations for a in one.result.attempts),
        kappa_before=before if before < 1e300 else None,
        kappa_after=model.conditioned.kappa_after, intensity=model.conditioned.intensity,
        residuals=one.result.kkt.residuals() if one.result.kkt else {},
    )  # fmt: skip


def _replacement(one: Solved) -> dict[str, Any]:
    return {"from": one.profile, "to": one.used, "reason": one.reason, "dropped": list(one.dropped)}


def _warning(one: Solved, code: str) -> Finding:
    details: dict[str, Any] = {"profile": one.profile}
    if "projection_l1" in one.result.notes:
        details["l1"] = one.result.notes["projection_l1"]
    return _finding("WARN", code, f"{one.profile}: {_KNOWN_WARNINGS[code]}", **details)


def _finding(
    level: Level, code: str, message: str, /, *, symbol: str | None = None, **details: Any
) -> Finding:
    return Finding(level=level, code=code, message=message, symbol=symbol, details=details)
