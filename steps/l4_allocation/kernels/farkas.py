"""Rays that prove a set of constraints empty.

Farkas: {w : 1'w = b, l ≤ w ≤ u, G w ≤ h} is empty iff some ν and λ ≥ 0 exist with

    q = ν 1 + G'λ,     φ(ν, λ) = ν b + h'λ − l'q⁺ + u'q⁻ < 0,

where q⁺ and q⁻ are the multipliers of the lower and upper bounds. A ray is thus one number per row, not
per bound, and its balance is exact by construction.

The supports of the extreme rays with φ < 0 are exactly the irreducible conflicts (Gleeson & Ryan 1990,
Identifying minimally infeasible subsystems of inequalities): any ray is walked along the directions that
keep its zeros until nothing but the ray itself does, so that no row can be spared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.filling import Partition, cheapest_fill, partition_of
from quantctl.steps.l4_allocation.kernels.problem import Problem

Array = NDArray[np.float64]

# Per row. Caps that add up to one but for rounding are feasible.
ROUNDING = 1e-12
_ZERO = 1e-9
_DEPENDENT = 1e-10


class Polytope(NamedTuple):
    """{w : 1'w = total, lower ≤ w ≤ upper, matrix w ≤ limit}; `groups` where its groups are disjoint."""

    lower: Array
    upper: Array
    matrix: Array
    limit: Array
    total: float
    groups: Partition | None


class Ray(NamedTuple):
    """ν and λ ≥ 0 (R,), and q (N,) with the zeros of its support written as zeros."""

    budget: float
    rows: Array
    bounds: Array

    @property
    def size(self) -> float:
        """‖(ν, λ, q)‖₁."""
        return abs(self.budget) + float(self.rows.sum()) + float(np.abs(self.bounds).sum())


def polytope_of(problem: Problem) -> Polytope:
    """The feasible set of `problem`."""
    rows = problem.rows
    return Polytope(problem.floors, problem.caps, rows.matrix, rows.limit, 1.0, partition_of(problem))


def value(polytope: Polytope, ray: Ray) -> float:
    """φ: negative where `ray` proves `polytope` empty."""
    lower, upper = np.maximum(ray.bounds, 0.0), np.maximum(-ray.bounds, 0.0)
    gain = ray.budget * polytope.total + float(polytope.limit @ ray.rows)
    return gain - float(polytope.lower @ lower) + float(polytope.upper @ upper)


def find_ray(polytope: Polytope) -> Ray | None:
    """A ray that proves `polytope` empty by more than rounding, or null.

    O(N log N) where its groups are disjoint; else one linear program over N + R + 1 multipliers.
    """
    groups = polytope.groups
    found = _of_bounds(polytope, groups or _no_groups(polytope))
    if found is None and groups is None:
        return _of_program(polytope)
    if found is None and groups is not None and groups.beta is not None:
        return _of_beta(polytope, groups, *groups.beta)
    return found


def _no_groups(polytope: Polytope) -> Partition:
    none = np.full(1, -1)
    return Partition(np.zeros(len(polytope.lower), dtype=np.intp), none, none, None)


def _proof(polytope: Polytope, budget: float, rows: Array) -> Ray | None:
    ray = Ray(budget, rows, budget + polytope.matrix.T @ rows)
    return ray if value(polytope, ray) < -ROUNDING * ray.size else None


def _limits(polytope: Polytope, groups: Partition) -> tuple[Array, Array]:
    limit = np.append(polytope.limit, np.inf)
    return -limit[groups.floor], limit[groups.ceiling]


def _of_bounds(polytope: Polytope, groups: Partition) -> Ray | None:
    """Conflicts of budget, bounds and disjoint groups: a group beyond its limits, or a total beyond all."""
    floor, ceiling = _limits(polytope, groups)
    low = np.bincount(groups.labels, polytope.lower, len(floor))
    high = np.bincount(groups.labels, polytope.upper, len(floor))
    none = np.zeros(len(polytope.limit))
    for row in (*groups.ceiling[low > ceiling], *groups.floor[high < floor]):
        alone = none.copy()
        alone[row] = 1.0
        if (ray := _proof(polytope, 0.0, alone)) is not None:
            return ray
    forced, allowed = none.copy(), none.copy()
    forced[groups.floor[floor > low]] = 1.0
    allowed[groups.ceiling[ceiling < high]] = 1.0
    return _proof(polytope, 1.0, forced) or _proof(polytope, -1.0, allowed)


def _of_beta(polytope: Polytope, groups: Partition, upper: int, lower: int) -> Ray | None:
    """The smallest and the largest β'w are fills; whichever misses its limit is proven by its multipliers."""
    floor, ceiling = _limits(polytope, groups)
    for row in (upper, lower):
        fill = cheapest_fill(
            polytope.matrix[row],
            polytope.lower,
            polytope.upper,
            polytope.total,
            groups.labels,
            floor,
            ceiling,
        )
        rows = np.zeros(len(polytope.limit) + 1)
        rows[groups.ceiling] += np.maximum(fill.groups, 0.0)
        rows[groups.floor] += np.maximum(-fill.groups, 0.0)
        rows[row] = 1.0
        if (ray := _proof(polytope, fill.budget, rows[:-1])) is not None:
            return ray
    return None


def _of_program(polytope: Polytope) -> Ray | None:
    """min φ   s.t. Σλ = 1, a ≥ q, a ≥ 0, with a for q⁺: the dual of the smallest largest violation."""
    from quantctl.steps.l4_allocation.kernels import linear

    matrix, upper = polytope.matrix, polytope.upper
    count, size = matrix.shape
    excess = np.hstack([np.ones((size, 1)), matrix.T, -np.eye(size)])
    cost = np.concatenate(
        [[polytope.total - upper.sum()], polytope.limit - matrix @ upper, upper - polytope.lower]
    )
    total = np.concatenate([[0.0], np.ones(count), np.zeros(size)])[None, :]
    floor = np.concatenate([[-np.inf], np.zeros(count + size)])
    found = linear.solve(
        cost, excess, np.zeros(size), total, np.ones(1), (floor, np.full(len(floor), np.inf))
    )
    if found.x is None:
        return None
    return _proof(polytope, float(found.x[0]), np.maximum(found.x[1 : 1 + count], 0.0))


def reduced(polytope: Polytope, ray: Ray) -> Ray:
    """An extreme ray on part of the support of `ray`, scaled to ‖(ν, λ, q)‖_∞ = 1: an irreducible conflict.

    Every step spares a row or bound and leaves φ at most as large: at most N + R of them, O(N R²) each.
    """
    flat = _cleaned(np.concatenate([[ray.budget], ray.rows, ray.bounds]))
    directions = _directions(polytope, flat)
    while len(directions) > 1:
        flat = _shortened(polytope, flat, directions)
        directions = _directions(polytope, flat)
    if len(directions) == 1:  # The same ray to machine precision.
        flat = directions[0] * np.sign(directions[0] @ flat)
    flat = _cleaned(flat)
    return Ray(float(flat[0]), flat[1 : 1 + len(ray.rows)], flat[1 + len(ray.rows) :])


def _cleaned(flat: Array) -> Array:
    flat = flat / np.abs(flat).max()
    return np.where(np.abs(flat) > _ZERO, flat, 0.0)


def _directions(polytope: Polytope, flat: Array) -> Array:
    """A basis of the (ν, λ, q) whose zeros include those of `flat`."""
    size, count = len(polytope.lower), len(polytope.limit)
    used, idle = np.flatnonzero(flat[: 1 + count]), flat[1 + count :] == 0.0
    columns = np.vstack([np.ones(size), polytope.matrix])[used].T
    _, singular, right = np.linalg.svd(columns[idle], full_matrices=True)
    kernel = right[int((singular > _DEPENDENT * np.sqrt(size)).sum()) :]
    basis = np.zeros((len(kernel), len(flat)))
    basis[:, used] = kernel
    basis[:, 1 + count :] = np.where(idle, 0.0, kernel @ columns.T)
    return basis


def _shortened(polytope: Polytope, flat: Array, directions: Array) -> Array:
    """`flat` moved along a direction that is not its own until a multiplier vanishes."""
    count = len(polytope.limit)
    across = directions - np.outer(directions @ flat, flat) / (flat @ flat)
    way = across[np.abs(across).max(axis=1).argmax()]
    bound = np.where(flat[1 + count :] > 0.0, polytope.lower, polytope.upper)
    prices = np.concatenate([[polytope.total], polytope.limit, -bound])
    slope = float(prices @ way)
    way = -way if slope > 0.0 else way
    if not (flat * way < 0.0).any():  # The way is a ray itself; where it proves nothing, go back instead.
        if slope != 0.0:
            return _cleaned(way)
        way = -way
    steps = np.full(len(flat), np.inf)
    np.divide(-flat, way, out=steps, where=flat * way < 0.0)
    moved = flat + steps.min() * way
    moved[steps.argmin()] = 0.0
    return _cleaned(moved)
