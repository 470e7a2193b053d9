"""The allocation problem and its result: immutable data, validated once.

Everything a kernel may know of an allocation stands here. Σ, μ and rf are annual; γ (`l2`) is in
units of the mean variance and c (`turnover`) as each profile states.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import ContractError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Status = Literal[
    "OPTIMAL", "OPTIMAL_REDUCED_ACCURACY", "INFEASIBLE", "NON_POSITIVE_EXCESS",
    "DEGENERATE_INPUT", "INSUFFICIENT_HISTORY", "SOLVER_FAILED",
]  # fmt: skip
SYMMETRIC = 1e-12
TILE = 128
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
        cov = _frozen(self.cov)
        size = cov.shape[0] if cov.ndim == 2 else 0
        _check_covariance(cov)
        _set(self, "cov", cov)
        for name, default in (("lower", 0.0), ("upper", 1.0)):
            given = getattr(self, name)
            _set(self, name, _vector(np.full(size, default) if given is None else given, size, name))
        for name in ("mu", "beta", "w_prev"):
            given = getattr(self, name)
            _set(self, name, None if given is None else _vector(given, size, name))
        _set(self, "groups", tuple(_checked_group(group, size) for group in self.groups))
        _set(self, "names", tuple(self.names) or tuple(str(i) for i in range(size)))
        _check_scalars(self, size)

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
            raise _invalid("mu", "the profile needs expected returns")
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


def _frozen(values: Any) -> Array:
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array


def _invalid(where: str, reason: str) -> ContractError:
    return ContractError("PROBLEM_INVALID", f"{where}: {reason}", where=f"problem.{where}")


def _vector(values: Any, size: int, name: str) -> Array:
    array = _frozen(values)
    if array.shape != (size,):
        raise _invalid(name, f"shape {array.shape}, expected ({size},)")
    if not np.isfinite(array).all():
        raise _invalid(name, "not finite")
    return array


def _check_covariance(cov: Array) -> None:
    if cov.ndim != 2 or cov.shape[0] != cov.shape[1] or cov.shape[0] == 0:
        raise _invalid("cov", f"shape {cov.shape}, expected (N, N) with N > 0")
    largest = max(float(cov.max()), -float(cov.min()))
    if not np.isfinite(largest):  # NaN and infinities show in the extremes
        raise _invalid("cov", "not finite")
    if _asymmetry(cov) > SYMMETRIC * largest:
        raise _invalid("cov", "not symmetric")
    if not (cov.diagonal() > 0.0).all():
        raise _invalid("cov", "a variance is not positive")


def _asymmetry(cov: Array) -> float:
    """max |Σ − Σ'|, tile by tile of the upper triangle: no temporary of order N², no column strides."""
    size, worst = len(cov), 0.0
    for i in range(0, size, TILE):
        for j in range(i, size, TILE):
            gap = cov[i : i + TILE, j : j + TILE] - cov[j : j + TILE, i : i + TILE].T
            worst = max(worst, float(gap.max()), -float(gap.min()))
    return worst


def _checked_group(group: Group, size: int) -> Group:
    members = np.array(group.members, dtype=np.bool_)
    if members.shape != (size,):
        raise _invalid(f"groups[{group.name}]", f"members of shape {members.shape}, expected ({size},)")
    ends = [end for end in (group.min, group.max) if end is not None]
    if not np.isfinite(ends).all() or (len(ends) == 2 and ends[0] > ends[1]):
        raise _invalid(f"groups[{group.name}]", f"min {group.min} and max {group.max}")
    return group._replace(members=members)


def _check_scalars(problem: Problem, size: int) -> None:
    if (problem.floors > problem.caps).any():
        raise _invalid("lower", "a lower bound is above its upper bound")
    if len(problem.names) != size or len(set(problem.names)) != size:
        raise _invalid("names", f"expected {size} different names")
    for name in ("beta_tol", "l2", "turnover", "exit_turnover"):
        value = getattr(problem, name)
        if not np.isfinite(value) or value < 0.0:
            raise _invalid(name, f"{value} is not a finite number ≥ 0")
    if not np.isfinite(problem.risk_free):
        raise _invalid("risk_free", "not finite")


def _rows(problem: Problem) -> Rows:
    names: list[str] = []
    matrix: list[Array] = []
    limit: list[float] = []
    for group in problem.groups:
        indicator = group.members.astype(np.float64)
        label = f"cluster_cap[{group.name}]" if group.kind == "cluster" else f"group[{group.name}].max"
        if group.max is not None:
            names, matrix, limit = [*names, label], [*matrix, indicator], [*limit, group.max]
        if group.min is not None:
            label = f"group[{group.name}].min"
            names, matrix, limit = [*names, label], [*matrix, -indicator], [*limit, -group.min]
    if problem.beta is not None:
        names.extend(("beta.upper", "beta.lower"))
        matrix.extend((problem.beta, -problem.beta))
        limit.extend((problem.beta_tol, problem.beta_tol))
    stacked = np.array(matrix, dtype=np.float64).reshape(len(names), problem.size)
    return Rows(tuple(names), stacked, np.array(limit, dtype=np.float64))
