"""`structure: two_layer`: clusters are solved as if they were atoms, their members share by 1/σ².

    a_i = σ_i⁻² / Σ_{j∈k} σ_j⁻²  within cluster k,   R_k = Σ_{i∈k} a_i r_i,   w_i = W_k a_i

The profile is solved on the streams R with their own risk model and β_k = Σ a_i β_i. What only atoms have,
caps and floors, is checked on the product afterwards, with the beta row: a violation is INFEASIBLE, since
fixed shares within clusters leave nothing that could still move.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.antifragility import antifragility
from quantctl.steps.l4_allocation.kernels.caps import cluster_groups, effective_caps
from quantctl.steps.l4_allocation.kernels.kkt import active_names
from quantctl.steps.l4_allocation.kernels.problem import Attempt, Problem, Result
from quantctl.steps.l4_allocation.kernels.risk_model import RiskModel, estimate_risk_model
from quantctl.steps.l4_allocation.profiles import MIN_ANTIFRAGILITY_BARS, Layers, Setting
from quantctl.steps.l4_allocation.solving import run_kernel

Array = NDArray[np.float64]

PRODUCT = 1e-9


def layers_of(setting: Setting, bars_per_year: int) -> Layers:
    """The upper layer of the window behind `setting`. O(K² T + N T).

    A cluster whose stream has no variance (opposite members) is left out: its atoms get weight 0.
    """
    assert setting.returns is not None
    settings = setting.settings
    ids = sorted(set(setting.labels), key=lambda label: (len(label), label))
    members = np.array([[label == key for label in setting.labels] for key in ids])
    intra = members / np.diag(setting.base.cov)
    intra /= intra.sum(axis=1, keepdims=True)
    streams = setting.returns @ intra.T
    model = estimate_risk_model(
        streams, bars_per_year, method=settings.covariance.method,
        options=settings.covariance.options, kappa_max=settings.kappa_max, ridge_floor=settings.ridge_floor,
    )  # fmt: skip
    keep = model.keep
    live = tuple(key for key, kept in zip(ids, keep, strict=True) if kept)
    held = np.ascontiguousarray(streams[:, keep])
    across = _across(setting, live, members[keep], intra[keep], held, model, bars_per_year)
    return Layers(intra[keep], model, across)


def solve_layers(profile: str, problem: Problem, layers: Layers) -> Result:
    """`profile` across clusters, spread over their members; `problem` states what must hold on atoms.

    Failures beside those of the kernel: INFEASIBLE with code `TWO_LAYER_BOUNDS` or `TWO_LAYER_BETA`.
    """
    result = run_kernel(profile, _clustered(problem, layers), layers.setting)
    if result.weights is None:
        return result
    weights = np.asarray(layers.intra.T @ result.weights)
    broken = _broken(problem, weights)
    if broken:
        code = "TWO_LAYER_BETA" if broken[0].startswith("beta") else "TWO_LAYER_BOUNDS"
        attempts = (*result.attempts, Attempt("product", "INFEASIBLE", code))
        return Result(None, "INFEASIBLE", attempts=attempts, notes={"violated": broken})
    return replace(
        result, weights=weights, active=active_names(problem, weights),
        notes=_notes(result, layers),
    )  # fmt: skip


def _across(
    setting: Setting,
    ids: tuple[str, ...],
    members: NDArray[np.bool_],
    intra: Array,
    streams: Array,
    model: RiskModel,
    bars_per_year: int,
) -> Setting:
    """What profiles across clusters share: each cluster is an atom and its own cluster."""
    settings = setting.settings
    enough = setting.bars >= MIN_ANTIFRAGILITY_BARS
    budgets = None if settings.budgets is None else _budgets(settings.budgets, setting, ids, members)
    return replace(
        setting,
        base=Problem(model.cov, mu=model.mu, risk_free=setting.base.risk_free, names=ids),
        labels=ids,
        caps=effective_caps(ids, settings.cluster_cap, 1.0),
        beta=None if setting.beta is None else intra @ setting.beta,
        scores=antifragility(streams, bars_per_year) if enough else None,
        settings=settings.model_copy(update={"weight_min": 0.0, "weight_max": 1.0, "budgets": budgets}),
        returns=streams,
        previous=None if setting.previous is None else members @ setting.previous,
    )  # fmt: skip


def _budgets(
    budgets: dict[str, float], setting: Setting, ids: tuple[str, ...], members: NDArray[np.bool_]
) -> dict[str, float]:
    """Budgets of the clusters; one of which a member has no budget has none itself."""
    found = {}
    for key, inside in zip(ids, members, strict=True):
        share = budgets.get(key)
        share = None if share is None else share / int(inside.sum())
        each = [
            budgets.get(name, share) for name, kept in zip(setting.base.names, inside, strict=True) if kept
        ]
        if None not in each:
            found[key] = sum(value for value in each if value is not None)
    return found


def _clustered(problem: Problem, layers: Layers) -> Problem:
    """`problem` with clusters as variables: its rows and penalties, but no bounds of atoms."""
    above = layers.setting
    traded = problem.w_prev is not None
    return replace(
        above.base,
        groups=cluster_groups(above.labels, above.caps.cluster) if problem.groups else (),
        beta=None if problem.beta is None else layers.intra @ problem.beta,
        beta_tol=problem.beta_tol,
        l2=problem.l2,
        turnover=problem.turnover,
        w_prev=above.previous if traded else None,
        exit_turnover=problem.exit_turnover,
    )


def _broken(problem: Problem, weights: Array) -> list[str]:
    """Names of the rows and bounds of `problem` that `weights` violate, rows first."""
    over = problem.rows.matrix @ weights - problem.rows.limit
    rows = [name for name, excess in zip(problem.rows.names, over, strict=True) if excess > PRODUCT]
    outside = zip(problem.names, weights - problem.caps, problem.floors - weights, strict=True)
    for name, high, low in outside:
        rows += [f"weight_max[{name}]"] if high > PRODUCT else []
        rows += [f"weight_min[{name}]"] if low > PRODUCT else []
    return sorted(rows, key=lambda name: not name.startswith("beta"))


def _notes(result: Result, layers: Layers) -> dict[str, object]:
    """The kernel's notes with positions of atoms, and the weights across clusters."""
    assert result.weights is not None
    notes = {key: value for key, value in result.notes.items() if key != "weight_cap"}
    if "aggressors" in notes:
        held = layers.intra[notes["aggressors"]].sum(axis=0) > 0.0
        notes["aggressors"] = [int(i) for i in np.flatnonzero(held)]
    across = zip(layers.setting.labels, result.weights.tolist(), strict=True)
    return notes | {"structure": "two_layer", "cluster_weights": dict(across)}
