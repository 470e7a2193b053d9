"""Why a problem has no solution: a verified ray, an irreducible conflict, the nearest tolerances.

Farkas: {w : 1'w = 1, A w ≤ b} (bounds and rows in A) is empty iff some y ≥ 0 and ν exist with

    A'y + ν 1 = 0,    b'y + ν < 0

`farkas.py` finds such a ray and reduces it until dropping any one of its rows leaves a feasible set;
here it is verified by plain products and put into words. `nearest.py` says how far each family of the
conflict would have to give way. `excess` never conflicts: a ratio without a positive numerator has its own
status.
"""

from __future__ import annotations

from math import ceil, floor, log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.farkas import Polytope, Ray, find_ray, polytope_of, reduced
from quantctl.steps.l4_allocation.kernels.nearest import dial_of, nearest_value
from quantctl.steps.l4_allocation.kernels.problem import Problem

Array = NDArray[np.float64]

VERIFIED = 1e-8
NAMED = 3
_FAMILY_CODES = (
    ("beta", "INFEASIBLE_BETA"),
    ("cluster_cap", "INFEASIBLE_CAPS"),
    ("weight_max", "INFEASIBLE_CAPS"),
    ("group", "INFEASIBLE_GROUPS"),
)


def explain_infeasibility(problem: Problem) -> dict[str, Any] | None:
    """The certificate of an empty feasible set, or null if a point is feasible.

    Returns {code, conflicting, multipliers, verified, residual, nearest, message}: `conflicting` is an
    irreducible set of constraint names; `nearest` gives, for each family in it, {family, declared,
    feasible, reason}: the tightest declared value and the nearest one, uniform over the family, that
    leaves a point with everything else unchanged (null with a reason where that family alone cannot
    help). Null also where no ray passes verification: no certificate, no verdict.

    O(N log N) per family where no atom is in two groups; else a few linear programs.
    """
    polytope = polytope_of(problem)
    ray = find_ray(polytope)
    if ray is None:
        return None
    ray = reduced(polytope, ray)
    names, matrix, limit = inequalities(problem)
    y = _multipliers(ray)
    residual, margin = farkas_residual(matrix, limit, ray.budget, y)
    if residual > VERIFIED or margin >= 0.0:
        return None
    conflicting = _support(names, ray)
    nearest = [_nearest(polytope, problem, names, family) for family in _families(conflicting)]
    codes = [code for family, code in _FAMILY_CODES if any(n.startswith(family) for n in conflicting)]
    return {
        "code": codes[0] if codes else "INFEASIBLE_BOUNDS",
        "conflicting": conflicting,
        "multipliers": {names[i]: float(y[i]) for i in np.flatnonzero(y)} | {"budget": ray.budget},
        "verified": True, "residual": residual, "nearest": nearest,
        "message": _message(conflicting, nearest),
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


def _families(conflicting: list[str]) -> list[str]:
    """The families of `conflicting` in the order in which a person would relax them."""
    groups = [name for name in conflicting if name.startswith("group[")]
    order = ("beta", "cluster_cap", *groups, "weight_max", "weight_min", "budget")
    return [family for family in order if any(name.startswith(family) for name in conflicting)]


def _multipliers(ray: Ray) -> Array:
    return np.concatenate([np.maximum(ray.bounds, 0.0), np.maximum(-ray.bounds, 0.0), ray.rows])


def _support(names: list[str], ray: Ray) -> list[str]:
    budget = ["budget"] if ray.budget != 0.0 else []
    return budget + [names[i] for i in np.flatnonzero(_multipliers(ray))]


def _nearest(polytope: Polytope, problem: Problem, names: list[str], family: str) -> dict[str, Any]:
    dial = dial_of(polytope, problem.rows.names, family)
    found = nearest_value(dial)
    feasible, reason = found.feasible, None
    if family == "weight_min" and feasible is not None and feasible < 0.0 <= dial.declared:
        feasible, reason = None, f"only a bound below 0 would help, from {feasible:.6g} on"
    elif found.obstacle is not None:
        reason = f"{_in_words(_support(names, found.obstacle))} conflict at every value of it"
    elif feasible is None:
        reason = "the search for it did not end"
    return {"family": family, "declared": dial.declared, "feasible": feasible, "reason": reason}


def _message(conflicting: list[str], nearest: list[dict[str, Any]]) -> str:
    ways = [
        f"{entry['family']} = {_safely(entry)} (declared {entry['declared']:.6g})"
        for entry in nearest
        if entry["feasible"] is not None
    ]
    cure = (
        "it works from " + " or ".join(ways) + " on" if ways else "relaxing one of them alone does not help"
    )
    return f"{_in_words(conflicting)} conflict; {cure}"


def _safely(entry: dict[str, Any]) -> str:
    """The feasible value in six digits, rounded away from the declared one: what is printed works."""
    value = entry["feasible"]
    if value == 0.0:
        return "0"
    digit = 10.0 ** (floor(log10(abs(value))) - 5)
    up = value > entry["declared"]
    return f"{(ceil(value / digit - 1e-6) if up else floor(value / digit + 1e-6)) * digit:.6g}"


def _in_words(conflicting: list[str]) -> str:
    """Constraint names, with those of one kind counted where they are many."""
    kinds: dict[str, list[str]] = {}
    for name in conflicting:
        kinds.setdefault(name.split("[", 1)[0] if name.startswith("weight") else name, []).append(name)
    words = [
        ", ".join(names) if len(names) <= NAMED else f"{kind} of {len(names)} atoms"
        for kind, names in kinds.items()
    ]
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
