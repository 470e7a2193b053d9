"""The allocation problem and its result: immutable data, validated once.

Everything a kernel may know of an allocation stands here. Σ, μ and rf are annual; γ (`l2`) is in
units of the mean variance and c (`turnover`) as each profile states.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from math import isfinite
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.problem_data import (
    check_covariance,
    constant,
    frozen,
    invalid,
    numbers,
    vector,
)

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Status = Literal[
    "OPTIMAL", "OPTIMAL_REDUCED_ACCURACY", "INFEASIBLE", "NON_POSITIVE_EXCESS",
    "DEGENERATE_INPUT", "INSUFFICIENT_HISTORY", "SOLVER_FAILED",
]  # fmt: skip
ACCEPTED: tuple[Status, ...] = ("OPTIMAL", "OPTIMAL_REDUCED_ACCURACY")


class Group(NamedTuple):
    """min ≤ Σ_{members} w ≤ max. `kind` only decides the constraint's name."""

    name: str
    members: Mask
    min: float | None = None
    max: float | None = None
    kind: Literal["cluster", "group"] = "group"


class Rows(NamedTuple):
    """Inequality rows G w ≤ h with their constraint names (bounds and budget are not among them)."""

    names: tuple[str, ...]
    matrix: Array
    limit: Array


@dataclass(frozen=True)
class Problem:
    """Data of one allocation over N atoms; every field but `cov` has a default.

    cov : ndarray (N, N), annual covariance
    mu : ndarray (N,), annual expected return, or null
    risk_free : annual rate
    lower, upper : ndarrays (N,), bounds of each weight, default 0 and 1
    groups : rows over sets of atoms
    beta, beta_tol : |β'w| ≤ beta_tol where `beta` is given
    l2, turnover : γ and c, used literally
    w_prev : previous weights (N,) or null; `exit_turnover` v ≥ 0 is Σ|w_prev| of vanished atoms
    names : atom ids, default "0" .. "N-1"

    Raises
    ------
    ContractError : `PROBLEM_INVALID` naming the field
    """

    cov: Array
    mu: Array | None = None
    risk_free: float = 0.0
    lower: Array | None = None
    upper: Array | None = None
    groups: tuple[Group, ...] = ()
    beta: Array | None = None
    beta_tol: float = 0.15
    l2: float = 0.0
    turnover: float = 0.0
    w_prev: Array | None = None
    exit_turnover: float = 0.0
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        cov = frozen(self.cov)
        size = cov.shape[0] if cov.ndim == 2 else 0
        check_covariance(cov)
        _set(self, "cov", cov)
        for name in ("lower", "upper", "mu", "beta", "w_prev"):
            given = getattr(self, name)
            if given is not None:
                _set(self, name, vector(given, size, name))
        if self.lower is None:
            _set(self, "lower", constant(size, 0.0))
        if self.upper is None:
            _set(self, "upper", constant(size, 1.0))
        _set(self, "groups", tuple(_checked_group(group, size) for group in self.groups))
        names = tuple(self.names)
        _set(self, "names", names or numbers(size))
        if names and (len(names) != size or len(set(names)) != size):
            raise invalid("names", f"expected {size} different names")
        _check_scalars(self)

    @property
    def size(self) -> int:
        """Number of atoms N."""
        return int(self.cov.shape[0])

    @cached_property
    def mean_variance(self) -> float:
        """m = tr Σ / N, the unit of the penalties."""
        return float(self.cov.diagonal().sum()) / self.size

    @cached_property
    def volatilities(self) -> Array:
        """√diag Σ, annual."""
        return np.sqrt(self.cov.diagonal())

    @property
    def floors(self) -> Array:
        """`lower`, never null."""
        assert self.lower is not None
        return self.lower

    @property
    def caps(self) -> Array:
        """`upper`, never null."""
        assert self.upper is not None
        return self.upper

    @cached_property
    def excess(self) -> Array:
        """μ − rf; raises `PROBLEM_INVALID` without `mu`."""
        if self.mu is None:
            raise invalid("mu", "the profile needs expected returns")
        return self.mu - self.risk_free

    @property
    def traded(self) -> bool:
        """Whether trading away from `w_prev` costs anything."""
        return self.w_prev is not None and self.turnover > 0.0

    @cached_property
    def rows(self) -> Rows:
        """Group and beta rows as G w ≤ h, in the order of `groups`, then beta."""
        return _rows(self)

    def without_beta(self) -> Problem:
        """The same problem without its beta row."""
        return replace(self, beta=None)


def derived(problem: Problem, **changes: Any) -> Problem:
    """`problem` with some fields replaced by values known to be valid: nothing is copied or checked."""
    new = object.__new__(Problem)
    for each in fields(Problem):
        _set(new, each.name, changes.get(each.name, getattr(problem, each.name)))
    return new


@dataclass(frozen=True)
class Kkt:
    """Residuals of the optimality system on the scaled problem, and the class they earn."""

    primal: float
    dual: float
    complementarity: float
    gap: float
    status: Status

    def residuals(self) -> dict[str, float]:
        """The four numbers by name."""
        return {
            "primal": self.primal, "dual": self.dual,
            "complementarity": self.complementarity, "gap": self.gap,
        }  # fmt: skip


@dataclass(frozen=True)
class Attempt:
    """One rung of the solver ladder: what was tried and how it ended."""

    rung: str
    outcome: str
    code: str | None = None
    iterations: int = 0
    factorisations: int = 0
    residuals: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """Outcome of a kernel. Without an accepted status `weights` is null.

    weights : ndarray (N,) in caller order
    objective, objective_penalised : in the units of `Problem`
    duals : constraint name -> multiplier ≥ 0 of the scaled problem (`budget` signed)
    active : names of rows and bounds with slack ≤ 1e-9
    """

    weights: Array | None
    status: Status
    objective: float | None = None
    objective_penalised: float | None = None
    kkt: Kkt | None = None
    duals: dict[str, float] = field(default_factory=dict)
    active: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    warnings: tuple[str, ...] = ()
    exposure: float = 1.0
    cash: float = 0.0
    certificate: dict[str, Any] | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Whether the weights may be used."""
        return self.status in ACCEPTED and self.weights is not None


def restricted(problem: Problem, keep: Mask) -> Problem:
    """The problem over the atoms of `keep`; groups and rows lose the members that are left out."""

    def part(values: Array | None) -> Array | None:
        return None if values is None else values[keep]

    return replace(
        problem,
        cov=problem.cov[np.ix_(keep, keep)],
        mu=part(problem.mu), lower=part(problem.lower), upper=part(problem.upper),
        beta=part(problem.beta), w_prev=part(problem.w_prev),
        groups=tuple(group._replace(members=group.members[keep]) for group in problem.groups),
        names=tuple(name for name, kept in zip(problem.names, keep, strict=True) if kept),
    )  # fmt: skip


def _set(problem: Problem, name: str, value: object) -> None:
    object.__setattr__(problem, name, value)


def _checked_group(group: Group, size: int) -> Group:
    name, members, least, most, kind = group
    members = np.array(members, dtype=np.bool_)
    if members.shape != (size,):
        raise invalid(f"groups[{name}]", f"members of shape {members.shape}, expected ({size},)")
    finite = (least is None or isfinite(least)) and (most is None or isfinite(most))
    if not finite or (least is not None and most is not None and least > most):
        raise invalid(f"groups[{name}]", f"min {least} and max {most}")
    return Group(name, members, least, most, kind)


def _check_scalars(problem: Problem) -> None:
    if (problem.floors > problem.caps).any():
        raise invalid("lower", "a lower bound is above its upper bound")
    for name in ("beta_tol", "l2", "turnover", "exit_turnover"):
        value = getattr(problem, name)
        if not isfinite(value) or value < 0.0:
            raise invalid(name, f"{value} is not a finite number ≥ 0")
    if not isfinite(problem.risk_free):
        raise invalid("risk_free", "not finite")


def _rows(problem: Problem) -> Rows:
    names: list[str] = []
    sides: list[tuple[Array | Mask, float, float]] = []
    for group in problem.groups:
        if group.max is not None:
            label = f"cluster_cap[{group.name}]" if group.kind == "cluster" else f"group[{group.name}].max"
            names.append(label)
            sides.append((group.members, 1.0, group.max))
        if group.min is not None:
            names.append(f"group[{group.name}].min")
            sides.append((group.members, -1.0, -group.min))
    if problem.beta is not None:
        names += ("beta.upper", "beta.lower")
        sides += ((problem.beta, 1.0, problem.beta_tol), (problem.beta, -1.0, problem.beta_tol))
    matrix = np.empty((len(sides), problem.size))
    for row, (values, sign, _) in zip(matrix, sides, strict=True):
        np.multiply(values, sign, out=row)
    return Rows(tuple(names), matrix, np.array([limit for _, _, limit in sides], dtype=np.float64))
