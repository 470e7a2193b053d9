"""Barbell: a few antifragile leaders beside a core that is kept away from their clusters.

The aggressor share depends on the regime and is split equally over the k best cluster leaders; every
atom of their clusters leaves the core. The core is hierarchical risk parity from `min_core` atoms on,
else equal weight, scaled to the rest. Caps apply to final weights, so the core is solved with
c/(1 − share) and u/(1 − share) under the effective rule of its own clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import SolverFailed
from quantctl.contracts.settings.allocation import BarbellSettings, HrpSettings
from quantctl.steps.l4_allocation.kernels.caps import cluster_groups, effective_caps
from quantctl.steps.l4_allocation.kernels.equal_weight import equal_weight
from quantctl.steps.l4_allocation.kernels.hrp import hrp
from quantctl.steps.l4_allocation.kernels.kkt import primal_violation
from quantctl.steps.l4_allocation.kernels.problem import Attempt, Kkt, Problem, Result, restricted
from quantctl.steps.l4_allocation.kernels.projection import project_capped

Array = NDArray[np.float64]


class DeclaredCaps(NamedTuple):
    """Caps as configured, before any relaxation."""

    cluster: float
    weight: float


class Leader(NamedTuple):
    """The best antifragility score of a cluster."""

    atom: int
    cluster: str
    score: float


def barbell(
    problem: Problem,
    scores: Array,
    regime: str,
    clusters: Sequence[str],
    caps: DeclaredCaps,
    options: BarbellSettings | None = None,
    tree: HrpSettings | None = None,
) -> Result:
    """Aggressors and core.

    Parameters
    ----------
    problem : its `names` order ties; its bounds and groups are replaced by `caps`
    scores : ndarray of shape (N,), antifragility; a missing one is a failure, never invented
    regime : QUIET, NORMAL, TURBULENT or CRISIS; another one takes `aggressor_weight`
    clusters : cluster id of every atom

    Failures: DEGENERATE_INPUT with code `ANTIFRAGILITY_MISSING` or `BARBELL_DEGENERATE` (one cluster).
    `notes`: share, aggressors (atom positions), effective caps of the file.
    """
    options = options or BarbellSettings()
    if not np.isfinite(scores).all():
        return _refused("ANTIFRAGILITY_MISSING")
    leaders = cluster_leaders(problem.names, scores, clusters)
    count = min(options.max_aggressor_clusters, max(1, len(leaders) // 2), len(leaders) - 1)
    if count <= 0:
        return _refused("BARBELL_DEGENERATE")
    chosen = leaders[:count]
    share = options.share_by_regime.get(regime, options.aggressor_weight)
    led = {leader.cluster for leader in chosen}
    core = np.array([cluster not in led for cluster in clusters])
    weights = np.zeros(problem.size)
    weights[[leader.atom for leader in chosen]] = share / count
    labels = [cluster for cluster, kept in zip(clusters, core, strict=True) if kept]
    filled = _core(restricted(problem, core), labels, share, caps, options.min_core, tree)
    if filled.result.weights is None:
        return filled.result
    weights[core] = (1.0 - share) * filled.result.weights
    return _assembled(problem, weights, share, chosen, filled)


def cluster_leaders(names: Sequence[str], scores: Array, clusters: Sequence[str]) -> list[Leader]:
    """Best atom of every cluster, best cluster first; ties go to the smaller atom id."""
    ranked = sorted(range(len(names)), key=lambda i: (-scores[i], names[i]))
    leaders: dict[str, Leader] = {}
    for i in ranked:
        leaders.setdefault(clusters[i], Leader(i, clusters[i], float(scores[i])))
    return list(leaders.values())


class _Core(NamedTuple):
    result: Result
    cluster_cap: float
    weight_cap: float
    relaxed: bool


def _core(
    part: Problem,
    labels: list[str],
    share: float,
    caps: DeclaredCaps,
    min_core: int,
    tree: HrpSettings | None,
) -> _Core:
    """Weights of the core, summing to 1, and the file's effective caps."""
    rest = 1.0 - share
    effective = effective_caps(labels, caps.cluster / rest, caps.weight / rest)
    bounded = replace(
        part, lower=None, upper=np.minimum(effective.weights, 1.0), beta=None,
        groups=cluster_groups(labels, effective.cluster),
    )  # fmt: skip
    result = hrp(bounded, tree) if part.size >= min_core else _equal(bounded)
    relaxed = effective.cluster_relaxed or effective.weight_relaxed
    return _Core(result, effective.cluster * rest, float(effective.weights.max()) * rest, relaxed)


def _equal(problem: Problem) -> Result:
    """Equal weight, projected where a cap is violated."""
    result = equal_weight(problem)
    assert result.weights is not None
    if primal_violation(problem, result.weights) <= 1e-9:
        return result
    try:
        projected = project_capped(result.weights, problem)
    except SolverFailed as failure:
        return Result(None, "SOLVER_FAILED", attempts=(Attempt("projection", "SOLVER_FAILED", failure.code),))
    if projected is None:
        return Result(None, "SOLVER_FAILED", attempts=(Attempt("projection", "SOLVER_FAILED"),))
    distance = float(np.abs(projected - result.weights).sum())
    return replace(
        result, weights=projected, attempts=(*result.attempts, Attempt("projection", "OPTIMAL")),
        notes={"projection_l1": distance},
    )  # fmt: skip


def _assembled(problem: Problem, weights: Array, share: float, chosen: list[Leader], core: _Core) -> Result:
    variance = float(weights @ problem.cov @ weights)
    return Result(
        weights, "OPTIMAL", variance, variance,
        Kkt(abs(float(weights.sum()) - 1.0), 0.0, 0.0, 0.0, "OPTIMAL"),
        attempts=core.result.attempts,
        warnings=core.result.warnings,
        notes={
            **core.result.notes,
            "share": share,
            "aggressors": [leader.atom for leader in chosen],
            "cluster_cap": max(core.cluster_cap, share / len(chosen)),
            "weight_cap": max(core.weight_cap, share / len(chosen)),
            "cap_relaxed": core.relaxed,
        },
    )  # fmt: skip


def _refused(code: str) -> Result:
    return Result(None, "DEGENERATE_INPUT", attempts=(Attempt("barbell", "DEGENERATE_INPUT", code),))
