"""Filling bounds and disjoint groups in order of cost: a linear program in closed form.

    min c'w   s.t. 1'w = total, l ≤ w ≤ u, floor_k ≤ Σ_{i∈k} w_i ≤ ceiling_k   for disjoint groups k

is a transport over a tree, so the greedy fill is optimal: every group takes its own members from the
cheapest on, as far as its floor forces and its ceiling allows, and the groups share the total by marginal
cost. At the marginal cost θ, with θ_k inside group k, the multipliers are

    ν = −θ,   λ_k = θ − θ_k   (a ceiling's if positive, a floor's if negative).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.problem import Problem

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

FULL = 1e-12


class Partition(NamedTuple):
    """Disjoint groups over N atoms and their rows in `Problem.rows`; atoms of no group share the last one.

    labels : ndarray (N,), group of each atom, 0 .. K
    ceiling, floor : ndarrays (K + 1,), index of the group's row, −1 where it has none
    beta : indices of `beta.upper` and `beta.lower`, or null
    """

    labels: Indices
    ceiling: Indices
    floor: Indices
    beta: tuple[int, int] | None


class Fill(NamedTuple):
    """A cheapest point (N,), and the multipliers that prove it: budget ν and one signed λ_k per group."""

    weights: Array
    budget: float
    groups: Array


def partition_of(problem: Problem) -> Partition | None:
    """The groups of `problem` where no atom is in two of them, else null."""
    members = np.array([group.members for group in problem.groups]).reshape(-1, problem.size)
    if (members.sum(axis=0) > 1).any():
        return None
    labels = np.where(members.any(axis=0), members.argmax(axis=0) if len(members) else 0, len(members))
    ceiling, floor = np.full(len(members) + 1, -1), np.full(len(members) + 1, -1)
    row = 0
    for k, group in enumerate(problem.groups):
        if group.max is not None:
            ceiling[k], row = row, row + 1
        if group.min is not None:
            floor[k], row = row, row + 1
    return Partition(labels, ceiling, floor, None if problem.beta is None else (row, row + 1))


def cheapest_fill(
    cost: Array, lower: Array, upper: Array, total: float, labels: Indices, floor: Array, ceiling: Array
) -> Fill:
    """The point and the multipliers of the program above.

    Parameters
    ----------
    cost, lower, upper : ndarrays (N,)
    labels : ndarray (N,), group of each atom, 0 .. K − 1
    floor, ceiling : ndarrays (K,), ±inf where a group has no limit

    The caller knows that a point exists: l ≤ u, each group can meet its limits, and the total lies
    between the sum of what they force and the sum of what they allow. O(N log N).
    """
    order = np.lexsort((cost, labels))
    group, price, width = labels[order], cost[order], (upper - lower)[order]
    low = np.bincount(labels, lower, len(floor))
    after = np.cumsum(width)
    start = np.searchsorted(group, np.arange(len(floor)))
    after += (low - np.append(0.0, after)[start])[group]
    before = after - width
    room = np.clip(after, floor[group], ceiling[group]) - np.clip(before, floor[group], ceiling[group])
    base = np.maximum(low, floor)
    marginal, taken = _shared(price, room, total - float(base.sum()))
    load = base + np.bincount(group, taken, len(floor))
    weights = np.empty_like(lower)
    weights[order] = lower[order] + np.clip(load[group] - before, 0.0, width)
    inside = _inner_costs(cost, weights, lower, upper, labels, len(floor), marginal)
    lam = marginal - inside
    lam[(lam > 0.0) & (load < ceiling - FULL)] = 0.0
    lam[(lam < 0.0) & (load > floor + FULL)] = 0.0
    return Fill(weights, -marginal, lam)


def _shared(price: Array, room: Array, remaining: float) -> tuple[float, Array]:
    """The marginal cost, and how much of each atom's room is taken, cheapest first."""
    rank = np.argsort(price, kind="stable")
    sums = np.cumsum(room[rank])
    last = min(int(np.searchsorted(sums, remaining)), len(rank) - 1)
    taken = np.empty_like(room)
    taken[rank] = np.clip(remaining - (sums - room[rank]), 0.0, room[rank])
    return float(price[rank[last]]), taken


def _inner_costs(
    cost: Array, weights: Array, lower: Array, upper: Array, labels: Indices, size: int, marginal: float
) -> Array:
    """θ_k: the value nearest to θ between the dearest filled and the cheapest unfilled member of k."""
    dearest, cheapest = np.full(size, -np.inf), np.full(size, np.inf)
    filled, unfilled = weights > lower, weights < upper
    np.maximum.at(dearest, labels[filled], cost[filled])
    np.minimum.at(cheapest, labels[unfilled], cost[unfilled])
    return np.asarray(np.maximum(np.minimum(marginal, cheapest), dearest))
