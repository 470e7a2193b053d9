"""Why a problem has no solution: a verified ray, an irreducible conflict, the nearest tolerance.

Farkas: {w : 1'w = 1, A w ≤ b} (bounds and rows in A) is empty iff some y ≥ 0 and ν exist with

    A'y + ν 1 = 0,    b'y + ν < 0

The vertices of {y ≥ 0, A'y + ν1 = 0, b'y + ν = −1} have as supports exactly the irreducible
infeasible sets (Gleeson & Ryan 1990, Identifying minimally infeasible subsystems of inequalities), so
a simplex vertex names a conflict from which no row can be spared. It is verified by plain products.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.problem import Problem

Array = NDArray[np.float64]

VERIFIED = 1e-8
_OPTIMAL = 0
_FAMILY_CODES = (
    ("beta", "INFEASIBLE_BETA"),
    ("cluster_cap", "INFEASIBLE_CAPS"),
    ("weight_max", "INFEASIBLE_CAPS"),
    ("group", "INFEASIBLE_GROUPS"),
)


def explain_infeasibility(problem: Problem) -> dict[str, Any] | None:
    """The certificate of an empty feasible set, or null if a point is feasible.

    Returns {code, conflicting, multipliers, verified, residual, nearest, message}: `conflicting` is an
    irreducible set of constraint names; `nearest` gives, for each family in it, the declared value and
    the nearest feasible one with everything else unchanged (null with a reason where that family
    alone cannot help). Null also where no ray passes verification: no certificate, no verdict.
    """
    names, matrix, limit = inequalities(problem)
    ray = _farkas_vertex(matrix, limit)
    if ray is None:
        return None
    budget, multipliers = ray
    residual, margin = farkas_residual(matrix, limit, budget, multipliers)
    if residual > VERIFIED or margin >= 0.0:
        return None
    support = [i for i in range(len(names)) if multipliers[i] > VERIFIED * multipliers.max()]
    conflicting = (["budget"] if budget != 0.0 else []) + [names[i] for i in support]
    named = {names[i]: float(multipliers[i]) for i in support} | {"budget": budget}
    nearest = [_nearest(problem, family) for family in _families(conflicting)]
    codes = [code for family, code in _FAMILY_CODES if any(n.startswith(family) for n in conflicting)]
    return {
        "code": codes[0] if codes else "INFEASIBLE_BOUNDS",
        "conflicting": conflicting, "multipliers": named, "verified": True,
        "residual": residual, "nearest": nearest, "message": _message(conflicting, nearest),
    }  # fmt: skip


def inequalities(problem: Problem) -> tuple[list[str], Array, Array]:
    """All inequalities A w ≤ b by name: lower bounds, upper bounds, rows."""
    eye, rows = np.eye(problem.size), problem.rows
    names = [f"weight_min[{n}]" for n in problem.names] + [f"weight_max[{n}]" for n in problem.names]
    matrix = np.vstack([-eye, eye, rows.matrix])
    return [*names, *rows.names], matrix, np.concatenate([-problem.floors, problem.caps, rows.limit])


def farkas_residual(matrix: Array, limit: Array, budget: float, y: Array) -> tuple[float, float]:
    """(largest violation of A'y + ν1 = 0 and y ≥ 0, value b'y + ν), after scaling to ‖(y, ν)‖_∞ = 1."""
    size = max(float(np.abs(y).max()), abs(budget))
    balance = float(np.abs(matrix.T @ y + budget).max())
    return max(balance, -float(y.min()), 0.0) / size, (float(limit @ y) + budget) / size


def _farkas_vertex(matrix: Array, limit: Array) -> tuple[float, Array] | None:
    from scipy.optimize import linprog

    rows, size = matrix.shape
    balance = np.hstack([matrix.T, np.ones((size, 1)), -np.ones((size, 1))])
    value = np.concatenate([limit, [1.0, -1.0]])
    found = linprog(
        np.ones(rows + 2), A_eq=np.vstack([balance, value]), b_eq=[*np.zeros(size), -1.0], method="highs-ds"
    )
    if found.status != _OPTIMAL:
        return None
    return float(found.x[rows] - found.x[rows + 1]), np.asarray(found.x[:rows])


def _families(conflicting: list[str]) -> list[str]:
    order = ("beta", "cluster_cap", "weight_max", "weight_min", "budget")
    return [family for family in order if any(name.startswith(family) for name in conflicting)]


def _nearest(problem: Problem, family: str) -> dict[str, Any]:
    """One linear program: the smallest relaxation of `family` that makes the problem feasible."""
    if family == "weight_min":
        reason = "a bound below the declared one is not offered"
        return _entry(family, float(problem.floors.min()), None, reason)
    if family == "budget":
        return _attainable(problem)
    names, matrix, limit = inequalities(problem)
    relaxed = np.array([name.startswith(family) for name in names])
    declared = problem.beta_tol if family == "beta" else float(limit[relaxed].max())
    found = _smallest_limit(matrix, np.where(relaxed, 0.0, limit), relaxed)
    if found is None:
        return _entry(family, declared, None, "relaxing this family alone does not help")
    return _entry(family, declared, found, None)


def _smallest_limit(matrix: Array, limit: Array, relaxed: NDArray[np.bool_]) -> float | None:
    from scipy.optimize import linprog

    size = matrix.shape[1]
    found = linprog(
        [*np.zeros(size), 1.0], np.hstack([matrix, -relaxed[:, None].astype(np.float64)]), limit,
        [[*np.ones(size), 0.0]], [1.0], [(None, None)] * (size + 1), method="highs-ds",
    )  # fmt: skip
    return float(found.fun) if found.status == _OPTIMAL else None


def _attainable(problem: Problem) -> dict[str, Any]:
    """The attainable Σw nearest to 1."""
    from scipy.optimize import linprog

    _, matrix, limit = inequalities(problem)
    for direction in (-1.0, 1.0):
        found = linprog(
            np.full(problem.size, direction), matrix, limit, bounds=[(None, None)] * problem.size,
            method="highs-ds",
        )  # fmt: skip
        if found.status == _OPTIMAL and (total := direction * float(found.fun)) * -direction < -direction:
            return _entry("budget", 1.0, total, None)
    return _entry("budget", 1.0, None, "the other rows conflict among themselves")


def _entry(family: str, declared: float, feasible: float | None, reason: str | None) -> dict[str, Any]:
    return {"family": family, "declared": declared, "feasible": feasible, "reason": reason}


def _message(conflicting: list[str], nearest: list[dict[str, Any]]) -> str:
    kinds: dict[str, int] = {}
    for name in conflicting:
        kind = name.split("[", 1)[0]
        kinds[kind] = kinds.get(kind, 0) + 1
    rows = ", ".join(kind if count == 1 else f"{count} × {kind}" for kind, count in kinds.items())
    ways = [
        f"{entry['family']} {entry['feasible']:.6g} instead of {entry['declared']:.6g}"
        for entry in nearest
        if entry["feasible"] is not None
    ]
    cure = " or ".join(ways) if ways else "none of them relaxed alone"
    return f"these constraints conflict: {rows}; feasible with {cure}"
